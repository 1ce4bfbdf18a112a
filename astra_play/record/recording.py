"""One recording while it is written: the action log and the video beside it, from the first line to the last.

Lines are handed to the system one by one and frames in whole fragments, so a process that is killed leaves two files
that can be used up to that moment. When the disk takes no more, the video is cut behind its last whole fragment, which
mostly makes room for the log's last line; a log without one holds every line before it all the same.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..chunks import ActionSample
from ..config import WorldConfig
from ..errors import RecordingError
from .burnt_in import with_controls
from .format import SUFFIX, VIDEO_SUFFIX, End, Head, Mark, to_line
from .messages import Target, Written
from .video import OpenFile, VideoWriter, create_file

MAX_WAITING_S = 2.0  # of frames that wait for the encoder; one that is behind by more will not catch up
MAX_WAITING_BYTES = 64_000_000

Unpack = Callable[[np.ndarray | bytes], np.ndarray]


@dataclass
class WaitingFrame:
    """A frame on its way to the video; `number` counts from the video's first. `frame`: as the frame buffer keeps it.
    """

    frame: np.ndarray | bytes
    number: int
    sample: ActionSample


class LogFile:
    """The action log: a whole line or nothing."""

    def __init__(self, path: Path, open_file: OpenFile = create_file) -> None:
        self._file = open_file(path)
        self._num_bytes = 0

    def write(self, text: str) -> None:
        """Append whole lines; OSError if they do not fit or the file was removed, and then none of them is there."""
        data = text.encode("utf-8")
        try:
            if self._is_removed():
                raise FileNotFoundError(errno.ENOENT, "it was removed")
            written = 0
            while written < len(data):
                count = self._file.write(memoryview(data)[written:])
                if not count:
                    raise OSError(errno.ENOSPC, "nothing more can be written")
                written += count
        except OSError:
            self._file.truncate(self._num_bytes)
            self._file.seek(self._num_bytes)
            raise
        self._num_bytes += len(data)

    def close(self) -> None:
        self._file.close()

    def _is_removed(self) -> bool:
        """Tell whether the file lost its last name: the system would go on writing to nowhere."""
        return os.fstat(self._file.fileno()).st_nlink == 0


class OpenRecording:
    """Two open files. One thread uses it; OSError and RecordingError say that the disk or the encoder gave up."""

    def __init__(self, target: Target, config: WorldConfig, head: Head, seed: int | None,
                 past: Iterable[str] = (), num_past_chunks: int = 0,
                 unpack: Unpack | None = None,
                 open_file: OpenFile = create_file) -> None:
        """Make the files and write what was before: `past` are the log's lines since the world was started.

        `seed`: of that start, for the video's own facts. `unpack`: turns a packed frame into (H, W, 3).
        """
        self.log_path, self.video_path = unused_paths(target.folder, target.name)
        self.num_chunks = num_past_chunks
        self.num_dropped_frames = 0
        self.num_frames_passed = 0  # dropped ones included: the length of the video in frames
        self._fps = config.fps
        self._with_controls = target.with_controls
        self._unpack = unpack
        self._waiting: deque[WaitingFrame] = deque()
        self._waiting_bytes = 0
        self._first_chunk: int | None = None
        target.folder.mkdir(parents=True, exist_ok=True)
        self._log = LogFile(self.log_path, open_file)
        try:
            self._log.write(to_line(head))
            for lines in _in_pieces(past):
                self._log.write(lines)
            self._video = VideoWriter(self.video_path, config.shown_width, config.shown_height, config.fps,
                                      config.title, video_facts(head, seed, self.log_path.name), open_file)
        except (OSError, RecordingError) as error:
            self._log.close()
            self.log_path.unlink(missing_ok=True)
            if not isinstance(error, FileExistsError):  # that one would be somebody else's
                self.video_path.unlink(missing_ok=True)
            raise

    @property
    def encoder_name(self) -> str:
        return self._video.encoder.name

    @property
    def num_frames(self) -> int:
        """Frames in the video so far."""
        return self._video.num_frames

    @property
    def written(self) -> Written | None:
        """What there is once it is finished; None if no frame was made."""
        if self.num_frames == 0:
            return None
        return Written(self.video_path, self.log_path, self.num_chunks, self.num_frames_passed / self._fps,
                       self.num_dropped_frames)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    # --- in play ----------------------------------------------------------------------------------------------------

    def add_frames(self, frames: np.ndarray | None, num_frames: int, sample: ActionSample) -> bool:
        """Take a chunk's frames for the video; False if they are dropped (None: they are gone already)."""
        num_bytes = 0 if frames is None else frames.nbytes
        is_full = (len(self._waiting) + num_frames > max(num_frames, MAX_WAITING_S * self._fps)
                   or self._waiting and self._waiting_bytes + num_bytes > MAX_WAITING_BYTES)
        if frames is None or is_full:
            self.num_dropped_frames += num_frames
            self.num_frames_passed += num_frames
            return False
        for frame in frames:
            self.add_kept_frame(frame, sample)
        return True

    def add_kept_frame(self, frame: np.ndarray | bytes, sample: ActionSample) -> None:
        """Take a frame for the video, whatever waits already."""
        self._waiting.append(WaitingFrame(frame, self.num_frames_passed, sample))
        self._waiting_bytes += len(frame) if isinstance(frame, bytes) else frame.nbytes
        self.num_frames_passed += 1

    def miss_frames(self, num_frames: int) -> None:
        """Let time pass for frames that were dropped long ago."""
        self.num_dropped_frames += num_frames
        self.num_frames_passed += num_frames

    def log_chunk(self, number: int, time_s: float, line: str) -> None:
        """Write a chunk's line; the video begins with the first."""
        if self._first_chunk is None:
            self._first_chunk = number
            line = to_line(Mark(time_s, f"video starts at chunk {number}")) + line
        self.log(line)
        self.num_chunks += 1

    def log(self, line: str) -> None:
        self._log.write(line)

    def encode_one(self) -> bool:
        """Put the oldest waiting frame into the video; False if none waits."""
        if not self._waiting:
            return False
        waiting = self._waiting.popleft()
        frame = waiting.frame
        self._waiting_bytes -= len(frame) if isinstance(frame, bytes) else frame.nbytes
        frame = self._unpack(frame) if isinstance(frame, bytes) else frame
        if self._with_controls:
            frame = with_controls(self._video.enlarge(frame), waiting.sample)
        self._video.write(frame, waiting.number)
        return True

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self, reason: str, time_s: float) -> None:
        """Write what waits, and close both files; on a failure what is there is closed properly all the same.

        Nothing is left of a recording that no frame was made for.
        """
        failure: OSError | RecordingError | None = None
        try:
            while self.encode_one():
                pass
        except (OSError, RecordingError) as error:
            failure = error
        try:
            self._close(reason if failure is None else reason_of(failure), time_s)
        except (OSError, RecordingError) as error:
            failure = failure or error
        if failure is not None:
            raise failure
        if self.num_frames_passed == 0:  # ended before a frame came, one that was dropped too: it is no recording
            self.log_path.unlink(missing_ok=True)

    def abandon(self, reason: str, time_s: float) -> None:
        """Close both files after a failure, keeping what they hold."""
        self._waiting.clear()
        try:
            self._close(reason, time_s)
        except (OSError, RecordingError):
            pass  # the failure that led here has been told; the log keeps its whole lines without a last one

    def _close(self, reason: str, time_s: float) -> None:
        failure: OSError | RecordingError | None = None
        try:
            self._video.close()
        except (OSError, RecordingError) as error:
            failure = error
            reason = reason_of(error)
        if self.num_frames == 0:
            self.video_path.unlink(missing_ok=True)
        try:
            self._log.write(to_line(Mark(time_s, "video ends")) * (self.num_frames > 0)
                            + to_line(End(self.num_chunks, self.num_dropped_frames, reason)))
        finally:
            self._log.close()
        if failure is not None:
            raise failure


