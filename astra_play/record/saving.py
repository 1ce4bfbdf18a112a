"""The last seconds on their way from memory into files, after the fact: the log at once, the video frame by frame."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from .buffer import KeptChunk
from .format import CRC_DIGITS, Mark, from_line, to_line
from .past import StartLines
from .recording import OpenRecording

# A chunk's line and its number: reading hours of lines in full for the last few would keep Python busy for seconds.
CHUNK_LINE = re.compile(rf'[0-9a-f]{{{CRC_DIGITS}}} \{{"kind":"chunk","number":(\d+),')


class SavedLast:
    """One pair of files being written. Frames are let go as they are written, so memory falls as it goes on."""

    def __init__(self, open_recording: Callable[[Iterable[str]], OpenRecording], starts: list[StartLines],
                 chunks: deque[KeptChunk], time_s: float) -> None:
        """`starts`: the log's lines, from the start that the first of `chunks` belongs to; OSError, RecordingError."""
        if starts:  # frames from before a start whose lines are gone would be in no log
            chunks = deque(chunk for chunk in chunks if chunk.reset_count >= starts[0].reset_count)
        self._chunks = chunks
        self._time_s = time_s
        self.recording = open_recording(with_video(starts, chunks))
        self.recording.num_chunks = sum(start.num_chunks for start in starts)

    def write_one(self) -> bool:
        """Put one more frame into the video; False when all are in."""
        if self.recording.encode_one():
            return True
        while self._chunks:
            chunk = self._chunks.popleft()
            if not chunk.frames:
                self.recording.miss_frames(chunk.num_frames)
                continue
            for frame in chunk.frames:
                self.recording.add_kept_frame(frame, chunk.sample)
            return self.recording.encode_one()
        return False

    def finish(self) -> None:
        self.recording.finish("saved", self._time_s)


def with_video(starts: list[StartLines], chunks: Iterable[KeptChunk]) -> Iterator[str]:
    """Yield the lines of the starts, with a mark where the video begins and the chunks that it holds marked so."""
    held = {chunk.number for chunk in chunks if chunk.frames}
    first = min(held, default=None)
    for start in starts:
        for line in start.lines():
            chunk = CHUNK_LINE.match(line)
            if chunk is None or int(chunk[1]) not in held:
                yield line
                continue
            entry = from_line(line)
            if entry.number == first:  # what a recording says in play, at the same place
                yield to_line(Mark(entry.time_s, f"video starts at chunk {first}"))
            yield to_line(replace(entry, video=True))
