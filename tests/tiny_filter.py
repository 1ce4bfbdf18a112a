"""A small loop filter, its codec and its recipe, for tests of the filter and of its training."""

from __future__ import annotations

import dataclasses

import torch
from tiny_world import TINY_WORLD

from astra_play.codec.loop_filter import LoopFilter
from astra_play.train.filter_recipe import FilterRecipe

FILTERED = dataclasses.replace(TINY_WORLD.codec, loop_filter_width=4)


RECIPE = FilterRecipe(width=4, critic_width=4, streams=2, clip_frames=6, go_on_prob=0.0, frames_per_step=2,
                      young_frames=2, pool=8, batch=4, num_steps=6, precision="fp32", save_every=3, sample_every=100)


def learned(seed: int = 0) -> LoopFilter:
    """A filter that changes what it is given."""
    torch.manual_seed(seed)
    loop_filter = LoopFilter(4)
    with torch.no_grad():
        for parameter in loop_filter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return loop_filter.eval().requires_grad_(False)


def some_pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def load_tiny_codec():
    from astra_play.codec.mini import MiniCodec, fit_linear

    codec = MiniCodec(TINY_WORLD.codec).eval().requires_grad_(False)
    fit_linear(codec, some_pictures(40, 5))
    return codec
