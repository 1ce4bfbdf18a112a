"""A visitor's session: the player's screen without its commands, with on-screen controls and the time that is left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pygame

from ..actions.keymap import Keymap
from ..record.facts import make_head
from ..record.recorder import Recorder
from . import theme
from .booth_draw import draw_pill
from .canvas import Canvas
from .options import Choice
from .pointer import MOUSE, Finger, finger_of
from .recording import NoRecording
from .session_screen import SessionScreen
from .touch import TouchControls, touch_controls, with_touch

if TYPE_CHECKING:
    from .kiosk import KioskApp

HINT_S = 8.0  # how to play is written for the first seconds
BAR_PERIOD_S = 1.6
TOP = 46  # of the pills along the upper edge, in units


class VisitRecording(NoRecording):
    """The recorder of a visit, for its last 30 seconds alone; it may be handed over to outlive the session."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Recorder | None = recorder

    def hand_over(self) -> Recorder | None:
        recorder, self._recorder = self._recorder, None
        return recorder

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None


class BoothPlay(SessionScreen):
    """One visitor in one world."""

    def __init__(self, app: KioskApp, choice: Choice) -> None:
        self._kiosk = app
        super().__init__(app, choice)
        self._touch = TouchControls(self._controls)
        self._done_box = pygame.Rect(0, 0, 0, 0)
        self._had_finger = app.profile.touch.controls == "always"
        self._shown_seconds: tuple[int, int] = (0, 0)  # of the two countdowns as they were drawn last

    # --- what a kiosk has of its own --------------------------------------------------------------------------------

    def _make_keymap(self) -> Keymap:
        known = self.config.controls.buttons
        self._controls = touch_controls(self.config.controls.modality, known)
        return with_touch(super()._make_keymap(), self._controls, known)

    def _make_recording(self) -> NoRecording:
        if self._kiosk.profile.save.what == "off":
            return NoRecording()
        config, choice, memory = self.config, self.choice, self._app.options.memory
        recorder = Recorder(config, lambda: make_head(config, choice.world, choice.prompt, memory))
        self.session.journal.subscribe(recorder)
        return VisitRecording(recorder)

    def _begin_play(self) -> None:
        self._kiosk.note_began()
        if self._kiosk.profile.touch.mouse == "look":
            self._grab_if_focused()

    def let_go(self) -> None:
        """Release every control, those on the screen too."""
        self._touch.let_go()
        super().let_go()

    @property
    def shows_touch(self) -> bool:
        """Whether the on-screen controls are there: once a finger was seen, or as the profile says."""
        return self._had_finger and self._kiosk.profile.touch.controls != "never"

    # --- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        """Hand the event to the world's controls, fingers through those on the screen."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.let_go()
            self._app.redraw()
            return
        is_mouse = event.type in (pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP)
        if is_mouse and self._app.window.grabbed:
            self._control(event, polled_at_s)
            return
        finger = finger_of(event, self._app.window)
        if finger is not None:
            self._handle_finger(finger, getattr(event, "time_s", polled_at_s))
        elif not is_mouse:  # the other mouse buttons are no fingers
            self._control(event, polled_at_s)

    def _handle_finger(self, finger: Finger, time_s: float) -> None:
        if finger.what == "down":
            self._app.redraw()
            if self.shows_touch and self._done_box.collidepoint(finger.at_px):
                self._kiosk.visitor_done()
                return
            self._had_finger = True
            if self._kiosk.profile.touch.mouse == "look" and finger.finger == MOUSE:
                self._grab_if_focused()
                return
        canvas = Canvas(self._app.window.surface, self._app.text)
        if self.shows_touch or self._kiosk.profile.touch.controls == "auto":
            for change in self._touch.handle(finger, canvas.box.size, canvas.unit_px, time_s):
                self.input.handle(change)

    def tick(self, now_s: float) -> bool:
        """Take the frame that is due; also draw again when a second of a countdown has passed."""
        changed = super().tick(now_s)
        view = self._kiosk.view()
        seconds = whole_seconds(view.left_s), whole_seconds(view.warning_s)
        if seconds != self._shown_seconds:
            self._shown_seconds = seconds
            return True
        return changed

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        self._presenter.draw(canvas.surface)
        now_s = self._app.clock.now()
        if not self.playing and self.frame_index < 0:
            self._draw_loading(canvas, now_s - self._started_s)
        else:
            self._draw_play(canvas, now_s)
        self._kiosk.draw_over(canvas)

    def _draw_loading(self, canvas: Canvas, waited_s: float) -> None:
        canvas.shade(150)
        centre = canvas.box.center
        title = self._kiosk.title_of(self.choice.world)
        canvas.write(title, (centre[0], centre[1] - canvas.px(30)), theme.TITLE, anchor="midbottom")
        canvas.write(self._kiosk.words.loading, centre, theme.HEADING, theme.TEXT_SOFT, anchor="midtop")
        track = pygame.Rect(0, 0, canvas.px(280), canvas.px(5))
        track.midtop = centre[0], centre[1] + canvas.px(52)
        canvas.panel(track, theme.LINE, radius=3)
        share = abs((waited_s / BAR_PERIOD_S) % 2.0 - 1.0)
        part = pygame.Rect(0, track.top, track.width // 4, track.height)
        part.left = track.left + round(share * (track.width - part.width))
        canvas.panel(part, theme.ACCENT, radius=3)

    def _draw_play(self, canvas: Canvas, now_s: float) -> None:
        px, words, view = canvas.px, self._kiosk.words, self._kiosk.view()
        if self.shows_touch:
            self._touch.draw(canvas)
            width = canvas.text.width_px(words.done, px(theme.BODY)) + px(theme.BODY * 2.0)
            self._done_box = draw_pill(canvas, words.done, (canvas.width_px - px(28) - width // 2, px(TOP)), theme.BODY)
        if view.left_s is not None:
            self._draw_time_left(canvas, view.left_s, view.is_last)
        if self.first_flip_s is not None and now_s - self.first_flip_s < HINT_S and view.warning_s is None:
            draw_pill(canvas, self._hint(), (canvas.width_px // 2, canvas.height_px - px(40)), theme.BODY)
        if view.warning_s is not None:
            self._draw_warning(canvas, view.warning_s)

    def _hint(self) -> str:
        way = {"camera": "walk", "vehicle": "drive", "arm": "arm"}[self.config.controls.modality]
        return getattr(self._kiosk.words, f"{way}_hint" if self.shows_touch else f"keys_{way}_hint")

    def _draw_time_left(self, canvas: Canvas, left_s: float, is_last: bool) -> None:
        seconds, words = whole_seconds(left_s), self._kiosk.words
        said = words.last_seconds.format(seconds=seconds) if is_last else \
            words.time_left.format(minutes=seconds // 60, seconds=seconds % 60)
        draw_pill(canvas, said, (canvas.width_px // 2, canvas.px(TOP)), 28 if is_last else theme.HEADING, lit=is_last)

    def _draw_warning(self, canvas: Canvas, warning_s: float) -> None:
        px, words = canvas.px, self._kiosk.words
        canvas.shade(130)
        centre = canvas.box.center
        canvas.write(words.still_there, (centre[0], centre[1] - px(96)), theme.TITLE, anchor="midbottom")
        seconds = whole_seconds(warning_s)
        canvas.write(str(seconds), centre, 96, theme.ACCENT, anchor="center")
        canvas.write(words.idle_warning.format(seconds=seconds), (centre[0], centre[1] + px(84)), theme.BODY,
                     theme.TEXT_SOFT, anchor="midtop", width_px=canvas.width_px - px(80))


def whole_seconds(seconds: float | None) -> int:
    """Return what a countdown shows: it reaches 0 when the time is over, not a second before."""
    return 0 if seconds is None else max(0, math.ceil(seconds))
