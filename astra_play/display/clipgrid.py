"""The clips page as a picture: cards with thumbnails on the left, the clip in focus with its facts on the right."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence

import numpy as np
import pygame

from ..record.library import Clip, Library
from . import theme
from .canvas import Canvas
from .navigation import Move
from .present import cover, enlarge, fit

log = logging.getLogger(__name__)

COLUMNS = 3
GRID_SHARE = 0.62  # of the width
PICTURE_SHAPE = (4, 3)
CARD_TEXT_HEIGHT = 50


class Thumbnails:
    """Thumbnails as they come from a thread of their own: the first look at a clip decodes a frame."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._asked: queue.SimpleQueue[Clip | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[tuple[Clip, np.ndarray | None]] = queue.SimpleQueue()
        self._pictures: dict[Clip, np.ndarray | None] = {}
        self._wanted: set[Clip] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="astra-thumbnails", daemon=True)
        self._thread.start()

    def get(self, clip: Clip) -> np.ndarray | None:
        """Return the picture of a clip; None while it is made, or if there is none."""
        if clip not in self._wanted:
            self._wanted.add(clip)
            self._asked.put(clip)
        return self._pictures.get(clip)

    def tick(self) -> bool:
        """Take what was made; True if there is a new picture."""
        changed = False
        while not self._made.empty():
            clip, picture = self._made.get()
            self._pictures[clip] = picture
            changed = True
        return changed

    def close(self) -> None:
        self._closed.set()
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (clip := self._asked.get()) is not None and not self._closed.is_set():
            try:
                picture = self._library.thumbnail(clip)
            except Exception as error:  # a file that went away or is none costs its own picture, not all the others
                log.debug("no thumbnail of %s: %s", clip.name, error)
                picture = None
            self._made.put((clip, picture))


