"""What the player chose, remembered between runs as JSON in the user's config folder.

A damaged file is not an error: the player gets the defaults, of single settings where only these are wrong, and the
log says why.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..config import from_dict, load_json
from ..errors import ConfigError
from ..record.library import Library, recordings_folder

log = logging.getLogger(__name__)

MIN_WINDOW_PX = (480, 320)
MAX_WINDOW_PX = 16384  # SDL refuses larger windows on common drivers
GUIDANCE_RANGE = (0.0, 20.0)
STEPS_RANGE = (1, 64)
SENSITIVITY_RANGE = (0.1, 5.0)


@dataclass(frozen=True)
class PlayerSettings:
    """One frozen value; a change makes another one with `dataclasses.replace` and saves it."""

    window_width_px: int = 1280
    window_height_px: int = 720
    fullscreen: bool = False
    hud: bool = False
    input_overlay: bool = False
    guidance: float | None = None  # None: as the world's config says
    steps: int | None = None  # None: as the world's config says
    mouse_sensitivity: float = 1.0
    recordings_folder: str = ""  # an absolute path; "": the user's videos folder
    controls_in_video: bool = False


def default_path() -> Path:
    return Path(platformdirs.user_config_dir("astra-play", appauthor=False)) / "settings.json"


def folder_of(settings: PlayerSettings) -> Path:
    """Return where recordings go and where they are looked for."""
    return Path(settings.recordings_folder) if settings.recordings_folder else recordings_folder()


def own_library() -> Library:
    """Return the recordings of the folder that the player's own settings name."""
    return Library(folder_of(load(default_path())))


def load(path: Path) -> PlayerSettings:
    """Read the settings; a missing file gives the defaults, a damaged one too, with a logged sentence."""
    try:
        if not path.exists():
            return PlayerSettings()
        return _within_ranges(from_dict(PlayerSettings, load_json(path), where=str(path)))
    except (ConfigError, OSError) as error:
        log.warning("settings are back to their defaults, because %s", error)
        return PlayerSettings()


def save(settings: PlayerSettings, path: Path) -> None:
    """Write the settings under another name and rename, so that a crash never leaves half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(settings), indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        log.warning("settings could not be saved in %s (%s)", path, error.strerror or error)


def window_within(size: tuple[int, int]) -> tuple[int, int]:
    """Return the nearest size that a window is opened with: a tiling desktop makes windows as small as it likes."""
    width, height = (min(max(side, least), MAX_WINDOW_PX) for side, least in zip(size, MIN_WINDOW_PX, strict=True))
    return width, height


def _within_ranges(settings: PlayerSettings) -> PlayerSettings:
    """Put numbers that no menu can produce back to their defaults, and keep all others."""
    ranges = {
        "window_width_px": (MIN_WINDOW_PX[0], MAX_WINDOW_PX), "window_height_px": (MIN_WINDOW_PX[1], MAX_WINDOW_PX),
        "guidance": GUIDANCE_RANGE, "steps": STEPS_RANGE, "mouse_sensitivity": SENSITIVITY_RANGE,
    }
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            log.warning("the setting %s is back to its default, because %s is not within %s and %s", name, value, low,
                        high)
            settings = dataclasses.replace(settings, **{name: getattr(PlayerSettings(), name)})
    return settings
