"""Picture -> what stands on the robot's table and where: the small network that lets a hand close around a block.

The hand goes over the table as a layer, its fingers and every block as one more each (model/tabletop_picture.py).
Which pixels are theirs, how far from each other they are in metres, and which way up and away go in the picture depends
on where the camera stands; all of that is read from the start picture. The simulator's own is what this network learns
from (`train hand --find tabletop`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hand import HandFinder
from .hand_points import POINTS_M

SHARPNESS = 3.0  # of logits; a finger is two pixels wide, and a soft one would leave half of itself behind
NUM_SHAPES = 5  # left and right finger, blocks, their shadows, their middles
# Middle and spread of the facts in the pictures that are learned from: opening, depth, lift (radians), eye height.
FACTS = ((0.035, 0.02), (1.0, 0.08), (0.64, 0.035), (0.70, 0.045))
MAX_SPREADS = 3.0  # that a fact may be off its middle
COARSE = (6, 8)  # places in the picture that are told apart for the facts
HIDDEN = 32
POINTS_SCALE = 4.0  # they say more of the facts than the rest does


class Tabletop(NamedTuple):
    """Hand and blocks in pictures (N, 3, H, W), and how the camera stands to them.

    Shares of each pixel, in [0, 1]: `fingers` (N, 2, H, W), left and right as the player sees them; `blocks` (N, 1, H,
    W); `shadows` (N, 1, H, W), of the blocks and on the table, were nothing before it; `middles` (N, 1, H, W), the
    nearer 1 the nearer a block's middle is. `points` (N, 5, 2): where POINTS_M are seen, x and y in [-1, 1].
    `opening_m` (N,): how far each finger is from where it would be closed. `depth_m` (N,): how far ahead of the camera
    the point between the fingertips is. `lift_rad` (N,): how steeply the camera looks down. `eye_height_m` (N,): of
    the camera over the table.
    """

    fingers: Tensor
    blocks: Tensor
    shadows: Tensor
    middles: Tensor
    points: Tensor
    opening_m: Tensor
    depth_m: Tensor
    lift_rad: Tensor
    eye_height_m: Tensor


class Guess(NamedTuple):
    """The network's own numbers: logits of the shapes (N, NUM_SHAPES, H, W), those of where each point is (N, 5, H, W),
    and the facts in spreads off their middles (N, 4)."""

    shapes: Tensor
    maps: Tensor
    facts: Tensor


class TabletopFinder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W multiples of 16 -> `Tabletop`.

    The shapes are a hand finder's. Every point is the mean place of a map of its own, weighted by the map's softmax
    (integral regression: Sun et al., 2018). The facts are read from the points and, place by place, from the coarsest
    level.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shapes = HandFinder(width, num_shapes=NUM_SHAPES + len(POINTS_M))
        self.facts = nn.Sequential(
            nn.Linear(self.shapes.coarsest * COARSE[0] * COARSE[1] + 2 * len(POINTS_M), HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, len(FACTS)))

    def guess(self, pictures: Tensor) -> Guess:
        coarse, skips = self.shapes.look(pictures)
        shapes, maps = self.shapes.draw(coarse, skips).split([NUM_SHAPES, len(POINTS_M)], dim=1)
        seen = F.adaptive_avg_pool2d(coarse, COARSE).flatten(1)
        return Guess(shapes, maps, self.facts(torch.cat([seen, POINTS_SCALE * mean_places(maps).flatten(1)], dim=1)))

    def forward(self, pictures: Tensor) -> Tabletop:
        guess = self.guess(pictures)
        shares = torch.sigmoid(SHARPNESS * guess.shapes).split([2, 1, 1, 1], dim=1)
        return Tabletop(*shares, mean_places(guess.maps), *in_units(guess.facts).unbind(dim=1))


def mean_places(maps: Tensor) -> Tensor:
    """Maps (N, K, H, W) of logits -> the mean places of their softmax, (N, K, 2) x and y in [-1, 1]."""
    weights = maps.flatten(2).softmax(dim=2).unflatten(2, maps.shape[2:])
    height, width = maps.shape[2:]
    return torch.stack([weights.sum(dim=2) @ centres(width, maps), weights.sum(dim=3) @ centres(height, maps)], dim=-1)


def centres(count: int, like: Tensor) -> Tensor:
    """Where the middles of so many pixels in a row are, in [-1, 1]."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count * 2 - 1


def in_units(facts: Tensor) -> Tensor:
    """Facts (N, 4) in spreads off their middles -> metres and radians."""
    middle, spread = torch.tensor(FACTS, dtype=facts.dtype, device=facts.device).unbind(dim=1)
    return middle + spread * facts.clamp(-MAX_SPREADS, MAX_SPREADS)


def in_spreads(facts: Tensor) -> Tensor:
    """What `in_units` undoes."""
    middle, spread = torch.tensor(FACTS, dtype=facts.dtype, device=facts.device).unbind(dim=1)
    return (facts - middle) / spread
