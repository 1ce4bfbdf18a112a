"""The controls as the world hears them, for the overlay (F2): every bound key, and the mouse's motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pygame

from ..actions.keymap import Keymap
from ..actions.remap import is_pad
from ..chunks import InputEvent
from . import hud, theme
from .canvas import Canvas
from .usage import control_name

MOTION_MEMORY_S = 0.12
KEYCAP = 30
GAP = 14
TOP = 64  # units that the sign of a recording takes at the top of the bar
STICK_RADIUS = 33
FULL_MOTION_PX_S = 900.0  # a brisk turn; faster motion stays at the rim of the circle

# the keys that are drawn where they lie on the keyboard: control -> (column, row)
KEY_PLACES = (
    {"q": (0, 0), "w": (1, 0), "e": (2, 0), "a": (0, 1), "s": (1, 1), "d": (2, 1)},
    {"up": (1, 0), "left": (0, 1), "down": (1, 1), "right": (2, 1)},
)
ARROWS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


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


@dataclass(frozen=True)
class Piece:
    """A group of keys that are drawn together, each with its box within the group; no keys: the mouse's motion."""

    width: int
    height: int
    caps: tuple[tuple[str, pygame.Rect], ...] = ()


def draw_heard(canvas: Canvas, keymap: Keymap, held: frozenset[str], motion_px_s: tuple[float, float],
               picture: pygame.Rect, lift: float = 0) -> None:
    """Draw every key and mouse button that the keymap binds, lit where it stands for a held button.

    They lie over each other in the bar to the right of the picture where that takes them, else in a row at the bottom
    left. `lift`: units that are taken at the bottom of the window.
    """
    lit = frozenset(control for control, buttons in keymap.keys.items() if held.intersection(buttons))
    pieces = _pieces(canvas, [control for control in keymap.keys if not is_pad(control)])
    bottom = canvas.height_px - canvas.px(lift)
    for piece, at in zip(pieces, _in_bar(canvas, pieces, picture, bottom) or _in_row(canvas, pieces, picture, bottom),
                         strict=True):
        for control, box in piece.caps:
            _draw_key(canvas, control, box.move(at), control in lit)
        if not piece.caps:
            _draw_motion(canvas, (at[0] + piece.width // 2, at[1] + piece.height // 2), motion_px_s)


def _pieces(canvas: Canvas, controls: Sequence[str]) -> list[Piece]:
    """Return the keys in their places on the keyboard, those that have none here two by two, and the mouse."""
    px = canvas.px
    cap, step = px(KEYCAP), px(KEYCAP + 5)
    pieces = []
    for places in KEY_PLACES:
        caps = tuple((control, pygame.Rect(column * step, row * step, cap, cap))
                     for control, (column, row) in places.items() if control in controls)
        pieces += [Piece(2 * step + cap, step + cap, caps)] * bool(caps)
    others = [control for control in controls if not any(control in places for places in KEY_PLACES)]
    for first in range(0, len(others), 2):
        pair = others[first:first + 2]
        width = max(cap, *(canvas.text.width_px(control_name(control), px(theme.SMALL)) + px(16) for control in pair))
        caps = tuple((control, pygame.Rect(0, row * step, width, cap)) for row, control in enumerate(pair))
        pieces.append(Piece(width, caps[-1][1].bottom, caps))
    return [*pieces, Piece(2 * px(STICK_RADIUS), 2 * px(STICK_RADIUS))]


def _in_bar(canvas: Canvas, pieces: Sequence[Piece], picture: pygame.Rect, bottom: int) -> list[tuple[int, int]]:
    """Return where each piece goes in the bar to the right of the picture; nothing if they do not fit there."""
    gap, width = canvas.px(GAP), canvas.width_px - picture.right
    height = sum(piece.height + gap for piece in pieces)
    if width < max(piece.width for piece in pieces) + 2 * canvas.px(8) or height > (bottom - canvas.px(TOP)):
        return []
    places, y = [], bottom - canvas.px(18) - height + gap
    for piece in pieces:
        places.append((picture.right + (width - piece.width) // 2, y))
        y += piece.height + gap
    return places


def _in_row(canvas: Canvas, pieces: Sequence[Piece], picture: pygame.Rect, bottom: int) -> list[tuple[int, int]]:
    """Return where each piece goes in a row: below the picture where that bar is high enough, else within it."""
    margin, height = canvas.px(18), max(piece.height for piece in pieces)
    base = bottom - margin
    if base - height < picture.bottom:
        base = min(picture.bottom, bottom) - margin
    places, x = [], picture.left + margin
    for piece in pieces:
        places.append((x, base - (height + piece.height) // 2))
        x += piece.width + canvas.px(GAP)
    return places


def _draw_key(canvas: Canvas, control: str, box: pygame.Rect, lit: bool) -> None:
    canvas.panel(box, theme.ACCENT if lit else theme.BACKGROUND, alpha=235 if lit else hud.PANEL_ALPHA,
                 border=theme.ACCENT if lit else theme.LINE, radius=5)
    colour = theme.BACKGROUND if lit else theme.TEXT_SOFT
    if control in ARROWS:
        _draw_arrow(canvas, box.center, ARROWS[control], colour)
    else:
        canvas.write(control_name(control), box.center, theme.SMALL, colour, anchor="center")


def _draw_arrow(canvas: Canvas, at: tuple[int, int], way: tuple[int, int], colour: theme.Colour) -> None:
    x, y = at
    length, half = canvas.px(5), canvas.px(5)
    tip = (x + way[0] * length, y + way[1] * length)
    base = (x - way[0] * length // 2, y - way[1] * length // 2)
    across = (-way[1], way[0])
    pygame.draw.polygon(canvas.surface, colour, [tip, (base[0] + across[0] * half, base[1] + across[1] * half),
                                                 (base[0] - across[0] * half, base[1] - across[1] * half)])


def _draw_motion(canvas: Canvas, centre: tuple[int, int], motion_px_s: tuple[float, float]) -> None:
    px = canvas.px
    radius = px(STICK_RADIUS)
    box = pygame.Rect(0, 0, 2 * radius, 2 * radius)
    box.center = centre
    canvas.panel(box, theme.BACKGROUND, alpha=hud.PANEL_ALPHA, border=theme.LINE, radius=STICK_RADIUS)
    speed = math.hypot(*motion_px_s)
    if speed < 1.0:
        pygame.draw.circle(canvas.surface, theme.TEXT_FAINT, centre, px(3))
        return
    # the square root keeps a slow turn visible beside a fast one
    reach = radius * 0.85 * math.sqrt(min(1.0, speed / FULL_MOTION_PX_S)) / speed
    tip = round(centre[0] + motion_px_s[0] * reach), round(centre[1] + motion_px_s[1] * reach)
    canvas.line(centre, tip, theme.ACCENT, 3)
    pygame.draw.circle(canvas.surface, theme.ACCENT, tip, px(4))
