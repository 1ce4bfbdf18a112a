"""On-screen stick and buttons: fingers -> the same InputEvents that keys and pads make.

The controls are physical ones as far as the rest knows: the keymap gets "touch ..." names for them, so taps are
latched, sticks have their strength, and opposite buttons are settled as for everything else. A finger beside them drags
the view like a mouse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pygame

from ..actions.keymap import Keymap
from ..chunks import InputEvent
from . import theme
from .canvas import Canvas
from .pointer import Finger

Icon = Literal["move", "look", "steer", "up", "down", "grip", "release", "gas", "brake"]

STICK_RADIUS = 92
KNOB_RADIUS = 40
BUTTON_RADIUS = 46
PEDAL = (88, 168)
EDGE = 64  # between the controls and the sides of the window
REACH = 1.35  # of a control's size: thumbs land beside what they aim at
ALPHA, LIT_ALPHA = 120, 215


@dataclass(frozen=True)
class TouchControl:
    """One control: its name in the keymap and where its middle is, in units from the left (or right) and bottom edge.

    `buttons`: of a stick (left, right, up, down), of anything else the one it presses.
    """

    name: str
    icon: Icon
    buttons: tuple[str, ...]
    right_of: float  # of the left edge; negative: left of the right edge
    above: float

    @property
    def is_stick(self) -> bool:
        return len(self.buttons) > 1

    @property
    def half_size(self) -> tuple[float, float]:
        if self.is_stick:
            return STICK_RADIUS, STICK_RADIUS
        if self.icon in ("gas", "brake"):
            return PEDAL[0] / 2, PEDAL[1] / 2
        return BUTTON_RADIUS, BUTTON_RADIUS

    def box(self, canvas_px: tuple[int, int], unit_px: float) -> pygame.Rect:
        """Return where it lies in a window of that size."""
        width_px, height_px = canvas_px
        half_x, half_y = (size * unit_px for size in self.half_size)
        x = self.right_of * unit_px if self.right_of > 0 else width_px + self.right_of * unit_px
        y = height_px - self.above * unit_px
        return pygame.Rect(round(x - half_x), round(y - half_y), round(2 * half_x), round(2 * half_y))


_LEFT, _LOW = EDGE + STICK_RADIUS, EDGE + STICK_RADIUS
_DIAMOND = EDGE + 1.6 * BUTTON_RADIUS + BUTTON_RADIUS  # the middle of four buttons, from the edges
_STEP = 1.6 * BUTTON_RADIUS

CONTROLS: dict[str, tuple[TouchControl, ...]] = {
    "camera": (
        TouchControl("touch move", "move", ("left", "right", "forward", "back"), _LEFT, _LOW),
        TouchControl("touch look", "look", ("turn_left", "turn_right", "look_up", "look_down"), -_LEFT, _LOW)),
    "vehicle": (
        TouchControl("touch steer", "steer", ("steer_left", "steer_right", "", ""), _LEFT, _LOW),
        TouchControl("touch brake", "brake", ("brake",), -(EDGE + PEDAL[0] * 1.5 + 28), EDGE + PEDAL[1] / 2),
        TouchControl("touch gas", "gas", ("accelerate",), -(EDGE + PEDAL[0] / 2), EDGE + PEDAL[1] / 2)),
    "arm": (
        TouchControl("touch hand", "move", ("left", "right", "forward", "back"), _LEFT, _LOW),
        TouchControl("touch up", "up", ("up",), -_DIAMOND, _DIAMOND + _STEP),
        TouchControl("touch down", "down", ("down",), -_DIAMOND, _DIAMOND - _STEP),
        TouchControl("touch grip", "grip", ("grip",), -_DIAMOND - _STEP, _DIAMOND),
        TouchControl("touch release", "release", ("release",), -_DIAMOND + _STEP, _DIAMOND)),
}


def touch_controls(modality: str, known: Sequence[str]) -> tuple[TouchControl, ...]:
    """Return the controls for a world's buttons; one whose buttons the world does not know is left out."""
    return tuple(control for control in CONTROLS[modality] if set(control.buttons) & set(known))


