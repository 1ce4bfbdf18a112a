"""A video file -> the frame of each moment, once from beginning to end: under the attract loop and the clips page.

Time is an argument, and what passes too late is the caller's to weigh: the booth shows a video that is too slow for
its machine slower, the preview of a recording leaves frames out (videopreview.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from ..errors import DisplayError

UNREADABLE = (av.FFmpegError, OSError, ValueError)


class VideoPlayer:
    """Decodes one video at its own speed."""

    def __init__(self, path: Path, begin_s: float | None = None, catch_up_frames: int | None = None) -> None:
        """Open the file; DisplayError if it holds no video that can be read.

        `begin_s`: when the first frame is due, None: at the first tick. `catch_up_frames`: at most so many are decoded
        in one tick, and a video that is later still is shown slower; None: all that are due.
        """
        self._path = path
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8; None before the first
        self.is_over = False  # the last frame was shown, or there is none
        self._begin_s, self._catch_up_frames = begin_s, catch_up_frames
        self._next: av.VideoFrame | None = None
        self._next_s = 0.0  # its time in the video; inf after the last
        try:
            self._file = av.open(str(path.absolute()))  # "t: 02.mp4" would be an address
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        if not self._file.streams.video or self._file.streams.video[0].codec_context is None:  # a kind nobody knows
            self.close()
            raise DisplayError(f"the clip {path} holds no video that can be decoded; take it out of the folder")
        self._file.streams.video[0].thread_type = "AUTO"
        self._frames = self._decode()

    def tick(self, now_s: float) -> bool:
        """Go to the frame of this moment; return whether another one is shown now. DisplayError for a damaged file."""
        self._begin_s = now_s if self._begin_s is None else self._begin_s
        if self._next is None and not self.is_over:
            self._advance()
        newest, num_decoded = None, 0
        while self.late_s(now_s) >= 0.0 and num_decoded != self._catch_up_frames:
            newest = self._next
            self._advance()
            num_decoded += 1
        if self.late_s(now_s) > 0.0:
            self.go_on(now_s)
        if newest is not None:
            self.frame = newest.to_ndarray(format="rgb24")
        return newest is not None

    def late_s(self, now_s: float) -> float:
        """Return for how long the next frame has been due; below 0 if it is not yet, -inf if there is none."""
        return 0.0 if self._begin_s is None else now_s - self._begin_s - self._next_s

    def go_on(self, now_s: float) -> None:
        """Let the next frame be due now, and the rest of the video after it."""
        self._begin_s = now_s - self._next_s

    def close(self) -> None:
        self._file.close()

    def _advance(self) -> None:
        try:
            self._next_s, self._next = next(self._frames, (math.inf, None))
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        self.is_over = self._next is None

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        first_s: float | None = None
        for frame in self._file.decode(video=0):
            time_s = frame.time or 0.0
            first_s = time_s if first_s is None else first_s
            yield time_s - first_s, frame

    def _unreadable(self, error: Exception) -> DisplayError:
        return DisplayError(f"the clip {self._path} cannot be shown ({error}); take it out of the folder")
