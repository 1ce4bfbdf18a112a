"""What a booth makes of window events before its screens see them: locked, the operator's, or somebody's touch."""

from __future__ import annotations

import pygame

from ..booth.profile import OperatorKeys
from .drop import DROP_EVENTS
from .events import AXIS_FULL, PAD_AXES

AXIS_TOUCH = 0.35  # of a stick's way: worn sticks drift by a tenth
WAKE_PX = 40.0  # a table that shakes moves a mouse by less
LOCKED_KEYS = (pygame.K_ESCAPE, pygame.K_F11, pygame.K_F12, pygame.K_PRINTSCREEN)
MODIFIERS = {"ctrl": pygame.KMOD_CTRL, "alt": pygame.KMOD_ALT, "shift": pygame.KMOD_SHIFT}


def is_locked(event: pygame.Event) -> bool:
    """Whether an event would leave the program or its full screen, or change what a booth shows."""
    if event.type in (pygame.QUIT, pygame.WINDOWCLOSE, *DROP_EVENTS):
        return True
    if event.type != pygame.KEYDOWN:
        return False
    with_alt = bool(event.mod & pygame.KMOD_ALT)
    return event.key in LOCKED_KEYS or (with_alt and event.key in (pygame.K_F4, pygame.K_RETURN, pygame.K_TAB))


def operator_command(event: pygame.Event, keys: OperatorKeys) -> str | None:
    """Return the command of the operator's chord as plain keys of the window, or None."""
    if event.type != pygame.KEYDOWN or not all(event.mod & MODIFIERS[name] for name in keys.modifiers):
        return None
    return keys.commands().get(pygame.key.name(event.key))


class TouchSense:
    """Tells a touch from a drifting stick and from a table that shakes."""

    def __init__(self) -> None:
        self._moved_px = 0.0
        self._moved_s = 0.0

    def is_touch(self, event: pygame.Event, now_s: float) -> bool:
        kind = event.type
        if kind in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN, pygame.MOUSEWHEEL, pygame.CONTROLLERBUTTONDOWN,
                    pygame.FINGERDOWN, pygame.FINGERMOTION):
            return True
        if kind == pygame.CONTROLLERAXISMOTION:
            return event.axis in PAD_AXES and abs(event.value) / AXIS_FULL >= AXIS_TOUCH
        if kind == pygame.MOUSEMOTION:
            if now_s - self._moved_s > 1.0:
                self._moved_px = 0.0
            self._moved_s = now_s
            self._moved_px += abs(event.rel[0]) + abs(event.rel[1])
            return self._moved_px >= WAKE_PX
        return False
