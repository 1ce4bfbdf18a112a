"""What is shown while nobody plays: tours of the worlds made live by an autopilot, and recorded clips, invited over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pygame

from ..actions.sources import AutopilotSource
from ..errors import DisplayError
from ..runtime.interfaces import ActionSource
from . import theme
from .booth_draw import breath, draw_logo, draw_pill, draw_scrim
from .canvas import Canvas
from .options import Choice
from .present import Presenter
from .screen import StillScreen
from .session_screen import SessionScreen
from .videoplayer import VideoPlayer

if TYPE_CHECKING:
    from .kiosk import KioskApp

log = logging.getLogger(__name__)

WARM_POLL_S = 0.01  # a touch must wake the booth at once, and a clip's frames come 60 times a second at most
BREATH_EVERY_S = 1 / 20
CATCH_UP_FRAMES = 8  # of a clip; more at once would hold up the window for longer than the clip stutters


class TourScreen(SessionScreen):
    """A world that the autopilot walks through. Nobody's hands reach it."""

    def __init__(self, app: KioskApp, choice: Choice) -> None:
        self._kiosk = app
        super().__init__(app, choice)

    def _make_source(self) -> ActionSource:
        return AutopilotSource(self.choice.seed, self.config.controls.buttons)

    def _begin_play(self) -> None:
        self._kiosk.note_began()

    def draw(self, canvas: Canvas) -> None:
        self._presenter.draw(canvas.surface)
        draw_invitation(canvas, self._kiosk)


class VideoScreen(StillScreen):
    """A recorded clip: a video of the profile's folder, once."""

    poll_s = WARM_POLL_S

    def __init__(self, app: KioskApp, path: Path) -> None:
        """Open the clip; DisplayError if it cannot be shown."""
        super().__init__(app)
        self._kiosk = app
        self._player = VideoPlayer(path, catch_up_frames=CATCH_UP_FRAMES)
        self._presenter = Presenter()

    def tick(self, now_s: float) -> bool:
        try:
            changed = self._player.tick(now_s)
        except DisplayError as error:
            self._kiosk.clip_failed(error)
            return False
        if changed and self._presenter.frame is None:
            self._kiosk.note_began(self._kiosk.profile.attract.max_clip_s)
        self._presenter.frame = self._player.frame
        if self._player.is_over and not changed:  # the last frame has had its time on the screen
            self._kiosk.turn_over()
        return changed

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        pass

    def draw(self, canvas: Canvas) -> None:
        self._presenter.draw(canvas.surface)
        draw_invitation(canvas, self._kiosk)

    def close(self) -> None:
        self._player.close()


class HoldScreen(StillScreen):
    """A still picture, or none, where a tour or a clip could not come: the invitation stays."""

    def __init__(self, app: KioskApp, frame: np.ndarray | None) -> None:
        super().__init__(app)
        self._kiosk = app
        self._presenter = Presenter()
        self._presenter.frame = frame
        self._next_s = 0.0

    def tick(self, now_s: float) -> bool:
        if now_s < self._next_s:
            return False
        self._next_s = now_s + BREATH_EVERY_S
        return True

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        pass

    def draw(self, canvas: Canvas) -> None:
        self._presenter.draw(canvas.surface)
        draw_invitation(canvas, self._kiosk)


def draw_invitation(canvas: Canvas, kiosk: KioskApp) -> None:
    """Draw title, logo and the invitation over whatever is shown."""
    px, words = canvas.px, kiosk.words
    draw_scrim(canvas, is_bottom=True)
    draw_scrim(canvas, is_bottom=False)
    left, top = px(theme.MARGIN), px(theme.MARGIN)
    title = canvas.write(words.title, (left, top), theme.TITLE)
    canvas.line((left, title.bottom + px(8)), (left + px(64), title.bottom + px(8)), theme.ACCENT, 3)
    draw_logo(canvas, kiosk.profile.path(kiosk.profile.logo), (canvas.width_px - left, top - px(8)))
    centre = canvas.width_px // 2, canvas.height_px - px(118)
    draw_pill(canvas, words.invitation, centre, 34, lit=True, alpha=round(190 + 65 * breath(kiosk.clock.now())))
    canvas.write(words.subtitle, (centre[0], canvas.height_px - px(44)), theme.BODY, theme.TEXT_SOFT,
                 anchor="midbottom", width_px=canvas.width_px - 2 * left)
    kiosk.draw_over(canvas)
