"""The loop filter: what it is before it has learned, how it lies in the loop and in the codec's file, how it learns."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_filter import naive_filter
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.cli import main
from astra_play.codec import pixels
from astra_play.codec.loop_filter import LoopFilter
from astra_play.config import ScenarioConfig, load_world_config
from astra_play.errors import ConfigError
from astra_play.model.anchor import pace
from astra_play.model.carried import carried_picture, make_motion
from astra_play.model.carried_picture import CarriedPicture
from astra_play.model.checkpoint import load_codec, load_model
from astra_play.model.free_run import FreeRun
from astra_play.model.loading import load_world
from astra_play.train import filter_loop
from astra_play.train.dataset import EpisodeWriter, Settings
from astra_play.train.filter_loop import FilterTraining
from astra_play.train.filter_recipe import FilterRecipe
from astra_play.train.filter_streams import Examples, FreeStreams, Pool
from astra_play.train.loop import load_checkpoint
from astra_play.train.picture_critic import PictureCritic

FILTERED = dataclasses.replace(TINY_WORLD.codec, loop_filter_width=4)
RECIPE = FilterRecipe(width=4, critic_width=4, streams=2, clip_frames=6, go_on_prob=0.0, frames_per_step=2,
                      young_frames=2, pool=8, batch=4, num_steps=6, precision="fp32", save_every=3, sample_every=100)


pytestmark = pytest.mark.usefixtures("one_thread")


def learned(seed: int = 0) -> LoopFilter:
    """A filter that changes what it is given."""
    torch.manual_seed(seed)
    loop_filter = LoopFilter(4)
    with torch.no_grad():
        for parameter in loop_filter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return loop_filter.eval().requires_grad_(False)


def some_pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of noise, whose frames all differ."""
    folder, rng = tmp_path_factory.mktemp("episodes"), np.random.default_rng(0)
    writer = EpisodeWriter(folder, Settings("explore", 16, 32, 32, 12))
    for seed in range(3):
        rows = np.stack([camera_row(0.1, 0.0, 0.05 * seed)] * 12)
        writer.write(seed, rng.integers(0, 256, (12, 32, 32, 3), np.uint8), rows, np.zeros((12, 0)), np.zeros((12, 4)))
    return folder


def test_untrained_filter_changes_nothing() -> None:
    torch.manual_seed(0)
    loop_filter, pictures = LoopFilter(8), some_pictures(2)
    shown = loop_filter(pictures, some_pictures(2, 1), torch.ones(2, 1, 32, 32), loop_filter.style(pictures))
    assert torch.equal(shown, pictures)


def test_filter_is_its_naive_twin() -> None:
    loop_filter, pictures, moved = learned(), some_pictures(3), some_pictures(3, 1)
    seen = (torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    style = loop_filter.style(some_pictures(3, 3))
    shown = loop_filter(pictures, moved, seen, style)
    assert (shown - pictures).abs().max() > 0.05
    for i in range(3):
        assert torch.allclose(shown[i], naive_filter(loop_filter, pictures[i], moved[i], seen[i], style[i]), atol=1e-5)


def test_carried_picture_is_filtered_in_the_light_of_the_first_one() -> None:
    torch.manual_seed(0)
    codec = load_tiny_codec()
    loop_filter, motion = learned(), make_motion(TINY_WORLD, codec)
    bare, filtered = (CarriedPicture(motion, motion.paint, 0.1, own) for own in (None, loop_filter))
    start, row = some_pictures(2), torch.from_numpy(camera_row(0.2, 0.0, 0.1)).expand(2, 1, 12)
    style = loop_filter.style(start)
    shown = start
    for carried in (bare, filtered):
        carried.show(start)
    for step in range(3):
        bare.show(shown)  # goes on from the filtered picture, so that only this step's filter is missing
        for carried in (bare, filtered):
            anchors = carried.expect(row)
        latents = anchors[:, :, :4] + 0.1 * torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(step))
        painted = bare.paint_over(latents)[0][:, 0]
        moved, seen, _ = motion.expect(shown, row)
        shown = filtered.paint_over(latents)[0][:, 0]
        assert torch.allclose(shown, loop_filter(painted, moved[:, 0], seen[:, 0], style), atol=1e-5)
        assert (shown - painted).abs().max() > 0.05
        assert torch.equal(filtered.picture, shown)


