"""Recordings in small, for tests of what reads and replays them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astra_play.actions.row_makers import make_row_maker
from astra_play.chunks import ActionChunk, ActionSample, FrameChunk
from astra_play.config import WorldConfig
from astra_play.record.facts import make_head
from astra_play.record.format import Chunk, End, Entry, Head, Mark, Setting, Start, Still, to_line
from astra_play.record.replay import ReplayableWorld

HEAD = Head(player_version="0.1.0", world="tiny", scenario="", title="Tiny", weights_sha256={"model.safetensors": "ab"},
            config_sha256="cd", fps=16, width=32, height=32, frames_per_chunk=1, latent_frames_per_chunk=1,
            modality="camera", guidance_scale=1.0, num_denoise_steps=1, num_threads=1, precision="float32",
            device="cpu", created="2026-01-02T03:04:05+00:00")


def some_entries(num_chunks: int = 5) -> list[Entry]:
    """Return a start with a picture, settings, a pause, `num_chunks` chunks and the end."""
    rng = np.random.default_rng(0)
    chunks = [some_chunk(number, rng) for number in range(num_chunks)]
    return [Start(0, 7, (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),)), Setting("guidance_scale", 1.5),
            Mark(0.0, "video starts at chunk 0"), *chunks[:2], Still(), *chunks[2:], End(num_chunks, 0, "stopped")]


def some_chunk(number: int, rng: np.random.Generator) -> Chunk:
    sample = ActionSample(frozenset({"forward", "left"}), (1.5, -2.0), (("left", 0.25),))
    rows = rng.standard_normal((1, 12)).astype(np.float32)
    return Chunk(number, number, 0, number / 16, sample, rows, f"{number:032x}", f"{number + 1:032x}")


def write_recording(path: Path, entries: list[Entry], head: Head = HEAD) -> Path:
    path.write_bytes("".join(map(to_line, [head, *entries])).encode("utf-8"))
    return path


def restless_samples(config: WorldConfig, count: int, seed: int = 0) -> list[ActionSample]:
    """Return samples of somebody who presses and moves something else all the time."""
    rng = np.random.default_rng(seed)
    buttons = [[name for name in config.controls.buttons if rng.random() < 0.3] for _ in range(count)]
    return [ActionSample(frozenset(own), (float(rng.integers(-30, 30)), float(rng.integers(-9, 9))))
            for own in buttons]


def record_offline(path: Path, world: ReplayableWorld, plan: Sequence[ActionSample | Start | Setting | Still],
                   given_as: str, **changes: object) -> Path:
    """Play `plan` in a world and write what a recorder would: rows, hashes, and everything between the chunks.

    `given_as`: how the world was chosen. `changes`: of the head.
    """
    head = make_head(world.config, given_as)
    head = dataclasses.replace(head, num_threads=world.num_threads, guidance_scale=world.guidance_scale,
                               num_denoise_steps=world.num_denoise_steps, draws_finely=world.draws_finely, **changes)
    row_maker = make_row_maker(world.config)
    entries: list[Entry] = []
    number = chunk_index = reset_count = 0
    for step in plan:
        if isinstance(step, ActionSample):
            action = ActionChunk(step, row_maker.rows(step), head.modality, chunk_index, reset_count)
            frames = world.step(action)
            made = FrameChunk(frames, chunk_index, reset_count, action, 0.0, world.last_latents)
            world.commit()
            entries.append(Chunk.of(made, number, number * head.chunk_s, made.latents, video=False))
            number, chunk_index = number + 1, chunk_index + 1
            continue
        entries.append(step)
        if isinstance(step, Start):
            world.reset(step.seed)
            if step.frames:
                world.prefill(step.prompt_frames())
            row_maker.reset(step.hand_m)
            chunk_index, reset_count = 0, step.reset_count
        elif isinstance(step, Still):
            row_maker.stop_turning()
        elif step.name == "prompt":
            world.set_prompt(step.value)
        else:
            setattr(world, step.name, step.value)
    return write_recording(path, [*entries, End(number, 0, "stopped")], head)
