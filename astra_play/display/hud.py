"""What is laid over the picture: figures (F1), toasts, loading, hints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pygame

from . import theme
from .canvas import Canvas

PANEL_ALPHA = 205  # the world stays visible through the figures
PANEL_WIDTH = 300
ROW_HEIGHT = 21
SLIM_WIDTH = 144  # in a bar beside a picture of 4:3 in a window of 16:9
SLIM_LINE_HEIGHT = 18
SLIM_GAP = 4  # under a value, so that the name above it is seen as its own
GRAPH_HEIGHT = 46
TOAST_S = 4.0
BAR_PERIOD_S = 1.6


@dataclass(frozen=True)
class HudFigures:
    """One reading of the session for the HUD, as text and numbers; None shows as a dash."""

    world_title: str
    fps: float
    target_fps: float
    generate_ms: float | None
    chunk_ms: float  # what one chunk may take
    latency_ms: tuple[float | None, float | None, float | None]  # p50, p95, p99
    underruns: int
    dropped: int
    guidance: float | None
    steps: int | None
    passes_per_chunk: float
    seed: int
    threads: int | None
    rss_mb: float
    generate_history_ms: Sequence[float] = field(default=())
    dropped_turn_deg: float = 0.0  # mouse motion faster than the world can turn

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) per line of the panel."""
        latency = " / ".join(_number(value) for value in self.latency_ms)
        passes = f"({self.passes_per_chunk:g} pass{'es' * (self.passes_per_chunk != 1)})"
        return [
            ("shown", f"{self.fps:.1f} of {self.target_fps:.0f} fps"),
            ("generator", f"{_number(self.generate_ms)} of {self.chunk_ms:.0f} ms"),
            ("latency p50/95/99", f"{latency} ms"),
            ("underruns", str(self.underruns)),
            ("dropped", self._dropped()),
            ("guidance", "-" if self.guidance is None else f"{self.guidance:.2f}"),
            ("steps", "-" if self.steps is None else f"{self.steps}  {passes}"),
            ("seed", str(self.seed)),
            ("threads", "-" if self.threads is None else str(self.threads)),
            ("memory", f"{self.rss_mb:.0f} MB"),
        ]

    def _dropped(self) -> str:
        return f"{self.dropped} frames, {self.dropped_turn_deg:.0f}° of turn" if self.dropped_turn_deg >= 1.0 \
            else str(self.dropped)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def draw_hud(canvas: Canvas, figures: HudFigures, picture: pygame.Rect | None = None) -> pygame.Rect:
    """Draw the figures in the bar to the left of the picture where they fit in, else in its corner; return their box.

    A slim bar has every name above its value. `picture`: None is the whole window.
    """
    px = canvas.px
    bar_width = 0 if picture is None else picture.left
    is_slim = px(SLIM_WIDTH) + 2 * px(8) <= bar_width < px(PANEL_WIDTH) + 2 * px(16)
    pad = px(10 if is_slim else 14)
    inner_width = px(SLIM_WIDTH if is_slim else PANEL_WIDTH) - 2 * pad
    values = [canvas.text.wrap(value.replace(" / ", "/"), px(theme.SMALL), inner_width, 2) if is_slim else [value]
              for _, value in figures.rows()]
    line_height = px(SLIM_LINE_HEIGHT if is_slim else ROW_HEIGHT)
    num_lines = sum(len(lines) + is_slim for lines in values)
    height = 2 * pad + px(26) + num_lines * line_height + len(values) * px(SLIM_GAP) * is_slim + px(GRAPH_HEIGHT + 10)
    box = pygame.Rect(0, px(16), inner_width + 2 * pad, height)
    is_in_bar = is_slim or bar_width >= box.width + 2 * px(16)
    if is_in_bar:
        box.centerx = bar_width // 2
    else:
        box.topleft = (px(16), px(16)) if picture is None else (picture.left + px(16), picture.top + px(16))
    canvas.panel(box, theme.BACKGROUND, alpha=PANEL_ALPHA, radius=8)
    canvas.write(figures.world_title, (box.left + pad, box.top + pad), theme.SMALL, theme.ACCENT, width_px=inner_width)
    y = _draw_rows(canvas, figures, values, pygame.Rect(box.left + pad, box.top + pad + px(26), inner_width, 0),
                   line_height, is_slim)
    graph = pygame.Rect(box.left + pad, y + px(10), inner_width, px(GRAPH_HEIGHT))
    _draw_graph(canvas, graph, figures.generate_history_ms, figures.chunk_ms)
    return box


