"""Write a safetensors file tensor by tensor: memory holds one tensor at a time, and a half-written file has no name.

The format (safetensors, "Format"): 8 bytes little-endian length of the header, the header as JSON (name -> dtype,
shape, begin and end of its bytes), then the bytes of all tensors without gaps.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import WeightsError

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
PART_SUFFIX = ".part"
ALIGNMENT = 8  # of the first tensor's bytes, so that a reader may map them
SPARE_BYTES = 64 << 20  # of the disk, left free


@dataclass(frozen=True)
class Piece:
    """One tensor of a file to be: what the header must know beforehand, and `make`, called once when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_streamed(pieces: Sequence[Piece], path: Path, title: str) -> None:
    """Write `pieces` to `path` by temp name and rename, with a progress bar on a terminal.

    WeightsError if the disk is too small or a tensor holds values that are not numbers; nothing is left then.
    """
    header = _header(pieces)
    total = len(header) + sum(piece.num_bytes for piece in pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PART_SUFFIX)
    temporary.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < total + SPARE_BYTES:
        raise WeightsError(f"{path} needs {total / 1e9:.2f} GB, but its disk has {free / 1e9:.2f} GB free; "
                           "make room or give another --out")
    try:
        with temporary.open("wb") as file, tqdm(total=total, desc=title, unit="B", unit_scale=True,
                                                disable=None) as bar:
            for block in _blocks(header, pieces, path):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _header(pieces: Sequence[Piece]) -> bytes:
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for piece in pieces:
        table[piece.name] = {"dtype": DTYPE_NAMES[piece.dtype], "shape": list(piece.shape),
                             "data_offsets": [begin, begin + piece.num_bytes]}
        begin += piece.num_bytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _blocks(header: bytes, pieces: Sequence[Piece], path: Path) -> Iterator[bytes | memoryview]:
    yield header
    for piece in pieces:
        tensor = piece.make()
        assert (tuple(tensor.shape), tensor.dtype) == (piece.shape, piece.dtype), piece.name
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"the tensor {piece.name} of {path.name} would hold values that are not numbers; the "
                               "source file is damaged, so download it again")
        yield memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())
