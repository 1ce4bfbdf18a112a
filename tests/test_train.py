"""Training: resuming is exact, scenarios take turns, data and replicas are what they should be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_training import FakeData, parts, tiny_motion, tiny_recipe
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.codec.mini import MiniCodec
from astra_play.config import ControlsConfig, load_world_config
from astra_play.errors import ConfigError, DataError
from astra_play.train import codec_loop, dataset, world_data, world_loop, world_recipe
from astra_play.train.dataset import read_episode
from astra_play.train.latents import LatentDataset
from astra_play.train.loop import (
    load_checkpoint,
    psnr_db,
    save_checkpoint,
)
from astra_play.train.replicas import Replicas


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


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"contrast_hodl": 0.7}, "contrast_hodl"), ({"contrast_hold": "much"}, "must be of type float"),
    ({"contrast_hold": 7.0}, r"contrast_hold must be in \[0, 1\]")])
def test_settings_of_play_that_cannot_be_are_refused_before_the_training(settings, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        world_loop.as_played(TINY_WORLD, tiny_recipe(play_stream=settings))


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
