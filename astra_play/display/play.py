"""The screen of a session: due frames to the window, events to InputState, the player's commands to the session."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pygame

from ..actions.keymap import Keymap
from ..actions.row_makers import Place
from ..actions.sources import LiveSource
from ..actions.state import InputState
from ..chunks import InputEvent
from ..codec.pixels import load_hand_place, load_start_image
from ..errors import AstraPlayError, ConfigError, ImageError
from ..runtime.clock import process_age_s
from ..runtime.interfaces import ActionSource, PlayableWorld
from ..runtime.playout import DueFrame
from ..runtime.session import Session, Settings
from . import hud
from .canvas import Canvas
from .catalogue import needs_picture
from .drop import first_picture
from .events import PAD_BUTTONS, key_control, to_input
from .figures import FigureReader
from .options import Choice
from .photo import save_photo
from .present import Presenter
from .prompt_change import PromptChange
from .recording import RecordingControl
from .settings import GUIDANCE_RANGE, STEPS_RANGE
from .takeover import TakenOver

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger(__name__)

GUIDANCE_STEP = 0.25
MAX_NEW_SEED = 1_000_000  # short enough to be read out to a friend
LOADING_EVERY_S = 1.0 / 20.0  # of the moving bar; more would take time from the thread that loads
MOTION_MEMORY_S = 0.12  # of the overlay's mouse vector
WELCOME = "Esc pauses and frees the mouse.  F1 shows figures."
WELCOME_PROMPT = "  T: prompt."
DOING = {"loading": "Loading the network", "warming up": "Warming up"}


class PlayScreen:
    """One session on screen, from its loading to its end or failure."""

    see_through = False

    def __init__(self, app: App, choice: Choice, taken: TakenOver | None = None) -> None:
        """Read the config and the start picture, and begin to load; AstraPlayError if either cannot be used.

        `taken`: play on in a world that was being replayed, instead of loading one.
        """
        self._app, self._taken = app, taken
        self.choice = choice
        catalogue, options, settings = app.options.catalogue, app.options, app.settings
        self.config = catalogue.config(choice.world)
        if taken is None:
            self._start, hand_m = self._start_frames(choice)
        else:
            self._start, hand_m = taken.prompt_frames, taken.hand_m
        if choice.prompt and not self.reads_text:
            raise ConfigError(f"the world {self.config.name!r} reads no text; leave the prompt out")
        self.keymap = self._make_keymap()
        self.input = InputState(self.keymap)
        guidance = settings.guidance if options.guidance is None else options.guidance
        steps = settings.steps if options.steps is None else options.steps
        if taken is not None:
            guidance = steps = None  # as the recording has them
        self.session = Session(self._load_world, self._make_source(), app.clock,
                               Settings(seed=choice.seed, prompt_frames=self._start, hand_m=hand_m,
                                        guidance_scale=guidance, num_denoise_steps=steps,
                                        keep_threads=options.threads is None,
                                        resume=None if taken is None else taken.resume))
        if options.headless:  # nobody spent time in a menu: the player has waited since the process began
            self.session.stats.started_at_s -= process_age_s()
        self._guidance, self._steps = guidance, steps  # as asked; None until asked: the world's own
        self._remembered = settings.guidance, settings.steps  # as `apply_settings` saw them last
        self._presenter = Presenter()
        if self._start is not None:
            self._presenter.frame = self._start[-1] if taken is None else taken.frame
        self.frame_index = -1  # of the shown frame, counted from the last reset; -1 before the first
        self.num_shown = 0
        self.first_flip_s: float | None = None
        self._started_s = app.clock.now()
        self._due: DueFrame | None = None
        self._covered = False
        self._next_redraw_s = 0.0
        self._figures = FigureReader(self.session, self.config)
        self._prompt_change = PromptChange(app, self)
        self.recording = self._make_recording()
        if taken is not None:
            self.recording.continue_from(taken.before)
        self._motion_px_s = (0.0, 0.0)
        self._motion_at_s = 0.0
        self.session.start()

    # --- what a kiosk has of its own --------------------------------------------------------------------------------

    def _make_keymap(self) -> Keymap:
        return self._app.keymap.limited_to(self.config.controls.buttons, self.config.controls.modality)

    def _make_source(self) -> ActionSource:
        return LiveSource(self.input)

    def _make_recording(self) -> RecordingControl:
        return RecordingControl(self._app, self)

    # --- what it starts from ----------------------------------------------------------------------------------------

    def _start_frames(self, choice: Choice) -> tuple[np.ndarray | None, Place | None]:
        """Return (1, H, W, 3) uint8 prompt frames, or None if the world has no start pictures and needs none.

        With them where they show the hand of an arm, as far as the picture's file tells.
        """
        # the first picture is what the world itself starts from; here it is also what is shown while it loads
        pictures = [choice.picture] if choice.picture else self._app.options.catalogue.start_pictures(self.config)
        if not pictures and needs_picture(self.config):
            raise ImageError(f"the world {self.config.name!r} has no start picture of its own; give one with --image "
                             "FILE, or open the menu and drop one on the window")
        if not pictures:
            return None, None
        frame = load_start_image(pictures[0], self.config.width, self.config.height)
        return frame[None], load_hand_place(pictures[0])

    def _load_world(self) -> PlayableWorld:
        """Build the world (generator thread)."""
        if self._taken is not None:
            return self._taken.world()
        return self._app.options.catalogue.load(self.choice.world, self._app.options.threads, self.choice.prompt,
                                                self._app.options.memory)

    # --- the loop's face --------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """True once a generated frame has been shown."""
        return self.first_flip_s is not None

    @property
    def reads_text(self) -> bool:
        return self.config.model.text_dim > 0

    @property
    def poll_s(self) -> float:
        return 0.002  # what polling adds to the latency of a key, at worst

    def tick(self, now_s: float) -> bool:
        """Take the frame that is due; return whether the window must be drawn again."""
        self.recording.tick()
        if self.session.status == "failed":
            self._app.fail(self.session.error, self.choice)
            return False
        is_reading = self._prompt_change.tick(now_s)
        self._due = self.session.playout.due(now_s)
        if self._due is not None:
            self._take(self._due)
            return True
        if now_s < self._next_redraw_s or self._covered:
            return False
        if not self.playing or is_reading:
            self._next_redraw_s = now_s + LOADING_EVERY_S
            return True
        return False

    def _take(self, due: DueFrame) -> None:
        self._presenter.frame = due.frame
        if self.frame_index < 0:
            self._begin_play()
        if due.chunk.chunk_index == 0 and due.frame_index == 0:
            self.frame_index = -1
        self.frame_index += 1
        if due.first_of_chunk:
            self._figures.chunk_shown(due.chunk.generate_ms)

    def flipped(self, flip_s: float) -> None:
        """Note that what was drawn last is on the screen."""
        due, self._due = self._due, None
        if due is None:
            return
        self.session.stats.flipped(due, flip_s)
        self._app.frame_shown(due.frame)
        self.num_shown += 1
        if self.first_flip_s is None:
            self.first_flip_s = flip_s

    def _begin_play(self) -> None:
        """Hand the mouse over with the first frame, so that this frame is already drawn as play."""
        if not self._covered:
            self._grab_if_focused()
            self._app.toasts.show(WELCOME + WELCOME_PROMPT * self.reads_text, self._app.clock.now(), seconds=6.0)

    def cover(self) -> None:
        """Something lies over the play: stop the world, let go of keys and mouse."""
        self._covered = True
        self.session.pause(True)
        self.let_go()

    def uncover(self) -> None:
        """The play is on top again and goes on, with the mouse."""
        self._covered = False
        self._next_redraw_s = 0.0
        if not self._app.window.minimised:
            self.session.pause(False)
        if self.playing:
            self._grab_if_focused()

    def minimise(self, minimised: bool) -> None:
        """Stop the world while nobody can see it; it goes on when the window is back, unless a menu is open."""
        self.session.pause(minimised or self._covered)
        if minimised:
            self.let_go()

    def close(self) -> None:
        self._app.window.release_mouse()
        self.session.stop()
        self.recording.close()
        if self.num_shown:
            log.info("%s", self.session.stats.summary())

    def _grab_if_focused(self) -> None:
        """Take the mouse, unless the player went to another window meanwhile: a click takes it then."""
        if self._app.window.focused:
            self._app.window.grab_mouse()

    def let_go(self) -> None:
        """Release every control and the mouse, as if the window had lost the focus."""
        self.input.handle(InputEvent("focus_lost", time_s=self._app.clock.now()))
        self._app.window.release_mouse()

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
            self._control(event, polled_at_s)

    def _control(self, event: pygame.Event, polled_at_s: float) -> None:
        if event.type == pygame.MOUSEMOTION and not self._app.window.grabbed:
            return
        change = to_input(event, polled_at_s, self._app.settings.mouse_sensitivity)
        if change is None:
            return
        self.input.handle(change)
        if change.kind == "motion":
            self._note_motion(change)

    def _note_motion(self, change: InputEvent) -> None:
        """Keep a smoothed velocity for the overlay."""
        passed_s = max(0.001, change.time_s - self._motion_at_s)
        keep = max(0.0, 1.0 - passed_s / MOTION_MEMORY_S)
        self._motion_px_s = tuple(keep * old + moved / MOTION_MEMORY_S
                                  for old, moved in zip(self._motion_px_s, change.motion_px, strict=True))
        self._motion_at_s = change.time_s

    def _obey(self, event: pygame.Event) -> bool:
        """Carry out the command of a key; False if it is none. A key that the keymap binds belongs to the world."""
        if event.type == pygame.CONTROLLERBUTTONDOWN and PAD_BUTTONS.get(event.button) == "pad start":
            self._app.pause_play(self)
            return True
        if event.type != pygame.KEYDOWN or key_control(event) in self.keymap.keys:
            return False
        match event.key:
            case pygame.K_ESCAPE:
                self._app.pause_play(self)
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
        """Start again from the same picture and seed, or with another seed."""
        if new_seed:
            self.choice = dataclasses.replace(self.choice, seed=random.randrange(MAX_NEW_SEED))
        self.session.reset(self.choice.seed)
        self._figures.start_again()
        self.toast(f"{'New world' if new_seed else 'Start again'}, seed {self.choice.seed}")

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start again from the first of some files that is a picture; play goes on where none of them is."""
        try:
            path, frame = first_picture(paths, self.config.width, self.config.height)
        except ImageError as error:
            self.toast(str(error), bad=True)
            return
        self._start, self._presenter.frame = frame[None], frame
        self.choice = dataclasses.replace(self.choice, picture=path)
        self.session.reset(self.choice.seed, self._start, load_hand_place(path))
        self._figures.start_again()
        self.toast(f"Starting from {path.name}")

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
        self._guidance = _within(now + step * GUIDANCE_STEP, GUIDANCE_RANGE)
        self.session.set_guidance(self._guidance)
        self._app.change_settings(guidance=self._guidance)
        self.toast(f"Guidance {self._guidance:.2f}" + (" (off)" if self._guidance == 1.0 else ""))

    def change_steps(self, step: int) -> None:
        """Move the number of denoise steps and remember it."""
        now = self._steps if self._steps is not None else self.session.num_denoise_steps
        if now is None:
            return
        self._steps = int(_within(now + step, STEPS_RANGE))
        self.session.set_steps(self._steps)
        self._app.change_settings(steps=self._steps)
        self.toast(f"{self._steps} denoise step{'s' if self._steps > 1 else ''}")

    def apply_settings(self) -> None:
        """Take over what the settings menu changed, and only that: a command-line option outlives the other settings.

        None is the world's own value.
        """
        settings, own = self._app.settings, self.config.stream
        old_guidance, old_steps = self._remembered
        self._remembered = settings.guidance, settings.steps
        if settings.guidance not in (old_guidance, self._guidance):
            self._guidance = settings.guidance
            self.session.set_guidance(own.guidance_scale if settings.guidance is None else settings.guidance)
        if settings.steps not in (old_steps, self._steps):
            self._steps = settings.steps
            self.session.set_steps(len(own.sigmas) - 1 if settings.steps is None else settings.steps)

    def take_keymap(self) -> None:
        """Use the app's keymap from now on."""
        self.keymap = self._make_keymap()
        self.input.use(self.keymap, self._app.clock.now())

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
        self._presenter.draw(canvas.surface)
        now_s = self._app.clock.now()
        if self.frame_index < 0:
            doing = DOING.get(self.session.status, "Painting the first frame")
            hud.draw_loading(canvas, self.config.title, doing, now_s - self._started_s)
        self._prompt_change.draw(canvas, now_s)
        self.recording.draw(canvas)
        settings = self._app.settings
        if settings.hud:
            hud.draw_hud(canvas, self._figures.at(now_s))
        if settings.hud or settings.input_overlay:
            self._draw_input(canvas, now_s)
        if self.playing and not self._covered and not self._app.window.grabbed:
            hud.draw_hint(canvas, "Click to look around.  Esc opens the menu.")

    def _draw_input(self, canvas: Canvas, now_s: float) -> None:
        held = self.input.held() | self.input.last_sample.buttons  # a tap between two frames is seen too
        keys = self.keymap.keys
        lit = frozenset(control for control, buttons in keys.items() if held.intersection(buttons))
        faded = max(0.0, 1.0 - (now_s - self._motion_at_s) / MOTION_MEMORY_S)
        hud.draw_input_overlay(canvas, lit, frozenset(keys), tuple(faded * axis for axis in self._motion_px_s))

    def figures_json(self) -> dict[str, object]:
        """Return the session's figures and what they were measured with."""
        return self._figures.to_json(self.choice)


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
