"""The bar under a replay: where it is, where keys were pressed, what it can go back to quickly, and its state in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pygame

from . import theme
from .canvas import Canvas

HEIGHT = 58  # of the whole strip, in units
TRACK_HEIGHT = 8
HINTS = (("Space", "pause"), (", .", "step"), ("<  >", "5 s"), ("-  =", "speed"), ("Enter", "take over"))


@dataclass(frozen=True)
class TimelineState:
    """One reading of a replay. Places are chunks; `going_to`: where it is on the way to, None on the way to nowhere."""

    index: int
    num_chunks: int
    chunk_s: float
    presses: Sequence[tuple[int, int]]  # first and last chunk of every stretch with a control held
    starts: Sequence[int]  # where the world was started again
    is_paused: bool
    speed: float
    going_to: int | None = None
    made_to: int = 0  # while on the way


def strip(canvas: Canvas) -> pygame.Rect:
    """Return the box of the whole strip, at the bottom of the window."""
    return pygame.Rect(0, canvas.height_px - canvas.px(HEIGHT), canvas.width_px, canvas.px(HEIGHT))


def track(strip_box: pygame.Rect, unit_px: float) -> pygame.Rect:
    """Return the box of the bar itself; a click anywhere in the strip above or below it counts too."""
    margin = round(18 * unit_px)
    box = pygame.Rect(margin, strip_box.top + round(10 * unit_px), strip_box.width - 2 * margin,
                      max(2, round(TRACK_HEIGHT * unit_px)))
    return box


def chunk_at(bar: pygame.Rect, x_px: int, num_chunks: int) -> int:
    """Return the chunk at a pixel column of the bar, the nearest one beside it."""
    share = (x_px - bar.left) / max(1, bar.width)
    return min(max(int(share * num_chunks), 0), num_chunks - 1)


def stretches(held: Sequence[bool]) -> list[tuple[int, int]]:
    """Return (first, last) of every run of true values."""
    runs: list[tuple[int, int]] = []
    for place, is_held in enumerate(held):
        if not is_held:
            continue
        if runs and runs[-1][1] == place - 1:
            runs[-1] = runs[-1][0], place
        else:
            runs.append((place, place))
    return runs


def clock_text(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}.{int(seconds * 10) % 10}"


def draw_timeline(canvas: Canvas, state: TimelineState) -> None:
    px, box = canvas.px, strip(canvas)
    canvas.panel(box, theme.BACKGROUND, alpha=215, radius=0)
    bar = track(box, canvas.unit_px)
    canvas.surface.fill(theme.LINE, bar)

    def column(index: int) -> int:
        return bar.left + round(bar.width * index / state.num_chunks)

    done = pygame.Rect(bar.left, bar.top, column(state.index + 1) - bar.left, bar.height)
    canvas.surface.fill(theme.TEXT_FAINT, done)
    for first, last in state.presses:
        left = column(first)
        canvas.surface.fill(theme.ACCENT, pygame.Rect(left, bar.top, max(1, column(last + 1) - left), px(3)))
    for start in state.starts:
        canvas.line((column(start), bar.top - px(3)), (column(start), bar.bottom + px(3)), theme.TEXT_SOFT)
    if state.going_to is not None:
        canvas.surface.fill(theme.GOOD, pygame.Rect(column(state.made_to), bar.bottom, px(2), px(4)))
        canvas.line((column(state.going_to), bar.top - px(5)), (column(state.going_to), bar.bottom + px(5)),
                    theme.GOOD, 2)
    head = column(state.index)
    canvas.line((head, bar.top - px(4)), (head, bar.bottom + px(4)), theme.TEXT, 2)
    y = bar.bottom + px(18)
    words = canvas.write(_words(state), (bar.left, y), theme.SMALL, theme.TEXT, anchor="midleft")
    if words.right + px(560) < canvas.width_px:
        canvas.hints(HINTS, (words.right + px(28), y - px(12)))


def _words(state: TimelineState) -> str:
    place = f"{clock_text(state.index * state.chunk_s)} / {clock_text(state.num_chunks * state.chunk_s)}"
    if state.going_to is not None:
        return f"{place}   going to {clock_text(state.going_to * state.chunk_s)}"
    at_end = state.index >= state.num_chunks - 1
    doing = "end" if at_end and state.is_paused else "paused" if state.is_paused else "replay"
    return f"{place}   {doing}" + ("" if state.speed == 1.0 else f"   {state.speed:g}x")
