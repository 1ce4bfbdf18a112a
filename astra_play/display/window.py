"""The SDL window: opened, resized, made full screen, minimised, and the mouse it holds on to while playing.

Nothing here knows what is drawn. `pygame.Window` rather than the display module, because only it draws with every
pixel of a hi-dpi screen; mouse positions are scaled from its points to the surface's pixels.
"""

from __future__ import annotations

import os
import warnings

import pygame
import pygame.scrap

from ..errors import DisplayError, own_command
from .settings import MIN_WINDOW_PX

TITLE = "Astra Play"
REPEAT_AFTER_MS, REPEAT_EVERY_MS = 400, 33  # of a key held while text is written, as desktops have it
UNSEEN_DRIVERS = ("dummy", "offscreen")  # SDL falls back to these where nothing can show a picture


class Window:
    """The one window of the player; all methods belong to the main thread."""

    def __init__(self, size: tuple[int, int], fullscreen: bool = False, headless: bool = False) -> None:
        """Open the window; DisplayError if there is no display to open it on."""
        if headless:
            os.environ["SDL_VIDEODRIVER"] = "dummy"
        # without it Windows scales the finished window up, and text is blurred
        os.environ.setdefault("SDL_WINDOWS_DPI_AWARENESS", "permonitorv2")
        # SDL would send the finished pixels through OpenGL, which without a GPU takes 110 ms at 4K instead of 7
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        self._window = _open(size)
        self._window.minimum_size = MIN_WINDOW_PX
        pygame.key.stop_text_input()  # or an input method would take the letters that are walked with
        self.fullscreen = False
        self.minimised = False
        self.grabbed = False
        if fullscreen:
            self.toggle_fullscreen()

    @property
    def surface(self) -> pygame.Surface:
        """The pixels of the window; ask again after a resize."""
        return self._window.get_surface()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in the points that the desktop counts in."""
        return self._window.size

    @property
    def focused(self) -> bool:
        """Tell whether keys reach this window now."""
        return self._window.focused

    def resize(self, size: tuple[int, int]) -> None:
        self._window.size = size

    def flip(self) -> None:
        self._window.flip()

    def toggle_fullscreen(self) -> None:
        if self.fullscreen:
            self._window.set_windowed()
        else:
            self._window.set_fullscreen(desktop=True)  # desktop: the screen keeps its resolution, other windows theirs
        self.fullscreen = not self.fullscreen

    def lock(self) -> None:
        """Keep a booth's visitors inside: no pointer, and the desktop's own keys (Alt+Tab) reach the window instead."""
        pygame.mouse.set_visible(False)
        self._window.grab_keyboard = True

    def restore(self) -> None:
        """Bring a minimised window back."""
        self._window.restore()

    def to_pixels(self, point: tuple[float, float]) -> tuple[int, int]:
        """Turn a mouse position in points into pixels of the surface."""
        width, height = self.size
        width_px, height_px = self.surface.get_size()
        return round(point[0] * width_px / max(1, width)), round(point[1] * height_px / max(1, height))

    def grab_mouse(self) -> None:
        """Hide the pointer and take relative motion, so that a turn never ends at the edge of the screen."""
        self._set_grab(True)

    def release_mouse(self) -> None:
        self._set_grab(False)

    def _set_grab(self, grabbed: bool) -> None:
        if grabbed == self.grabbed:
            return
        with warnings.catch_warnings():  # pygame asks for a display-module window, yet the mode belongs to the mouse
            warnings.simplefilter("ignore", DeprecationWarning)
            pygame.mouse.set_relative_mode(grabbed)
        pygame.mouse.get_rel()  # the jump from the pointer's old place is nobody's turn
        self._window.grab_mouse = grabbed
        self.grabbed = grabbed

    def begin_text(self) -> None:
        """Let keys make text events, through the input method of the desktop, and repeat while they are held."""
        pygame.key.start_text_input()
        pygame.key.set_repeat(REPEAT_AFTER_MS, REPEAT_EVERY_MS)

    def end_text(self) -> None:
        pygame.key.stop_text_input()
        pygame.key.set_repeat(0)

    def place_text(self, box: pygame.Rect) -> None:
        """Tell the input method where text is written, in pixels, so that what it offers appears beside it."""
        (width, height), (width_px, height_px) = self.size, self.surface.get_size()
        x, y = width / max(1, width_px), height / max(1, height_px)
        pygame.key.set_text_input_rect(pygame.Rect(round(box.x * x), round(box.y * y), round(box.width * x),
                                                   round(box.height * y)))

    def clipboard(self) -> str:
        """Return the text of the clipboard, "" if there is none or it cannot be asked."""
        try:
            return pygame.scrap.get_text()
        except (pygame.error, UnicodeError):  # another program may have put there what is no text
            return ""

    def note(self, event: pygame.Event) -> None:
        """Keep track of what the desktop did to the window."""
        if event.type in (pygame.WINDOWMINIMIZED, pygame.WINDOWHIDDEN):
            self.minimised = True
        elif event.type in (pygame.WINDOWRESTORED, pygame.WINDOWSHOWN, pygame.WINDOWMAXIMIZED):
            self.minimised = False

    def close(self) -> None:
        self.release_mouse()
        self._window.destroy()
        pygame.display.quit()


def _open(size: tuple[int, int]) -> pygame.Window:
    try:
        pygame.display.init()
        driver = pygame.display.get_driver()
        if driver in UNSEEN_DRIVERS and "SDL_VIDEODRIVER" not in os.environ:  # the session would run where nobody sees
            raise pygame.error(f"SDL found only its {driver!r} driver")
        return pygame.Window(TITLE, size, resizable=True, allow_high_dpi=True)
    except pygame.error as error:
        pygame.display.quit()
        raise DisplayError(f"no window can be opened here ({error}); run it on a machine with a screen, over ssh with "
                           f"ssh -X, or without a window: {own_command()} play --headless --seconds 10") from None
