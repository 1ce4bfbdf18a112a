"""`replay --verify`: every chunk made again and held against the hashes of the recording, and its frames against the
video where they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RecordingError
from .format import array_hash
from .frames import frames as video_frames
from .reader import Recording
from .replay import Made, Replay, first_video_index

NUM_BASELINE_FRAMES = 64  # identical frames that say what the video alone costs, spread over its beginning
PEAK = 255.0
EQUAL_DB = 100.0  # of pictures without any difference, where the logarithm has no value


@dataclass(frozen=True)
class Difference:
    """The first chunk whose hash is another. `what`: "latents" (then the frames follow) or "frames" alone."""

    what: str
    chunk: int  # its number in the recording
    time_s: float  # in the replay, from its first chunk on
    recorded: str
    here: str


@dataclass(frozen=True)
class Verdict:
    """What came of it; PSNR in dB against the lossy video, None where no video shows such a frame.

    `psnr_same_db`: of frames that are identical, which is what the video alone costs. `psnr_first_db`, `psnr_worst_db`:
    of the first and the worst chunk whose frames differ.
    """

    num_chunks: int
    num_latents_differ: int = 0
    num_frames_differ: int = 0
    num_unknown: int = 0  # chunks for which the log has no hash
    first: Difference | None = None
    psnr_same_db: float | None = None
    psnr_first_db: float | None = None
    psnr_worst_db: float | None = None
    psnr_last_db: float | None = None
    loss: str = ""  # what the log itself has lost

    @property
    def is_same(self) -> bool:
        return self.first is None and self.num_compared > 0

    @property
    def num_compared(self) -> int:
        return self.num_chunks - self.num_unknown

    def to_json(self) -> dict[str, Any]:
        return {"identical": self.is_same, **asdict(self)}

    def sentences(self) -> list[str]:
        """Return the verdict in words."""
        if self.first is None:
            chunks = "chunks" if not self.num_unknown else "chunks that have a hash"
            said = [f"all {self.num_compared} {chunks} are bit-identical, latents and frames"]
        else:
            first = self.first
            said = [f"the {first.what} of chunk {first.chunk}, at {first.time_s:.2f} s, are the first to differ: "
                    f"{first.recorded[:8]} recorded, {first.here[:8]} here",
                    f"of {self.num_chunks} chunks {self.num_latents_differ} differ in their latents and "
                    f"{self.num_frames_differ} in their frames"]
            if self.psnr_first_db is not None:
                same = "" if self.psnr_same_db is None else f" (identical frames have {self.psnr_same_db:.1f} dB)"
                said.append(f"against the video the first such frames have {self.psnr_first_db:.1f} dB, the worst "
                            f"{self.psnr_worst_db:.1f} dB, the last {self.psnr_last_db:.1f} dB{same}")
            elif self.num_frames_differ:
                said.append("how much they differ cannot be said, since no video beside the log shows them")
        if self.num_unknown:
            said.append(f"{self.num_unknown} chunks have no hash to be compared with")
        if self.loss:
            said.append(self.loss)
        return said


def verify(replay: Replay, progress: Callable[[], object] = lambda: None) -> Verdict:
    """Make the whole recording again and compare; `progress` is called after every chunk.

    RecordingError for a recording that has nothing to be compared with.
    """
    recording = replay.recording
    if not any(one.chunk.frames or one.chunk.latents for one in replay.recorded):
        raise RecordingError(f"{recording.path} holds no hash of any chunk, so nothing can be compared; watch it "
                             "without --verify")
    comparison, beside = _Comparison(), _Video(recording)
    num_latents = num_frames = num_unknown = 0
    first: Difference | None = None
    while not replay.is_over:
        made = replay.step()
        chunk = made.chunk
        latents = "" if made.latents is None else array_hash(made.latents)
        shown = array_hash(made.frames)
        num_unknown += not (chunk.frames or chunk.latents)
        latents_differ = bool(chunk.latents) and latents != chunk.latents
        frames_differ = bool(chunk.frames) and shown != chunk.frames
        num_latents += latents_differ
        num_frames += frames_differ
        if first is None and (latents_differ or frames_differ):
            what, recorded, here = ("latents", chunk.latents, latents) if latents_differ else \
                ("frames", chunk.frames, shown)
            first = Difference(what, chunk.number, made.index * recording.head.chunk_s, recorded, here)
        comparison.add(frames_differ, beside.psnr_db(made, needed=frames_differ or comparison.wants_baseline))
        progress()
    return Verdict(len(replay.recorded), num_latents, num_frames, num_unknown, first, *comparison.figures(),
                   loss="" if recording.loss is None else f"of the log itself, {recording.loss}")


class _Comparison:
    """PSNR of chunks against the video: what identical ones have, and the first, worst and last of the others."""

    def __init__(self) -> None:
        self._same_db: list[float] = []
        self._other_db: list[float] = []

    @property
    def wants_baseline(self) -> bool:
        return len(self._same_db) < NUM_BASELINE_FRAMES

    def add(self, differs: bool, psnr_db: float | None) -> None:
        if psnr_db is not None:
            (self._other_db if differs else self._same_db).append(psnr_db)

    def figures(self) -> tuple[float | None, float | None, float | None, float | None]:
        same = float(np.median(self._same_db)) if self._same_db else None
        other = self._other_db
        return (same, other[0], min(other), other[-1]) if other else (same, None, None, None)


class _Video:
    """The frames of the video beside a recording, read along with the replay; a video that cannot be read is none."""

    def __init__(self, recording: Recording) -> None:
        path = recording.video_path
        self._first_index = first_video_index(recording)
        self._fps = recording.head.fps
        self._num_passed = 0  # frames since the video began, dropped ones included
        self._frames = _numbered(path, self._fps) if path is not None and self._first_index is not None else None
        self._next: tuple[int, np.ndarray] | None = None

    def psnr_db(self, made: Made, needed: bool) -> float | None:
        """Return the PSNR of a chunk's frames; None where the video does not show them or nobody asks.

        To be called for every chunk, since it keeps count.
        """
        if self._frames is None or made.index < self._first_index:
            return None
        first = self._num_passed
        self._num_passed += len(made.frames)
        if not made.chunk.video or not needed:
            return None
        shown = [self._frame(first + index) for index in range(len(made.frames))]
        if any(frame is None for frame in shown):
            return None
        sized = [native(frame, *made.frames.shape[1:3]) for frame in shown]
        return None if any(frame is None for frame in sized) else psnr_db(np.stack(sized), made.frames)

    def _frame(self, number: int) -> np.ndarray | None:
        while self._frames is not None and (self._next is None or self._next[0] < number):
            self._next = next(self._frames, None)
            if self._next is None:
                self._frames = None
        return self._next[1] if self._next is not None and self._next[0] == number else None


def _numbered(path: Path, fps: int) -> Iterator[tuple[int, np.ndarray]]:
    try:
        for time_s, frame in video_frames(path):
            yield round(time_s * fps), frame
    except RecordingError:
        return


def native(frame: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """Return a video's frame in the world's own size, (height, width, 3); None if it is no whole enlargement of it.

    Videos of small worlds are enlarged, each pixel to a block; the mean of a block is what compression left of it.
    """
    factor = frame.shape[0] // height
    if factor < 1 or factor != frame.shape[1] // width:
        return None
    blocks = frame[:height * factor, :width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3))


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of pictures within [0, 255] in dB, EQUAL_DB for equal ones."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return EQUAL_DB if error == 0 else 10.0 * math.log10(PEAK**2 / error)
