"""Recordings in small, for tests of what reads and replays them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astra_play.chunks import ActionSample
from astra_play.record.format import Chunk, End, Entry, Head, Mark, Setting, Start, Still, to_line

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
