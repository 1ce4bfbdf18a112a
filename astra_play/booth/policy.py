"""What a booth shows when: attract loop, start page, play, thanks. A state machine with time as its argument.

The window tells it what happened (a touch, a choice, a first picture), asks it what is due, and shows that. Everything
follows from the times of the events; how often it is asked changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .profile import Times

Phase = Literal["attract", "choose", "play", "thanks"]
Reason = Literal["time up", "idle", "done", "skipped", "failed", "stopped"]

GRACE_S = 1.5  # of the thanks page: hands that still hammer the buttons must not skip it
FAILED_TURN_S = 2.0  # a part of the attract loop that fails at once must not spin
NEVER_S = math.inf


@dataclass(frozen=True)
class Visit:
    """One visitor in one world; times on the policy's clock. `played_s` counts from the first picture."""

    world: str
    began_s: float
    ended_s: float
    played_s: float
    reason: Reason


@dataclass(frozen=True)
class View:
    """What the screens show of the policy at one moment; None: nothing of the kind."""

    phase: Phase
    turn: int  # of the attract loop, counted through
    world: str  # that is played
    left_s: float | None  # of the visitor's time
    is_last: bool  # the countdown is written out
    warning_s: float | None  # until the booth takes the visitor for gone


class Policy:
    """The phases of a booth. Times come in order; every method lets pass what was due before it."""

    def __init__(self, times: Times, now_s: float) -> None:
        self._times = times
        self.phase: Phase = "attract"
        self.turn = 0
        self.world = ""
        self.failed_world = ""  # the visitor's choice that did not come; "" once another one is made
        self._visits: list[Visit] = []
        self._since_s = now_s  # of the phase, or of the turn of the attract loop
        self._touched_s = now_s
        self._began_s: float | None = None  # of the first picture of a turn or a visit
        self._turn_ends_s = now_s + times.load_s

    # --- what happens -----------------------------------------------------------------------------------------------

    def touched(self, now_s: float) -> None:
        """Somebody touched a control, or still holds one."""
        self.tick(now_s)
        self._touched_s = now_s
        if self.phase == "attract" or (self.phase == "thanks" and now_s - self._since_s >= GRACE_S):
            self._enter("choose", now_s)

    def chosen(self, world: str, now_s: float) -> None:
        """The visitor chose a world on the start page."""
        self.tick(now_s)
        if self.phase == "choose":
            self.world, self.failed_world = world, ""
            self._enter("play", now_s)

    def began(self, now_s: float, length_s: float | None = None) -> None:
        """The first picture is on the screen: of the visitor's world, or of this turn of the attract loop.

        `length_s`: of the turn; None means that of a tour.
        """
        self.tick(now_s)
        if self._began_s is not None:
            return
        self._began_s = self._touched_s = now_s  # nobody touches anything while a world loads
        if self.phase == "attract":
            self._turn_ends_s = now_s + (self._times.tour_s if length_s is None else length_s)

    def turn_over(self, now_s: float) -> None:
        """This turn of the attract loop has shown all it has."""
        self.tick(now_s)
        if self.phase == "attract":
            self._next_turn(now_s)

    def failed(self, now_s: float) -> None:
        """What should be shown cannot be."""
        self.tick(now_s)
        if self.phase == "attract":
            self._turn_ends_s = min(self._turn_ends_s, now_s + FAILED_TURN_S)
        elif self.phase == "play":
            self._visit_failed(now_s)

    def done(self, now_s: float) -> None:
        """The visitor has played enough."""
        self.tick(now_s)
        if self.phase == "play":
            self._end_visit("done", now_s)
            self._enter("thanks", now_s)

    def skip(self, now_s: float) -> None:
        """The operator ends this visit, or this turn of the attract loop."""
        self.tick(now_s)
        if self.phase == "attract":
            self._next_turn(now_s)
            return
        if self.phase == "play":
            self._end_visit("skipped", now_s)
        self._enter("attract", now_s)

    def stop(self, now_s: float) -> None:
        """The booth ends; a visit under way ends with it."""
        self.tick(now_s)
        if self.phase == "play":
            self._end_visit("stopped", now_s)
            self._enter("attract", now_s)

    def tick(self, now_s: float) -> None:
        """Let everything happen that is due by now, each at its own time."""
        while True:
            due_s = self._due_s()
            if due_s > now_s:
                return
            self._happen(due_s)

    # --- what is to be seen -----------------------------------------------------------------------------------------

    def view(self, now_s: float) -> View:
        """Return what is on screen now, after `tick`."""
        left_s = warning_s = None
        if self.phase == "play" and self._began_s is not None:
            session_end_s, gone_s = self._session_end_s(), self._gone_s()
            left_s = None if session_end_s == NEVER_S else max(0.0, session_end_s - now_s)
            if now_s >= self._touched_s + self._times.idle_s and gone_s < session_end_s:
                warning_s = max(0.0, gone_s - now_s)
        is_last = left_s is not None and left_s <= self._times.last_s
        return View(self.phase, self.turn, self.world, left_s, is_last, warning_s)

    @property
    def is_waiting(self) -> bool:
        """Whether the first picture of what should be on screen has not come yet."""
        return self._began_s is None

    def take_visits(self) -> list[Visit]:
        """Return the visits that ended since the last call."""
        visits, self._visits = self._visits, []
        return visits

    # --- inside -----------------------------------------------------------------------------------------------------

    def _due_s(self) -> float:
        """Return when the next thing happens if nobody does anything."""
        times = self._times
        if self.phase == "attract":
            return self._turn_ends_s
        if self.phase == "choose":
            return self._touched_s + times.choose_s
        if self.phase == "thanks":
            return self._since_s + times.thanks_s
        if self._began_s is None:
            return self._since_s + times.load_s
        return min(self._session_end_s(), self._gone_s())

    def _session_end_s(self) -> float:
        return self._began_s + self._times.session_s if self._times.session_s else NEVER_S

    def _gone_s(self) -> float:
        return self._touched_s + self._times.idle_s + self._times.warning_s

    def _happen(self, at_s: float) -> None:
        if self.phase == "attract":
            self._next_turn(at_s)
        elif self.phase in ("choose", "thanks"):
            self._enter("attract", at_s)
        elif self._began_s is None:
            self._visit_failed(at_s)
        elif self._session_end_s() <= self._gone_s():
            self._end_visit("time up", at_s)
            self._enter("thanks", at_s)
        else:
            self._end_visit("idle", at_s)
            self._enter("attract", at_s)

    def _enter(self, phase: Phase, at_s: float) -> None:
        self.phase, self._since_s, self._touched_s, self._began_s = phase, at_s, at_s, None
        if phase == "attract":
            self.failed_world = ""
            self._next_turn(at_s)

    def _next_turn(self, at_s: float) -> None:
        self.turn += 1
        self._since_s, self._began_s = at_s, None
        self._turn_ends_s = at_s + self._times.load_s

    def _visit_failed(self, at_s: float) -> None:
        self._end_visit("failed", at_s)
        self.failed_world = self.world
        self._enter("choose", at_s)

    def _end_visit(self, reason: Reason, at_s: float) -> None:
        played_s = 0.0 if self._began_s is None else at_s - self._began_s
        self._visits.append(Visit(self.world, self._since_s, at_s, played_s, reason))
