"""The clips page: what was recorded is watched, replayed, exported, found on the disk and deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pygame

from ..errors import RecordingError
from ..record.library import Clip, Library
from . import theme
from .buttonrow import Button, ButtonRow
from .canvas import Canvas
from .clipgrid import GRID_SHARE, ClipGrid, Thumbnails, draw_facts
from .events import PAD_BUTTONS
from .listmenu import Line, ListMenu
from .navigation import Move
from .screen import ListScreen, StillScreen
from .settings import folder_of
from .videopreview import VideoPreview

if TYPE_CHECKING:
    from .app import App

LOOK_AGAIN_S = 2.0  # for files that came or went meanwhile
HINTS = (("Arrows", "choose"), ("Enter", "replay"), ("Esc", "back"))
EMPTY_HINTS = HINTS[-1:]
EMPTY = ("Nothing is recorded yet. While you play, R begins and ends a recording, and F9 saves the last 30 seconds. "
         "Recordings appear here.")


class ClipsScreen(StillScreen):
    """All recordings of the folder, one of them in focus and running."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._library = Library(folder_of(app.settings))
        self._thumbnails = Thumbnails(self._library)
        self._preview = VideoPreview()
        self.grid = ClipGrid(self._thumbnails)
        self.trouble = ""  # why the folder cannot be read
        self._look_again_s = 0.0
        self._progress = 0.0
        self._deeds = ButtonRow([Button("Replay", "Enter", self.open), Button("GIF", "G", lambda: self.export(".gif")),
                                 Button("WebP", "V", lambda: self.export(".webp")),
                                 Button("Delete", "Del", self.ask_to_delete)])
        self._back = ButtonRow([Button("Back", "Esc", app.pop)])
        self._look()

    def _look(self) -> None:
        try:
            clips, self.trouble = self._library.clips(), ""
        except RecordingError as error:
            clips, self.trouble = [], str(error)
        if clips != self.grid.clips:
            self.grid.show(clips)
            self._app.redraw()

    # --- the loop's face --------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> bool:
        if self._app.screens[-1] is not self:
            return False
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + LOOK_AGAIN_S
            self._look()
        clip = self.grid.focused
        changed = [self._thumbnails.tick(), self._preview.tick(clip.video if clip else None, now_s),
                   self._app.exports.progress != self._progress]
        self._progress = self._app.exports.progress
        return any(changed)

    def uncover(self) -> None:
        super().uncover()
        self._look()

    def close(self) -> None:
        self._preview.close()
        self._thumbnails.close()

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        self._app.redraw()
        if event.type == pygame.MOUSEMOTION:
            self._point(self._app.window.to_pixels(event.pos))
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._click(self._app.window.to_pixels(event.pos))
        elif event.type == pygame.KEYDOWN and event.key == pygame.K_g:
            self.export(".gif")
        elif event.type == pygame.KEYDOWN and event.key == pygame.K_v:
            self.export(".webp")
        elif event.type == pygame.KEYDOWN and event.key in (pygame.K_DELETE, pygame.K_BACKSPACE):
            self.ask_to_delete()
        elif event.type == pygame.CONTROLLERBUTTONDOWN and PAD_BUTTONS.get(event.button) == "pad x":
            self._offer()
        else:
            self._walk(self._navigator.move(event))

    def _walk(self, move: Move | None) -> None:
        if move is Move.ACCEPT:
            self.open()
        elif move is Move.BACK:
            self._app.pop()
        elif move is not None:
            self.grid.move(move)

    def _point(self, at: tuple[int, int]) -> None:
        self._deeds.point(at)
        self._back.point(at)

    def _click(self, at: tuple[int, int]) -> None:
        """A click chooses a card, and opens the one that is chosen already."""
        if self._back.click(at) or (self.grid.focused is not None and self._deeds.click(at)):
            return
        index = self.grid.at(at)
        if index is not None and index == self.grid.focus_index:
            self.open()
        elif index is not None:
            self.grid.focus_index = index

    # --- deeds ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Replay the clip in focus."""
        clip = self.grid.focused
        if clip is None:
            return
        if clip.log is None:
            self._say(f"{clip.name} has no action log, so it can be watched here and not replayed.", bad=True)
            return
        self._preview.close()
        self._app.replay(clip.log)

    def export(self, suffix: str) -> None:
        """Write the clip in focus as an animation beside it, in the background."""
        clip = self.grid.focused
        if clip is None:
            return
        if clip.video is None:
            self._say(f"{clip.name} has no video to export; replay --render makes one.", bad=True)
        elif not self._app.exports.begin(clip.video, suffix):
            self._say("Another export is under way; this one can begin after it.", bad=True)
        else:
            self._say(f"Exporting {suffix[1:].upper()}")

    def ask_to_delete(self) -> None:
        clip = self.grid.focused
        if clip is not None:
            self._ask(f"Move {' and '.join(path.name for path in clip.files)} to the trash?", "Move to the trash",
                      lambda: self._delete(clip))

    def _delete(self, clip: Clip, for_good: bool = False) -> None:
        self._app.pop()
        self._preview.close()  # or some systems would not let go of the file
        try:
            self._library.delete(clip, for_good)
        except RecordingError as error:
            if for_good:
                self._say(str(error), bad=True)
            else:
                self._ask(f"{error}. Delete it for good?", "Delete for good", lambda: self._delete(clip, for_good=True))
            return
        self._look()
        self._say(f"{clip.name} is deleted." if for_good else f"{clip.name} is in the trash.")

    def _ask(self, question: str, label: str, deed: Callable[[], None]) -> None:
        lines = [Line("Keep it", self._app.pop, hint="Esc"), Line(label, deed)]
        self._app.push(ListScreen(self._app, ListMenu("Delete", lines, question, back=self._app.pop, width=520)))

    def _offer(self) -> None:
        """Show what else can be done, for hands on a gamepad."""
        clip = self.grid.focused
        if clip is None:
            return

        def then(deed: Callable[[], None]) -> Callable[[], None]:
            def both() -> None:
                self._app.pop()
                deed()
            return both

        lines = [Line(button.label, then(button.choose), hint=button.key) for button in self._deeds.buttons]
        self._app.push(ListScreen(self._app, ListMenu(clip.title, lines, back=self._app.pop, width=360)))

    def _say(self, sentence: str, bad: bool = False) -> None:
        self._app.toasts.show(sentence, self._app.clock.now(), bad)
        self._app.redraw()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        px = canvas.px
        canvas.surface.fill(theme.BACKGROUND)
        left, top = px(theme.MARGIN), px(34)
        heading = canvas.heading("Clips", (left, top))
        count = len(self.grid.clips)
        if count:
            canvas.write(f"{count} recording{'s' * (count > 1)}", (heading.right + px(16), heading.centery), theme.BODY,
                         theme.TEXT_FAINT, anchor="midleft")
        width = canvas.width_px - 2 * left
        self._back.draw(canvas, pygame.Rect(left, top - px(2), width, px(30)), from_right=True)
        foot = canvas.height_px - px(50)
        area = pygame.Rect(left, heading.bottom + px(26), width, foot - px(16) - heading.bottom - px(26))
        if self.grid.focused is None:
            self._draw_empty(canvas, area)
        else:
            self._draw_clips(canvas, area)
        hints = HINTS if count else EMPTY_HINTS
        canvas.hints((*hints, ("X", "more, on a gamepad")) if count and self._app.pad_names else hints, (left, foot))

    def _draw_clips(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        clip = self.grid.focused
        grid = pygame.Rect(area.left, area.top, round(area.width * GRID_SHARE), area.height)
        self.grid.draw(canvas, grid)
        side = pygame.Rect(grid.right + px(26), area.top, area.right - grid.right - px(26), area.height)
        frame = self._preview.frame
        y = draw_facts(canvas, clip, self._thumbnails.get(clip) if frame is None else frame, side)
        drawn = self._deeds.draw(canvas, pygame.Rect(side.left, y, side.width, px(30)))
        if self._app.exports.source is not None:
            track = pygame.Rect(side.left, drawn.bottom + px(14), side.width, px(3))
            canvas.surface.fill(theme.LINE, track)
            canvas.surface.fill(theme.ACCENT, (*track.topleft, round(track.width * self._progress), track.height))

    def _draw_empty(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        x, y, width = area.left, area.top + px(20), min(area.width, px(640))
        y = canvas.paragraph(self.trouble or EMPTY, (x, y), width, theme.HEADING,
                             theme.WARNING if self.trouble else theme.TEXT_SOFT)
        canvas.paragraph(str(self._library.folder), (x, y + px(16)), width, theme.SMALL, theme.TEXT_FAINT)
