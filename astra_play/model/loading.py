"""Folder -> World: which files, which device, which precision, and the prompt read before the network is in memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import paths
from ..codec import pixels
from ..codec.parked import ParkedCodec
from ..codec.streaming import Codec
from ..codec.tiled import TiledCodec
from ..config import WorldConfig, load_world_config
from ..errors import ConfigError, WeightsError
from .checkpoint import load_codec, load_model, load_preview_codec
from .framepack_history import RowPlacement
from .memory import MemoryMode, MemoryPlan, choose_plan
from .precision import Precision, set_precision
from .world import World

TEXT_FOLDER = paths.TEXT_FOLDER  # of a world that reads text: its encoder, see model/text_files.py


@dataclass(frozen=True)
class LoadOptions:
    """How a world is put into memory.

    `live`: as it is played, with the config's live stream and the cheaper codec where the folder has one; else as it is
    rendered. `precision` "auto" is bfloat16 for a published network on a GPU and float32 everywhere else. `prompt`,
    `negative_prompt`, `text_guidance_scale` are for worlds that read text; a negative prompt is only needed, and only
    read, where the scale is not 1. `memory` is the mode of `model.memory`, for published worlds. `decoder`: which
    autoencoder makes the pictures, "auto" the cheaper one for live play. `solver` None is the world's own.
    """

    live: bool = False
    precision: Precision | Literal["auto"] = "auto"
    placement: RowPlacement = "entering"
    prompt: str = ""
    negative_prompt: str = ""
    text_guidance_scale: float = 1.0
    memory: MemoryMode = "auto"
    decoder: Literal["auto", "exact", "preview"] = "auto"
    solver: Literal["euler", "unipc", "dpmpp"] | None = None


def load_world(name_or_path: str | Path = paths.DEFAULT_WORLD, device: str = "auto",
               options: LoadOptions | None = None) -> World:
    """Load a world from weights/NAME or from a folder; "/SCENARIO" after it picks one of its scenarios.

    WeightsError or ConfigError says what is wrong with it, AstraPlayError how much memory it lacks.
    """
    options = options or LoadOptions()
    folder, scenario = paths.find_world(name_or_path)
    config = load_world_config(folder, scenario)
    if sentence := paths.incomplete_sentence(folder, config):
        raise WeightsError(sentence)
    if options.live:
        config = config.played_live()
    if options.solver:
        config = dataclasses.replace(config, stream=dataclasses.replace(config.stream, solver=options.solver))
    chosen = choose_device(device)
    precision = precision_for(config, chosen, options.precision)
    plan = plan_for(config, chosen, precision, options)
    # first: the text encoder is larger than the network, and leaves again
    text = read_prompts(folder, config, options, chosen if plan and plan.reads_on_device else "cpu")
    mapped = config.model.history == "framepack" and precision != "float32"
    model = set_precision(load_model(folder, config, None if mapped else torch.float32), precision)
    codec, decoder = load_codecs(folder, config, options, plan)

    def read_prompt(prompt: str) -> list[Tensor]:
        # on the processor: the network has the device now
        return read_prompts(folder, config, dataclasses.replace(options, prompt=prompt))

    world = World(config, model, codec, chosen, _start_frames(config), decoder, options.placement,
                  read_prompt if config.model.text_dim else None)
    if text:
        world.set_text(*text, guidance_scale=options.text_guidance_scale)
    return world


def plan_for(config: WorldConfig, device: torch.device, precision: Precision, options: LoadOptions
             ) -> MemoryPlan | None:
    """Return how a published world is put into memory; None for the others, which are small and stay whole."""
    if config.model.history != "framepack":
        if options.memory != "auto":
            raise ConfigError(f"the world {config.name!r} is small and knows no memory modes; leave --memory out")
        return None
    return choose_plan(config, options.memory, options.live, precision, decodes_preview(config, options), device)


def decodes_preview(config: WorldConfig, options: LoadOptions) -> bool:
    """Tell whether the cheaper autoencoder makes the pictures; ConfigError if it was asked for and is not there."""
    if options.decoder == "preview" and config.preview_codec is None:
        raise ConfigError(f"the world {config.name!r} has no preview decoder; run weights import again with --taehv "
                          "FILE, or leave --decoder preview out")
    return config.preview_codec is not None and (options.decoder == "preview"
                                                 or (options.decoder == "auto" and options.live))


def load_codecs(folder: Path, config: WorldConfig, options: LoadOptions, plan: MemoryPlan | None
                ) -> tuple[Codec, Codec | None]:
    """Return the autoencoder, and the cheaper one where that makes the pictures, as the plan has them in memory."""
    codec = load_codec(folder, config)
    decoder = load_preview_codec(folder, config) if decodes_preview(config, options) else None
    if plan is None:
        return codec, decoder
    codec.to(plan.codec_dtype)
    codec = TiledCodec(codec, park="cpu") if plan.tiles_codec else codec
    codec = ParkedCodec(codec) if plan.parks_codec else codec
    return codec, None if decoder is None else decoder.to(plan.preview_dtype)


def read_prompts(folder: Path, config: WorldConfig, options: LoadOptions, device: torch.device | str = "cpu"
                 ) -> list[Tensor]:
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
    return text_states(prompts, folder / TEXT_FOLDER, device)


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
