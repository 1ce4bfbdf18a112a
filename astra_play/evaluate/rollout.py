"""Many worlds at once: prompt frames and action rows -> latents -> frames, in one batch instead of one `World` each.

A rollout here is what `World` plays from the same prompt, rows and seed (a test holds them together): the same cache,
schedule and guidance, noise drawn per rollout from its own seed. Twenty in a batch cost half of twenty one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codec import pixels
from ..codec.mini import MiniCodec
from ..config import WorldConfig, load_world_config
from ..model.anchor import make_anchor
from ..model.checkpoint import load_codec, load_model
from ..model.history import CausalHistory
from ..model.sampler import add_noise, euler, schedule_for
from ..model.transformer import Transformer
from ..model.world import COMMIT_STREAM

DECODE_BATCH = 12  # pictures; the decoder's widest layers of more than that fall out of a CPU's cache


@dataclass(frozen=True)
class WorldParts:
    """What a rollout needs of a world. `num_steps` None: the world's own schedule; `guidance_scale` as at play."""

    config: WorldConfig
    model: Transformer
    codec: MiniCodec
    num_steps: int | None = None
    guidance_scale: float = 1.0

    @property
    def scale(self) -> Tensor:
        """Network latents times this are codec latents, (C, 1, 1)."""
        return torch.tensor(self.config.latent_scale or (1.0,) * self.config.codec.latent_channels)[:, None, None]

    @property
    def sigmas(self) -> tuple[float, ...]:
        return schedule_for(self.config.stream, self.num_steps)


def load_parts(folder: Path, num_steps: int | None = None, guidance_scale: float | None = None) -> WorldParts:
    """Load a world folder; None means the world's own steps or guidance."""
    config = load_world_config(folder)
    guidance = config.stream.guidance_scale if guidance_scale is None else guidance_scale
    return WorldParts(config, load_model(folder, config), load_codec(folder, config), num_steps, guidance)


@torch.inference_mode()
def encode(world: WorldParts, frames: np.ndarray) -> Tensor:
    """Frames (B, F, H, W, 3) uint8 -> network latents (B, F, C, h, w)."""
    return world.codec.encode(pixels.to_float(torch.from_numpy(np.ascontiguousarray(frames)))) / world.scale


@torch.inference_mode()
def roll_out(world: WorldParts, prompts: np.ndarray, rows: np.ndarray, seeds: Sequence[int]) -> Tensor:
    """Let the world play freely from true prompt frames.

    `prompts` (B, P, H, W, 3) uint8, P whole chunks; `rows` (B, F, A), those that led into the prompt frames first.
    Returns network latents (B, F, C, h, w): the prompt's, then the world's own.
    """
    batch, num_frames, _ = rows.shape
    chunk = world.config.stream.latent_frames_per_chunk
    rows = torch.from_numpy(np.asarray(rows, np.float32))
    history = CausalHistory(world.model, world.config.stream, world.config.controls.modality, batch,
                            make_anchor(world.config, world.codec))
    noise, commit_noise = _Noise(seeds), _Noise([seed + COMMIT_STREAM for seed in seeds])
    parts = list(encode(world, prompts).split(chunk, dim=1))
    num_given = len(parts)
    for index in range(-(-num_frames // chunk)):
        own = rows[:, index * chunk:(index + 1) * chunk]
        own = torch.cat([own, own[:, -1:].expand(-1, chunk - own.shape[1], -1)], dim=1)
        if index >= num_given:
            start = noise.draw(parts[0].shape[1:])
            clean = euler(lambda noisy, sigma, own=own: history.velocity(noisy, sigma, own, world.guidance_scale),
                          start, world.sigmas)
            parts.append(history.settle(clean, own))
        committed, sigma = parts[index], world.config.stream.context_sigma
        if sigma > 0:
            committed = add_noise(committed, commit_noise.draw(committed.shape[1:]), sigma)
        history.push(committed, own)
    return torch.cat(parts, dim=1)[:, :num_frames]


@torch.inference_mode()
def decode(world: WorldParts, latents: Tensor, picks: Sequence[int] | None = None) -> np.ndarray:
    """Network latents (B, F, C, h, w) -> frames (B, len(picks), H, W, 3) uint8; picks None: all.

    The decoder remembers one latent frame, so any frame can be decoded alone, given the latent frame before it.
    """
    picks = list(range(latents.shape[1])) if picks is None else list(picks)
    before = [max(0, pick - 1) for pick in picks]
    now, previous = ((latents[:, index] * world.scale).flatten(0, 1)[:, None] for index in (picks, before))
    pictures = [pixels.to_uint8(world.codec.decode(n, p)[:, 0])
                for n, p in zip(now.split(DECODE_BATCH), previous.split(DECODE_BATCH), strict=True)]
    return torch.cat(pictures).unflatten(0, (len(latents), len(picks))).numpy()


class _Noise:
    """One random stream per rollout, so that a rollout does not depend on who shares its batch."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self, shape: Sequence[int]) -> Tensor:
        return torch.cat([torch.randn(1, *shape, generator=g) for g in self._generators])
