"""Folders -> what can be played: the worlds and start points of the menu, and how one of them is loaded.

A world is a folder of weights with a config, a start point is a picture of it in assets/starts/<world>/. A world whose
config is broken stays in the list, with the sentence that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import paths
from ..config import WorldConfig, load_world_config
from ..errors import AstraPlayError, ConfigError, WeightsError, own_command
from ..runtime.clock import MonotonicClock
from ..runtime.interfaces import PlayableWorld
from ..runtime.threads import choose_num_threads


@dataclass(frozen=True)
class StartPoint:
    """One way to begin: a picture and its name, or no picture (None) when a world has none; perhaps a clip of it."""

    title: str
    picture: Path | None = None
    clip: Path | None = None
    needs_picture: bool = False  # it cannot begin before the player has given it one


@dataclass(frozen=True)
class WorldEntry:
    """One world of the menu; with an `error` it can be seen and not played."""

    name: str
    title: str
    description: str
    starts: tuple[StartPoint, ...]
    error: str = ""
    reads_text: bool = False


class Catalogue:
    """The worlds on disk. Nothing is kept, so a world that was just copied in is there the next time one asks."""

    def entries(self) -> list[WorldEntry]:
        """Return the worlds of weights/, the default first."""
        names = sorted(paths.world_names(), key=lambda name: (name != paths.DEFAULT_WORLD, name))
        return [entry for name in names for entry in self._entries(name)]

    def config(self, name: str) -> WorldConfig:
        """Read the config of a world given by name or path, with or without a scenario, as it is played live.

        ConfigError for a scenario that no keys can play, WeightsError for a folder that cannot be read.
        """
        try:
            folder, scenario = paths.find_world(name)
            config = load_world_config(folder, scenario).played_live()
        except OSError as error:
            raise WeightsError(f"the world {name!r} cannot be read ({error.strerror or error}); give yourself "
                               "permission to read its folder, or choose another world") from None
        if not plays_live(config):
            given = name if scenario else f"{name}/{config.scenario}"
            raise ConfigError(f"the scenario {config.scenario!r} of the world {config.name!r} cannot be played live, "
                              f"since its actions are poses that no key makes; render it: {own_command()} render "
                              f"--world {given} --image FILE --out clip.mp4")
        return config

    def start_pictures(self, config: WorldConfig) -> list[Path]:
        """Return the start pictures of a world's scenario."""
        return paths.start_pictures(config.name, config.scenario)

    def load(self, name: str, num_threads: int | None, prompt: str = "",
             memory: Literal["auto", "8", "16", "24", "full"] = "auto") -> PlayableWorld:
        """Load a world and set the number of compute threads it runs on (generator thread).

        None chooses by a short probe where the passes are small: on a busy machine one thread may beat two. `memory` is
        the mode of `model.memory` for published worlds; others know none and refuse it.
        """
        # here and not above: the window is on screen before torch takes seconds
        from ..model.loading import LoadOptions, load_world

        world = load_world(name, options=LoadOptions(live=True, prompt=prompt, memory=memory))
        if num_threads is not None:
            world.num_threads = num_threads
        elif world.probes_threads:
            world.num_threads = choose_num_threads(world.run_probe_pass, MonotonicClock())
        return world

    def _entries(self, name: str) -> list[WorldEntry]:
        """Return one entry for every scenario of a world; only one if it names none."""
        try:
            folder, scenario = paths.find_world(name)
            config = load_world_config(folder, scenario)
        except (AstraPlayError, OSError) as error:
            return [WorldEntry(name, name, "", (StartPoint("Not playable"),), error=str(error))]
        lacking = paths.incomplete_sentence(folder, config)
        if lacking:
            return [WorldEntry(name, config.title, "", (StartPoint("Not playable"),), error=lacking)]
        if not config.scenarios:
            return [self._entry(name, config)]
        played = {scenario: config.playing(scenario) for scenario in config.scenarios}
        return [self._entry(f"{name}/{scenario}", own) for scenario, own in played.items() if plays_live(own)]

    def _entry(self, name: str, config: WorldConfig) -> WorldEntry:
        starts = tuple(StartPoint(start_title(picture), picture, paths.clip_of(picture))
                       for picture in self.start_pictures(config))
        own = StartPoint("From a picture of yours", needs_picture=True) if needs_picture(config) \
            else StartPoint(config.title)
        return WorldEntry(name, config.title, config.description, starts or (own,),
                          reads_text=config.model.text_dim > 0)


def plays_live(config: WorldConfig) -> bool:
    """Whether keys can play a world: of published weights they make the motions of a camera, and no others."""
    return config.model.history != "framepack" or config.controls.modality == "camera"


def needs_picture(config: WorldConfig) -> bool:
    """Whether a world without start pictures has to be given one; worlds trained here always come with some."""
    return config.model.history == "framepack"


def start_title(picture: Path) -> str:
    """Turn a file name into words: 03_pond-at-dusk.png -> Pond at dusk."""
    words = picture.stem.replace("_", " ").replace("-", " ").strip()
    words = words.lstrip("0123456789 ") or words
    return words[:1].upper() + words[1:]
