"""Whether shown pictures are drawn finely: as long as the world's rate is kept with it."""

from __future__ import annotations

import statistics
from collections import deque

from .threads import STALL_WINDOW

DETAIL_WINDOW = 2 * STALL_WINDOW  # newest chunks that are looked at: longer than one thread is tried for (threads.py)


class DetailKeeper:
    """Gives fine drawing up when the world's rate is missed with it, until the player asks for other passes.

    Fine drawing is a large part of a chunk on a slow machine, and the only part that nothing else depends on. It does
    not come back when there is time again: whether there is would be known only by trying, and a picture that flips
    between two looks is worse than either.
    """

    def __init__(self, chunk_s: float) -> None:
        """`chunk_s`: how long a chunk is shown."""
        self.draws_finely = True
        self._chunk_s = chunk_s
        self._newest_s: deque[float] = deque(maxlen=DETAIL_WINDOW)

    def chunk_took(self, seconds: float) -> bool:
        """Take the time of one chunk and return whether to draw the next finely."""
        self._newest_s.append(seconds)
        if len(self._newest_s) == DETAIL_WINDOW and statistics.median(self._newest_s) > self._chunk_s:
            self.draws_finely = False
        return self.draws_finely

    def forget(self) -> None:
        """Count anew: what comes is made on another number of threads, which may do better."""
        self._newest_s.clear()
