"""The screen of a replay: a session whose source and world are a recording, with pause, step, seek, speed, take over.

Nothing here makes or shows frames in another way than play does. Going to another place is a reset of the session.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pygame

from ..actions.state import InputState
from ..errors import ConfigError, RecordingError, WeightsError
from ..record.branch import continuation
from ..record.format import Start
from ..record.match import check_weights, differences, find_recorded_world, world_name
from ..record.reader import read_recording
from ..record.replay import ReplayableWorld, check_fits
from ..record.replayed import ReplayControl, ReplayedWorld
from ..runtime.playout import DueFrame
from ..runtime.session import Session, Settings
from . import hud, theme, timeline
from .canvas import Canvas
from .events import PAD_BUTTONS, key_control, to_input
from .heard import draw_heard
from .options import Choice
from .play import DOING, PlayScreen
from .present import Presenter, gave_up_detail
from .replay_keys import COMMAND_KEYS, Command, ReplayKeysScreen
from .session_screen import LOADING_EVERY_S
from .takeover import TakenOver

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger(__name__)

SEEK_S = 5.0
MIN_FIGURES_WIDTH = 130  # units; in less, a line of the figures breaks into many
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)


class ReplayScreen:
    """One recording on screen. It ends holding its last picture."""

    see_through = False
    poll_s = 0.002
    lift = timeline.HEIGHT

    def __init__(self, app: App, path: Path) -> None:
        """Read the recording and begin to load its world; RecordingError if it cannot be replayed here."""
        self._app, self.path = app, path
        self.recording = read_recording(path)
        self.control = ReplayControl(self.recording)
        head = self.recording.head
        self._name = world_name(head, app.options.world if app.options.replay is not None else None)
        try:
            self.config = app.options.catalogue.config(self._name)
        except (WeightsError, ConfigError) as error:
            raise RecordingError(f"{path} was made in the world {head.world!r}, which cannot be played here: "
                                 f"{error}") from None
        check_fits(self.recording, self.config)
        self.keymap = app.keymap.limited_to(self.config.controls.buttons, self.config.controls.modality)
        self._input = InputState(self.keymap)  # tells which events would move the world
        first = next(entry for entry in self.control.recorded[0].before if isinstance(entry, Start))
        self.session = Session(lambda: ReplayedWorld(self.control, self._load), self.control, app.clock,
                               Settings(seed=first.seed, keep_threads=False))
        self._presenter = Presenter()
        if first.frames:
            self._presenter.frame = first.frames[-1]
        self.index = -1  # of the shown chunk; -1 before the first
        self.is_paused = False
        self.speed = 1.0
        self._base = {0: 0}  # reset_count -> chunk that the session began from there
        self._going_to: int | None = None
        self._frames_left = 0  # to be shown before standing still, while paused
        self._covered = self._dragging = False
        self._due: DueFrame | None = None
        self._started_s, self._next_redraw_s = app.clock.now(), 0.0
        held = [bool(one.chunk.sample.buttons or one.chunk.sample.axes or any(one.chunk.sample.mouse_px))
                for one in self.control.recorded]
        self._presses = timeline.stretches(held)
        self._starts = [index for index, one in enumerate(self.control.recorded)
                        if index and any(isinstance(entry, Start) for entry in one.before)]
        self.session.start()
        self._say_what_differs()

    def _load(self) -> ReplayableWorld:
        """Check the weights and build the world (generator thread)."""
        head, options = self.recording.head, self._app.options
        if head.weights_sha256:
            check_weights(self.recording, find_recorded_world(self.recording, self._name), self.config)
        return options.catalogue.load(self._name, options.threads or head.num_threads, head.prompt, head.memory)

    def _say_what_differs(self) -> None:
        head = self.recording.head
        said = differences(self.recording, self.config, head.device, head.precision) if head.machine else []
        if self.recording.loss is not None:
            self.toast(f"The log is damaged: {self.recording.loss}.", bad=True)
        elif said:
            self.toast(f"This may look different: {said[0]}.")

    # --- the loop's face --------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> bool:
        """Take the frame that is due; return whether the window must be drawn again."""
        if self.session.status == "failed":
            self._app.leave_replay(self.session.error)
            return False
        playout = self.session.playout
        # a picture that is stepped to must not be passed over because the window was late
        self._due = playout.next_waiting() if self._frames_left else playout.due(now_s)
        if self._due is not None:
            self._take(self._due)
            return True
        self._stop_at_end()
        if now_s >= self._next_redraw_s and not self._covered and (self.index < 0 or self._going_to is not None):
            self._next_redraw_s = now_s + LOADING_EVERY_S
            return True
        return False

    def _take(self, due: DueFrame) -> None:
        if self.index < 0 and self.speed != 1.0:
            self.session.playout.set_rate(self.config.fps * self.speed)
        self._presenter.frame = due.frame
        self._presenter.spares_time = gave_up_detail(self.config, self.session.draws_finely)
        self.index = self._base[due.chunk.reset_count] + due.chunk.chunk_index
        self._going_to = None
        if self._frames_left:
            self._frames_left -= 1
            self.session.pause(self._stands)

    def _stop_at_end(self) -> None:
        """Stand on the last picture: the source has nothing more, and the session need not ask again."""
        if not self.is_paused and self._going_to is None and self.index == len(self.control.recorded) - 1 \
                and self.session.playout.counts().waiting == 0:
            self.is_paused = True
            self.session.pause(True)
            self._app.redraw()

    def flipped(self, flip_s: float) -> None:
        due, self._due = self._due, None
        if due is not None:
            self.session.stats.flipped(due, flip_s)
            self._app.frame_shown(due.frame)

    def cover(self) -> None:
        self._covered = True
        self.session.pause(True)

    def uncover(self) -> None:
        self._covered = False
        self.session.pause(self._stands)

    def minimise(self, minimised: bool) -> None:
        self.session.pause(minimised or self._covered or self._stands)

    @property
    def _stands(self) -> bool:
        return self.is_paused and not self._frames_left

    def close(self) -> None:
        self.control.leaving.set()
        self.session.stop()

    # --- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        """Obey a key or click of the replay; a control that moves the world takes over."""
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._click(self._app.window.to_pixels(event.pos))
        elif event.type == pygame.MOUSEMOTION and self._dragging:
            self._go_to_column(self._app.window.to_pixels(event.pos)[0])
        elif event.type in (pygame.MOUSEBUTTONUP, pygame.WINDOWFOCUSLOST):
            self._dragging = False
        elif event.type == pygame.CONTROLLERBUTTONDOWN and PAD_BUTTONS.get(event.button) in ("pad start", "pad back"):
            self._app.leave_replay()
        elif event.type == pygame.KEYDOWN and event.key in COMMAND_KEYS:
            self._obey(COMMAND_KEYS[event.key])
        elif self._moves_world(event, polled_at_s):
            self.take_over(event, polled_at_s)

    def _moves_world(self, event: pygame.Event, polled_at_s: float) -> bool:
        change = to_input(event, polled_at_s)
        if change is None or change.kind not in ("button", "axis"):
            return False
        if event.type == pygame.KEYDOWN and key_control(event) not in self.keymap.keys:
            return False
        self._input.handle(change)
        return bool(self._input.held())

    def _obey(self, command: Command) -> None:
        match command:
            case Command.PAUSE:
                self.pause(not self.is_paused)
            case Command.ON:
                self.step(1)
            case Command.BACK:
                self.step(-1)
            case Command.EARLIER:
                self.seek_by(-SEEK_S)
            case Command.LATER:
                self.seek_by(SEEK_S)
            case Command.FIRST:
                self.seek(0)
            case Command.LAST:
                self.seek(len(self.control.recorded) - 1)
            case Command.SLOWER:
                self.change_speed(-1)
            case Command.FASTER:
                self.change_speed(1)
            case Command.TAKE_OVER:
                self.take_over()
            case Command.FIGURES:
                self._app.change_settings(hud=not self._app.settings.hud)
            case Command.KEYS:
                self._app.push(ReplayKeysScreen(self._app, self.keymap))
            case Command.LEAVE:
                self._app.leave_replay()

    def _click(self, at: tuple[int, int]) -> None:
        if timeline.strip(self._app.canvas()).collidepoint(at):
            self._dragging = True
            self._go_to_column(at[0])
        else:
            self.pause(not self.is_paused)

    def _go_to_column(self, x_px: int) -> None:
        canvas = self._app.canvas()
        self.seek(timeline.chunk_at(timeline.track(timeline.strip(canvas), canvas.unit_px), x_px,
                                    len(self.control.recorded)))

    # --- commands ---------------------------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """Stand still or go on; going on from the end begins anew, and one on the way to a chunk stands there."""
        if not paused and self.index == len(self.control.recorded) - 1 and self._going_to is None:
            self.is_paused = False
            self.seek(0)
            return
        arrives = paused and self._going_to is not None
        self.is_paused, self._frames_left = paused, int(arrives)
        self.control.limit = self._going_to + 1 if arrives else None
        self.session.pause(self._stands)
        self._app.redraw()

    def step(self, step: int) -> None:
        """Show the next picture, or the one before, and stand still."""
        if not self.is_paused:
            self.pause(True)
        elif self._going_to is not None:
            self.seek(self._going_to + step)
        elif step < 0:
            self.seek(self.index - 1)
        elif 0 <= self.index < len(self.control.recorded) - 1:
            self.control.limit = (self.control.limit if self._frames_left else self.control.index) + 1
            self._frames_left += 1
            self.session.pause(False)

    def seek_by(self, seconds: float) -> None:
        here = self.index if self._going_to is None else self._going_to
        self.seek(here + round(seconds / self.recording.head.chunk_s))

    def seek(self, index: int) -> None:
        """Go to a chunk; while paused, show its first picture and stand there."""
        if self.index < 0:
            return  # still loading: there is nowhere to go from
        index = self.control.want(index)
        if index == self._going_to:
            return
        self._going_to = index
        self.session.reset()
        self._base[self.session.reset_count] = index
        self._frames_left, self.control.limit = int(self.is_paused), index + 1 if self.is_paused else None
        self.session.pause(False)
        self._app.redraw()

    def change_speed(self, step: int) -> None:
        """Play slower or faster; no faster than the world can be made."""
        place = min(max(SPEEDS.index(self.speed) + step, 0), len(SPEEDS) - 1)
        self.speed = SPEEDS[place]
        if self.index >= 0:
            self.session.playout.set_rate(self.config.fps * self.speed)
        self.toast(f"Speed {self.speed:g}x")

    def take_over(self, event: pygame.Event | None = None, polled_at_s: float = 0.0) -> None:
        """Play on from the picture on screen. `event`: what the player did, which the world then hears."""
        if self.index < 0:
            return
        index = self.index + 1
        before = continuation(self.recording, self.control.recorded, index)
        taken = TakenOver(self.control, before, self._presenter.frame)
        self.control.hand_over(index)
        choice = Choice(self._name, before.start.seed, prompt=before.settings["prompt"])
        self._app.replace(lambda: PlayScreen(self._app, choice, taken))
        self._app.toasts.show(f"You play on from {timeline.clock_text(index * self.recording.head.chunk_s)}.",
                              self._app.clock.now())
        if event is not None:
            self._app.screens[-1].handle(event, polled_at_s)

    def toast(self, message: str, bad: bool = False) -> None:
        self._app.toasts.show(message, self._app.clock.now(), bad)
        self._app.redraw()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        picture = self._presenter.draw(canvas.surface) or canvas.box
        now_s = self._app.clock.now()
        if self.index < 0:
            doing = DOING.get(self.session.status, "Beginning")
            hud.draw_loading(canvas, self.config.title, doing, now_s - self._started_s)
        else:
            self._draw_input(canvas, picture)
        settings = self._app.settings
        if settings.hud:
            self._draw_figures(canvas, picture)
        timeline.draw_timeline(canvas, self.timeline_state())

    def timeline_state(self) -> timeline.TimelineState:
        return timeline.TimelineState(
            max(self.index, 0), len(self.control.recorded), self.recording.head.chunk_s, self._presses, self._starts,
            self.is_paused, self.speed, self._going_to, self.control.index)

    def _draw_input(self, canvas: Canvas, picture: pygame.Rect) -> None:
        """Show which keys were held in the shown chunk; the recording knows buttons, so every key of one is lit."""
        sample = self.control.recorded[self.index].chunk.sample
        held = sample.buttons | {button for button, _ in sample.axes}
        chunk_s = self.recording.head.chunk_s
        motion_px_s = sample.mouse_px[0] / chunk_s, sample.mouse_px[1] / chunk_s
        draw_heard(canvas, self.keymap, held, motion_px_s, picture, self.lift)

    def _draw_figures(self, canvas: Canvas, picture: pygame.Rect) -> None:
        """Write the figures beside the picture where that bar takes them, else in its corner."""
        px = canvas.px
        stats, head = self.session.stats, self.recording.head
        rows = (f"{stats.recent_fps:.1f} of {head.fps * self.speed:g} fps",
                f"chunk {self.control.recorded[max(self.index, 0)].chunk.number}",
                f"{self.control.checkpoint_bytes / 1e6:.0f} MB of places to go back to")
        is_in_bar = picture.left >= px(MIN_FIGURES_WIDTH) + 2 * px(12)
        x, y = (px(12), px(18)) if is_in_bar else (picture.left + px(18), picture.top + px(18))
        width = (picture.left if is_in_bar else picture.right) - x - px(12)
        for row in rows:
            y = canvas.paragraph(row, (x, y), width, theme.SMALL) + px(4)
