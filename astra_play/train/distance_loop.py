"""`train hand --find distances`: pictures of park and road, and the simulators' own distances -> a codec's distance
finder.

What is learned is told in codec/distances.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import pixels
from ..codec.distances import PITCH_SPREAD_RAD, DistanceFinder, Distances, in_metres, in_spreads
from . import scenarios
from .codec_parts import fit_finder, quick, repainted

WIDTH, BATCH, LR = 24, 16, 3e-3
PICTURES_PER_WORLD, FRAMES_BETWEEN = 8, 20
LOGS_WEIGHT, EDGES_WEIGHT = 0.5, 1.0  # of errors of the distances, and of their steps from pixel to pixel
PITCH_WEIGHT = 0.2  # of the mean squares of the pitch
# Pixels of posts and lamps, which are few, count so much more: half a post is seen to hang in mid-air.
SLENDER_PX, SLENDER_WEIGHT = 5, 2.0


@dataclass(frozen=True)
class Views:
    """Pictures (N, 3, H, W) in [-1, 1] and what is to be found in each, `stands` in {0, 1}."""

    pictures: Tensor
    truth: Distances

    def __len__(self) -> int:
        return len(self.pictures)


def draw_views(first_seed: int, num_worlds: int, width: int, height: int,
               kinds: Sequence[str] = ("explore",)) -> Views:
    """Go through so many worlds of each scenario of `kinds`, from `first_seed` on, and draw some moments of each."""
    from tqdm import tqdm

    frames, truths = [], []
    for kind in kinds:
        simulator = scenarios.make(kind, width, height)
        try:
            for seed in tqdm(range(first_seed, first_seed + num_worlds), f"drawing {kind}", unit="world", leave=False):
                steps = scenarios.play(kind, simulator, seed, 1 + (PICTURES_PER_WORLD - 1) * FRAMES_BETWEEN)
                for index, step in enumerate(steps):
                    if index % FRAMES_BETWEEN == 0:
                        frames.append(step.frame)
                        truths.append(simulator.distances())
        finally:
            simulator.close()
    stands, distance_m, pitch_rad = (torch.from_numpy(np.stack(each)).float() for each in zip(*truths, strict=True))
    truth = Distances(stands[:, None], distance_m[:, None], pitch_rad)
    return Views(pixels.to_float(torch.from_numpy(np.stack(frames))), truth)


def varied(views: Views, index: Tensor, generator: torch.Generator) -> Views:
    """Return a batch, half of it mirrored, in other paints and light."""
    mirrored = torch.rand(len(index), 1, 1, 1, generator=generator) < 0.5
    pictures, stands, distance_m = (torch.where(mirrored, x[index].flip(-1), x[index]) for x in (
        views.pictures, views.truth.stands, views.truth.distance_m))
    return Views(repainted(pictures, generator), Distances(stands, distance_m, views.truth.pitch_rad[index]))


def fit(finder: DistanceFinder, views: Views, num_steps: int, seed: int = 0) -> list[float]:
    """Train the finder in place; return the losses."""
    guessed = quick(finder.guess)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = varied(views, torch.randint(len(views), (BATCH,), generator=generator), generator)
        truth, guess = batch.truth, guessed(batch.pictures)
        off = guess.logs - in_spreads(truth.distance_m)
        errors, edges = _mean(off.abs(), truth.stands), 0.0
        for dim in (2, 3):
            both = torch.minimum(truth.stands.narrow(dim, 1, off.shape[dim] - 1),
                                 truth.stands.narrow(dim, 0, off.shape[dim] - 1))
            edges = edges + _mean(off.diff(dim=dim).abs(), both)
        weights = 1 + SLENDER_WEIGHT * slender(truth.stands)
        return (F.binary_cross_entropy_with_logits(guess.stands, truth.stands, weights) + LOGS_WEIGHT * errors
                + EDGES_WEIGHT * edges + PITCH_WEIGHT * F.mse_loss(guess.pitch, truth.pitch_rad / PITCH_SPREAD_RAD))

    return fit_finder(finder, loss_of_batch, num_steps, LR, seed)


def slender(stands: Tensor) -> Tensor:
    """What of masks (N, 1, H, W) in {0, 1} no square of SLENDER_PX fits into."""
    def grown(marks: Tensor) -> Tensor:
        return F.max_pool2d(marks, SLENDER_PX, stride=1, padding=SLENDER_PX // 2)

    return stands - grown(1 - grown(1 - stands))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


@torch.no_grad()
def scores(finder: DistanceFinder, views: Views) -> dict[str, float]:
    """How well it is found what stands (intersection over union, all pictures together); by what share distances are
    off, in the median of what stands; the mean error of the pitch in radians."""
    guesses = [finder.guess(part) for part in views.pictures.split(BATCH)]
    stands, logs, pitch = (torch.cat(parts) for parts in zip(*guesses, strict=True))
    found, true = stands > 0, views.truth.stands > 0.5
    off = (in_metres(logs) / views.truth.distance_m.clamp_min(1e-3) - 1).abs()[true]
    return {"overlap": float((found & true).sum() / (found | true).sum().clamp_min(1)),
            "distance_off": float(off.median()) if len(off) else 0.0,
            "pitch_error_rad": float((pitch * PITCH_SPREAD_RAD - views.truth.pitch_rad).abs().mean())}
