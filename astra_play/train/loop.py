"""What both training loops share: recipes, resumable checkpoints, a log with units, picture strips."""

from __future__ import annotations

import json
import os
import time
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..config import from_dict
from ..errors import ConfigError, DataError

T = TypeVar("T")


def load_recipe(cls: type[T], path: Path) -> T:
    """Read a recipe (TOML) into its dataclass; ConfigError names the file and the setting at fault.

    `extends = "other.toml"` at the top takes everything that this file does not say from a file beside it.
    """
    return from_dict(cls, read_recipe(Path(path)), where=str(path))


def read_recipe(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a recipe's own settings over those of the recipes that it extends; `extended_by`: those that led here."""
    if path.resolve() in extended_by:
        raise ConfigError(f"recipe {path} extends itself by way of {extended_by[-1].name}; one must stand alone")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist; see astra_play/train/recipes") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not valid TOML in UTF-8: {error}") from None
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}") from None
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str) or (path.parent / base).resolve() == path.resolve():
        raise ConfigError(f"recipe {path}: extends is {base!r}, but must name another recipe beside it")
    return _over(read_recipe(path.parent / base, (*extended_by, path.resolve())), data)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables are laid over each other name by name, everything else is replaced, by an empty table too."""
    both = {name: _over(below[name], value) for name, value in above.items()
            if isinstance(value, dict) and value and isinstance(below.get(name), dict)}
    return below | above | both


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


class FlopCount(TorchDispatchMode):
    """Counts the floating point operations of products and convolutions run inside it, backward passes too.

    torch's own FlopCounterMode also sorts them by module, with hooks that do not survive `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def matmul_flop_s(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large square matrix product on this device, at the current threads: what nothing can beat.

    The best of a few, since a neighbour can only make it slower.
    """
    size, best = (8192 if device.type == "cuda" else 1024), 0.0
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(6):
        _wait_for(device)
        begin_s = time.perf_counter()
        a @ b
        _wait_for(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begin_s))
    return best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def schedule_position(step: int, num_steps: int, minutes: float, budget_minutes: float) -> int:
    """Return where a run is in its recipe's schedule, in the recipe's steps.

    Without a budget that is the step itself. With one, time is what runs out: the schedule is stretched or shrunk so
    that it ends when the minutes do, however many steps the machine makes of them.
    """
    return int(num_steps * minutes / budget_minutes) if budget_minutes else step


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error measured on pictures in [-1, 1]."""
    return float(10 * np.log10(4.0 / max(mse, 1e-12)))
