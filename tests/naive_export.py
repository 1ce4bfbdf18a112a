"""The obvious twins of export: decode everything, then look every moment up."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def frames_at(path: Path, moments_s: list[float]) -> list[np.ndarray]:
    """Return the frame on screen at each moment."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        everything = [(float(picture.pts * stream.time_base), picture.to_ndarray(format="rgb24"))
                      for picture in container.decode(stream)]
    return [[frame for time_s, frame in everything if time_s <= moment_s + 0.001][-1] for moment_s in moments_s]


def begins_ms(num_frames: int, fps: int, tick_ms: int) -> list[float]:
    """Return the tick nearest to where each frame begins."""
    return [tick_ms * round(Fraction(1000 * index, fps * tick_ms)) for index in range(num_frames)]
