"""Where things lie in the checkout: weights, pictures and assets, found from the package and never from the cwd.

The project is installed in editable mode by `launch.py`, so the folder above the package is the checkout.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigError, WeightsError, did_you_mean

if TYPE_CHECKING:
    from .config import WorldConfig

DEFAULT_WORLD = "mini"

# Of a world folder: the network, the autoencoder, and where its config has them a cheaper autoencoder and a reader of
# text.
CONFIG_FILE, MODEL_FILE, CODEC_FILE = "config.json", "model.safetensors", "codec.safetensors"
PREVIEW_FILE, TEXT_FOLDER = "preview.safetensors", "text"
TEXT_FACTS_FILE = "text.json"  # in the folder of the reader of text, written when everything else is there
INDEX_SUFFIX = ".index.json"  # of the list of shards that may stand for a file


def checkout_folder() -> Path:
    """Return the folder that holds astra_play/, weights/ and assets/."""
    return Path(__file__).resolve().parents[1]


def expanded(path: str | Path) -> Path:
    """Return a path with its "~" read as a home folder, and as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~Videos" is the home of a user called Videos
        return Path(path)


def weights_folder() -> Path:
    """Return the folder with one sub-folder per world."""
    return checkout_folder() / "weights"


def assets_folder() -> Path:
    """Return the folder of icons, start pictures and other files that are neither code nor weights."""
    return checkout_folder() / "assets"


def world_names() -> list[str]:
    """Return the names of the worlds in weights/: each sub-folder with a config.json."""
    return sorted(path.parent.name for path in weights_folder().glob("*/config.json"))


def find_world(name_or_path: str | Path) -> tuple[Path, str]:
    """Return the folder of a world and the scenario to play there ("": its first).

    A world is given by its name in weights/ or by a path; "/SCENARIO" after either picks one of its scenarios.
    WeightsError if there is none.
    """
    named, path = weights_folder() / name_or_path, expanded(name_or_path)
    for candidate in (named, path):
        if (candidate / "config.json").is_file():
            return candidate, ""
        if (candidate.parent / "config.json").is_file() and not candidate.exists():
            return candidate.parent, candidate.name
    if path.is_dir() or named.is_dir():
        raise WeightsError(f"the folder {path if path.is_dir() else named} holds no config.json, so it is not a world; "
                           "give the folder that holds config.json and model.safetensors")
    known = world_names()
    if not known:
        raise WeightsError(f"there is no world {str(name_or_path)!r}: no world lies in {weights_folder()}; "
                           "take the folder weights/mini from the project again")
    raise WeightsError(f"there is no world {str(name_or_path)!r}{did_you_mean(str(name_or_path), known)}")


def world_folder(name_or_path: str | Path) -> Path:
    """Return the folder of a world given as for `find_world`, whatever the scenario."""
    return find_world(name_or_path)[0]


def missing_parts(folder: Path, config: WorldConfig) -> list[str]:
    """Return the files and folders that a world of this config needs and `folder` does not hold.

    A world made of published files is whole only when all of them were imported.
    """
    files = [MODEL_FILE, CODEC_FILE, *([PREVIEW_FILE] if config.preview_codec else [])]
    missing = [name for name in files
               if not (folder / name).is_file() and not (folder / (name + INDEX_SUFFIX)).is_file()]
    if config.model.text_dim and not (folder / TEXT_FOLDER / TEXT_FACTS_FILE).is_file():
        missing.append(TEXT_FOLDER + "/")
    return missing


def incomplete_sentence(folder: Path, config: WorldConfig) -> str:
    """Return what a published world still lacks and how to get it, "" for a whole one and for every other kind."""
    missing = missing_parts(folder, config) if config.model.history == "framepack" else []
    if not missing:
        return ""
    return (f"the world {folder} is not complete: it lacks {', '.join(missing)}; run weights import again with "
            "--wan DIR, the folder of Wan 2.1 T2V 1.3B, and what is finished is kept")


def lacking_sentence(folder: Path, config: WorldConfig) -> str:
    """Return what a world of any kind still lacks and how to get it, "" for a whole one."""
    missing = missing_parts(folder, config)
    if not missing or config.model.history == "framepack":
        return incomplete_sentence(folder, config)
    return f"the world {folder} lacks {', '.join(missing)}; take its folder again from where it came from"


def start_pictures(world_name: str, scenario: str = "") -> list[Path]:
    """Return the start pictures of a world's scenario in the order of their names; an empty list if it has none."""
    return sorted((assets_folder() / "starts" / world_name / scenario).glob("*.png"))


def check_out_folder(option: str, out: Path | None) -> None:
    """Raise ConfigError if the folder of a file to write is not there, before anything costs time."""
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"{option} {out} lies in a folder that does not exist; make {out.absolute().parent} first")


def clip_of(picture: Path) -> Path | None:
    """Return the clip that shows a start picture in motion, under its name in assets/clips; None if there is none."""
    starts = assets_folder() / "starts"
    if not picture.is_relative_to(starts):
        return None
    clip = (assets_folder() / "clips" / picture.relative_to(starts)).with_suffix(".webp")
    return clip if clip.is_file() else None
