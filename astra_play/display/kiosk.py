"""The player as a booth: the same window loop, with a policy that says which screen is on and a link to a supervisor.

Each turn of the loop obeys the operator, lets the policy's time pass, and swaps the screen when the policy says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import numpy as np
import pygame

from ..booth.hotkeys import Hotkeys, OperatorCommands
from ..booth.link import BoothLink
from ..booth.policy import Policy, View, Visit
from ..booth.profile import OperatorKeys, Profile
from ..booth.watch import Beat
from ..errors import AstraPlayError
from ..runtime.clock import local_time, process_age_s
from ..runtime.interfaces import Clock
from .app import App, run_app
from .booth_attract import HoldScreen, TourScreen, VideoScreen
from .booth_draw import draw_ring
from .booth_offer import Offer, Turn
from .booth_pages import ChooseScreen, ThanksScreen
from .booth_play import BoothPlay, VisitRecording
from .booth_status import draw_status, read_status, session_figures
from .canvas import Canvas
from .kiosk_events import TouchSense, is_locked, operator_command
from .options import Choice, PlayOptions
from .pointer import MOUSE, finger_of
from .sentence import as_sentence
from .session_screen import SessionScreen
from .settings import PlayerSettings
from .visit_save import VisitSave
from .watch_session import LastChunk

log = logging.getLogger(__name__)

FIGURES_EVERY_S = 60.0
MAX_FAILURES = 5  # in a row: a player that can show no world at all is better started again
HELD_COUNTS_S = 60.0  # a key that is held longer has something lying on it
SAVE_WITHIN_S = 3.0  # for a visitor's last seconds when the booth is stopped; the supervisor waits for 5
RING_S = 2.0  # after the mouse's last motion
MUTE_SENTENCE = "There is nothing to mute: the worlds have no sound."


def run_kiosk(profile: Profile, link: BoothLink, headless: bool = False, windowed: bool = False,
              seconds: float | None = None, num_restarts: int = 0) -> int:
    """Run the booth until it is stopped; return 0, or raise the AstraPlayError that ended it."""
    # before SDL starts: a touch is not to come a second time as a mouse, and the window manager's own keys stay out
    os.environ.setdefault("SDL_TOUCH_MOUSE_EVENTS", "0")
    os.environ.setdefault("SDL_WINDOWS_NO_CLOSE_ON_ALT_F4", "1")
    options = PlayOptions(headless=headless, fullscreen=not windowed, threads=profile.threads or None,
                          memory=profile.memory)
    app = KioskApp(profile, link, options, num_restarts=num_restarts, seconds=seconds,
                   make_hotkeys=Hotkeys if not headless else None)
    return run_app(app)


class KioskApp(App):
    """One booth. `policy_clock`: None means the window's clock; tests let a booth's hours pass in seconds."""

    def __init__(self, profile: Profile, link: BoothLink, options: PlayOptions, clock: Clock | None = None,
                 policy_clock: Clock | None = None, num_restarts: int = 0, seconds: float | None = None,
                 make_hotkeys: Callable[[OperatorKeys, Callable[[str], None]], Hotkeys] | None = None) -> None:
        """ConfigError for a world of the profile that cannot be played here, before any window opens."""
        super().__init__(options, clock)
        self.unattended = None  # a booth without a window runs as long as one with a window
        self._settings_path, self.settings = None, PlayerSettings()  # whoever plays at home on this machine
        self.profile, self.link, self.words = profile, link, profile.words
        self._policy_clock = policy_clock or self.clock
        self.policy = Policy(profile.times, self._policy_clock.now())
        self.num_restarts, self.num_visits, self.num_failed = num_restarts, 0, 0
        self._started_s = self.clock.now()
        self._ends_s = None if seconds is None else self._started_s + seconds
        self._offer = Offer(profile, options.catalogue)
        self._operator = OperatorCommands()
        self.hotkeys = make_hotkeys(profile.operator, self._operator.give) if make_hotkeys else None
        self._sense = TouchSense()
        self._shown: tuple[str, int] | None = None  # phase and turn of the screen that is on
        self._num_failures = 0  # in a row
        self._has_begun = False
        self._window_s = 0.0  # from the start of the process until the window was there
        self._status_on = False
        self._last_event_s = self._figures_s = self._started_s
        self._ring: tuple[tuple[int, int], float] | None = None
        self._last_chunk: LastChunk | None = None
        self._ending_visit: Visit | None = None
        self._save: VisitSave | None = None
        self._last_frame: np.ndarray | None = None

    # --- beginning and end ------------------------------------------------------------------------------------------

    def _open_first_screen(self) -> None:
        self.window.lock()
        self._sync()
        self._window_s = process_age_s()

    def close(self) -> None:
        self.policy.stop(self._policy_clock.now())
        self._record_visits()
        if self.hotkeys is not None:
            self.hotkeys.close()
        if self._save is not None:
            self._save.close(SAVE_WITHIN_S)
            self._save = None
        super().close()
        self.link.close()

    # --- the loop ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn of the window's loop under the policy."""
        if self.link.stop_asked.is_set() or (self._ends_s is not None and self.clock.now() >= self._ends_s):
            self.quit()
            return
        now_s = self._policy_clock.now()
        for command in self._operator.take(self.clock.now()):
            self._obey_operator(command, now_s)
        play = self.play_screen
        if isinstance(play, BoothPlay) and play.input.held() and self.clock.now() - self._last_event_s < HELD_COUNTS_S:
            self.policy.touched(now_s)
        self.policy.tick(now_s)
        self._sync()
        self.link.turned(self._beat())
        self._write_figures()
        super().step()

    def _handle(self, event: pygame.Event, polled_at_s: float) -> None:
        command = operator_command(event, self.profile.operator)
        if command is not None:
            self._operator.give(command)
            return
        if self._sense.is_touch(event, polled_at_s):
            self._last_event_s = polled_at_s
            self.policy.touched(self._policy_clock.now())
        finger = finger_of(event, self.window)
        if finger is not None and finger.finger == MOUSE and not self.window.grabbed:
            self._ring = finger.at_px, polled_at_s
            self.redraw()
        if event.type == pygame.WINDOWMINIMIZED:
            self.window.restore()
        if not is_locked(event):
            super()._handle(event, polled_at_s)

    def _obey_operator(self, command: str, now_s: float) -> None:
        log.info("The operator asked for: %s.", command)
        self.link.record("operator", command=command)
        if command == "skip":
            self.policy.skip(now_s)
        elif command == "stop":
            self.quit()
        elif command == "status":
            self._status_on = not self._status_on
        else:
            self.toasts.show(MUTE_SENTENCE, self.clock.now())
        self.redraw()

    # --- which screen is on -----------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Put the screen on that the policy wants."""
        wanted = self.policy.phase, self.policy.turn
        if wanted == self._shown:
            return
        self._shown = wanted
        self._record_visits()
        while self.screens:
            self.screens.pop().close()
        self._last_chunk = None
        phase = self.policy.phase
        if phase != "thanks" and self._save is not None:
            self._save.close()
            self._save = None
        if phase == "attract":
            self._begin_turn(self._offer.turn(self.policy.turn))
        elif phase == "choose":
            self._open_choices()
        elif phase == "play":
            self._begin_world(self._offer.visit(self.policy.world, self._first_seed()), BoothPlay)
        else:
            visit = self._ending_visit
            self.push(ThanksScreen(self, self._last_frame, visit is not None and visit.reason == "time up", self._save))

    def _begin_turn(self, turn: Turn) -> None:
        """Show a part of the attract loop."""
        if turn.tour is not None:
            self._begin_world(turn.tour, TourScreen)
            return
        try:
            self.push(VideoScreen(self, turn.clip))
        except AstraPlayError as error:
            self.push(HoldScreen(self, self._last_frame))
            self.clip_failed(error)

    def _begin_world(self, choice: Choice, screen: type[SessionScreen]) -> None:
        """Start a session in a world."""
        try:
            play = screen(self, choice)
        except (AstraPlayError, OSError) as error:
            self.fail(error, choice)
            return
        self._last_chunk = LastChunk(play.session, self.clock)
        self.push(play)

    def _open_choices(self) -> None:
        if len(self._offer.worlds) == 1 and not self.policy.failed_world:
            self.choose(self._offer.worlds[0].name)
            self._sync()
            return
        self.push(ChooseScreen(self, self._offer.worlds, self._offer.pictures()))

    def title_of(self, world: str) -> str:
        return next(entry.title for entry in self._offer.worlds if entry.name == world)

    # --- what the screens tell --------------------------------------------------------------------------------------

    def choose(self, world: str) -> None:
        self.policy.chosen(world, self._policy_clock.now())

    def note_began(self, length_s: float | None = None) -> None:
        """The first moving picture of a tour, a clip or a visit is there."""
        if not self._has_begun:
            self.link.record("on", window_s=round(self._window_s, 1), world_s=round(process_age_s(), 1),
                             restarts=self.num_restarts)
        self._num_failures, self._has_begun = 0, True
        self.policy.began(self._policy_clock.now(), length_s)

    def visitor_done(self) -> None:
        self.policy.done(self._policy_clock.now())

    def turn_over(self) -> None:
        self.policy.turn_over(self._policy_clock.now())

    def clip_failed(self, error: AstraPlayError) -> None:
        log.warning("%s", error)
        self.link.record("failure", what="clip", reason=str(error))
        self.policy.failed(self._policy_clock.now())

    def fail(self, error: BaseException, choice: Choice) -> None:
        """A world cannot be shown: say so in the log, go on with something else, give up after several in a row."""
        sentence = as_sentence(error)
        log.warning("%s", sentence, exc_info=None if isinstance(error, AstraPlayError) else error)
        self.link.record("failure", what=choice.world, reason=str(sentence))
        self.num_failed += 1
        self._num_failures += 1
        self._has_begun = True  # what follows is no slow start
        while self.screens:
            self.screens.pop().close()
        self._last_chunk = None
        self.push(HoldScreen(self, self._last_frame))
        self.policy.failed(self._policy_clock.now())
        if self._num_failures >= MAX_FAILURES:
            self._failure = error
            self.quit()

    def pause_play(self, play: SessionScreen, message: str = "") -> None:
        """Let go of what was held and say why; a pause menu would lead out of the booth, and nobody could leave it."""
        play.let_go()
        play.hear_held_axes()  # of the pads that are still there
        if message:
            self.toasts.show(message, self.clock.now(), bad=True)
        self.redraw()

    def view(self) -> View:
        """What the policy shows now."""
        return self.policy.view(self._policy_clock.now())

    # --- visits -----------------------------------------------------------------------------------------------------

    def _record_visits(self) -> None:
        """Write down the visits that have ended, and begin to save the last seconds of one that is thanked for."""
        for visit in self.policy.take_visits():
            self.num_visits += 1
            self._ending_visit = visit
            play = self.play_screen
            figures = session_figures(play) if isinstance(play, BoothPlay) else {}
            self.link.record("visit", world=visit.world, reason=visit.reason, played_s=round(visit.played_s, 1),
                             **figures)
            if isinstance(play, BoothPlay):
                self._last_frame = play._presenter.frame
                if visit.reason in ("time up", "done"):
                    self._begin_save(play)

    def _begin_save(self, play: BoothPlay) -> None:
        folder = self.profile.path(self.profile.save.folder)
        recorder = play.recording.hand_over() if isinstance(play.recording, VisitRecording) else None
        if recorder is not None and folder is not None:
            self._save = VisitSave(recorder, self.profile.save, folder, local_time(), self.link.record)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def _beat(self) -> Beat:
        chunk_age_s = self._last_chunk.age_s() if self._last_chunk else None
        loading_s = self._last_chunk.loading_s() if self._last_chunk else None
        return Beat(self._has_begun or self.policy.turn > 0, 0.0, chunk_age_s, loading_s, self.policy.phase)

    def _write_figures(self) -> None:
        now_s, play = self.clock.now(), self.play_screen
        if now_s - self._figures_s >= FIGURES_EVERY_S and play is not None and play.playing:
            self._figures_s = now_s
            self.link.record("figures", phase=self.policy.phase, world=play.choice.world, **session_figures(play))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw_over(self, canvas: Canvas) -> None:
        """Draw what lies over every screen: the ring of the mouse, the status page."""
        now_s = self.clock.now()
        if self._ring is not None and now_s - self._ring[1] < RING_S and self.policy.phase in ("choose", "play"):
            draw_ring(canvas, self._ring[0])
        if self._status_on:
            draw_status(canvas, read_status(self, now_s - self._started_s))
