"""The last seconds of a world's frames in memory, so that what has just happened can still be saved.

Bounded twice: by time, and by bytes whatever the pictures look like. A small world's frames are kept as they are
(30 s of 256x192 at 16 fps are 70.8 MB). Those of a large one, which would be 719 MB of 832x480 at 20 fps, become JPEGs
on the recording thread: 20 to 110 KB a frame, 12 to 66 MB, and never more than MAX_BYTES. What is being saved is held
until it is written, so while a save is under way the memory may be up to twice that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..chunks import ActionSample

BUFFER_S = 30.0
MAX_RAW_BYTES = 72_000_000  # if the whole time fits uncompressed, nothing is gained by working for it
MAX_BYTES = 128_000_000
# A fine quantiser: two small errors, this one and the video's, are not seen. A frame takes 1 to 3 ms.
JPEG_OPTIONS = {"qmin": "2", "qmax": "2"}


@dataclass(frozen=True)
class KeptChunk:
    """One chunk: its number over all, that of its first frame, its frames as arrays or JPEGs, and its controls.

    No frames: they were dropped on the way. `num_frames` counts those too.
    """

    number: int
    reset_count: int
    first_frame: int
    num_frames: int
    frames: Sequence[np.ndarray | bytes]
    sample: ActionSample

    @property
    def num_bytes(self) -> int:
        return sum(len(frame) if isinstance(frame, bytes) else frame.nbytes for frame in self.frames)


class FramePacker:
    """Frames (height, width, 3) uint8 <-> JPEGs, through an encoder that leaves Python's lock free meanwhile."""

    def __init__(self, width: int, height: int) -> None:
        self._encoder = av.CodecContext.create("mjpeg", "w")
        self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "yuvj420p"
        self._encoder.time_base = Fraction(1, 1)
        self._encoder.options = JPEG_OPTIONS
        self._decoder = av.CodecContext.create("mjpeg", "r")
        self._to_yuv, self._to_rgb = VideoReformatter(), VideoReformatter()

    def pack(self, frame: np.ndarray) -> bytes:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        (packet,) = self._encoder.encode(self._to_yuv.reformat(picture, format="yuvj420p"))
        return bytes(packet)

    def unpack(self, packed: bytes) -> np.ndarray:
        (picture,) = self._decoder.decode(av.Packet(packed))
        return self._to_rgb.reformat(picture, format="rgb24").to_ndarray()


class FrameBuffer:
    """The newest `seconds` of frames of a world of one size and rate. One thread uses it."""

    def __init__(self, width: int, height: int, fps: int, seconds: float = BUFFER_S,
                 max_bytes: int = MAX_BYTES) -> None:
        self._max_frames = round(seconds * fps)
        self._max_bytes = max_bytes
        raw_bytes = self._max_frames * width * height * 3
        self.packer = FramePacker(width, height) if raw_bytes > min(MAX_RAW_BYTES, max_bytes) else None
        self._chunks: deque[KeptChunk] = deque()
        self.num_bytes = 0
        self.num_frames = 0  # dropped ones included: they take time, if no memory

    def add(self, number: int, reset_count: int, first_frame: int, num_frames: int, frames: np.ndarray | None,
            sample: ActionSample) -> KeptChunk:
        """Keep a chunk's frames (F, H, W, 3), or None where they were dropped, and forget what is too old."""
        own: Sequence[np.ndarray | bytes] = ()
        if frames is not None:
            own = tuple(frames) if self.packer is None else tuple(self.packer.pack(frame) for frame in frames)
        chunk = KeptChunk(number, reset_count, first_frame, num_frames, own, sample)
        self._chunks.append(chunk)
        self.num_bytes += chunk.num_bytes
        self.num_frames += num_frames
        while self._chunks and (self.num_frames > self._max_frames or self.num_bytes > self._max_bytes):
            oldest = self._chunks.popleft()
            self.num_bytes -= oldest.num_bytes
            self.num_frames -= oldest.num_frames
        return chunk

    def chunks(self) -> deque[KeptChunk]:
        """Return what is kept, the oldest first; frames are shared, not copied."""
        return deque(self._chunks)

    @property
    def oldest_reset_count(self) -> int | None:
        """The reset that the oldest frames belong to; None while nothing is kept."""
        return self._chunks[0].reset_count if self._chunks else None

    def unpacked(self, frame: np.ndarray | bytes) -> np.ndarray:
        """Return a kept frame as (H, W, 3) uint8."""
        return self.packer.unpack(frame) if isinstance(frame, bytes) else frame
