"""The booth's diary: one file of JSON lines per day, bounded in days and in size; written by one process only."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import DataError
from .profile import Profile

log = logging.getLogger(__name__)

BYTES_PER_MB = 1e6
_NAME = "kiosk-{date}.jsonl"


def log_folder(profile: Profile) -> Path:
    """Return where a profile's daily logs lie."""
    return profile.path(profile.log.folder) or Path(platformdirs.user_log_dir("astra-play", appauthor=False))


class DayLog:
    """Appends entries, each with the time on the wall and its kind. A disk that takes none is told once a day."""

    def __init__(self, folder: Path, wall_time: Callable[[], datetime.datetime], keep_days: int = 60,
                 max_mb: float = 20.0) -> None:
        self.folder = folder
        self._wall_time = wall_time
        self._keep_days = keep_days
        self._max_bytes = max_mb * BYTES_PER_MB
        self._day: datetime.date | None = None
        self.num_unwritten = 0  # today, because the day's file is full or the disk takes nothing
        self._has_warned = False
        self._lock = threading.Lock()  # a save that ends late writes its entry from its own thread

    def add(self, kind: str, **fields: Any) -> None:
        """Write one entry; never raises, since a booth must outlive its diary."""
        with self._lock:
            self._add(kind, fields)

    def _add(self, kind: str, fields: dict[str, Any]) -> None:
        now = self._wall_time()
        try:
            if now.date() != self._day:
                self._begin_day(now.date())
            self.folder.mkdir(parents=True, exist_ok=True)  # somebody may have cleared it away, or its disk comes late
            path = day_file(self.folder, now.date())
            line = json.dumps({"t": now.isoformat(timespec="milliseconds"), "kind": kind, **fields}) + "\n"
            if path.exists() and path.stat().st_size + len(line) > self._max_bytes:
                self.num_unwritten += 1
                self._warn("is full")
                return
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
        except (OSError, TypeError, ValueError) as error:
            self.num_unwritten += 1
            self._warn(f"cannot be written ({error})")

    def _begin_day(self, day: datetime.date) -> None:
        self._day, self.num_unwritten, self._has_warned = day, 0, False
        oldest = day - datetime.timedelta(days=self._keep_days - 1)
        for path, its_day in day_files(self.folder):
            if its_day < oldest:
                path.unlink(missing_ok=True)

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("The daily log in %s %s; what is not written is counted.", self.folder, why)


def day_file(folder: Path, day: datetime.date) -> Path:
    return folder / _NAME.format(date=day.isoformat())


def day_files(folder: Path) -> Iterator[tuple[Path, datetime.date]]:
    """Yield the daily logs of a folder with their days, the oldest first."""
    for path in sorted(folder.glob(_NAME.format(date="*"))):
        try:
            yield path, datetime.date.fromisoformat(path.stem.removeprefix("kiosk-"))
        except ValueError:
            continue  # somebody's own file beside ours


def read_day(folder: Path, day: datetime.date) -> list[dict[str, Any]]:
    """Return the entries of a day, without lines that were cut short by a loss of power.

    DataError if there is no log of that day.
    """
    path = day_file(folder, day)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        known = [its_day.isoformat() for _, its_day in day_files(folder)]
        days = f"there are logs of {', '.join(known[-5:])}" if known else "no booth has run yet"
        raise DataError(f"there is no log of {day.isoformat()} in {folder}; {days}") from None
    except OSError as error:
        raise DataError(f"the log {path} cannot be read ({error.strerror or error}); check its permissions") from None
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("kind"), str):
            entries.append(entry)
    return entries
