"""Where a session's action samples come from: live controls, a script in virtual time, or an autopilot."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..chunks import ActionSample, InputEvent
from .keymap import Keymap
from .state import InputState

WANDER_BUTTONS = ("forward", "turn_left", "turn_right")
ARM_AXES = (("forward", "back"), ("left", "right"), ("up", "down"))
ARM_REACH_S = 0.8  # of full strength from where the hand began: 19 cm of the arm that the default world knows


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


@dataclass(frozen=True)
class Leg:
    """One stretch of an autopilot's way: what is held, how far, and for how long."""

    seconds: float
    buttons: frozenset[str] = frozenset()
    axes: tuple[tuple[str, float], ...] = ()  # (button, strength in (0, 1])


class AutopilotSource:
    """A gentle wander for the attract loop; how it wanders follows from the buttons that the world knows.

    On foot: mostly ahead, turns to either side in turn, a rest now and then. In a car: along at a moderate speed, with
    light touches of the wheel that are taken back. With an arm: slow strokes about the place where it began, a grip now
    and then. The plan depends on the seed and on the time since the first reading, not on how often it is read.
    """

    def __init__(self, seed: int, buttons: Iterable[str] = WANDER_BUTTONS) -> None:
        self._random = random.Random(seed)
        self._known = frozenset(buttons)
        self._next_legs = self._drive_legs if "accelerate" in self._known else \
            self._arm_legs if "grip" in self._known else self._walk_legs
        self._started_s: float | None = None
        self._legs: deque[Leg] = deque()
        self._leg = Leg(0.0)
        self._leg_ends_s = 0.0
        self._strokes = dict.fromkeys(ARM_AXES, 0.0)  # where the hand is, in seconds of full strength
        self._grips = False
        self._turned_left_s = 0.0

    def take(self, now_s: float) -> ActionSample:
        if self._started_s is None:
            self._started_s = now_s
        while now_s - self._started_s >= self._leg_ends_s:
            if not self._legs:
                self._legs.extend(self._next_legs())
            self._leg = self._legs.popleft()
            self._leg_ends_s += self._leg.seconds
        axes = tuple(sorted((button, strength) for button, strength in self._leg.axes if button in self._known))
        return ActionSample(buttons=self._leg.buttons & self._known, axes=axes, taken_at_s=now_s)

    def _walk_legs(self) -> list[Leg]:
        kind = self._random.random()
        # mostly back towards where the start picture looks: its way is open there, and a house is soon in front of one
        # who keeps turning to the same side
        back = "turn_left" if self._turned_left_s < 0.0 else "turn_right"
        turn = back if self._random.random() < 0.75 else self._random.choice(("turn_left", "turn_right"))
        if kind < 0.45:
            return [Leg(self._random.uniform(0.8, 1.8), frozenset({"forward"}))]
        if kind < 0.55:
            return [Leg(self._random.uniform(0.4, 1.0))]
        seconds = self._random.uniform(0.3, 0.9)
        self._turned_left_s += seconds if turn == "turn_left" else -seconds
        return [Leg(seconds, frozenset({"forward", turn} if kind < 0.80 else {turn}))]

    def _drive_legs(self) -> list[Leg]:
        gas = ("accelerate", self._random.uniform(0.5, 0.8))
        kind = self._random.random()
        if kind < 0.6:
            return [Leg(self._random.uniform(1.0, 2.5), axes=(gas,))]
        if kind < 0.7:
            return [Leg(self._random.uniform(0.5, 1.0))]  # off the gas
        way, back = self._random.sample(("steer_left", "steer_right"), 2)
        strength, seconds = self._random.uniform(0.15, 0.4), self._random.uniform(0.4, 0.8)
        return [Leg(seconds, axes=(gas, (way, strength))), Leg(self._random.uniform(0.2, 0.6), axes=(gas,)),
                Leg(seconds, axes=(gas, (back, strength)))]

    def _arm_legs(self) -> list[Leg]:
        kind = self._random.random()
        if kind < 0.15:
            self._grips = not self._grips
            return [Leg(0.8, frozenset({"grip" if self._grips else "release"}))]
        if kind < 0.3:
            return [Leg(self._random.uniform(0.3, 0.8))]
        positive, negative = axis = self._random.choice(ARM_AXES)
        strength, seconds = self._random.uniform(0.35, 0.7), self._random.uniform(0.4, 0.9)
        # the further out, the likelier back: the hand stays where the table is
        goes_back = self._random.random() < 0.5 + abs(self._strokes[axis]) / (2 * ARM_REACH_S)
        sign = -1.0 if (self._strokes[axis] > 0.0) == goes_back else 1.0
        self._strokes[axis] += sign * strength * seconds
        return [Leg(seconds, axes=((positive if sign > 0.0 else negative, strength),))]
