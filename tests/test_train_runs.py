"""Whole runs of `train world` and `train codec`: killed, repeated, and given data that they cannot use."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_training import FakeData, parts, tiny_motion, tiny_recipe
from test_train import folder_of
from tiny_filter import RECIPE
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row
from astra_play.codec.distances import DistanceFinder, Guess
from astra_play.codec.mini import MiniCodec
from astra_play.config import written_world_config
from astra_play.errors import AstraPlayError, ConfigError, DataError
from astra_play.model.checkpoint import CODEC_FILE, MODEL_FILE, read_tensors
from astra_play.model.loading import load_world
from astra_play.train import codec_loop, codec_parts, filter_loop, world_loop
from astra_play.train.codec_parts import fit_finder
from astra_play.train.dataset import EpisodeWriter, Settings
from astra_play.train.latents import LatentDataset
from astra_play.train.loop import load_checkpoint, save_checkpoint
from astra_play.train.optim import Stepper
from astra_play.train.replicas import Replicas


def episodes(folder: Path, *lengths: int, size: int = 32, first_seed: int = 0) -> Path:
    """A data set of the park whose pictures are noise, one episode for each length."""
    rng, writer = np.random.default_rng(0), EpisodeWriter(folder, Settings("explore", 16, size, size, 60))
    for seed, length in enumerate(lengths, first_seed):
        rows = np.stack([camera_row(0.1, 0.0, 0.02 * (t % 5)) for t in range(length)])
        writer.write(seed, rng.integers(0, 256, (length, size, size, 3), np.uint8), rows, np.zeros((length, 5)),
                     np.zeros((length, 4)))
    return folder


def test_clips_come_from_the_episodes_that_are_long_enough(tmp_path: Path) -> None:
    """Imported clips end in pieces of any length, and a step must not fail because it drew one."""
    data = LatentDataset(episodes(tmp_path / "data", 10, 30, 8, 18), MiniCodec(TINY_WORLD.codec), torch.ones(4))
    for num_frames, number in ((17, 2), (5, 4), (29, 1)):
        drawn = data.sample(200, num_frames, 0.3, torch.Generator().manual_seed(0)).latents
        own = [latents for latents, length in zip(data.latents.split(data.lengths), data.lengths, strict=True)
               if (drawn[:, -1, None] == latents).flatten(2).all(dim=2).any() and length > num_frames]
        assert drawn.shape[:2] == (200, num_frames) and len(own) == number
    with pytest.raises(DataError, match="no episode has 31 frames"):
        data.sample(1, 30, 0.3, torch.Generator().manual_seed(0))


def test_a_run_without_clips_of_the_length_that_it_draws_says_so_at_its_start(tmp_path: Path) -> None:
    world, out = make_tiny_world(tmp_path / "world"), tmp_path / "out"
    short, enough = episodes(tmp_path / "short", 9, 4), episodes(tmp_path / "enough", 10)
    with pytest.raises(DataError, match="has 9 frames, but a clip of clip_frames and rollout_extra_frames needs 10"):
        world_loop.train(tiny_recipe(), [short], world, out)  # 5 frames, 4 more of a rollout and one before them
    with pytest.raises(DataError, match="has 4 frames, but a sample strip needs 5"):
        world_loop.train(tiny_recipe(), [enough], world, out, [episodes(tmp_path / "no_strip", 4)])
    assert not out.exists()
    world_loop.train(tiny_recipe(num_steps=2, sample_every=1), [enough], world, out, [short])
    assert len(list((out / "strips").iterdir())) == 2  # of 8 frames instead of 33


@pytest.fixture
def park(tmp_path: Path) -> tuple[list[Path], Path, Path]:
    """Data, a world for its codec, and where a run goes."""
    return [episodes(tmp_path / "park", 40, 40)], make_tiny_world(tmp_path / "codec"), tmp_path / "out"


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, module, name: str, count: int) -> None:
    """End the process, so to speak, when a function is called for the `count`-th time; before it does anything."""
    left, real = [count], getattr(module, name)

    def called(*args, **kwargs):
        left[0] -= 1
        if not left[0]:
            monkeypatch.setattr(module, name, real)
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, called)


def test_a_finished_run_that_is_repeated_stays_as_it_is_played(park) -> None:
    data, codec, out = park
    recipe = tiny_recipe(num_steps=2, play_stream={"contrast_hold": 0.7})
    world_loop.train(recipe, data, codec, out)
    config = written_world_config(out)
    assert config.stream.contrast_hold == 0.7 and config.provenance["steps"] == 2
    files = {name: (out / name).read_bytes() for name in (MODEL_FILE, CODEC_FILE, "config.json")}
    world_loop.train(recipe, data, codec, out)
    assert files == {name: (out / name).read_bytes() for name in files}
    world_loop.train(dataclasses.replace(recipe, num_steps=3), data, codec, out)  # and one that goes on
    assert written_world_config(out).provenance["steps"] == 3 and written_world_config(out).stream == config.stream


@pytest.mark.parametrize("at", ["save_world", "save_checkpoint"])
def test_a_world_killed_between_its_last_weights_and_its_checkpoint_ends_with_both(park, monkeypatch, at) -> None:
    data, codec, out = park
    kill_at(monkeypatch, world_loop, at, 1)
    with pytest.raises(Killed):
        world_loop.train(tiny_recipe(num_steps=2), data, codec, out)
    world_loop.train(tiny_recipe(num_steps=2), data, codec, out)
    assert written_world_config(out).provenance["steps"] == 2 and load_world(str(out), "cpu")
    (out / MODEL_FILE).unlink()
    world_loop.train(tiny_recipe(num_steps=2), data, codec, out)  # done, but there is nothing to play
    assert load_world(str(out), "cpu")


def test_a_codec_killed_before_its_last_checkpoint_has_its_last_weights(park, monkeypatch) -> None:
    data, _, out = park
    recipe = codec_loop.CodecRecipe(codec=TINY_WORLD.codec, batch=2, num_steps=4, save_every=2, fit_frames=40,
                                    precision="fp32")
    kill_at(monkeypatch, codec_loop, "save_module", 3)  # fitted, after two steps, at the end
    with pytest.raises(Killed):
        codec_loop.train(recipe, data, data, out)
    codec_loop.train(recipe, data, data, out)
    state, saved = load_checkpoint(out / "codec_checkpoint.pt"), read_tensors(out / CODEC_FILE)
    assert state["step"] == 4 and all(torch.equal(saved[name], own.half()) for name, own in state["ema"].items())


def without_numbers(training: world_loop.WorldTraining, steps: set[int]) -> None:
    """Let the gradients of some steps overflow."""
    learn = training._learn

    def overflow(*args):
        measured = learn(*args)
        if training.step in steps:
            next(training.model.parameters()).grad.fill_(math.nan)
        return measured

    training._learn = overflow


def test_a_step_whose_gradient_is_not_a_number_is_passed_over() -> None:
    training = world_loop.WorldTraining(tiny_recipe(), parts(FakeData(), tiny_motion()), TINY_WORLD)
    without_numbers(training, {1, 2, 4})
    for step in range(6):
        before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
        measured = training.step_once()
        lost = step in (1, 2, 4)
        assert math.isfinite(measured["gradient_norm"]) != lost
        assert all(torch.equal(p, before[name]) for name, p in training.model.named_parameters()) == lost
    assert training.step == 6 and all(own.isfinite().all() for own in training.ema.shadow.values())


def test_lost_gradients_leave_weights_and_the_optimizers_memory_and_their_number_counts_in_a_row() -> None:
    module = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(module.parameters(), 0.1)
    stepper = Stepper(module, [optimizer], math.inf, "mend it")
    for step in range(20):
        lost = step % 5 != 4  # four in a row, and one that is none
        before, memory = module.weight.detach().clone(), optimizer.state.get(module.weight, {}).get("exp_avg")
        memory = None if memory is None else memory.clone()
        (module(torch.full((1, 2), math.nan if lost else 1e6)).sum()).backward()
        assert math.isfinite(stepper.take(step)) != lost
        assert module.weight.grad is None and torch.equal(module.weight, before) == lost
        if memory is not None:
            assert torch.equal(optimizer.state[module.weight]["exp_avg"], memory) == lost
    with pytest.raises(AstraPlayError, match="5 times in a row, at last in step 24; mend it"):
        for step in range(20, 26):
            module(torch.full((1, 2), math.nan)).sum().backward()
            stepper.take(step)


def test_a_finder_passes_over_a_batch_without_numbers() -> None:
    finder = torch.nn.Linear(2, 1)
    losses = iter([1.0, math.nan, 1.0, 1.0])
    trained = fit_finder(finder, lambda generator: (finder(torch.ones(1, 2)) * next(losses)).sum(), 4, 0.1, 0)
    assert [math.isnan(loss) for loss in trained] == [False, True, False, False]
    assert all(p.isfinite().all() for p in finder.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_guess_is_made_in_the_fast_dtype_and_told_in_float32(dtype: torch.dtype, monkeypatch) -> None:
    monkeypatch.setattr(codec_parts, "fast_dtype", lambda device: dtype)
    finder, pictures, seen = DistanceFinder(4).eval(), torch.rand(2, 3, 32, 32) * 2 - 1, []
    next(module for module in finder.modules() if isinstance(module, torch.nn.Conv2d)).register_forward_hook(
        lambda module, given, made: seen.append(made.dtype))
    guess = codec_parts.quick(finder.guess)(pictures)
    assert seen == [dtype] and isinstance(guess, Guess)
    for ours, exact in zip(guess, finder.guess(pictures), strict=True):
        assert ours.dtype == torch.float32 and (ours - exact).abs().max() < 0.05
    sum(part.sum() for part in guess).backward()
    assert all(p.grad is not None for p in finder.parameters())
    assert codec_parts.quick(torch.nn.Conv2d(3, 1, 1))(pictures).dtype == torch.float32
    assert isinstance(codec_parts.quick(lambda x: (x, x))(pictures), tuple)


def test_a_run_that_diverges_ends_with_the_weights_before(park, monkeypatch) -> None:
    data, codec, out = park
    recipe = tiny_recipe(num_steps=40, save_every=2)
    real = world_loop.WorldTraining.restore
    monkeypatch.setattr(world_loop.WorldTraining, "restore",
                        lambda training, state: (real(training, state), without_numbers(training, set(range(40)))))
    world_loop.train(dataclasses.replace(recipe, num_steps=2), data, codec, out)
    with pytest.raises(AstraPlayError, match="not a number 5 times in a row, at last in step 6"):
        world_loop.train(recipe, data, codec, out)
    assert load_checkpoint(out / "checkpoint.pt")["step"] == 6 and load_world(str(out), "cpu")


def test_rows_that_are_not_numbers_are_refused_with_their_episode(tmp_path: Path) -> None:
    folder = episodes(tmp_path / "data", 12, 12)
    rows = np.stack([camera_row()] * 11 + [camera_row() * math.nan])
    EpisodeWriter(folder, Settings("explore", 16, 32, 32, 60)).write(
        1, np.zeros((12, 32, 32, 3), np.uint8), rows, np.zeros((12, 5)), np.zeros((12, 4)))
    with pytest.raises(DataError, match=r"episode_0000001\.npz holds action rows that are not finite"):
        LatentDataset(folder, MiniCodec(TINY_WORLD.codec), torch.ones(4))


@pytest.mark.parametrize("extra", [0, 4, 5])
def test_a_world_of_two_frames_a_chunk_learns_from_its_own_past(extra: int) -> None:
    stream = dataclasses.replace(TINY_WORLD.stream, latent_frames_per_chunk=2, ring_chunks=2)
    recipe = tiny_recipe(stream=stream, clip_frames=8, rollout_from_step=0, rollout_prob=1.0,
                         rollout_extra_frames=extra)
    training = world_loop.WorldTraining(recipe, parts(FakeData(), tiny_motion()),
                                        dataclasses.replace(TINY_WORLD, stream=stream))
    drawn = []
    draw = training._draw
    training._draw = lambda part, num_frames: drawn.append(draw(part, num_frames)) or drawn[-1]
    for _ in range(6):
        clips, past = training._own_past(training.parts[""])
        longer = drawn[-1].latents.shape[1] - 8
        assert longer in range(0, extra + 1, 2) and past.latents.shape == clips.latents.shape
        whole_chunks = [0, 1, *range(longer + 2, longer + 8)]
        assert torch.equal(clips.rows, drawn[-1].rows[:, whole_chunks])
    assert math.isfinite(training.step_once()["mse_own"])


def _resume_in_one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    data, motion = FakeData(), tiny_motion()
    whole, first, second = (world_loop.WorldTraining(tiny_recipe(), parts(data, motion), TINY_WORLD, Replicas(rank, 2))
                            for _ in range(3))
    losses = [whole.step_once() for _ in range(6)]
    for _ in range(3):
        first.step_once()
    state = first.state()
    if rank == 0:
        save_checkpoint(Path(folder, "checkpoint.pt"), state)
    torch.distributed.barrier()
    second.restore(load_checkpoint(Path(folder, "checkpoint.pt")))
    told = [second.step_once() for _ in range(3)] == losses[3:], whole.adversary._loudness
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    torch.distributed.destroy_process_group()


def test_replicas_with_a_critic_resume_exactly(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_resume_in_one_of_two, (str(tmp_path),), nprocs=2)
    (ours, our_loudness), (theirs, their_loudness) = (json.loads((tmp_path / f"{rank}.json").read_text())
                                                      for rank in range(2))
    assert ours and theirs and our_loudness != their_loudness


def test_data_that_do_not_go_together_are_refused_in_a_sentence(park, tmp_path: Path) -> None:
    (data,), codec, out = park
    nothing, single = episodes(tmp_path / "nothing"), episodes(tmp_path / "single", 1, 1)
    larger = episodes(tmp_path / "larger", 40, size=64)
    world = make_tiny_world(tmp_path / "world")
    recipe = codec_loop.CodecRecipe(codec=TINY_WORLD.codec, batch=2, num_steps=1, fit_frames=40, precision="fp32")
    twelve = dataclasses.replace(recipe, codec=dataclasses.replace(TINY_WORLD.codec, spatial_compression=12))
    for own, folders, held_out, sentence in (
            (recipe, [nothing], data, "holds no finished episode"), (recipe, [data], nothing, "no finished episode"),
            (recipe, [single], data, "no episode has two frames"), (recipe, [data, larger], data, "but .* of 32x32 at"),
            (recipe, [data], larger, "64x64 pixels at 16"), (twelve, [data], data, "cells of 12 do not fill")):
        with pytest.raises(DataError, match=sentence):
            codec_loop.train(own, folders, [held_out], out)
    codec_loop.train(recipe, [data, single], [data], tmp_path / "codec_out")  # a short episode does not stop a long one
    with pytest.raises(DataError, match="64x64 pixels at 16"):
        world_loop.train(tiny_recipe(num_steps=1), [data], codec, out, [larger])
    with pytest.raises(ConfigError, match="holds drive, but the run trains on explore"):
        world_loop.train(tiny_recipe(num_steps=1), [data], codec, out, [folder_of("drive", tmp_path / "drive")])
    with pytest.raises(DataError, match="64x64 pixels, but the world 'tiny' makes 32x32"):
        filter_loop.train(RECIPE, world, [larger], [], out)
    assert not out.exists()
