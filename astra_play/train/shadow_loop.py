"""`train hand --find shadow`: pictures of the arm and the simulator's own shadow of it -> the shadow finder of a codec.

What is learned is told in codec/shadow.py, where its truth comes from in scenarios/arm_shadow.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import pixels
from ..codec.shadow import CastShadow, ShadowFinder
from .arm_play import moments
from .codec_parts import fit_finder, quick

WIDTH, BATCH, LR = 16, 16, 4e-3
FACTS_WEIGHT = 2.0  # of the mean squares of light and slant beside the cross-entropy of the shapes


@dataclass(frozen=True)
class Shadows:
    """Pictures (N, 3, H, W) in [-1, 1] and the shadow in each, shares in {0, 1}."""

    pictures: Tensor
    cast: CastShadow

    def __len__(self) -> int:
        return len(self.pictures)


def draw_shadows(first_seed: int, num_worlds: int, width: int, height: int) -> Shadows:
    """Play worlds of the arm from `first_seed` on and draw some moments of each."""
    frames, truths = [], []
    for frame, simulator in moments(first_seed, num_worlds, width, height):
        frames.append(frame)
        truths.append(simulator.shadow())
    share, table = (torch.from_numpy(np.stack(shapes)).float()[:, None]
                    for shapes in ([truth.share for truth in truths], [truth.table for truth in truths]))
    light, slant = (torch.from_numpy(np.stack(numbers)).float()
                    for numbers in ([truth.light for truth in truths], [truth.slant for truth in truths]))
    return Shadows(pixels.to_float(torch.from_numpy(np.stack(frames))), CastShadow(share, table, light, slant))


def varied(shadows: Shadows, index: Tensor, generator: torch.Generator) -> Shadows:
    """Return a batch: half of it mirrored, colours exchanged and light changed, so that it is not the paints that tell
    where the lamp is."""
    pictures, cast = shadows.pictures[index], CastShadow(*(fact[index] for fact in shadows.cast))
    mirrored = torch.rand(len(index), 1, 1, 1, generator=generator) < 0.5
    pictures, share, table = (torch.where(mirrored, x.flip(-1), x) for x in (pictures, cast.share, cast.table))
    slant = torch.where(mirrored[:, :, 0, 0], cast.slant * torch.tensor([-1.0, 1.0]), cast.slant)
    order = torch.randperm(3, generator=generator)
    brighter = torch.empty(len(index), 1, 1, 1).uniform_(0.8, 1.2, generator=generator)
    pictures = ((pictures[:, order] + 1) * brighter - 1).clamp(-1, 1)
    return Shadows(pictures, CastShadow(share, table, cast.light[:, order], slant))


def fit(finder: ShadowFinder, shadows: Shadows, num_steps: int, seed: int = 0) -> list[float]:
    """Train the finder in place; return the losses."""
    guessed = quick(finder.guess)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = varied(shadows, torch.randint(len(shadows), (BATCH,), generator=generator), generator)
        logits, light, slant = guessed(batch.pictures)
        shapes = F.binary_cross_entropy_with_logits(logits, torch.cat([batch.cast.share, batch.cast.table], dim=1))
        facts = F.mse_loss(light, batch.cast.light) + F.mse_loss(slant, batch.cast.slant)
        return shapes + FACTS_WEIGHT * facts

    return fit_finder(finder, loss_of_batch, num_steps, LR, seed)


@torch.no_grad()
def scores(finder: ShadowFinder, shadows: Shadows) -> dict[str, float]:
    """How well shadows are found: the overlap (intersection over union, all pictures together) of the shadow where it
    shows and of the table, and the mean errors of the light and of the slant's length (metres a metre)."""
    found = CastShadow(*(torch.cat(parts) for parts in
                         zip(*(finder(part) for part in shadows.pictures.split(BATCH)), strict=True)))
    true = shadows.cast

    def overlap(one: Tensor, other: Tensor) -> float:
        return float(((one > 0.5) & (other > 0.5)).sum() / ((one > 0.5) | (other > 0.5)).sum().clamp_min(1))

    return {"overlap": overlap(found.share * found.table, true.share * true.table),
            "table_overlap": overlap(found.table, true.table),
            "light_error": float((found.light - true.light).abs().mean()),
            "slant_error": float((found.slant - true.slant).norm(dim=1).mean())}
