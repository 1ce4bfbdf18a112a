"""The operator's chord as global hotkeys through pynput, where a desktop lets it; a sentence where not.

pynput is optional twice: it may not be installed, and it may be unable to listen (no X server, Wayland, no permission
on macOS). The same chord works as plain keys of the window in every case.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .profile import OperatorKeys

log = logging.getLogger(__name__)

REPEAT_S = 0.5  # a chord reaches the window and the global hotkeys: within so long it is one press


class OperatorCommands:
    """Commands of the operator from wherever they come, each press once."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last: dict[str, float] = {}  # command -> when it was given

    def give(self, command: str) -> None:
        """Ask for a command (any thread)."""
        self._waiting.put(command)

    def take(self, now_s: float) -> list[str]:
        """Return the commands given since the last call, without the echo of a press."""
        commands = []
        while not self._waiting.empty():
            command = self._waiting.get()
            if now_s - self._last.get(command, -REPEAT_S) >= REPEAT_S:
                commands.append(command)
            self._last[command] = now_s
        return commands


class Hotkeys:
    """pynput's listener; `missing` says in a sentence why there is none."""

    def __init__(self, keys: OperatorKeys, give: Callable[[str], None],
                 load: Callable[[], Any] | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._listener: Any = None
        self.missing = ""
        try:
            keyboard = (load or _pynput_keyboard)()
            modifiers = "+".join(f"<{name}>" for name in keys.modifiers)
            bindings = {f"{modifiers}+{letter}": _giver(give, command) for letter, command in keys.commands().items()}
            self._listener = keyboard.GlobalHotKeys(bindings)
            self._listener.start()
        except ModuleNotFoundError:
            self.missing = "pynput is not installed (pip install 'astra-play[hotkeys]')"
        except Exception as error:  # whatever a desktop has against it: a booth plays without global hotkeys
            self.missing = f"pynput cannot listen here ({_first_line(error)})"
        else:
            self.missing = self._doubt(environment)
        if self.missing:
            log.warning("Global hotkeys: %s; %s + a letter works in the window.", self.missing, keys.chord)

    def _doubt(self, environment: Mapping[str, str]) -> str:
        """Return why a listener that has started may still hear nothing."""
        if environment.get("WAYLAND_DISPLAY") or environment.get("XDG_SESSION_TYPE") == "wayland":
            return "Wayland shows pynput only the keys of X windows"
        if sys.platform == "darwin" and not getattr(self._listener, "IS_TRUSTED", True):
            return "macOS has not allowed this program to watch the keyboard (Privacy and Security, Input Monitoring)"
        return ""

    def close(self) -> None:
        if self._listener is not None:
            try:
                self._listener.stop()
            except Exception as error:
                log.debug("pynput's listener did not stop: %s", error)
            self._listener = None


def _pynput_keyboard() -> Any:
    # here and not above: importing it asks for the display
    from pynput import keyboard

    return keyboard


def _giver(give: Callable[[str], None], command: str) -> Callable[[], None]:
    return lambda: give(command)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
