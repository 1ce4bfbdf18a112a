"""What passes between the recorder (two threads of the player) and the recording thread; all of it small."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from ..chunks import FrameChunk
from ..errors import RecordingError


@dataclass(frozen=True)
class Target:
    """Where a recording goes: NAME.astra and NAME.mp4 in a folder, numbered if such files are there already."""

    folder: Path
    name: str
    created: datetime
    with_controls: bool = False  # burn the controls into the video


# --- to the recording thread, beside the journal's own entries ------------------------------------------------------

@dataclass(frozen=True)
class HeardChunk:
    """A chunk. `num_frames`: as many as it was made with; `chunk` has none, and no latents, if they were left out on
    the way. `num_bytes`: of what it brings.
    """

    number: int
    chunk: FrameChunk
    num_frames: int
    num_bytes: int

    @property
    def frames(self) -> np.ndarray | None:
        return self.chunk.frames if len(self.chunk.frames) else None


@dataclass(frozen=True)
class Begin:
    target: Target


@dataclass(frozen=True)
class End:
    reason: str


@dataclass(frozen=True)
class Save:
    target: Target


@dataclass(frozen=True)
class Leave:
    reason: str


# --- from the recording thread --------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Written:
    """A recording that is finished. `num_chunks`: in its log, those before the video too; `seconds`: of its video."""

    video_path: Path
    log_path: Path
    num_chunks: int
    seconds: float
    num_dropped_frames: int

    @property
    def loss(self) -> str:
        """The end of a sentence about it: ", 3 frames dropped", or nothing."""
        return f", {self.num_dropped_frames} frames dropped" if self.num_dropped_frames else ""


@dataclass(frozen=True)
class Notice:
    """A sentence for the player; for a run that nobody watches, what went wrong or what was written."""

    sentence: str
    error: RecordingError | None = None
    written: Written | None = None


@dataclass(frozen=True)
class Status:
    """A recording under way, in the world's own time."""

    seconds: float
    num_dropped_frames: int
    video_path: Path


@dataclass
class Board:
    """What the recording thread shows. It alone writes here (but for `has_failed`, which a new wish clears)."""

    notices: queue.SimpleQueue[Notice] = field(default_factory=queue.SimpleQueue)
    status: Status | None = None  # None: nothing is recorded
    has_failed: bool = False  # the recording that was asked for last ended by itself
    is_ready: bool = False  # False: it still reads the weights, and nothing has been written
    num_turns: int = 0  # of its work; they end where the disk stands still
    num_done: int = 0  # things taken from the inbox and done with
    has_frames: bool = False  # that still have to be encoded
    taken_bytes: int = 0  # of frames and latents ever taken out of the inbox
    buffer_bytes: int = 0  # held by the frame buffer
    past_bytes: int = 0  # held by the log lines since the start
