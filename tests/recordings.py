"""Recordings made for tests: a video whose frame i shows the bits of i, and an action log of the same length."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from astra_play.record.loglines import write_line

FPS = 16
SIZE = (32, 48)  # height, width
NUM_BITS = 6
CREATED = "2026-05-04T03:02:01+00:00"


def make_video(path: Path, num_frames: int = 48, keyframe_every: int = 16, b_frames: int = 0, fragmented: bool = True,
               ticks: list[int] | None = None, metadata: dict[str, str] | None = None) -> Path:
    """Write an H.264 mp4 at 16 fps; `ticks`: the frames' times in frame periods, where they are not 0, 1, 2 ..."""
    flags = "frag_keyframe+empty_moov+default_base_moof" if fragmented else "faststart"
    with av.open(str(path), "w", format="mp4", options={"movflags": f"{flags}+use_metadata_tags"}) as container:
        container.metadata.update(metadata or {})
        options = {"crf": "1", "preset": "ultrafast", "g": str(keyframe_every), "bf": str(b_frames),
                   "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index, tick in enumerate(ticks or range(num_frames)):
            picture = av.VideoFrame.from_ndarray(picture_of(index), format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def make_log(path: Path, num_chunks: int = 48, seed: int = 7, ended: bool = True) -> Path:
    """Write a log with a head, a start and one chunk of one frame after another."""
    picture = io.BytesIO()
    Image.new("RGB", (SIZE[1], SIZE[0]), (200, 20, 20)).save(picture, format="PNG")
    entries: list[dict] = [
        {"kind": "head", "format_version": 1, "world": "mini", "scenario": "drive", "title": "Drive", "fps": FPS,
         "frames_per_chunk": 1, "width": SIZE[1], "height": SIZE[0], "created": CREATED},
        {"kind": "start", "reset_count": 0, "seed": seed, "frames": [base64.b64encode(picture.getvalue()).decode()]},
        *({"kind": "chunk", "number": number} for number in range(num_chunks)),
        *([{"kind": "end", "num_chunks": num_chunks, "num_dropped_frames": 0, "reason": "stopped"}] if ended else []),
    ]
    path.write_bytes(b"".join(map(write_line, entries)))
    return path


def make_recording(folder: Path, name: str = "mini-drive 2026-05-04 03.02.01", num_frames: int = 48) -> Path:
    """Write both files and return the path of the video."""
    folder.mkdir(parents=True, exist_ok=True)
    make_log(folder / f"{name}.astra", num_frames)
    return make_video(folder / f"{name}.mp4", num_frames)


def shown_by(path: Path) -> list[tuple[float, int]]:
    """Return (time in frame periods, number of the source frame) of every frame, decoded one by one from the start."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(float(picture.pts * stream.time_base * FPS), number_of(picture.to_ndarray(format="rgb24")))
                for picture in container.decode(stream)]


def picture_of(number: int) -> np.ndarray:
    """Return a frame (H, W, 3) whose columns are the bits of a number below 64, black and white."""
    bits = [255 * (number >> bit & 1) for bit in range(NUM_BITS)]
    return np.broadcast_to(np.repeat(bits, SIZE[1] // NUM_BITS)[:, None], (*SIZE, 3)).astype(np.uint8)


def number_of(frame: np.ndarray) -> int:
    """Read the number back, from a picture of any size."""
    return sum((part.mean() > 128) << bit for bit, part in enumerate(np.array_split(frame, NUM_BITS, axis=1)))
