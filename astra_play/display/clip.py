"""A recorded video on the screen: frames of an .mp4 as their time comes. Time is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from ..errors import DisplayError

MAX_BEHIND_FRAMES = 8  # decoded at once to catch up; more would hold up the window for longer than the clip stutters
UNREADABLE = (av.FFmpegError, OSError, ValueError)


class Clip:
    """Decodes one video from its beginning to its end, at its own speed."""

    def __init__(self, path: Path) -> None:
        """Open the file; DisplayError if it holds no video that can be read."""
        self._path = path
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8; None before the first
        self.is_over = False
        self._next: tuple[float, av.VideoFrame] | None = None
        self._started_s: float | None = None
        try:
            self._file = av.open(str(path))
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        if not self._file.streams.video:
            self.close()
            raise DisplayError(f"the clip {path} holds no video; take it out of the folder")
        self._file.streams.video[0].thread_type = "AUTO"
        self._frames = self._decode()

    def tick(self, now_s: float) -> bool:
        """Go to the frame of this moment; return whether another one is shown now. DisplayError for a damaged file."""
        if self.is_over:
            return False
        if self._started_s is None:
            self._started_s = now_s
            self._advance()
        elapsed_s = now_s - self._started_s
        newest = None
        for _ in range(MAX_BEHIND_FRAMES):
            if self._next is None or self._next[0] > elapsed_s:
                break
            newest = self._next[1]
            self._advance()
        if newest is None:
            self.is_over = self._next is None
            return False
        self.frame = newest.to_ndarray(format="rgb24")
        if self._next is not None and self._next[0] < elapsed_s:  # too slow for this machine: shown slower, not skipped
            self._started_s += elapsed_s - self._next[0]
        return True

    def close(self) -> None:
        self._file.close()

    def _advance(self) -> None:
        try:
            self._next = next(self._frames, None)
        except UNREADABLE as error:
            raise self._unreadable(error) from None

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        first_s: float | None = None
        for frame in self._file.decode(video=0):
            time_s = frame.time or 0.0
            first_s = time_s if first_s is None else first_s
            yield time_s - first_s, frame

    def _unreadable(self, error: Exception) -> DisplayError:
        return DisplayError(f"the clip {self._path} cannot be shown ({error}); take it out of the folder")
