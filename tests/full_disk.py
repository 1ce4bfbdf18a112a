"""A disk that takes so many bytes and no more, as a file system says it: in part, then with an error."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class FullDisk:
    """Gives out real files that share a number of free bytes; cutting a file gives bytes back."""

    def __init__(self, num_bytes: int) -> None:
        self.free = num_bytes

    def open_file(self, path: Path) -> FileOnFullDisk:
        return FileOnFullDisk(self, path)


class FileOnFullDisk:
    def __init__(self, disk: FullDisk, path: Path) -> None:
        self._disk = disk
        self._file = open(path, "xb", buffering=0)

    def write(self, data: bytes) -> int:
        size = os.fstat(self._file.fileno()).st_size
        growth = max(0, self._file.tell() + len(data) - size)
        if growth > self._disk.free:
            taken = len(data) - growth + self._disk.free
            if taken <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data, growth = bytes(data)[:taken], self._disk.free
        self._disk.free -= growth
        return self._file.write(data)

    def truncate(self, size: int) -> int:
        self._disk.free += max(0, os.fstat(self._file.fileno()).st_size - size)
        return self._file.truncate(size)

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
