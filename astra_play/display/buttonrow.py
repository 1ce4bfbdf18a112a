"""A row of things to do that a mouse can click, each with the key that does the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pygame

from . import theme
from .canvas import Canvas

HEIGHT = 30


@dataclass(frozen=True)
class Button:
    """What it says, its key, and what it does."""

    label: str
    key: str
    choose: Callable[[], None]


class ButtonRow:
    """The buttons, and where they were drawn last (for the mouse)."""

    def __init__(self, buttons: Sequence[Button]) -> None:
        self.buttons = list(buttons)
        self._boxes: list[pygame.Rect] = []
        self._pointed: int | None = None

    def point(self, at: tuple[int, int]) -> None:
        """Note which button the mouse is on."""
        self._pointed = next((index for index, box in enumerate(self._boxes) if box.collidepoint(at)), None)

    def click(self, at: tuple[int, int]) -> bool:
        """Do what the button under the mouse says; False if there is none."""
        self.point(at)
        if self._pointed is None:
            return False
        self.buttons[self._pointed].choose()
        return True

    def draw(self, canvas: Canvas, area: pygame.Rect, from_right: bool = False) -> pygame.Rect:
        """Draw from the area's top left corner on, in as many lines as it takes, or in one line that ends at its top
        right corner; return the box that is filled."""
        px = canvas.px
        gap = px(8)
        widths = [self._width(canvas, button) for button in self.buttons]
        x = area.right - sum(widths) - gap * (len(widths) - 1) if from_right else area.left
        y, left = area.top, x
        self._boxes = []
        for index, (button, width) in enumerate(zip(self.buttons, widths, strict=True)):
            if not from_right and x > left and x + width > area.right:
                x, y = left, y + px(HEIGHT) + gap
            box = pygame.Rect(x, y, width, px(HEIGHT))
            self._boxes.append(box)
            self._draw(canvas, button, box, pointed=index == self._pointed)
            x = box.right + gap
        return pygame.Rect(left, area.top, area.width, y + px(HEIGHT) - area.top)

    def _width(self, canvas: Canvas, button: Button) -> int:
        px = canvas.px
        text = canvas.text
        key = text.width_px(button.key, px(theme.SMALL)) + px(10) if button.key else 0
        return text.width_px(button.label, px(theme.SMALL)) + key + px(24)

    def _draw(self, canvas: Canvas, button: Button, box: pygame.Rect, pointed: bool) -> None:
        px = canvas.px
        canvas.panel(box, theme.PANEL_RAISED, border=theme.ACCENT if pointed else theme.LINE, radius=6)
        label = canvas.write(button.label, (box.left + px(12), box.centery), theme.SMALL,
                             theme.TEXT if pointed else theme.TEXT_SOFT, anchor="midleft")
        canvas.write(button.key, (label.right + px(10), box.centery), theme.SMALL, theme.TEXT_FAINT, anchor="midleft")
