"""The boxes of an mp4 file, read the slow and obvious way, and its pictures with their times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def boxes(data: bytes) -> list[tuple[bytes, int]]:
    """Return (kind, length) of every box, the last one perhaps longer than what is there."""
    found = []
    while len(data) >= 8:
        length = int.from_bytes(data[:4], "big")
        if length == 1:
            length = int.from_bytes(data[8:16], "big")
        found.append((data[4:8], length))
        data = data[length:]
    return found


def pictures(path: Path) -> dict[Fraction, np.ndarray]:
    """Return time in seconds -> picture (H, W, 3); whatever a strict reader complains about is an error."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {Fraction(frame.pts) * stream.time_base: frame.to_ndarray(format="rgb24")
                for frame in container.decode(stream)}
