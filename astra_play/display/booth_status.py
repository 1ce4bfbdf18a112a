"""The figures of a booth: the operator's status page over whatever is on, and those of a session for the daily log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pygame

from . import theme
from .canvas import Canvas

if TYPE_CHECKING:
    from .kiosk import KioskApp
    from .session_screen import SessionScreen

WIDTH = 560
ROW = 24


@dataclass(frozen=True)
class BoothStatus:
    """One reading for the page."""

    phase: str
    up_s: float
    restarts: int
    visits: int
    failures: int
    fps: float
    target_fps: float
    latency_ms: tuple[float | None, float | None, float | None]  # p50, p95, p99
    underruns: int
    memory_mb: float
    keys: tuple[tuple[str, str], ...]  # chord, what it does
    hotkeys: str  # what is missing of the global hotkeys, or that they listen

    def rows(self) -> list[tuple[str, str]]:
        latency = " / ".join("-" if value is None else f"{value:.0f}" for value in self.latency_ms)
        hours, minutes = divmod(int(self.up_s) // 60, 60)
        return [("now", self.phase), ("running", f"{hours} h {minutes:02d} min"), ("restarts", str(self.restarts)),
                ("visits", str(self.visits)), ("failed worlds", str(self.failures)),
                ("shown", f"{self.fps:.1f} of {self.target_fps:.0f} fps"), ("latency p50/95/99", f"{latency} ms"),
                ("underruns", str(self.underruns)), ("memory", f"{self.memory_mb:.0f} MB"), *self.keys]


def read_status(kiosk: KioskApp, up_s: float) -> BoothStatus:
    """Read the booth and the session on screen, if there is one."""
    play, keys = kiosk.play_screen, kiosk.profile.operator
    stats = play.session.stats if play is not None else None
    missing = kiosk.hotkeys.missing if kiosk.hotkeys is not None else "they are off without a window"
    return BoothStatus(
        phase=kiosk.policy.phase + (f", {play.choice.world}" if play else ""), up_s=up_s, restarts=kiosk.num_restarts,
        visits=kiosk.num_visits, failures=kiosk.num_failed, fps=stats.recent_fps if stats else 0.0,
        target_fps=play.config.fps if play else 0.0,
        latency_ms=tuple(stats.input_to_flip_ms.recent(q) if stats else None for q in (0.5, 0.95, 0.99)),
        underruns=play.session.playout.counts().underruns if play else 0, memory_mb=stats.rss_mb() if stats else 0.0,
        keys=tuple((f"{keys.chord}+{letter}", command) for letter, command in keys.commands().items()),
        hotkeys=f"Global hotkeys: {missing or 'listening'}.")


def session_figures(play: SessionScreen) -> dict[str, object]:
    """Return a session's figures for the daily log."""
    stats, counts = play.session.stats, play.session.playout.counts()
    latency = {f"latency_{name}_ms": stats.input_to_flip_ms.whole_run(quantile)
               for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"fps": round(stats.fps, 2), "target_fps": play.config.fps, **latency, "underruns": counts.underruns,
            "dropped": sum(counts.dropped.values()), "shown": counts.shown, "rss_mb": round(stats.rss_mb(), 1)}


def draw_status(canvas: Canvas, status: BoothStatus) -> pygame.Rect:
    """Draw the page in the top left corner; return the box it fills."""
    px, rows = canvas.px, status.rows()
    pad = px(18)
    notes = canvas.text.wrap(status.hotkeys, px(theme.SMALL), px(WIDTH) - 2 * pad)
    height = 2 * pad + px(34) + len(rows) * px(ROW) + len(notes) * px(ROW)
    box = pygame.Rect(px(24), px(24), min(px(WIDTH), canvas.width_px - px(48)), height)
    canvas.panel(box, theme.BACKGROUND, alpha=235, border=theme.ACCENT, radius=10)
    canvas.write("Booth", (box.left + pad, box.top + pad), theme.HEADING, theme.ACCENT)
    y = box.top + pad + px(38)
    for name, value in rows:
        canvas.write(name, (box.left + pad, y), theme.SMALL, theme.TEXT_SOFT)
        canvas.write(value, (box.right - pad, y), theme.SMALL, anchor="topright", width_px=box.width - px(180))
        y += px(ROW)
    for line in notes:
        canvas.write(line, (box.left + pad, y), theme.SMALL, theme.TEXT_FAINT)
        y += px(ROW)
    return box
