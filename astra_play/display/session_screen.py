"""A session on screen, whoever leads it: due frames to the window, controls to InputState, from loading to the end.

The player's own screen adds commands to it, a booth its tours and visits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pygame

from ..actions.keymap import Keymap
from ..actions.row_makers import Place
from ..actions.sources import LiveSource
from ..actions.state import InputState
from ..chunks import InputEvent
from ..codec.pixels import load_hand_place, load_start_image
from ..errors import ConfigError, ImageError
from ..runtime.clock import process_age_s
from ..runtime.interfaces import ActionSource, PlayableWorld
from ..runtime.playout import DueFrame
from ..runtime.session import Session, Settings
from .canvas import Canvas
from .catalogue import needs_picture
from .events import to_input
from .figures import FigureReader
from .options import Choice
from .present import Presenter, gave_up_detail
from .recording import NoRecording, RecordingControl
from .takeover import TakenOver

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger(__name__)

LOADING_EVERY_S = 1.0 / 20.0  # of the moving bar; more would take time from the thread that loads


class SessionScreen:
    """One session on screen, from its loading to its end or failure."""

    see_through = False
    lift = 0.0

    def __init__(self, app: App, choice: Choice, taken: TakenOver | None = None) -> None:
        """Read the config and the start picture, and begin to load; AstraPlayError if either cannot be used.

        `taken`: play on in a world that was being replayed, instead of loading one.
        """
        self._app, self._taken = app, taken
        self.choice = choice
        options, settings = app.options, app.settings
        self.config = options.catalogue.config(choice.world)
        if taken is None:
            self._start, hand_m = self._start_frames(choice)
        else:
            self._start, hand_m = taken.prompt_frames, taken.hand_m
        if choice.prompt and not self.reads_text:
            raise ConfigError(f"the world {self.config.name!r} reads no text; leave the prompt out")
        self.keymap = self._make_keymap()
        self.input = InputState(self.keymap)
        # A command-line option is meant; what is remembered may come from another world.
        guidance = (self.config.stream.offered_guidance(settings.guidance) if options.guidance is None
                    else options.guidance)
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
        self.recording = self._make_recording()
        self.session.start()

    # --- what each kind of session has of its own -------------------------------------------------------------------

    def _make_keymap(self) -> Keymap:
        return self._app.keymap.limited_to(self.config.controls.buttons, self.config.controls.modality)

    def _make_source(self) -> ActionSource:
        return LiveSource(self.input)

    def _make_recording(self) -> RecordingControl | NoRecording:
        return NoRecording()

    def _is_waiting(self, now_s: float) -> bool:
        """Whether something moves on screen while no frame is due; asked once a turn of the loop."""
        return not self.playing

    def _begin_play(self) -> None:
        """Do what belongs to the first frame, so that this frame is already drawn as play."""

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        """Take an event of the window; nobody's hands reach a session that does not say how."""

    def apply_settings(self) -> None:
        """Take over what was changed in the settings."""

    def draw(self, canvas: Canvas) -> None:
        raise NotImplementedError

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
        is_waiting = self._is_waiting(now_s)
        self._due = self.session.playout.due(now_s)
        if self._due is not None:
            self._take(self._due)
            return True
        if now_s < self._next_redraw_s or self._covered:
            return False
        if is_waiting:
            self._next_redraw_s = now_s + LOADING_EVERY_S
        return is_waiting

    def _take(self, due: DueFrame) -> None:
        self._presenter.frame = due.frame
        self._presenter.spares_time = gave_up_detail(self.config, self.session.draws_finely)
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
        self.hear_held_axes()
        if self.playing:
            self._grab_if_focused()

    def minimise(self, minimised: bool) -> None:
        """Stop the world while nobody can see it; it goes on when the window is back, unless a menu is open."""
        self.session.pause(minimised or self._covered)
        if minimised:
            self.let_go()
        elif not self._covered:
            self.hear_held_axes()

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

    def hear_held_axes(self) -> None:
        """Take sticks and triggers as they are held now: one that does not move sends no event."""
        now_s = self._app.clock.now()
        for axis, value in self._app.pad_hands.axes().items():
            self.input.handle(InputEvent("axis", axis, value=value, time_s=now_s))

    # --- controls ---------------------------------------------------------------------------------------------------

    def take_keymap(self) -> None:
        """Use the app's keymap from now on."""
        self.keymap = self._make_keymap()
        self.input.use(self.keymap, self._app.clock.now())

    def _control(self, event: pygame.Event, polled_at_s: float) -> InputEvent | None:
        """Hand an event to the world's controls; return what it is to them, None if nothing."""
        if event.type == pygame.MOUSEMOTION and not self._app.window.grabbed:
            return None
        change = to_input(event, polled_at_s, self._app.settings.mouse_sensitivity)
        if change is not None:
            self.input.handle(change)
        return change

    def figures_json(self) -> dict[str, object]:
        """Return the session's figures and what they were measured with."""
        return self._figures.to_json(self.choice)
