"""The video of the clip in focus, running without sound or end, decoded frame by frame as its time comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from ..record.frames import frames

DELAY_S = 0.35  # a focus that only passes by starts nothing
MAX_BEHIND_S = 0.5  # after a longer wait (a window that was moved) the video goes on from where it was


class VideoPreview:
    """One running video; time is an argument."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._begin_s = 0.0  # when frame 0 is due
        self._frames: Iterator[tuple[float, np.ndarray]] | None = None
        self._next: tuple[float, np.ndarray] | None = None
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8; None before it begins

    def tick(self, path: Path | None, now_s: float) -> bool:
        """Go to the frame of this moment in the video `path` (None: no video); True if another frame is shown now."""
        if path != self._path:
            had = self.frame is not None
            self.close()
            self._path, self._begin_s = path, now_s + DELAY_S
            return had
        if path is None or now_s < self._begin_s:
            return False
        if self._frames is None:
            self._frames, self._next = frames(path), None
            self._advance()
        changed = False
        if self._next is not None and now_s - self._begin_s > self._next[0] + MAX_BEHIND_S:
            self._begin_s = now_s - self._next[0]
        while self._next is not None and self._next[0] <= now_s - self._begin_s:
            self.frame, changed = self._next[1], True
            self._advance()
        if self._next is None and self.frame is not None:
            self._frames, self._begin_s = None, now_s + DELAY_S  # from the beginning, after a rest on the last frame
        return changed

    def close(self) -> None:
        """Forget the video."""
        if self._frames is not None:
            self._frames.close()
        self._path = self._frames = self._next = self.frame = None

    def _advance(self) -> None:
        """Decode the next frame; one that cannot be ends the video, and what cannot be opened shows nothing."""
        try:
            self._next = next(self._frames, None)
        except RecordingError:
            self._next = None
        if self._next is None and self.frame is None:
            self._begin_s = float("inf")