def test_bonnet_stays_that_of_the_first_picture_and_nothing_else_does() -> None:
    torch.manual_seed(0)
    controls = dataclasses.replace(TINY_WORLD.controls, modality="vehicle", bonnet=(0.2, 0.7))
    motion = make_motion(dataclasses.replace(TINY_WORLD, controls=controls), load_tiny_codec())
    carried, start = CarriedPicture(motion, motion.paint, 0.0, learned()), some_pictures(1)
    carried.show(start)
    assert 0 < motion.on_bonnet.sum() < 200
    for _ in range(3):
        anchors = carried.expect(torch.from_numpy(vehicle_row(1.0, 0.0, 0.1)).expand(1, 1, 7))
        picture = carried.paint_over(anchors[:, :, :4] + 0.3)[0][0, 0]
        same = (picture == start[0]).all(dim=0)
        assert same[motion.on_bonnet].all() and same[~motion.on_bonnet].float().mean() < 0.05


@pytest.mark.parametrize(("row", "expected"), [
    (camera_row(), 0.0), (camera_row(0.02), 0.4), (camera_row(0.0, 0.01), 0.2), (camera_row(0.5), 1.0),
    (camera_row(0.0, 0.0, math.radians(0.6)), 0.4), (camera_row(0.0, 0.0, 0.0, math.radians(-0.3)), 0.2),
    (camera_row(0.01, 0.0, math.radians(0.3)), 0.4), (vehicle_row(0.02, 0.0, 0.0), 0.4),
    (vehicle_row(0.0, 0.0, math.radians(-0.75)), 0.5)])
def test_the_filter_works_as_briskly_as_the_camera_moves(row: np.ndarray, expected: float) -> None:
    assert pace(torch.from_numpy(row).float()).item() == pytest.approx(expected, abs=0.02)
    controls = dataclasses.replace(TINY_WORLD.controls, modality="vehicle" if len(row) == 7 else "camera")
    motion = make_motion(dataclasses.replace(TINY_WORLD, controls=controls), load_tiny_codec())
    shown = []
    for strength, forced in ((0.0, False), (1.0, False), (1.0, True)):
        carried = CarriedPicture(motion, motion.paint, 0.0, learned(), strength)
        carried.show(some_pictures(1))
        anchors = carried.expect(torch.from_numpy(row).float().expand(1, 1, -1))
        if forced:
            carried._pace = torch.ones(1, 1)
        shown.append(carried.paint_over(anchors[:, :, :4])[0])
    unfiltered, now, whole = shown
    assert (whole - unfiltered).abs().mean() > 0.05
    assert torch.allclose(now, unfiltered + expected * (whole - unfiltered), atol=0.02)


def test_a_place_does_not_fade_before_who_stands_in_it() -> None:
    """Whatever the network says, and with a leak; without a filter the codec's own idea takes over as ever."""
    torch.manual_seed(0)
    motion, start = make_motion(TINY_WORLD, load_tiny_codec()), some_pictures(1)
    filtered, bare = (CarriedPicture(motion, motion.paint, 0.1, own) for own in (learned(), None))
    for carried in (filtered, bare):
        carried.show(start)
        for _ in range(10):
            anchors = carried.expect(torch.from_numpy(camera_row()).float().expand(1, 1, 12))
            carried.paint_over(anchors[:, :, :4] + 0.3)
    assert torch.allclose(filtered.picture, start, atol=1e-3)
    assert (bare.picture - start).abs().mean() > 0.1


def test_a_chunk_that_ends_at_rest_is_filtered_as_its_frames_one_by_one() -> None:
    torch.manual_seed(0)
    motion, rows = make_motion(TINY_WORLD, load_tiny_codec()), [camera_row(0.3), camera_row()]
    rows = torch.from_numpy(np.stack(rows)).float()[None]
    carried = CarriedPicture(motion, motion.paint, 0.0, learned())
    carried.show(some_pictures(1))
    pictures, _ = carried.paint_over(carried.expect(rows)[:, :, :4])
    assert torch.allclose(pictures[:, 0], pictures[:, 1], atol=1e-4)


def test_runs_are_filtered_at_full_strength_whatever_the_world_is_played_with(tmp_path: Path, data: Path) -> None:
    shown = []
    for strength in (1.0, 0.0, 0.3):
        stream = dataclasses.replace(TINY_WORLD.stream, filter_strength=strength)
        streams, _ = free_streams(make_tiny_world(tmp_path / str(strength), stream=stream), data)
        streams.advance(3)
        shown.append(streams.picture)
    assert torch.equal(shown[0], shown[1]) and torch.equal(shown[0], shown[2])


