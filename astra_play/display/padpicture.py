"""A gamepad as it is held at this moment: buttons lit, sticks with their dead zone, triggers with their threshold."""

from __future__ import annotations

import pygame

from . import theme
from .canvas import Canvas

WIDTH, HEIGHT = 400, 290  # units
STICK_RADIUS = 46
FACE_RADIUS = 15
TRIGGER = (96, 16)  # width and height

# (SDL button, label, x, y) in units from the middle of the picture
ROUND_BUTTONS = (
    (pygame.CONTROLLER_BUTTON_Y, "Y", 134, -62), (pygame.CONTROLLER_BUTTON_A, "A", 134, 2),
    (pygame.CONTROLLER_BUTTON_X, "X", 102, -30), (pygame.CONTROLLER_BUTTON_B, "B", 166, -30),
    (pygame.CONTROLLER_BUTTON_BACK, "", -30, -30), (pygame.CONTROLLER_BUTTON_START, "", 30, -30),
    (pygame.CONTROLLER_BUTTON_GUIDE, "", 0, -64),
)
CROSS_AT = (-134, -30)
CROSS = ((pygame.CONTROLLER_BUTTON_DPAD_UP, 0, -1), (pygame.CONTROLLER_BUTTON_DPAD_DOWN, 0, 1),
         (pygame.CONTROLLER_BUTTON_DPAD_LEFT, -1, 0), (pygame.CONTROLLER_BUTTON_DPAD_RIGHT, 1, 0))
SHOULDERS = ((pygame.CONTROLLER_BUTTON_LEFTSHOULDER, "pad left trigger", -1),
             (pygame.CONTROLLER_BUTTON_RIGHTSHOULDER, "pad right trigger", 1))
STICKS = ((pygame.CONTROLLER_BUTTON_LEFTSTICK, "pad left x", "pad left y", -64),
          (pygame.CONTROLLER_BUTTON_RIGHTSTICK, "pad right x", "pad right y", 64))


def draw_pad(canvas: Canvas, box: pygame.Rect, down: frozenset[int], axes: dict[str, float], dead_zone: float,
             trigger_threshold: float) -> None:
    """Draw the pad as large as the box allows. `down`: SDL's button numbers, `axes`: name -> value in [-1, 1]."""
    unit_px = min(canvas.unit_px, box.width / WIDTH, box.height / HEIGHT)
    canvas = Canvas(canvas.surface, canvas.text)
    canvas.unit_px = unit_px
    px, centre = canvas.px, box.center

    def at(x: float, y: float) -> tuple[int, int]:
        return centre[0] + round(x * canvas.unit_px), centre[1] + round(y * canvas.unit_px)

    for button, axis, side in SHOULDERS:
        _draw_trigger(canvas, at(side * 134, -128), max(0.0, axes[axis]), trigger_threshold)
        box = pygame.Rect(0, 0, px(96), px(14))
        box.center = at(side * 134, -102)
        canvas.panel(box, theme.ACCENT if button in down else theme.PANEL_RAISED, border=theme.LINE, radius=8)
    for button, label, x, y in ROUND_BUTTONS:
        radius = FACE_RADIUS if label else 9
        _disc(canvas, at(x, y), radius, lit=button in down)
        canvas.write(label, at(x, y), theme.SMALL, theme.BACKGROUND if button in down else theme.TEXT_SOFT,
                     anchor="center")
    for button, x, y in CROSS:
        box = pygame.Rect(0, 0, px(24), px(24))
        box.center = at(CROSS_AT[0] + 26 * x, CROSS_AT[1] + 26 * y)
        canvas.panel(box, theme.ACCENT if button in down else theme.PANEL_RAISED, border=theme.LINE, radius=4)
    for button, horizontal, vertical, x in STICKS:
        _draw_stick(canvas, at(x, 84), (axes[horizontal], axes[vertical]), dead_zone, lit=button in down)


def _disc(canvas: Canvas, at: tuple[int, int], radius: float, lit: bool) -> None:
    pygame.draw.circle(canvas.surface, theme.ACCENT if lit else theme.PANEL_RAISED, at, canvas.px(radius))
    pygame.draw.circle(canvas.surface, theme.LINE, at, canvas.px(radius), width=canvas.px(1))


def _draw_stick(canvas: Canvas, at: tuple[int, int], value: tuple[float, float], dead_zone: float, lit: bool) -> None:
    """Draw a stick's way as a circle, and the square around its middle in which both axes count as untouched."""
    px = canvas.px
    radius = px(STICK_RADIUS)
    pygame.draw.circle(canvas.surface, theme.BACKGROUND, at, radius)
    pygame.draw.circle(canvas.surface, theme.ACCENT if lit else theme.LINE, at, radius, width=px(2 if lit else 1))
    rest = max(1, round(radius * dead_zone))
    pygame.draw.rect(canvas.surface, theme.PANEL_RAISED, (at[0] - rest, at[1] - rest, 2 * rest, 2 * rest))
    moved = any(abs(part) > dead_zone for part in value)
    tip = round(at[0] + radius * value[0]), round(at[1] + radius * value[1])
    canvas.line(at, tip, theme.ACCENT if moved else theme.TEXT_FAINT, 2)
    pygame.draw.circle(canvas.surface, theme.ACCENT if moved else theme.TEXT_FAINT, tip, px(6))


def _draw_trigger(canvas: Canvas, at: tuple[int, int], value: float, threshold: float) -> None:
    px = canvas.px
    track = pygame.Rect(0, 0, px(TRIGGER[0]), px(TRIGGER[1]))
    track.center = at
    canvas.panel(track, theme.BACKGROUND, border=theme.LINE, radius=5)
    way = track.width - px(4)
    filled = pygame.Rect(track.left + px(2), track.top + px(2), round(way * value), track.height - px(4))
    canvas.surface.fill(theme.ACCENT if value > threshold else theme.TEXT_FAINT, filled)
    x = track.left + px(2) + round(way * threshold)
    canvas.line((x, track.top - px(4)), (x, track.bottom + px(3)), theme.TEXT_SOFT)
