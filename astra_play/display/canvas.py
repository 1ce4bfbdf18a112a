"""Drawing in units: one surface, its unit and its text, so that a screen is laid out once for every window size."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pygame

from . import theme
from .text import Text
from .theme import Colour

Box = pygame.Rect  # in pixels of the surface; the helpers below turn units into pixels


@functools.lru_cache(maxsize=32)  # a large sheet at 4K takes longer to make than to blit
def _sheet(size: tuple[int, int], colour: Colour, alpha: int, radius_px: int) -> pygame.Surface:
    """Return a see-through rounded box; do not draw on it, it is shared."""
    sheet = pygame.Surface(size, pygame.SRCALPHA)
    pygame.draw.rect(sheet, (*colour, alpha), sheet.get_rect(), border_radius=radius_px)
    return sheet


class Canvas:
    """A surface to draw one picture of a screen on."""

    def __init__(self, surface: pygame.Surface, text: Text) -> None:
        self.surface = surface
        self.text = text
        self.width_px, self.height_px = surface.get_size()
        self.unit_px = theme.unit_px(self.width_px, self.height_px)

    @property
    def box(self) -> Box:
        return self.surface.get_rect()

    def px(self, units: float) -> int:
        """Return whole pixels; anything that is there at all gets at least one."""
        return 0 if units == 0 else max(1, round(units * self.unit_px))

    def write(self, string: str, at: tuple[int, int], size: float = theme.BODY, colour: Colour = theme.TEXT,
              anchor: str = "topleft", width_px: int | None = None) -> Box:
        """Write one line with its `anchor` (a pygame Rect attribute) at a pixel position; return the box it fills."""
        size_px = self.px(size)
        if width_px is not None:
            string = self.text.shorten(string, size_px, width_px)
        picture = self.text.render(string, size_px, colour)
        box = picture.get_rect(**{anchor: at})
        self.surface.blit(picture, box)
        return box

    def heading(self, string: str, at: tuple[int, int]) -> Box:
        """Write the heading of a page or panel with its short line below; return the box of the words."""
        box = self.write(string, at, theme.HEADING)
        y = box.bottom + self.px(8)
        self.line((box.left, y), (box.left + self.px(34), y), theme.ACCENT, 2)
        return box

    def paragraph(self, string: str, at: tuple[int, int], width_px: int, size: float = theme.BODY,
                  colour: Colour = theme.TEXT, max_lines: int = 99) -> int:
        """Write wrapped text below `at` and return the pixel row under it."""
        x, y = at
        size_px = self.px(size)
        for line in self.text.wrap(string, size_px, width_px, max_lines):
            self.write(line, (x, y), size, colour)
            y += self.text.line_height_px(size_px)
        return y

    def panel(self, box: Box, colour: Colour = theme.PANEL, alpha: int = 255, border: Colour | None = None,
              radius: float = theme.RADIUS, border_width: float = 1) -> None:
        """Fill a rounded box, see-through if alpha is below 255, with an optional thin border."""
        radius_px = self.px(radius)
        if alpha >= 255:
            pygame.draw.rect(self.surface, colour, box, border_radius=radius_px)
        else:
            self.surface.blit(_sheet(box.size, colour, alpha, radius_px), box)
        if border is not None:
            pygame.draw.rect(self.surface, border, box, width=self.px(border_width), border_radius=radius_px)

    def shade(self, alpha: int, colour: Colour = theme.BACKGROUND) -> None:
        """Darken everything drawn so far."""
        sheet = pygame.Surface(self.surface.get_size())
        sheet.fill(colour)
        sheet.set_alpha(alpha)
        self.surface.blit(sheet, (0, 0))

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour = theme.LINE, width: float = 1) -> None:
        pygame.draw.line(self.surface, colour, start, end, self.px(width))

    def keycap(self, label: str, at: tuple[int, int], size: float = theme.SMALL, lit: bool = False,
               min_width: float = 0) -> Box:
        """Draw a key with its label, top left corner at a pixel position; return its box."""
        size_px = self.px(size)
        picture = self.text.render(label, size_px, theme.BACKGROUND if lit else theme.TEXT_SOFT)
        width_px = max(picture.get_width() + self.px(size * 0.9), self.px(size * 1.75), self.px(min_width))
        box = pygame.Rect(at[0], at[1], width_px, self.px(size * 1.75))
        self.panel(box, theme.ACCENT if lit else theme.PANEL_RAISED, border=theme.ACCENT if lit else theme.LINE,
                   radius=4)
        self.surface.blit(picture, picture.get_rect(center=box.center))
        return box

    def hints(self, hints: Sequence[tuple[str, str]], at: tuple[int, int], size: float = theme.SMALL) -> Box:
        """Draw `key  what it does` pairs in a row that starts at a pixel position; return the box they fill."""
        x, y = at
        for key, meaning in hints:
            cap = self.keycap(key, (x, y), size)
            words = self.write(meaning, (cap.right + self.px(8), cap.centery), size, theme.TEXT_SOFT, anchor="midleft")
            x = words.right + self.px(24)
        return pygame.Rect(at[0], at[1], x - self.px(24) - at[0], self.px(size * 1.75))