def with_touch(keymap: Keymap, controls: Sequence[TouchControl], known: Sequence[str]) -> Keymap:
    """Return a keymap that knows the on-screen controls beside the physical ones."""
    def end(button: str) -> tuple[str, ...]:
        return (button,) if button in known else ()

    keys, sticks = dict(keymap.keys), dict(keymap.sticks)
    for control in controls:
        if control.is_stick:
            left, right, up, down = map(end, control.buttons)
            sticks[f"{control.name} x"], sticks[f"{control.name} y"] = (left, right), (up, down)
        else:
            keys[control.name] = control.buttons
    return dataclasses.replace(keymap, keys=keys, sticks=sticks)


class TouchControls:
    """Which finger holds which control. Fingers that hold none drag the view."""

    def __init__(self, controls: Sequence[TouchControl]) -> None:
        self._controls = tuple(controls)
        self._held: dict[tuple[object, int], TouchControl | None] = {}
        self._at_px: dict[tuple[object, int], tuple[int, int]] = {}

    @property
    def is_touched(self) -> bool:
        return bool(self._held)

    def handle(self, finger: Finger, canvas_px: tuple[int, int], unit_px: float, time_s: float) -> list[InputEvent]:
        """Return what a finger did to the controls; the window's size says where they lie."""
        if finger.what == "down":
            self._held[finger.finger] = control = self._under(finger.at_px, canvas_px, unit_px)
            self._at_px[finger.finger] = finger.at_px
            if control is None:
                return []
            return self._stick(control, finger.at_px, canvas_px, unit_px, time_s) if control.is_stick \
                else [InputEvent("button", control.name, down=True, time_s=time_s)]
        if finger.finger not in self._held:
            return []
        control, before = self._held[finger.finger], self._at_px[finger.finger]
        if finger.what == "up":
            del self._held[finger.finger], self._at_px[finger.finger]
            return [] if control is None else _released(control, time_s)
        self._at_px[finger.finger] = finger.at_px
        if control is None:
            x, y = ((now - then) / unit_px for now, then in zip(finger.at_px, before, strict=True))
            return [InputEvent("motion", motion_px=(x, y), time_s=time_s)] if x or y else []
        return self._stick(control, finger.at_px, canvas_px, unit_px, time_s) if control.is_stick else []

    def let_go(self) -> None:
        """Forget every finger: the window has lost the focus, and with it the controls were released."""
        self._held.clear()
        self._at_px.clear()

    def _under(self, at_px: tuple[int, int], canvas_px: tuple[int, int], unit_px: float) -> TouchControl | None:
        """Return the nearest free control within reach of a finger."""
        def distance(control: TouchControl) -> float:
            box = control.box(canvas_px, unit_px)
            return math.hypot((at_px[0] - box.centerx) / box.width, (at_px[1] - box.centery) / box.height) * 2

        free = [control for control in self._controls if control not in self._held.values()]
        nearest = min(free, key=distance, default=None)
        return nearest if nearest is not None and distance(nearest) <= REACH else None

    def _stick(self, control: TouchControl, at_px: tuple[int, int], canvas_px: tuple[int, int], unit_px: float,
               time_s: float) -> list[InputEvent]:
        x, y = _deflection(control.box(canvas_px, unit_px), at_px)
        return [InputEvent("axis", f"{control.name} x", value=x, time_s=time_s),
                InputEvent("axis", f"{control.name} y", value=y, time_s=time_s)]

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        for control in self._controls:
            box = control.box(canvas.box.size, canvas.unit_px)
            at_px = next((self._at_px[finger] for finger, held in self._held.items() if held is control), None)
            if control.is_stick:
                _draw_stick(canvas, control, box, at_px)
            else:
                _draw_button(canvas, control, box, at_px is not None)