def _draw_rows(canvas: Canvas, figures: HudFigures, values: Sequence[Sequence[str]], top: pygame.Rect,
               line_height: int, is_slim: bool) -> int:
    """Write the names with the lines of their values beside or below them; return the pixel row under all."""
    bad = {"underruns": figures.underruns > 0, "dropped": figures.dropped > 0,
           "shown": 0.0 < figures.fps < 0.9 * figures.target_fps}
    y = top.top
    for (name, _), lines in zip(figures.rows(), values, strict=True):
        canvas.write(name, (top.left, y), theme.SMALL, theme.TEXT_SOFT)
        y += line_height * is_slim
        for line in lines:
            at, anchor = ((top.left, y), "topleft") if is_slim else ((top.right, y), "topright")
            canvas.write(line, at, theme.SMALL, theme.WARNING if bad.get(name) else theme.TEXT, anchor=anchor)
            y += line_height
        y += canvas.px(SLIM_GAP) * is_slim
    return y


def _draw_graph(canvas: Canvas, box: pygame.Rect, history_ms: Sequence[float], budget_ms: float) -> None:
    """Draw the time of each recent chunk as a bar under the line of what it may take."""
    top_ms = 1.5 * budget_ms
    num_bars = 80
    shown = list(history_ms)[-num_bars:]
    width = box.width / num_bars
    for index, value_ms in enumerate(shown):
        height = round(box.height * min(1.0, value_ms / top_ms))
        x = box.left + round((num_bars - len(shown) + index) * width)
        colour = theme.WARNING if value_ms > budget_ms else theme.GOOD
        bar = pygame.Rect(x, box.bottom - height, max(1, round(width) - canvas.px(1)), height)
        canvas.surface.fill(colour, bar)
    line_y = box.bottom - round(box.height * budget_ms / top_ms)
    canvas.line((box.left, line_y), (box.right - 1, line_y), theme.TEXT_FAINT)
    canvas.line((box.left, box.bottom), (box.right - 1, box.bottom), theme.LINE)


class Toasts:
    """Short messages at the bottom of the window; the newest replaces the one before."""

    def __init__(self) -> None:
        self.message = ""
        self._bad = False
        self._until_s = 0.0

    def show(self, message: str, now_s: float, bad: bool = False, seconds: float = TOAST_S) -> None:
        self.message, self._bad, self._until_s = message, bad, now_s + seconds

    def clear(self) -> None:
        self.message = ""

    def tick(self, now_s: float) -> bool:
        """Forget a message whose time is over; True if that changes the picture."""
        if self.message and now_s >= self._until_s:
            self.message = ""
            return True
        return False

    def draw(self, canvas: Canvas, lift: float = 0) -> None:
        """Draw the message, if there is one; `lift`: units that are taken at the bottom of the window."""
        if not self.message:
            return
        px = canvas.px
        size_px = px(theme.BODY)
        lines = canvas.text.wrap(self.message, size_px, min(px(560), canvas.width_px - px(80)), max_lines=4)
        width = max(canvas.text.width_px(line, size_px) for line in lines)
        line_height = canvas.text.line_height_px(size_px)
        box = pygame.Rect(0, 0, width + px(40), len(lines) * line_height + px(18))
        box.midbottom = canvas.width_px // 2, canvas.height_px - px(32 + lift)
        canvas.panel(box, theme.BACKGROUND, alpha=225, border=theme.WARNING if self._bad else theme.LINE)
        y = box.top + px(9) + (line_height - canvas.text.height_px(size_px)) // 2
        for line in lines:
            canvas.write(line, (box.centerx, y), theme.BODY, theme.TEXT, anchor="midtop")
            y += line_height


def draw_loading(canvas: Canvas, title: str, doing: str, waited_s: float) -> None:
    """Draw what is being waited for, with a bar that moves so that it is plain that nothing hangs."""
    px = canvas.px
    canvas.shade(150)
    centre_x, y = canvas.width_px // 2, canvas.height_px // 2 - px(36)
    canvas.write(title, (centre_x, y), theme.HEADING, theme.TEXT, anchor="midbottom")
    canvas.write(f"{doing}  {waited_s:.0f} s", (centre_x, y + px(10)), theme.BODY, theme.TEXT_SOFT, anchor="midtop")
    track = pygame.Rect(0, 0, px(240), px(3))
    track.midtop = centre_x, y + px(54)
    canvas.surface.fill(theme.LINE, track)
    part = track.width // 4
    place = 0.5 - 0.5 * math.cos(2.0 * math.pi * (waited_s / BAR_PERIOD_S))
    canvas.surface.fill(theme.ACCENT, pygame.Rect(track.left + round(place * (track.width - part)), track.top, part,
                                                  track.height))


def draw_hint(canvas: Canvas, message: str) -> None:
    """Draw one line in a pill at the top of the window."""
    px = canvas.px
    size_px = px(theme.BODY)
    box = pygame.Rect(0, 0, canvas.text.width_px(message, size_px) + px(36), px(theme.BODY * 2.1))
    box.midtop = canvas.width_px // 2, px(18)
    canvas.panel(box, theme.BACKGROUND, alpha=225, border=theme.ACCENT, radius=theme.BODY)
    canvas.write(message, box.center, theme.BODY, theme.TEXT, anchor="center")
