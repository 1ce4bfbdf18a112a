"""Keeps a player running: starts it, listens to its heart, restarts it after a crash or a hang, ends with it.

Nothing here loads a network or opens a window: whatever happens to the player, this process stays small and alive. If
it dies all the same, the player notices within seconds and ends, and systemd or launchd starts both again.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import AstraPlayError
from .child import Child, exit_words
from .daylog import DayLog
from .profile import WatchLimits
from .watch import Backoff, Beat, Watch

if TYPE_CHECKING:
    from ..runtime.interfaces import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
REST_EVERY_S = 1.0  # between two signs of life to systemd while no player runs; its WatchdogSec is 8
STACK_WAIT_S = 2.0  # for the first line of the stacks of a player that hangs; a busy machine is slow to wake it
STACK_REST_S = 0.3  # for the other lines, before it is killed
STOP_WAIT_S = 5.0  # for a player that was asked to stop; a world inside a long call may need its time
EXIT_ERROR = 2  # the player's own sentence about a mistake in its settings


@dataclass(frozen=True)
class Ending:
    """How a player ended. `is_wanted`: it was told to."""

    reason: str
    code: int | None
    lived_s: float
    is_wanted: bool
    was_ready: bool
    noticed_s: float  # on the supervisor's clock
    stack: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class Supervisor:
    """The loop around one player at a time."""

    def __init__(self, command: Callable[[int], Sequence[str]], limits: WatchLimits, day_log: DayLog, clock: Clock,
                 environment: dict[str, str] | None = None) -> None:
        """`command(restarts)` returns the player's command line, told how often it was restarted."""
        self._command = command
        self._limits = limits
        self._day_log = day_log
        self._clock = clock
        self._environment = environment
        self._backoff = Backoff()
        self.num_restarts = 0
        self.down_s: list[float] = []  # of each restart, from the notice of the end to the next start

    def run(self, stop: threading.Event) -> int:
        """Keep a player running until `stop` is set or the player ends by the operator's wish; return an exit code."""
        self._day_log.add("start", pid=os.getpid())
        _tell_systemd("READY=1")
        try:
            while not stop.is_set():
                ending = self._play_once(stop)
                if ending.is_wanted or stop.is_set():
                    break
                if self.num_restarts == 0 and not ending.was_ready and ending.code == EXIT_ERROR:
                    return EXIT_ERROR  # a mistake in the settings: its sentence is on stderr, and waiting mends nothing
                self._wait_to_restart(ending, stop)
            return 0
        finally:
            _tell_systemd("STOPPING=1")
            self._day_log.add("stop", restarts=self.num_restarts)

    def _wait_to_restart(self, ending: Ending, stop: threading.Event) -> None:
        wait_s = self._backoff.wait_s(ending.lived_s)
        self.num_restarts += 1
        log.warning("The player ended after %.0f s (%s); it is started again in %.1f s.", ending.lived_s, ending.reason,
                    wait_s)
        self._rest(wait_s, stop)
        down_s = self._clock.now() - ending.noticed_s
        self.down_s.append(down_s)
        self._day_log.add("restart", reason=ending.reason, exit_code=ending.code, lived_s=round(ending.lived_s, 1),
                          down_s=round(down_s, 2), restarts=self.num_restarts, stack=list(ending.stack),
                          last_lines=list(ending.lines))

    def _rest(self, seconds: float, stop: threading.Event) -> None:
        """Wait, and let systemd know meanwhile: its patience is shorter than the longest wait before a restart."""
        ends_s = self._clock.now() + seconds
        while (left_s := ends_s - self._clock.now()) > 0.0 and not self._clock.wait(min(left_s, REST_EVERY_S), stop):
            _tell_systemd("WATCHDOG=1")

    def _play_once(self, stop: threading.Event) -> Ending:
        """Run one player to its end."""
        started_s = self._clock.now()
        try:
            child = Child(self._command(self.num_restarts), self._environment)
        except AstraPlayError as error:
            if self.num_restarts == 0:
                raise  # a mistake of whoever sets the booth up
            return Ending(str(error), None, 0.0, is_wanted=False, was_ready=False, noticed_s=started_s)
        watch = Watch(self._limits, started_s)
        try:
            reason = self._watch(child, watch, stop)
            noticed_s = self._clock.now()
        except BaseException:
            child.kill()
            raise
        finally:
            child.close()
            self._take_messages(child, watch)
        code = child.exit_code()
        return Ending(reason or exit_words(code), code, noticed_s - started_s, not reason and code == 0, watch.is_ready,
                      noticed_s, tuple(child.stack()), tuple(child.last_lines()))

    def _watch(self, child: Child, watch: Watch, stop: threading.Event) -> str:
        """Look after a player until it has ended; return why it had to be killed ("": it was not)."""
        while child.exit_code() is None:
            if self._clock.wait(LOOK_EVERY_S, stop):
                self._stop_child(child)
                return ""
            _tell_systemd("WATCHDOG=1")
            self._take_messages(child, watch)
            reason = watch.verdict(self._clock.now())
            if reason:
                self._let_it_tell(child, stop)
                child.kill()
                return reason
        return ""

    def _let_it_tell(self, child: Child, stop: threading.Event) -> None:
        """Ask a player that hangs where its threads are, and wait a moment for the answer."""
        child.ask_for_stack()
        ends_s = self._clock.now() + STACK_WAIT_S
        while not child.stack() and self._clock.now() < ends_s and not self._clock.wait(LOOK_EVERY_S, stop):
            pass
        self._clock.wait(STACK_REST_S, stop)

    def _stop_child(self, child: Child) -> None:
        child.ask_to_stop()
        ends_s = self._clock.now() + STOP_WAIT_S
        never = threading.Event()
        while child.exit_code() is None and self._clock.now() < ends_s:
            self._clock.wait(LOOK_EVERY_S, never)
            _tell_systemd("WATCHDOG=1")
        if child.exit_code() is None:
            log.warning("The player did not stop within %.0f s and is killed.", STOP_WAIT_S)
            child.kill()

    def _take_messages(self, child: Child, watch: Watch) -> None:
        """Feed heartbeats to the watch and everything else to the daily log, whose only writer this is."""
        while True:
            try:
                message = child.messages.get_nowait()
            except queue.Empty:
                return
            kind = message.pop("kind")
            if kind != "beat":
                message.pop("t", None)
                self._day_log.add(kind, **message)
                continue
            try:
                watch.beat(Beat.of(message), self._clock.now())
            except (KeyError, TypeError, ValueError):
                log.debug("a heartbeat that cannot be read: %s", message)


def player_command(arguments: Sequence[str]) -> Callable[[int], list[str]]:
    """Return how the supervisor starts its player: this Python, the same profile, without a supervisor of its own."""
    return lambda restarts: [sys.executable, "-m", "astra_play", "kiosk", "--player", "--restarts", str(restarts),
                             *arguments]


def _tell_systemd(state: str) -> None:
    """Send a line of sd_notify where a service asked for it (Type=notify, WatchdogSec); elsewhere do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(state.encode())
    except OSError as error:
        log.debug("systemd cannot be told %s: %s", state, error)
