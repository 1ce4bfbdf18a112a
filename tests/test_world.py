"""The five verbs of World, and that what comes out depends on the seed, the actions and the past, and on nothing
else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from naive import naive_blur_ahead, naive_velocity
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play import bench
from astra_play.actions.row_makers import make_row_maker
from astra_play.actions.rows import ROW_WIDTH, camera_row, idle_row
from astra_play.chunks import IDLE, ActionChunk, ActionSample
from astra_play.codec import pixels
from astra_play.config import StreamConfig
from astra_play.errors import AstraPlayError
from astra_play.model.carried import make_motion
from astra_play.model.loading import load_world
from astra_play.model.world import COMMIT_STREAM, World
from astra_play.runtime.clock import MonotonicClock


@pytest.fixture()
def world(tmp_path) -> World:
    return load_world(make_tiny_world(tmp_path), device="cpu")


def chunk(forward: float = 0.0, yaw: float = 0.0) -> ActionChunk:
    return ActionChunk(IDLE, camera_row(forward, 0.0, yaw, 0.0)[None], "camera")


def start(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)


def play(world: World, actions: list[ActionChunk], seed: int = 3) -> np.ndarray:
    world.reset(seed)
    world.prefill(start())
    frames = []
    for action in actions:
        frames.append(world.step(action))
        world.commit()
    return np.concatenate(frames)


prefill = World.prefill


def test_same_seed_and_actions_give_the_same_frames_and_others_do_not(world: World) -> None:
    walk = [chunk(0.2, 0.01 * t) for t in range(9)]
    first = play(world, walk)
    assert first.shape == (9, 32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, play(world, walk))
    assert not np.array_equal(first, play(world, [chunk(0.2, -0.3)] * 9))
    world.num_denoise_steps = 2
    assert not np.array_equal(first, play(world, walk))


def test_the_seed_draws_the_noise(world: World) -> None:
    assert not np.array_equal(play(world, [chunk()] * 6, seed=1), play(world, [chunk()] * 6, seed=2))


@torch.no_grad()
def test_world_equals_full_passes_without_cache(world: World) -> None:
    """Ten chunks through a window of four: wrap-around, committed noise, scale and the carried picture are in it."""
    config, stream, codec = world.config, world.config.stream, world._codec
    world.reset(5)
    world.prefill(start())
    noise, commit_noise = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + COMMIT_STREAM)
    scale = torch.tensor(config.latent_scale)[:, None, None]
    motion = make_motion(config, codec)

    def committed(latents: torch.Tensor) -> torch.Tensor:
        return latents + stream.context_sigma * (torch.randn(latents.shape, generator=commit_noise) - latents)

    picture = pixels.to_float(torch.from_numpy(start()))
    first = codec.encode(picture[None]) / scale
    clean, rows, anchors = [committed(first)], [torch.from_numpy(camera_row())[None, None]], [first]
    for t in range(10):
        action = chunk(0.1, 0.05 * t)
        ours = world.generate(action)
        frame = world.decode(ours)
        world.commit()
        row = torch.from_numpy(action.rows)[None]
        moved = motion.move(picture, row.reshape(1, 3, 4))
        anchors.append(codec.encode(moved[None]) / scale)
        noisy = torch.randn((1, 1, 4, 4, 4), generator=noise)
        velocity = naive_velocity(world._run.history.model, stream, "camera", clean, rows, noisy, 1.0, row,
                                  anchors=anchors)
        expected = naive_settle(noisy - velocity, anchors[-1], first, stream)
        assert ((ours.latents - (expected * scale)[0]).norm() / ours.latents.norm()).item() < 1e-5, t
        moved = naive_blur_ahead(moved[0], row[0, 0], config.controls)[None]
        detail = moved - codec.decode(anchors[-1] * scale)[0]
        picture = (codec.decode(expected * scale)[0] + (1 - stream.detail_leak) * detail).clamp(-1, 1)
        assert np.abs(frame.astype(int) - pixels.to_uint8(picture).numpy()).max() <= 1
        clean.append(committed(codec.encode(picture[None]) / scale))
        rows.append(row)


def naive_settle(clean: torch.Tensor, anchor: torch.Tensor, first: torch.Tensor, stream: StreamConfig) -> torch.Tensor:
    """Cell by cell the correction gate, channel by channel the palette hold."""
    settled = anchor.clone()
    for y in range(4):
        for x in range(4):
            correction = (clean - anchor)[..., y, x]
            energy = correction.square().mean()
            settled[..., y, x] += correction * energy / (energy + stream.correction_gate)
    for c in range(4):
        now, then = settled[0, 0, c].clone(), first[0, 0, c]
        mean, stretch = now.mean(), (then.std() + 1e-3) / (now.std() + 1e-3)
        stretch = min(max(stretch.item(), 0.5), 2.0) ** stream.contrast_hold
        settled[0, 0, c] = mean + stream.colour_hold * (then.mean() - mean) + (now - mean) * stretch
    return settled


def test_pictures_nobody_asked_for_are_painted_all_the_same(world: World) -> None:
    """A caller that only generates gets the same latents as one that also decodes."""
    def run(decode: bool) -> torch.Tensor:
        world.reset(3)
        world.prefill(start())
        for t in range(4):
            made = world.generate(chunk(0.1, 0.05 * t))
            if decode:
                world.decode(made)
            world.commit()
        return made.latents

    assert torch.equal(run(True), run(False))


def test_passes_are_counted_as_promised(world: World) -> None:
    world.reset(0)
    world.prefill(start())
    world.step(chunk())
    for steps, guidance, promised in ((1, 1.0, 1), (2, 1.0, 2), (1, 2.0, 2), (2, 1.5, 4)):
        world.num_denoise_steps, world.guidance_scale = steps, guidance
        world.commit()
        before = world.num_passes
        world.step(chunk())
        assert world.num_passes - before == world.passes_per_chunk() == promised


def test_a_world_without_start_picture_says_so(world: World) -> None:
    world.reset(0)
    with pytest.raises(AstraPlayError, match="call prefill with frames first"):
        world.step(chunk())


def test_prompt_frames_of_another_size_are_refused_with_both_sizes(world: World) -> None:
    with pytest.raises(AstraPlayError, match=r"32, 32, 3.*\(1, 8, 8, 3\)"):
        world.prefill(np.zeros((1, 8, 8, 3), np.uint8))


def test_routing_is_visible_and_sums_to_one(world: World) -> None:
    play(world, [chunk()])
    assert world.routing.shape == (1, 3) and np.allclose(world.routing.sum(), 1.0)
    assert (world.routing > 0).sum() == TINY_WORLD.model.router_top_k


def test_unknown_history_is_refused(tmp_path) -> None:
    model = dataclasses.replace(TINY_WORLD.model, history="framepack")
    with pytest.raises(AstraPlayError, match="framepack"):
        load_world(make_tiny_world(tmp_path, model=model), device="cpu")


def test_last_latents_are_those_of_the_newest_chunk_and_stay_as_they_are(tmp_path) -> None:
    world = load_world(make_tiny_world(tmp_path / "latents"), device="cpu")
    rows = np.tile(world._idle_row(), (world.config.stream.latent_frames_per_chunk, 1))
    action = ActionChunk(IDLE, rows, world.config.controls.modality)
    world.reset(3)
    assert world.last_latents is None
    world.prefill(start())
    kept, copies = [], []
    for _ in range(3):
        made = world.generate(action)
        world.decode(made)
        assert np.array_equal(world.last_latents, made.latents.numpy())
        kept.append(world.last_latents)
        copies.append(kept[-1].copy())
        world.commit()
    assert all(np.array_equal(latents, copy) for latents, copy in zip(kept, copies, strict=True))
    assert kept[0].dtype == np.float32 and not kept[0].flags.writeable
    world.reset(3)
    assert world.last_latents is None


@pytest.mark.parametrize("modality, buttons", [("camera", ("forward", "left")), ("vehicle", ("accelerate", "brake"))])
def test_a_world_is_tried_with_its_first_button_held(tmp_path, modality: str, buttons: tuple[str, ...]) -> None:
    controls = dataclasses.replace(TINY_WORLD.controls, modality=modality, buttons=buttons)
    model = dataclasses.replace(TINY_WORLD.model, modalities={modality: ROW_WIDTH[modality] + 1})
    world = load_world(make_tiny_world(tmp_path, controls=controls, model=model), device="cpu")
    trial = world._trial_chunk()
    assert trial.sample.buttons == {buttons[0]} and trial.modality == modality
    rows = make_row_maker(world.config).rows(ActionSample(buttons=frozenset(buttons[:1])))
    assert np.array_equal(trial.rows, rows) and not np.array_equal(trial.rows, idle_row(modality)[None])


@pytest.mark.parametrize("has_start", [True, False])
def test_play_is_tried_where_it_begins(world: World, has_start: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in a place costs time, so threads are chosen, and speed is measured, in the first start picture."""
    seen = []
    monkeypatch.setattr(World, "prefill", lambda self, frames: seen.append(frames) or prefill(self, frames))
    world._start_frames = start(2) if has_start else None
    expected = start(2) if has_start else np.zeros_like(start())
    world.run_probe_pass(1)
    world.warm_up()
    player = bench.Player(world, MonotonicClock())
    player.start()
    assert len(seen) == 3 and all(np.array_equal(frames, expected) for frames in seen)


