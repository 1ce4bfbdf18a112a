"""What a booth has to show: the worlds of its profile, their start pictures, and the order of the attract loop."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..booth.profile import Profile, clips_in
from ..codec.pixels import load_start_image
from ..errors import AstraPlayError, ConfigError
from .catalogue import Catalogue, WorldEntry
from .options import Choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """One part of the attract loop: a recorded clip, or a tour that begins with this choice."""

    clip: Path | None = None
    tour: Choice | None = None


class Offer:
    """The profile's worlds as they lie on disk."""

    def __init__(self, profile: Profile, catalogue: Catalogue) -> None:
        """ConfigError or WeightsError for a world that cannot be played here."""
        self._catalogue = catalogue
        self._clips_folder = profile.path(profile.attract.clips)
        self.worlds = [dataclasses.replace(entry, title=profile.titles.get(name, entry.title),
                                           description=profile.descriptions.get(name, entry.description))
                       for name, entry in zip(profile.worlds, self._entries(profile.worlds), strict=True)]
        self._tours = self._entries(profile.tours)

    def _entries(self, names: tuple[str, ...]) -> list[WorldEntry]:
        """Return the entries of worlds by the names that the profile gives them, a scenario left out being the first.
        """
        entries = {entry.name: entry for entry in self._catalogue.entries()}
        offered = []
        for name in names:
            entry = entries.get(name) or next((e for key, e in entries.items() if key.startswith(f"{name}/")), None)
            if entry is None:
                self._catalogue.config(name)  # says what is wrong with the name
                raise ConfigError(f"the world {name!r} lies outside of weights/; copy its folder there to offer it")
            if entry.error:
                raise ConfigError(f"the world {name!r} cannot be offered: {entry.error}")
            offered.append(entry)
        return offered

    def turn(self, number: int) -> Turn:
        """Return a part of the attract loop by its number; clips lie between the tours, where there are any."""
        clips = self.clips()
        number, is_clip = divmod(number, 2) if clips else (number, 0)
        if is_clip:
            return Turn(clip=clips[number % len(clips)])
        entry = self._tours[number % len(self._tours)]
        return Turn(tour=choice_of(entry, number // len(self._tours)))

    def visit(self, world: str, number: int) -> Choice:
        """Return how a visit begins in an offered world."""
        return choice_of(next(entry for entry in self.worlds if entry.name == world), number)

    def clips(self) -> list[Path]:
        """Return the clips of the folder as it is now: one may be added while the fair runs."""
        folder = self._clips_folder
        return clips_in(folder) if folder is not None else []

    def pictures(self) -> dict[str, np.ndarray]:
        """Return the first start picture (H, W, 3) uint8 per offered world that has one."""
        pictures = {}
        for entry in self.worlds:
            path = entry.starts[0].picture if entry.starts else None
            if path is not None:
                try:
                    config = self._catalogue.config(entry.name)
                    pictures[entry.name] = load_start_image(path, config.width, config.height)
                except AstraPlayError as error:
                    log.warning("%s", error)
        return pictures


def choice_of(entry: WorldEntry, number: int) -> Choice:
    """Return a start in a world; its start points take turns by `number`, which is the seed too."""
    start = entry.starts[number % len(entry.starts)] if entry.starts else None
    return Choice(entry.name, number, start.picture if start else None)
