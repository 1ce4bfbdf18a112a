"""Recipe and data sets -> what training needs of each scenario, and the config that the finished world will have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..codec.mini import MiniCodec
from ..config import ControlsConfig, ScenarioConfig, WorldConfig, from_dict, load_world_config, to_dict
from ..errors import ConfigError
from ..model.anchor import CameraMotion
from ..model.carried import make_motion
from ..model.loading import choose_device
from . import scenarios
from .dataset import Dataset
from .latents import LatentDataset, row_statistics
from .world_recipe import WorldRecipe

LEAST_STRIP_FRAMES = 4  # two true ones, and two to compare with them


@dataclass(frozen=True)
class Part:
    """What training knows of one scenario: its episodes, what its rows mean, how its pictures are carried along."""

    data: LatentDataset
    modality: str
    motion: CameraMotion | None
    share: float = 1.0


def world_config(recipe: WorldRecipe, codec_folder: Path, data: dict[str, LatentDataset]) -> WorldConfig:
    """Complete the recipe with what only codec and data know: scales, row statistics, picture size, rate, hashes."""
    codec_config = load_world_config(codec_folder)
    manifest = next(iter(data.values())).dataset.manifest
    config = WorldConfig(name=recipe.name, title=recipe.title, description=recipe.description, width=manifest["width"],
                         height=manifest["height"], fps=manifest["fps"], model=recipe.model, codec=codec_config.codec,
                         stream=recipe.stream, latent_scale=codec_config.latent_scale,
                         provenance=codec_config.provenance)
    if recipe.scenarios:
        scenarios_of = {name: ScenarioConfig(own.title, own.description, scenarios.controls(name))
                        for name, own in recipe.scenarios.items()}
        config = dataclasses.replace(config, scenarios=scenarios_of).playing(next(iter(scenarios_of)))
    config = with_controls(config, recipe, data)
    by_modality: dict[str, list[LatentDataset]] = {}
    for name, own in data.items():
        by_modality.setdefault(config.playing(name).controls.modality, []).append(own)
    statistics = {modality: row_statistics(sets) for modality, sets in by_modality.items()}
    return dataclasses.replace(config, model=dataclasses.replace(
        recipe.model, action_mean={name: mean + [0.0] for name, (mean, _) in statistics.items()},
        action_std={name: std + [1.0] for name, (_, std) in statistics.items()}))


def with_controls(config: WorldConfig, recipe: WorldRecipe, data: dict[str, LatentDataset]) -> WorldConfig:
    """Return the config with the controls that its data were made with, where the recipe does not name its scenarios.

    ConfigError if the recipe's own settings of controls cannot be, or if rows of the data are not what the model reads.
    """
    if not recipe.scenarios:
        folder, scenario = data[""].dataset.folder, data[""].dataset.manifest["scenario"]
        made_with = scenarios.controls(scenario)
        controls = from_dict(ControlsConfig, to_dict(made_with) | recipe.controls, where="controls")
        if controls.modality != made_with.modality:
            raise ConfigError(f"the recipe's controls are those of {controls.modality!r}, but {folder} holds "
                              f"{scenario}, whose actions are {made_with.modality!r}; leave modality out")
        config = dataclasses.replace(config, controls=controls)
    for name, own in data.items():
        modality, width = config.playing(name).controls.modality, own.rows.shape[1]
        if recipe.model.modalities.get(modality) != width + 1:  # one more: the mask column
            raise ConfigError(f"{own.dataset.folder} holds {modality!r} actions of {width} numbers, but the recipe's "
                              f"model.modalities are {recipe.model.modalities}; they must say {modality} = {width + 1}")
    return config


def check_data(recipe: WorldRecipe, data: dict[str, LatentDataset], held_out: dict[str, LatentDataset]) -> None:
    """Raise ConfigError or DataError if some step or strip of the run could not draw what it needs."""
    for own in data.values():
        own.check_clips(recipe.longest_clip, "a clip of clip_frames and rollout_extra_frames")
    for name, own in held_out.items():
        scenario, trained = (each.dataset.settings.scenario for each in (own, data[name]))
        if scenario != trained:
            raise ConfigError(f"{own.dataset.folder} holds {scenario}, but the run trains on {trained}; give it "
                              "held-out data of that")
        own.check_clips(max(LEAST_STRIP_FRAMES, 2 * recipe.stream.latent_frames_per_chunk), "a sample strip")


def parts_of(recipe: WorldRecipe, config: WorldConfig, data: dict[str, LatentDataset],
             codec: MiniCodec) -> dict[str, Part]:
    """Join every data set with what config and recipe say of its scenario."""
    parts = {}
    for name, own in data.items():
        playing = config.playing(name)
        share = recipe.scenarios[name].share if name else 1.0
        parts[name] = Part(own, playing.controls.modality, make_motion(playing, codec), share)
    return parts


def read_data(recipe: WorldRecipe, folders: Sequence[Path], codec: MiniCodec,
              scale: Tensor) -> dict[str, LatentDataset]:
    """Read one data set for each of the recipe's scenarios, told apart by their manifests, in the recipe's order.

    A recipe that names no scenario takes one data set of any, under the name "".
    """
    found = {Dataset(folder).manifest["scenario"]: folder for folder in folders}
    if len(found) != len(folders):
        raise ConfigError("two of the data folders hold the same scenario; give one folder for each")
    if not recipe.scenarios and len(folders) != 1:
        raise ConfigError(f"the recipe names no scenarios and takes one data folder, but {len(folders)} were given")
    if recipe.scenarios and found.keys() != recipe.scenarios.keys():
        raise ConfigError(f"the recipe needs data of {', '.join(recipe.scenarios)}, but the folders hold "
                          f"{', '.join(found)}; make the data or leave the scenario out of the recipe")
    wanted = {name: found[name] for name in recipe.scenarios} or {"": folders[0]}
    with_pictures = recipe.model.anchor == "moved"
    return {name: LatentDataset(folder, codec, scale, with_pictures, choose_device())
            for name, folder in wanted.items()}
