"""Frames that wait to be shown: the generator thread publishes chunks, the main thread asks what is due.

The second of the two objects in which the threads meet. Each frame gets an absolute due time at the world's own
rate. The clock policy:

- The first chunk after a start or reset is due the moment it arrives, and sets the grid of due times.
- A chunk late by less than one frame is shown at once and keeps the grid, so small jitter never adds up.
- A chunk late by a frame or more moves the grid: the world stands still for that long and then goes on at its own
  speed. Nothing else sets the pace of a generated world, so rushing to catch up would only make it run fast.
- Each frame that should have appeared and did not is one underrun. A frame that the window asks for too late, because
  a later one is due already, is dropped as late. Nothing is lost uncounted:
  published == shown + sum(dropped) + waiting.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import numpy as np

from ..chunks import FrameChunk
from .interfaces import Clock

UNDERRUN_AFTER_S = 0.008  # half a refresh of a 60 Hz screen: a frame late by less is on screen when it should be
MAX_WAITING_S = 1.0  # of frames nobody asks for (a window being dragged); more would only be dropped as late
MAX_WAITING_CHUNKS = 2  # however long they are: the one being shown and the one that is ready early


@dataclass(frozen=True)
class DueFrame:
    """One frame to show now, (H, W, 3) uint8, with where it comes from."""

    frame: np.ndarray
    chunk: FrameChunk
    frame_index: int  # in its chunk
    due_s: float  # on the session clock
    first_of_chunk: bool  # no earlier frame of this chunk has been shown
    event_times_s: tuple[float, ...]  # of the input events whose effect this frame is the first to show


@dataclass(frozen=True)
class PlayoutCounts:
    """What became of every published frame, and how often the picture stood still."""

    published: int = 0
    shown: int = 0
    waiting: int = 0
    underruns: int = 0
    held_s: float = 0.0  # time that an old picture stayed on screen because the next was not there
    dropped: dict[str, int] = field(default_factory=dict)  # reason ("late", "full", "reset", "closed") -> frames


@dataclass(frozen=True)
class _Waiting:
    chunk: FrameChunk
    frame_index: int
    due_s: float  # on the due clock, which stands still while paused


class PlayoutQueue:
    """A FrameOutput whose other end is polled by the window."""

    def __init__(self, clock: Clock, fps: float | None = None) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._period_s = 1.0 / fps if fps else 0.0
        self._waiting: deque[_Waiting] = deque()
        self._next_due_s: float | None = None  # on the due clock, of the next chunk's first frame; None: when it comes
        self._reset_count = 0
        self._paused_at_s: float | None = None
        self._paused_total_s = 0.0
        self._closed = False
        self._missed_in_gap = 0  # underruns already counted for the chunk that is awaited now
        self._last_shown_chunk: tuple[int, int] | None = None  # reset_count, chunk_index
        self._unshown_event_times_s: list[float] = []  # of chunks that were dropped whole before they were shown
        self._counts = PlayoutCounts()
        self._dropped: Counter[str] = Counter()

    # -- the generator's end ------------------------------------------------------------------------------------

    def set_rate(self, fps: float) -> None:
        """Set the world's frame rate, known once it is loaded; call before the first chunk."""
        with self._lock:
            self._period_s = 1.0 / fps

    def publish(self, chunk: FrameChunk) -> None:
        """Queue the frames of a finished chunk. Never blocks."""
        with self._lock:
            now_s = self._due_clock(self._clock.now())
            num_frames = len(chunk.frames)
            self._count(published=num_frames)
            if self._closed:
                self._dropped["closed"] += num_frames
                return
            if chunk.reset_count < self._reset_count:
                self._dropped["reset"] += num_frames
                return
            if chunk.reset_count > self._reset_count:
                self._start_again(chunk.reset_count)
            first_due_s = self._place(now_s)
            self._waiting.extend(_Waiting(chunk, index, first_due_s + index * self._period_s)
                                 for index in range(num_frames))
            self._next_due_s = first_due_s + num_frames * self._period_s
            while len(self._waiting) * self._period_s > MAX_WAITING_S \
                    and len(self._waiting) > MAX_WAITING_CHUNKS * num_frames:
                self._drop_oldest("full")

    def next_due_s(self) -> float | None:
        """Return when (session clock) the next chunk's first frame is due; None: as soon as it can be made."""
        with self._lock:
            return None if self._next_due_s is None else self._next_due_s + self._paused_total_s

    def expect_gap(self) -> None:
        """The next chunk will take as long as it takes: count nothing as missed until it comes and sets the grid."""
        with self._lock:
            self._count_missed(self._due_clock(self._clock.now()))
            self._next_due_s = None
            self._missed_in_gap = 0

    def close(self) -> None:
        """Take no more chunks and count no more underruns; frames that wait are still shown."""
        with self._lock:
            self._closed = True

    # -- the window's end ---------------------------------------------------------------------------------------

    def due(self, now_s: float) -> DueFrame | None:
        """Return the newest frame due at `now_s`, or None: keep the picture that is on screen."""
        with self._lock:
            if self._paused_at_s is not None:
                return None
            due_clock_s = self._due_clock(now_s)
            while len(self._waiting) > 1 and self._waiting[1].due_s <= due_clock_s:
                self._drop_oldest("late")
            if not self._waiting or self._waiting[0].due_s > due_clock_s:
                self._count_missed(due_clock_s)
                return None
            return self._show(self._waiting.popleft())

    def next_waiting(self) -> DueFrame | None:
        """Return the next frame whether or not it is due, or paused, for a window that steps; None if none waits."""
        with self._lock:
            return self._show(self._waiting.popleft()) if self._waiting else None

    def pause(self, now_s: float) -> None:
        """Stop the due clock. Pausing twice is pausing once."""
        with self._lock:
            if self._paused_at_s is None:
                self._count_missed(self._due_clock(now_s))
                self._paused_at_s = now_s

    def resume(self, now_s: float) -> None:
        """Let the due clock go on from where it stopped: what was due in 20 ms at the pause is due in 20 ms now.

        The next chunk sets the grid anew, since the generator may have stood before it when the pause began.
        """
        with self._lock:
            if self._paused_at_s is not None:
                self._paused_total_s += now_s - self._paused_at_s
                self._paused_at_s = None
                self._next_due_s = None
                self._missed_in_gap = 0

    def reset(self, reset_count: int) -> None:
        """Drop every frame from before the reset, and let the first chunk after it set the grid."""
        with self._lock:
            self._start_again(reset_count)

    def counts(self) -> PlayoutCounts:
        with self._lock:
            return replace(self._counts, waiting=len(self._waiting), dropped=dict(self._dropped))

    # -- under the lock -----------------------------------------------------------------------------------------

    def _due_clock(self, now_s: float) -> float:
        return (now_s if self._paused_at_s is None else self._paused_at_s) - self._paused_total_s

    def _place(self, now_s: float) -> float:
        """Return the due time of a chunk's first frame by the clock policy, counting what was missed before it."""
        if self._next_due_s is None:
            return max(now_s, self._waiting[-1].due_s + self._period_s) if self._waiting else now_s
        late_s = now_s - self._next_due_s
        self._count_missed(now_s)
        if self._missed_in_gap:
            self._count(held_s=late_s)
        self._missed_in_gap = 0
        return self._next_due_s if late_s < self._period_s else now_s

    def _count_missed(self, now_s: float) -> None:
        """Count the due times that have passed with nothing to show, up to `now_s` on the due clock."""
        if self._next_due_s is None or self._closed or now_s - self._next_due_s <= UNDERRUN_AFTER_S:
            return
        missed = 1 + math.floor((now_s - self._next_due_s - UNDERRUN_AFTER_S) / self._period_s)
        self._count(underruns=max(0, missed - self._missed_in_gap))
        self._missed_in_gap = max(missed, self._missed_in_gap)

    def _show(self, waiting: _Waiting) -> DueFrame:
        chunk = waiting.chunk
        first_of_chunk = self._last_shown_chunk != (chunk.reset_count, chunk.chunk_index)
        event_times_s: tuple[float, ...] = ()
        if first_of_chunk:
            event_times_s = (*self._unshown_event_times_s, *chunk.action.sample.event_times_s)
            self._unshown_event_times_s.clear()
        self._last_shown_chunk = (chunk.reset_count, chunk.chunk_index)
        self._count(shown=1)
        return DueFrame(chunk.frames[waiting.frame_index], chunk, waiting.frame_index,
                        waiting.due_s + self._paused_total_s, first_of_chunk, event_times_s)

    def _drop_oldest(self, reason: str) -> None:
        waiting = self._waiting.popleft()
        chunk = waiting.chunk
        self._dropped[reason] += 1
        is_last = waiting.frame_index == len(chunk.frames) - 1
        if is_last and self._last_shown_chunk != (chunk.reset_count, chunk.chunk_index):
            self._unshown_event_times_s.extend(chunk.action.sample.event_times_s)  # the next frame shown has them

    def _start_again(self, reset_count: int) -> None:
        if reset_count <= self._reset_count:
            return
        if self._waiting:
            self._dropped["reset"] += len(self._waiting)
            self._waiting.clear()
        self._reset_count = reset_count
        self._next_due_s = None
        self._missed_in_gap = 0
        self._unshown_event_times_s.clear()

    def _count(self, published: int = 0, shown: int = 0, underruns: int = 0, held_s: float = 0.0) -> None:
        counts = self._counts
        self._counts = replace(counts, published=counts.published + published, shown=counts.shown + shown,
                               underruns=counts.underruns + underruns, held_s=counts.held_s + held_s)
