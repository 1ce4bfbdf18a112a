"""Strings -> surfaces: fonts by pixel size, and a small cache, since most text stays the same from frame to frame."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict

import pygame

from .theme import Colour

MAX_CACHED_STRINGS = 400  # a menu shows about 60; figures of the HUD come and go
OVERSAMPLING = 4  # glyphs drawn large and scaled down keep their spacing; drawn small, hinting pulls them apart
ELLIPSIS = "..."


class Text:
    """Renders, measures and wraps text in pygame's bundled font at any pixel size."""

    def __init__(self) -> None:
        if not pygame.font.get_init():
            pygame.font.init()
        self._path = pygame.font.get_default_font()
        self._fonts: dict[int, pygame.Font] = {}
        self._rendered: OrderedDict[tuple[str, int, Colour], pygame.Surface] = OrderedDict()

    def _font(self, size_px: int) -> pygame.Font:
        """Return the font at OVERSAMPLING times the size asked for."""
        size_px = max(6, size_px)
        if size_px not in self._fonts:
            self._fonts[size_px] = pygame.Font(self._path, size_px * OVERSAMPLING)
        return self._fonts[size_px]

    def render(self, string: str, size_px: int, colour: Colour) -> pygame.Surface:
        """Return the surface of one line; do not draw on it, it is shared."""
        key = (string, size_px, colour)
        if key in self._rendered:
            self._rendered.move_to_end(key)
            return self._rendered[key]
        # a surface without width must not reach smoothscale, which ends the process
        large = self._font(size_px).render(_drawable(string) or " ", True, colour)
        # scaled together with its clear surroundings, which render() leaves in the colour of the text
        size = max(1, round(large.get_width() / OVERSAMPLING)), max(1, round(large.get_height() / OVERSAMPLING))
        surface = pygame.transform.smoothscale(large, size)
        self._rendered[key] = surface
        if len(self._rendered) > MAX_CACHED_STRINGS:
            self._rendered.popitem(last=False)
        return surface

    def width_px(self, string: str, size_px: int) -> int:
        return round(self._font(size_px).size(_drawable(string))[0] / OVERSAMPLING)

    def height_px(self, size_px: int) -> int:
        return round(self._font(size_px).get_height() / OVERSAMPLING)

    def line_height_px(self, size_px: int) -> int:
        return round(self.height_px(size_px) * 1.28)

    def wrap(self, string: str, size_px: int, width_px: int, max_lines: int = 99) -> list[str]:
        """Split at spaces so that each line fits; a word longer than a line (a path) is cut where the line ends."""
        lines: list[str] = []
        line = ""
        for word in string.split():
            longer = f"{line} {word}" if line else word
            if self.width_px(longer, size_px) <= width_px:
                line = longer
                continue
            if line:
                lines.append(line)
            while len(lines) <= max_lines:
                head = self._longest_head(word, size_px, width_px) or word[:1]
                if head == word:
                    break
                lines.append(head)
                word = word[len(head):]
            line = word
            if len(lines) > max_lines:  # what follows is not shown
                break
        if line:
            lines.append(line)
        if len(lines) > max_lines:
            lines = lines[:max_lines]
            lines[-1] = self.shorten(lines[-1] + ELLIPSIS, size_px, width_px)
        return lines

    def shorten(self, string: str, size_px: int, width_px: int) -> str:
        """Return the string, or its head with an ellipsis, so that it fits the width."""
        if self.width_px(string, size_px) <= width_px:
            return string
        return self._longest_head(string.removesuffix(ELLIPSIS), size_px, width_px, ELLIPSIS).rstrip() + ELLIPSIS

    def _longest_head(self, string: str, size_px: int, width_px: int, tail: str = "") -> str:
        """Return as much of the string's beginning as fits with `tail` behind it.

        The end is looked for by doubling, then by halving: measuring thousands of letters takes a while.
        """
        def is_too_wide(num_letters: int) -> bool:
            return self.width_px(string[:num_letters] + tail, size_px) > width_px

        high = 32
        while high < len(string) and not is_too_wide(high):
            high *= 2
        return string[:bisect_left(range(1, min(high, len(string)) + 1), True, key=is_too_wide)]


def _drawable(string: str) -> str:
    """Return the string with "?" for what no font takes: a zero, and the bytes of a file name that is no UTF-8."""
    return string.encode("utf-8", "replace").decode().replace("\0", "?")
