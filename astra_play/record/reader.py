"""A recording's log -> its head and entries. A damaged or cut file gives everything before the damage, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import RecordingError
from .format import (
    FORMAT_VERSION,
    VIDEO_SUFFIX,
    Chunk,
    DamagedLine,
    End,
    Entry,
    Head,
    Start,
    head_sha256,
    line_fields,
    to_value,
)


@dataclass(frozen=True)
class Loss:
    """What a damaged log has lost: from line `line` (from 1) on nothing can be replayed exactly.

    `reason`: what is wrong with that line; `num_after`: whole chunks that lie after it and are of no use.
    """

    line: int
    reason: str
    num_after: int

    def __str__(self) -> str:
        after = f", and {self.num_after} whole chunks after it are of no use" if self.num_after else ""
        return f"line {self.line} is damaged ({self.reason}){after}"


@dataclass(frozen=True)
class Recording:
    """What a log holds: entries in the order they happened, with `loss` None for a whole one."""

    path: Path
    head: Head
    entries: tuple[Entry, ...]
    loss: Loss | None = None
    format_version: int = FORMAT_VERSION  # that the file was written in

    @property
    def chunks(self) -> list[Chunk]:
        return [entry for entry in self.entries if isinstance(entry, Chunk)]

    @property
    def end(self) -> End | None:
        """How it ended, or None where that was never written: the process was killed or the disk full."""
        return self.entries[-1] if self.entries and isinstance(self.entries[-1], End) else None

    @property
    def video_path(self) -> Path | None:
        """The video beside it, or None."""
        path = self.path.with_suffix(VIDEO_SUFFIX)
        return path if path.is_file() else None

    @property
    def sha256(self) -> str:
        """What a branch names it by."""
        return head_sha256(self.head)


def read_recording(path: Path) -> Recording:
    """Read a log as far as it is whole; RecordingError for a file that is none, or is of a later player."""
    with _open(path) as file:
        head, version = _head(file.readline(), path)
        entries: list[Entry] = []
        loss: Loss | None = None
        follows = _Order()
        for number, line in enumerate(file, start=2):
            try:
                entry = to_value(line_fields(line), version)
                follows.check(entry)
            except DamagedLine as error:
                loss = Loss(number, str(error), _num_whole_chunks(file))
                break
            entries.append(entry)
    return Recording(path, head, tuple(entries), loss, version)


def read_head(path: Path) -> Head:
    """Read the first line alone, as a list of recordings does; errors as of `read_recording`."""
    with _open(path) as file:
        return _head(file.readline(), path)[0]


class _Order:
    """What an entry may follow: chunks count on without a gap, and those of a start begin at 0.

    Chunks before any start are what is left of a play too long to be kept: they can be looked at, not replayed.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._chunk_index: int | None = None
        self._reset_count: int | None = None
        self._over = False

    def check(self, entry: Entry | Head) -> None:
        """Raise DamagedLine for an entry that cannot come here."""
        if self._over:
            raise DamagedLine("it comes after the end")
        if isinstance(entry, Head):
            raise DamagedLine("it begins another recording")
        if isinstance(entry, Start):
            self._reset_count, self._chunk_index = entry.reset_count, 0
        elif isinstance(entry, Chunk):
            found = entry.number, entry.chunk_index, entry.reset_count
            expected = self._number, self._chunk_index, self._reset_count
            if any(e not in (None, f) for e, f in zip(expected, found, strict=True)):
                raise DamagedLine(f"it is chunk {entry.number} where chunk {self._number} must come")
            self._number, self._chunk_index, self._reset_count = entry.number + 1, entry.chunk_index + 1, found[2]
        self._over = isinstance(entry, End)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise RecordingError(f"the recording {path} does not exist; give a file that ends in .astra") from None
    except OSError as error:
        raise RecordingError(f"the recording {path} cannot be read ({error.strerror or error}); give a file that ends "
                             "in .astra and that you may read") from None


def _head(line: bytes, path: Path) -> tuple[Head, int]:
    try:
        fields = line_fields(line)
    except DamagedLine as error:
        raise RecordingError(f"{path} is not a recording, or its beginning is damaged ({error}); give the file ending "
                             "in .astra that was written beside the video") from None
    version = fields.get("format_version")
    if fields["kind"] != "head" or not isinstance(version, int) or version < 0:
        raise RecordingError(f"{path} does not begin as a recording does; give the file ending in .astra that was "
                             "written beside the video")
    if version > FORMAT_VERSION:
        raise RecordingError(f"{path} is a recording of format {version}, but this player reads up to format "
                             f"{FORMAT_VERSION}; update the player")
    try:
        return to_value(fields, version), version
    except DamagedLine as error:
        raise RecordingError(f"{path} has a head that makes no sense ({error}); it cannot be replayed, but its video "
                             "can be watched") from None


def _num_whole_chunks(lines: Iterator[bytes]) -> int:
    number = 0
    for line in lines:
        try:
            number += line_fields(line)["kind"] == "chunk"
        except DamagedLine:
            continue
    return number
