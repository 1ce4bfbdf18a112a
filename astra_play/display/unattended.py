"""A run without a player's hands: a script's events are posted to the window, frames and figures go to files.

The window's loop asks here before every poll. Times of a script count from the flip of the first generated frame.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np
import pygame
from PIL import Image

from ..actions.script import load_script
from ..chunks import InputEvent
from ..errors import AstraPlayError, DisplayError
from .events import to_pygame
from .options import PlayOptions

DEFAULT_SECONDS = 10.0  # of a headless run that was given neither a length nor a script
AFTER_SCRIPT_S = 1.0  # so that the last event is seen to have its effect
PNG_COMPRESSION = 1  # the writer must not take the generator's core for longer than it has to


class UnattendedRun:
    """What is posted, when it is over, and what is kept."""

    def __init__(self, options: PlayOptions) -> None:
        """Read the script and check the places to write to, before anything is loaded."""
        self._events = deque(load_script(options.script) if options.script else [])
        self._num_posted = 0
        self._seconds = options.seconds
        if self._seconds is None and options.headless:
            last_s = self._events[-1].time_s if self._events else None
            self._seconds = DEFAULT_SECONDS if last_s is None else last_s + AFTER_SCRIPT_S
        self._stats_json = options.stats_json
        if self._stats_json is not None:
            _make_folder(self._stats_json.parent)
        self._frames = FrameWriter(options.frames_dir) if options.frames_dir is not None else None

    def post_due(self, now_s: float, first_flip_s: float) -> None:
        """Post every event whose time has come; each carries its own time, so a late poll counts as latency."""
        while self._events and first_flip_s + self._events[0].time_s <= now_s:
            event = self._events.popleft()
            pygame.event.post(to_pygame(_at(event, first_flip_s + event.time_s)))
            self._num_posted += 1

    def over(self, now_s: float, first_flip_s: float) -> bool:
        return self._seconds is not None and now_s - first_flip_s >= self._seconds

    def keep_frame(self, frame: np.ndarray) -> None:
        if self._frames is not None:
            self._frames.put(frame)

    def finish(self, figures: dict[str, object]) -> None:
        """Wait for the frames and write the figures; DisplayError if either could not be written."""
        if self._frames is not None:
            figures = {**figures, "frames_written": self._frames.finish()}
        if self._stats_json is not None:
            _write_text(self._stats_json, json.dumps({**figures, "script_events": self._num_posted}, indent=2) + "\n")

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()


class FrameWriter:
    """Writes frames as numbered PNGs on a thread of its own, so that a slow disk does not disturb the pacing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _make_folder(folder)
        if any(folder.glob("*.png")):
            raise DisplayError(f"the folder {folder} already holds pictures, which would mix with those of this run; "
                               "give an empty one")
        self._waiting: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self._num_written = 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._write_all, name="astra-frame-writer", daemon=True)
        self._thread.start()

    def put(self, frame: np.ndarray) -> None:
        self._waiting.put(frame)

    def finish(self) -> int:
        """Wait until everything is written and return the number of frames; DisplayError if one was not."""
        self.close()
        if self._error is not None:
            raise DisplayError(f"after {self._num_written} frames no more could be written to {self._folder} "
                               f"({self._error.strerror or self._error}); free some space or choose another folder")
        return self._num_written

    def close(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _write_all(self) -> None:
        while (frame := self._waiting.get()) is not None:
            if self._error is not None:
                continue  # the first failure is the one to report; the rest is emptied
            try:
                path = self._folder / f"frame_{self._num_written:06d}.png"
                Image.fromarray(np.ascontiguousarray(frame)).save(path, compress_level=PNG_COMPRESSION)
                self._num_written += 1
            except OSError as error:
                self._error = error


def _at(event: InputEvent, time_s: float) -> InputEvent:
    return InputEvent(event.kind, event.control, event.down, event.motion_px, event.value, time_s)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DisplayError(f"the folder {folder} cannot be made ({error.strerror or error}); "
                           "choose another place to write to") from None


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()  # what a full disk took of it is of no use
        raise AstraPlayError(f"the figures could not be written to {path} ({error.strerror or error}); "
                             "choose another place with --stats-json") from None
