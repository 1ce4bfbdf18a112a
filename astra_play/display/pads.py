"""The game controllers that are plugged in: opened, counted, and heard as one when there are several.

A world listens to one pad. Two of them are merged here, before anybody hears them: a button is up when it is up on
every pad, and of an axis the pad counts that pushes it furthest.
"""

from __future__ import annotations

import logging
from types import ModuleType

import pygame

from .events import AXIS_FULL, PAD_AXES

log = logging.getLogger(__name__)

PLUG_EVENTS = (pygame.CONTROLLERDEVICEADDED, pygame.CONTROLLERDEVICEREMOVED)
PAD_EVENTS = (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP, pygame.CONTROLLERAXISMOTION)


class Pads:
    """The pads that are open; opening one is what makes its events arrive."""

    def __init__(self, module: ModuleType | None = None) -> None:
        """Open every pad that is there. `module`: None is SDL's."""
        if module is None:
            from pygame._sdl2 import controller  # the only face of SDL's pad names in pygame, private by its path alone

            module = controller
        self._module = module
        self._open: dict[int, object] = {}
        try:
            module.init()
            count = module.get_count()
        except RuntimeError as error:
            log.warning("Gamepads cannot be looked for (%s); keyboard and mouse play.", error)
            count = 0
        for index in range(count):
            self._plug_in(index)

    @property
    def names(self) -> list[str]:
        return [_name(pad) for pad in self._open.values()]

    def note(self, event: pygame.Event) -> str:
        """Open or forget the pad of a plug event; return its name, or "" if nothing has changed.

        SDL also tells of pads that were there from the beginning.
        """
        if event.type == pygame.CONTROLLERDEVICEADDED:
            return self._plug_in(event.device_index)
        pad = self._open.pop(event.instance_id, None)
        return "" if pad is None else _name(pad)

    def close(self) -> None:
        self._open.clear()
        self._module.quit()

    def _plug_in(self, index: int) -> str:
        try:
            if not self._module.is_controller(index):
                return ""
            pad = self._module.Controller(index)
        except RuntimeError as error:  # what pygame.error is, and the error of the controllers' own module
            log.warning("A gamepad cannot be opened (%s); the player goes on without it.", error)
            return ""
        is_new = pad.id not in self._open
        self._open[pad.id] = pad
        return _name(pad) if is_new else ""


def _name(pad: object) -> str:
    return str(getattr(pad, "name", "") or "Gamepad")


class PadHands:
    """What is held on each pad, so that all of them together can be told as one."""

    def __init__(self) -> None:
        self._axes: dict[int, dict[int, float]] = {}  # pad -> axis -> value as SDL counts
        self._down: dict[int, set[int]] = {}  # pad -> buttons

    def merge(self, event: pygame.Event) -> pygame.Event | None:
        """Return what a pad's event means for all pads together; None if it means nothing."""
        pad = getattr(event, "instance_id", 0)
        if event.type == pygame.CONTROLLERAXISMOTION:
            self._axes.setdefault(pad, {})[event.axis] = event.value
            furthest = max((axes.get(event.axis, 0.0) for axes in self._axes.values()), key=abs)
            return event if furthest == event.value else pygame.Event(event.type, {**event.dict, "value": furthest})
        down = self._down.setdefault(pad, set())
        if event.type == pygame.CONTROLLERBUTTONDOWN:
            down.add(event.button)
            return event
        down.discard(event.button)
        return None if any(event.button in others for others in self._down.values()) else event

    def forget(self, pad: int) -> None:
        """A pad has gone: what was held on it is let go of."""
        self._axes.pop(pad, None)
        self._down.pop(pad, None)

    def axes(self) -> dict[str, float]:
        """Return pad axis -> value in [-1, 1], of the pad that pushes it furthest."""
        return {name: max((axes.get(axis, 0.0) for axes in self._axes.values()), key=abs, default=0.0) / AXIS_FULL
                for axis, name in PAD_AXES.items()}

    def buttons(self) -> frozenset[int]:
        """Return SDL's numbers of the buttons that are down on any pad."""
        return frozenset().union(*self._down.values())
