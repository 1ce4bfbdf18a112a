"""Picture -> the shadow that the robot throws on its table: the small network that cuts it out of the start picture.

The hand goes over the table as a layer (model/still_camera.py), and what tells away from up is where its shadow goes
meanwhile. Like the outline of the hand (codec/hand.py) the shadow is looked for once, in the picture that play starts
from; the simulator's own, followed to the lamp place by place, is what this network learns from (`train hand`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .hand import HandFinder

SHARPNESS = 3.0  # of logits; a rim that fades away leaves a bright line on the table from which it is taken
NUM_FACTS = 5  # light left in each colour, and the slant's two numbers


class CastShadow(NamedTuple):
    """The robot's shadow in pictures (N, 3, H, W), and how it falls.

    `share` (N, 1, H, W) in [0, 1]: of the shadow in each pixel, taken for a place on an endless table that nothing
    stands before. `table` (N, 1, H, W) in [0, 1]: of the true table, on which alone the shadow shows. `light` (N, 3) in
    [0, 1]: what the shadow leaves of each colour. `slant` (N, 2): how many metres right and away it goes for each metre
    that the hand goes up.
    """

    share: Tensor
    table: Tensor
    light: Tensor
    slant: Tensor


class ShadowFinder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W multiples of 16 -> `CastShadow`.

    The shapes are a hand finder's; the light is read from what its coarsest level sees, on average over the picture.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shapes = HandFinder(width, num_shapes=2)
        self.facts = nn.Sequential(nn.Linear(2 * self.shapes.coarsest, 16), nn.SiLU(), nn.Linear(16, NUM_FACTS))

    def guess(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of shadow and table, (N, 2, H, W), the light (N, 3) and the slant (N, 2)."""
        coarse, skips = self.shapes.look(pictures)
        seen = torch.cat([coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1)
        light, slant = self.facts(seen).split([3, 2], dim=1)
        return self.shapes.draw(coarse, skips), torch.sigmoid(light), slant

    def forward(self, pictures: Tensor) -> CastShadow:
        logits, light, slant = self.guess(pictures)
        share, table = torch.sigmoid(SHARPNESS * logits).split(1, dim=1)
        return CastShadow(share, table, light, slant)
