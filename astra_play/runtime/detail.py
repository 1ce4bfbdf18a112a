"""Whether shown pictures are drawn finely: as long as the world's rate is kept with it."""

from __future__ import annotations

import statistics
from collections import deque

from .threads import STALL_WINDOW

DETAIL_WINDOW = 2 * STALL_WINDOW  # newest chunks that are looked at: longer than one thread is tried for (threads.py)
CLEARLY_LATE = 1.2  # of a chunk's play time; what takes less may only have a house before it for a second
PATIENT_WINDOW = 4 * DETAIL_WINDOW  # newest chunks that are looked at where they are late by less, 4 s of play


class DetailKeeper:
    """Gives fine drawing up when the world's rate is missed with it, until the player asks for other passes.

    Fine drawing is a large part of a chunk on a slow machine, and the only part that nothing else depends on. It does
    not come back when there is time again: whether there is would be known only by trying, and a picture that flips
    between two looks is worse than either. So it is given up soon where the rate is missed by far, and where it is
    nearly kept only after a while: some views cost more than others.
    """

    def __init__(self, chunk_s: float) -> None:
        """`chunk_s`: how long a chunk is shown."""
        self.draws_finely = True
        self._chunk_s = chunk_s
        self._newest_s: deque[float] = deque(maxlen=PATIENT_WINDOW)

    def chunk_took(self, seconds: float) -> bool:
        """Take the time of one chunk and return whether to draw the next finely."""
        self._newest_s.append(seconds)
        if self._is_late(DETAIL_WINDOW, CLEARLY_LATE * self._chunk_s) or self._is_late(PATIENT_WINDOW, self._chunk_s):
            self.draws_finely = False
        return self.draws_finely

    def _is_late(self, window: int, limit_s: float) -> bool:
        """Whether most of so many newest chunks, and no fewer, took longer."""
        return len(self._newest_s) >= window and statistics.median(list(self._newest_s)[-window:]) > limit_s

    def forget(self) -> None:
        """Count anew: what comes is made on another number of threads, which may do better."""
        self._newest_s.clear()
