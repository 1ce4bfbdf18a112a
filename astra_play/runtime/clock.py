"""The only module that asks the machine for the time: every other part of the runtime is handed a Clock."""

from __future__ import annotations

import datetime
import threading
import time

import psutil


class MonotonicClock:
    """Seconds that never jump, whatever happens to the wall clock."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait at most `seconds`; return True if `stop` was set meanwhile."""
        return stop.wait(max(0.0, seconds))


def process_age_s() -> float:
    """Seconds since this process was started, imports included."""
    return max(0.0, time.time() - psutil.Process().create_time())


def local_time() -> datetime.datetime:
    """Return the time on the wall with its zone: for names and logs that people read, never for pacing."""
    return datetime.datetime.now().astimezone()
