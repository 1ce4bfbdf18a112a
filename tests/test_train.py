"""Training: resuming is exact, losses look where they should, the optimizer does what its paper says."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_kv_cache import relative_error
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import ControlsConfig, StreamConfig, load_world_config
from astra_play.errors import ConfigError, DataError
from astra_play.model.anchor import CameraMotion
from astra_play.model.carried import make_motion
from astra_play.model.history import CausalHistory
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream, two_stream_mask
from astra_play.train import codec_loop, dataset, world_data, world_loop, world_recipe
from astra_play.train.adversary import Adversary
from astra_play.train.dataset import read_episode
from astra_play.train.filter_recipe import FilterRecipe
from astra_play.train.job import JobRecipe
from astra_play.train.latents import Clips, LatentDataset
from astra_play.train.loop import (
    FlopCount,
    load_checkpoint,
    load_recipe,
    matmul_flop_s,
    psnr_db,
    save_checkpoint,
    schedule_position,
)
from astra_play.train.losses import (
    NoiseOptions,
    Past,
    Predictions,
    draw_sigmas,
    energy_score,
    noise_before,
    own_past,
    resemblance,
    world_loss,
)
from astra_play.train.optim import EMA, Muon, learning_rate_factor, make_optimizers, orthogonalise
from astra_play.train.replicas import ALONE, Replicas

RECIPES = Path(world_loop.__file__).parent / "recipes"


class FakeData:
    """What LatentDataset offers, from noise."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.latents = torch.randn(3, 20, 4, 4, 4)
        self.rows = torch.from_numpy(np.stack([camera_row(0.1, 0.0, 0.02 * t) for t in range(20)])).repeat(3, 1, 1)
        self.before = torch.randint(0, 256, (3, 20, 32, 32, 3), dtype=torch.uint8)

    def sample(self, batch: int, num_frames: int, gap_prob: float, generator: torch.Generator) -> Clips:
        picks = torch.randint(3, (batch,), generator=generator)
        own = picks, slice(num_frames)
        return Clips(self.latents[own], self.rows[own], picks == 0, self.before[own])


def tiny_motion() -> CameraMotion:
    codec = MiniCodec(TINY_WORLD.codec)
    fit_linear(codec, torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return make_motion(TINY_WORLD, codec)


def parts(data: FakeData, motion: CameraMotion | None) -> dict[str, world_data.Part]:
    return {"": world_data.Part(data, "camera", motion)}


def tiny_recipe(**changes) -> world_recipe.WorldRecipe:
    recipe = world_recipe.WorldRecipe(
        name="tiny", title="", description="", model=TINY_WORLD.model, stream=TINY_WORLD.stream, clip_frames=5, batch=2,
        num_steps=8, warmup_steps=1, decay_steps=2, rollout_from_step=2, rollout_prob=0.7, rollout_extra_frames=4,
        energy_from_step=5, critic_from_step=1, critic_warmup_steps=2, precision="fp32")
    return dataclasses.replace(recipe, **changes)


def test_four_and_four_steps_equal_eight(tmp_path) -> None:
    recipe, data, motion = tiny_recipe(), FakeData(), tiny_motion()
    whole = world_loop.WorldTraining(recipe, parts(data, motion), TINY_WORLD)
    losses = [whole.step_once() for _ in range(8)]
    first = world_loop.WorldTraining(recipe, parts(data, motion), TINY_WORLD)
    for _ in range(4):
        first.step_once()
    save_checkpoint(tmp_path / "checkpoint.pt", first.state())
    second = world_loop.WorldTraining(recipe, parts(data, motion), TINY_WORLD)
    second.restore(load_checkpoint(tmp_path / "checkpoint.pt"))
    assert [second.step_once() for _ in range(4)] == losses[4:]
    assert any("mse_own" in step for step in losses)  # the network's own past was in it
    assert sum("critic" in step for step in losses) == 7
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(second.model.named_parameters())[name]), name
        assert torch.equal(whole.ema.shadow[name], second.ema.shadow[name]), name


