"""Leaving a world and coming back: what follows a restore is bit for bit what would have followed without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from naive_snapshot import naive_restore, naive_snapshot
from tiny_published import make_tiny_published, shorten_chunks
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import ROW_WIDTH
from astra_play.chunks import IDLE, ActionChunk
from astra_play.config import ControlsConfig
from astra_play.model.loading import LoadOptions, load_world
from astra_play.model.world import World

TINY = TINY_WORLD
WORLDS = {
    "moved": {},
    "no anchor": {"model": dataclasses.replace(TINY.model, anchor="none", prediction="velocity")},
    "surroundings": {"model": dataclasses.replace(TINY.model, anchor_coverage=True),
                     "stream": dataclasses.replace(TINY.stream, memory_fade_m=4.0)},
    "place": {"model": dataclasses.replace(TINY.model, anchor_coverage=True),
              "codec": dataclasses.replace(TINY.codec, distances_width=4),
              "stream": dataclasses.replace(TINY.stream, place_reach_m=20.0)},
    "hypotheses": {"model": dataclasses.replace(TINY.model, hypotheses=2, hypothesis_blocks=2),
                   "controls": dataclasses.replace(TINY.controls, other_depths_m=(0.0, 3.0))},
    "arm": {"model": dataclasses.replace(TINY.model, hypotheses=3, hypothesis_blocks=2, modalities={"arm": 8}),
            "controls": ControlsConfig("arm")},
    "tabletop": {"model": dataclasses.replace(TINY.model, hypotheses=3, hypothesis_blocks=2, modalities={"arm": 8}),
                 "codec": dataclasses.replace(TINY.codec, hand_width=4, shadow_width=4, tabletop_width=4,
                                              table_width=4),
                 "controls": ControlsConfig("arm", finger_stroke_m=0.05)},
}


@pytest.fixture(params=[*WORLDS, "published"])
def world(request, tmp_path: Path) -> World:
    if request.param == "published":
        own = shorten_chunks(make_tiny_published(tmp_path / "published"))
        published = load_world(own, "cpu", LoadOptions(prompt="a pond"))
        published.num_denoise_steps = 2
        return published
    return load_world(make_tiny_world(tmp_path, **WORLDS[request.param]), "cpu")


def actions(world: World, count: int, seed: int) -> list[ActionChunk]:
    """Walk about so that every action differs."""
    rng = np.random.default_rng(seed)
    modality = world.config.controls.modality
    frames = world.config.stream.latent_frames_per_chunk
    rows = np.tile(world._idle_row(), (count, frames, 1)).astype(np.float32)
    moved = slice(3, None, 4) if modality == "camera" else slice(0, 3)  # translations
    rows[..., moved] += 0.05 * rng.standard_normal(rows[..., moved].shape).astype(np.float32)
    assert modality == "camera" or rows.shape[-1] == ROW_WIDTH[modality]
    return [ActionChunk(IDLE, own, modality, index) for index, own in enumerate(rows)]


def begin(world: World) -> None:
    world.reset(5)
    shape = 1, world.config.height, world.config.width, 3
    world.prefill(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))


def play(world: World, walk: list[ActionChunk]) -> list[tuple[bytes, bytes]]:
    """Return latents and frames of each chunk, to the bit."""
    made = []
    for action in walk:
        frames = world.step(action)
        world.commit()
        made.append((world.last_latents.tobytes(), frames.tobytes()))
    return made


def num_chunks(world: World) -> int:
    if world.config.model.history == "framepack":
        return 2
    return 26 if world.config.controls.modality == "arm" else 6  # past a refresh of what an arm keeps; past the window


def test_going_on_after_a_restore_is_as_if_the_world_had_never_been_left(world: World) -> None:
    half = num_chunks(world)
    first, second, astray = actions(world, half, 1), actions(world, half, 2), actions(world, half, 3)
    begin(world)
    whole = play(world, [*first, *second])
    begin(world)
    play(world, first)
    here = world.snapshot()
    play(world, astray)
    for _ in range(2):  # a snapshot can be come back to more than once
        world.restore(here)
        assert play(world, second) == whole[half:]
    begin(world)
    play(world, astray[:2])
    world.restore(here)
    assert play(world, second) == whole[half:]


def test_a_snapshot_does_what_copying_everything_does(world: World) -> None:
    half = num_chunks(world)
    begin(world)
    play(world, actions(world, half, 1))
    here, everything = world.snapshot(), naive_snapshot(world)
    astray, on = actions(world, 2, 3), actions(world, half, 2)
    play(world, astray)
    world.restore(here)
    ours = play(world, on)
    play(world, astray)
    naive_restore(world, everything)
    assert play(world, on) == ours


def test_a_snapshot_before_any_chunk_and_in_mid_commit(world: World) -> None:
    begin(world)
    walk = actions(world, 4, 1)
    here = world.snapshot()
    whole = play(world, walk)
    world.restore(here)
    first = world.step(walk[0]).tobytes()
    here = world.snapshot()  # commits what play would have committed
    world.restore(here)
    assert first == whole[0][1] and play(world, walk[1:]) == whole[1:]


def test_settings_in_force_come_back(tmp_path: Path) -> None:
    world = load_world(make_tiny_world(tmp_path), "cpu")
    begin(world)
    world.guidance_scale, world.num_denoise_steps = 1.5, 2
    here = world.snapshot()
    world.guidance_scale, world.num_denoise_steps = 1.0, 1
    world.restore(here)
    assert (world.guidance_scale, world.num_denoise_steps) == (1.5, 2)


def test_the_prompt_in_force_comes_back(tmp_path: Path) -> None:
    own = shorten_chunks(make_tiny_published(tmp_path / "published"))
    world = load_world(own, "cpu", LoadOptions(prompt="a pond"))
    begin(world)
    here, walk = world.snapshot(), actions(world, 1, 1)
    pond = play(world, walk)
    world.restore(here)
    world.set_prompt("a desert")
    assert play(world, walk) != pond
    world.restore(here)
    assert play(world, walk) == pond


def test_the_size_of_a_snapshot_counts_each_tensor_once(tmp_path: Path) -> None:
    world = load_world(make_tiny_world(tmp_path), "cpu")
    begin(world)
    play(world, actions(world, 6, 1))
    here = world.snapshot()
    cache = here.run["history"]["cache"][1]
    assert cache.nbytes < here.num_bytes < cache.nbytes + 2_000_000
    assert cache.shape[-2] == world._run.history.cache.num_context * world._run.history.cache.chunk_tokens
