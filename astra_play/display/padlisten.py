"""Wait for the control that a player wants to bind: the next key, mouse button, pad button or pushed axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pygame

from ..actions.controls import is_button_control
from .events import to_input

PUSHED, AT_REST = 0.6, 0.3  # of an axis' way, as in navigation
REFUSED = {"pad start": "Start pauses the play; choose another control.",
           "escape": "Esc pauses the play; choose another control."}


@dataclass(frozen=True)
class Heard:
    """What was pressed: the control, for an axis which end of it, or a sentence why it will not do."""

    control: str = ""
    positive: bool = False
    refusal: str = ""


class Listener:
    """Takes events until one of them names a control."""

    def __init__(self, pushed_axes: Iterable[str]) -> None:
        """`pushed_axes`: those held at this moment; each must come back to rest before it counts."""
        self._still_pushed = set(pushed_axes)

    def hear(self, event: pygame.Event) -> Heard | None:
        """Return what an event names, None if it names nothing."""
        change = to_input(event, 0.0)
        if change is None or (change.kind == "button" and not change.down):
            return None
        if change.kind == "axis":
            return self._axis(change.control, change.value)
        if change.kind != "button":
            return None
        if change.control in REFUSED:
            return Heard(refusal=REFUSED[change.control])
        if not is_button_control(change.control):
            return Heard(refusal=f"The key {change.control!r} cannot be written in a keymap; choose another control.")
        return Heard(change.control)

    def _axis(self, axis: str, value: float) -> Heard | None:
        if abs(value) < AT_REST:
            self._still_pushed.discard(axis)
        if abs(value) < PUSHED or axis in self._still_pushed:
            return None
        return Heard(axis, positive=value > 0.0)
