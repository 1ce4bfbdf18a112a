"""What a session measures about itself: rates, latency, losses and memory, for the HUD, the last log line and JSON.

Each distribution and counter is written by one thread only and read by any; a reader may be one value behind, which
no figure here minds, so there is no lock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import psutil

from .interfaces import Clock
from .playout import DueFrame, PlayoutCounts, PlayoutQueue

BIN_MS = 0.5  # finer than a screen refresh can show
MAX_MS = 5000.0  # later values are counted in the last bin; the worst one is kept exactly
SERIES_EVERY_S = 10.0
MAX_SERIES = 8640  # a day of ten-second entries: a kiosk that runs for months stays flat in memory
RSS_EVERY_S = 1.0  # asking the system costs tens of microseconds
BYTES_PER_MB = 1e6
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class Distribution:
    """Milliseconds seen: percentiles of the newest `window` values, and of the whole run through a histogram."""

    def __init__(self, window: int = 512) -> None:
        self._recent_ms = np.zeros(window)
        self._bins = np.zeros(round(MAX_MS / BIN_MS) + 1, dtype=np.int64)
        self.count = 0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        self._recent_ms[self.count % len(self._recent_ms)] = value_ms
        self._bins[min(len(self._bins) - 1, max(0, int(value_ms / BIN_MS)))] += 1
        self.max_ms = max(self.max_ms, value_ms)
        self.count += 1

    def recent(self, quantile: float) -> float | None:
        """Return a quantile of the newest values; None before the first."""
        if not self.count:
            return None
        return float(np.quantile(self._recent_ms[:min(self.count, len(self._recent_ms))], quantile))

    def whole_run(self, quantile: float) -> float | None:
        """Return a quantile of every value, right to BIN_MS; None before the first."""
        total = int(self._bins.sum())
        if not total:
            return None
        bin_index = int(np.searchsorted(np.cumsum(self._bins), max(1, math.ceil(quantile * total))))
        if bin_index == len(self._bins) - 1:
            return self.max_ms
        return min((bin_index + 0.5) * BIN_MS, self.max_ms)

    def to_json(self) -> dict[str, Any]:
        """Return p50, p95, p99 and max of the whole run in ms (None without values), and the count."""
        figures = {name: _rounded(self.whole_run(quantile)) for name, quantile in QUANTILES.items()}
        return {**figures, "max": _rounded(self.max_ms) if self.count else None, "count": self.count}


class Stats:
    """The figures of one session. The generator calls `chunk_made`, the window calls `flipped`."""

    def __init__(self, clock: Clock, playout: PlayoutQueue) -> None:
        self._clock = clock
        self._playout = playout
        self._process = psutil.Process()
        self.started_at_s = clock.now()
        self.first_frame_s: float | None = None  # from the start to the flip of the first generated frame
        self.seed = 0
        self.passes_per_chunk = 0.0
        self.frames_per_chunk = 0
        self.num_chunks = 0
        self.dropped_turn_deg = 0.0  # mouse motion that was faster than the world turns, kept for a while and let go
        self.generate_ms = Distribution()  # denoise and decode of one chunk
        self.busy_ms = Distribution()  # everything the generator does for one chunk, the commit included
        self.input_to_flip_ms = Distribution()
        self.flip_interval_ms = Distribution()
        self.series: deque[dict[str, float]] = deque(maxlen=MAX_SERIES)
        self._last_flip_s: float | None = None
        self._num_intervals = 0
        self._intervals_s = 0.0
        self._rss_mb = 0.0
        self._rss_read_s = -math.inf
        self._entry_started_s: float | None = None
        self._entry_frames = 0

    # -- the generator's end ------------------------------------------------------------------------------------

    def chunk_made(self, generate_ms: float, busy_ms: float) -> None:
        """Note one finished chunk: the time of its step alone, and the whole time it kept the generator busy."""
        self.num_chunks += 1
        self.generate_ms.add(generate_ms)
        self.busy_ms.add(busy_ms)

    # -- the window's end ---------------------------------------------------------------------------------------

    def flipped(self, due: DueFrame, flip_s: float) -> None:
        """Note that a frame reached the screen at `flip_s` (session clock)."""
        if self.first_frame_s is None:
            self.first_frame_s = flip_s - self.started_at_s
        for event_s in due.event_times_s:
            self.input_to_flip_ms.add(1000.0 * (flip_s - event_s))
        if self._last_flip_s is not None:
            self._num_intervals += 1
            self._intervals_s += flip_s - self._last_flip_s
            self.flip_interval_ms.add(1000.0 * (flip_s - self._last_flip_s))
        self._last_flip_s = flip_s
        self._add_to_series(flip_s)

    def interrupted(self) -> None:
        """Leave the time to the next flip out of the frame rate: the player paused or reset."""
        self._last_flip_s = None
        self._entry_started_s = None

    # -- figures ------------------------------------------------------------------------------------------------

    @property
    def fps(self) -> float:
        """Frames shown per second of play, over the whole run."""
        return self._num_intervals / self._intervals_s if self._intervals_s > 0.0 else 0.0

    @property
    def recent_fps(self) -> float:
        """Frames shown per second by the median of the newest flip intervals, for the HUD."""
        median_ms = self.flip_interval_ms.recent(0.5)
        return 1000.0 / median_ms if median_ms else 0.0

    @property
    def generator_fps(self) -> float:
        """Frames per second that the generator alone would reach, by the median chunk."""
        median_ms = self.busy_ms.whole_run(0.5)
        return 1000.0 * self.frames_per_chunk / median_ms if median_ms else 0.0

    def rss_mb(self) -> float:
        """Return the resident memory of this process in MB (10^6 bytes), at most RSS_EVERY_S old."""
        now_s = self._clock.now()
        if now_s - self._rss_read_s >= RSS_EVERY_S:
            self._rss_mb = self._process.memory_info().rss / BYTES_PER_MB
            self._rss_read_s = now_s
        return self._rss_mb

    def to_json(self) -> dict[str, Any]:
        """Return every figure as plain values; None where nothing was measured."""
        counts = self._playout.counts()
        return {
            "fps": _rounded(self.fps),
            "generator_fps": _rounded(self.generator_fps),
            "frames": counts.shown,
            "chunks": self.num_chunks,
            "underruns": counts.underruns,
            "dropped": sum(counts.dropped.values()),
            "dropped_by_reason": counts.dropped,
            "dropped_turn_deg": _rounded(self.dropped_turn_deg),
            "published": counts.published,
            "waiting": counts.waiting,
            "held_s": _rounded(counts.held_s),
            "input_to_flip_ms": self.input_to_flip_ms.to_json(),
            "generate_ms": self.generate_ms.to_json(),
            "flip_interval_ms": self.flip_interval_ms.to_json(),
            "first_frame_s": _rounded(self.first_frame_s),
            "rss_mb": _rounded(self.rss_mb()),
            "passes_per_chunk": self.passes_per_chunk,
            "seed": self.seed,
            "series": list(self.series),
        }

    def summary(self) -> str:
        """Return the run in one line, for the log."""
        counts = self._playout.counts()
        latency = "no input"
        if self.input_to_flip_ms.count:
            p50_ms, p95_ms = self.input_to_flip_ms.whole_run(0.50), self.input_to_flip_ms.whole_run(0.95)
            latency = f"input to flip {p50_ms:.0f} ms (p95 {p95_ms:.0f} ms)"
        return (f"{counts.shown} frames at {self.fps:.1f} fps (generator alone {self.generator_fps:.1f}), {latency}, "
                f"{counts.underruns} underruns, {_dropped_text(counts)}, {self.rss_mb():.0f} MB")

    def _add_to_series(self, flip_s: float) -> None:
        if self._entry_started_s is None:
            self._entry_started_s, self._entry_frames = flip_s, 0
            return
        self._entry_frames += 1
        length_s = flip_s - self._entry_started_s
        if length_s >= SERIES_EVERY_S:
            self.series.append({"t_s": _rounded(flip_s - self.started_at_s),
                                "fps": _rounded(self._entry_frames / length_s),
                                "rss_mb": _rounded(self.rss_mb())})
            self._entry_started_s, self._entry_frames = flip_s, 0


def _dropped_text(counts: PlayoutCounts) -> str:
    if not counts.dropped:
        return "nothing dropped"
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.dropped.items()))
    return f"dropped {reasons}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
