"""A short clip of a start point, shown on its card while that has the focus: what one would see walking off from there.

Clips are animated pictures (WebP) in assets/clips, under the name of their start picture. Frames are decoded one by one
as their time comes, after one look through the file for how long each lasts.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

log = logging.getLogger(__name__)

DELAY_S = 0.35  # a focus that only passes by starts nothing
DEFAULT_FRAME_S = 1 / 16  # of files that do not say
MAX_FRAMES = 600


class Preview:
    """The clip of the card in focus; time is an argument."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._since_s = 0.0
        self._file: Image.Image | None = None
        self._ends_s: list[float] = []  # of each picture; one that stands still for a while is stored once
        self._index = -1
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8, what the clip shows now; None before it begins

    def tick(self, path: Path | None, now_s: float) -> bool:
        """Go to the frame of this moment in the clip `path` (None: no clip); True if another frame is shown now."""
        if path != self._path:
            had = self.frame is not None
            self.close()
            self._path, self._since_s = path, now_s
            return had
        elapsed_s = now_s - self._since_s - DELAY_S
        if path is None or elapsed_s < 0:
            return False
        if self._file is None and not self._open(path):
            return False
        index = bisect_right(self._ends_s, elapsed_s % self._ends_s[-1])
        if index == self._index:
            return False
        return self._show(index)

    def close(self) -> None:
        """Forget the clip."""
        if self._file is not None:
            self._file.close()
        self._path = self._file = self.frame = None
        self._index = -1

    def _open(self, path: Path) -> bool:
        try:
            self._file = Image.open(path)
            durations_s = []
            for index in range(min(MAX_FRAMES, getattr(self._file, "n_frames", 1))):
                self._file.seek(index)
                self._file.load()  # only a picture that was decoded tells how long it lasts
                durations_s.append(self._file.info.get("duration", 0) / 1000 or DEFAULT_FRAME_S)
            self._ends_s = list(accumulate(durations_s))
        except Exception as error:  # Pillow's readers raise whatever a damaged or a huge file makes them trip over
            return self._give_up(error)
        return True

    def _show(self, index: int) -> bool:
        try:
            self._file.seek(index)
            self.frame = np.asarray(self._file.convert("RGB"))
        except Exception as error:
            return self._give_up(error)
        self._index = index
        return True

    def _give_up(self, error: Exception) -> bool:
        """Show no clip until another card was in focus."""
        log.warning("the clip %s cannot be shown (%s)", self._path, error)
        self._file, self._since_s = None, float("inf")
        return False
