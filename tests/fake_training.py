"""A small training run on noise, for tests that need its parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from tiny_world import TINY_WORLD

from astra_play.actions.rows import camera_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.model.anchor import CameraMotion
from astra_play.model.carried import make_motion
from astra_play.train import world_data, world_recipe
from astra_play.train.latents import Clips


class FakeData:
    """What LatentDataset offers, from noise."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.latents = torch.randn(3, 20, 4, 4, 4)
        self.rows = torch.from_numpy(np.stack([camera_row(0.1, 0.0, 0.02 * t) for t in range(20)])).repeat(3, 1, 1)
        self.before = torch.randint(0, 256, (3, 20, 32, 32, 3), dtype=torch.uint8)

    def sample(self, batch: int, num_frames: int, gap_prob: float, generator: torch.Generator) -> Clips:
        picks = torch.randint(3, (batch,), generator=generator)
        own = picks, slice(num_frames)
        return Clips(self.latents[own], self.rows[own], picks == 0, self.before[own])


def tiny_motion() -> CameraMotion:
    codec = MiniCodec(TINY_WORLD.codec)
    fit_linear(codec, torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return make_motion(TINY_WORLD, codec)


def parts(data: FakeData, motion: CameraMotion | None) -> dict[str, world_data.Part]:
    return {"": world_data.Part(data, "camera", motion)}


def tiny_recipe(**changes) -> world_recipe.WorldRecipe:
    recipe = world_recipe.WorldRecipe(
        name="tiny", title="", description="", model=TINY_WORLD.model, stream=TINY_WORLD.stream, clip_frames=5, batch=2,
        num_steps=8, warmup_steps=1, decay_steps=2, rollout_from_step=2, rollout_prob=0.7, rollout_extra_frames=4,
        energy_from_step=5, critic_from_step=1, critic_warmup_steps=2, precision="fp32")
    return dataclasses.replace(recipe, **changes)
