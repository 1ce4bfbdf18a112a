"""The file under a video: bytes of the mp4 muxer -> the disk, a whole fragment at a time.

An mp4 is a row of boxes, each with its length in front. The muxer hands them over in pieces of 32 KB; a process that is
killed between two pieces would leave half a fragment, at which some readers give up. Here a fragment is kept until it
is whole and written at once, so that what lies on the disk can be played at every moment.

The muxer is never told of a full disk, since it would leave its file as it stands. The first failure is kept in
`error`, what comes afterwards is let go, and the file ends with its last whole fragment.
"""

from __future__ import annotations

import errno
from typing import BinaryIO

HEADER_BYTES = 8  # length and kind of a box
LONG_HEADER_BYTES = 16  # a length of 1 says that the real one, 8 bytes, follows
FRAGMENT_HEAD = b"moof"  # says where the pictures in the next box are; one is nothing without the other


class WholeBoxFile:
    """The file object that a muxer writes to. `file`: opened unbuffered for writing."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self._waiting = bytearray()  # behind what is on the disk, the beginning of a fragment
        self._num_written = 0  # bytes on the disk, all of them whole boxes
        self._place = 0  # where the muxer writes next

    # --- the muxer's end --------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Take bytes at the current place; the muxer is always told that they were written."""
        if self.error is None:
            try:
                self._take(bytes(data))
            except OSError as error:
                self.error = error
                self._waiting.clear()
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._place, 2: self._num_written + len(self._waiting)}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cut off what is not whole and close the file; `error` keeps what went wrong first."""
        try:
            self._file.truncate(self._num_written)
        except OSError as error:
            self.error = self.error or error
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error

    def _take(self, data: bytes) -> None:
        if self._place < self._num_written:  # the muxer turns back to complete what it wrote long ago
            self._file.seek(self._place)
            _write_all(self._file, data)
            self._file.seek(self._num_written)
            return
        self._waiting += data
        num_whole = whole_bytes(self._waiting)
        if num_whole:
            _write_all(self._file, bytes(self._waiting[:num_whole]))
            self._num_written += num_whole
            del self._waiting[:num_whole]


def whole_bytes(data: bytes | bytearray) -> int:
    """Return the length of the whole boxes in front of `data`, a fragment's head only together with its pictures."""
    num_whole = place = 0
    while place + HEADER_BYTES <= len(data):
        length = int.from_bytes(data[place:place + 4], "big")
        if length == 1 and place + LONG_HEADER_BYTES <= len(data):
            length = int.from_bytes(data[place + HEADER_BYTES:place + LONG_HEADER_BYTES], "big")
        kind = bytes(data[place + 4:place + HEADER_BYTES])
        if length < HEADER_BYTES or place + length > len(data):
            break
        place += length
        if kind != FRAGMENT_HEAD:
            num_whole = place
    return num_whole


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write everything; a system that takes only a part of it says at the next attempt why."""
    view = memoryview(data)
    while view:
        count = file.write(view)
        if not count:
            raise OSError(errno.ENOSPC, "nothing more can be written")
        view = view[count:]
