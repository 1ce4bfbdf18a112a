"""What both training loops share: recipes, resumable checkpoints, a log with units, picture strips."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ..config import from_dict
from ..errors import ConfigError, DataError

T = TypeVar("T")


def load_recipe(cls: type[T], path: Path) -> T:
    """Read a recipe (TOML) into its dataclass; ConfigError names the file and the setting at fault."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist; see astra_play/train/recipes") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {path} is not valid TOML: {error}") from None
    return from_dict(cls, data, where=str(path))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint by temp name and rename, so that a killed run leaves the previous one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint (tensors and plain values only); None if there is none yet."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, and each means the same to the reader
        raise DataError(f"{path} cannot be read as a checkpoint ({error}); remove it to start again") from None


class TrainingLog:
    """One JSON object a line in log.jsonl, and the same as a sentence with units on the terminal."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"

    def write(self, **values: float | int | str) -> None:
        """Append values; a name ends in its unit (`_s`, `_db`, `frames_per_s`)."""
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")
        print("  ".join(f"{k} {v}" for k, v in rounded.items()), flush=True)


def save_strip(path: Path, rows: list[np.ndarray]) -> None:
    """Write rows of frames, each (F, H, W, 3) uint8, as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)).save(path)


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error measured on pictures in [-1, 1]."""
    return float(10 * np.log10(4.0 / max(mse, 1e-12)))
