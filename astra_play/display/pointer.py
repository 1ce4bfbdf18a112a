"""Fingers, and the mouse as one of them: pygame events -> where something touches the window, in its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pygame

from .window import Window

MOUSE = ("mouse", 0)  # the mouse's finger
LEFT_BUTTON = 1


@dataclass(frozen=True)
class Finger:
    """One thing that a finger did. `is_held` is False for a mouse that moves with no button down."""

    finger: tuple[object, int]  # device and finger, the same from "down" to "up"
    what: Literal["down", "move", "up"]
    at_px: tuple[int, int]
    is_held: bool = True


def finger_of(event: pygame.Event, window: Window) -> Finger | None:
    """Return what an event says about a finger, or None. The mouse that SDL makes of touches is left out."""
    if event.type in (pygame.FINGERDOWN, pygame.FINGERMOTION, pygame.FINGERUP):
        width_px, height_px = window.surface.get_size()
        what = {pygame.FINGERDOWN: "down", pygame.FINGERMOTION: "move", pygame.FINGERUP: "up"}[event.type]
        return Finger((event.touch_id, event.finger_id), what, (round(event.x * width_px), round(event.y * height_px)))
    if getattr(event, "touch", False):
        return None
    if event.type == pygame.MOUSEMOTION:
        return Finger(MOUSE, "move", window.to_pixels(event.pos), is_held=bool(event.buttons[0]))
    if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP) and event.button == LEFT_BUTTON:
        what = "down" if event.type == pygame.MOUSEBUTTONDOWN else "up"
        return Finger(MOUSE, what, window.to_pixels(event.pos))
    return None