def _deflection(box: pygame.Rect, at_px: tuple[int, int]) -> tuple[float, float]:
    x, y = (at_px[0] - box.centerx) / (box.width / 2), (at_px[1] - box.centery) / (box.height / 2)
    length = max(1.0, math.hypot(x, y))
    return x / length, y / length


def _released(control: TouchControl, time_s: float) -> list[InputEvent]:
    if control.is_stick:
        return [InputEvent("axis", f"{control.name} {axis}", value=0.0, time_s=time_s) for axis in "xy"]
    return [InputEvent("button", control.name, down=False, time_s=time_s)]


def _draw_stick(canvas: Canvas, control: TouchControl, box: pygame.Rect, at_px: tuple[int, int] | None) -> None:
    px = canvas.px
    canvas.panel(box, theme.BACKGROUND, alpha=ALPHA, border=theme.TEXT_SOFT, radius=STICK_RADIUS, border_width=2)
    x, y = (0.0, 0.0) if at_px is None else _deflection(box, at_px)
    if control.icon == "steer":
        y = 0.0
    ways = ((-1, 0), (1, 0)) if control.icon == "steer" else ((-1, 0), (1, 0), (0, -1), (0, 1))
    for way in ways:
        out = STICK_RADIUS - 20
        _triangle(canvas, (box.centerx + way[0] * px(out), box.centery + way[1] * px(out)), way, 9, theme.TEXT_SOFT)
    reach = (box.width / 2 - px(KNOB_RADIUS)) * 0.9
    knob = pygame.Rect(0, 0, 2 * px(KNOB_RADIUS), 2 * px(KNOB_RADIUS))
    knob.center = round(box.centerx + x * reach), round(box.centery + y * reach)
    lit = at_px is not None
    canvas.panel(knob, theme.ACCENT if lit else theme.TEXT, alpha=LIT_ALPHA if lit else 150, radius=KNOB_RADIUS)
    if control.icon == "look":  # an eye, so that nobody takes it for a second pair of legs
        colour = theme.BACKGROUND
        pygame.draw.ellipse(canvas.surface, colour, knob.inflate(-px(32), -px(48)), width=max(2, px(3)))
        pygame.draw.circle(canvas.surface, colour, knob.center, px(7))


def _draw_button(canvas: Canvas, control: TouchControl, box: pygame.Rect, lit: bool) -> None:
    radius = BUTTON_RADIUS if control.icon not in ("gas", "brake") else 22
    canvas.panel(box, theme.ACCENT if lit else theme.BACKGROUND, alpha=LIT_ALPHA if lit else ALPHA,
                 border=theme.ACCENT if lit else theme.TEXT_SOFT, radius=radius, border_width=2)
    colour = theme.BACKGROUND if lit else theme.TEXT
    x, y, px = box.centerx, box.centery, canvas.px
    if control.icon in ("up", "gas"):
        _triangle(canvas, (x, y - px(4)), (0, -1), 16, colour)
    elif control.icon == "down":
        _triangle(canvas, (x, y + px(4)), (0, 1), 16, colour)
    elif control.icon == "brake":
        side = px(26)
        canvas.surface.fill(colour, pygame.Rect(x - side // 2, y - side // 2, side, side))
    else:
        inward = 1 if control.icon == "grip" else -1
        for side in (-1, 1):
            _triangle(canvas, (x + side * px(15), y), (-side * inward, 0), 11, colour)
            bar = pygame.Rect(0, 0, px(3), px(26))
            bar.center = x + side * px(2 if inward > 0 else 28), y
            canvas.surface.fill(colour, bar)


def _triangle(canvas: Canvas, at: tuple[int, int], way: tuple[int, int], size: float, colour: theme.Colour) -> None:
    length = canvas.px(size)
    tip = at[0] + way[0] * length, at[1] + way[1] * length
    back = at[0] - way[0] * length * 0.6, at[1] - way[1] * length * 0.6
    across = -way[1] * length, way[0] * length
    pygame.draw.polygon(canvas.surface, colour, [tip, (back[0] + across[0], back[1] + across[1]),
                                                 (back[0] - across[0], back[1] - across[1])])
