"""The booth's pages between attract loop and play: the start page with its big choices, and thanks with what is taken
home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygame

from . import theme
from .booth_draw import breath, draw_logo, draw_pill
from .canvas import Canvas
from .catalogue import WorldEntry
from .menu import blur
from .navigation import Move
from .pointer import finger_of
from .present import cover
from .preview import Preview
from .screen import StillScreen
from .visit_save import VisitSave

if TYPE_CHECKING:
    import numpy as np

    from .kiosk import KioskApp

CARDS_A_ROW = 3
CARD_GAP = 28
MAX_CARD = 500  # of one or two worlds: wider ones would crowd the title
CARD_TEXT = 72
GUARD_S = 0.4  # the touch that woke the booth often comes twice
LIVELY_POLL_S = 0.02
QR_SIDE = 300
QUIET_SQUARES = 4  # of the white border that a QR code needs


class ChooseScreen(StillScreen):
    """One big picture per world; a touch, a click or Enter goes there."""

    poll_s = LIVELY_POLL_S

    def __init__(self, app: KioskApp, worlds: list[WorldEntry], pictures: dict[str, np.ndarray]) -> None:
        """`pictures`: start picture (H, W, 3) uint8 per world name, where there is one."""
        super().__init__(app)
        self._kiosk, self._worlds, self._pictures = app, worlds, pictures
        self._previews = [Preview() for _ in worlds]
        self._boxes: list[pygame.Rect] = []
        self._opened_s = app.clock.now()
        self._scaled: dict[tuple[int, tuple[int, int]], pygame.Surface] = {}
        self._backdrop: tuple[tuple[int, int], pygame.Surface] | None = None
        self.focus_index = 0

    def tick(self, now_s: float) -> bool:
        changed = [preview.tick(world.starts[0].clip if world.starts else None, now_s)
                   for preview, world in zip(self._previews, self._worlds, strict=True)]
        return any(changed)

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        self._app.redraw()
        finger = finger_of(event, self._app.window)
        if finger is not None:
            under = next((index for index, box in enumerate(self._boxes) if box.collidepoint(finger.at_px)), None)
            if under is not None and finger.what != "up":
                self.focus_index = under
                if finger.what == "down":
                    self._choose()
            return
        move = self._navigator.move(event)
        if move is Move.ACCEPT:
            self._choose()
        elif move in (Move.LEFT, Move.RIGHT, Move.UP, Move.DOWN):
            step = {Move.LEFT: -1, Move.RIGHT: 1, Move.UP: -CARDS_A_ROW, Move.DOWN: CARDS_A_ROW}[move]
            if 0 <= self.focus_index + step < len(self._worlds):
                self.focus_index += step

    def _choose(self) -> None:
        if self._app.clock.now() - self._opened_s >= GUARD_S:
            self._kiosk.choose(self._worlds[self.focus_index].name)

    def draw(self, canvas: Canvas) -> None:
        px, words = canvas.px, self._kiosk.words
        canvas.surface.fill(theme.BACKGROUND)
        self._draw_backdrop(canvas)
        left, top = px(theme.MARGIN), px(theme.MARGIN)
        draw_logo(canvas, self._kiosk.profile.path(self._kiosk.profile.logo), (canvas.width_px - left, top - px(8)))
        title = canvas.write(words.choose, (left, top), 38, width_px=canvas.width_px - 2 * left)
        canvas.line((left, title.bottom + px(10)), (left + px(64), title.bottom + px(10)), theme.ACCENT, 3)
        foot = canvas.height_px - px(44)
        note = words.world_failed if self._kiosk.policy.failed_world else words.choose_hint
        canvas.write(note, (canvas.width_px // 2, foot), theme.BODY,
                     theme.ACCENT if self._kiosk.policy.failed_world else theme.TEXT_SOFT, anchor="midbottom",
                     width_px=canvas.width_px - 2 * left)
        self._draw_cards(canvas, pygame.Rect(left, title.bottom + px(40), canvas.width_px - 2 * left,
                                             foot - px(48) - title.bottom - px(40)))
        self._kiosk.draw_over(canvas)

    def _draw_cards(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        columns = min(CARDS_A_ROW, len(self._worlds))
        rows = -(-len(self._worlds) // CARDS_A_ROW)
        gap, text = px(CARD_GAP), px(CARD_TEXT)
        width = (area.width - (columns - 1) * gap) // columns
        width = min(width, px(MAX_CARD), ((area.height - (rows - 1) * gap) // rows - text) * 4 // 3)
        height = width * 3 // 4 + text
        left = area.centerx - (columns * width + (columns - 1) * gap) // 2
        top = area.centery - (rows * height + (rows - 1) * gap) // 2
        self._boxes = []
        for index in range(len(self._worlds)):
            row, column = divmod(index, CARDS_A_ROW)
            box = pygame.Rect(left + column * (width + gap), top + row * (height + gap), width, height)
            self._boxes.append(box)
            self._draw_card(canvas, index, box, text)

    def _draw_card(self, canvas: Canvas, index: int, box: pygame.Rect, text_px: int) -> None:
        px, world = canvas.px, self._worlds[index]
        focused = index == self.focus_index
        canvas.panel(box, theme.PANEL_RAISED if focused else theme.PANEL, alpha=240, radius=12)
        inner = pygame.Rect(box.left + px(8), box.top + px(8), box.width - 2 * px(8), box.height - text_px - px(8))
        moving = self._previews[index].frame
        if moving is not None:
            canvas.surface.blit(cover(moving, inner.size, canvas.surface), inner)
        elif world.name in self._pictures:
            key = (index, inner.size)
            if key not in self._scaled:
                self._scaled[key] = cover(self._pictures[world.name], inner.size, canvas.surface)
            canvas.surface.blit(self._scaled[key], inner)
        y = inner.bottom + px(14)
        canvas.write(world.title, (box.left + px(20), y), theme.HEADING, width_px=box.width - 2 * px(20))
        canvas.write(world.description, (box.left + px(20), y + px(28)), theme.SMALL, theme.TEXT_SOFT,
                     width_px=box.width - 2 * px(20))
        if focused:
            pygame.draw.rect(canvas.surface, theme.ACCENT, box.inflate(px(6), px(6)), width=px(3), border_radius=px(14))

    def _draw_backdrop(self, canvas: Canvas) -> None:
        name = self._worlds[0].name
        if name not in self._pictures:
            return
        if self._backdrop is None or self._backdrop[0] != canvas.box.size:
            self._backdrop = canvas.box.size, blur(self._pictures[name], canvas.box.size, canvas.surface)
        canvas.surface.blit(self._backdrop[1], (0, 0))

    def close(self) -> None:
        for preview in self._previews:
            preview.close()


class ThanksScreen(StillScreen):
    """The last page of a visit, over the last picture of it."""

    poll_s = LIVELY_POLL_S

    def __init__(self, app: KioskApp, frame: np.ndarray | None, time_is_up: bool, save: VisitSave | None) -> None:
        super().__init__(app)
        self._kiosk, self._frame, self._time_is_up, self._save = app, frame, time_is_up, save
        self._backdrop: tuple[tuple[int, int], pygame.Surface] | None = None
        self._next_s = 0.0

    def tick(self, now_s: float) -> bool:
        if self._save is not None:
            self._save.tick()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + 0.1
        return True

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        pass

    def draw(self, canvas: Canvas) -> None:
        px, words = canvas.px, self._kiosk.words
        canvas.surface.fill(theme.BACKGROUND)
        if self._frame is not None:
            if self._backdrop is None or self._backdrop[0] != canvas.box.size:
                self._backdrop = canvas.box.size, blur(self._frame, canvas.box.size, canvas.surface)
            canvas.surface.blit(self._backdrop[1], (0, 0))
        squares = self._save.squares if self._save is not None else None
        centre, y = canvas.width_px // 2, canvas.height_px // 2 - px(250 if squares else 110)
        title = canvas.write(words.thanks, (centre, y), theme.TITLE, anchor="midtop")
        canvas.line((centre - px(32), title.bottom + px(10)), (centre + px(32), title.bottom + px(10)), theme.ACCENT, 3)
        y = title.bottom + px(30)
        if self._time_is_up:
            canvas.write(words.time_up, (centre, y), theme.BODY, theme.TEXT_SOFT, anchor="midtop",
                         width_px=canvas.width_px - px(80))
            y += px(36)
        if self._save is not None:
            y = self._draw_save(canvas, squares, centre, y)
        size = 20 + breath(self._app.clock.now())
        draw_pill(canvas, words.again, (centre, min(y + px(54), canvas.height_px - px(50))), round(size), lit=False)
        self._kiosk.draw_over(canvas)

    def _draw_save(self, canvas: Canvas, squares: list[list[bool]] | None, centre: int, y: int) -> int:
        """Draw what became of the last 30 seconds; return the pixel row under it."""
        px, words, save = canvas.px, self._kiosk.words, self._save
        if save.state == "saving":
            sentence = words.keep_waiting
        elif save.state == "failed":
            sentence = words.keep_failed
        else:
            sentence = words.keep_qr if squares else words.keep_file.format(file=save.file_name)
        line = canvas.write(sentence, (centre, y), theme.HEADING, anchor="midtop", width_px=canvas.width_px - px(80))
        y = line.bottom + px(18)
        if squares:
            box = pygame.Rect(centre - px(QR_SIDE) // 2, y, px(QR_SIDE), px(QR_SIDE))
            draw_qr(canvas, squares, box)
            y = box.bottom
        return y


def draw_qr(canvas: Canvas, squares: list[list[bool]], box: pygame.Rect) -> None:
    """Draw a QR code with its quiet border into a box, every square the same whole number of pixels."""
    number = len(squares) + 2 * QUIET_SQUARES
    side = max(1, box.width // number)
    page = pygame.Rect(0, 0, side * number, side * number)
    page.center = box.center
    canvas.surface.fill((255, 255, 255), page)
    for row, line in enumerate(squares):
        for column, is_dark in enumerate(line):
            if is_dark:
                canvas.surface.fill((0, 0, 0), pygame.Rect(page.left + (column + QUIET_SQUARES) * side,
                                                           page.top + (row + QUIET_SQUARES) * side, side, side))
