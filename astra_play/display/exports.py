"""Exports in the background: one at a time, its progress for the page, its end as a toast wherever the player is."""

from __future__ import annotations

import threading
from pathlib import Path

from ..errors import AstraPlayError
from ..record.export import ExportStopped, export
from ..record.frames import read_facts
from .hud import Toasts

WIDTHS = {".gif": 320, ".webp": 480}  # at most: what a page or a message shows without scaling
TOAST_S = 8.0


class Exports:
    """The export under way, if any. All methods belong to the main thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._done = (0, 1)
        self._result: str | AstraPlayError = ""
        self.source: Path | None = None  # of the export under way

    @property
    def progress(self) -> float:
        """The part of the export that is done, 0 to 1."""
        return self._done[0] / self._done[1]

    def begin(self, source: Path, suffix: str) -> bool:
        """Export a video beside itself; False if another export is under way."""
        if self._thread is not None:
            return False
        self.source, self._done, self._result = source, (0, 1), ""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(source, suffix), name="astra-export", daemon=True)
        self._thread.start()
        return True

    def tick(self, toasts: Toasts, now_s: float) -> bool:
        """Say how an export ended; True if that changes the picture."""
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread.join()
        self._thread = self.source = None
        if not isinstance(self._result, ExportStopped):
            toasts.show(str(self._result), now_s, bad=isinstance(self._result, AstraPlayError), seconds=TOAST_S)
        return True

    def close(self) -> None:
        """Stop an export under way; nothing is left of it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, source: Path, suffix: str) -> None:
        try:
            width = min(WIDTHS[suffix], read_facts(source).width)
            made = export(source, unused(source.with_suffix(suffix)), width=width, progress=self._note, stop=self._stop)
            self._result = f"Saved {made.path} ({made.size_bytes / 1e6:.1f} MB)"
        except AstraPlayError as error:
            self._result = error
        except Exception as error:  # a bug must be said in the window, too
            self._result = AstraPlayError(f"the export stopped because of a mistake in the program ({error!r})")

    def _note(self, num_done: int, total: int) -> None:
        self._done = num_done, total


def unused(path: Path) -> Path:
    """Return the path, numbered if something has it already."""
    free, number = path, 2
    while free.exists():
        free = path.with_name(f"{path.stem} {number}{path.suffix}")
        number += 1
    return free