def test_a_still_camera_is_not_filtered_and_teaches_no_filter(tmp_path: Path, data: Path) -> None:
    table = dataclasses.replace(TINY_WORLD.controls, modality="arm")
    model = dataclasses.replace(TINY_WORLD.model, modalities={"arm": 8})
    config = dataclasses.replace(TINY_WORLD, controls=table, model=model)
    codec = load_tiny_codec()
    assert carried_picture(TINY_WORLD, codec, learned())._filter is not None
    assert carried_picture(config, codec, learned())._filter is None
    with pytest.raises(ConfigError, match="never moves"):
        filter_loop.read_data(config, [data], codec)


def test_two_data_sets_of_one_scenario_are_refused(tmp_path: Path, data: Path) -> None:
    config = load_world_config(make_tiny_world(tmp_path))
    with pytest.raises(ConfigError, match="second data set"):
        filter_loop.read_data(config, [data, data], load_codec(tmp_path, config))


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_strength_is_the_share_of_the_change_that_is_made(tmp_path: Path, strength: float) -> None:
    """Of strength 0 nothing of the filter is left: the decoder paints, as it does in a codec without one."""
    def played(changes: dict, loop_filter: LoopFilter | None) -> torch.Tensor:
        config = dataclasses.replace(TINY_WORLD, stream=dataclasses.replace(TINY_WORLD.stream, **changes))
        carried = carried_picture(config, codec, loop_filter)
        carried.show(some_pictures(1))
        anchors = carried.expect(torch.from_numpy(camera_row(0.2, 0.0, 0.1)).expand(1, 1, 12))
        return carried.paint_over(anchors[:, :, :4] + 0.2)[0]

    torch.manual_seed(0)
    codec = load_tiny_codec()
    torch.nn.init.normal_(codec.head.weight, std=0.1)
    whole, some = played({}, learned()), played({"filter_strength": strength}, learned())
    if strength == 0:
        assert torch.equal(some, played({}, None)) and not torch.allclose(some, whole, atol=0.05)
    else:
        unfiltered = played({}, LoopFilter(4))  # untrained
        assert torch.allclose(some, unfiltered + strength * (whole - unfiltered), atol=1e-5)


def load_tiny_codec():
    from astra_play.codec.mini import MiniCodec, fit_linear

    codec = MiniCodec(TINY_WORLD.codec).eval().requires_grad_(False)
    fit_linear(codec, some_pictures(40, 5))
    return codec


def test_world_with_a_filter_goes_on_exactly_from_a_snapshot(tmp_path: Path) -> None:
    from astra_play.actions.state import ActionSample
    from astra_play.chunks import ActionChunk

    world = load_world(make_tiny_world(tmp_path, codec=FILTERED), "cpu")
    world.reset(3)
    world.prefill(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8))
    action = ActionChunk(ActionSample(), camera_row(0.1, 0.0, 0.1)[None].astype(np.float32), "camera")
    for _ in range(3):
        world.step(action)
    kept = world.snapshot()
    first = [world.step(action) for _ in range(3)]
    world.restore(kept)
    assert all(np.array_equal(a, world.step(action)) for a in first)
    world.reset(4)  # another place: its style is its own
    world.prefill(np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8))
    style = world._run.carried._style
    assert not torch.equal(style, kept.run["carried"]["style"])
    world.step(action)
    world.restore(kept)
    assert all(np.array_equal(a, world.step(action)) for a in first)


def test_codec_file_keeps_the_filter_and_a_filter_paints_without_the_decoder(tmp_path: Path) -> None:
    folder = make_tiny_world(tmp_path, codec=FILTERED)
    config = load_world_config(folder)
    codec = load_codec(folder, config)
    motion = make_motion(config, codec)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert codec.loop_filter is not None
    filtered = carried_picture(config, codec)
    codec.loop_filter = None
    bare = carried_picture(config, codec)
    assert torch.equal(filtered._paint(latents), motion.paint(latents))
    assert torch.equal(bare._paint(latents), codec.decode((latents * motion.scale)[:, None])[:, 0])
    assert not torch.allclose(bare._paint(latents), filtered._paint(latents), atol=0.01)


def some_examples(count: int, first: int = 0) -> Examples:
    """Examples that are told apart by their ages, which all their pictures repeat."""
    ages = torch.arange(first, first + count).float()
    plane = (ages / 64)[:, None, None, None]
    pictures = plane.expand(-1, 3, 16, 16).clone()
    return Examples(pictures, pictures, plane.expand(-1, 1, 16, 16).clone(), pictures, pictures, ages)