class ClipGrid:
    """The cards, which of them has the focus, and where they were drawn last (for the mouse)."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self.clips: list[Clip] = []
        self.focus_index = 0
        self._thumbnails = thumbnails
        self._boxes: list[pygame.Rect] = []
        self._scaled: dict[tuple[Clip, tuple[int, int]], pygame.Surface] = {}
        self._scroll_px = 0

    @property
    def focused(self) -> Clip | None:
        return self.clips[self.focus_index] if self.clips else None

    def show(self, clips: Sequence[Clip]) -> None:
        """Take another list; the focus stays on its clip, or at its place if the clip has gone."""
        name = self.focused.name if self.focused else None
        self.clips = list(clips)
        names = [clip.name for clip in self.clips]
        self.focus_index = names.index(name) if name in names else max(0, min(self.focus_index, len(names) - 1))

    def move(self, move: Move) -> None:
        """Move the focus; at an edge it stays."""
        steps = {Move.LEFT: -1, Move.RIGHT: 1, Move.UP: -COLUMNS, Move.DOWN: COLUMNS}
        wanted = self.focus_index + steps.get(move, 0)
        last_row_below = move is Move.DOWN and wanted // COLUMNS == (len(self.clips) - 1) // COLUMNS
        if 0 <= wanted < len(self.clips) or last_row_below:
            self.focus_index = min(wanted, len(self.clips) - 1)

    def at(self, point: tuple[int, int]) -> int | None:
        """Return the index of the card under a pixel."""
        return next((index for index, box in enumerate(self._boxes) if box.collidepoint(point)), None)

    def draw(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        gap = px(theme.GAP - 6)
        card_width = (area.width - px(4) - (COLUMNS - 1) * gap) // COLUMNS
        picture_height = card_width * PICTURE_SHAPE[1] // PICTURE_SHAPE[0]
        card_height = picture_height + px(CARD_TEXT_HEIGHT)
        row_height = card_height + gap
        row = self.focus_index // COLUMNS
        lowest, highest = row * row_height, (row + 1) * row_height - area.height
        self._scroll_px = max(0, min(max(self._scroll_px, highest), lowest))
        canvas.surface.set_clip(area)
        self._boxes = []
        for index, clip in enumerate(self.clips):
            row, column = divmod(index, COLUMNS)
            box = pygame.Rect(area.left + px(2) + column * (card_width + gap),
                              area.top + px(2) + row * row_height - self._scroll_px, card_width, card_height)
            self._boxes.append(box.clip(area))
            if box.colliderect(area):
                self._draw_card(canvas, clip, box, picture_height, focused=index == self.focus_index)
        canvas.surface.set_clip(None)

    def _draw_card(self, canvas: Canvas, clip: Clip, box: pygame.Rect, picture_height: int, focused: bool) -> None:
        px = canvas.px
        canvas.panel(box, theme.PANEL_RAISED if focused else theme.PANEL)
        picture_box = pygame.Rect(box.left, box.top, box.width, picture_height)
        self._draw_thumbnail(canvas, clip, picture_box)
        length = "" if clip.length_s is None else length_text(clip.length_s)
        if length:
            size_px = px(theme.SMALL)
            pill = pygame.Rect(0, 0, canvas.text.width_px(length, size_px) + px(14), px(22))
            pill.bottomright = picture_box.right - px(6), picture_box.bottom - px(6)
            canvas.panel(pill, theme.BACKGROUND, alpha=200, radius=5)
            canvas.write(length, pill.center, theme.SMALL, theme.TEXT, anchor="center")
        x, width = box.left + px(12), box.width - px(24)
        canvas.write(clip.title, (x, picture_box.bottom + px(7)), theme.BODY,
                     theme.TEXT if focused else theme.TEXT_SOFT, width_px=width)
        canvas.write("damaged" if clip.damage else f"{clip.created.astimezone():%d %b %Y  %H:%M}",
                     (x, picture_box.bottom + px(28)), theme.SMALL, theme.WARNING if clip.damage else theme.TEXT_FAINT,
                     width_px=width)
        if focused:
            pygame.draw.rect(canvas.surface, theme.ACCENT, box.inflate(px(4), px(4)), width=px(2),
                             border_radius=px(theme.RADIUS))

    def _draw_thumbnail(self, canvas: Canvas, clip: Clip, box: pygame.Rect) -> None:
        picture = self._thumbnails.get(clip)
        if picture is None:
            canvas.panel(box, theme.PANEL_RAISED)
            return
        key = clip, box.size
        if key not in self._scaled:
            if len(self._scaled) > 200:  # a window dragged to a new size leaves its old ones behind
                self._scaled.clear()
            self._scaled[key] = cover(picture, box.size, canvas.surface)
        canvas.surface.blit(self._scaled[key], box)


def draw_facts(canvas: Canvas, clip: Clip, frame: np.ndarray | None, area: pygame.Rect) -> int:
    """Draw the clip in focus: its frame, what is known of it, where it lies; return the pixel row under that."""
    px = canvas.px
    picture_box = pygame.Rect(area.left, area.top, area.width, min(area.width * 3 // 4, area.height * 11 // 20))
    canvas.panel(picture_box, theme.PANEL)
    if frame is not None:
        height, width, _ = frame.shape
        inner = fit(width, height, picture_box)
        picture = enlarge(frame, *inner.size).convert(canvas.surface)
        canvas.surface.blit(pygame.transform.smoothscale(picture, inner.size), inner)
    x, y = area.left, picture_box.bottom + px(14)
    y = canvas.write(clip.title, (x, y), theme.HEADING, width_px=area.width).bottom + px(8)
    for line in facts_lines(clip):
        y = canvas.paragraph(line, (x, y), area.width, theme.SMALL, theme.TEXT_SOFT, max_lines=2)
    y += px(6)
    if clip.damage:
        y = canvas.paragraph(clip.damage, (x, y), area.width, theme.SMALL, theme.WARNING, max_lines=3) + px(6)
    return canvas.paragraph(str(clip.files[0]), (x, y), area.width, theme.SMALL, theme.TEXT_FAINT, max_lines=3) + px(12)


def facts_lines(clip: Clip) -> list[str]:
    """Return where and when, then how much, as two lines."""
    much = [] if clip.length_s is None else [length_text(clip.length_s)]
    much += [] if clip.seed is None else [f"seed {clip.seed}"]
    much += [f"{clip.size_bytes / 1e6:.1f} MB"]
    much += ["no action log"] if clip.log is None else ["no video"] if clip.video is None else []
    return [f"{clip.world}, {clip.created.astimezone():%d %B %Y, %H:%M}", ", ".join(much)]


def length_text(length_s: float) -> str:
    whole = int(length_s + 0.5)
    return f"{whole // 60}:{whole % 60:02d}"
