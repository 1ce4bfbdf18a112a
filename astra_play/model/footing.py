"""What stands in the way of one who goes through a place (place.py): feet and wheels slide along it, as in the
simulators.

A body is a disc, and what it meets are the things of the panorama between knee and eye, as thick as they are drawn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .eyes import Eyes
from .panorama import Panorama
from .tiling import Tiling

# From the middle of a body to what it touches: nearer, one would see nothing but a blur; and of a car, from whose seat
# nothing is seen that is beside it, no more than that either.
BODY_M = 1.0
KNEE_M = 0.3  # above the ground; what is lower nobody bumps into
FAR_M = 1e4  # where something is taken to be that is in nobody's way
THIN_M = 0.2  # of a billboard, from its front to its back
INSIDE_M = 0.1  # from something, where one can only be in the midst of it
FEELER_M = 0.01  # between the points at which it is told which way leads away from things
NUM_PUSHES = 3  # out of what a step would lead into; one of each wall of a corner is not enough
SLIP_M = 0.05  # into things that is not worth being stopped for


class Footing:
    """The ground of a batch of players, as far as it is free to walk on."""

    def __init__(self, panorama: Panorama, tiling: Tiling, eye_m: float, is_thin: Tensor) -> None:
        """`eye_m`: the height of the eyes above the ground. `is_thin` (B, rows, columns): where billboards are shown,
        which are no thicker behind than before."""
        self._tiling = tiling
        front_m = panorama.solid_front_m
        height_m = eye_m - panorama.down[:, None] * front_m
        is_met = (height_m > KNEE_M) & (height_m < eye_m)
        back_m = torch.where(is_thin, front_m + THIN_M, panorama.back_m)
        front_m, back_m = _spans(torch.where(is_met, front_m, FAR_M), torch.where(is_met, back_m, FAR_M))
        self._front_m, self._back_m = front_m.flatten(1), back_m.flatten(1)  # (B, N), of ways from the eye
        directions = _points(panorama.azimuth, torch.ones_like(panorama.azimuth))
        self._directions = directions.expand(front_m.shape[1], -1, -1).flatten(0, 1)  # (N, 2)

    def walk(self, eyes: Eyes, pose: Tensor) -> Eyes:
        """The eyes after a motion (B, 3, 4) of the camera, with feet that slide along what stands in their way."""
        wished = eyes.moved(pose)
        was, feet = (torch.stack([own.right_m, own.ahead_m], dim=-1) for own in (eyes, wished))  # (B, 2)
        free_m = self.clearance_m(was)
        if bool((free_m > BODY_M + (feet - was).norm(dim=-1)).all()):
            return wished
        # One may begin nearer to something, but not come nearer; and who is in the midst of it all the same may leave.
        free_m = torch.where(free_m < INSIDE_M, 0.0, free_m)
        least_m = free_m.clamp(max=BODY_M)
        for _ in range(NUM_PUSHES):
            here_m, way_out = self._way_out(feet)
            feet = feet + (least_m - here_m).clamp(min=0)[:, None] * way_out
        # Less than a body by no more than a slip, however many steps one takes: a corner would be a way through.
        is_stuck = self.clearance_m(feet) < free_m.clamp(max=BODY_M - SLIP_M) - 1e-3
        feet = torch.where(is_stuck[:, None], was, feet)
        return wished._replace(right_m=feet[:, 0], ahead_m=feet[:, 1])

    def clearance_m(self, feet: Tensor) -> Tensor:
        """How far points (B, 2), in metres right and ahead of the start, are from what stands, (B,)."""
        azimuth, away_m, _ = self._tiling.find(*feet.unbind(dim=-1))
        here = _points(azimuth, away_m)
        along_m = torch.minimum(torch.maximum(here @ self._directions.T, self._front_m), self._back_m)
        return (along_m[..., None] * self._directions - here[:, None]).norm(dim=-1).amin(dim=-1)

    def _way_out(self, feet: Tensor) -> tuple[Tensor, Tensor]:
        """The clearance of points (B, 2), and the direction (B, 2) in which it grows.

        Felt at points beside them, for what is near may be a mirror's copy.
        """
        here_m = self.clearance_m(feet)
        beside_m = [self.clearance_m(feet + feeler_m) for feeler_m in FEELER_M * torch.eye(2, device=feet.device)]
        return here_m, F.normalize(torch.stack(beside_m, dim=-1) - here_m[:, None], dim=-1)


def _spans(front_m: Tensor, back_m: Tensor) -> tuple[Tensor, Tensor]:
    """From where to where something is in each column (B, rows, columns), (B, N, columns) each: things that overlap are
    one, N is what the fullest column needs, and FAR_M stands where a column has less."""
    front_m, order = front_m.sort(dim=1)
    reach_m = back_m.gather(1, order).cummax(dim=1).values
    begins = torch.ones_like(front_m, dtype=torch.bool)
    begins[:, 1:] = front_m[:, 1:] > reach_m[:, :-1]
    ends = begins.roll(-1, dims=1)  # before what begins next
    count = max(1, int((begins & (front_m < FAR_M)).sum(dim=1).max()))
    return tuple(torch.where(marks, own, FAR_M).sort(dim=1).values[:, :count]
                 for marks, own in ((begins, front_m), (ends, reach_m)))


def _points(azimuth: Tensor, away_m: Tensor) -> Tensor:
    """Points (..., 2) right and ahead of the start, so far away in directions `azimuth` radians to the right."""
    return away_m[..., None] * torch.stack([azimuth.sin(), azimuth.cos()], dim=-1)
