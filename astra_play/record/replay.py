"""A recording driven through its world again: the recorded rows and settings in, chunks out, to any place of it.

Knows no window and no clock. Snapshots of the world are kept along the way, so that going back is quick; going ahead
to where nobody has been yet means generating everything in between, since a world has no other way to get there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..actions.row_makers import RowMaker, make_row_maker
from ..chunks import ActionChunk
from ..config import WorldConfig
from ..errors import RecordingError
from ..runtime.interfaces import PlayableWorld
from .format import Chunk, Mark, Setting, Start, Still
from .reader import Recording

CHECKPOINT_EVERY_S = 2.0  # going back makes one second of chunks again on average
MAX_CHECKPOINT_BYTES = 400_000_000  # of the snapshots together; then every other one goes, the oldest first


class ReplayableWorld(PlayableWorld, Protocol):
    """A world that can be left and come back to (`model.world.World`)."""

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...


@dataclass(frozen=True)
class RecordedChunk:
    """A chunk of a recording and what happened before it, in order."""

    before: tuple[Start | Setting | Still, ...]
    chunk: Chunk


@dataclass(frozen=True)
class Made:
    """A chunk that was made again: `frames` (F, H, W, 3) uint8, the clean `latents` float32 or None, what was given."""

    index: int  # in the recording
    chunk: Chunk
    action: ActionChunk
    frames: np.ndarray
    latents: np.ndarray | None


@dataclass(frozen=True)
class _Checkpoint:
    index: int  # of the chunk that comes next
    world: Any
    row_maker: RowMaker
    num_threads: int
    draws_finely: bool
    num_bytes: int


def recorded_chunks(recording: Recording) -> list[RecordedChunk]:
    """Return the chunks of a recording; RecordingError for one that cannot be replayed from its seed."""
    recorded: list[RecordedChunk] = []
    before: list[Start | Setting | Still] = []
    for entry in recording.entries:
        if isinstance(entry, Chunk):
            recorded.append(RecordedChunk(tuple(before), entry))
            before = []
        elif isinstance(entry, (Start, Setting, Still)):
            before.append(entry)
    if not recorded:
        lost = f": {recording.loss}" if recording.loss else ""
        raise RecordingError(f"{recording.path} holds no chunk that could be replayed{lost}; record for longer")
    if not any(isinstance(entry, Start) for entry in recorded[0].before):
        raise RecordingError(f"{recording.path} does not reach back to where its world was started, so it cannot be "
                             "replayed; its video can be watched, and after a start recordings replay again")
    return recorded


def first_video_index(recording: Recording) -> int | None:
    """Return the place in the recording of the first chunk that its video shows; None if the log names none.

    None for a trimmed video too: it may begin within a chunk, and end anywhere.
    """
    index, first = 0, None
    for entry in recording.entries:
        if isinstance(entry, Mark) and entry.text.startswith("video starts"):
            first = None if "trimmed from" in entry.text else index
        index += isinstance(entry, Chunk)
    return first


class Replay:
    """Makes the chunks of a recording again, one after the other or from any place. One thread owns it.

    `fixed` settings replace the recorded ones, which makes another world; `keeps_checkpoints`: False for a replay that
    never goes back.
    """

    def __init__(self, recording: Recording, world: ReplayableWorld, fixed: dict[str, float | int] | None = None,
                 keeps_checkpoints: bool = True) -> None:
        self.recording, self.world = recording, world
        self.recorded = recorded_chunks(recording)
        self._fixed = fixed or {}
        self._keeps_checkpoints = keeps_checkpoints
        self.row_maker = make_row_maker(world.config)  # follows the samples, for whoever plays on from here
        self._checkpoints: dict[int, _Checkpoint] = {}
        self._every = max(1, round(CHECKPOINT_EVERY_S / recording.head.chunk_s))
        self.index = 0  # of the chunk that comes next
        self.num_generated = 0  # chunks made to get anywhere
        check_fits(recording, world.config)
        self._begin()

    @property
    def config(self) -> WorldConfig:
        return self.world.config

    @property
    def is_over(self) -> bool:
        return self.index >= len(self.recorded)

    @property
    def checkpoint_indices(self) -> list[int]:
        return sorted(self._checkpoints)

    @property
    def checkpoint_bytes(self) -> int:
        return sum(kept.num_bytes for kept in self._checkpoints.values())

    def step(self) -> Made:
        """Make the next chunk. RecordingError where the log's own pictures or rows do not fit the world."""
        recorded = self.recorded[self.index]
        if self._keeps_checkpoints and self.index and self.index % self._every == 0:
            self._keep()
        self._happen(recorded)
        self.row_maker.rows(recorded.chunk.sample)
        action = recorded.chunk.action(self.recording.head.modality)
        frames = self.world.step(action)
        latents = self.world.last_latents
        self.world.commit()
        made = Made(self.index, recorded.chunk, action, frames, latents)
        self.index += 1
        self.num_generated += 1
        return made

    def go_to(self, index: int, may_go_on: Callable[[], bool] = lambda: True) -> bool:
        """Make chunk `index` the next one; False if `may_go_on`, asked before every chunk, said no meanwhile."""
        index = min(max(index, 0), len(self.recorded))
        if not self.index <= index or any(self.index < kept <= index for kept in self._checkpoints):
            self._return_to(max((kept for kept in self._checkpoints if kept <= index), default=0))
        while self.index < index:
            if not may_go_on():
                return False
            self.step()
        return True

    # --- how it gets there ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The world as it is before the first start: the head's settings, to which the first entries add."""
        head = self.recording.head
        self._set("guidance_scale", head.guidance_scale)
        self._set("num_denoise_steps", head.num_denoise_steps)
        self._set("num_threads", head.num_threads)
        self._set("draws_finely", head.draws_finely)
        if self._has_prompts:  # else it is the one that the world was loaded with
            self.world.set_prompt(head.prompt)
        self.index = 0

    @property
    def _has_prompts(self) -> bool:
        return any(isinstance(entry, Setting) and entry.name == "prompt" for entry in self.recording.entries)

    def _happen(self, recorded: RecordedChunk) -> None:
        for entry in recorded.before:
            if isinstance(entry, Start):
                self.world.reset(entry.seed)
                if entry.frames:
                    self.world.prefill(entry.prompt_frames())
                self.row_maker.reset(entry.hand_m)
            elif isinstance(entry, Still):
                self.row_maker.stop_turning()
            else:
                self._set(entry.name, entry.value)

    def _set(self, name: str, value: Any) -> None:
        value = self._fixed.get(name, value)
        if name == "prompt":
            self.world.set_prompt(value)
        elif getattr(self.world, name) != value:
            setattr(self.world, name, value)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self.index in self._checkpoints:
            return
        snapshot = self.world.snapshot()
        self._checkpoints[self.index] = _Checkpoint(self.index, snapshot, copy.deepcopy(self.row_maker),
                                                    self.world.num_threads, self.world.draws_finely,
                                                    getattr(snapshot, "num_bytes", 0))
        while self.checkpoint_bytes > MAX_CHECKPOINT_BYTES and len(self._checkpoints) > 1:
            del self._checkpoints[thin(sorted(self._checkpoints), self.index)]

    def _return_to(self, index: int) -> None:
        kept = self._checkpoints.get(index)
        if kept is None:
            self._begin()
            return
        self.world.restore(kept.world)
        self.row_maker = copy.deepcopy(kept.row_maker)
        self._set("num_threads", kept.num_threads)
        self._set("draws_finely", kept.draws_finely)
        self.index = index


