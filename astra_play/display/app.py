"""The player: which screen follows which, what a failure leads to, and what a run without hands leaves behind."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import AstraPlayError, RecordingError
from ..paths import DEFAULT_WORLD
from ..record.messages import Written
from ..runtime.interfaces import Clock
from .catalogue import WorldEntry
from .drop import first_picture
from .listmenu import Line
from .loop import WindowLoop
from .options import Choice, PlayOptions
from .photo import photo_folder
from .play import MAX_NEW_SEED, PlayScreen
from .recording import check_record_path, line_about
from .replay import ReplayScreen
from .screen import Screen
from .screens import FailureScreen, MenuScreen, PauseScreen
from .sentence import as_sentence
from .unattended import UnattendedRun

__all__ = ["App", "PlayOptions", "run_play"]

log = logging.getLogger(__name__)

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


class App(WindowLoop):
    """The player at home. A session that fails is shown with the ways out."""

    def __init__(self, options: PlayOptions, clock: Clock | None = None) -> None:
        """Read keymap, script and settings; ConfigError or ScriptError before any window opens."""
        super().__init__(options, clock)
        self.photo_folder: Path = options.photo_folder or photo_folder()
        self.record_path = options.record
        if self.record_path is not None:
            check_record_path(self.record_path)
        self.record_error: RecordingError | None = None  # the first thing that could not be recorded
        self.recorded: list[Written] = []  # by an unattended run
        self.unattended = UnattendedRun(options) if _is_unattended(options) else None
        self._failure: BaseException | None = None
        self._failed: Choice | None = None  # what the failure on screen was to be

    # --- beginning and end ------------------------------------------------------------------------------------------

    def _open_first_screen(self) -> None:
        if self.options.replay is not None:
            self.push(ReplayScreen(self, self.options.replay))
        elif self.options.world is None and not self.options.headless and self.options.image is None:
            self.push(MenuScreen(self))
        else:
            choice = Choice(self.options.world or DEFAULT_WORLD, self._first_seed(), self.options.image,
                            self.options.prompt)
            self.push(PlayScreen(self, choice))  # an error here is the command line's, not the window's

    def _first_seed(self) -> int:
        if self.options.seed is not None:
            return self.options.seed
        return 0 if self.options.headless else random.randrange(MAX_NEW_SEED)

    def finish(self) -> None:
        """Write what an unattended run was asked for; raise the failure that ended it or that was on screen last."""
        if self._failure is not None:
            raise as_sentence(self._failure) from self._failure
        if self.unattended is not None:
            if self.play_screen is not None:
                self.play_screen.recording.close()
            self.finish_recordings()
            self.unattended.finish(self._figures_json())
            if self.options.record is not None and self.record_error is not None:
                raise self.record_error

    def close(self) -> None:
        """Give everything back. Closing twice is harmless."""
        super().close()
        if self.unattended is not None:
            self.unattended.close()

    # --- sessions and replays ---------------------------------------------------------------------------------------

    def play(self, world: WorldEntry, picture: Path | None) -> None:
        """Start a session with a start point of the menu; a prompt of the command line is for worlds that read one."""
        prompt = self.options.prompt if world.reads_text else ""
        self._start(Choice(world.name, self._first_seed(), picture, prompt))

    def _start(self, choice: Choice) -> None:
        self._failure = None
        try:
            screen = PlayScreen(self, choice)
        except (AstraPlayError, OSError) as error:
            self.fail(error, choice)
        else:
            self.push(screen)

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

    def to_menu(self) -> None:
        """Leave whatever is open for a fresh start menu."""
        self._failure = None
        self.toasts.clear()
        while self.screens:
            self.screens.pop().close()
        self.push(MenuScreen(self))

    def pause_play(self, play: PlayScreen, message: str = "") -> None:
        """Lay the pause menu over a session; `message`: why it paused by itself."""
        self.push(PauseScreen(self, play, message))

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start from a picture that was dropped on the window, whatever lies over the play or the menu.

        Files that are no picture change nothing, and are told so.
        """
        below = next((screen for screen in reversed(self.screens) if isinstance(screen, PlayScreen | MenuScreen)), None)
        if below is not None:
            below.start_from(paths)
        elif isinstance(self.screens[-1], FailureScreen):  # one that no menu lies under
            self._retry_from(paths)
        else:
            self._refuse("A picture is where a world starts from; leave the replay, then drop it on the menu.")

    def bring_forward(self, screen: Screen) -> None:
        """Close what lies over a screen."""
        while self.screens[-1] is not screen:
            self.pop()

    def _retry_from(self, paths: Sequence[Path]) -> None:
        """Try what has failed again, from the first picture of some files."""
        try:
            config = self.options.catalogue.config(self._failed.world)
            picture, _ = first_picture(paths, config.width, config.height)
        except AstraPlayError as error:
            self._refuse(str(error))
        else:
            self._retry(dataclasses.replace(self._failed, picture=picture))

    def _refuse(self, sentence: str) -> None:
        self.toasts.show(sentence, self.clock.now(), bad=True, seconds=REFUSAL_S)
        self.redraw()

    def replay(self, path: Path) -> None:
        """Open a recording over what is there; one that cannot be replayed is said in the window."""
        try:
            screen = ReplayScreen(self, path)
        except AstraPlayError as error:
            self._refuse(str(error))
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
            self._refuse(str(as_sentence(error)))
        self.redraw()

    # --- a run without hands ----------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn of the window's loop, with the events of a script."""
        if self.unattended is not None:
            self._lead_unattended()
        super().step()

    def _lead_unattended(self) -> None:
        play = self.play_screen
        if play is None or play.first_flip_s is None:
            return
        self.unattended.post_due(self.clock.now(), play.first_flip_s)
        if self.unattended.over(self.clock.now(), play.first_flip_s):
            self.quit()

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