def test_scenarios_take_turns_by_their_shares_and_are_told_apart_in_the_log() -> None:
    camera, vehicle = FakeData(), FakeData()
    vehicle.rows = torch.from_numpy(np.stack([vehicle_row(0.5, 0.0, 0.02 * t) for t in range(20)])).repeat(3, 1, 1)
    model = dataclasses.replace(TINY_WORLD.model, modalities={"camera": 13, "vehicle": 8})
    both = {"walk": world_data.Part(camera, "camera", tiny_motion(), 1.0),
            "drive": world_data.Part(vehicle, "vehicle", tiny_motion(), 3.0)}
    config = dataclasses.replace(TINY_WORLD, model=model)
    training = world_loop.WorldTraining(tiny_recipe(model=model, num_steps=24), both, config)
    seen = [training.step_once() for _ in range(12)]
    drives = sum(any(name.endswith("_drive") for name in step) for step in seen)
    walks = sum(any(name.endswith("_walk") for name in step) for step in seen)
    assert drives + walks == 12 and drives > walks > 0
    chosen = [training._choose(chance)[0] for chance in (0.0, 0.24, 0.26, 0.999)]
    assert chosen == ["walk", "walk", "drive", "drive"]


def test_the_critic_comes_gradually_and_steps_back_late() -> None:
    recipe = tiny_recipe(critic_from_step=100, critic_warmup_steps=50, critic_share=1.0, critic_late_share=0.4,
                         critic_late_steps=(200, 300))
    shares = [world_recipe.critic_share(recipe, step) for step in (0, 100, 125, 150, 200, 250, 300, 900)]
    assert shares == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0, 0.7, 0.4, 0.4])
    assert world_recipe.critic_share(tiny_recipe(critic_from_step=0), 500) == 0.5


def test_a_finished_world_is_saved_with_the_stream_of_play_and_the_recipe_of_training(tmp_path) -> None:
    codec_folder, data = make_tiny_world(tmp_path / "codec"), FakeData()
    data.num_frames, data.dataset = 60, type("D", (), {"manifest": {"scenario": "explore", "sha256_of_all": "x"}})()
    recipe = tiny_recipe(play_stream={"contrast_hold": 0.7})
    training = world_loop.WorldTraining(recipe, parts(data, None), TINY_WORLD)
    (tmp_path / "out").mkdir()
    world_loop.save_world(training, codec_folder, tmp_path / "out")
    saved = load_world_config(tmp_path / "out")
    assert saved.stream == dataclasses.replace(TINY_WORLD.stream, contrast_hold=0.7)
    assert saved.provenance["recipe"]["stream"]["contrast_hold"] == TINY_WORLD.stream.contrast_hold
    assert saved.provenance["data_sha256"] == {"explore": "x"}


def folder_of(scenario: str, folder: Path, num_episodes: int = 1) -> Path:
    """A data set of made-up episodes of 8 frames."""
    folder.mkdir()
    rng, row = np.random.default_rng(0), {"explore": camera_row, "drive": vehicle_row}[scenario]
    digests = {}
    for seed in range(num_episodes):
        pngs = [dataset._encode_png(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)) for _ in range(8)]
        path = folder / dataset._episode_name(seed)
        np.savez(path, frames_png=np.frombuffer(b"".join(pngs), np.uint8),
                 frame_offsets=np.cumsum([0] + [len(png) for png in pngs]), seed=np.int64(seed), poses=np.zeros((8, 5)),
                 rows=np.stack([row(0.1 * t) for t in range(8)]), controls=np.zeros((8, 4), np.float32))
        digests[str(seed)] = dataset._sha256(path)
    dataset._write_manifest(folder, dataset.Settings(scenario, 16, 32, 32, 8), digests)
    return folder


def test_a_recipe_of_scenarios_makes_one_config_with_all_of_them(tmp_path, monkeypatch) -> None:
    explore, drive = folder_of("explore", tmp_path / "e"), folder_of("drive", tmp_path / "d")
    codec_folder = make_tiny_world(tmp_path / "codec")
    codec = MiniCodec(TINY_WORLD.codec)
    vehicle = ControlsConfig(modality="vehicle", buttons=("forward",))
    monkeypatch.setattr(world_data.scenarios, "controls", {"explore": ControlsConfig(), "drive": vehicle}.get)
    recipe = tiny_recipe(
        model=dataclasses.replace(TINY_WORLD.model, modalities={"camera": 13, "vehicle": 8}),
        scenarios={"explore": world_recipe.ScenarioRecipe("Park", ""),
                   "drive": world_recipe.ScenarioRecipe("Road", "", share=2.0)})
    data = world_data.read_data(recipe, [drive, explore], codec, torch.ones(4))
    config = world_data.world_config(recipe, codec_folder, data)
    assert list(config.scenarios) == ["explore", "drive"] and config.scenario == "explore" and config.title == "Park"
    assert config.playing("drive").controls == vehicle
    assert len(config.model.action_std["vehicle"]) == 8 and len(config.model.action_mean["camera"]) == 13
    parts = world_data.parts_of(recipe, config, data, codec)
    assert [(part.modality, part.share) for part in parts.values()] == [("camera", 1.0), ("vehicle", 2.0)]
    with pytest.raises(ConfigError, match="needs data of explore, drive, but the folders hold drive"):
        world_data.read_data(recipe, [drive], codec, torch.ones(4))
    with pytest.raises(ConfigError, match="takes one data folder, but 2 were given"):
        world_data.read_data(tiny_recipe(), [drive, explore], codec, torch.ones(4))


