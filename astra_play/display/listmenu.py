"""A titled column of lines to choose from: pause, settings and failure are three of these, drawn over what is below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pygame

from . import theme
from .canvas import Canvas
from .navigation import Move

PANEL_WIDTH = 430
LINE_HEIGHT = 40


@dataclass(frozen=True)
class Line:
    """One line: what it says, what choosing it does, and for a setting its value and how left and right change it."""

    label: str
    choose: Callable[[], None] | None = None
    value: Callable[[], str] | None = None
    change: Callable[[int], None] | None = None
    hint: str = ""  # the key that does the same while playing


class ListMenu:
    """The lines, which of them has the focus, and where they were drawn last (for the mouse)."""

    def __init__(self, title: str, lines: Sequence[Line], message: str = "", footer: str = "",
                 back: Callable[[], None] | None = None, width: float = PANEL_WIDTH) -> None:
        self.title = title
        self.lines = list(lines)
        self.message = message
        self.footer = footer
        self.focus_index = 0
        self._back = back
        self._width = width
        self._boxes: list[pygame.Rect] = []
        self._panel = pygame.Rect(0, 0, 0, 0)

    def contains(self, at: tuple[int, int]) -> bool:
        """Tell whether a pixel lies on the panel as it was drawn last."""
        return self._panel.collidepoint(at)

    def move(self, move: Move) -> None:
        line = self.lines[self.focus_index]
        if move in (Move.UP, Move.DOWN):
            step = 1 if move is Move.DOWN else -1
            self.focus_index = (self.focus_index + step) % len(self.lines)
        elif move in (Move.LEFT, Move.RIGHT) and line.change is not None:
            line.change(1 if move is Move.RIGHT else -1)
        elif move is Move.ACCEPT:
            self._choose(line)
        elif move is Move.BACK and self._back is not None:
            self._back()

    def point(self, at: tuple[int, int]) -> bool:
        """Move the focus under the mouse; True if the mouse is on a line."""
        for index, box in enumerate(self._boxes):
            if box.collidepoint(at):
                self.focus_index = index
                return True
        return False

    def click(self, at: tuple[int, int]) -> None:
        """Choose the line under the mouse; on a value, its left and right part step down and up."""
        if not self.point(at):
            return
        line, box = self.lines[self.focus_index], self._boxes[self.focus_index]
        if line.change is not None:
            value_box = pygame.Rect(box.centerx, box.top, box.width // 2, box.height)
            line.change(-1 if value_box.left <= at[0] < value_box.centerx else 1)
        else:
            self._choose(line)

    def _choose(self, line: Line) -> None:
        if line.choose is not None:
            line.choose()
        elif line.change is not None:
            line.change(1)

    def draw(self, canvas: Canvas) -> None:
        """Draw the panel in the middle of the canvas."""
        px = canvas.px
        pad = px(30)
        width = min(px(self._width), canvas.width_px - 2 * px(12))
        inner_width = width - 2 * pad
        size_px = px(theme.BODY)
        message_height = len(canvas.text.wrap(self.message, size_px, inner_width)) * canvas.text.line_height_px(size_px)
        height = pad * 2 + px(44) + len(self.lines) * px(LINE_HEIGHT)
        height += message_height + px(18) if self.message else 0
        height += px(36) if self.footer else 0
        panel = pygame.Rect(0, 0, width, height)
        panel.center = canvas.box.center
        self._panel = panel
        canvas.panel(panel, theme.PANEL, alpha=242, border=theme.LINE, radius=10)
        canvas.heading(self.title, (panel.left + pad, panel.top + pad))
        y = panel.top + pad + px(50)
        if self.message:
            y = canvas.paragraph(self.message, (panel.left + pad, y), inner_width, colour=theme.TEXT_SOFT) + px(12)
        self._boxes = []
        for index, line in enumerate(self.lines):
            box = pygame.Rect(panel.left + px(16), y, width - 2 * px(16), px(LINE_HEIGHT))
            self._boxes.append(box)
            self._draw_line(canvas, line, box, focused=index == self.focus_index)
            y += box.height
        if self.footer:
            canvas.write(self.footer, (panel.left + pad, panel.bottom - pad), theme.SMALL, theme.TEXT_FAINT,
                         anchor="bottomleft", width_px=inner_width)

    def _draw_line(self, canvas: Canvas, line: Line, box: pygame.Rect, focused: bool) -> None:
        px = canvas.px
        if focused:
            canvas.panel(box, theme.PANEL_RAISED, radius=6)
            canvas.panel(pygame.Rect(box.left, box.top + px(9), px(3), box.height - px(18)), theme.ACCENT, radius=1)
        colour = theme.TEXT if focused else theme.TEXT_SOFT
        canvas.write(line.label, (box.left + px(14), box.centery), theme.BODY, colour, anchor="midleft")
        if line.value is not None:
            self._draw_value(canvas, line.value(), box, focused, has_steps=line.change is not None)
        elif line.hint:
            canvas.write(line.hint, (box.right - px(14), box.centery), theme.SMALL, theme.TEXT_FAINT, anchor="midright")

    def _draw_value(self, canvas: Canvas, value: str, box: pygame.Rect, focused: bool, has_steps: bool) -> None:
        px = canvas.px
        half = pygame.Rect(box.centerx, box.top, box.width // 2 - px(14), box.height)
        canvas.write(value, half.center, theme.BODY, theme.TEXT if focused else theme.TEXT_SOFT, anchor="center",
                     width_px=half.width - px(40))
        if not has_steps:
            return
        colour = theme.ACCENT if focused else theme.LINE
        for x, sign in ((half.left + px(6), -1), (half.right - px(6), 1)):
            tip, base, rise = x + sign * px(4), x - sign * px(3), px(5)
            pygame.draw.polygon(canvas.surface, colour, [(tip, half.centery), (base, half.centery - rise),
                                                         (base, half.centery + rise)])
