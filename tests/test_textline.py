"""The line that a prompt is written in: against a twin that keeps the letters before and behind the cursor apart."""

from __future__ import annotations

import random

import pytest

from astra_play.display.prompt import break_lines
from astra_play.display.textline import MAX_LETTERS, TextLine


class NaiveLine:
    """Two lists of letters with the cursor between them."""

    def __init__(self, text: str) -> None:
        self.before, self.behind = list(text), []

    def step(self, step: int) -> bool:
        source, target = (self.before, self.behind) if step < 0 else (self.behind, self.before)
        if source:
            target.insert(0, source.pop()) if step < 0 else target.append(source.pop(0))
            return True
        return False

    def next_letter(self, step: int) -> str:
        near = self.before[-1:] if step < 0 else self.behind[:1]
        return near[0] if near else ""

    def step_word(self, step: int) -> None:
        while self.next_letter(step) and self.next_letter(step) == " ":
            self.step(step)
        while self.next_letter(step) and self.next_letter(step) != " ":
            self.step(step)

    def delete(self, step: int, by_word: bool) -> None:
        letters = len(self.before), len(self.behind)
        self.step_word(step) if by_word else self.step(step)
        if step < 0:
            del self.behind[:letters[0] - len(self.before)]
        else:
            del self.before[letters[0]:]


def test_line_does_what_two_lists_of_letters_do() -> None:
    chance = random.Random(0)
    for _ in range(200):
        line, naive = TextLine("a sunlit garden"), NaiveLine("a sunlit garden")
        for _ in range(30):
            step, by_word = chance.choice((-1, 1)), chance.random() < 0.5
            match chance.randrange(4):
                case 0:
                    text = chance.choice(("x", " ", "two words", "é"))
                    line.insert(text)
                    naive.before += text
                case 1:
                    line.move(step, by_word)
                    naive.step_word(step) if by_word else naive.step(step)
                case 2:
                    line.delete(step, by_word)
                    naive.delete(step, by_word)
                case 3:
                    line.move_to_end(step)
                    while naive.step(step):
                        pass
            assert (line.text, line.cursor) == ("".join(naive.before + naive.behind), len(naive.before))


def test_pasted_breaks_become_spaces_and_what_cannot_be_seen_is_left_out() -> None:
    line = TextLine()
    line.insert("one\ntwo\r\nthree\tfour\x00\x1b")
    assert line.text == "one two three four"


def test_a_pasted_book_is_cut_and_the_line_says_so() -> None:
    line = TextLine("ab")
    line.move(-1)
    assert not line.insert("x" * 10_000)
    assert len(line.text) == MAX_LETTERS and line.text.endswith("xb") and line.insert("")


def test_composition_is_shown_apart_and_gone_once_it_is_text() -> None:
    line = TextLine("ab")
    line.compose("ni")
    assert (line.text, line.composition) == ("ab", "ni")
    line.insert("你")
    assert (line.text, line.composition) == ("ab你", "")


@pytest.mark.parametrize("limit", [1, 5, 9, 40])
def test_broken_lines_hold_every_letter_once_and_fit(limit: int) -> None:
    for text in ("", "a", "a sunlit garden path", "averyverylongword and more", "  two  spaces ", "x" * 30):
        lines = break_lines(text, len, limit)
        assert "".join(line.text for line in lines) == text
        assert all(text[line.start:line.start + len(line.text)] == line.text for line in lines)
        assert all(len(line.text.rstrip(" ")) <= limit for line in lines)


def test_lines_are_broken_behind_words() -> None:
    assert [line.text for line in break_lines("a sunlit garden path", len, 9)] == ["a sunlit ", "garden ", "path"]
