"""`weights list` and `weights verify`: what lies in weights/, and whether it can be trusted."""

from __future__ import annotations

import sys
from pathlib import Path

from .config import load_world_config
from .errors import AstraPlayError
from .paths import weights_folder, world_folder, world_names


def list_worlds() -> int:
    """Print a line per world, with its size on disk and its picture; a damaged one shows its sentence instead."""
    names = world_names()
    if not names:
        print(f"no world lies in {weights_folder()}")
    for name in names:
        folder = world_folder(name)
        try:
            config = load_world_config(folder)
        except AstraPlayError as error:
            print(f"{name:<12} damaged: {error}")
            continue
        megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
        print(f"{name:<12} {config.width}x{config.height} at {config.fps} fps, {megabytes:.1f} MB  {config.title}")
    return 0


def verify_worlds(name_or_path: str | None) -> int:
    """Check one world or all of them, print what was found, and return 0 only if every one is whole."""
    from .model.checkpoint import verify_folder

    folders = [world_folder(name) for name in ([name_or_path] if name_or_path else world_names())]
    if not folders:
        print(f"astra-play: no world lies in {weights_folder()}; take the folder weights/mini from the project again",
              file=sys.stderr)
        return 1
    num_damaged = 0
    for folder in folders:
        try:
            for line in verify_folder(folder):
                print(f"{folder.name}: {line}")
        except AstraPlayError as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
            num_damaged += 1
    return 1 if num_damaged else 0


def verify_world(folder: Path) -> str:
    """Return one line about a whole world; raise the AstraPlayError that says what is wrong with another."""
    from .model.checkpoint import verify_folder

    config = load_world_config(folder)
    verify_folder(folder)
    return f"{folder.name}: {config.width}x{config.height} at {config.fps} fps, every tensor as its config says"
