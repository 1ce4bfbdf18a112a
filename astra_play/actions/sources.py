"""Where a session's action samples come from: live controls, a script in virtual time, or an autopilot."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from ..chunks import ActionSample, InputEvent
from .keymap import Keymap
from .state import InputState

WANDER_BUTTONS = ("forward", "turn_left", "turn_right")


class LiveSource:
    """The controls under the player's hands."""

    def __init__(self, state: InputState) -> None:
        self.state = state

    def take(self, now_s: float) -> ActionSample:
        return self.state.take(now_s)


class ScriptedSource:
    """A script played against whatever time the reader gives: the same times give the same samples.

    The first reading is the script's zero, so that it serves virtual time and a running clock alike.
    """

    def __init__(self, events: Iterable[InputEvent], keymap: Keymap) -> None:
        self.state = InputState(keymap)
        self._waiting = deque(sorted(events, key=lambda event: event.time_s))
        self._started_s: float | None = None

    def take(self, now_s: float) -> ActionSample:
        """Fold every event up to and including `now_s`, then read as live controls are read."""
        if self._started_s is None:
            self._started_s = now_s
        while self._waiting and self._waiting[0].time_s <= now_s - self._started_s:
            event = self._waiting.popleft()
            self.state.handle(replace(event, time_s=event.time_s + self._started_s))
        return self.state.take(now_s)


class AutopilotSource:
    """A gentle wander for the attract loop: mostly ahead, a turn now and then, a rest now and then.

    The plan depends on the seed and on the time since the first reading, not on how often it is read.
    """

    def __init__(self, seed: int, buttons: Iterable[str] = WANDER_BUTTONS) -> None:
        self._random = random.Random(seed)
        self._known = frozenset(buttons)
        self._started_s: float | None = None
        self._leg_ends_s = 0.0
        self._leg: frozenset[str] = frozenset()

    def take(self, now_s: float) -> ActionSample:
        if self._started_s is None:
            self._started_s = now_s
        while now_s - self._started_s >= self._leg_ends_s:
            self._leg, leg_s = self._next_leg()
            self._leg_ends_s += leg_s
        return ActionSample(buttons=self._leg & self._known, taken_at_s=now_s)

    def _next_leg(self) -> tuple[frozenset[str], float]:
        kind = self._random.random()
        turn = self._random.choice(("turn_left", "turn_right"))
        if kind < 0.55:
            return frozenset({"forward"}), self._random.uniform(1.0, 3.0)
        if kind < 0.90:
            return frozenset({"forward", turn}), self._random.uniform(0.4, 1.2)
        return frozenset({turn}), self._random.uniform(0.5, 1.0)
