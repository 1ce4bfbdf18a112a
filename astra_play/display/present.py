"""World frame -> window: the largest box of the frame's shape, filled smoothly, measured to be cheap at 4K.

A world's picture is small (256x192) and a window is large, so plain bilinear scaling shows a grid of diamonds. The
frame is first enlarged a few times with a cubic kernel, where that costs under a millisecond, and bilinear scaling,
which SDL does in a few milliseconds at 4K, takes it from there.
"""

from __future__ import annotations

import numpy as np
import pygame
from PIL import Image

from ..config import WorldConfig

CUBIC_FACTOR = 3  # at most; 4 doubles the cost and cannot be told apart on the screen
MAX_CUBIC_SIDE_PX = 640  # of the enlarged frame; one that is already half of this gains nothing from the cubic step


def gave_up_detail(config: WorldConfig, draws_finely: bool | None) -> bool:
    """Tell whether a world that could draw finely does not, since the generator was short of time."""
    return config.codec.upscaler_width > 0 and draws_finely is False


def fit(width: int, height: int, box: pygame.Rect) -> pygame.Rect:
    """Return the largest rectangle of the shape width:height centred in the box."""
    scale = min(box.width / width, box.height / height)
    inner = pygame.Rect(0, 0, max(1, round(width * scale)), max(1, round(height * scale)))
    inner.center = box.center
    return inner


def frame_surface(frame: np.ndarray) -> pygame.Surface:
    """Return a surface of a (H, W, 3) uint8 frame at its native size."""
    height, width, _ = frame.shape
    return pygame.image.frombytes(np.ascontiguousarray(frame).tobytes(), (width, height), "RGB")


def enlarge(frame: np.ndarray, width: int, height: int) -> pygame.Surface:
    """Return a (H, W, 3) uint8 frame as a smooth surface of at least its cubic size, not yet width by height."""
    frame_height, frame_width, _ = frame.shape
    factor = min(CUBIC_FACTOR, MAX_CUBIC_SIDE_PX // max(frame_width, frame_height))
    if factor < 2 or width <= frame_width:
        return frame_surface(frame)
    size = min(width, frame_width * factor), min(height, frame_height * factor)
    picture = Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.BICUBIC)
    return pygame.image.frombuffer(picture.tobytes(), size, "RGB")


def cover(frame: np.ndarray, size: tuple[int, int], like: pygame.Surface) -> pygame.Surface:
    """Scale a picture so that it fills the box, cutting what stands over."""
    height, width, _ = frame.shape
    inner = fit(*size, pygame.Rect(0, 0, width, height))
    cut = np.ascontiguousarray(frame[inner.top:inner.bottom, inner.left:inner.right])
    return pygame.transform.smoothscale(enlarge(cut, *size).convert(like), size)


class Presenter:
    """Draws the current frame into a window surface, as large as it fits."""

    def __init__(self) -> None:
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8; None before the first
        self.spares_time = False  # go without the cubic step: the generator needs every core

    def draw(self, surface: pygame.Surface) -> pygame.Rect:
        """Draw the letterboxed frame over the whole surface; return the box of the picture (empty without one)."""
        if self.frame is None:
            surface.fill((0, 0, 0))
            return pygame.Rect(0, 0, 0, 0)
        height, width, _ = self.frame.shape
        box = fit(width, height, surface.get_rect())
        _fill_bars(surface, box)
        # 32 bits on both sides is SDL's fast path, and scaling straight into the window saves a copy of all of it
        picture = frame_surface(self.frame) if self.spares_time else enlarge(self.frame, *box.size)
        picture = picture.convert(surface)
        pygame.transform.smoothscale(picture, box.size, surface.subsurface(box))
        return box


def _fill_bars(surface: pygame.Surface, box: pygame.Rect) -> None:
    """Blacken what the picture leaves free: only the bars, since the rest is about to be drawn over."""
    width, height = surface.get_size()
    for bar in (pygame.Rect(0, 0, box.left, height), pygame.Rect(box.right, 0, width - box.right, height),
                pygame.Rect(0, 0, width, box.top), pygame.Rect(0, box.bottom, width, height - box.bottom)):
        if bar.width > 0 and bar.height > 0:
            surface.fill((0, 0, 0), bar)