def test_a_warm_up_is_short_on_a_processor_and_leaves_no_trace(world: World) -> None:
    world.warm_up()
    assert world.num_passes == world._chunks_of_warm_up() == 2 and not world._run.has_past
    walk = [chunk(0.2, 0.02)] * 4
    warm = play(world, walk)
    world.warm_up()
    assert np.array_equal(play(world, walk), warm)


def test_a_warm_up_elsewhere_makes_every_shape_that_a_pass_may_have(world: World) -> None:
    world.device = torch.device("cuda")  # only its type is asked for here
    stream = world.config.stream
    assert world._chunks_of_warm_up() == stream.sink_chunks + stream.ring_chunks + 1


def test_kept_embeddings_of_sigmas_are_those_of_the_network_and_made_once(world: World) -> None:
    made, embed = [], world._run.history.model.embed_sigma
    world._run.history.model.embed_sigma = lambda sigma: made.append(sigma) or embed(sigma)
    play(world, [chunk(0.2)] * 5)
    kept = world._run.history._embedded
    # the prompt's own commit, then a commit and a target in one pass, which is all that a schedule of one step needs
    assert len(made) == len(kept) == len(set(kept))
    for sigmas, embeddings in kept.items():
        for ours, theirs in zip(embeddings, embed(torch.tensor([sigmas])), strict=True):
            assert torch.equal(ours, theirs)
    before = len(made)
    play(world, [chunk(0.1)] * 5)
    assert len(made) == before
    world.num_denoise_steps = 2
    play(world, [chunk(0.1)] * 5)
    assert len(made) == len(kept) > before


def test_weights_that_learn_are_asked_anew_each_time(world: World) -> None:
    history = world._run.history
    sigma = torch.tensor([[0.5]])
    with torch.inference_mode(False):
        history._embed((0.5,), sigma)
        with torch.no_grad():
            history.model.time_projection.bias.add_(1.0)
        assert torch.equal(history._embed((0.5,), sigma)[1], history.model.embed_sigma(sigma)[1])
    assert not history._embedded
