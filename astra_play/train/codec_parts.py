"""The parts of a codec that are taught on their own, each by a command: how finders learn, and how all are written.

A part lies in the codec's file beside the autoencoder and what was taught before it; the world's network is copied.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..codec.mini import MiniCodec
from ..config import WorldConfig
from ..model.checkpoint import CODEC_FILE, MODEL_FILE, save_config, save_module
from .optim import START_AGAIN, Stepper, autocast_to, fast_dtype

# Parts that a codec which learns on has no use for -> how they are taught.
TAUGHT_LATER = {"shadow": "`train hand --find shadow`", "tabletop": "`train hand --find tabletop`",
                "table": "`train hand --find table`", "arm": "`train hand --find arm`",
                "distances": "`train hand --find distances`", "loop_filter": "`train filter` after the world",
                "upscaler": "`train upscaler`"}
WARMUP_STEPS = 50
MAX_NORM = 0.5  # of gradients; without it a batch now and then undoes what was learned


def fit_finder(finder: nn.Module, loss_of_batch: Callable[[torch.Generator], Tensor], num_steps: int, lr: float,
               seed: int) -> list[float]:
    """Train in place, the rate falling along a cosine; return the losses. `loss_of_batch` draws from the generator."""
    from tqdm import trange

    optimizer = torch.optim.AdamW(finder.parameters(), lr, weight_decay=1e-4)
    finder.to(memory_format=torch.channels_last)  # in which convolutions take two thirds of the time
    stepper = Stepper(finder, [optimizer], MAX_NORM, START_AGAIN)
    generator, losses = torch.Generator().manual_seed(seed), []
    for step in trange(num_steps, desc="training", unit="step", leave=False):
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        optimizer.param_groups[0]["lr"] = lr * warm * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        loss = loss_of_batch(generator)
        loss.backward()
        stepper.take(step)
        losses.append(loss.item())
    return losses


def quick(guess: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that guesses the same, a tensor or a tuple of some, in the dtype that trains faster on this
    machine (bfloat16 where there are units for it: more than twice as fast), and returns it in float32."""
    device = torch.device("cpu")
    dtype = fast_dtype(device)

    def guessed(*given: Tensor) -> Any:
        with autocast_to(dtype, device):
            found = guess(*given)
        if isinstance(found, Tensor):
            return found.float()
        floats = [part.float() for part in found]
        return type(found)(*floats) if hasattr(found, "_fields") else tuple(floats)

    return guessed


def repainted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] in another light, and in every other batch with their colours exchanged, so that
    shapes count and not paints alone."""
    order = torch.randperm(3, generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        order = torch.arange(3)
    light = torch.empty(len(pictures), 1, 1, 1).uniform_(0.8, 1.2, generator=generator)
    return ((pictures[:, order] + 1) * light - 1).clamp(-1, 1)


def save_with_part(codec: MiniCodec, config: WorldConfig, width: dict[str, int], told: dict[str, Any],
                   world_folder: Path, out: Path) -> None:
    """Write to `out` the world of `world_folder` with a codec that has got a part.

    `width` names the part's field of `CodecConfig`; `told` joins the provenance.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in world_folder.glob(Path(MODEL_FILE).stem + "*"):
        if path.resolve() != (out / path.name).resolve():
            shutil.copyfile(path, out / path.name)
    save_module(codec, out / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=dataclasses.replace(config.codec, **width),
                                    provenance={**config.provenance, **told}), out)
