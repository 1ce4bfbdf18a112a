"""The page on which the player binds a world's buttons, sets dead zones, and sees the gamepad move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pygame

from ..actions.buttons import meanings
from ..actions.keymap import default_keymap
from ..actions.remap import bind, controls_of, unbind
from ..config import ControlsConfig
from ..errors import AstraPlayError
from . import theme
from .canvas import Canvas
from .events import PAD_BUTTONS
from .navigation import Move
from .padlisten import AT_REST, Listener
from .padpicture import HEIGHT, draw_pad
from .pads import PAD_EVENTS
from .screen import StillScreen
from .usage import control_name

if TYPE_CHECKING:
    from .app import App

ROW_HEIGHT = 34
LEFT_SHARE = 0.6  # of the width is the list's
ZONE_STEP = 0.05
ZONE_RANGE = (0.0, 0.9)
HINTS = (("Enter", "choose"), ("Delete", "unbind"), ("Left Right", "change"), ("Esc", "done"))
LISTENING_HINTS = (("Esc", "leave it as it is"),)


@dataclass(frozen=True)
class Row:
    """One line: a button of the world to bind, a share to slide, or something to do."""

    label: str
    button: str = ""
    setting: str = ""  # a field of Keymap between 0 and 1
    choose: Callable[[], None] | None = None


class PadScreen(StillScreen):
    """Keys and gamepad of one world; every change is written at once."""

    def __init__(self, app: App, title: str, controls: ControlsConfig) -> None:
        """`title` and `controls`: of the world whose buttons are shown."""
        super().__init__(app)
        self._title = title
        self._known = controls.buttons
        self._elsewhere = _elsewhere(app, title)
        self.listener: Listener | None = None  # while a row waits for its control
        self.rows = [Row(meaning[:1].upper() + meaning[1:], button=button)
                     for button, meaning in meanings(controls.modality).items() if button in controls.buttons]
        self.rows += [Row("Stick dead zone", setting="dead_zone"),
                      Row("Trigger threshold", setting="trigger_threshold"),
                      Row("Back to the defaults", choose=self._reset), Row("Done", choose=app.pop)]
        self.focus_index = 0
        self._boxes: list[pygame.Rect] = []
        self._sliders: dict[int, pygame.Rect] = {}
        self._scroll_px = 0

    # --- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        self._app.redraw()
        if self.listener is not None:
            self._listen(event)
        elif event.type == pygame.MOUSEMOTION:
            at = self._app.window.to_pixels(event.pos)
            if not (event.buttons[0] and self._slide(at)):
                self._point(at)
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._click(self._app.window.to_pixels(event.pos))
        elif _asks_to_unbind(event):
            self._unbind()
        else:
            self._move(self._navigator.move(event))

    def _move(self, move: Move | None) -> None:
        if move in (Move.UP, Move.DOWN):
            self.focus_index = (self.focus_index + (1 if move is Move.DOWN else -1)) % len(self.rows)
        elif move in (Move.LEFT, Move.RIGHT):
            self._step(1 if move is Move.RIGHT else -1)
        elif move is Move.ACCEPT:
            self._choose()
        elif move is Move.BACK:
            self._app.pop()

    def _choose(self) -> None:
        row = self.rows[self.focus_index]
        if row.choose is not None:
            row.choose()
        elif row.button:
            self.listener = Listener(axis for axis, value in self._app.pad_hands.axes().items() if abs(value) > AT_REST)

    def _point(self, at: tuple[int, int]) -> bool:
        for index, box in enumerate(self._boxes):
            if box.collidepoint(at):
                self.focus_index = index
                return True
        return False

    def _click(self, at: tuple[int, int]) -> None:
        if self._point(at) and not self._slide(at):
            self._choose()

    def _slide(self, at: tuple[int, int]) -> bool:
        """Set the share under the mouse; False where no slider is."""
        slider = self._sliders.get(self.focus_index)
        if slider is None or not self._boxes[self.focus_index].collidepoint(at) or at[0] < slider.left - slider.height:
            return False
        share = min(max((at[0] - slider.left) / max(1, slider.width), 0.0), 1.0)
        self._set(self.rows[self.focus_index].setting, share * ZONE_RANGE[1])
        return True

    def _step(self, step: int) -> None:
        setting = self.rows[self.focus_index].setting
        if setting:
            self._set(setting, getattr(self._app.keymap, setting) + ZONE_STEP * step)

    def _set(self, setting: str, value: float) -> None:
        value = round(min(max(value, ZONE_RANGE[0]), ZONE_RANGE[1]), 2)
        self._app.change_keymap(dataclasses.replace(self._app.keymap, **{setting: value}))

    # --- binding ----------------------------------------------------------------------------------------------------

    def _listen(self, event: pygame.Event) -> None:
        if event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
            self.listener = None
            return
        heard = self.listener.hear(event)
        if heard is None:
            return
        if heard.refusal:
            self._app.toasts.show(heard.refusal, self._app.clock.now(), bad=True)
            return
        self.listener = None
        if event.type == pygame.CONTROLLERAXISMOTION:
            self._navigator.move(event)  # the push that was bound is no flick through the list
        self._app.change_keymap(bind(self._app.keymap, self.rows[self.focus_index].button, heard.control,
                                     heard.positive, self._known))

    def _unbind(self) -> None:
        button = self.rows[self.focus_index].button
        if button:
            self._app.change_keymap(unbind(self._app.keymap, button))

    def _reset(self) -> None:
        self._app.change_keymap(default_keymap())
        self._app.toasts.show("Keys and gamepad are back to their defaults.", self._app.clock.now())

    # --- the loop's face --------------------------------------------------------------------------------------------

    def cover(self) -> None:
        self.listener = None

    # --- drawing ----------------------------------------------------------------------------------------------------

    def reach(self) -> str:
        """Say where else a change of the row in focus counts: worlds share the buttons of the same name."""
        row = self.rows[self.focus_index]
        if not row.button:
            return "" if row.choose == self._app.pop else "Counts in all worlds."
        meant = self._elsewhere.get(row.button)
        return f"Counts too {'; '.join(meant)}." if meant else f"Counts in {self._title} alone."

    def draw(self, canvas: Canvas) -> None:
        px = canvas.px
        canvas.surface.fill(theme.BACKGROUND)
        left, top = px(theme.MARGIN), px(34)
        heading = canvas.heading("Keys and gamepad", (left, top))
        canvas.write(self._title, (heading.right + px(16), heading.centery), theme.BODY, theme.TEXT_FAINT,
                     anchor="midleft")
        foot = canvas.height_px - px(50)
        reach = canvas.write(self.reach(), (left, foot - px(12)), theme.SMALL, theme.TEXT_SOFT, anchor="bottomleft",
                             width_px=canvas.width_px - 2 * left)
        area = pygame.Rect(left, heading.bottom + px(26), round((canvas.width_px - 2 * left) * LEFT_SHARE),
                           reach.top - px(10) - heading.bottom - px(26))
        self._draw_rows(canvas, area)
        right = pygame.Rect(area.right + px(24), area.top, canvas.width_px - left - area.right - px(24), area.height)
        self._draw_live(canvas, right)
        canvas.hints(HINTS if self.listener is None else LISTENING_HINTS, (left, foot))

    def _draw_rows(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        row_height, head = px(ROW_HEIGHT), px(24)
        columns = area.left + round(area.width * 0.40), area.left + round(area.width * 0.68)
        for name, x in zip(("Keys and mouse", "Gamepad"), columns, strict=True):
            canvas.write(name, (x, area.top), theme.SMALL, theme.TEXT_FAINT)
        shown = pygame.Rect(area.left, area.top + head, area.width, area.height - head)
        focus_top = self.focus_index * row_height
        self._scroll_px = max(0, min(max(self._scroll_px, focus_top + row_height - shown.height), focus_top))
        canvas.surface.set_clip(shown)
        self._boxes, self._sliders = [], {}
        for index, row in enumerate(self.rows):
            box = pygame.Rect(shown.left, shown.top + index * row_height - self._scroll_px, shown.width, row_height)
            self._boxes.append(box.clip(shown))
            self._draw_row(canvas, index, row, box, columns)
        canvas.surface.set_clip(None)

    def _draw_row(self, canvas: Canvas, index: int, row: Row, box: pygame.Rect, columns: tuple[int, int]) -> None:
        px = canvas.px
        focused = index == self.focus_index
        if focused:
            canvas.panel(box, theme.PANEL_RAISED, radius=6)
            canvas.panel(pygame.Rect(box.left, box.top + px(8), px(3), box.height - px(16)), theme.ACCENT, radius=1)
        colour = theme.TEXT if focused else theme.TEXT_SOFT
        canvas.write(row.label, (box.left + px(14), box.centery), theme.BODY, colour, anchor="midleft",
                     width_px=columns[0] - box.left - px(20))
        if row.setting:
            self._draw_slider(canvas, index, getattr(self._app.keymap, row.setting), box, columns[0])
        elif row.button and focused and self.listener is not None:
            canvas.write("Press a key or button, or push a stick", (columns[0], box.centery),
                         theme.SMALL, theme.ACCENT, anchor="midleft", width_px=box.right - columns[0])
        elif row.button:
            for pad, x, end in ((False, columns[0], columns[1]), (True, columns[1], box.right)):
                names = ", ".join(control_name(control) for control in controls_of(self._app.keymap, row.button, pad))
                canvas.write(names or "-", (x, box.centery), theme.SMALL,
                             theme.TEXT if names else theme.TEXT_FAINT, anchor="midleft", width_px=end - x - px(12))

    def _draw_slider(self, canvas: Canvas, index: int, value: float, box: pygame.Rect, left: int) -> None:
        px = canvas.px
        slider = pygame.Rect(left, box.centery - px(2), box.right - left - px(76), px(4))
        self._sliders[index] = slider
        canvas.panel(slider, theme.LINE, radius=2)
        x = slider.left + round(slider.width * value / ZONE_RANGE[1])
        filled = pygame.Rect(slider.left, slider.top, max(1, x - slider.left), slider.height)
        canvas.panel(filled, theme.ACCENT, radius=2)
        pygame.draw.circle(canvas.surface, theme.ACCENT, (x, box.centery), px(7))
        canvas.write(f"{100 * value:.0f} %", (box.right - px(14), box.centery), theme.SMALL, theme.TEXT,
                     anchor="midright")

    def _draw_live(self, canvas: Canvas, area: pygame.Rect) -> None:
        px = canvas.px
        keymap, hands, names = self._app.keymap, self._app.pad_hands, self._app.pad_names
        box = pygame.Rect(area.left, area.top, area.width, min(area.height, px(HEIGHT + 100)))
        canvas.panel(box, theme.PANEL, border=theme.LINE, radius=10)
        said = "No gamepad is plugged in. Keys and mouse play as well; one that is plugged in now is heard at once."
        if names:
            said = names[0] if len(names) == 1 else f"{len(names)} gamepads, heard as one: {', '.join(names)}"
        bottom = canvas.paragraph(said, (box.left + px(20), box.top + px(16)), box.width - px(40), theme.SMALL,
                                  theme.TEXT if names else theme.TEXT_SOFT, max_lines=3)
        free = pygame.Rect(box.left, bottom + px(12), box.width, box.bottom - bottom - px(28)).inflate(-2 * px(14), 0)
        draw_pad(canvas, free, hands.buttons(), hands.axes(), keymap.dead_zone, keymap.trigger_threshold)


def _elsewhere(app: App, title: str) -> dict[str, list[str]]:
    """Return for each button what it does in the worlds of other titles: "in Robot arm (move the hand left)"."""
    meant: dict[str, list[str]] = {}
    for entry in app.options.catalogue.entries():
        if entry.error or entry.title == title:
            continue
        try:
            controls = app.options.catalogue.config(entry.name).controls
        except AstraPlayError:  # it went away meanwhile, and its keys with it
            continue
        for button in controls.buttons:
            meant.setdefault(button, []).append(f"in {entry.title} ({meanings(controls.modality)[button]})")
    return meant


def _asks_to_unbind(event: pygame.Event) -> bool:
    if event.type in PAD_EVENTS:
        return event.type == pygame.CONTROLLERBUTTONDOWN and PAD_BUTTONS.get(event.button) == "pad x"
    return event.type == pygame.KEYDOWN and event.key in (pygame.K_DELETE, pygame.K_BACKSPACE)
