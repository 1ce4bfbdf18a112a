"""The keys of a replay: what each of them asks for, and the page that tells.

They mean this even where the keymap binds them to the world; every other key of the world takes over.
"""

from __future__ import annotations

import dataclasses
from enum import Enum, auto
from typing import TYPE_CHECKING

import pygame

from ..actions.keymap import Keymap
from .screens import KeysScreen, world_keys

if TYPE_CHECKING:
    from .app import App

REPLAY_KEYS = (
    ("Space", "pause, go on"), (",  .", "one picture back, on"), ("Left, right", "5 s back, on"),
    ("Home, End", "first, last picture"), ("Click the bar", "go there"), ("-  =", "slower, faster"),
    ("Enter", "take over and play on"), ("F1", "figures"), ("K", "this page"), ("Esc", "leave the replay"),
)


class Command(Enum):
    PAUSE = auto()
    ON = auto()
    BACK = auto()
    EARLIER = auto()
    LATER = auto()
    FIRST = auto()
    LAST = auto()
    SLOWER = auto()
    FASTER = auto()
    TAKE_OVER = auto()
    FIGURES = auto()
    KEYS = auto()
    LEAVE = auto()


COMMAND_KEYS = {
    pygame.K_SPACE: Command.PAUSE, pygame.K_PERIOD: Command.ON, pygame.K_COMMA: Command.BACK,
    pygame.K_LEFT: Command.EARLIER, pygame.K_DOWN: Command.EARLIER, pygame.K_RIGHT: Command.LATER,
    pygame.K_UP: Command.LATER, pygame.K_HOME: Command.FIRST, pygame.K_END: Command.LAST,
    pygame.K_MINUS: Command.SLOWER, pygame.K_KP_MINUS: Command.SLOWER, pygame.K_EQUALS: Command.FASTER,
    pygame.K_PLUS: Command.FASTER, pygame.K_KP_PLUS: Command.FASTER, pygame.K_RETURN: Command.TAKE_OVER,
    pygame.K_KP_ENTER: Command.TAKE_OVER, pygame.K_F1: Command.FIGURES, pygame.K_k: Command.KEYS,
    pygame.K_ESCAPE: Command.LEAVE,
}


class ReplayKeysScreen(KeysScreen):
    """The keys of a replay, and those of the world, which take over."""

    def __init__(self, app: App, keymap: Keymap) -> None:
        super().__init__(app, keymap)
        own = {pygame.key.name(key) for key in COMMAND_KEYS}
        free = dataclasses.replace(keymap, keys={key: buttons for key, buttons in keymap.keys.items()
                                                 if key not in own})
        *rows, _ = world_keys(free)  # the last row is the mouse's motion, which points at the bar
        self._columns = (("The replay", list(REPLAY_KEYS)), ("Take over with", rows))
