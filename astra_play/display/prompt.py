"""The line in which a player tells the world something else, laid over the paused picture.

Letters come as text events, so that dead keys, other alphabets and input methods work; keys only edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pygame

from . import theme
from .canvas import Canvas
from .events import PAD_BUTTONS
from .navigation import PAD_MOVES, Move
from .screen import StillScreen
from .textline import MAX_LETTERS, TextLine

if TYPE_CHECKING:
    from .app import App

BLINK_S = 0.53  # half a period of the cursor, as on most desktops
MAX_LINES = 6
PANEL_WIDTH = 860
TOAST_ROOM = 104  # under the panel, for a message of two lines
ENTER_KEYS = (pygame.K_RETURN, pygame.K_KP_ENTER)
COMMAND_MODS = pygame.KMOD_CTRL | pygame.KMOD_META
WORD_MODS = pygame.KMOD_CTRL | pygame.KMOD_ALT
HINTS = (("Enter", "take it"), ("Esc", "leave it"), ("Ctrl V", "paste"))


@dataclass(frozen=True)
class WrittenLine:
    """One line as it is drawn: the text from `start` on, in letters of the whole text."""

    start: int
    text: str


class PromptScreen(StillScreen):
    """Edits a prompt and hands it to `take`; Escape leaves everything as it was."""

    see_through = True

    def __init__(self, app: App, prompt: str, take: Callable[[str], None], opened_by: str = "", title: str = "Prompt",
                 asks: str = "What should be seen here?") -> None:
        """`opened_by`: the letter of the key that opened the line, which is not meant to be written.

        `asks`: stands in the empty line.
        """
        super().__init__(app)
        self.line = TextLine(prompt)
        self._take = take
        self._echo = opened_by
        self._title, self._asks = title, asks
        self._blink_at_s = app.clock.now() + BLINK_S
        self._cursor_shown = True
        app.window.begin_text()

    def close(self) -> None:
        self._app.window.end_text()

    def tick(self, now_s: float) -> bool:
        """Let the cursor blink."""
        if now_s < self._blink_at_s or self._app.screens[-1] is not self:
            return False
        self._blink_at_s = now_s + BLINK_S
        self._cursor_shown = not self._cursor_shown
        return True

    # --- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        if event.type == pygame.TEXTINPUT:
            self._write(event.text)
        elif event.type == pygame.TEXTEDITING:
            self.line.compose(event.text)
        elif event.type == pygame.KEYUP:
            self._echo = ""
        elif event.type == pygame.KEYDOWN:
            self._press(event)
        elif event.type == pygame.CONTROLLERBUTTONDOWN:
            self._press_pad(PAD_MOVES.get(PAD_BUTTONS.get(event.button, "")))
        else:
            return
        self._cursor_shown, self._blink_at_s = True, polled_at_s + BLINK_S
        self._app.redraw()

    def _write(self, text: str) -> None:
        if self._echo and text.lower() == self._echo:
            return
        if not self.line.insert(text):
            self._app.toasts.show(f"A prompt may have {MAX_LETTERS} letters; the rest was left out.",
                                  self._app.clock.now(), bad=True)

    def _press(self, event: pygame.Event) -> None:
        self._echo = ""
        if self.line.composition:
            return  # the key belongs to the input method
        line, by_word = self.line, bool(event.mod & WORD_MODS)
        match event.key:
            case pygame.K_ESCAPE:
                self._app.pop()
            case key if key in ENTER_KEYS:
                self._accept()
            case pygame.K_BACKSPACE | pygame.K_DELETE:
                line.delete(-1 if event.key == pygame.K_BACKSPACE else 1, by_word)
            case pygame.K_LEFT | pygame.K_RIGHT:
                line.move(-1 if event.key == pygame.K_LEFT else 1, by_word)
            case pygame.K_HOME | pygame.K_END:
                line.move_to_end(-1 if event.key == pygame.K_HOME else 1)
            case pygame.K_v if event.mod & COMMAND_MODS:
                self._write(self._app.window.clipboard())
            case pygame.K_INSERT if event.mod & pygame.KMOD_SHIFT:
                self._write(self._app.window.clipboard())

    def _press_pad(self, move: Move | None) -> None:
        if move is Move.ACCEPT:
            self._accept()
        elif move is Move.BACK:
            self._app.pop()

    def _accept(self) -> None:
        prompt = self.line.text.strip()
        self._app.pop()
        self._take(prompt)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        canvas.shade(110)
        px = canvas.px
        pad = px(26)
        width = min(px(PANEL_WIDTH), canvas.width_px - 2 * px(16))
        size_px = px(theme.BODY)
        field_pad = px(14)
        line_height = canvas.text.line_height_px(size_px)
        inner_width = width - 2 * pad - 2 * field_pad
        shown = self.line.text[:self.line.cursor] + self.line.composition + self.line.text[self.line.cursor:]
        cursor = self.line.cursor + len(self.line.composition)
        lines = break_lines(shown, lambda text: canvas.text.width_px(text, size_px), inner_width)
        cursor_line = max(index for index, line in enumerate(lines) if line.start <= cursor)
        first = max(0, min(cursor_line - MAX_LINES // 2, len(lines) - MAX_LINES))
        visible = lines[first:first + MAX_LINES]
        field_height = max(2, len(visible)) * line_height + 2 * field_pad
        panel = pygame.Rect(0, 0, width, px(64) + field_height + px(70))
        panel.midbottom = canvas.width_px // 2, canvas.height_px - px(TOAST_ROOM)
        canvas.panel(panel, theme.PANEL, alpha=242, border=theme.LINE, radius=10)
        title = canvas.write(self._title, (panel.left + pad, panel.top + px(20)), theme.HEADING)
        canvas.line((title.left, title.bottom + px(6)), (title.left + px(34), title.bottom + px(6)), theme.ACCENT, 2)
        field = pygame.Rect(panel.left + pad, panel.top + px(64), width - 2 * pad, field_height)
        canvas.panel(field, theme.BACKGROUND, border=theme.ACCENT, radius=6)
        for index, line in enumerate(visible):
            at = field.left + field_pad, field.top + field_pad + index * line_height
            self._draw_line(canvas, line, at, cursor, is_cursor_line=first + index == cursor_line)
        if not shown:
            canvas.write(self._asks, (field.left + field_pad + px(6), field.top + field_pad),
                         theme.BODY, theme.TEXT_FAINT)
        canvas.hints(HINTS, (panel.left + pad, field.bottom + px(20)))
        if len(lines) > MAX_LINES:
            canvas.write(f"line {cursor_line + 1} of {len(lines)}", (field.right, field.bottom + px(32)), theme.SMALL,
                         theme.TEXT_FAINT, anchor="midright")
        self._app.window.place_text(field)

    def _draw_line(self, canvas: Canvas, line: WrittenLine, at: tuple[int, int], cursor: int,
                   is_cursor_line: bool) -> None:
        size_px = canvas.px(theme.BODY)
        x, y = at
        canvas.write(line.text, at, theme.BODY)

        def place(letter: int) -> int:
            inside = min(max(letter - line.start, 0), len(line.text))
            return x + (canvas.text.width_px(line.text[:inside], size_px) if inside else 0)

        height = canvas.text.height_px(size_px)
        begin, end = place(self.line.cursor), place(self.line.cursor + len(self.line.composition))
        if end > begin:
            canvas.line((begin, y + height), (end, y + height), theme.ACCENT, 2)
        if is_cursor_line and self._cursor_shown:
            canvas.surface.fill(theme.ACCENT, pygame.Rect(place(cursor), y, canvas.px(2), height))


def break_lines(text: str, width_px: Callable[[str], int], limit_px: int) -> list[WrittenLine]:
    """Break text where it does not fit, behind a space where there is one; nothing is lost, spaces neither."""
    lines, start = [], 0
    while True:
        end = _longest(text, start, width_px, limit_px)
        if end < len(text):
            space = text.rfind(" ", start, end + 1)
            end = space + 1 if space >= start else end
        lines.append(WrittenLine(start, text[start:end]))
        if end >= len(text):
            return lines
        start = end


def _longest(text: str, start: int, width_px: Callable[[str], int], limit_px: int) -> int:
    """Return the end of the longest piece from `start` on that fits, at least one letter, by halving."""
    fits, too_long = min(start + 1, len(text)), len(text) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if width_px(text[start:middle]) <= limit_px:
            fits = middle
        else:
            too_long = middle
    return fits
