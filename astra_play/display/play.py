"""The player's own screen: a session with what its keys command, and figures, prompt and recording over the picture."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pygame

from ..codec.pixels import load_hand_place, load_start_image
from ..errors import AstraPlayError, ImageError
from . import hud
from .canvas import Canvas
from .catalogue import start_title
from .drop import first_picture
from .events import PAD_BUTTONS, key_control
from .heard import MouseMotion, draw_heard
from .options import Choice
from .photo import save_photo
from .prompt_change import PromptChange
from .recording import RecordingControl
from .session_screen import SessionScreen
from .settings import GUIDANCE_RANGE, STEPS_RANGE
from .takeover import TakenOver
from .usage import usage

if TYPE_CHECKING:
    from .app import App

GUIDANCE_STEP = 0.25
MAX_NEW_SEED = 1_000_000  # short enough to be read out to a friend
WELCOME = " Esc pauses and frees the mouse, F1 shows figures."
WELCOME_PROMPT = " T changes the prompt."
WELCOME_S = 9.0  # three short sentences
# keys of commands that are about a world at play
PLAYING_KEYS = frozenset((pygame.K_LEFTBRACKET, pygame.K_RIGHTBRACKET, pygame.K_MINUS, pygame.K_KP_MINUS,
                          pygame.K_EQUALS, pygame.K_PLUS, pygame.K_KP_PLUS, pygame.K_p, pygame.K_F12, pygame.K_t))
DOING = {"loading": "Loading the network", "warming up": "Warming up"}


class PlayScreen(SessionScreen):
    """A session that the player leads."""

    def __init__(self, app: App, choice: Choice, taken: TakenOver | None = None) -> None:
        """As of `SessionScreen`."""
        self._remembered = app.settings.guidance, app.settings.steps  # as `apply_settings` saw them last
        super().__init__(app, choice, taken)
        self._prompt_change = PromptChange(app, self)
        self._mouse = MouseMotion()

    def _make_recording(self) -> RecordingControl:
        recording = RecordingControl(self._app, self)
        if self._taken is not None:
            recording.continue_from(self._taken.before)
        return recording

    def _is_waiting(self, now_s: float) -> bool:
        """Say what became of a prompt, too."""
        is_reading = self._prompt_change.tick(now_s)
        return is_reading or super()._is_waiting(now_s)

    def _begin_play(self) -> None:
        """Hand the mouse over with the first frame, so that this frame is already drawn as play."""
        if not self._covered:
            self._grab_if_focused()
            welcome = usage(self.keymap) + WELCOME + WELCOME_PROMPT * self.reads_text
            self._app.toasts.show(welcome, self._app.clock.now(), seconds=WELCOME_S)

    # --- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        """Obey a command of the player, or hand the event to the world's controls."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.let_go()
            self._app.redraw()
        elif event.type == pygame.MOUSEBUTTONDOWN and self.playing and not self._app.window.grabbed:
            self._app.window.grab_mouse()
            self._app.redraw()
        elif not self._obey(event):
            change = self._control(event, polled_at_s)
            if change is not None and change.kind == "motion":
                self._mouse.note(change)

    def _obey(self, event: pygame.Event) -> bool:
        """Carry out the command of a key; False if it is none. A key that the keymap binds belongs to the world.

        Only Esc and Start do not: without them a keymap file would leave no way out of the play.
        """
        if _asks_to_pause(event):
            self._app.pause_play(self)
            return True
        if event.type != pygame.KEYDOWN or key_control(event) in self.keymap.keys:
            return False
        if not self.playing and event.key in PLAYING_KEYS:
            self.toast(f"{self.config.title} is still loading; press the key again when it moves.")
            return True
        match event.key:
            case pygame.K_F1:
                self._app.change_settings(hud=not self._app.settings.hud)
            case pygame.K_F2:
                self._app.change_settings(input_overlay=not self._app.settings.input_overlay)
            case pygame.K_BACKSPACE | pygame.K_HOME:
                self.reset()
            case pygame.K_n:
                self.reset(new_seed=True)
            case pygame.K_LEFTBRACKET:
                self.change_guidance(-1)
            case pygame.K_RIGHTBRACKET:
                self.change_guidance(1)
            case pygame.K_MINUS | pygame.K_KP_MINUS:
                self.change_steps(-1)
            case pygame.K_EQUALS | pygame.K_PLUS | pygame.K_KP_PLUS:
                self.change_steps(1)
            case pygame.K_p | pygame.K_F12:
                self.take_photo()
            case pygame.K_r:
                self.recording.toggle()
            case pygame.K_F9:
                self.recording.save_last()
            case pygame.K_t:
                self.open_prompt(pygame.key.name(event.key))
            case _:
                return False
        return True

    # --- commands ---------------------------------------------------------------------------------------------------

    def reset(self, new_seed: bool = False) -> None:
        """Start again from the same picture and seed, or with another seed and another of the world's pictures.

        A picture that is the player's own stays: then only the noise is another.
        """
        if not new_seed:
            self._begin_again(self.choice, f"Start again, seed {self.choice.seed}")
            return
        choice, others = dataclasses.replace(self.choice, seed=random.randrange(MAX_NEW_SEED)), self.other_pictures()
        if not others:
            self._begin_again(choice, f"Same start, new seed {choice.seed}")
            return
        picture = random.choice(others)
        try:
            frame = load_start_image(picture, self.config.width, self.config.height)
        except ImageError as error:
            self.toast(str(error), bad=True)
        else:
            self._begin_again(dataclasses.replace(choice, picture=picture),
                              f"{start_title(picture)}, seed {choice.seed}", frame)

    def other_pictures(self) -> list[Path]:
        """Return the world's start pictures that are not on screen; none where the player has given one instead."""
        pictures = self._app.options.catalogue.start_pictures(self.config)
        now = self.choice.picture or (pictures[0] if pictures and self._taken is None else None)
        return [picture for picture in pictures if picture != now] if now in pictures else []

    def _begin_again(self, choice: Choice, said: str, frame: np.ndarray | None = None) -> None:
        """Start again as chosen; `frame`: of its picture where that is another one."""
        self.choice = choice
        if frame is None:
            self.session.reset(choice.seed)
        else:
            self._start, self._presenter.frame = frame[None], frame
            self.session.reset(choice.seed, self._start, load_hand_place(choice.picture))
        self._figures.start_again()
        self.toast(said)

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start again from the first of some files that is a picture; play goes on where none of them is."""
        try:
            path, frame = first_picture(paths, self.config.width, self.config.height)
        except ImageError as error:
            self.toast(str(error), bad=True)
            return
        self._app.bring_forward(self)
        self._begin_again(dataclasses.replace(self.choice, picture=path), f"Starting from {path.name}", frame)

    def open_prompt(self, opened_by: str = "") -> None:
        """Let the player write what the world is told; a world that reads no text says so."""
        self._prompt_change.open_line(opened_by)

    def prompt_taken(self, prompt: str) -> None:
        """The world has read a prompt: it is what a new start from here begins with."""
        self.choice = dataclasses.replace(self.choice, prompt=prompt)

    def change_guidance(self, step: int) -> None:
        """Move the guidance scale and remember it."""
        now = self._guidance if self._guidance is not None else self.session.guidance_scale
        if now is None:
            return  # still loading: there is nothing to start counting from
        wanted = _within(now + step * GUIDANCE_STEP, GUIDANCE_RANGE)
        if self.config.stream.offered_guidance(wanted) != wanted:
            most = self.config.stream.max_guidance
            self.toast("This world knows no guidance" if most == 1
                       else f"This world takes no guidance above {most:.2f}")
            return
        self._guidance = wanted
        self.session.set_guidance(wanted)
        self._remember(guidance=None if wanted == self.config.stream.guidance_scale else wanted)
        self.toast(f"Guidance {wanted:.2f}" + (" (off)" if wanted == 1.0 else ""))

    def change_steps(self, step: int) -> None:
        """Move the number of denoise steps and remember it."""
        now = self._steps if self._steps is not None else self.session.num_denoise_steps
        if now is None:
            return
        wanted = self._steps = int(_within(now + step, STEPS_RANGE))
        self.session.set_steps(wanted)
        is_own = wanted == len(self.config.stream.sigmas) - 1
        self._remember(steps=None if is_own else wanted)
        self.toast(f"{wanted} denoise step{'s' if wanted > 1 else ''}" + ", the world's own" * is_own)

    def _remember(self, **changed: float | None) -> None:
        """Save what a key has changed here already; None, the world's own, is no number for the next world."""
        settings = dataclasses.replace(self._app.settings, **changed)
        self._remembered = settings.guidance, settings.steps
        self._app.change_settings(**changed)

    def apply_settings(self) -> None:
        """Take over what the settings menu changed, and only that: a command-line option outlives the other settings.

        None is the world's own value.
        """
        settings, own = self._app.settings, self.config.stream
        old_guidance, old_steps = self._remembered
        self._remembered = settings.guidance, settings.steps
        if settings.guidance != old_guidance:
            self._guidance = own.offered_guidance(settings.guidance)
            self.session.set_guidance(own.guidance_scale if self._guidance is None else self._guidance)
        if settings.steps != old_steps:
            self._steps = settings.steps
            self.session.set_steps(len(own.sigmas) - 1 if settings.steps is None else settings.steps)

    def take_photo(self) -> None:
        """Save the shown frame; what cannot be written is said in the window."""
        if not self.playing:
            return
        try:
            path = save_photo(self._presenter.frame, self._app.photo_folder, self.config.name, self.choice.seed,
                              self.frame_index, self.choice.prompt)
        except AstraPlayError as error:
            self.toast(str(error), bad=True)
        else:
            self.toast(f"Photo saved to {path}")

    def toast(self, message: str, bad: bool = False) -> None:
        """Show a short message over the play."""
        self._app.toasts.show(message, self._app.clock.now(), bad)
        self._app.redraw()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        picture = self._presenter.draw(canvas.surface) or canvas.box
        now_s = self._app.clock.now()
        if self.frame_index < 0:
            doing = DOING.get(self.session.status, "Painting the first frame")
            hud.draw_loading(canvas, self.config.title, doing, now_s - self._started_s)
        self._prompt_change.draw(canvas, now_s)
        self.recording.draw(canvas)
        settings = self._app.settings
        if settings.hud:
            hud.draw_hud(canvas, self._figures.at(now_s), picture)
        if settings.hud or settings.input_overlay:
            draw_heard(canvas, self.keymap, self._heard(), self._mouse.at(now_s), picture)
        if self.playing and not self._covered and not self._app.window.grabbed:
            hud.draw_hint(canvas, "Click to look around.  Esc opens the menu.")

    def _heard(self) -> frozenset[str]:
        """Return the buttons that the world hears; none while it is loaded, since nobody is there to hear them."""
        # a tap between two frames is seen too
        return self.input.held() | self.input.last_sample.buttons if self.playing else frozenset()


def _asks_to_pause(event: pygame.Event) -> bool:
    if event.type == pygame.CONTROLLERBUTTONDOWN:
        return PAD_BUTTONS.get(event.button) == "pad start"
    return event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
