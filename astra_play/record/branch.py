"""Where a replay was taken over -> the log that a recording made from there begins with, so that it replays by itself.

It holds the parent's entries since the last start before that place, and names the parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .format import Branch, Chunk, Mark, Setting, Start, to_line
from .reader import Recording
from .replay import RecordedChunk


@dataclass(frozen=True)
class Continuation:
    """What went before a play that goes on from a replay.

    `start`: the last start, as number 0. `values`: the settings in force when it came. `lines`: the log from the start
    on, of `num_chunks` chunks, the last of them due at `time_s`. `settings`: those in force at its end.
    """

    branch: Branch
    start: Start
    values: dict[str, Any]
    lines: tuple[str, ...]
    num_chunks: int
    time_s: float
    settings: dict[str, Any]


def continuation(recording: Recording, recorded: Sequence[RecordedChunk], index: int) -> Continuation:
    """Return what goes before chunk `index` of a recording, if play goes on there; `index` at least 1."""
    head = recording.head
    settings: dict[str, Any] = {"guidance_scale": head.guidance_scale, "num_denoise_steps": head.num_denoise_steps,
                                "num_threads": head.num_threads, "draws_finely": head.draws_finely,
                                "prompt": head.prompt}
    start, values, lines, num_chunks = None, dict(settings), [], 0
    for one in recorded[:index]:
        for entry in one.before:
            if isinstance(entry, Start):
                start, values, num_chunks = replace(entry, reset_count=0), dict(settings), 0
                lines = [to_line(start)]
                continue
            if isinstance(entry, Setting):
                settings[entry.name] = entry.value
            lines.append(to_line(entry))
        lines.append(to_line(_renumbered(one.chunk, num_chunks)))
        num_chunks += 1
    time_s = recorded[index - 1].chunk.time_s
    number = recorded[index - 1].chunk.number + 1
    lines.append(to_line(Mark(time_s, f"taken over from {recording.path.name} at chunk {number}")))
    return Continuation(Branch(recording.path.name, recording.sha256, number), start, values, tuple(lines), num_chunks,
                        time_s, settings)


def _renumbered(chunk: Chunk, number: int) -> Chunk:
    return replace(chunk, number=number, chunk_index=number, reset_count=0, video=False)
