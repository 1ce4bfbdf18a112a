"""What a run of the player was asked for: the command line fills it, tests put fakes in its last fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .catalogue import Catalogue


@dataclass(frozen=True)
class PlayOptions:
    """One run of the player. None means: not asked for, the player decides."""

    world: str | None = None  # None: the menu, or without a window the default world
    image: Path | None = None  # the start picture
    prompt: str = ""  # for worlds that read text
    script: Path | None = None  # input events, posted at their times after the first generated frame
    seconds: float | None = None  # end after this much play, counted from the first generated frame
    stats_json: Path | None = None
    frames_dir: Path | None = None  # every shown frame as a PNG of its native size
    record: Path | None = None  # the video of the first session; its action log goes beside it
    headless: bool = False
    seed: int | None = None  # None: a random one, or 0 without a window
    guidance: float | None = None
    steps: int | None = None
    fullscreen: bool = False
    threads: int | None = None
    memory: Literal["auto", "8", "16", "24", "full"] = "auto"  # of published worlds
    catalogue: Catalogue = field(default_factory=Catalogue)  # where worlds come from
    settings_path: Path | None = None  # None: the user's config folder, or nowhere without a window
    photo_folder: Path | None = None  # None: the user's pictures folder
    keymap_path: Path | None = None  # None: the user's keymap, or the default one without a window


@dataclass(frozen=True)
class Choice:
    """What to play: a world, the seed, the start picture (None: the first of the world's own), and the prompt."""

    world: str
    seed: int
    picture: Path | None = None
    prompt: str = ""