def test_pool_holds_the_newest_and_draws_each_of_them() -> None:
    pool, dull = Pool(10), []
    for first, count in ((0, 4), (4, 4), (8, 4), (12, 3)):
        pool.add(some_examples(count, first))
        dull = (dull + list(range(first, first + count)))[-10:]
        drawn = pool.draw(400, torch.Generator().manual_seed(first))
        assert sorted(set(drawn.ages.tolist())) == dull
        for picture, age in zip(drawn.pictures, drawn.ages, strict=True):
            assert torch.equal(picture, torch.full_like(picture, age.item() / 64))


def test_mirrored_examples_exchange_left_and_right_of_everything() -> None:
    examples = Examples(*(torch.rand(2, c, 4, 6) for c in (3, 3, 1, 3, 3)), torch.zeros(2))
    mirrored = examples.mirrored()
    for name in ("pictures", "moved", "seen", "starts", "truth"):
        for column in range(6):
            assert torch.equal(getattr(mirrored, name)[..., column], getattr(examples, name)[..., 5 - column])


def free_streams(world_folder: Path, data: Path, recipe: FilterRecipe = RECIPE) -> tuple[FreeStreams, LoopFilter]:
    config = load_world_config(world_folder)
    codec = load_codec(world_folder, config)
    codec.loop_filter = None
    loop_filter = learned()
    own = filter_loop.read_data(config, [data], codec)[""]
    return FreeStreams(config, load_model(world_folder, config), codec, loop_filter, own, recipe,
                       torch.Generator().manual_seed(1)), loop_filter


def test_free_streams_are_what_a_free_run_with_the_filter_shows(tmp_path: Path, data: Path) -> None:
    """The same clips and noise, driven by hand."""
    world = make_tiny_world(tmp_path)
    streams, loop_filter = free_streams(world, data)
    config = load_world_config(world)
    codec, model = load_codec(world, config), load_model(world, config)
    own = filter_loop.read_data(config, [data], codec)[""]
    generator = torch.Generator().manual_seed(1)
    clips = own.sample(2, RECIPE.clip_frames + 1, 0.0, generator)
    run = FreeRun(model, config.stream, "camera", 2, carried_picture(config, codec, loop_filter))
    start = clips.pictures_before(1)
    with torch.no_grad():
        run.show(clips.latents[:, :1], clips.rows[:, :1], start)
        for age in range(1, RECIPE.clip_frames):
            noise = torch.randn(clips.latents[:, :1].shape, generator=generator)
            run.generate(noise, clips.rows[:, age:age + 1], config.stream.sigmas)
            pictures = run.paint()[0][:, 0]
            given = streams.advance(1)
            assert streams.age == age and given.ages.tolist() == [age, age]
            assert torch.equal(streams.picture, pictures)
            assert torch.equal(given.starts, start) and torch.equal(given.truth, clips.pictures_before(age + 1))
            style = loop_filter.style(start)
            assert torch.allclose(loop_filter(given.pictures, given.moved, given.seen, style), pictures, atol=1e-6)
    streams.advance(1)
    assert streams.age == 1  # nobody goes on, so this one began anew


@pytest.mark.parametrize(("go_on", "max_frames", "longest"), [(0.0, 100, 5), (1.0, 11, 11), (1.0, 14, 14)])
def test_runs_go_on_under_other_actions_until_they_are_old(tmp_path: Path, data: Path, go_on: float, max_frames: int,
                                                           longest: int) -> None:
    """A clip of 6 frames has 5 to make; each that follows has 6, until a run is `max_frames` old."""
    recipe = dataclasses.replace(RECIPE, go_on_prob=go_on, max_frames=max_frames)
    streams, _ = free_streams(make_tiny_world(tmp_path), data, recipe)
    ages = [int(streams.advance(1).ages[0]) for _ in range(40)]
    assert max(ages) == longest
    for before, age in zip(ages, ages[1:], strict=False):
        assert age == (1 if before == longest else before + 1)


def test_critic_sees_the_start_picture_and_every_place() -> None:
    torch.manual_seed(0)
    critic, pictures = PictureCritic(4), some_pictures(2)
    verdicts = critic(pictures, some_pictures(2, 1))
    assert verdicts.shape == (2, 4 * 4 + 2 * 2)
    assert not torch.allclose(verdicts, critic(pictures, some_pictures(2, 2)))
    changed = pictures.clone()
    changed[:, :, -1, -1] += 0.5
    moved = (critic(changed, some_pictures(2, 1)) - verdicts).abs()
    assert moved[:, 15].min() > 1e-6 and moved[:, 0].max() < 1e-6  # the last fine place and not the first


