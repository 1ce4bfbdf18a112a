"""The photo key: one frame at its native size -> a PNG in the user's pictures folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import DisplayError


def photo_folder() -> Path:
    return Path(platformdirs.user_pictures_dir()) / "Astra Play"


def save_photo(frame: np.ndarray, folder: Path, world_name: str, seed: int, frame_index: int,
               prompt: str = "") -> Path:
    """Write a (H, W, 3) uint8 frame and return its path; DisplayError says why it could not be written.

    A prompt is kept in the file's own text, under the name that picture viewers show.
    """
    told = PngInfo()
    if prompt:
        told.add_itxt("Description", prompt)
    name = re.sub(r"[^\w.-]+", "-", world_name) or "world"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _unused(folder / f"{name}_seed{seed}_frame{frame_index}.png")
        part = path.with_suffix(".part")
        Image.fromarray(np.ascontiguousarray(frame)).save(part, format="PNG", pnginfo=told)
        os.replace(part, path)
    except OSError as error:
        raise DisplayError(f"the photo could not be written to {folder} ({error.strerror or error}); "
                           "free some space or make the folder writable") from None
    return path


def _unused(path: Path) -> Path:
    """Return the path, numbered if a photo of the same frame of an earlier run is there."""
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1
    return free
