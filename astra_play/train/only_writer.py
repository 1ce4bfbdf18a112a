"""One process at a time writes a folder: a job that was killed may have left a trainer running there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, while the block runs; ConfigError if another process holds it.

    The system lets go of it when this process ends, however it ends. Of replicas the first alone writes, and holds it.
    Windows has no fcntl; nobody is kept away there.
    """
    if os.name != "posix" or os.environ.get("RANK", "0") != "0":
        yield
        return
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)  # locking the folder itself leaves nothing behind
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise ConfigError(f"another process is writing {folder}, perhaps one that a killed job left behind; wait until "
                          "it is done, end it, or choose another folder") from None
    except OSError:
        pass  # a network disk without locks
    try:
        yield
    finally:
        os.close(held)
