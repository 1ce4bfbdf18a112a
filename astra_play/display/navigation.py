"""pygame event -> one of six moves through a menu, so that keyboard, mouse wheel and pad all walk it the same way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import pygame

from .events import AXIS_FULL, PAD_AXES, PAD_BUTTONS

FLICK = 0.6  # of a stick's way: far enough that a resting thumb moves nothing
REARM = 0.3  # the stick must come back this far before it moves again


class Move(Enum):
    UP = "up"
    DOWN = "down"
    LEFT = "left"
    RIGHT = "right"
    ACCEPT = "accept"
    BACK = "back"


KEY_MOVES = {
    pygame.K_UP: Move.UP, pygame.K_w: Move.UP, pygame.K_DOWN: Move.DOWN, pygame.K_s: Move.DOWN,
    pygame.K_LEFT: Move.LEFT, pygame.K_a: Move.LEFT, pygame.K_RIGHT: Move.RIGHT, pygame.K_d: Move.RIGHT,
    pygame.K_RETURN: Move.ACCEPT, pygame.K_KP_ENTER: Move.ACCEPT, pygame.K_SPACE: Move.ACCEPT,
    pygame.K_ESCAPE: Move.BACK,
}
PAD_MOVES = {
    "pad up": Move.UP, "pad down": Move.DOWN, "pad left": Move.LEFT, "pad right": Move.RIGHT,
    "pad a": Move.ACCEPT, "pad start": Move.ACCEPT, "pad b": Move.BACK, "pad back": Move.BACK,
}
STICK_MOVES = {"pad left x": (Move.LEFT, Move.RIGHT), "pad left y": (Move.UP, Move.DOWN)}


class Navigator:
    """Turns events into moves; remembers only which sticks have not come back to the middle yet."""

    def __init__(self) -> None:
        self._flicked: set[str] = set()

    def note_pushed(self, axes: Mapping[str, float]) -> None:
        """Take over how the pads are held, axis -> value in [-1, 1]: a stick pushed before flicks nothing here."""
        self._flicked = {axis for axis in STICK_MOVES if abs(axes.get(axis, 0.0)) >= REARM}

    def move(self, event: pygame.Event) -> Move | None:
        if event.type == pygame.KEYDOWN:
            return KEY_MOVES.get(event.key)
        if event.type == pygame.CONTROLLERBUTTONDOWN:
            return PAD_MOVES.get(PAD_BUTTONS.get(event.button, ""))
        if event.type == pygame.CONTROLLERAXISMOTION:
            return self._flick(PAD_AXES.get(event.axis, ""), event.value / AXIS_FULL)
        if event.type == pygame.MOUSEWHEEL and event.y:
            return Move.UP if event.y > 0 else Move.DOWN
        return None

    def _flick(self, axis: str, value: float) -> Move | None:
        if axis not in STICK_MOVES:
            return None
        if abs(value) < REARM:
            self._flicked.discard(axis)
        if abs(value) < FLICK or axis in self._flicked:
            return None
        self._flicked.add(axis)
        return STICK_MOVES[axis][value > 0.0]
