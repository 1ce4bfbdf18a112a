"""The only module that asks the machine for the time: every other part of the runtime is handed a Clock."""

from __future__ import annotations

import threading
import time

from .interfaces import Clock

REANCHOR_AFTER_S = 0.25  # longer than any late tick seen on a busy CPU; ticks missed by more are not made up for


class MonotonicClock:
    """Seconds that never jump, whatever happens to the wall clock."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait at most `seconds`; return True if `stop` was set meanwhile."""
        return stop.wait(max(0.0, seconds))


class Pacer:
    """Ticks at absolute deadlines: a late tick does not delay the next one, so the average rate is exact.

    After a stall longer than REANCHOR_AFTER_S (a dragged window, a suspended laptop) the ticks start again from now
    instead of rushing to catch up.
    """

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock = clock
        self._period_s = period_s
        self._next_s: float | None = None

    def reset(self) -> None:
        """Let the next wait return at once and count from there."""
        self._next_s = None

    def wait(self, stop: threading.Event) -> bool:
        """Wait for the next tick; return True if `stop` was set meanwhile. The first tick is now."""
        now_s = self._clock.now()
        if self._next_s is None or now_s - self._next_s > REANCHOR_AFTER_S:
            self._next_s = now_s
        stopped = self._clock.wait(self._next_s - now_s, stop) if self._next_s > now_s else stop.is_set()
        self._next_s += self._period_s
        return stopped
