"""What a screen is to the window's loop, and the two kinds that most are: a still page, and a panel of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pygame

from .canvas import Canvas
from .listmenu import ListMenu
from .navigation import Navigator

if TYPE_CHECKING:
    from .app import App

IDLE_POLL_S = 0.03  # menus wake up on events; this only bounds how late a toast disappears


class Screen(Protocol):
    """One layer of the window. The app draws from the last one that is not see-through upwards."""

    see_through: bool
    poll_s: float
    lift: float  # units that it takes at the bottom of the window, above which toasts lie

    def handle(self, event: pygame.Event, polled_at_s: float) -> None: ...

    def tick(self, now_s: float) -> bool:
        """Let time pass; return whether the picture has changed."""
        ...

    def draw(self, canvas: Canvas) -> None: ...

    def flipped(self, flip_s: float) -> None: ...

    def cover(self) -> None: ...

    def uncover(self) -> None: ...

    def minimise(self, minimised: bool) -> None: ...

    def close(self) -> None: ...


class StillScreen:
    """What every screen without a world of its own has in common: it changes only when an event changes it."""

    see_through = False
    poll_s = IDLE_POLL_S
    lift = 0.0

    def __init__(self, app: App) -> None:
        self._app = app
        self._navigator = Navigator()
        self._navigator.note_pushed(app.pad_hands.axes())

    def tick(self, now_s: float) -> bool:
        return False

    def flipped(self, flip_s: float) -> None:
        pass

    def cover(self) -> None:
        pass

    def uncover(self) -> None:
        """The screen is on top again; what lay over it heard the sticks meanwhile."""
        self._navigator.note_pushed(self._app.pad_hands.axes())

    def minimise(self, minimised: bool) -> None:
        pass

    def close(self) -> None:
        pass


class ListScreen(StillScreen):
    """A panel with lines over whatever lies below, dimmed."""

    see_through = True

    def __init__(self, app: App, panel: ListMenu) -> None:
        super().__init__(app)
        self.panel = panel

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        self._app.redraw()
        if event.type == pygame.MOUSEMOTION:
            self.panel.point(self._app.window.to_pixels(event.pos))
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self.panel.click(self._app.window.to_pixels(event.pos))
        else:
            move = self._navigator.move(event)
            if move is not None:
                self.panel.move(move)

    def draw(self, canvas: Canvas) -> None:
        canvas.shade(150)
        self.panel.draw(canvas)
