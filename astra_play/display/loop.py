"""The window's loop and its stack of screens: poll events, let time pass, draw what changed, flip.

One loop serves the player at a screen and the headless run: a script only posts pygame events before they are polled.
Which screen follows which is said by whoever extends it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pygame

from ..actions.keymap import Keymap, default_keymap, load_keymap, user_keymap_path
from ..actions.remap import write_keymap
from ..errors import AstraPlayError, ImageError
from ..runtime.clock import MonotonicClock
from ..runtime.interfaces import Clock
from ..runtime.stats import Distribution
from . import settings as settings_file
from .canvas import Canvas
from .drop import DROP_EVENTS, Drop
from .exports import Exports
from .hud import Toasts
from .options import PlayOptions
from .pads import PAD_EVENTS, PLUG_EVENTS, PadHands, Pads
from .screen import Screen
from .session_screen import SessionScreen
from .settings import PlayerSettings
from .text import Text
from .window import Window

if TYPE_CHECKING:
    from .recording import RecordingControl

MINIMISED_POLL_S = 0.1  # nobody sees or hears anything until the window comes back, which is an event


class WindowLoop:
    """One window, one stack of screens, one set of settings. Everything here is the main thread's."""

    def __init__(self, options: PlayOptions, clock: Clock | None = None) -> None:
        """Read keymap and settings; ConfigError before any window opens."""
        self.options = options
        self.clock = clock or MonotonicClock()
        remembered = not options.headless or options.settings_path is not None
        self._settings_path = (options.settings_path or settings_file.default_path()) if remembered else None
        self.settings = settings_file.load(self._settings_path) if self._settings_path else PlayerSettings()
        own_keymap = not options.headless or options.keymap_path is not None
        self.keymap = load_keymap(options.keymap_path) if own_keymap else default_keymap()
        self._keymap_path = (options.keymap_path or user_keymap_path()) if own_keymap else None
        self.text = Text()
        self.toasts = Toasts()
        self.exports = Exports()
        self._finishing: list[RecordingControl] = []  # of sessions that are over, while the rest is written
        self.screens: list[Screen] = []
        self.present_ms = Distribution()  # drawing and flip of one picture of the window
        self._pads: Pads | None = None
        self.pad_hands = PadHands()
        self._drop = Drop()
        self._finished = False
        self._dirty = True

    # --- which screen follows which ---------------------------------------------------------------------------------

    def _open_first_screen(self) -> None:
        raise NotImplementedError

    def pause_play(self, play: SessionScreen, message: str = "") -> None:
        """Interrupt a session; `message`: why, where the player did not ask for it."""
        raise NotImplementedError

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start from the first picture of some dropped files."""
        raise NotImplementedError

    # --- beginning and end ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the window with its first screen."""
        size = self.settings.window_width_px, self.settings.window_height_px
        fullscreen = (self.options.fullscreen or self.settings.fullscreen) and not self.options.headless
        self.window = Window(size, fullscreen, self.options.headless)
        self._open_first_screen()
        self._draw()
        self._pads = Pads()  # after the first picture: looking for pads takes a while on some systems

    def run(self) -> None:
        """Loop until somebody quits or the run is over."""
        while not self._finished:
            self.step()

    def close(self) -> None:
        """Leave every screen, remember the window, and give everything back. Closing twice is harmless."""
        while self.screens:
            self.screens.pop().close()
        self.exports.close()
        if self._pads is not None:
            self._pads.close()
            self._pads = None
        if hasattr(self, "window"):
            if not self.window.fullscreen and not self.window.minimised:
                width, height = settings_file.window_within(self.window.size)
                self.change_settings(window_width_px=width, window_height_px=height)
            self.window.close()
            del self.window
        self.finish_recordings()  # the window is gone already: encoding may take seconds

    def quit(self) -> None:
        self._finished = True

    # --- the loop ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn: wait a little for events, handle them all, let time pass, draw if anything changed."""
        for event in self._poll():
            self._handle(event, self.clock.now())
            if self._finished:
                return
        self._take_drop()
        now_s = self.clock.now()
        changed = [screen.tick(now_s) for screen in list(self.screens)]
        self._hear_finishing()
        changed += [self.toasts.tick(now_s), self.exports.tick(self.toasts, now_s)]
        if (any(changed) or self._dirty) and not self.window.minimised:
            self._draw()

    def _poll(self) -> list[pygame.Event]:
        poll_s = MINIMISED_POLL_S if self.window.minimised else min(screen.poll_s for screen in self.screens)
        first = pygame.event.wait(max(1, round(1000.0 * poll_s)))
        return ([first] if first.type != pygame.NOEVENT else []) + pygame.event.get()

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
        self.pad_hands.forget(event.instance_id)
        if self.screens[-1] is self.play_screen:
            self.pause_play(self.play_screen, f"{name} was unplugged. Plug it in again, or go on with another control.")
        else:
            self.toasts.show(f"{name} was unplugged.", self.clock.now(), bad=True)

    @property
    def pad_names(self) -> list[str]:
        """The gamepads that are plugged in."""
        return self._pads.names if self._pads is not None else []

    def _take_drop(self) -> None:
        try:
            paths = self._drop.take()
        except ImageError as error:
            self.toasts.show(str(error), self.clock.now(), bad=True)
            self.redraw()
            return
        if paths:
            self.start_from(paths)

    def _draw(self) -> None:
        """Draw from the last screen that hides what is below it, then flip; the flip is what latency is measured to."""
        begin_s = self.clock.now()
        self._dirty = False
        canvas = self.canvas()
        visible = self.screens[self._lowest_visible():]
        for screen in visible:
            screen.draw(canvas)
        self.toasts.draw(canvas, lift=max((screen.lift for screen in visible), default=0.0))
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

    # --- the stack of screens ---------------------------------------------------------------------------------------

    @property
    def play_screen(self) -> SessionScreen | None:
        """The session on screen, in front or under a menu."""
        return next((screen for screen in self.screens if isinstance(screen, SessionScreen)), None)

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

    def replace(self, make: Callable[[], Screen]) -> None:
        """Put another screen in the place of the one in front."""
        self.screens.pop().close()
        self.push(make())

    def canvas(self) -> Canvas:
        """Return what the next picture is drawn on, for screens that must know where things lie."""
        return Canvas(self.window.surface, self.text)

    # --- recordings whose session is over ---------------------------------------------------------------------------

    def finish_later(self, recording: RecordingControl) -> None:
        """Let a recording be written to its end while the window goes on, and say then what came of it."""
        self._finishing.append(recording)

    def finish_recordings(self) -> None:
        """Wait until every recording of a session that is over is written."""
        while self._finishing:
            self._finishing.pop().finish()

    def _hear_finishing(self) -> None:
        for recording in list(self._finishing):
            if recording.is_finished:
                self._finishing.remove(recording)
            recording.tick()

    # --- settings and keymap ----------------------------------------------------------------------------------------

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


def _asks_full_screen(event: pygame.Event) -> bool:
    if event.type != pygame.KEYDOWN:
        return False
    return event.key == pygame.K_F11 or (event.key == pygame.K_RETURN and bool(event.mod & pygame.KMOD_ALT))
