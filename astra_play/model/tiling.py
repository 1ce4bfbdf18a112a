"""How a place (place.py) goes on beyond what its start picture shows: as in mirrors, all around and tile after tile."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .surroundings import folded


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


def tiled(metres: Tensor, half_m: float) -> Tensor:
    """A coordinate of the tiling -> that within `half_m` of the middle which it shows; every other tile is mirrored."""
    return half_m - ((metres + half_m) % (4 * half_m) - 2 * half_m).abs()
