"""pygame events <-> InputEvents: the one table of what a physical control is called.

pygame gives events no time, so the time of an event is the time it was polled, which the window does every two
milliseconds; a posted event may carry its own `time_s` instead. A posted key event may also name its control, which
is how scripts press keys.
"""

from __future__ import annotations

import pygame

from ..chunks import InputEvent

MOUSE_BUTTONS = {1: "mouse left", 2: "mouse middle", 3: "mouse right", 6: "mouse x1", 7: "mouse x2"}
_MOUSE_NUMBERS = {name: number for number, name in MOUSE_BUTTONS.items()}

PAD_BUTTONS = {
    pygame.CONTROLLER_BUTTON_A: "pad a", pygame.CONTROLLER_BUTTON_B: "pad b",
    pygame.CONTROLLER_BUTTON_X: "pad x", pygame.CONTROLLER_BUTTON_Y: "pad y",
    pygame.CONTROLLER_BUTTON_BACK: "pad back", pygame.CONTROLLER_BUTTON_GUIDE: "pad guide",
    pygame.CONTROLLER_BUTTON_START: "pad start",
    pygame.CONTROLLER_BUTTON_LEFTSTICK: "pad left stick", pygame.CONTROLLER_BUTTON_RIGHTSTICK: "pad right stick",
    pygame.CONTROLLER_BUTTON_LEFTSHOULDER: "pad left shoulder",
    pygame.CONTROLLER_BUTTON_RIGHTSHOULDER: "pad right shoulder",
    pygame.CONTROLLER_BUTTON_DPAD_UP: "pad up", pygame.CONTROLLER_BUTTON_DPAD_DOWN: "pad down",
    pygame.CONTROLLER_BUTTON_DPAD_LEFT: "pad left", pygame.CONTROLLER_BUTTON_DPAD_RIGHT: "pad right",
}
_PAD_BUTTON_NUMBERS = {name: number for number, name in PAD_BUTTONS.items()}

PAD_AXES = {
    pygame.CONTROLLER_AXIS_LEFTX: "pad left x", pygame.CONTROLLER_AXIS_LEFTY: "pad left y",
    pygame.CONTROLLER_AXIS_RIGHTX: "pad right x", pygame.CONTROLLER_AXIS_RIGHTY: "pad right y",
    pygame.CONTROLLER_AXIS_TRIGGERLEFT: "pad left trigger", pygame.CONTROLLER_AXIS_TRIGGERRIGHT: "pad right trigger",
}
_PAD_AXIS_NUMBERS = {name: number for number, name in PAD_AXES.items()}
AXIS_FULL = 32767.0  # SDL counts axes in signed 16 bits

# Walking keys mean places on the keyboard (W above S on every layout), so letters are read from the scancode.
_PLACES = {getattr(pygame, f"KSCAN_{letter.upper()}"): letter for letter in "abcdefghijklmnopqrstuvwxyz"}


def key_control(event: pygame.Event) -> str:
    """Return the control that a key event names or belongs to: letters by place, other keys by name."""
    return getattr(event, "control", "") or _PLACES.get(getattr(event, "scancode", 0)) or pygame.key.name(event.key)


def to_input(event: pygame.Event, polled_at_s: float, mouse_sensitivity: float = 1.0) -> InputEvent | None:
    """Return what a pygame event did to a physical control, or None if it did nothing to one."""
    time_s = getattr(event, "time_s", polled_at_s)
    kind = event.type
    if kind in (pygame.KEYDOWN, pygame.KEYUP):
        control = key_control(event)
        return InputEvent("button", control, down=kind == pygame.KEYDOWN, time_s=time_s) if control else None
    if kind == pygame.MOUSEMOTION:
        right, down = event.rel
        return InputEvent("motion", motion_px=(right * mouse_sensitivity, down * mouse_sensitivity), time_s=time_s)
    if kind in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
        control = MOUSE_BUTTONS.get(event.button, "")  # 4 and 5 are the wheel, which no world listens to
        return InputEvent("button", control, down=kind == pygame.MOUSEBUTTONDOWN, time_s=time_s) if control else None
    if kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
        control = PAD_BUTTONS.get(event.button, "")
        down = kind == pygame.CONTROLLERBUTTONDOWN
        return InputEvent("button", control, down=down, time_s=time_s) if control else None
    if kind == pygame.CONTROLLERAXISMOTION:
        control = PAD_AXES.get(event.axis, "")
        value = max(-1.0, min(1.0, event.value / AXIS_FULL))
        return InputEvent("axis", control, value=value, time_s=time_s) if control else None
    if kind == pygame.WINDOWFOCUSLOST:
        return InputEvent("focus_lost", time_s=time_s)
    return None


def to_pygame(event: InputEvent) -> pygame.Event:
    """Return the pygame event that `to_input` reads back: how a script speaks to the window."""
    time_s = event.time_s
    if event.kind == "motion":
        return pygame.Event(pygame.MOUSEMOTION, rel=event.motion_px, pos=(0, 0), buttons=(0, 0, 0), time_s=time_s)
    if event.kind == "axis":
        return pygame.Event(pygame.CONTROLLERAXISMOTION, axis=_PAD_AXIS_NUMBERS[event.control],
                            value=event.value * AXIS_FULL, instance_id=0, time_s=time_s)
    if event.kind == "focus_lost":
        return pygame.Event(pygame.WINDOWFOCUSLOST, time_s=time_s)
    control = event.control
    if control in _MOUSE_NUMBERS:
        kind = pygame.MOUSEBUTTONDOWN if event.down else pygame.MOUSEBUTTONUP
        return pygame.Event(kind, button=_MOUSE_NUMBERS[control], pos=(0, 0), time_s=time_s)
    if control in _PAD_BUTTON_NUMBERS:
        kind = pygame.CONTROLLERBUTTONDOWN if event.down else pygame.CONTROLLERBUTTONUP
        return pygame.Event(kind, button=_PAD_BUTTON_NUMBERS[control], instance_id=0, time_s=time_s)
    kind = pygame.KEYDOWN if event.down else pygame.KEYUP
    return pygame.Event(kind, key=_key_code(control), mod=0, unicode="", scancode=0, control=control, time_s=time_s)


def _key_code(control: str) -> int:
    try:
        return pygame.key.key_code(control)
    except ValueError:
        return pygame.K_UNKNOWN  # the name alone reaches the world; no command of the player hangs on such a key
