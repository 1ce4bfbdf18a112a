"""How many compute threads the network runs on: chosen by a short probe, kept while it does well, one while it does
not."""

from __future__ import annotations

import os
import statistics
from collections import deque
from collections.abc import Callable

import psutil

from .interfaces import Clock

CLEARLY_FASTER = 0.90  # more threads must take at most this share of the time; less is not worth the risk below
STALL_SHARE = 0.8  # of a chunk's play time; a chunk that takes longer leaves nothing for sampling late
STALL_WINDOW = 8  # newest chunks that are looked at, half a second of play
STALL_LIMIT = 3  # of them; one or two are a burst that is over before anything could be done about it
FIRST_RETRY_S, LAST_RETRY_S = 10.0, 160.0  # until more threads are tried again, doubled whenever they stall again
TRIAL_S = 5.0  # more threads that do well for so long have passed the trial: the neighbour has left
ONE_IS_FASTER = 0.85  # of the time of the stalled chunks; one thread that takes more was not what they lacked
SLOWER_THAN_ONE = 1.5  # times one thread's time, which a chunk must take to be a stall once one thread was no help
HOPELESS = 3.0  # times slower than the best so far: one such pass says enough, more would eat the budget


def num_usable_cores() -> int:
    """Return the physical cores this process may run on (hyper-threads share one set of multipliers)."""
    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(physical, allowed))


def choose_num_threads(run_pass: Callable[[int], None], clock: Clock, max_threads: int | None = None,
                       budget_s: float = 0.5) -> int:
    """Return the number of threads on which a pass of the network is fastest and steadiest.

    `run_pass(num_threads)` sets that number and runs one pass as play would. `max_threads`: None means the usable
    physical cores. The probe ends with the pass during which `budget_s` runs out.

    More threads are not simply faster: the small operators of a world this size meet at a barrier after every
    operator, and when another process has one of the cores, all threads wait there for the one that lost it. Two
    threads were seen to be 5 to 30 times slower than one on a busy machine. So fewer threads win unless more are
    clearly faster in the median AND no slower in their worst pass, which is where such stalls show. Candidates
    take turns, so that a burst of the neighbour's hits all of them.
    """
    candidates = _candidates(num_usable_cores() if max_threads is None else max_threads)
    if len(candidates) == 1:
        return candidates[0]
    ends_s = clock.now() + budget_s
    times_s: dict[int, list[float]] = {}
    running = list(candidates)
    for num_threads in running:
        run_pass(num_threads)  # the first pass of a candidate starts its threads and allocates; it is not timed
    while running:
        for num_threads in list(running):
            begin_s = clock.now()
            run_pass(num_threads)
            end_s = clock.now()
            times_s.setdefault(num_threads, []).append(end_s - begin_s)
            best_s = min(min(times) for times in times_s.values())
            if end_s - begin_s > HOPELESS * best_s and num_threads != candidates[0]:
                running.remove(num_threads)
            if end_s >= ends_s:
                return _choose(times_s)
        if running == candidates[:1]:
            break
    return _choose(times_s)


class ThreadKeeper:
    """Goes down to one thread when chunks stall on several, and tries the several again later.

    The probe has seen half a second. A neighbour that comes afterwards makes all threads wait at every barrier for
    the one that lost its core, while one thread alone would share the machine and still keep the world's rate.

    A machine that is simply slow looks the same at first: every chunk is late. So a step down is a trial too. One
    thread that is no faster than the chunks that stalled was no help, and the many come back at once; from then on
    only a chunk that takes clearly longer than one thread needs is a stall, which a neighbour's still are.
    """

    def __init__(self, num_threads: int, chunk_s: float) -> None:
        self.num_threads = num_threads
        self._many = num_threads
        self._late_s = self._stall_s = STALL_SHARE * chunk_s
        self._newest_s: deque[float] = deque(maxlen=STALL_WINDOW)  # times of the chunks on this number of threads
        self._stalled_s: float | None = None  # median of the chunks for which it went down, until one thread is judged
        self._is_settling = False  # after `start_over`
        self._retry_s = FIRST_RETRY_S
        self._changed_at_s: float | None = None  # None: still as the probe chose

    def chunk_took(self, seconds: float, now_s: float) -> int:
        """Take the time of one chunk and return the number of threads for the next."""
        if self._many == 1:
            return 1
        self._newest_s.append(seconds)
        if self.num_threads > 1:
            if len(self._newest_s) == STALL_WINDOW and max(self._newest_s) <= self._late_s:
                self._stall_s = self._late_s  # the machine is quick after all: it was busy when one thread was judged
            self._look_for_stalls(now_s)
        elif self._one_was_no_help() or now_s - self._changed_at_s >= self._retry_s:
            self._change(self._many, now_s)
        return self.num_threads

    def start_over(self) -> None:
        """Forget what a chunk took: from here on chunks have less to do, or more.

        A whole window of them is waited for, since the first of another kind are slow and would speak against many
        threads.
        """
        self._newest_s.clear()
        self._stall_s, self._stalled_s, self._is_settling = self._late_s, None, True

    def _look_for_stalls(self, now_s: float) -> None:
        self._is_settling &= len(self._newest_s) < STALL_WINDOW
        if self._is_settling:
            return
        stalled_s = [seconds for seconds in self._newest_s if seconds > self._stall_s]
        if len(stalled_s) < STALL_LIMIT:
            return
        since_s = float("inf") if self._changed_at_s is None else now_s - self._changed_at_s
        # Stalling again within the trial: the neighbour is still there, so leave it more time.
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S) if since_s < TRIAL_S else FIRST_RETRY_S
        self._stalled_s = statistics.median(stalled_s)
        self._change(1, now_s)

    def _one_was_no_help(self) -> bool:
        """Judge one thread, once after every step down; if it was no help, take its time for what a stall exceeds."""
        if self._stalled_s is None or len(self._newest_s) < STALL_WINDOW:
            return False
        one_s, stalled_s, self._stalled_s = statistics.median(self._newest_s), self._stalled_s, None
        if one_s <= ONE_IS_FASTER * stalled_s:
            return False
        self._stall_s = max(self._late_s, SLOWER_THAN_ONE * one_s)
        return True

    def _change(self, num_threads: int, now_s: float) -> None:
        self.num_threads, self._changed_at_s = num_threads, now_s
        self._newest_s.clear()


def _candidates(max_threads: int) -> list[int]:
    """Return 1, 2, 4 ... and `max_threads` itself."""
    powers = [1 << exponent for exponent in range(max_threads.bit_length()) if 1 << exponent <= max_threads]
    return sorted({*powers, max_threads})


def _choose(times_s: dict[int, list[float]]) -> int:
    chosen = min(times_s)
    for num_threads in sorted(times_s):
        times, chosen_times = times_s[num_threads], times_s[chosen]
        if statistics.median(times) <= CLEARLY_FASTER * statistics.median(chosen_times) \
                and max(times) <= max(chosen_times):
            chosen = num_threads
    return chosen