def unused_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Return NAME.astra and NAME.mp4 in a folder, numbered together if either is there already."""
    number = 1
    while True:
        numbered = name if number == 1 else f"{name} {number}"
        paths = folder / f"{numbered}{SUFFIX}", folder / f"{numbered}{VIDEO_SUFFIX}"
        if not any(path.exists() for path in paths):
            return paths
        number += 1


def video_facts(head: Head, seed: int | None, log_name: str) -> dict[str, object]:
    """Return what a video says about itself: enough to find its world again without the log."""
    return {"player_version": head.player_version, "world": head.world, "scenario": head.scenario, "title": head.title,
            "weights_sha256": dict(head.weights_sha256), "seed": seed, "guidance_scale": head.guidance_scale,
            "num_denoise_steps": head.num_denoise_steps, "prompt": head.prompt, "created": head.created,
            "action_log": log_name}


def reason_of(error: OSError | RecordingError) -> str:
    """Return the log's word for a failure."""
    if isinstance(error, RecordingError):
        return "encoder failed"
    words = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk full", errno.ENOENT: "folder removed",
             errno.EACCES: "no permission", errno.EPERM: "no permission", errno.EROFS: "no permission"}
    return words.get(error.errno, "write error")


def _in_pieces(lines: Iterable[str], num_lines: int = 256) -> Iterable[str]:
    """Yield lines joined by hundreds: each write is a call of the system."""
    piece: list[str] = []
    for line in lines:
        piece.append(line)
        if len(piece) == num_lines:
            yield "".join(piece)
            piece = []
    if piece:
        yield "".join(piece)
