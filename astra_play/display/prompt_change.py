"""A prompt on its way from the player's line to the world: written, read while the picture stands still, reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import hud
from .canvas import Canvas
from .prompt import PromptScreen
from .sentence import as_sentence

if TYPE_CHECKING:
    from .app import App
    from .play import PlayScreen

SHOWN_AFTER_S = 0.15  # a prompt that was read before takes less, and needs no sign
MAX_TOASTED_LETTERS = 80


class PromptChange:
    """Changes the prompt of one play screen."""

    def __init__(self, app: App, play: PlayScreen) -> None:
        self._app, self._play = app, play
        self._asked = play.choice.prompt  # last; the world's own once it has read everything
        self._since_s: float | None = None  # since when the world has been reading

    def open_line(self, opened_by: str = "") -> None:
        """Let the player write, over the paused picture; `opened_by`: the letter of the key that asked for it."""
        if not self._play.reads_text:
            self._play.toast(f"{self._play.config.title} reads no text: it follows keys and mouse alone.")
        elif self._play.playing:  # before, nobody is there to read it
            self._app.push(PromptScreen(self._app, self._play.choice.prompt, self.change, opened_by))

    def change(self, prompt: str) -> None:
        if prompt != self._asked:
            self._asked = prompt
            self._play.session.set_prompt(prompt)

    def tick(self, now_s: float) -> bool:
        """Say what became of a prompt; return whether the world is reading one."""
        outcome = self._play.session.prompt_outcome()
        if outcome is not None and outcome.error is not None:
            if outcome.text == self._asked:
                self._asked = self._play.choice.prompt
            reason = as_sentence(outcome.error, "reading it stopped")
            self._play.toast(f"The prompt stays as it was: {reason}", bad=True)
        elif outcome is not None:
            self._play.prompt_taken(outcome.text)
            self._play.toast(f"The prompt is: {_shortened(outcome.text)}" if outcome.text else "The prompt is empty.")
        if self._play.session.status != "reading the prompt":
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        return self._since_s is not None

    def draw(self, canvas: Canvas, now_s: float) -> None:
        """Draw that the world is reading, unless that is over before it could be read."""
        if self._since_s is not None and now_s - self._since_s > SHOWN_AFTER_S:
            hud.draw_loading(canvas, self._play.config.title, "Reading the prompt", now_s - self._since_s)


def _shortened(text: str) -> str:
    """Return the text or its first words: a toast shows that it was taken, not all of it."""
    if len(text) <= MAX_TOASTED_LETTERS:
        return text
    head = text[:MAX_TOASTED_LETTERS]
    space = head.rfind(" ")
    return f"{head[:space] if space > MAX_TOASTED_LETTERS // 2 else head} ..."  # not every language puts spaces
