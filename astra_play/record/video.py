"""Frames (H, W, 3) uint8 with their numbers -> an H.264 mp4 in the world's own time.

The file is a row of fragments while it grows, playable at every moment, and becomes a common mp4 when it is closed.
Frame n is shown at n / fps. A frame that is left out leaves its time to the one before it; nothing moves forward.

A small world is enlarged to at least MIN_HEIGHT_PX by a whole factor, each pixel a square: players blur what they
enlarge themselves, and colour is stored at half the size, which would cost a world of 96 lines half its colour.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import RecordingError
from .encoder import choose_encoder
from .whole_boxes import WholeBoxFile

MIN_HEIGHT_PX = 480
# empty_moov: what the file is, said before the first picture. hybrid_fragmented: an index for everything at the end.
MOVFLAGS = "hybrid_fragmented+empty_moov+default_base_moof+frag_keyframe"

OpenFile = Callable[[Path], BinaryIO]


def create_file(path: Path) -> BinaryIO:
    """Open a new file for unbuffered writing; FileExistsError rather than losing an old one."""
    return open(path, "xb", buffering=0)


def enlargement(height: int) -> int:
    """Return the whole factor by which frames of so many lines are enlarged."""
    return max(1, -(-MIN_HEIGHT_PX // height))


class VideoWriter:
    """One video file. One thread uses it; every method may take as long as the disk takes."""

    def __init__(self, path: Path, width: int, height: int, fps: int, title: str, facts: Mapping[str, Any],
                 open_file: OpenFile = create_file) -> None:
        """Create the file for frames (height, width, 3); `facts` go into its comment as JSON.

        OSError or RecordingError if that cannot be.
        """
        self.encoder = choose_encoder()
        self.num_frames = 0
        self._factor = enlargement(height)
        # colour is stored for two by two pixels, so both sides must be even; the last row and column are doubled
        self._whole_size = width * self._factor, height * self._factor
        self._size = tuple(side + side % 2 for side in self._whole_size)
        self._fps = fps
        self._reformatter = VideoReformatter()
        self._file = WholeBoxFile(open_file(path))
        self._container: av.container.OutputContainer | None = None
        try:
            self._container = av.open(self._file, "w", format="mp4",
                                      options={"movflags": MOVFLAGS, "flush_packets": "1"})
            self._container.metadata.update(title=title, comment=json.dumps(dict(facts)))
            self._stream = self._container.add_stream(self.encoder.name, rate=Fraction(fps),
                                                      options=dict(self.encoder.options))
            self.encoder.set_up(self._stream.codec_context, *self._size, fps)
        except av.error.FFmpegError as error:
            self._file.close()
            raise RecordingError(f"the video encoder {self.encoder.name} cannot be started ({error})") from None

    def write(self, frame: np.ndarray, number: int) -> None:
        """Add a frame that is shown at number / fps; numbers only rise. OSError once the disk takes no more."""
        picture = self._picture(frame)
        picture.pts, picture.time_base = number, Fraction(1, self._fps)
        try:
            self._container.mux(self._stream.encode(picture))
        except av.error.FFmpegError as error:
            raise RecordingError(f"the video encoder {self.encoder.name} stopped ({error})") from None
        self.num_frames += 1
        self._raise_error()

    def enlarge(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame as large as it is stored, for drawing on it; frames of both sizes can be written."""
        if self._factor == 1:
            return frame
        height, width, _ = frame.shape
        large = np.empty((height, self._factor, width, self._factor, 3), np.uint8)
        large[:] = frame[:, None, :, None]
        return large.reshape(height * self._factor, width * self._factor, 3)

    def close(self) -> None:
        """Finish the file; OSError if the disk took only a part of it, which stays playable."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._file.error is None and self.num_frames:
                container.mux(self._stream.encode(None))
            container.close()
        except av.error.FFmpegError as error:
            raise RecordingError(f"the video could not be finished ({error}); what is written so far can be played"
                              ) from None
        finally:
            self._file.close()
        self._raise_error()

    def _picture(self, frame: np.ndarray) -> av.VideoFrame:
        frame = np.ascontiguousarray(frame)
        if self._size != self._whole_size:
            frame = frame if frame.shape[1] == self._whole_size[0] else self.enlarge(frame)
            frame = np.pad(frame, ((0, self._size[1] - frame.shape[0]), (0, self._size[0] - frame.shape[1]), (0, 0)),
                           mode="edge")
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        return self._reformatter.reformat(picture, *self._size, "yuv420p", interpolation="POINT",
                                          src_colorspace="ITU601", dst_colorspace="ITU601")

    def _raise_error(self) -> None:
        if self._file.error is not None:
            raise self._file.error
