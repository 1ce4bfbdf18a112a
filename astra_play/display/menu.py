"""The start menu: a card per start point of each world, over the chosen picture, blurred and dimmed."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pygame
from PIL import Image

from . import theme
from .canvas import Canvas
from .catalogue import StartPoint, WorldEntry
from .navigation import Move
from .present import cover
from .preview import Preview

log = logging.getLogger(__name__)

CARD_COLUMNS = 4
PICTURE_SHAPE = (4, 3)
CARD_TEXT_HEIGHT = 40
HEADER_HEIGHT = 160
FOOTER_HEIGHT = 76
WORLD_HEADING_HEIGHT = 66
FADE_HEIGHT = 44
MAX_PICTURE_PX = 320  # kept per start picture; a card is never much larger than this at 1080p
BACKDROP_SIZE = (24, 14)  # the blur: so few pixels that only light and colour are left
BACKDROP_ALPHA = 70

HINTS = (("Arrows", "choose"), ("Enter", "play"), ("C", "clips"), ("K", "keys"), ("O", "settings"),
         ("F11", "full screen"), ("Esc", "quit"))


@dataclass(frozen=True)
class Card:
    """One start point, and where it stands in the menu."""

    world: WorldEntry
    start: StartPoint
    world_index: int
    row_index: int
    column_index: int


def lay_out(worlds: Sequence[WorldEntry]) -> list[Card]:
    """Return the cards of all worlds; each world begins a row, rows are counted through the whole menu."""
    cards = []
    first_row = 0
    for world_index, world in enumerate(worlds):
        for index, start in enumerate(world.starts):
            row, column = divmod(index, CARD_COLUMNS)
            cards.append(Card(world, start, world_index, first_row + row, column))
        first_row += -(-len(world.starts) // CARD_COLUMNS)
    return cards


class StartMenu:
    """The cards, which of them has the focus, and the pictures, each read once."""

    def __init__(self, worlds: Sequence[WorldEntry]) -> None:
        self.worlds = list(worlds)
        self.cards = lay_out(worlds)
        self.focus_index = 0
        self._preview = Preview()
        self._pictures: dict[Path, np.ndarray | None] = {}
        self._scaled: dict[tuple[Path, tuple[int, int]], pygame.Surface] = {}
        self._backdrops: dict[tuple[Path, tuple[int, int]], pygame.Surface] = {}
        self._boxes: list[pygame.Rect] = []
        self._scroll_px = 0
        self._walked = False  # the focus was moved by keys, so that its row may go where it is seen best

    @property
    def focused(self) -> Card | None:
        return self.cards[self.focus_index] if self.cards else None

    def focus(self, index: int) -> None:
        """Put the focus on a card, as keys would; on the last one if there are fewer."""
        self.focus_index, self._walked = min(index, max(0, len(self.cards) - 1)), True

    def move(self, move: Move) -> None:
        """Move the focus; at an edge it stays, since wrapping loses the eye."""
        if not self.cards:
            return
        self._walked = True
        if move in (Move.LEFT, Move.RIGHT):
            step = 1 if move is Move.RIGHT else -1
            self.focus_index = max(0, min(len(self.cards) - 1, self.focus_index + step))
        elif move in (Move.UP, Move.DOWN):
            here = self.cards[self.focus_index]
            wanted = here.row_index + (1 if move is Move.DOWN else -1)
            row = [index for index, card in enumerate(self.cards) if card.row_index == wanted]
            if row:
                self.focus_index = row[min(here.column_index, len(row) - 1)]

    def point(self, at: tuple[int, int]) -> bool:
        """Move the focus under the mouse; True if the mouse is on a card."""
        for index, box in enumerate(self._boxes):
            if box.collidepoint(at):
                self._walked = self._walked and index == self.focus_index
                self.focus_index = index
                return True
        return False

    def tick(self, now_s: float) -> bool:
        """Let the clip of the card in focus go on; True if the menu has to be drawn again."""
        card = self.focused
        return self._preview.tick(card.start.clip if card and not card.world.error else None, now_s)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas, note: str = "") -> None:
        canvas.surface.fill(theme.BACKGROUND)
        self._draw_backdrop(canvas)
        px = canvas.px
        left, top = px(theme.MARGIN), px(theme.MARGIN)
        title = canvas.write("Astra Play", (left, top), theme.TITLE)
        canvas.line((left, title.bottom + px(10)), (left + px(64), title.bottom + px(10)), theme.ACCENT, 2)
        canvas.write("Play in worlds that a network paints as you go", (left, title.bottom + px(24)), theme.BODY,
                     theme.TEXT_SOFT)
        area = pygame.Rect(0, px(HEADER_HEIGHT + 24), canvas.width_px,
                           canvas.height_px - px(HEADER_HEIGHT + 24 + FOOTER_HEIGHT))
        if self.cards:
            self._draw_cards(canvas, area)
        else:
            canvas.paragraph("There is no world in the folder weights. Take the folder weights/mini from the project "
                             "again, then start the player once more.", (left, area.top + px(20)), px(640),
                             theme.HEADING, theme.TEXT_SOFT)
        foot = canvas.height_px - px(FOOTER_HEIGHT - 26)
        canvas.hints(HINTS, (left, foot))
        if note:
            canvas.write(note, (canvas.width_px - left, foot + px(theme.SMALL * 0.9)), theme.SMALL, theme.TEXT_FAINT,
                         anchor="midright")

    def _draw_cards(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        content_width = min(canvas.width_px - 2 * px(theme.MARGIN), px(1600))
        card_width = (content_width - (CARD_COLUMNS - 1) * px(theme.GAP)) // CARD_COLUMNS
        picture_height = card_width * PICTURE_SHAPE[1] // PICTURE_SHAPE[0]
        card_height = picture_height + px(CARD_TEXT_HEIGHT)
        row_height = card_height + px(theme.GAP)
        boxes = [pygame.Rect(px(theme.MARGIN) + card.column_index * (card_width + px(theme.GAP)),
                             card.row_index * row_height + (card.world_index + 1) * px(WORLD_HEADING_HEIGHT),
                             card_width, card_height) for card in self.cards]
        heading = px(WORLD_HEADING_HEIGHT)
        self._scroll_to(boxes[self.focus_index], area, boxes[-1].bottom, heading, px(theme.GAP))
        at = [box.move(0, area.top - self._scroll_px) for box in boxes]
        room = px(4)  # of the frame around the card in focus
        below = pygame.Rect(area.left, area.top + heading - room, area.width, max(0, area.height - heading + room))
        behind, strip = _copied(canvas.surface, area.clip(area.move(0, area.height - px(FADE_HEIGHT))))
        self._boxes = [box.clip(below) for box in at]
        pinned = next((card.world for card, box in zip(self.cards, at, strict=True) if box.bottom > below.top), None)
        for index, (card, box) in enumerate(zip(self.cards, at, strict=True)):
            canvas.surface.set_clip(below)
            if box.colliderect(below):
                self._draw_card(canvas, card, box, picture_height, focused=index == self.focus_index)
            if index == 0 or self.cards[index - 1].world_index != card.world_index:
                canvas.surface.set_clip(area if card.world is pinned else below)
                self._draw_world_heading(canvas, card.world, box.left, max(area.top, box.top - heading), content_width)
        canvas.surface.set_clip(None)
        content_height = boxes[-1].bottom + px(theme.GAP)
        if self._scroll_px + area.height < content_height:
            behind.blit(_fade(behind.get_size()), (0, 0), special_flags=pygame.BLEND_RGBA_MULT)
            canvas.surface.blit(behind, strip)
        self._draw_scrollbar(canvas, area, content_height)

    def _scroll_to(self, focus: pygame.Rect, area: pygame.Rect, content_height: int, heading: int, gap: int) -> None:
        """Scroll so that the focused card is seen with the heading above it.

        Keys bring its row to the top, so that no card above is cut; under the mouse it moves no further than it must.
        """
        highest = max(0, focus.bottom + gap - area.height)
        lowest = max(0, focus.top - heading)
        if content_height + gap <= area.height:
            self._scroll_px = 0
        elif self._walked or highest > lowest:
            self._scroll_px = lowest
        else:
            self._scroll_px = min(max(self._scroll_px, highest), lowest)

    def _draw_scrollbar(self, canvas: Canvas, area: pygame.Rect, content_height: int) -> None:
        """Draw at the side which part of all rows is seen; nothing if that is all of them."""
        if content_height <= area.height:
            return
        track = pygame.Rect(canvas.width_px - canvas.px(theme.MARGIN / 2), area.top, canvas.px(4), area.height)
        whole = max(content_height, self._scroll_px + area.height)
        seen = pygame.Rect(track.left, track.top + track.height * self._scroll_px // whole, track.width,
                           track.height * area.height // whole)
        canvas.panel(track, theme.PANEL_RAISED, radius=2)
        canvas.panel(seen, theme.TEXT_FAINT, radius=2)

    def _draw_world_heading(self, canvas: Canvas, world: WorldEntry, left: int, top: int, width_px: int) -> None:
        title = canvas.write(world.title, (left, top + canvas.px(4)), theme.HEADING)
        canvas.write(world.description, (left, title.bottom + canvas.px(4)), theme.SMALL, theme.TEXT_SOFT,
                     width_px=width_px)

    def _draw_card(self, canvas: Canvas, card: Card, box: pygame.Rect, picture_height: int, focused: bool) -> None:
        px = canvas.px
        picture_box = pygame.Rect(box.left, box.top, box.width, picture_height)
        canvas.panel(box, theme.PANEL_RAISED if focused else theme.PANEL, alpha=235)
        if card.world.error:
            self._draw_error(canvas, card.world.error, picture_box)
        else:
            self._draw_picture(canvas, card.start, picture_box)
            if focused and self._preview.frame is not None:
                canvas.surface.blit(cover(self._preview.frame, picture_box.size, canvas.surface), picture_box)
        text_box = pygame.Rect(box.left, picture_box.bottom, box.width, box.bottom - picture_box.bottom)
        colour = theme.WARNING if card.world.error else theme.TEXT if focused else theme.TEXT_SOFT
        canvas.write(card.start.title, (text_box.left + px(12), text_box.centery), theme.BODY, colour,
                     anchor="midleft", width_px=box.width - px(24))
        if focused:
            pygame.draw.rect(canvas.surface, theme.ACCENT, box.inflate(px(4), px(4)), width=px(2),
                             border_radius=px(theme.RADIUS))

    def _draw_error(self, canvas: Canvas, sentence: str, box: pygame.Rect) -> None:
        inner = box.inflate(-2 * canvas.px(12), -2 * canvas.px(12))
        line_height = canvas.text.line_height_px(canvas.px(theme.SMALL))
        canvas.paragraph(sentence, inner.topleft, inner.width, theme.SMALL, theme.TEXT_SOFT,
                         max_lines=max(1, inner.height // line_height))

    def _draw_picture(self, canvas: Canvas, start: StartPoint, box: pygame.Rect) -> None:
        path = start.picture
        frame = self._picture(path)
        if start.needs_picture:
            draw_drop_area(canvas, box)
            return
        if frame is None:
            canvas.panel(box, theme.PANEL_RAISED)
            canvas.write("a start of its own", box.center, theme.SMALL, theme.TEXT_FAINT, anchor="center")
            return
        key = (path, box.size)
        if key not in self._scaled:
            if len(self._scaled) > 4 * len(self.cards):  # a window dragged to a new size leaves its old ones behind
                self._scaled.clear()
            self._scaled[key] = cover(frame, box.size, canvas.surface)
        canvas.surface.blit(self._scaled[key], box)

    def _draw_backdrop(self, canvas: Canvas) -> None:
        path = self.focused.start.picture if self.focused else None
        frame = self._picture(path)
        if frame is None:
            return
        key = (path, canvas.box.size)
        if key not in self._backdrops:
            self._backdrops.clear()
            self._backdrops[key] = blur(frame, canvas.box.size, canvas.surface)
        canvas.surface.blit(self._backdrops[key], (0, 0))

    def _picture(self, path: Path | None) -> np.ndarray | None:
        """Return the picture's pixels; a picture that cannot be read is logged once and shown as none."""
        if path is None:
            return None
        if path not in self._pictures:
            try:
                with Image.open(path) as image:
                    image.draft("RGB", (MAX_PICTURE_PX, MAX_PICTURE_PX))
                    picture = image.convert("RGB")
                    picture.thumbnail((MAX_PICTURE_PX, MAX_PICTURE_PX))
                    self._pictures[path] = np.asarray(picture)
            except Exception as error:  # Pillow's readers raise whatever a damaged or a huge file makes them trip over
                log.warning("the start picture %s cannot be shown (%s)", path, error)
                self._pictures[path] = None
        return self._pictures[path]


