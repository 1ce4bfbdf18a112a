"""The video of the recording in focus, running without sound or end on the clips page."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..errors import DisplayError
from .preview import DELAY_S
from .videoplayer import VideoPlayer

log = logging.getLogger(__name__)

MAX_LATE_S = 0.5  # after a longer wait (a window that was moved) the video goes on from where it was


class VideoPreview:
    """One video that begins again after its end; time is an argument."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._begin_s = 0.0  # when the first frame is due
        self._player: VideoPlayer | None = None  # None: before the beginning, and while it rests on the last frame
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
        try:
            if self._player is None:
                self._player = VideoPlayer(path, self._begin_s)
            if self._player.late_s(now_s) > MAX_LATE_S:
                self._player.go_on(now_s)
            changed = self._player.tick(now_s)
        except DisplayError as error:
            self._end(now_s, error)
            return False
        if changed:
            self.frame = self._player.frame
        if self._player.is_over:
            self._end(now_s)
        return changed

    def close(self) -> None:
        """Forget the video."""
        self._close_player()
        self._path = self.frame = None

    def _end(self, now_s: float, error: DisplayError | None = None) -> None:
        """Let the video begin again after a rest on its last frame; one that showed no frame is not tried again."""
        self._close_player()
        self._begin_s = now_s + DELAY_S if self.frame is not None else float("inf")
        if error is not None and self.frame is not None:
            log.warning("the video %s ends early (%s)", self._path, error)

    def _close_player(self) -> None:
        if self._player is not None:
            self._player.close()
            self._player = None
