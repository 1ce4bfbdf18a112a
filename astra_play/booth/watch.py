"""Heartbeats -> a verdict: does the player still play? Pure judgements, with time as their argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .profile import WatchLimits

BEAT_S = 0.5  # between two heartbeats: an order below the shortest sensible `hang_s`
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0  # before a restart; doubled while the player dies again and again
SETTLED_S = 120.0  # a player that lived so long died of something else than the one before


@dataclass(frozen=True)
class Beat:
    """What the player says about itself twice a second. Ages are at the time of sending; None: nothing is awaited."""

    ready: bool  # it has shown a first picture since it was started
    loop_age_s: float  # since the window's last turn
    chunk_age_s: float | None = None  # since the generator's last chunk, while it should make some
    loading_s: float | None = None  # since a world began to load
    phase: str = ""

    @staticmethod
    def of(fields: dict[str, Any]) -> Beat:
        """Read a beat from plain values; KeyError, TypeError or ValueError if it is none."""
        optional = {name: None if fields.get(name) is None else float(fields[name])
                    for name in ("chunk_age_s", "loading_s")}
        return Beat(bool(fields["ready"]), float(fields["loop_age_s"]), phase=str(fields.get("phase", "")), **optional)


class Watch:
    """The heartbeats of one player, from its start on."""

    def __init__(self, limits: WatchLimits, now_s: float) -> None:
        self._limits = limits
        self._started_s = self._heard_s = self._asked_s = now_s
        self._beat: Beat | None = None

    @property
    def is_ready(self) -> bool:
        return self._beat is not None and self._beat.ready

    @property
    def phase(self) -> str:
        return self._beat.phase if self._beat else "starting"

    def beat(self, beat: Beat, now_s: float) -> None:
        self._beat, self._heard_s = beat, now_s

    def verdict(self, now_s: float) -> str:
        """Return why the player must be restarted, or "" if it need not be.

        A start may take long (weights from a slow disk, a cold cache), so nothing but its own limit counts until the
        first picture. A watcher that was not asked itself for a while was suspended together with its player and takes
        nothing that it missed for a fault.
        """
        limits = self._limits
        if now_s - self._asked_s > limits.hang_s / 2:
            self._heard_s = max(self._heard_s, now_s - limits.hang_s / 2)
        self._asked_s = now_s
        beat = self._beat
        if beat is None or not beat.ready:
            waited_s = now_s - self._started_s
            return f"slow start: no picture after {waited_s:.0f} s" if waited_s > limits.start_s else ""
        silent_s = now_s - self._heard_s
        is_silent = silent_s > limits.hang_s / 2  # then the ages of its last beat say less than its silence
        worst_s = max(beat.loop_age_s, beat.chunk_age_s or 0.0) + silent_s
        if is_silent and worst_s > limits.hang_s:
            return f"hang: no heartbeat for {silent_s:.1f} s"
        if beat.loop_age_s + silent_s > limits.hang_s:
            return f"hang: the window stood still for {beat.loop_age_s + silent_s:.1f} s"
        if beat.chunk_age_s is not None and beat.chunk_age_s + silent_s > limits.hang_s:
            return f"hang: the world stood still for {beat.chunk_age_s + silent_s:.1f} s"
        if beat.loading_s is not None and beat.loading_s + silent_s > limits.start_s:
            return f"hang: a world was loading for {beat.loading_s + silent_s:.0f} s"
        return ""


class Backoff:
    """How long to wait before a restart: at once the first time, ever longer while nothing gets better."""

    def __init__(self) -> None:
        self._num_quick = 0

    def wait_s(self, lived_s: float) -> float:
        """Return the seconds to wait after a player that lived for `lived_s`."""
        self._num_quick = self._num_quick + 1 if lived_s < SETTLED_S else 1
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (self._num_quick - 1))
