"""One player process under supervision: started, listened to through its pipes, asked for its stack, ended."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

from ..errors import AstraPlayError
from .link import STACK_WORD, STOP_WORD

log = logging.getLogger(__name__)

KEPT_LINES = 40  # of what the player said last: a traceback and what led to it
STACK_LINES = 120  # all threads of a player
JOIN_S = 1.0  # for the last lines of a process that has ended


class Child:
    """A process with three pipes. Its heartbeats and log entries wait in `messages`, in the order they came."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start the process; AstraPlayError if the system refuses."""
        # a group of its own: Ctrl-C at the terminal is for the supervisor, and a kill reaches whatever it started
        own_group: dict[str, Any] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" \
            else {"start_new_session": True}
        try:
            self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, env=environment, **own_group)
        except OSError as error:
            raise AstraPlayError(f"the player cannot be started ({error}); check the installation with: "
                                 "python3 launch.py doctor") from None
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stack: deque[str] | None = None  # where lines go while a stack is awaited
        self._readers = [threading.Thread(target=self._read_messages, name="booth-messages", daemon=True),
                         threading.Thread(target=self._read_lines, name="booth-lines", daemon=True)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the code it ended with (negative: the signal that ended it), or None while it lives."""
        return self._process.poll()

    def last_lines(self) -> list[str]:
        """Return what it said last on stderr, the oldest first."""
        return list(self._lines)

    def ask_to_stop(self) -> None:
        self._say(STOP_WORD)

    def ask_for_stack(self) -> None:
        """Let it write the stacks of all its threads; `stack` returns what has come."""
        self._stack = deque(maxlen=STACK_LINES)
        if hasattr(signal, "SIGUSR1"):  # reaches a process that holds Python's lock as well
            self._send_signal(signal.SIGUSR1)
            self._send_signal(signal.SIGCONT)  # a stopped process tells nothing
        else:
            self._say(STACK_WORD)

    def stack(self) -> list[str]:
        return list(self._stack or ())

    def kill(self) -> None:
        """End it and whatever it started, whatever state it is in."""
        if os.name == "nt":
            self._process.kill()
        else:
            self._send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Take in what its pipes still hold and let go of them; the process must have ended.

        Whatever it started ends too, since it would hold the pipes open.
        """
        if os.name != "nt":
            self._send_signal(signal.SIGKILL)
        for reader in self._readers:
            reader.join(JOIN_S)
        pipes = [self._process.stdin]
        # closing a pipe that is still being read from would wait for its reader, perhaps for ever
        pipes += [pipe for pipe, reader in zip((self._process.stdout, self._process.stderr), self._readers, strict=True)
                  if not reader.is_alive()]
        for pipe in pipes:
            try:
                pipe.close()
            except OSError:
                pass  # what was still to be sent has nobody to go to

    def _say(self, word: str) -> None:
        try:
            self._process.stdin.write(word.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # it has just ended, which the next look at it shows

    def _send_signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number) if number == signal.SIGKILL else self._process.send_signal(number)
        except (ProcessLookupError, PermissionError):
            pass  # it has just ended

    def _read_messages(self) -> None:
        for line in _lines_of(self._process.stdout):
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict) and isinstance(message.get("kind"), str):
                self.messages.put(message)
            else:
                self._keep(line)  # somebody printed: better kept than lost

    def _read_lines(self) -> None:
        for line in _lines_of(self._process.stderr):
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._stack is not None:
            self._stack.append(line)
            return
        self._lines.append(line)
        try:
            print(line, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass  # a log on a full disk, a terminal that was closed: a pipe nobody empties would stop the player


def _lines_of(pipe: IO[bytes]) -> Any:
    try:
        for line in pipe:
            text = line.decode(errors="replace").rstrip()
            if text:
                yield text
    except (OSError, ValueError):
        return  # closed under our hands, after the process ended


def exit_words(code: int) -> str:
    """Return an exit code in words, a signal by its name."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
