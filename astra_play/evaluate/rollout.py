"""Many worlds at once: prompt frames and action rows -> frames, in one batch instead of one `World` each.

A rollout here is what `World` plays from the same prompt, rows and seed (a test holds them together): the same cache,
schedule and guidance, noise drawn per rollout from its own seed. Twenty in a batch cost half of twenty one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codec import pixels
from ..codec.mini import MiniCodec
from ..config import WorldConfig, load_world_config
from ..model.carried import carried_picture
from ..model.checkpoint import load_codec, load_model
from ..model.free_run import FreeRun
from ..model.sampler import add_noise, schedule_for
from ..model.transformer import Transformer
from ..model.world import COMMIT_STREAM

WARM_CHUNKS, TIMED_CHUNKS = 20, 60
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


def load_parts(folder: Path, num_steps: int | None = None, guidance_scale: float | None = None,
               scenario: str = "") -> WorldParts:
    """Load a world folder; None means the world's own steps or guidance, "" its first scenario."""
    config = load_world_config(folder, scenario)
    guidance = config.stream.guidance_scale if guidance_scale is None else guidance_scale
    return WorldParts(config, load_model(folder, config), load_codec(folder, config), num_steps, guidance)


@torch.inference_mode()
def encode(world: WorldParts, frames: np.ndarray) -> Tensor:
    """Frames (B, F, H, W, 3) uint8 -> network latents (B, F, C, h, w)."""
    return world.codec.encode(pixels.to_float(torch.from_numpy(np.ascontiguousarray(frames)))) / world.scale


@torch.inference_mode()
def roll_out(world: WorldParts, prompts: np.ndarray, rows: np.ndarray, seeds: Sequence[int],
             watch: Callable[[FreeRun], None] | None = None) -> np.ndarray:
    """Let the world play freely from true prompt frames.

    `prompts` (B, P, H, W, 3) uint8, P whole chunks; `rows` (B, F, A), those that led into the prompt frames first.
    Returns frames (B, F, H, W, 3) uint8: the prompt's, then the world's own. `watch` is called after every chunk made.
    """
    batch, num_frames, _ = rows.shape
    stream, chunk = world.config.stream, world.config.stream.latent_frames_per_chunk
    rows = torch.from_numpy(np.asarray(rows, np.float32))
    noise, commit_noise = _Noise(seeds), _Noise([seed + COMMIT_STREAM for seed in seeds])

    def disturb(latents: Tensor) -> Tensor:
        return add_noise(latents, commit_noise.draw(latents.shape[1:]), stream.context_sigma)

    run = FreeRun(world.model, stream, world.config.controls.modality, batch,
                  carried_picture(world.config, world.codec), disturb if stream.context_sigma > 0 else None)
    pictures = pixels.to_float(torch.from_numpy(np.ascontiguousarray(prompts)))
    shown, latents = [prompts], encode(world, prompts)
    num_given, previous = latents.shape[1], latents[:, -1:]
    for first in range(0, num_frames, chunk):
        own = rows[:, first:first + chunk]
        own = torch.cat([own, own[:, -1:].expand(-1, chunk - own.shape[1], -1)], dim=1)
        if first < num_given:
            run.show(latents[:, first:first + chunk], own, pictures[:, first + chunk - 1])
            continue
        clean = run.generate(noise.draw((chunk, *latents.shape[2:])), own, world.sigmas, world.guidance_scale)
        if run.carried is None:
            made = world.codec.decode(clean * world.scale, previous * world.scale)
            previous = clean[:, -1:]
        else:
            made, _ = run.paint()
        if watch is not None:
            watch(run)
        shown.append(pixels.to_uint8(made).numpy())
    return np.concatenate(shown, axis=1)[:, :num_frames]


def routing_of(world: WorldParts, prompts: np.ndarray, rows: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Weights of the action experts for every frame that the world makes in a rollout, (frames, num_experts)."""
    weights: list[Tensor] = []
    roll_out(world, prompts, rows, seeds, lambda run: weights.append(run.history.routing.float().flatten(0, 1)))
    return torch.cat(weights).numpy()


def time_chunks(world: WorldParts, prompt: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Milliseconds from action row to picture of one world alone, chunk by chunk, once its window is full.

    `prompt` (P, H, W, 3) uint8, `rows` (F, A) with the prompt's own first. The player's whole way, from key press to
    flip, is measured by `play --stats-json`.
    """
    marks: list[float] = []
    own = rows[:len(prompt) + WARM_CHUNKS + TIMED_CHUNKS]
    roll_out(world, prompt[None], own[None], [0], lambda run: marks.append(time.perf_counter()))
    took_ms = np.diff(marks)[WARM_CHUNKS:] * 1000
    if not len(took_ms):
        return {"chunks": 0}
    return {"chunks": len(took_ms), **{f"p{q}_ms": float(np.percentile(took_ms, q)) for q in (50, 95)}}


@torch.inference_mode()
def through_codec(world: WorldParts, frames: np.ndarray) -> np.ndarray:
    """What the codec alone makes of the last of frames (B, F, H, W, 3), F >= 2: (B, H, W, 3) uint8."""
    before, now = (encode(world, frames)[:, -2:] * world.scale).split(1, dim=1)
    return torch.cat([pixels.to_uint8(world.codec.decode(n, b)[:, 0])
                      for n, b in zip(now.split(DECODE_BATCH), before.split(DECODE_BATCH), strict=True)]).numpy()


class _Noise:
    """One random stream per rollout, so that a rollout does not depend on who shares its batch."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self, shape: Sequence[int]) -> Tensor:
        return torch.cat([torch.randn(1, *shape, generator=g) for g in self._generators])