def training_of(world: Path, data: Path, recipe: FilterRecipe = RECIPE) -> FilterTraining:
    config = load_world_config(world)
    codec = load_codec(world, config)
    own = filter_loop.read_data(config, [data], codec)
    return FilterTraining(recipe, config, load_model(world, config), codec, own)


def test_filter_learns_to_undo_what_spoils_every_picture(tmp_path: Path, data: Path) -> None:
    """Young runs alone count, whose truth is known: a picture that is always too dark is made brighter."""
    recipe = dataclasses.replace(RECIPE, critic_weight=0.0, keep_weight=0.0, lr=3e-3, num_steps=10**6, truth_frames=1e9)
    training = training_of(make_tiny_world(tmp_path), data, recipe)
    torch.manual_seed(0)
    truth = some_pictures(16)
    spoiled = Examples(truth - 0.3, truth - 0.3, torch.ones(16, 1, 32, 32), truth, truth, torch.ones(16))
    before = (spoiled.pictures - truth).abs().mean()
    for _ in range(60):
        training._learn(spoiled)
    after = training.filter(spoiled.pictures, spoiled.moved, spoiled.seen, training.filter.style(truth))
    assert (after - truth).abs().mean() < 0.5 * before


def test_keep_weight_holds_what_was_seen_and_lets_go_of_what_was_not(tmp_path: Path, data: Path) -> None:
    """The truth asks for the same change everywhere; only where nothing was seen is it made."""
    recipe = dataclasses.replace(RECIPE, critic_weight=0.0, keep_weight=60.0, lr=3e-3, num_steps=10**6,
                                 truth_frames=1e9)
    training = training_of(make_tiny_world(tmp_path), data, recipe)
    pictures, seen = some_pictures(8), torch.ones(8, 1, 32, 32)
    seen[..., 16:] = 0.0
    examples = Examples(pictures, pictures, seen, pictures, (pictures + 0.3).clamp(-1, 1), torch.ones(8))
    for _ in range(80):
        training._learn(examples)
    made = training.filter(pictures, pictures, seen, training.filter.style(pictures))
    change = (made - pictures).abs().mean(dim=(0, 1, 2))
    assert change[18:].mean() > 3 * change[:14].mean()


def test_training_makes_a_world_that_plays_and_goes_on_after_a_kill(tmp_path: Path, data: Path) -> None:
    """From the command line, with scenarios and changed play settings; then again from its checkpoint."""
    park = ScenarioConfig("Park", "A park.", TINY_WORLD.controls, {"colour_hold": 0.2})
    scenarios = {"explore": park, "drive": dataclasses.replace(park, title="Road", stream={})}
    world = make_tiny_world(tmp_path / "world", scenarios=scenarios, scenario="explore")
    (tmp_path / "recipe.toml").write_text(
        "width = 4\ncritic_width = 4\nstreams = 2\nclip_frames = 6\npool = 8\nbatch = 4\nyoung_frames = 2\n"
        "num_steps = 6\nsave_every = 3\nlog_every = 3\nsample_every = 100\nprecision = 'fp32'\n"
        "[play_stream.explore]\ncontrast_hold = 0.02\n[play_strength]\nexplore = 0.5\ndrive = 0.0\n")
    out = tmp_path / "out"
    command = ["train", "filter", "--recipe", str(tmp_path / "recipe.toml"), "--world", str(world), "--data", str(data),
               "--out", str(out), "--threads", "1"]
    assert main(command) == 0
    config = load_world_config(out, "explore")
    assert config.codec.loop_filter_width == 4
    assert config.stream.contrast_hold == 0.02 and config.stream.colour_hold == 0.2
    assert config.stream.filter_strength == 0.5 and load_world_config(out).title == "Park"
    assert load_world_config(out, "drive").stream == dataclasses.replace(TINY_WORLD.stream, filter_strength=0.0)
    assert config.provenance["loop_filter"]["steps"] == 6
    played = load_world(f"{out}/explore", "cpu")
    played.prefill(np.zeros((1, 32, 32, 3), np.uint8))
    assert played._run.carried._filter is not None
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "minutes" in entry] == [3, 6]
    state = load_checkpoint(out / "filter_checkpoint.pt")
    plain = make_tiny_world(tmp_path / "plain")
    resumed = training_of(plain, data)
    assert not torch.equal(resumed.filter.stem.weight, state["filter"]["stem.weight"])
    resumed.restore(state)
    again = resumed.state()
    assert again["step"] == 6 and again["optimizer"]["state"][0]["step"] == 6
    for part in ("filter", "critic", "ema"):
        assert all(torch.equal(tensor, again[part][name]) for name, tensor in state[part].items())
    assert all(torch.equal(own, state["ema"][name]) for name, own in resumed.average.named_parameters())
    recipe = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(recipe.replace("num_steps = 6", "num_steps = 9"))
    assert main(command) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "minutes" in entry] == [3, 6, 9]


