"""The recording thread: entries of the journal and commands of the player -> hashes, log lines, frames in files.

What comes first: what has just been heard (a hash and a line take a millisecond), then one frame of the recording,
then one frame of the last seconds being saved. So a slow encoder costs frames of the video and nothing else.
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ..config import WorldConfig
from ..errors import RecordingError
from ..runtime.journal import Changed, Started, Stilled
from . import format as lines
from .branch import Continuation
from .buffer import FrameBuffer
from .messages import Begin, Board, End, HeardChunk, Leave, Notice, Save, Status, Target, Written
from .past import Past, StartLines
from .recording import OpenFile, OpenRecording, create_file, reason_of
from .saving import SavedLast
from .sentences import failed, summary, what_is_kept

log = logging.getLogger(__name__)

MAX_SAVES = 2  # at a time: each holds 30 s of frames, and a disk that is behind would be asked for ever more

HeadMaker = Callable[[], lines.Head]


class Writer:
    """What the recording thread does. Other threads put into `inbox` and read the board."""

    def __init__(self, inbox: queue.SimpleQueue, board: Board, config: WorldConfig, make_head: HeadMaker,
                 open_file: OpenFile = create_file) -> None:
        self._inbox, self._board = inbox, board
        self._config = config
        self._make_head = make_head
        self._open_file = open_file
        self._buffer = FrameBuffer(config.shown_width, config.shown_height, config.fps)
        self._past = Past()
        self._values: dict[str, float | int | bool | str] = {}
        self._head: lines.Head | None = None
        self._begin: Begin | None = None  # asked for before the world was started
        self._recording: OpenRecording | None = None
        self._saved: deque[SavedLast] = deque()
        self._num_frames = 0  # over all, dropped ones included
        self._next_number = 0
        self._first_s: float | None = None  # when the first chunk's controls were read
        self._time_s = 0.0
        self._began_s = 0.0  # what went before, of a play that goes on from a replay

    def run(self) -> None:
        """Work until told to leave; whatever breaks ends the recording, never the play."""
        try:
            self._head = self._make_head()
            self._board.is_ready = True
            while self._work():
                pass
        except Exception as error:
            log.debug("The recording thread failed.", exc_info=True)
            self._fail(error)
            for saved in self._saved:
                saved.recording.abandon("failed", self._time_s)
            self._board.has_frames = False
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """Take what comes, or frames would pile up, and say to every wish that nothing is recorded any more."""
        while not isinstance(item := self._take(wait=True), Leave):
            if isinstance(item, (Begin, Save)):
                self._tell_failure(error, "Nothing can be recorded in this session")
            self._board.num_done += 1

    def _work(self) -> bool:
        """Do the most urgent thing there is, or wait for one; False once everything is written after a Leave."""
        item = self._take(wait=not self._board.has_frames)
        if isinstance(item, Leave):
            self._end(item.reason)
            while self._saved:
                self._save_on()
                self._board.num_turns += 1
            return False
        try:
            if item is not None:
                self._obey(item)
            elif self._recording is not None and self._recording.num_waiting > 0:
                self._try(self._recording.encode_one)
            elif self._saved:
                self._save_on()
        finally:
            recording = self._recording
            self._board.has_frames = (recording is not None and recording.num_waiting > 0) or bool(self._saved)
            self._board.num_done += item is not None
            self._board.num_turns += 1
        return True

    def _take(self, wait: bool) -> object | None:
        try:
            item = self._inbox.get(block=wait)
        except queue.Empty:
            return None
        if isinstance(item, HeardChunk):
            self._board.taken_bytes += item.num_bytes
        return item

    def _obey(self, item: object) -> None:
        match item:
            case HeardChunk():
                self._hear_chunk(item)
            case Continuation():
                self._continue(item)
            case Started():
                self._hear_start(item)
            case Changed():
                self._values[item.name] = item.value
                self._keep(lines.to_line(lines.Setting(item.name, item.value)))
            case Stilled():
                self._keep(lines.to_line(lines.Still()))
            case Begin():
                self._start_recording(item)
            case End():
                self._end(item.reason)
            case Save():
                self._start_saving(item)

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _continue(self, before: Continuation) -> None:
        """Take what went before a play that goes on from a replay as if it had been heard."""
        self._head = replace(self._head, branch_of=before.branch)
        self._values = dict(before.settings)
        head = replace(self._head, **before.values)
        self._past.begin(before.start.reset_count, before.start.seed, head, before.lines[0])
        for line in before.lines[1:]:
            self._past.add(line, is_chunk='"kind":"chunk"' in line)
        self._next_number, self._began_s = before.num_chunks, before.time_s + self._config.chunk_s

    def _hear_start(self, start: Started) -> None:
        self._head = replace(self._head, branch_of=None)  # what begins anew comes from nowhere
        line = lines.to_line(lines.Start.of(start.reset_count, start.seed, start.prompt_frames, start.hand_m))
        self._past.begin(start.reset_count, start.seed, replace(self._head, **self._values), line)
        if self._recording is not None:
            self._log(line)
        elif self._begin is not None:
            begin, self._begin = self._begin, None
            self._start_recording(begin)

    def _hear_chunk(self, heard: HeardChunk) -> None:
        sample, reset_count = heard.chunk.action.sample, heard.chunk.reset_count
        self._first_s = sample.taken_at_s if self._first_s is None else self._first_s
        self._time_s = round(self._began_s + sample.taken_at_s - self._first_s, 4)
        self._buffer.add(heard.number, reset_count, self._num_frames, heard.num_frames, heard.frames, sample)
        self._num_frames += heard.num_frames
        self._next_number = heard.number + 1
        if self._buffer.oldest_reset_count is not None:
            self._past.forget_before(self._buffer.oldest_reset_count)
        self._board.buffer_bytes, self._board.past_bytes = self._buffer.num_bytes, self._past.num_bytes
        entry = chunk_entry(heard, self._time_s)
        line = lines.to_line(entry)
        self._past.add(line, is_chunk=True)
        recording = self._recording
        if recording is None:
            return
        if recording.add_frames(heard.frames, heard.num_frames, sample):
            line = lines.to_line(replace(entry, video=True))
        self._try(lambda: recording.log_chunk(heard.number, self._time_s, line))
        self._show_status()

    def _keep(self, line: str) -> None:
        self._past.add(line)
        self._log(line)

    def _log(self, line: str) -> None:
        if self._recording is not None:
            recording = self._recording
            self._try(lambda: recording.log(line))

    # --- recording --------------------------------------------------------------------------------------------------

    def _start_recording(self, begin: Begin) -> None:
        if self._recording is not None:
            return
        start = self._past.last()
        if start is None and self._next_number == 0:
            self._begin = begin  # nothing has begun yet: the first line after the head will be the start
            return
        target = begin.target
        try:
            self._recording = self._open(target, start, start.lines() if start else ())
        except (OSError, RecordingError) as error:
            self._tell_failure(error, f"The recording could not be started in {target.folder}")
            return
        self._show_status()
        if start is None:
            self._tell("Recording. It has been hours since the world was started, so this recording can be watched but "
                       "not replayed; Backspace begins anew.")
        else:
            with_what = "" if self._recording.encoder_name == "libx264" else f" with {self._recording.encoder_name}"
            self._tell(f"Recording{with_what} to {self._recording.video_path.name}")

    def _open(self, target: Target, start: StartLines | None, past: object) -> OpenRecording:
        head = start.head if start else replace(self._head, **self._values)
        head = replace(head, created=target.created.isoformat(timespec="seconds"))
        seed, num_past_chunks = (start.seed, start.num_chunks) if start else (None, 0)
        return OpenRecording(target, self._config, head, seed, past, num_past_chunks, self._buffer.unpacked,
                             self._open_file)

    def _end(self, reason: str) -> None:
        """End the recording under way, if any, and say what came of it."""
        self._begin = None
        recording, self._recording = self._recording, None
        if recording is None:
            return
        try:
            recording.finish(reason, self._time_s)
        except (OSError, RecordingError) as error:
            self._tell_failure(error, f"The end of the recording could not be written to {recording.video_path.parent}")
        else:
            self._tell(summary("Recorded", recording.written), recording.written)
        self._board.status = None

    def _try(self, deed: Callable[[], object]) -> None:
        """Do something to the recording under way; a failure ends it, and what was recorded is kept."""
        try:
            deed()
        except (OSError, RecordingError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        recording, self._recording = self._recording, None
        self._board.has_failed = True
        if recording is None:
            log.warning("Nothing can be recorded in this session: %s", error)
            return
        known = error if isinstance(error, (OSError, RecordingError)) else RecordingError(str(error))
        recording.abandon(reason_of(known), self._time_s)
        self._tell_failure(known, f"The recording in {recording.video_path.parent} stopped, {what_is_kept(recording)}")

    # --- saving the last seconds ------------------------------------------------------------------------------------

    def _start_saving(self, save: Save) -> None:
        if len(self._saved) >= MAX_SAVES:
            self._tell("The last seconds are still being saved; press again when that is done.")
            return
        chunks = self._buffer.chunks()
        starts = self._past.since(chunks[0].reset_count) if chunks else []
        if not chunks:
            self._tell("There is nothing to save yet.")
            return
        try:
            start = starts[0] if starts else None
            saved = SavedLast(lambda past: self._open(save.target, start, past), starts, chunks, self._time_s)
        except (OSError, RecordingError) as error:
            self._tell_failure(error, f"The last seconds could not be saved in {save.target.folder}",
                               of_recording=False)
        else:
            self._saved.append(saved)

    def _save_on(self) -> None:
        """Put one more frame into the oldest of the videos being saved."""
        saved = self._saved[0]
        try:
            if saved.write_one():
                return
            saved.finish()
        except (OSError, RecordingError) as error:
            saved.recording.abandon(reason_of(error), self._time_s)
            self._tell_failure(error, f"The last seconds could not all be saved in {saved.recording.video_path.parent}",
                               of_recording=False)
        else:
            self._tell(summary("Saved", saved.recording.written), saved.recording.written)
        self._saved.popleft()

    # --- what the player hears --------------------------------------------------------------------------------------

    def _show_status(self) -> None:
        recording = self._recording
        self._board.status = None if recording is None else Status(
            recording.num_frames_passed / self._config.fps, recording.num_dropped_frames, recording.video_path)

    def _tell(self, sentence: str, written: Written | None = None) -> None:
        log.info("%s", sentence)
        self._board.notices.put(Notice(sentence, written=written))

    def _tell_failure(self, error: Exception, what: str, of_recording: bool = True) -> None:
        """Say what failed, why, and what to do; the play goes on."""
        self._board.has_failed |= of_recording
        self._board.status = None if of_recording else self._board.status
        sentence = failed(what, error)
        log.warning("%s", sentence)
        self._board.notices.put(Notice(sentence, RecordingError(sentence)))


def chunk_entry(heard: HeardChunk, time_s: float) -> lines.Chunk:
    """Return the log's entry of a chunk that is in no video; its hashes are "" for what was left out on the way."""
    entry = lines.Chunk.of(heard.chunk, heard.number, time_s, heard.chunk.latents, video=False)
    return entry if heard.frames is not None else replace(entry, frames="")
