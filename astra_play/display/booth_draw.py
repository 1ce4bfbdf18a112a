"""What the booth's screens share in looks: logo, pills, big words, the ring where the hidden pointer is."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path

import pygame

from . import theme
from .canvas import Canvas

log = logging.getLogger(__name__)

LOGO_HEIGHT = 84  # in units; a logo keeps its shape
BREATH_S = 2.4  # of the invitation: slow enough to look calm from across a hall
SCRIM_SHARE = 0.45  # of the window's height that darkens towards its edge


@functools.lru_cache(maxsize=4)
def _logo(path: Path, height_px: int) -> pygame.Surface | None:
    try:
        picture = pygame.image.load(str(path))
    except (pygame.error, OSError) as error:
        log.warning("The logo %s cannot be shown (%s).", path, error)
        return None
    width_px = max(1, round(picture.get_width() * height_px / max(1, picture.get_height())))
    sheet = pygame.Surface(picture.get_size(), pygame.SRCALPHA)
    sheet.blit(picture, (0, 0))
    return pygame.transform.smoothscale(sheet, (width_px, height_px))


def draw_logo(canvas: Canvas, path: Path | None, topright: tuple[int, int]) -> None:
    """Draw the booth's logo, if there is one, with its top right corner at a pixel position."""
    picture = _logo(path, canvas.px(LOGO_HEIGHT)) if path is not None else None
    if picture is not None:
        canvas.surface.blit(picture, picture.get_rect(topright=topright))


@functools.lru_cache(maxsize=4)
def _scrim(width_px: int, height_px: int, is_bottom: bool) -> pygame.Surface:
    column = pygame.Surface((1, height_px), pygame.SRCALPHA)
    for row in range(height_px):
        share = row / max(1, height_px - 1)
        share = share if is_bottom else 1.0 - share
        column.set_at((0, row), (*theme.BACKGROUND, round(225 * share ** 1.4)))
    return pygame.transform.scale(column, (width_px, height_px))


def draw_scrim(canvas: Canvas, is_bottom: bool) -> None:
    """Darken the window towards its bottom or top edge, so that words can be read on any picture."""
    height_px = round(canvas.height_px * SCRIM_SHARE)
    sheet = _scrim(canvas.width_px, height_px, is_bottom)
    canvas.surface.blit(sheet, (0, canvas.height_px - height_px if is_bottom else 0))


def breath(now_s: float) -> float:
    """Return 0 to 1 and back, slowly."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * now_s / BREATH_S)


def draw_pill(canvas: Canvas, words: str, centre: tuple[int, int], size: float = theme.HEADING, lit: bool = False,
              alpha: int = 215) -> pygame.Rect:
    """Draw words on a rounded box around a pixel position; return the box."""
    px = canvas.px
    box = pygame.Rect(0, 0, canvas.text.width_px(words, px(size)) + px(size * 2.0), px(size * 2.1))
    box.center = centre
    fill, border = (theme.ACCENT, theme.ACCENT) if lit else (theme.BACKGROUND, theme.LINE)
    canvas.panel(box, fill, alpha=alpha, border=border, radius=size * 1.05)
    canvas.write(words, box.center, size, theme.BACKGROUND if lit else theme.TEXT, anchor="center")
    return box


def draw_ring(canvas: Canvas, at_px: tuple[int, int]) -> None:
    """Draw where the mouse is: the system's own pointer is hidden in a booth."""
    pygame.draw.circle(canvas.surface, theme.BACKGROUND, at_px, canvas.px(13), width=canvas.px(5))
    pygame.draw.circle(canvas.surface, theme.ACCENT, at_px, canvas.px(12), width=canvas.px(3))