def thin(kept: list[int], here: int) -> int:
    """Return which of the places `kept`, in order, to give up so that those left are spread well.

    It is the one whose loss leaves the shortest gap between its neighbours, a gap far from `here` counting less: close
    by, where one goes back most often, the places stay dense, and nowhere do they stop. The newest one stays.
    """
    def harm(place: int) -> float:
        before = kept[place - 1] if place else 0
        return (kept[place + 1] - before) / math.sqrt(1 + abs(here - kept[place]))

    return kept[min(range(len(kept) - 1), key=harm)]


def check_fits(recording: Recording, config: WorldConfig) -> None:
    """Refuse a world whose pictures, chunks or controls have another shape than the recorded ones."""
    head = recording.head
    recorded = {"width": head.width, "height": head.height, "frames per chunk": head.frames_per_chunk,
                "latent frames per chunk": head.latent_frames_per_chunk, "controls": head.modality}
    here = {"width": config.shown_width, "height": config.shown_height, "frames per chunk": config.frames_per_chunk,
            "latent frames per chunk": config.stream.latent_frames_per_chunk, "controls": config.controls.modality}
    for name, value in recorded.items():
        if here[name] != value:
            raise RecordingError(f"{recording.path} was made in a world with {name} {value}, but {config.name!r} has "
                                 f"{here[name]}; give the world that it was made in with --world")
