"""What is laid over the picture: figures (F1), the controls as the world hears them (F2), toasts, loading, hints."""

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
GRAPH_HEIGHT = 46
TOAST_S = 4.0
KEYCAP = 30
STICK_RADIUS = 33
FULL_MOTION_PX_S = 900.0  # a brisk turn; faster motion stays at the rim of the circle
BAR_PERIOD_S = 1.6

# the keys shown by the input overlay: (control, label, column, row)
KEY_CLUSTERS = (
    (("w", "W", 1, 0), ("a", "A", 0, 1), ("s", "S", 1, 1), ("d", "D", 2, 1)),
    (("up", "^", 1, 0), ("left", "<", 0, 1), ("down", "v", 1, 1), ("right", ">", 2, 1)),
)


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


def draw_hud(canvas: Canvas, figures: HudFigures) -> pygame.Rect:
    """Draw the figures in the top left corner; return the box they fill."""
    px = canvas.px
    rows = figures.rows()
    pad = px(14)
    height = 2 * pad + px(26) + len(rows) * px(ROW_HEIGHT) + px(GRAPH_HEIGHT + 10)
    box = pygame.Rect(px(16), px(16), px(PANEL_WIDTH), height)
    canvas.panel(box, theme.BACKGROUND, alpha=PANEL_ALPHA, radius=8)
    canvas.write(figures.world_title, (box.left + pad, box.top + pad), theme.SMALL, theme.ACCENT,
                 width_px=box.width - 2 * pad)
    y = box.top + pad + px(26)
    bad = {"underruns": figures.underruns > 0, "dropped": figures.dropped > 0,
           "shown": 0.0 < figures.fps < 0.9 * figures.target_fps}
    for name, value in rows:
        canvas.write(name, (box.left + pad, y), theme.SMALL, theme.TEXT_SOFT)
        colour = theme.WARNING if bad.get(name) else theme.TEXT
        canvas.write(value, (box.right - pad, y), theme.SMALL, colour, anchor="topright")
        y += px(ROW_HEIGHT)
    graph = pygame.Rect(box.left + pad, y + px(10), box.width - 2 * pad, px(GRAPH_HEIGHT))
    _draw_graph(canvas, graph, figures.generate_history_ms, figures.chunk_ms)
    return box


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


def draw_input_overlay(canvas: Canvas, lit: frozenset[str], bound: frozenset[str],
                       motion_px_s: tuple[float, float], lift: float = 0) -> None:
    """Draw the bound keys, lit while the world hears them, and the mouse's motion as a vector in a circle.

    `lift`: units that are taken at the bottom of the window.
    """
    px = canvas.px
    step = px(KEYCAP + 5)
    x = px(18)
    top = canvas.height_px - px(18 + lift) - 2 * step
    for cluster in KEY_CLUSTERS:
        keys = [key for key in cluster if key[0] in bound]
        for control, label, column, row in keys:
            _draw_key(canvas, label, pygame.Rect(x + column * step, top + row * step, px(KEYCAP), px(KEYCAP)),
                      control in lit)
        x += 3 * step + px(14) if keys else 0
    _draw_motion(canvas, (x + px(STICK_RADIUS), top + step), motion_px_s)


def _draw_key(canvas: Canvas, label: str, box: pygame.Rect, lit: bool) -> None:
    canvas.panel(box, theme.ACCENT if lit else theme.BACKGROUND, alpha=235 if lit else PANEL_ALPHA,
                 border=theme.ACCENT if lit else theme.LINE, radius=5)
    colour = theme.BACKGROUND if lit else theme.TEXT_SOFT
    arrows = {"^": (0, -1), "v": (0, 1), "<": (-1, 0), ">": (1, 0)}
    if label in arrows:
        _draw_arrow(canvas, box.center, arrows[label], colour)
    else:
        canvas.write(label, box.center, theme.SMALL, colour, anchor="center")


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
    canvas.panel(box, theme.BACKGROUND, alpha=PANEL_ALPHA, border=theme.LINE, radius=STICK_RADIUS)
    speed = math.hypot(*motion_px_s)
    if speed < 1.0:
        pygame.draw.circle(canvas.surface, theme.TEXT_FAINT, centre, px(3))
        return
    # the square root keeps a slow turn visible beside a fast one
    reach = radius * 0.85 * math.sqrt(min(1.0, speed / FULL_MOTION_PX_S)) / speed
    tip = round(centre[0] + motion_px_s[0] * reach), round(centre[1] + motion_px_s[1] * reach)
    canvas.line(centre, tip, theme.ACCENT, 3)
    pygame.draw.circle(canvas.surface, theme.ACCENT, tip, px(4))


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
