"""The recorder of a session: hears the journal on the generator thread, is commanded and asked on the main thread.

Neither ever waits for it: what it hears goes into a queue for the recording thread (record.writer). While that thread
is behind by more than MAX_WAITING_BYTES of frames, the frames of further chunks are left out; the chunks themselves,
with their controls, are small and are never left out.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..config import WorldConfig
from ..errors import RecordingError
from ..runtime.journal import Entry, Made
from .branch import Continuation
from .format import Head
from .messages import Begin, Board, End, HeardChunk, Leave, Notice, Save, Status, Target, Written

__all__ = ["Notice", "Recorder", "Status", "Target", "Written"]

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64_000_000  # two seconds and a half of 832x480 at 20 fps: longer than a disk stands still
STUCK_AFTER_S = 20.0  # a disk that has not answered for so long is left to its thread, which ends with the process


class Recorder:
    """Subscribe it to a session's journal before the session starts, and close it after the session has stopped."""

    def __init__(self, config: WorldConfig, make_head: Callable[[], Head],
                 open_file: Callable[[Path], BinaryIO] | None = None) -> None:
        """`make_head`: the log's first line without what changes in play; called once, on the recording thread.

        `open_file`: creates each file unbuffered, as `video.create_file` does, which is what None stands for.
        """
        self._config, self._make_head, self._open_file = config, make_head, open_file
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self.board = Board()
        self._waiting_in_bytes = 0  # frames ever put into the queue; the writer counts those it took out
        self._num_heard = self._num_asked = 0  # put into the queue by the generator's thread, and by the main thread
        self._closed = False
        self._wants_recording = False
        self._was_asked = False  # for anything, so that closing must wait
        self._thread = threading.Thread(target=self._run, name="astra-recorder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Work until closed (recording thread)."""
        try:
            from .video import create_file  # here, since loading the video library takes a tenth of a second
            from .writer import Writer

            writer = Writer(self._queue, self.board, self._config, self._make_head, self._open_file or create_file)
        except Exception as error:  # a broken video library costs the recordings, not the play
            log.warning("Nothing can be recorded here: %s", error)
            self._refuse(RecordingError(f"Nothing can be recorded here ({error}); install the package av anew: "
                                        "pip install --force-reinstall av"))
            return
        writer.run()

    def _refuse(self, error: RecordingError) -> None:
        """Take what comes, or frames would pile up, and answer every wish with the reason."""
        while not isinstance(item := self._queue.get(), Leave):
            if isinstance(item, (Begin, Save)):
                self.board.has_failed = True
                self.board.notices.put(Notice(str(error), error))
            self.board.num_done += 1

    def continue_from(self, before: Continuation) -> None:
        """Take what went before as if it had been heard; before the session starts."""
        self._queue.put(before)

    # --- generator thread -------------------------------------------------------------------------------------------

    def hear(self, entry: Entry) -> None:
        """Queue an entry of the journal; never waits."""
        if self._closed:
            return
        self._num_heard += 1
        self._queue.put(self._heard(entry) if isinstance(entry, Made) else entry)

    def _heard(self, made: Made) -> HeardChunk:
        chunk, num_frames = made.chunk, len(made.chunk.frames)
        num_bytes = chunk.frames.nbytes + (0 if chunk.latents is None else chunk.latents.nbytes)
        waiting_bytes = self._waiting_in_bytes - self.board.taken_bytes
        if waiting_bytes and waiting_bytes + num_bytes > MAX_WAITING_BYTES:
            chunk, num_bytes = replace(chunk, frames=np.empty((0, 0, 0, 3), np.uint8), latents=None), 0
        self._waiting_in_bytes += num_bytes
        return HeardChunk(made.number, chunk, num_frames, num_bytes)

    # --- main thread ------------------------------------------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """Whether a recording was asked for and has not ended, be it by itself."""
        return self._wants_recording and not self.board.has_failed

    @property
    def status(self) -> Status | None:
        """The recording under way, or None."""
        return self.board.status

    @property
    def is_idle(self) -> bool:
        """Whether everything that was heard is written; for measurements and tests."""
        return self._num_heard + self._num_asked == self.board.num_done and not self.board.has_frames

    def begin(self, target: Target) -> None:
        """Begin a recording with the next frame; what becomes of it is told by `notice`."""
        if not self.is_recording:
            self.board.has_failed = False
            self._wants_recording = self._was_asked = True
            self._ask(Begin(target))

    def end(self, reason: str = "stopped") -> None:
        """End the recording under way."""
        if self._wants_recording:
            self._wants_recording = False
            self._ask(End(reason))

    def save_last(self, target: Target) -> None:
        """Save what the frame buffer holds, the last 30 s, while play and a recording go on."""
        self._was_asked = True
        self._ask(Save(target))

    def _ask(self, command: Begin | End | Save | Leave) -> None:
        self._num_asked += 1
        self._queue.put(command)

    def notice(self) -> Notice | None:
        """Return one thing that the player must hear of, or None."""
        try:
            return self.board.notices.get_nowait()
        except queue.Empty:
            return None

    def leave(self, reason: str = "session ended") -> None:
        """End what is under way; what waits is written, `close` waits for that. Leaving twice is harmless."""
        if not self._closed:
            self._closed = True
            self._ask(Leave(reason))

    @property
    def is_gone(self) -> bool:
        """Whether everything is written after a `leave`, and no further notice comes."""
        return not self._thread.is_alive()

    def close(self, reason: str = "session ended") -> None:
        """End what is under way, write what waits, and join the thread. Closing twice is harmless."""
        self.leave(reason)
        if not self.board.is_ready and not self._was_asked:
            return  # nothing was asked for, and reading large weights takes seconds
        num_turns = -1
        while self._thread.is_alive() and self.board.num_turns != num_turns:  # a slow encoder is no dead disk
            num_turns = self.board.num_turns
            self._thread.join(STUCK_AFTER_S)
        if self._thread.is_alive():
            log.warning("The recording could not be finished, since nothing was written for %.0f s; what was written "
                        "is kept.", STUCK_AFTER_S)
