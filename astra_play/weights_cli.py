"""`weights`: what lies in weights/, whether it can be trusted, and how published weights get there."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .config import load_world_config
from .errors import AstraPlayError, ConfigError
from .paths import find_world, lacking_sentence, weights_folder, world_folder, world_names

if TYPE_CHECKING:
    from .model.precision import Precision


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
        megabytes = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
        print(f"{name:<12} {config.width}x{config.height} at {config.fps} fps, {megabytes:.1f} MB  {config.title}")
        sentence = lacking_sentence(folder, config)
        if sentence:
            print(f"{'':<12} {sentence}")
    return 0


def verify_worlds(name_or_path: str | None) -> int:
    """Check one world or all of them, print what was found, and return 0 only if every one is whole."""
    from .model.checkpoint import verify_folder

    folders = [world_folder(name) for name in world_names()]
    if name_or_path:
        folder, scenario = find_world(name_or_path)
        if scenario:
            load_world_config(folder, scenario)  # refuses one that is none; the weights are those of all
        folders = [folder]
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


def verify_golden(folder: Path, precision: Precision, json_out: Path | None) -> int:
    """Run the golden vectors in `folder`, print a table of errors, and return 0 only if every one is within its
    limit."""
    from .model.golden import run_golden

    results = []
    print(f"{'vector':<24} {'what':<12} {'error':>9} {'limit':>9}")
    for result in run_golden(folder, precision):
        results.append(result)
        print(f"{result.name:<24} {result.what:<12} {result.error:>9.1e} {result.limit:>9.1e}"
              f"{'' if result.holds else '  over'}", flush=True)
    if json_out is not None:
        json_out.write_text(json.dumps([asdict(r) | {"holds": r.holds} for r in results], indent=1) + "\n",
                            encoding="utf-8")
    over = sum(not result.holds for result in results)
    print(f"{len(results) - over} of {len(results)} within the limit")
    return 1 if over else 0


def print_memory(name_or_path: str | None, precision: Precision) -> int:
    """Print what a published world needs of a GPU, rendered and played live, in every memory mode; only its config is
    read. None means the published sizes, for which no weights have to be here."""
    from .model.import_world import published_config
    from .model.memory import GB, GPU_SIZES_GB, plans

    config = load_world_config(*find_world(name_or_path)) if name_or_path else published_config()
    if config.model.history != "framepack":
        raise ConfigError(f"the world {config.name!r} is small and knows no memory modes; give a published world, or "
                          "no name for the published sizes")
    print(f"{config.name}, {config.width}x{config.height}, network in {precision}; GB of GPU memory")
    columns = ("network", "pass", "kept", "codec", "coding", "reader", "total")
    print(f"{'mode':<6}{'for':<8}" + "".join(f"{name:>8}" for name in columns)
          + "".join(f"{f'{size} GB':>7}" for size in GPU_SIZES_GB))
    for live in (False, True):
        for plan in reversed(list(plans(config, live, precision))):
            parts = (plan.network, plan.passes, plan.kept, plan.codec + plan.stream, plan.coding, plan.reader,
                     plan.total)
            print(f"{plan.mode:<6}{'live' if live else 'render':<8}" + "".join(f"{n / GB:>8.2f}" for n in parts)
                  + "".join(f"{'fits' if plan.fits(size * GB) else '-':>7}" for size in GPU_SIZES_GB))
    return 0


def import_astra(checkpoint: Path, out: Path, wan: Path | None, taehv: Path | None, width: int, height: int) -> int:
    """Make a world folder of the published files and print a line about each, and one about what is still missing."""
    from .model.import_world import import_published

    for line in import_published(checkpoint, out, wan, taehv, width, height):
        print(line)
    return 0


def verify_world(folder: Path) -> str:
    """Return one line about a whole world; raise the AstraPlayError that says what is wrong with another."""
    from .model.checkpoint import verify_folder

    config = load_world_config(folder)
    verify_folder(folder)
    return f"{folder.name}: {config.width}x{config.height} at {config.fps} fps, every tensor as its config says"
