"""Text being written: the line, the cursor in it, and what an input method is still composing. Knows no window."""

from __future__ import annotations

MAX_LETTERS = 4000  # several times the 512 tokens that a network reads; a pasted book would only slow the window down


class TextLine:
    """One line of text under the keys of an editor."""

    def __init__(self, text: str = "") -> None:
        self.text = _one_line(text)[:MAX_LETTERS]
        self.cursor = len(self.text)  # in letters, before which it stands
        self.composition = ""  # of an input method: shown at the cursor, not yet part of the text

    def insert(self, text: str) -> bool:
        """Write at the cursor; False if not all of it found room."""
        text = _one_line(text)
        room = MAX_LETTERS - len(self.text)
        kept = text[:room]
        self.text = self.text[:self.cursor] + kept + self.text[self.cursor:]
        self.cursor += len(kept)
        self.composition = ""
        return len(text) <= room

    def compose(self, text: str) -> None:
        """Show what an input method offers so far; "" ends it."""
        self.composition = _one_line(text)

    def move(self, step: int, by_word: bool = False) -> None:
        """Move the cursor one letter or one word to the left (-1) or right (1)."""
        self.cursor = self._target(step, by_word)

    def move_to_end(self, step: int) -> None:
        """Move the cursor before the first letter (-1) or behind the last (1)."""
        self.cursor = 0 if step < 0 else len(self.text)

    def delete(self, step: int, by_word: bool = False) -> None:
        """Take away a letter or a word before (-1) or behind (1) the cursor."""
        start, end = sorted((self.cursor, self._target(step, by_word)))
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def _target(self, step: int, by_word: bool) -> int:
        at, last = self.cursor, len(self.text)
        if not by_word:
            return min(max(at + step, 0), last)
        # over the gap before a word first, then over the word
        for in_word in (False, True):
            while 0 <= at - (step < 0) < last and (not self.text[at - (step < 0)].isspace()) == in_word:
                at += step
        return at


def _one_line(text: str) -> str:
    """Return text whose breaks and tabs are spaces and which holds nothing that cannot be seen."""
    text = " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text
    return "".join(" " if letter.isspace() else letter for letter in text if letter.isspace() or letter.isprintable())
