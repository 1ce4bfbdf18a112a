"""A video file -> its facts and its frames with their times, from any moment on; what export and trim read from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RecordingError, own_command

if TYPE_CHECKING:
    import av.container

log = logging.getLogger(__name__)

FIRST_STEP_BACK_S = 1.0  # where a file's index leads past what was looked for, doubled until it does not
NEAR_S = 0.001  # times are whole ticks of the file, so what should be one moment may be two that are this near


@dataclass(frozen=True)
class VideoFacts:
    """What the head of a video file says. `length_s` ends with the last frame's own time on screen."""

    width: int
    height: int
    fps: Fraction
    length_s: float
    metadata: dict[str, str]


@contextmanager
def open_video(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file that has a moving picture in it; RecordingError for every other file."""
    import av

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RecordingError(f"{path} {what}; give a video file, or see the recordings with: "
                             f"{own_command()} clips list")
    try:
        container = av.open(str(path.absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read as a video ({_words(error)}); give an mp4 file of a recording") \
            from None
    with container:
        if container.streams.video and container.streams.video[0].codec_context is None:
            raise RecordingError(f"{path} holds a moving picture of a kind that cannot be decoded here; give an mp4 "
                                 "file of a recording")
        if not container.streams.video or not container.duration or container.streams.video[0].width == 0:
            raise RecordingError(f"{path} holds no moving picture; give an mp4 file of a recording")
        container.streams.video[0].codec_context.thread_count = 1  # two cores are the player's, frames are small
        yield container


def read_facts(path: Path) -> VideoFacts:
    """Read size, rate and length from the file's head, no frame is decoded; RecordingError if it is no video."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate = stream.guessed_rate or stream.average_rate or Fraction(1)  # the average is less where frames are missing
        return VideoFacts(stream.width, stream.height, Fraction(rate), container.duration / 1e6,
                          dict(container.metadata))


def frames(path: Path, from_s: float = 0.0, to_s: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time_s, frame (H, W, 3) uint8) from the frame on screen at `from_s` to the last before `to_s`.

    None reads to the end. A video that is damaged further on ends there, with a logged sentence.
    """
    import av

    with open_video(path) as container:
        stream = container.streams.video[0]
        first = stream.start_time or 0
        try:
            before: tuple[float, np.ndarray] | None = None  # on screen at `from_s`, unless a later one is
            for picture in _pictures(container, stream, from_s):
                time_s = float((picture.pts - first) * stream.time_base)
                if to_s is not None and time_s >= to_s - NEAR_S:
                    break
                if before is not None and time_s > from_s + NEAR_S:
                    yield before
                    before = None
                shown = time_s, picture.to_ndarray(format="rgb24")
                if time_s > from_s + NEAR_S:
                    yield shown
                else:
                    before = shown
            if before is not None:
                yield before
        except (av.FFmpegError, OSError) as error:
            log.warning("the video %s ends early, its rest cannot be decoded (%s)", path, _words(error))


def _pictures(container: av.container.InputContainer, stream: av.VideoStream, from_s: float
              ) -> Iterator[av.VideoFrame]:
    """Yield the decoded pictures from one that is on screen at `from_s`, or before it, to the end."""
    first, seek_s, step_s = stream.start_time or 0, from_s, FIRST_STEP_BACK_S
    while seek_s > 0.0:
        container.seek(first + round(seek_s / stream.time_base), stream=stream, backward=True)
        pictures = container.decode(stream)
        picture = next(pictures, None)
        if picture is not None and (picture.pts - first) * stream.time_base <= from_s + NEAR_S:
            yield picture
            yield from pictures
            return
        # the index of an AVI counts stored frames, and those before a keyframe may be shown after it
        seek_s, step_s = seek_s - step_s, 2.0 * step_s
    container.seek(first, stream=stream, backward=True)
    yield from container.decode(stream)


def at_rate(shown: Iterable[tuple[float, np.ndarray]], fps: float, from_s: float,
            num_frames: int) -> Iterator[np.ndarray]:
    """Yield the frames on screen at `from_s` + k / `fps` for k < `num_frames`; the last one stays to the end."""
    index = 0
    now: np.ndarray | None = None
    for time_s, frame in shown:
        while now is not None and index < num_frames and from_s + index / fps < time_s - NEAR_S:
            yield now
            index += 1
        now = frame
    while now is not None and index < num_frames:
        yield now
        index += 1


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
