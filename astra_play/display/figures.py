"""A session's figures, read for the eye (the HUD, a few times a second) and for a file (--stats-json)."""

from __future__ import annotations

from collections import deque

from ..config import WorldConfig
from ..runtime.session import Session
from .hud import HudFigures
from .options import Choice

HUD_EVERY_S = 0.25  # figures that change faster cannot be read
HISTORY_CHUNKS = 80


class FigureReader:
    """Reads the session of one play screen, and keeps what the HUD's graph shows."""

    def __init__(self, session: Session, config: WorldConfig) -> None:
        self._session, self._config = session, config
        self._history_ms: deque[float] = deque(maxlen=HISTORY_CHUNKS)
        self._figures: HudFigures | None = None
        self._due_s = 0.0

    def chunk_shown(self, generate_ms: float) -> None:
        self._history_ms.append(generate_ms)

    def start_again(self) -> None:
        self._history_ms.clear()

    def at(self, now_s: float) -> HudFigures:
        """Return figures that are at most HUD_EVERY_S old."""
        if self._figures is None or now_s >= self._due_s:
            self._figures = self._read()
            self._due_s = now_s + HUD_EVERY_S
        return self._figures

    def _read(self) -> HudFigures:
        session, stats = self._session, self._session.stats
        counts = session.playout.counts()
        return HudFigures(
            world_title=self._config.title, fps=stats.recent_fps, target_fps=self._config.fps,
            generate_ms=stats.generate_ms.recent(0.5), chunk_ms=1000.0 * self._config.chunk_s,
            latency_ms=tuple(stats.input_to_flip_ms.recent(quantile) for quantile in (0.50, 0.95, 0.99)),
            underruns=counts.underruns, dropped=sum(counts.dropped.values()), guidance=session.guidance_scale,
            steps=session.num_denoise_steps, passes_per_chunk=stats.passes_per_chunk, seed=session.seed,
            threads=session.num_threads, rss_mb=stats.rss_mb(), generate_history_ms=tuple(self._history_ms),
            dropped_turn_deg=stats.dropped_turn_deg)

    def to_json(self, choice: Choice) -> dict[str, object]:
        """Return the figures and what they were measured with."""
        return {
            **self._session.stats.to_json(), "world": self._config.name,
            "frame_size": [self._config.shown_width, self._config.shown_height], "target_fps": self._config.fps,
            "frames_per_chunk": self._config.frames_per_chunk, "guidance_scale": self._session.guidance_scale,
            "num_denoise_steps": self._session.num_denoise_steps, "threads": self._session.num_threads,
            "draws_finely": self._session.draws_finely,
            "prompt": choice.prompt if self._config.model.text_dim else None,
        }
