"""`train hand --find tabletop`: pictures of the arm, its fingers, blocks and camera -> the tabletop finder of a codec.

What is learned is told in codec/tabletop.py, where its truth comes from in scenarios/arm_tabletop.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import pixels
from ..codec.tabletop import Tabletop, TabletopFinder, centres, in_spreads, in_units, mean_places
from .arm_play import moments
from .codec_parts import fit_finder, repainted

WIDTH, BATCH, LR = 16, 16, 3e-3
# Of what is there beside what is not, for each of the shapes: there are few pixels of a finger or a middle.
SHAPE_WEIGHTS = (2.0, 2.0, 1.0, 1.0, 4.0)
POINT_PX = 1.0  # how wide the spot is that a point's map is taught, one standard deviation
POINTS_WEIGHT = 0.02  # of the cross-entropy of the points' maps beside that of the shapes
FACTS_WEIGHT = 0.05  # of the mean squares of the facts


@dataclass(frozen=True)
class Tabletops:
    """Pictures (N, 3, H, W) in [-1, 1] and what is to be found in each, shares in {0, 1}."""

    pictures: Tensor
    truth: Tabletop

    def __len__(self) -> int:
        return len(self.pictures)


def draw_tabletops(first_seed: int, num_worlds: int, width: int, height: int) -> Tabletops:
    """Play worlds of the arm from `first_seed` on and draw some moments of each."""
    frames, truths = [], []
    for frame, simulator in moments(first_seed, num_worlds, width, height):
        frames.append(frame)
        truths.append(simulator.tabletop())
    truth = Tabletop(*(torch.from_numpy(np.stack([getattr(one, field) for one in truths])).float()
                       for field in Tabletop._fields))
    return Tabletops(pixels.to_float(torch.from_numpy(np.stack(frames))), truth)


def varied(tabletops: Tabletops, index: Tensor, generator: torch.Generator) -> Tabletops:
    """Return a batch, half of it mirrored, in other paints and light. (Not always: paints tell the room, the room its
    lamp, and a shadow then how high the hand is.)"""
    pictures, truth = tabletops.pictures[index], Tabletop(*(field[index] for field in tabletops.truth))
    mirrored = torch.rand(len(index), 1, 1, 1, generator=generator) < 0.5
    shapes = {name: torch.where(mirrored, getattr(truth, name).flip(-1), getattr(truth, name))
              for name in ("fingers", "blocks", "shadows", "middles")}
    # The left finger of a mirrored hand is its right one; so are the points beside the fingers.
    shapes["fingers"] = torch.where(mirrored, shapes["fingers"].flip(1), shapes["fingers"])
    points = torch.where(mirrored[..., 0], truth.points[:, [0, 2, 1, 4, 3]] * torch.tensor([-1.0, 1.0]), truth.points)
    pictures = repainted(torch.where(mirrored, pictures.flip(-1), pictures), generator)
    return Tabletops(pictures, truth._replace(**shapes, points=points))


def fit(finder: TabletopFinder, tabletops: Tabletops, num_steps: int, seed: int = 0) -> list[float]:
    """Train the finder in place; return the losses."""
    weights = torch.tensor(SHAPE_WEIGHTS)[:, None, None]

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = varied(tabletops, torch.randint(len(tabletops), (BATCH,), generator=generator), generator)
        truth, guess = batch.truth, finder.guess(batch.pictures)  # in float32: points are finer than bfloat16 tells
        shapes = F.binary_cross_entropy_with_logits(guess.shapes, torch.cat(truth[:4], dim=1), pos_weight=weights)
        points = -(spots(truth.points, guess.maps) * guess.maps.flatten(2).log_softmax(dim=2)).sum(dim=2).mean()
        facts = F.mse_loss(guess.facts, in_spreads(torch.stack(truth[5:], dim=1)))
        return shapes + POINTS_WEIGHT * points + FACTS_WEIGHT * facts

    return fit_finder(finder, loss_of_batch, num_steps, LR, seed)


def spots(places: Tensor, like: Tensor) -> Tensor:
    """Places (N, K, 2) of pictures -> a spot about each that adds up to 1, (N, K, H W); nothing for one out of view."""
    height, width = like.shape[2:]
    off_x = (centres(width, like) - places[..., :1]) * width / 2
    off_y = (centres(height, like) - places[..., 1:]) * height / 2
    spot = torch.exp(-(off_x[..., None, :].square() + off_y[..., None].square()) / (2 * POINT_PX**2)).flatten(2)
    in_view = (places.abs() < 1).all(dim=-1, keepdim=True)
    return spot / spot.sum(dim=2, keepdim=True).clamp_min(1e-6) * in_view


@torch.no_grad()
def scores(finder: TabletopFinder, tabletops: Tabletops) -> dict[str, float]:
    """How well things are found: the overlap (intersection over union, all pictures together) of fingers, blocks and
    their shadows; the mean distance of points in view, in half widths; the mean errors in metres and radians."""
    guesses = [finder.guess(part) for part in tabletops.pictures.split(BATCH)]
    shapes, maps, facts = (torch.cat(parts) for parts in zip(*guesses, strict=True))
    points, truth = mean_places(maps), tabletops.truth
    found, true = shapes > 0, torch.cat(truth[:4], dim=1) > 0.5
    both, either = (x.sum(dim=(0, 2, 3)).float() for x in (found & true, found | true))
    overlap = (both / either.clamp_min(1)).tolist()
    in_view = (truth.points.abs() < 1).all(dim=-1)
    errors = (in_units(facts) - torch.stack(truth[5:], dim=1)).abs().mean(dim=0)
    return {"finger_overlap": sum(overlap[:2]) / 2, "block_overlap": overlap[2], "shadow_overlap": overlap[3],
            "point_error": float((points - truth.points).norm(dim=-1)[in_view].mean()),
            **{f"{name.rsplit('_', 1)[0]}_error": float(error)
               for name, error in zip(Tabletop._fields[5:], errors, strict=True)}}
