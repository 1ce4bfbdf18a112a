"""Frames with their times -> an H.264 mp4 that is whole when it is closed: what render, export and trim write.

Recordings are written by video.py instead: their files grow while somebody plays, and have to survive a crash.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

# Low enough that the grain of a small picture survives; at 128 x 96 a minute is a few megabytes.
H264_QUALITY = {"crf": "16", "preset": "medium"}
MOVFLAGS = "+faststart+use_metadata_tags"  # the index before the pictures, and tags of any name


class Mp4File:
    """A video whose size is that of its first frame; with an error in its block it is closed unfinished."""

    def __init__(self, path: Path, fps: Fraction, time_base: Fraction, metadata: dict[str, str] | None = None) -> None:
        """Open the file, replacing what is there. `time_base`: the seconds of a tick, in which times are counted."""
        import av

        self._container = av.open(str(path.absolute()), "w", format="mp4", options={"movflags": MOVFLAGS})
        self._container.metadata.update(metadata or {})
        self._stream = self._container.add_stream("libx264", rate=fps, options=H264_QUALITY)
        self._time_base = self._stream.codec_context.time_base = time_base
        self._has_size = False

    def __enter__(self) -> Mp4File:
        return self

    def write(self, frame: np.ndarray, tick: int) -> None:
        """Append a frame (H, W, 3) uint8 of even sides that is shown from `tick` on."""
        import av

        if not self._has_size:
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # the one layout that every player and browser shows
            self._has_size = True
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = tick, self._time_base
        self._container.mux(self._stream.encode(picture))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
