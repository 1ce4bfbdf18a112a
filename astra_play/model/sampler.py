"""Sigma schedules and the few-step loop. Knows no cache, no window, no actions.

Flow matching: noisy = (1 - sigma) clean + sigma noise, velocity = noise - clean, so that d noisy / d sigma = velocity
and Euler's step from one sigma to the next lower one is noisy + velocity * (sigma_next - sigma).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import StreamConfig
from ..errors import ConfigError

MAX_STEPS = 100


def sigma_schedule(num_steps: int, shift: float = 1.0) -> tuple[float, ...]:
    """Return num_steps + 1 descending sigmas from 1 to 0, bent by s -> shift s / (1 + (shift - 1) s)."""
    if not 1 <= num_steps <= MAX_STEPS:
        raise ConfigError(f"the number of denoise steps must be 1 to {MAX_STEPS}, but is {num_steps}")
    even = [1.0 - k / num_steps for k in range(num_steps)]
    return tuple(shift * s / (1.0 + (shift - 1.0) * s) for s in even) + (0.0,)


def schedule_for(stream: StreamConfig, num_steps: int | None) -> tuple[float, ...]:
    """Return the world's own schedule for a step count (None: its default), or a computed one where it lists none."""
    if num_steps is None or num_steps == len(stream.sigmas) - 1:
        return stream.sigmas
    listed = stream.step_sigmas.get(str(num_steps))
    return tuple(listed) if listed else sigma_schedule(num_steps, stream.shift)


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """Return (1 - sigma) clean + sigma noise."""
    return clean + sigma * (noise - clean)


def euler(predict_velocity: Callable[[Tensor, float], Tensor], noise: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Walk from pure noise at sigmas[0] to clean latents at sigmas[-1] = 0, one network call per interval."""
    noisy = noise
    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        noisy = noisy + predict_velocity(noisy, sigma) * (sigma_next - sigma)
    return noisy


def guide(null_velocity: Tensor, velocity: Tensor, scale: float) -> Tensor:
    """Action-free guidance (Astra, section 3): v_null + scale (v - v_null)."""
    return torch.lerp(null_velocity, velocity, scale)
