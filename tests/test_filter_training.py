"""How a loop filter learns: free runs, the pool of what it was given, the critic, from a recipe to the world."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_filter import RECIPE, learned, load_tiny_codec, some_pictures
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row
from astra_play.cli import main
from astra_play.codec import pixels
from astra_play.codec.loop_filter import LoopFilter
from astra_play.config import ScenarioConfig, load_world_config
from astra_play.errors import ConfigError, DataError
from astra_play.model.carried import carried_picture
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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of noise, whose frames all differ."""
    folder, rng = tmp_path_factory.mktemp("episodes"), np.random.default_rng(0)
    writer = EpisodeWriter(folder, Settings("explore", 16, 32, 32, 12))
    for seed in range(3):
        rows = np.stack([camera_row(0.1, 0.0, 0.05 * seed)] * 12)
        writer.write(seed, rng.integers(0, 256, (12, 32, 32, 3), np.uint8), rows, np.zeros((12, 0)), np.zeros((12, 4)))
    return folder


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


def test_more_training_begins_with_the_filter_of_the_world(tmp_path: Path, data: Path) -> None:
    plain = make_tiny_world(tmp_path / "plain")
    recipe = dataclasses.replace(RECIPE, num_steps=2)
    filter_loop.train(recipe, plain, [data], [], tmp_path / "first")
    still = dataclasses.replace(recipe, lr=0.0, seed=5)
    filter_loop.train(still, tmp_path / "first", [data], [], tmp_path / "more", more=True)
    filter_loop.train(still, tmp_path / "first", [data], [], tmp_path / "anew")
    first, more, anew = (load_codec(tmp_path / name, load_world_config(tmp_path / name)).loop_filter.stem.weight
                         for name in ("first", "more", "anew"))
    assert torch.allclose(more, first, atol=1e-3) and not torch.allclose(anew, first, atol=1e-3)
    told = [load_world_config(tmp_path / name).provenance["loop_filter"] for name in ("first", "more", "anew")]
    assert told[1]["began_with"] == told[0] and "began_with" not in told[2]
    for world, wanted in ((plain, RECIPE), (tmp_path / "first", dataclasses.replace(RECIPE, width=RECIPE.width + 1))):
        with pytest.raises(ConfigError, match="leave out --more"):
            filter_loop.train(wanted, world, [data], [], tmp_path / "refused", more=True)


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


def test_episodes_too_short_for_runs_or_strips_are_refused_before_the_training(tmp_path: Path, data: Path) -> None:
    world, short = make_tiny_world(tmp_path / "world"), tmp_path / "short"
    writer = EpisodeWriter(short, Settings("explore", 16, 32, 32, 12))
    for seed in range(2):
        writer.write(seed, np.zeros((7, 32, 32, 3), np.uint8), np.stack([camera_row()] * 7), np.zeros((7, 0)),
                     np.zeros((7, 4)))
    with pytest.raises(DataError, match="has 7 frames, but a free run of clip_frames needs 8"):
        filter_loop.train(RECIPE, world, [short], [data], tmp_path / "out")
    with pytest.raises(DataError, match="has 7 frames, but a sample strip needs 11"):
        filter_loop.train(RECIPE, world, [data], [short], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_of_a_scenario_that_the_world_does_not_play_is_refused(tmp_path: Path, data: Path) -> None:
    road = ScenarioConfig("Road", "A road.", TINY_WORLD.controls)
    world = make_tiny_world(tmp_path, scenarios={"drive": road}, scenario="drive")
    config = load_world_config(world)
    with pytest.raises(ConfigError, match="explore"):
        filter_loop.read_data(config, [data], load_codec(world, config))
