"""What stands in the way of one who walks through a place (place.py): feet slide along it, as in the simulators.

A body is a disc, and what it meets are the things of the panorama between knee and eye.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .eyes import Eyes
from .panorama import Panorama
from .tiling import Tiling

BODY_M = 0.6  # from the middle of a body to what it touches, as in the simulator
KNEE_M = 0.3  # above the ground; what is lower nobody bumps into
FAR_M = 1e4  # where something is taken to be that is in nobody's way
SAME_M = 0.05  # things in one direction that are so near to each other are one
FEELER_M = 0.01  # between the points at which it is told which way leads away from things
NUM_PUSHES = 3  # out of what a step would lead into; one of each wall of a corner is not enough
SLIP_M = 0.05  # into things that is not worth being stopped for


class Footing:
    """The ground of a batch of players, as far as it is free to walk on."""

    def __init__(self, panorama: Panorama, tiling: Tiling, eye_m: float) -> None:
        """`eye_m`: the height of the eyes above the ground."""
        self._tiling = tiling
        height_m = eye_m - panorama.down[:, None] * panorama.solid_front_m
        is_met = (height_m > KNEE_M) & (height_m < eye_m)
        away_m = _apart(torch.where(is_met, panorama.solid_front_m, FAR_M))
        self._things_m = _points(panorama.azimuth, away_m).flatten(1, 2)  # (B, N, 2)

    def walk(self, eyes: Eyes, pose: Tensor) -> Eyes:
        """The eyes after a motion (B, 3, 4) of the camera, with feet that slide along what stands in their way."""
        wished = eyes.moved(pose)
        was, feet = (torch.stack([own.right_m, own.ahead_m], dim=-1) for own in (eyes, wished))  # (B, 2)
        free_m = self.clearance_m(was)
        if bool((free_m > BODY_M + (feet - was).norm(dim=-1)).all()):
            return wished
        least_m = free_m.clamp(max=BODY_M)  # one may begin nearer to something, but not come nearer
        for _ in range(NUM_PUSHES):
            here_m, way_out = self._way_out(feet)
            feet = feet + (least_m - here_m).clamp(min=0)[:, None] * way_out
        is_stuck = self.clearance_m(feet) < least_m - SLIP_M
        feet = torch.where(is_stuck[:, None], was, feet)
        return wished._replace(right_m=feet[:, 0], ahead_m=feet[:, 1])

    def clearance_m(self, feet: Tensor) -> Tensor:
        """How far points (B, 2), in metres right and ahead of the start, are from what stands, (B,)."""
        azimuth, away_m, _ = self._tiling.find(*feet.unbind(dim=-1))
        return (self._things_m - _points(azimuth, away_m)[:, None]).norm(dim=-1).amin(dim=-1)

    def _way_out(self, feet: Tensor) -> tuple[Tensor, Tensor]:
        """The clearance of points (B, 2), and the direction (B, 2) in which it grows.

        Felt at points beside them, for what is near may be a mirror's copy.
        """
        here_m = self.clearance_m(feet)
        beside_m = [self.clearance_m(feet + feeler_m) for feeler_m in FEELER_M * torch.eye(2, device=feet.device)]
        return here_m, F.normalize(torch.stack(beside_m, dim=-1) - here_m[:, None], dim=-1)


def _apart(away_m: Tensor) -> Tensor:
    """The distances in each column (B, rows, columns) without those that are nearly the same, and in as few rows as the
    fullest column needs; FAR_M where a column has less."""
    away_m = away_m.sort(dim=1).values
    is_new = away_m.diff(dim=1, prepend=torch.zeros_like(away_m[:, :1])) > SAME_M
    is_new[:, 0] = True
    away_m = torch.where(is_new, away_m, FAR_M).sort(dim=1).values
    return away_m[:, :max(1, int((away_m < FAR_M).sum(dim=1).max()))]


def _points(azimuth: Tensor, away_m: Tensor) -> Tensor:
    """Points (..., 2) right and ahead of the start, so far away in directions `azimuth` radians to the right."""
    return away_m[..., None] * torch.stack([azimuth.sin(), azimuth.cos()], dim=-1)
