"""The player's end of the pipes to its supervisor: heartbeats and log entries go out, a lifeline comes in.

stdout carries JSON lines, stdin stays open as long as the supervisor lives. When it ends, the supervisor has died, and
the player must not outlive it: a second one would start beside it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from .daylog import DayLog
from .watch import BEAT_S, Beat

if TYPE_CHECKING:
    from ..runtime.interfaces import Clock

log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 3.0  # for closing the window properly after the supervisor's death
EXIT_ORPHANED = 3
STOP_WORD, STACK_WORD = "stop", "stack"


class BoothLink(Protocol):
    """What the kiosk tells its surroundings, and what they ask of it."""

    stop_asked: threading.Event

    def turned(self, beat: Beat) -> None:
        """Note one turn of the window's loop with what there is to say about it."""
        ...

    def record(self, kind: str, **fields: Any) -> None:
        """Put an entry into the daily log; never blocks."""
        ...

    def close(self) -> None: ...


class Alone:
    """A kiosk without a supervisor keeps the daily log itself."""

    def __init__(self, day_log: DayLog) -> None:
        self.stop_asked = threading.Event()
        self._day_log = day_log

    def turned(self, beat: Beat) -> None:
        pass

    def record(self, kind: str, **fields: Any) -> None:
        self._day_log.add(kind, **fields)

    def close(self) -> None:
        pass


class Link:
    """Two threads of the player: one beats, one listens. The window's thread never waits for either."""

    def __init__(self, clock: Clock, out_fd: int = 1, in_fd: int = 0) -> None:
        self.stop_asked = threading.Event()
        self._clock = clock
        self._out_fd, self._in_fd = out_fd, in_fd
        self._beat = Beat(ready=False, loop_age_s=0.0, phase="starting")
        self._turned_s = clock.now()
        self._records: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._beater = threading.Thread(target=self._beat_on, name="astra-heartbeat", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="astra-lifeline", daemon=True)

    def start(self) -> None:
        """Begin to beat, and let faults leave their stack on stderr, which the supervisor keeps."""
        if sys.stderr is not None:
            faulthandler.enable(file=sys.stderr, all_threads=True)
            if hasattr(faulthandler, "register"):  # not on Windows, where the word "stack" does the same
                faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)
        self._beater.start()
        self._listener.start()

    def turned(self, beat: Beat) -> None:
        self._beat, self._turned_s = beat, self._clock.now()

    def record(self, kind: str, **fields: Any) -> None:
        self._records.put({"kind": kind, **fields})

    def close(self) -> None:
        """Send what is waiting and beat no more."""
        self._closed.set()
        if self._beater.is_alive():
            self._beater.join(1.0)

    def _beat_on(self) -> None:
        while not self._clock.wait(BEAT_S, self._closed):
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        turned_s, beat = self._turned_s, self._beat
        age_s = self._clock.now() - turned_s
        lines = [{"kind": "beat", "ready": beat.ready, "loop_age_s": round(beat.loop_age_s + age_s, 3),
                  "chunk_age_s": _later(beat.chunk_age_s, age_s), "loading_s": _later(beat.loading_s, age_s),
                  "phase": beat.phase}]
        while not self._records.empty():
            lines.append(self._records.get())
        try:
            data = "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()
            while data:
                data = data[os.write(self._out_fd, data):]
        except OSError:  # nobody reads any more: the listener has noticed, or will
            self.stop_asked.set()

    def _listen(self) -> None:
        """Obey single words until the lifeline is cut."""
        waiting = b""
        while True:
            try:
                data = os.read(self._in_fd, 1024)
            except OSError:
                data = b""
            if not data:
                break
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                self._obey(line.decode(errors="replace").strip())
        if self._closed.is_set():
            return
        log.warning("The supervisor is gone; the player ends too.")
        self.stop_asked.set()
        self._clock.wait(ORPHAN_GRACE_S, self._closed)
        os._exit(EXIT_ORPHANED)  # the window's thread may be what hangs

    def _obey(self, word: str) -> None:
        if word == STOP_WORD:
            self.stop_asked.set()
        elif word == STACK_WORD and sys.stderr is not None:
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)


def _later(age_s: float | None, passed_s: float) -> float | None:
    return None if age_s is None else round(age_s + passed_s, 3)
