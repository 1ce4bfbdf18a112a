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
    known. They go on past both edges as in mirrors, to and fro, all around (`folded`).

    With `is_road` the road that one looks along has no end and no fork: what is behind is the mirror of what is ahead,
    and the ground beside one the mirror of what is further ahead.
    """

    reach_m: float
    half_rad: float
    is_road: bool = False

    def fold(self, azimuth: Tensor) -> Tensor:
        """Where within `half_rad` of straight ahead each direction (in radians) is shown."""
        if not self.is_road:
            return folded(azimuth, self.half_rad)
        azimuth = torch.remainder(azimuth + math.pi, 2 * math.pi) - math.pi
        is_behind = azimuth.abs() > math.pi / 2
        return tiled(torch.where(is_behind, math.pi * azimuth.sign() - azimuth, azimuth), self.half_rad)

    def find(self, right_m: Tensor, ahead_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points right and ahead of the start -> the azimuth at which the panorama shows them, how many metres from
        its eye, and whether that is a copy of what the start picture shows."""
        right_m, ahead_m, is_beyond = self.first_tile(right_m, ahead_m)
        azimuth = torch.atan2(right_m, ahead_m)
        return (self.fold(azimuth), torch.hypot(right_m, ahead_m).clamp_min(0.05),
                is_beyond | (azimuth.abs() > self.half_rad))

    def find_ground(self, right_m: Tensor, ahead_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of ground. Beside a road that is the mirror of what is so far beyond the picture's edge, straight
        ahead, as the point is before it: lines go on as they are seen to go. Where that would be out of reach, it is
        what `find` finds."""
        if not self.is_road:
            return self.find(right_m, ahead_m)
        right_m, ahead_m, is_beyond = self.first_tile(right_m, ahead_m)
        is_copy = is_beyond | (ahead_m < 0)
        ahead_m = ahead_m.abs()
        edge_m = right_m.abs() / math.tan(self.half_rad)
        is_beside = ahead_m < edge_m
        is_near = is_beside & (2 * edge_m - ahead_m < self.reach_m)
        ahead_m = torch.where(is_near, 2 * edge_m - ahead_m, ahead_m)
        return (tiled(torch.atan2(right_m, ahead_m), self.half_rad), torch.hypot(right_m, ahead_m).clamp_min(0.05),
                is_copy | is_beside)

    def first_tile(self, right_m: Tensor, ahead_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points -> those of the tile around the start that they show, and whether they lie beyond it."""
        is_beyond = torch.maximum(right_m.abs(), ahead_m.abs()) > self.reach_m
        if bool(is_beyond.any()):
            right_m, ahead_m = tiled(right_m, self.reach_m), tiled(ahead_m, self.reach_m)
        return right_m, ahead_m, is_beyond

    def copies(self, azimuth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Azimuths (N,) of the panorama -> where all around they are shown: azimuths (M,), which of the N each shows,
        and 1, or -1 where it is the wrong way round."""
        around = torch.linspace(-math.pi, math.pi, NUM_AROUND + 1, device=azimuth.device)
        off = self.fold(around)[:, None] - azimuth
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
