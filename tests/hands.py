"""A player's hands on the window loop: they open it, post events, wait for what should come of them, and look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pygame
from fakes_display import CardCatalogue, CardWorld

from astra_play.display.app import App, PlayOptions

PATIENCE_S = 5.0  # a busy machine may be slow, and only a broken loop uses it up


class Player:
    """A pair of hands: posts events, runs the loop until something has come true, reads the card."""

    def __init__(self, app: App, catalogue: CardCatalogue) -> None:
        self.app, self.catalogue = app, catalogue

    def until(self, come_true: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not come_true():
            assert time.monotonic() < end_s, f"never came true: {what}"
            self.app.step()

    def post(self, kind: int, **values: object) -> None:
        """Post one event and let the loop take it."""
        pygame.event.post(pygame.Event(kind, **values))
        self.steps(1)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.app.step()

    def press(self, key: int, mod: int = 0) -> None:
        self.key(key, True, mod)
        self.key(key, False, mod)
        self.steps(1)

    def key(self, key: int, down: bool, mod: int = 0) -> None:
        kind = pygame.KEYDOWN if down else pygame.KEYUP
        pygame.event.post(pygame.Event(kind, key=key, mod=mod, unicode="", scancode=0))

    def write(self, text: str) -> None:
        """Let text come as a keyboard or an input method brings it."""
        self.post(pygame.TEXTINPUT, text=text)

    def drop(self, *paths: Path) -> None:
        """Drop files on the window as a desktop does."""
        pygame.event.post(pygame.Event(pygame.DROPBEGIN))
        for path in paths:
            pygame.event.post(pygame.Event(pygame.DROPFILE, file=str(path)))
        self.post(pygame.DROPCOMPLETE)

    def move_mouse(self, right: int, down: int = 0) -> None:
        pygame.event.post(pygame.Event(pygame.MOUSEMOTION, rel=(right, down), pos=(0, 0), buttons=(0, 0, 0)))

    def click(self, at: tuple[int, int]) -> None:
        pygame.event.post(pygame.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=at))
        self.steps(1)

    def frames(self, count: int) -> None:
        """Let the world show that many more frames."""
        wanted = self.play.num_shown + count
        self.until(lambda: self.play.num_shown >= wanted, f"{count} more frames")

    @property
    def play(self):
        return self.app.play_screen

    @property
    def top(self):
        return self.app.screens[-1]

    @property
    def world(self) -> CardWorld:
        return self.catalogue.loaded[-1]

    @property
    def frame(self) -> np.ndarray:
        return self.play._presenter.frame


@contextmanager
def seats(**always: object) -> Iterator[Callable[..., Player]]:
    """Lend a function that opens the window with test cards for worlds and sits a player before it.

    It takes a catalogue (None: the plain one) and options; those given here are for every player. All windows are
    closed at the end.
    """
    apps: list[App] = []

    def make(catalogue: CardCatalogue | None = None, **options: object) -> Player:
        catalogue = catalogue or CardCatalogue()
        apps.append(App(PlayOptions(headless=True, catalogue=catalogue, **{"seconds": 1000.0, **always, **options})))
        apps[-1].open()
        return Player(apps[-1], catalogue)

    yield make
    for app in apps:
        app.options.catalogue.may_read.set()  # a world that still reads a prompt would keep its session from ending
        app.close()
