"""Recording as the player meets it: R and F9, the red dot with its time, and the sentences that say what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pygame

from ..config import WorldConfig
from ..errors import RecordingError
from ..paths import expanded
from ..record.branch import Continuation
from ..record.buffer import BUFFER_S
from ..record.facts import make_head
from ..record.library import LOG_SUFFIX, VIDEO_SUFFIX, recordings_folder
from ..record.recorder import Recorder, Target, Written
from . import theme
from .canvas import Canvas
from .listmenu import Line
from .prompt import PromptScreen
from .settings import PlayerSettings, folder_of

if TYPE_CHECKING:
    from .app import App
    from .play import PlayScreen

TOAST_S = 6.0  # a path takes longer to read than a word


class RecordingControl:
    """The recorder of one play screen, from before its session starts until what was recorded is written."""

    def __init__(self, app: App, play: PlayScreen) -> None:
        self._app, self._play = app, play
        self._is_closed = False
        config, choice, memory = play.config, play.choice, app.options.memory
        self._recorder = Recorder(config, lambda: make_head(config, choice.world, choice.prompt, memory))
        play.session.journal.subscribe(self._recorder)
        if app.record_path is not None:
            path, app.record_path = app.record_path, None  # the first session's, not that of the next one
            self._recorder.begin(self._target(path.parent, path.stem))

    def continue_from(self, before: Continuation) -> None:
        """Take what was replayed before this play as its past, so that a recording replays from the seed."""
        self._recorder.continue_from(before)

    # --- commands ---------------------------------------------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        return self._recorder.is_recording

    def toggle(self) -> None:
        """Begin to record with the next frame, or end the recording."""
        if self.is_recording:
            self._recorder.end()
        else:
            self._recorder.begin(self._target())
        if not self._play.playing:
            self._play.toast("Recording begins with the first frame." if self.is_recording
                             else "Nothing will be recorded.")

    def save_last(self) -> None:
        """Save the last 30 s after the fact, or what has been played of them."""
        played_s = min(BUFFER_S, self._play.num_shown / self._play.config.fps)
        if played_s:  # else the recorder says that there is nothing
            self._play.toast(f"Saving the last {played_s:.0f} s" if played_s >= 1.0 else "Saving the last second")
        self._recorder.save_last(self._target())

    def lines(self, leave: Callable[[], None]) -> list[Line]:
        """Return the lines of the pause menu; `leave` closes it."""
        def then_leave(deed: Callable[[], None]) -> Callable[[], None]:
            def both() -> None:
                deed()
                leave()
            return both

        return [Line("Stop recording" if self.is_recording else "Record", then_leave(self.toggle), hint="R"),
                Line("Save the last 30 s", then_leave(self.save_last), hint="F9")]

    # --- the loop's face --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Say what the recorder has to say."""
        while (notice := self._recorder.notice()) is not None:
            is_bad = notice.error is not None
            self._app.toasts.show(notice.sentence, self._app.clock.now(), bad=is_bad, seconds=TOAST_S)
            self._app.redraw()
            if is_bad:
                self._app.record_error = self._app.record_error or notice.error
            elif notice.written is not None and self._app.unattended is not None:
                self._app.recorded.append(notice.written)

    def draw(self, canvas: Canvas) -> None:
        """Draw the red dot, the time recorded and the frames that were dropped, in the top right corner."""
        status = self._recorder.status
        if status is not None:
            draw_dot(canvas, status.seconds, status.num_dropped_frames)

    def close(self) -> None:
        """End a recording under way; it is written while the app goes on. Closing twice is harmless."""
        if not self._is_closed:
            self._is_closed = True
            self._recorder.leave()
            self._app.finish_later(self)

    @property
    def is_finished(self) -> bool:
        """Whether everything is written and `tick` has no more to say after one last time."""
        return self._recorder.is_gone

    def finish(self) -> None:
        """Wait until everything is written, and say what came of it."""
        self._recorder.close()
        self.tick()

    def _target(self, folder: Path | None = None, name: str = "") -> Target:
        now = datetime.now().astimezone()
        settings = self._app.settings
        return Target(folder or folder_of(settings), name or recording_name(self._play.config, now), now,
                      settings.controls_in_video)


class NoRecording:
    """In place of the recorder where nothing is kept of a session."""

    is_recording = False

    def tick(self) -> None:
        pass

    def draw(self, canvas: Canvas) -> None:
        pass

    def close(self) -> None:
        pass


def shown_folder(settings: PlayerSettings) -> str:
    """Return the end of the path of the recordings folder, which tells one from another."""
    return "/".join(folder_of(settings).parts[-2:])


def open_folder_line(app: App) -> None:
    """Let the player write where recordings go; an empty line is the videos folder."""
    def take(text: str) -> None:
        folder = expanded(text)
        if text and not folder.is_absolute():
            app.toasts.show(f"{text} is no whole path; write all of it, such as {recordings_folder()}",
                            app.clock.now(), bad=True, seconds=TOAST_S)
            app.redraw()
        else:
            app.change_settings(recordings_folder=str(folder) if text else "")

    app.push(PromptScreen(app, str(folder_of(app.settings)), take, title="Folder for recordings",
                          asks=str(recordings_folder())))


def recording_name(config: WorldConfig, created: datetime) -> str:
    """Return the name of a recording, "<world>-<scenario> YYYY-MM-DD HH.MM.SS", fit for every file system."""
    world = "-".join(part for part in (config.name, config.scenario) if part)
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', world) or 'world'} {created:%Y-%m-%d %H.%M.%S}"


def line_about(written: Written) -> str:
    """Return what an unattended run says at its end of a recording that it made."""
    return (f"recorded {written.num_chunks} chunks, {written.seconds:.1f} s{written.loss} -> {written.video_path}, "
            f"{written.log_path}")


def check_record_path(path: Path) -> None:
    """Refuse a --record FILE that cannot be written, before anything is loaded."""
    if path.suffix.lower() != VIDEO_SUFFIX:
        raise RecordingError(f"--record {path} does not end in {VIDEO_SUFFIX}; give such a name, and the action log "
                             f"goes beside it with the ending {LOG_SUFFIX}")
    if not path.absolute().parent.is_dir():
        raise RecordingError(f"--record {path} lies in a folder that does not exist; make {path.absolute().parent} "
                             "first")
    for taken in (path, path.with_suffix(LOG_SUFFIX)):
        if taken.exists():
            raise RecordingError(f"{taken} exists already, and recordings replace nothing; give another name with "
                                 "--record")


def draw_dot(canvas: Canvas, seconds: float, num_dropped_frames: int) -> pygame.Rect:
    """Draw the sign of a recording under way; return the box it fills."""
    px = canvas.px
    time_text = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    dropped = f"{num_dropped_frames} dropped" if num_dropped_frames else ""
    size_px = px(theme.BODY)
    width = px(44) + canvas.text.width_px(time_text, size_px)
    width += px(14) + canvas.text.width_px(dropped, px(theme.SMALL)) if dropped else 0
    box = pygame.Rect(0, 0, width, px(theme.BODY * 2.1))
    box.topright = canvas.width_px - px(16), px(16)
    canvas.panel(box, theme.BACKGROUND, alpha=205, radius=theme.BODY)
    pygame.draw.circle(canvas.surface, theme.RECORDING, (box.left + px(18), box.centery), px(6))
    words = canvas.write(time_text, (box.left + px(30), box.centery), theme.BODY, theme.TEXT, anchor="midleft")
    if dropped:
        canvas.write(dropped, (words.right + px(14), box.centery), theme.SMALL, theme.WARNING, anchor="midleft")
    return box
