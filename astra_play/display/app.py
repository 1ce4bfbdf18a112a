"""The window's loop and its stack of screens: poll events, let time pass, draw what changed, flip.

One loop serves the player at a screen and the headless run: a script only posts pygame events before they are polled.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygame

from ..actions.keymap import Keymap, default_keymap, load_keymap, user_keymap_path
from ..actions.remap import write_keymap
from ..errors import AstraPlayError, ImageError, RecordingError
from ..paths import DEFAULT_WORLD
from ..record.recorder import Written
from ..runtime.clock import MonotonicClock
from ..runtime.interfaces import Clock
from ..runtime.stats import Distribution
from . import settings as settings_file
from .canvas import Canvas
from .catalogue import WorldEntry
from .drop import DROP_EVENTS, Drop
from .exports import Exports
from .hud import Toasts
from .listmenu import Line
from .options import Choice, PlayOptions
from .pads import PAD_EVENTS, PLUG_EVENTS, PadHands, Pads
from .photo import photo_folder
from .play import MAX_NEW_SEED, PlayScreen
from .recording import check_record_path, line_about
from .replay import ReplayScreen
from .screen import Screen
from .screens import FailureScreen, MenuScreen, PauseScreen
from .sentence import as_sentence
from .settings import PlayerSettings
from .text import Text
from .unattended import UnattendedRun
from .window import Window

__all__ = ["App", "PlayOptions", "run_play"]

log = logging.getLogger(__name__)

MINIMISED_POLL_S = 0.1  # nobody sees or hears anything until the window comes back, which is an event

REFUSAL_S = 8.0  # a whole sentence takes that long to read


def run_play(options: PlayOptions) -> int:
    """Run the player until it is left; return 0, or raise the AstraPlayError that it ended with.

    A run without a player's hands prints a line about each recording that it made.
    """
    app = App(options)
    run_app(app)
    for written in app.recorded:
        print(line_about(written))
    return 0


def run_app(app: App) -> int:
    """Open an app, run it until it is left, and close it whatever happens; return 0, or raise what it ended with."""
    try:
        app.open()
        app.run()
        app.finish()
    finally:
        app.close()
    return 0


class App:
    """The player: one window, one stack of screens, one set of settings. Everything here is the main thread's."""

    def __init__(self, options: PlayOptions, clock: Clock | None = None) -> None:
        """Read keymap, script and settings; ConfigError or ScriptError before any window opens."""
        self.options = options
        self.clock = clock or MonotonicClock()
        remembered = not options.headless or options.settings_path is not None
        self._settings_path = (options.settings_path or settings_file.default_path()) if remembered else None
        self.settings = settings_file.load(self._settings_path) if self._settings_path else PlayerSettings()
        own_keymap = not options.headless or options.keymap_path is not None
        self.keymap = load_keymap(options.keymap_path) if own_keymap else default_keymap()
        self._keymap_path = (options.keymap_path or user_keymap_path()) if own_keymap else None
        self.photo_folder: Path = options.photo_folder or photo_folder()
        self.record_path = options.record
        if self.record_path is not None:
            check_record_path(self.record_path)
        self.record_error: RecordingError | None = None  # the first thing that could not be recorded
        self.recorded: list[Written] = []  # by an unattended run
        self.unattended = UnattendedRun(options) if _is_unattended(options) else None
        self.text = Text()
        self.toasts = Toasts()
        self.exports = Exports()
        self.screens: list[Screen] = []
        self.present_ms = Distribution()  # drawing and flip of one picture of the window
        self._pads: Pads | None = None
        self.pad_hands = PadHands()
        self._finished = False
        self._dirty = True
        self._failure: BaseException | None = None
        self._failed: Choice | None = None  # what the failure on screen was to be
        self._drop = Drop()

    # --- beginning and end ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the window with its first screen."""
        size = self.settings.window_width_px, self.settings.window_height_px
        fullscreen = (self.options.fullscreen or self.settings.fullscreen) and not self.options.headless
        self.window = Window(size, fullscreen, self.options.headless)
        self._open_first_screen()
        self._draw()
        self._pads = Pads()  # after the first picture: looking for pads takes a while on some systems

    def _open_first_screen(self) -> None:
        if self.options.replay is not None:
            self.push(ReplayScreen(self, self.options.replay))
        elif self.options.world is None and not self.options.headless and self.options.image is None:
            self.push(MenuScreen(self))
        else:
            choice = Choice(self.options.world or DEFAULT_WORLD, self._first_seed(), self.options.image,
                            self.options.prompt)
            self.push(PlayScreen(self, choice))  # an error here is the command line's, not the window's

    def run(self) -> None:
        """Loop until somebody quits or the run is over."""
        while not self._finished:
            self.step()

    def finish(self) -> None:
        """Write what an unattended run was asked for; raise the failure that ended it or that was on screen last."""
        if self._failure is not None:
            raise as_sentence(self._failure) from self._failure
        if self.unattended is not None:
            if self.play_screen is not None:
                self.play_screen.recording.close()
            self.unattended.finish(self._figures_json())
            if self.options.record is not None and self.record_error is not None:
                raise self.record_error

    def close(self) -> None:
        """Leave every screen, remember the window, and give everything back. Closing twice is harmless."""
        while self.screens:
            self.screens.pop().close()
        self.exports.close()
        if self.unattended is not None:
            self.unattended.close()
        if self._pads is not None:
            self._pads.close()
            self._pads = None
        if hasattr(self, "window"):
            if not self.window.fullscreen and not self.window.minimised:
                width, height = self.window.size
                self.change_settings(window_width_px=width, window_height_px=height)
            self.window.close()
            del self.window

    def quit(self) -> None:
        self._finished = True

    def _first_seed(self) -> int:
        if self.options.seed is not None:
            return self.options.seed
        return 0 if self.options.headless else random.randrange(MAX_NEW_SEED)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn: wait a little for events, handle them all, let time pass, draw if anything changed."""
        if self.unattended is not None:
            self._lead_unattended()
        for event in self._poll():
            self._handle(event, self.clock.now())
            if self._finished:
                return
        self._take_drop()
        now_s = self.clock.now()
        changed = [screen.tick(now_s) for screen in list(self.screens)]
        changed += [self.toasts.tick(now_s), self.exports.tick(self.toasts, now_s)]
        if (any(changed) or self._dirty) and not self.window.minimised:
            self._draw()

    def _poll(self) -> list[pygame.Event]:
        poll_s = MINIMISED_POLL_S if self.window.minimised else min(screen.poll_s for screen in self.screens)
        first = pygame.event.wait(max(1, round(1000.0 * poll_s)))
        return ([first] if first.type != pygame.NOEVENT else []) + pygame.event.get()

    def _lead_unattended(self) -> None:
        play = self.play_screen
        if play is None or play.first_flip_s is None:
            return
        self.unattended.post_due(self.clock.now(), play.first_flip_s)
        if self.unattended.over(self.clock.now(), play.first_flip_s):
            self.quit()

    def _handle(self, event: pygame.Event, polled_at_s: float) -> None:
        was_minimised = self.window.minimised
        self.window.note(event)
        if self.window.minimised != was_minimised:
            self.screens[-1].minimise(self.window.minimised)
            self.redraw()
        if event.type in (pygame.QUIT, pygame.WINDOWCLOSE):
            self.quit()
        elif event.type in (pygame.WINDOWRESIZED, pygame.WINDOWSIZECHANGED, pygame.WINDOWEXPOSED,
                            pygame.WINDOWFOCUSGAINED, pygame.WINDOWRESTORED):
            self.redraw()
        elif event.type in PLUG_EVENTS:
            self._plug(event)
        elif event.type in PAD_EVENTS:
            merged = self.pad_hands.merge(event)
            if merged is not None:
                self.screens[-1].handle(merged, polled_at_s)
        elif event.type in DROP_EVENTS:
            self._drop.note(event)
        elif _asks_full_screen(event):
            self.toggle_fullscreen()
        else:
            self.screens[-1].handle(event, polled_at_s)

    def _plug(self, event: pygame.Event) -> None:
        """Say that a gamepad came or went; the play pauses for one that went, which may have been held at the time."""
        name = self._pads.note(event) if self._pads is not None else ""
        if not name:
            return
        self.redraw()
        if event.type == pygame.CONTROLLERDEVICEADDED:
            self.toasts.show(f"{name} is plugged in.", self.clock.now())
            return
        self.pad_hands.forget()
        if self.screens[-1] is self.play_screen:
            self.pause_play(self.play_screen, f"{name} was unplugged. Plug it in again, or go on with another control.")
        else:
            self.toasts.show(f"{name} was unplugged.", self.clock.now(), bad=True)

    @property
    def pad_names(self) -> list[str]:
        """The gamepads that are plugged in."""
        return self._pads.names if self._pads is not None else []

    def _draw(self) -> None:
        """Draw from the last screen that hides what is below it, then flip; the flip is what latency is measured to."""
        begin_s = self.clock.now()
        self._dirty = False
        canvas = self.canvas()
        for screen in self.screens[self._lowest_visible():]:
            screen.draw(canvas)
        self.toasts.draw(canvas)
        self.window.flip()
        flip_s = self.clock.now()
        self.present_ms.add(1000.0 * (flip_s - begin_s))
        for screen in list(self.screens):
            screen.flipped(flip_s)

    def _lowest_visible(self) -> int:
        return max((index for index, screen in enumerate(self.screens) if not screen.see_through), default=0)

    def redraw(self) -> None:
        """Ask for a drawing in this turn of the loop."""
        self._dirty = True

    # --- screens ----------------------------------------------------------------------------------------------------

    @property
    def play_screen(self) -> PlayScreen | None:
        """The session on screen, in front or under a menu."""
        return next((screen for screen in self.screens if isinstance(screen, PlayScreen)), None)

    def push(self, screen: Screen) -> None:
        if self.screens:
            self.screens[-1].cover()
        self.screens.append(screen)
        self.redraw()

    def pop(self) -> None:
        self.screens.pop().close()
        if self.screens:
            self.screens[-1].uncover()
        self.redraw()

    def pause_play(self, play: PlayScreen, message: str = "") -> None:
        self.push(PauseScreen(self, play, message))

    def play(self, world: WorldEntry, picture: Path | None) -> None:
        """Start a session with a start point of the menu; a prompt of the command line is for worlds that read one."""
        prompt = self.options.prompt if world.reads_text else ""
        self._start(Choice(world.name, self._first_seed(), picture, prompt))

    def replay(self, path: Path) -> None:
        """Open a recording over what is there; one that cannot be replayed is said in the window."""
        try:
            screen = ReplayScreen(self, path)
        except AstraPlayError as error:
            self.toasts.show(str(error), self.clock.now(), bad=True, seconds=REFUSAL_S)
            self.redraw()
        else:
            self.push(screen)

    def leave_replay(self, error: BaseException | None = None) -> None:
        """Close the replay in front, and say why if it failed; a replay without a menu below ends the program."""
        self.screens.pop().close()
        self.toasts.clear()
        if not self.screens:
            self._failure = error
            self.quit()
            return
        self.screens[-1].uncover()
        if error is not None:
            log.debug("The replay failed.", exc_info=error)
            self.toasts.show(str(as_sentence(error)), self.clock.now(), bad=True, seconds=REFUSAL_S)
        self.redraw()

    def replace(self, make: Callable[[], Screen]) -> None:
        """Put another screen in the place of the one in front."""
        self.screens.pop().close()
        self.push(make())

    def canvas(self) -> Canvas:
        """Return what the next picture is drawn on, for screens that must know where things lie."""
        return Canvas(self.window.surface, self.text)

    def _take_drop(self) -> None:
        """Start from a picture that was dropped on the window, whatever lies over the play or the menu."""
        try:
            paths = self._drop.take()
        except ImageError as error:
            self.toasts.show(str(error), self.clock.now(), bad=True)
            self.redraw()
            return
        if not paths:
            return
        below = self.play_screen or next((screen for screen in self.screens if isinstance(screen, MenuScreen)), None)
        while below is not None and self.screens[-1] is not below:
            self.pop()
        if below is not None:
            below.start_from(paths)
        elif self._failed is not None:  # a failure that no menu lies under
            self._retry(dataclasses.replace(self._failed, picture=paths[0]))

    def to_menu(self) -> None:
        """Leave whatever is open for a fresh start menu."""
        self._failure = None
        self.toasts.clear()
        while self.screens:
            self.screens.pop().close()
        self.push(MenuScreen(self))

    def fail(self, error: BaseException, choice: Choice) -> None:
        """Show the first failure of a session; an unattended run ends with it."""
        log.debug("The session failed.", exc_info=error)
        self._failure, self._failed = error, choice
        self.toasts.clear()
        while self.screens and not isinstance(self.screens[-1], MenuScreen):
            self.screens.pop().close()
        if self.unattended is not None:
            self.quit()
        retry = Line("Try again", lambda: self._retry(choice))
        self.push(FailureScreen(self, str(as_sentence(error)), retry))

    def _retry(self, choice: Choice) -> None:
        self.screens.pop().close()
        self._start(choice)

    def _start(self, choice: Choice) -> None:
        self._failure = None
        try:
            screen = PlayScreen(self, choice)
        except AstraPlayError as error:
            self.fail(error, choice)
        else:
            self.push(screen)

    # --- settings and outputs ---------------------------------------------------------------------------------------

    def change_settings(self, **changes: object) -> None:
        """Replace settings, save them if they changed, and let a running session take them over."""
        changed = dataclasses.replace(self.settings, **changes)
        if changed == self.settings:
            return
        self.settings = changed
        if self._settings_path is not None:
            settings_file.save(changed, self._settings_path)
        if self.play_screen is not None:
            self.play_screen.apply_settings()
        self.redraw()

    def change_keymap(self, keymap: Keymap) -> None:
        """Take another keymap, write it into the player's file, and let a running session use it at once."""
        if keymap == self.keymap:
            return
        self.keymap = keymap
        if self.play_screen is not None:
            self.play_screen.take_keymap()
        try:
            if self._keymap_path is not None:
                write_keymap(keymap, self._keymap_path)
        except AstraPlayError as error:
            self.toasts.show(str(error), self.clock.now(), bad=True, seconds=8.0)
        self.redraw()

    def toggle_fullscreen(self) -> None:
        self.window.toggle_fullscreen()
        self.change_settings(fullscreen=self.window.fullscreen)
        self.redraw()

    def frame_shown(self, frame: np.ndarray) -> None:
        """Hand a frame that has just been flipped to whoever keeps frames."""
        if self.unattended is not None:
            self.unattended.keep_frame(frame)

    def _figures_json(self) -> dict[str, object]:
        """Return the session's figures, or those of a run that never began to play."""
        play = self.play_screen
        width_px, height_px = self.window.surface.get_size()
        figures: dict[str, object] = play.figures_json() if play is not None else {}
        return {**figures, "present_ms": self.present_ms.to_json(), "window_size_px": [width_px, height_px],
                "headless": self.options.headless}


def _is_unattended(options: PlayOptions) -> bool:
    wanted = (options.script, options.seconds, options.stats_json, options.frames_dir)
    return options.headless or any(value is not None for value in wanted)


def _asks_full_screen(event: pygame.Event) -> bool:
    if event.type != pygame.KEYDOWN:
        return False
    return event.key == pygame.K_F11 or (event.key == pygame.K_RETURN and bool(event.mod & pygame.KMOD_ALT))