def _copied(surface: pygame.Surface, box: pygame.Rect) -> tuple[pygame.Surface, pygame.Rect]:
    """Return a see-through copy of a part of the surface, and where it is from."""
    part = box.clip(surface.get_rect())
    copy = pygame.Surface(part.size, pygame.SRCALPHA)
    copy.blit(surface, (0, 0), part)
    return copy, part


@functools.lru_cache(maxsize=2)
def _fade(size: tuple[int, int]) -> pygame.Surface:
    """Return a white sheet that is clear at the top and solid at the bottom; do not draw on it, it is shared."""
    sheet = pygame.Surface(size, pygame.SRCALPHA)
    for y in range(size[1]):
        sheet.fill((255, 255, 255, 255 * (y + 1) // size[1]), pygame.Rect(0, y, size[0], 1))
    return sheet


def draw_drop_area(canvas: Canvas, box: pygame.Rect) -> None:
    """Draw where a picture is missing that only the player can give: a dashed frame, an arrow into it, and words."""
    px = canvas.px
    canvas.panel(box, theme.PANEL_RAISED)
    frame = box.inflate(-2 * px(16), -2 * px(16))
    dash, gap = px(9), px(6)
    for x in range(frame.left, frame.right, dash + gap):
        end = min(x + dash, frame.right)
        for y in (frame.top, frame.bottom):
            canvas.line((x, y), (end, y), theme.TEXT_FAINT)
    for y in range(frame.top, frame.bottom, dash + gap):
        end = min(y + dash, frame.bottom)
        for x in (frame.left, frame.right):
            canvas.line((x, y), (x, end), theme.TEXT_FAINT)
    x, y, head = frame.centerx, frame.centery - px(16), px(9)
    canvas.line((x, y - px(26)), (x, y), theme.ACCENT, 2)
    for side in (-1, 1):
        canvas.line((x, y), (x + side * head, y - head), theme.ACCENT, 2)
    canvas.line((x - px(20), y + px(10)), (x + px(20), y + px(10)), theme.ACCENT, 2)
    canvas.write("Drop a picture here", (x, y + px(28)), theme.BODY, theme.TEXT, anchor="midtop",
                 width_px=frame.width - px(12))


def blur(frame: np.ndarray, size: tuple[int, int], like: pygame.Surface) -> pygame.Surface:
    """Return the light of a picture, spread over a whole window and dimmed."""
    tiny = Image.fromarray(frame).resize(BACKDROP_SIZE, Image.Resampling.BOX).resize(
        (BACKDROP_SIZE[0] * 8, BACKDROP_SIZE[1] * 8), Image.Resampling.BICUBIC)
    light = pygame.image.frombytes(tiny.tobytes(), tiny.size, "RGB").convert(like)
    backdrop = pygame.transform.smoothscale(light, size)
    dimmed = pygame.Surface(size).convert(like)
    dimmed.fill(theme.BACKGROUND)
    backdrop.set_alpha(BACKDROP_ALPHA)
    dimmed.blit(backdrop, (0, 0))
    return dimmed
