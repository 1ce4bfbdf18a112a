"""How a place (place.py) goes on beyond what its start picture shows: as in mirrors, all around and tile after tile."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .surroundings import folded

NUM_AROUND = 1440  # directions that are looked at for copies


class Tiling(NamedTuple):
    """A place that reaches `reach_m` from the start, in which the directions within `half_rad` of straight ahead are
    known."""

    reach_m: float
    half_rad: float

    def find(self, right_m: Tensor, ahead_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points right and ahead of the start -> the azimuth at which the panorama shows them, how many metres from
        its eye, and whether that is a copy of what the start picture shows."""
        is_beyond = torch.maximum(right_m.abs(), ahead_m.abs()) > self.reach_m
        if bool(is_beyond.any()):
            right_m, ahead_m = tiled(right_m, self.reach_m), tiled(ahead_m, self.reach_m)
        azimuth = torch.atan2(right_m, ahead_m)
        return (folded(azimuth, self.half_rad), torch.hypot(right_m, ahead_m).clamp_min(0.05),
                is_beyond | (azimuth.abs() > self.half_rad))

    def copies(self, azimuth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Azimuths (N,) of the panorama -> where all around they are shown: azimuths (M,), which of the N each shows,
        and 1, or -1 where it is the wrong way round."""
        around = torch.linspace(-math.pi, math.pi, NUM_AROUND + 1, device=azimuth.device)
        off = folded(around, self.half_rad)[:, None] - azimuth
        step = off.diff(dim=0)
        # Where two mirrors do not meet it jumps.
        shows = (off[:-1] * off[1:] <= 0) & (off[1:] != 0) & (step.abs() < 4 * math.pi / NUM_AROUND)
        place, which = shows.nonzero().unbind(dim=1)
        side = step[place, which].sign()
        return around[place] - side * off[place, which], which, side

    def tile(self, metres: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Of the two tiles in reach of coordinates, `number` 0 or 1: where their middles are, and 1, or -1 where they
        are the wrong way round."""
        tile = torch.floor(metres / (2 * self.reach_m)) + number
        return 2 * self.reach_m * tile, 1 - 2 * (tile % 2)


def tiled(metres: Tensor, half_m: float) -> Tensor:
    """A coordinate of the tiling -> that within `half_m` of the middle which it shows; every other tile is mirrored."""
    return half_m - ((metres + half_m) % (4 * half_m) - 2 * half_m).abs()
