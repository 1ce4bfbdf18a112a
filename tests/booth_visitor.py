"""A booth in the real window loop: two test cards for worlds, a policy clock that tests push, and a visitor's hands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pygame
from fakes_display import CardCatalogue
from hands import Player

from astra_play.booth.profile import parse_profile
from astra_play.booth.watch import Beat
from astra_play.display.booth_pages import ChooseScreen
from astra_play.display.booth_play import BoothPlay
from astra_play.display.kiosk import KioskApp
from astra_play.display.options import PlayOptions
from astra_play.errors import WeightsError

PROFILE = """
worlds = ["card", "card two"]
[times]
session_s = 60.0
last_s = 10.0
idle_s = 20.0
warning_s = 10.0
choose_s = 30.0
thanks_s = 12.0
tour_s = 40.0
load_s = 50.0
"""


class BoothClock:
    """A policy's time that tests push forward; between pushes it stands still."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        return self.now_s

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        raise AssertionError("a policy waits for nothing")


class ListLink:
    """A link that keeps what it is told."""

    def __init__(self) -> None:
        self.stop_asked = threading.Event()
        self.entries: list[dict[str, Any]] = []
        self.beats: list[Beat] = []
        self.closed = False

    def turned(self, beat: Beat) -> None:
        self.beats = [*self.beats[-20:], beat]

    def record(self, kind: str, **fields: Any) -> None:
        self.entries.append({"kind": kind, **fields})

    def close(self) -> None:
        self.closed = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["kind"] == kind]


class TwoCards(CardCatalogue):
    """Two worlds for a start page, and a name that no world has."""

    def entries(self):
        card, broken = super().entries()
        return [card, type(card)("card two", "Second card", "", card.starts), broken]

    def config(self, name: str):
        if name == "nowhere":
            raise WeightsError("there is no world 'nowhere'; known: card")
        return super().config(name)


class Visitor(Player):
    """Hands at a booth whose hours a test pushes forward."""

    def __init__(self, app: KioskApp, catalogue: CardCatalogue, clock: BoothClock) -> None:
        super().__init__(app, catalogue)
        self.clock = clock

    @property
    def phase(self) -> str:
        return self.app.policy.phase

    @property
    def link(self) -> ListLink:
        return self.app.link

    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.steps(2)

    def finger(self, kind: int, at: tuple[float, float], finger_id: int = 1) -> None:
        width, height = self.app.window.surface.get_size()
        self.post(kind, touch_id=7, finger_id=finger_id, x=at[0] / width, y=at[1] / height, dx=0.0, dy=0.0)

    def tap(self, at: tuple[float, float]) -> None:
        self.finger(pygame.FINGERDOWN, at)
        self.finger(pygame.FINGERUP, at)

    def wake(self) -> None:
        self.press(pygame.K_SPACE)
        self.until(lambda: isinstance(self.top, ChooseScreen), "the start page")
        self.top._opened_s -= 10.0

    def enter(self) -> None:
        """Walk from the attract loop into the first world."""
        self.wake()
        self.press(pygame.K_RETURN)
        self.until(lambda: isinstance(self.top, BoothPlay) and self.top.playing, "the first frame of a visit")


@contextmanager
def booths() -> Iterator[Callable[..., Visitor]]:
    """Lend a maker of visitors, each at an open booth of its own; all booths are closed at the end."""
    apps: list[KioskApp] = []

    def make(profile: str = PROFILE, catalogue: CardCatalogue | None = None, base: Path = Path(),
             **options: Any) -> Visitor:
        catalogue, clock = catalogue or TwoCards(), BoothClock()
        app = KioskApp(parse_profile(profile, "a test's profile", base), ListLink(),
                       PlayOptions(headless=True, catalogue=catalogue), policy_clock=clock, **options)
        apps.append(app)
        app.open()
        return Visitor(app, catalogue, clock)

    try:
        yield make
    finally:
        for app in apps:
            app.close()