def test_sample_strip_shows_truth_above_dream_as_far_as_episodes_go(tmp_path: Path, data: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(filter_loop, "STRIP_FRAMES", (2, 4, 300))
    folder = make_tiny_world(tmp_path)
    training, config = training_of(folder, data), load_world_config(folder)
    codec = load_codec(folder, config)
    own = filter_loop.read_data(config, [data], codec)[""]
    scores = filter_loop.sample_strip(training, (config, load_model(folder, config), codec), own, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (4 * 2 * 32, 2 * 32, 3) and 0 < scores["sharpness"] and 0 < scores["contrast"]
    frames = torch.cat([pixels.to_float(torch.from_numpy(packed.frames(list(range(12))))) for packed in own._packed])
    shown = pixels.to_float(torch.from_numpy(picture[:32, :32].copy()))
    assert (frames - shown).abs().amax(dim=(1, 2, 3)).min() < 0.02  # a true frame, and the row below is none
    below = pixels.to_float(torch.from_numpy(picture[32:64, :32].copy()))
    assert (frames - below).abs().amax(dim=(1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(("changes", "recipe", "sentence"), [
    ({"model": dataclasses.replace(TINY_WORLD.model, anchor="previous")}, {}, "nothing to filter"),
    ({}, {"play_stream": {"swim": {"contrast_hold": 0.1}}}, "'swim'"),
    ({}, {"play_strength": {"swim": 0.1}}, "'swim'"),
])
def test_worlds_and_recipes_that_do_not_fit_are_refused(tmp_path: Path, data: Path, changes: dict, recipe: dict,
                                                        sentence: str) -> None:
    world = make_tiny_world(tmp_path, **changes)
    with pytest.raises(ConfigError, match=sentence):
        filter_loop.train(dataclasses.replace(RECIPE, **recipe), world, [data], [], tmp_path / "out")


def test_data_of_a_scenario_that_the_world_does_not_play_is_refused(tmp_path: Path, data: Path) -> None:
    road = ScenarioConfig("Road", "A road.", TINY_WORLD.controls)
    world = make_tiny_world(tmp_path, scenarios={"drive": road}, scenario="drive")
    config = load_world_config(world)
    with pytest.raises(ConfigError, match="explore"):
        filter_loop.read_data(config, [data], load_codec(world, config))


@pytest.mark.parametrize(("painter", "filtered", "with_patches"), [
    ("auto", True, True), ("auto", False, False), ("decoder", True, False), ("patches", False, True)])
def test_painter_says_what_draws_new_latents(painter: str, filtered: bool, with_patches: bool) -> None:
    config = dataclasses.replace(TINY_WORLD, stream=dataclasses.replace(TINY_WORLD.stream, painter=painter))
    codec = load_tiny_codec()
    torch.nn.init.normal_(codec.head.weight, std=0.1)
    codec.loop_filter = learned() if filtered else None
    motion = make_motion(config, codec)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode((latents * motion.scale)[:, None])[:, 0]
    expected = motion.paint(latents) if with_patches else decoded
    assert not torch.allclose(motion.paint(latents), decoded, atol=0.01)
    assert torch.equal(carried_picture(config, codec)._paint(latents), expected)


def test_a_filter_is_not_asked_at_rest_except_by_those_who_watch_it() -> None:
    asked = []

    class Counting(LoopFilter):
        def forward(self, *args: torch.Tensor) -> torch.Tensor:
            asked.append(1)
            return super().forward(*args)

    codec = load_tiny_codec()
    carried = carried_picture(TINY_WORLD, codec, Counting(4).eval())
    carried.show(some_pictures(1))
    for row, watched, times in ((camera_row(), False, 0), (camera_row(), True, 1), (camera_row(0.2), False, 2)):
        carried.filters_at_rest = watched
        anchors = carried.expect(torch.from_numpy(row).expand(1, 1, 12))
        carried.paint_over(anchors[:, :, :4])
        assert len(asked) == times