def test_a_damaged_checkpoint_is_reported(tmp_path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_training_lowers_the_loss_on_what_it_sees() -> None:
    data = FakeData()
    recipe = tiny_recipe(num_steps=60, rollout_from_step=10**9, energy_from_step=10**9, critic_from_step=10**9)
    training = world_loop.WorldTraining(recipe, parts(data, tiny_motion()), TINY_WORLD)
    losses = [training.step_once()["mse"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_mask_shows_each_token_exactly_its_past() -> None:
    frames, per_chunk, tokens = 6, 2, 3
    mask = two_stream_mask(frames, per_chunk, tokens, torch.device("cpu"))
    streams = [("clean", t) for t in range(4)] + [("noisy", t) for t in range(2, 6)]
    for i, (query_stream, query) in enumerate(streams):
        for j, (key_stream, key) in enumerate(streams):
            q, k = query // per_chunk, key // per_chunk
            allowed = (k <= q if query_stream == "clean" else k < q) if key_stream == "clean" else (
                query_stream == "noisy" and k == q)
            block = mask[i * tokens:(i + 1) * tokens, j * tokens:(j + 1) * tokens]
            assert block.all() == allowed and block.any() == allowed, (streams[i], streams[j])


def test_no_target_can_see_itself_or_the_future() -> None:
    torch.manual_seed(1)
    model = Transformer(TINY_WORLD.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    clips = FakeData().sample(1, 5, 0.0, torch.Generator().manual_seed(3))
    history = clips.latents.clone().requires_grad_()
    two_stream = TwoStream(model, 5, 1, torch.device("cpu"))
    options = NoiseOptions(history_sigma_max=0.0, action_dropout=0.0)
    seen = {}
    original = two_stream.__call__

    class Spy:
        frames_per_chunk = num_samples = 1
        model = two_stream.model

        def __call__(self, batch):
            result = original(batch)
            seen["clean"] = result.clean
            return result

    past = Past(history, torch.randn(history.shape))
    world_loss(Spy(), clips, past, options, "camera", torch.Generator().manual_seed(0))
    for target in range(1, 5):
        gradient, = torch.autograd.grad(seen["clean"][:, target - 1].sum(), history, retain_graph=True)
        reaches = gradient.abs().sum(dim=(0, 2, 3, 4)) > 0
        assert reaches.tolist() == [t < target for t in range(5)], target


def test_samples_of_a_target_do_not_see_each_other() -> None:
    mask = two_stream_mask(4, 1, 1, torch.device("cpu"), num_samples=2)
    single = two_stream_mask(4, 1, 1, torch.device("cpu"))
    first, second = list(range(6)), [0, 1, 2, 6, 7, 8]
    for kept in (first, second):
        assert torch.equal(mask[kept][:, kept], single)
    assert not mask[3:6, 6:].any() and not mask[6:, 3:6].any()


def test_energy_score_prefers_a_spread_that_matches_the_truth() -> None:
    """Truth is +1 or -1 everywhere, by chance: the mean (0) must score worse than drawing either."""
    torch.manual_seed(0)
    truth = torch.randn(4000, 1, 1, 1, 1).sign().expand(-1, -1, 2, 2, 2)
    spread = torch.ones(4000, 1)

    def score(samples: torch.Tensor) -> float:
        return energy_score(samples, truth, spread, (2, 2)).mean().item()

    drawn = torch.randn(4000, 2, 1, 1, 1, 1).sign().expand(-1, -1, -1, 2, 2, 2)
    assert score(drawn) == pytest.approx(0.5, abs=0.03)  # E|X-y| = 1, E|X-X'| = 1
    assert score(torch.zeros_like(drawn)) == pytest.approx(1.0, abs=0.01)
    assert score(drawn.abs()) == pytest.approx(1.0, abs=0.03)  # always the same picture is no better


@pytest.mark.parametrize("chunk", [1, 2])
def test_targets_count_by_how_true_the_past_before_their_chunk_is(chunk: int) -> None:
    truth = torch.randn(2, 6, 3, 4, 4)
    past = truth.clone()
    past[1, 3] += 0.5  # mean squared distance 0.25 in frame 3 of the second clip
    weights = resemblance(past, truth, chunk, tolerance=0.25)
    assert weights.shape == (2, 6 - chunk)
    expected = torch.ones(6 - chunk)
    after = {1: [3], 2: [2, 3]}[chunk]  # targets whose chunk follows frame 3
    expected[after] = math.exp(-1.0)
    assert torch.allclose(weights[1], expected) and torch.equal(weights[0], torch.ones(6 - chunk))


def test_noise_levels_of_history_and_target_are_independent_and_as_configured() -> None:
    options = NoiseOptions(full_noise_prob=0.5, history_sigma_max=0.3, history_clean_prob=0.4)
    target, history = draw_sigmas(4000, 4, options, torch.Generator().manual_seed(0))
    assert (target == 1.0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    clean = (history == 0).all(dim=1)
    assert clean.float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert 0 < history[~clean].min() and history.max() <= 0.3 and target.min() >= 0.02
    assert abs(np.corrcoef(target[~clean].flatten(), history[~clean].flatten())[0, 1]) < 0.03


@pytest.mark.parametrize("carries", [False, True])
def test_a_rollout_starts_true_and_goes_on_as_the_player_would(carries: bool) -> None:
    torch.manual_seed(2)
    model = Transformer(TINY_WORLD.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    stream = StreamConfig(sink_chunks=1, ring_chunks=3, sigmas=(1.0, 0.0))
    clips = FakeData().sample(2, 6, 0.0, torch.Generator().manual_seed(0))
    motion = tiny_motion() if carries else None
    past = own_past(model, stream, clips, 2, "camera", torch.Generator().manual_seed(7), motion)
    assert torch.equal(past.latents[:, :2], clips.latents[:, :2]) and past.latents.shape == clips.latents.shape
    noise = torch.Generator().manual_seed(7)
    history = CausalHistory(model, stream, "camera", batch=2)
    picture = clips.pictures_before(2)
    with torch.no_grad():
        for t in range(5):
            history.push(past.latents[:, t:t + 1], clips.rows[:, t:t + 1], past.anchors[:, t:t + 1])
            if t == 0:
                continue
            row, anchor = clips.rows[:, t + 1:t + 2], past.latents[:, t:t + 1]
            if carries:
                moved, _, anchor = motion.expect(picture, row)
            assert relative_error(past.anchors[:, t + 1:t + 2], anchor) < 1e-5
            noisy = torch.randn(2, 1, 4, 4, 4, generator=noise)
            expected = noisy - history.velocity(noisy, 1.0, row, anchor=anchor)
            if carries:
                detail = moved[:, 0] - motion.paint(anchor[:, 0])
                picture = (motion.paint(expected[:, 0]) + (1 - stream.detail_leak) * detail).clamp(-1, 1)
                expected = motion.encode(picture)[:, None]
            assert relative_error(past.latents[:, t + 1:t + 2], expected) < 1e-4


@pytest.mark.parametrize("chunk", [1, 2])
def test_an_anchor_is_as_noisy_as_the_frame_it_comes_from(chunk: int) -> None:
    sigma = torch.rand(2, 6)
    before = noise_before(sigma, chunk)
    for t in range(6):
        assert torch.equal(before[:, t], sigma[:, max(0, t // chunk * chunk - 1)])


def test_the_critic_pulls_predictions_towards_what_is_true() -> None:
    """Truth is +1 or -1, a prediction their mean: the push leads away from 0, and only where noise was the start."""
    torch.manual_seed(0)
    adversary = Adversary(TINY_WORLD.model, torch.device("cpu"), 0, lr=2e-3, penalty=0.01, hidden=16, num_blocks=1)
    for _ in range(150):
        target = torch.randn(8, 4, 1, 1, 1).sign().expand(-1, -1, 4, 4, 4)
        clean = 0.3 * torch.randn(8, 1, 4, 1, 1, 1).expand(-1, -1, -1, 4, 4, 4)
        from_noise = torch.ones(8, 4)
        from_noise[:, 0] = 0
        push, parts = adversary.judge(Predictions(clean, target, from_noise), 16, ALONE)
    assert parts["critic_margin"] > 0.2
    moved = (push != 0).flatten(3).any(dim=3)[:, 0]
    assert moved.sum() == 16 and not moved[:, 0].any()
    outward = (push[:, 0] * clean[:, 0]).flatten(2).sum(dim=2)[moved]  # a loss falls against its gradient
    assert (outward < 0).float().mean() > 0.8


def test_orthogonalise_nears_the_polar_factor() -> None:
    torch.manual_seed(0)
    for shape in ((24, 8), (8, 24), (16, 16)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        ours = orthogonalise(matrix, torch.float32)
        assert torch.linalg.svdvals(ours).max() < 1.3
        assert torch.nn.functional.cosine_similarity(ours.flatten(), (u @ v).flatten(), dim=0) > 0.9


def test_muon_takes_the_matrices_inside_blocks_and_splits_fused_ones() -> None:
    model = Transformer(TINY_WORLD.model)
    muon, adam = make_optimizers(model, 1e-3, 1e-3, 0.0, torch.float32)
    names = {id(p): n for n, p in model.named_parameters()}
    taken = sorted(names[id(p)].split(".", 2)[2] for p in muon.param_groups[0]["params"])
    assert set(taken) == {"adapter.weight", "attention.out.weight", "attention.qkv.weight",
                          "mlp.down.weight", "mlp.up.weight"}
    assert len(muon.param_groups[0]["params"]) + len(adam.param_groups[0]["params"]) == len(names)
    weight = torch.nn.Parameter(torch.zeros(12, 4))
    optimizer = Muon([weight], lr=1.0, splits={id(weight): 3})
    weight.grad = torch.cat([torch.randn(4, 4) * s for s in (1e-3, 1.0, 1e3)])
    optimizer.step()
    sizes = [piece.norm().item() for piece in weight.detach().chunk(3)]
    assert max(sizes) < 1.5 * min(sizes)  # each matrix by itself, so the loud one does not drown the others


def test_ema_follows_fast_first_and_slowly_later() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    ema = EMA(model, 0.9)
    torch.nn.init.ones_(model.weight)
    ema.update(model, 0)
    assert ema.shadow["weight"].item() == pytest.approx(0.9)
    ema.update(model, 10_000)
    assert ema.shadow["weight"].item() == pytest.approx(0.91)


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(s, 100, 10, 20) for s in range(100)]
    assert factors[0] == 0.1 and factors[9:81] == [1.0] * 72 and factors[-1] == 0.05
    assert learning_rate_factor(100, 100, 10, 20) == 0.0


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    if path.stem in ("cpu", "h200"):
        assert load_recipe(JobRecipe, path).data
    elif path.stem.endswith("codec"):
        assert load_recipe(codec_loop.CodecRecipe, path).num_steps
    elif path.stem.endswith("filter"):
        recipe = load_recipe(FilterRecipe, path)
        assert recipe.num_steps > recipe.decay_steps and recipe.first_max_frames < recipe.max_frames
    else:
        recipe = load_recipe(world_recipe.WorldRecipe, path)
        assert Transformer(recipe.model) and recipe.num_steps > recipe.decay_steps


def test_a_recipe_takes_from_the_one_that_it_extends_what_it_does_not_say(tmp_path) -> None:
    (tmp_path / "base.toml").write_text("batch = 3\nlr = 0.5\n[codec]\ndecoder_width = 7\ndecoder_blocks = 5\n")
    (tmp_path / "middle.toml").write_text("extends = 'base.toml'\nlr = 0.25\n[codec]\ndecoder_blocks = 4\n")
    (tmp_path / "r.toml").write_text("extends = 'middle.toml'\nbatch = 9\n")
    recipe = load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")
    assert (recipe.batch, recipe.lr, recipe.codec.decoder_width, recipe.codec.decoder_blocks) == (9, 0.25, 7, 4)
    (tmp_path / "r.toml").write_text("extends = 'r.toml'\n")
    with pytest.raises(ConfigError, match="must name another recipe"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("extends = 'gone.toml'\n")
    with pytest.raises(ConfigError, match=r"gone\.toml does not exist"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")


def test_an_ablation_changes_what_its_name_says_and_nothing_else() -> None:
    base = dataclasses.asdict(load_recipe(world_recipe.WorldRecipe, RECIPES / "ablation_base.toml"))
    changed = {}
    for path in RECIPES.glob("ablation_*.toml"):
        own = dataclasses.asdict(load_recipe(world_recipe.WorldRecipe, path))
        changed[path.stem.removeprefix("ablation_")] = {
            name if not isinstance(value, dict) else f"{name}.{inner}" for name, value in own.items()
            for inner in (value if isinstance(value, dict) else [""])
            if (value[inner] != base[name][inner] if isinstance(value, dict) else value != base[name])}
    assert changed == {"base": set(), "no_noise_memory": {"noise.history_sigma_max"},
                       "no_guidance": {"noise.action_dropout"}, "cross_attention": {"model.adapter"},
                       "no_experts": {"model.num_experts", "model.router_top_k"},
                       "fixed_router": {"model.router", "model.num_experts", "model.router_top_k"}}


def test_a_budget_of_minutes_stretches_the_schedule_to_the_time() -> None:
    assert [schedule_position(step, 100, 3.0, 0.0) for step in (0, 7, 100)] == [0, 7, 100]
    assert [schedule_position(5, 100, minutes, 10.0) for minutes in (0.0, 2.5, 9.99, 10.0)] == [0, 25, 99, 100]
    training = world_loop.WorldTraining(tiny_recipe(minutes=2.0), parts(FakeData(), tiny_motion()), TINY_WORLD)
    training.minutes = 1.0  # half of eight steps, though not one was made
    assert training.position == 4
    measured = training.step_once()
    assert "critic" in measured  # from step 1 on, by place in the schedule
    training.minutes = 2.0
    assert training.position == 8 and training.step == 1


def test_operations_are_counted_once_for_each_kind_of_step_and_the_backward_pass_too() -> None:
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5)
    with FlopCount() as count:
        (x @ weight).sum().backward()
    assert count.total == 2 * (2 * 3 * 5 * 7)
    training = world_loop.WorldTraining(tiny_recipe(critic_from_step=99), parts(FakeData(), tiny_motion()), TINY_WORLD)
    done = []
    for _ in range(6):
        before = training.flop_done
        training.step_once()
        done.append(training.flop_done - before)
    assert len(training._flop) == len(set(done)) < 6  # true past, own past, one and two samples


def test_the_rate_of_products_is_that_of_this_machine() -> None:
    assert 1e8 < matmul_flop_s(torch.device("cpu"), torch.float32) < 1e14


def test_a_misspelt_recipe_name_is_an_error(tmp_path) -> None:
    (tmp_path / "r.toml").write_text("bacth = 3\n")
    with pytest.raises(ConfigError, match="'bacth'; did you mean 'batch'"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")


def test_psnr_counts_pictures_from_minus_one_to_one() -> None:
    assert psnr_db(4.0) == 0.0 and psnr_db(0.04) == pytest.approx(20.0)


class FakePairs(codec_loop.FramePairs):
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.frames = [torch.from_numpy(np.cumsum(rng.integers(0, 3, (12, 32, 32, 3)), axis=2).astype(np.uint8) * 2)]


def test_codec_training_resumes_exactly_and_beats_its_linear_start(tmp_path) -> None:
    recipe = codec_loop.CodecRecipe(codec=TINY_WORLD.codec, batch=4, num_steps=120, warmup_steps=2, decay_steps=40,
                                    precision="fp32", lr=6e-3)
    data = FakePairs()

    def fresh() -> codec_loop.CodecTraining:
        torch.manual_seed(0)
        codec = codec_loop.MiniCodec(recipe.codec)
        scale = codec_loop.fit_linear(codec, data.spread(12)) ** 0.5
        return codec_loop.CodecTraining(recipe, codec, scale, data)

    whole, first, second = fresh(), fresh(), fresh()
    losses = [whole.step_once()["loss"] for _ in range(8)]
    for _ in range(4):
        first.step_once()
    save_checkpoint(tmp_path / "c.pt", first.state())
    second.restore(load_checkpoint(tmp_path / "c.pt"))
    assert [second.step_once()["loss"] for _ in range(4)] == losses[4:]
    for _ in range(112):
        whole.step_once()
    scores = codec_loop.evaluate_codec(whole.averaged(), data.spread(12))
    assert scores["held_out_db"] > scores["linear_db"] + 0.2
    manifest = {"width": 32, "height": 32, "fps": 16, "sha256_of_all": "x", "scenario": "y"}
    fake = type("D", (), {"manifest": manifest})()
    assert json.dumps(codec_loop.codec_world(recipe, [fake], whole.scale.flatten()).provenance)


def test_bfloat16_training_runs_with_both_kinds_of_past() -> None:
    recipe = tiny_recipe(precision="bf16", rollout_from_step=1, rollout_prob=1.0)
    training = world_loop.WorldTraining(recipe, parts(FakeData(), tiny_motion()), TINY_WORLD)
    for name in ("mse", "mse_own", "mse_own"):
        assert np.isfinite(training.step_once()[name])


class CountedFrames:
    """Frame i of an episode, all pixels i."""

    @staticmethod
    def frames(indices: list[int]) -> np.ndarray:
        return np.stack([np.full((2, 2, 3), i, np.uint8) for i in indices])


def test_clips_of_a_data_set_are_float32_even_under_autocast_and_know_what_came_before() -> None:
    data = LatentDataset.__new__(LatentDataset)
    data.lengths, data._packed, data._pictures = [40], [CountedFrames()], None
    data.latents, data.rows = torch.arange(40.0).reshape(40, 1, 1, 1).half(), torch.arange(40.0)[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        clips = data.sample(4, 10, 1.0, torch.Generator().manual_seed(0))
    assert clips.latents.dtype == torch.float32
    frames = clips.latents[..., 0, 0, 0]
    assert (frames[:, 2:] - frames[:, 1:-1] == 1).all() and (clips.is_gap == (frames[:, 0] < frames[:, 1])).all()
    assert (frames[:, 0] < frames[:, 1]).all() and torch.equal(clips.rows[..., 0], frames)
    assert torch.equal(clips.before[..., 0, 0, 0], (frames - 1).clamp_min(0).byte())  # in the episode, not in the clip


def test_pictures_beside_the_latents_are_those_from_disk(tmp_path) -> None:
    """What an accelerator is given at once, a CPU unpacks clip by clip; second episode, so that offsets count."""
    folder = folder_of("explore", tmp_path / "e", num_episodes=2)
    packed = LatentDataset(folder, MiniCodec(TINY_WORLD.codec), torch.ones(4), with_pictures=True)
    raw = LatentDataset.__new__(LatentDataset)
    raw.__dict__.update(packed.__dict__, _packed=[], _pictures=torch.cat([
        torch.from_numpy(own.frames(range(len(own)))) for own in packed._packed]))
    ours, theirs = (data.sample(6, 4, 0.5, torch.Generator().manual_seed(1)) for data in (raw, packed))
    assert torch.equal(ours.before, theirs.before) and torch.equal(ours.latents, theirs.latents)
    episodes = [read_episode(path).frames for path in packed.dataset.episodes]
    encoded = packed.latents[8:].float()  # the second episode's
    found = 0
    for clip in range(6):
        for frame in range(1, 4):
            for i in (i for i in range(8) if torch.equal(encoded[i], ours.latents[clip, frame])):
                assert np.array_equal(ours.before[clip, frame].numpy(), episodes[1][max(0, i - 1)])
                found += 1
    assert found >= 3


def _average_in_one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    replicas, model = Replicas(rank, 2), torch.nn.Linear(2, 1)
    model.weight.grad = torch.tensor([[1.0, 2.0]]) * (1 + 2 * rank)
    model.bias.grad = torch.tensor([4.0]) if rank else None  # a parameter that only one replica used
    replicas.average_gradients(model)
    told = (model.weight.grad.tolist(), model.bias.grad.tolist(), replicas.gather(rank))
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    torch.distributed.destroy_process_group()


def test_replicas_share_the_mean_gradient(tmp_path) -> None:
    torch.multiprocessing.spawn(_average_in_one_of_two, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[[2.0, 4.0]], [2.0], [0, 1]]


def test_replicas_draw_other_clips_but_decide_alike() -> None:
    recipe, data = tiny_recipe(), FakeData()
    ours, theirs = (world_loop.WorldTraining(recipe, parts(data, None), TINY_WORLD, Replicas(r, 2)) for r in (0, 1))
    assert not torch.equal(*(t._draw(t.parts[""], 5).before for t in (ours, theirs)))
    assert [ours._chances() for ours.step in range(5)] == [theirs._chances() for theirs.step in range(5)]
    assert torch.equal(ours.model.patch_embedding.weight, theirs.model.patch_embedding.weight)
