"""The controls as the world hears them, for the overlay (F2): the keys of held buttons, and the mouse's motion."""

from __future__ import annotations

from ..actions.keymap import Keymap
from ..chunks import InputEvent
from . import hud
from .canvas import Canvas

MOTION_MEMORY_S = 0.12


class MouseMotion:
    """The mouse's velocity in px/s, smoothed, and fading once it rests."""

    def __init__(self) -> None:
        self._px_s = (0.0, 0.0)
        self._at_s = 0.0

    def note(self, change: InputEvent) -> None:
        """Take in an event of the kind "motion"."""
        passed_s = max(0.001, change.time_s - self._at_s)
        keep = max(0.0, 1.0 - passed_s / MOTION_MEMORY_S)
        self._px_s = tuple(keep * old + moved / MOTION_MEMORY_S
                           for old, moved in zip(self._px_s, change.motion_px, strict=True))
        self._at_s = change.time_s

    def at(self, now_s: float) -> tuple[float, float]:
        """Return (right, down) in px/s."""
        faded = max(0.0, 1.0 - (now_s - self._at_s) / MOTION_MEMORY_S)
        return faded * self._px_s[0], faded * self._px_s[1]


def draw_heard(canvas: Canvas, keymap: Keymap, held: frozenset[str], motion_px_s: tuple[float, float],
               lift: float = 0) -> None:
    """Draw the overlay with every key lit that stands for a held button; `lift`: units taken at the bottom."""
    lit = frozenset(control for control, buttons in keymap.keys.items() if held.intersection(buttons))
    hud.draw_input_overlay(canvas, lit, frozenset(keymap.keys), motion_px_s, lift)
