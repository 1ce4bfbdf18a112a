"""Folder -> World: which files, which device, which precision, and the prompt read before the network is in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import paths
from ..codec import pixels
from ..config import WorldConfig, load_world_config
from ..errors import ConfigError
from .checkpoint import load_codec, load_model, load_preview_codec
from .framepack_history import RowPlacement
from .precision import Precision, set_precision
from .world import World

TEXT_FOLDER = paths.TEXT_FOLDER  # of a world that reads text: its encoder, see model/text_files.py


@dataclass(frozen=True)
class LoadOptions:
    """How a world is put into memory.

    `live`: as it is played, with the config's live stream and the cheaper codec where the folder has one; else as it is
    rendered. `precision` "auto" is bfloat16 for a published network on a GPU and float32 everywhere else. `prompt`,
    `negative_prompt`, `text_guidance_scale` are for worlds that read text; a negative prompt is only needed, and only
    read, where the scale is not 1.
    """

    live: bool = False
    precision: Precision | Literal["auto"] = "auto"
    placement: RowPlacement = "entering"
    prompt: str = ""
    negative_prompt: str = ""
    text_guidance_scale: float = 1.0


def load_world(name_or_path: str | Path = paths.DEFAULT_WORLD, device: str = "auto",
               options: LoadOptions | None = None) -> World:
    """Load a world from weights/NAME or from a folder; "/SCENARIO" after it picks one of its scenarios.

    WeightsError or ConfigError says what is wrong with it.
    """
    options = options or LoadOptions()
    folder, scenario = paths.find_world(name_or_path)
    config = load_world_config(folder, scenario)
    if options.live:
        config = config.played_live()
    chosen = choose_device(device)
    text = read_prompts(folder, config, options)  # first: the encoder is larger than the network, and leaves again
    model = set_precision(load_model(folder, config), precision_for(config, chosen, options.precision))
    codec = load_codec(folder, config)
    decoder = load_preview_codec(folder, config) if options.live else None

    def read_prompt(prompt: str) -> list[Tensor]:
        return read_prompts(folder, config, replace(options, prompt=prompt))

    world = World(config, model, codec, chosen, _start_frames(config), decoder, options.placement,
                  read_prompt if config.model.text_dim else None)
    if text:
        world.set_text(*text, guidance_scale=options.text_guidance_scale)
    return world


def read_prompts(folder: Path, config: WorldConfig, options: LoadOptions) -> list[Tensor]:
    """Return the text states of the prompt and, for text guidance, of the negative one; [] for worlds without text.

    ConfigError for a prompt that nobody would read.
    """
    if not config.model.text_dim:
        if options.prompt:
            raise ConfigError(f"the world {config.name!r} reads no text; leave the prompt out")
        return []
    from .text import text_states

    prompts = [options.prompt]
    if options.text_guidance_scale != 1.0:
        prompts.append(options.negative_prompt)
    return text_states(prompts, folder / TEXT_FOLDER)


def precision_for(config: WorldConfig, device: torch.device, wanted: Precision | Literal["auto"]) -> Precision:
    """Return the precision that "auto" stands for, or the one that was asked for."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if config.model.history == "framepack" and device.type == "cuda" else "float32"


def choose_device(device: Literal["auto"] | str = "auto") -> torch.device:
    """Return the device to play on: "auto" takes CUDA where there is one, else the CPU."""
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError:
            raise ConfigError(f"there is no device {device!r}; use \"auto\", \"cpu\" or \"cuda\"") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _start_frames(config: WorldConfig) -> np.ndarray | None:
    pictures = paths.start_pictures(config.name, config.scenario)
    return pixels.load_start_image(pictures[0], config.width, config.height)[None] if pictures else None
