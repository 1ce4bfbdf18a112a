"""What stands in the way of one who goes through a place (place.py): feet and wheels slide along it, as in the
simulators.

A body is a disc, and what it meets is what stands between knee and eye: of wide things all that the panorama shows, as
thick as it is drawn, and the trunks and posts of narrow ones, wherever they are planted (planting.py).
"""

from __future__ import annotations

import copy

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
INSIDE_M = 0.1  # from something, where one can only be in the midst of it
FEELER_M = 0.01  # between the points at which it is told which way leads away from things
NUM_PUSHES = 3  # out of what a step would lead into; one of each wall of a corner is not enough
SLIP_M = 0.05  # into things that is not worth being stopped for


class Footing:
    """The ground of a batch of players, as far as it is free to walk on."""

    def __init__(self, panorama: Panorama, tiling: Tiling, eye_m: float) -> None:
        """That among wide things, in whose panorama nothing else stands; `eye_m`: the height of the eyes above the
        ground."""
        self._tiling = tiling
        is_met = is_in_the_way(panorama, eye_m)
        front_m, back_m = _spans(*(torch.where(is_met, own, FAR_M) for own in (
            panorama.solid_front_m, panorama.back_m)))
        self._front_m, self._back_m = front_m.flatten(1), back_m.flatten(1)  # (B, N), of ways from the eye
        directions = _points(panorama.azimuth, torch.ones_like(panorama.azimuth))
        self._directions = directions.expand(front_m.shape[1], -1, -1).flatten(0, 1)  # (N, 2)
        self._trunks = front_m.new_full((len(front_m), 0, 2, 2), FAR_M)

    def among(self, of: Tensor, trunks: Tensor) -> Footing:
        """The same with trunks, each from one point to another around the start, (M, 2, 2); `of` (M,) tells which of
        the batch they stand in the way of."""
        number = torch.arange(len(self._trunks), device=of.device)[:, None]
        every = torch.where((of == number)[..., None, None], trunks, FAR_M)  # (B, M, 2, 2)
        result = copy.copy(self)
        result._trunks = every
        return result

    def part(self, index: int) -> Footing:
        """That of one of the batch alone."""
        one, own = copy.copy(self), slice(index, index + 1)
        one._front_m, one._back_m, one._trunks = self._front_m[own], self._back_m[own], self._trunks[own]
        return one

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
        """How far points (B, ..., 2), in metres right and ahead of the start, are from what stands, (B, ...)."""
        azimuth, away_m, _ = self._tiling.find(*feet.unbind(dim=-1))
        here = _points(azimuth, away_m)
        front_m, back_m = (own.view(len(own), *[1] * (feet.dim() - 2), -1) for own in (self._front_m, self._back_m))
        along_m = torch.minimum(torch.maximum(here @ self._directions.T, front_m), back_m)
        walls_m = (along_m[..., None] * self._directions - here[..., None, :]).norm(dim=-1).amin(dim=-1)
        if not self._trunks.shape[1]:
            return walls_m
        here = torch.stack(self._tiling.first_tile(*feet.unbind(dim=-1))[:2], dim=-1)
        begin, end = (own.view(len(own), *[1] * (feet.dim() - 2), -1, 2) for own in self._trunks.unbind(dim=2))
        way, off = end - begin, here[..., None, :] - begin
        share = ((off * way).sum(dim=-1) / way.square().sum(dim=-1).clamp_min(1e-9)).clamp(0, 1)
        return torch.minimum(walls_m, (off - share[..., None] * way).norm(dim=-1).amin(dim=-1))

    def _way_out(self, feet: Tensor) -> tuple[Tensor, Tensor]:
        """The clearance of points (B, 2), and the direction (B, 2) in which it grows.

        Felt at points beside them, for what is near may be a mirror's copy.
        """
        here_m = self.clearance_m(feet)
        beside_m = [self.clearance_m(feet + feeler_m) for feeler_m in FEELER_M * torch.eye(2, device=feet.device)]
        return here_m, F.normalize(torch.stack(beside_m, dim=-1) - here_m[:, None], dim=-1)


def is_in_the_way(panorama: Panorama, eye_m: float) -> Tensor:
    """Which places of a panorama show what stands between knee and eye, (B, rows, columns)."""
    height_m = eye_m - panorama.down[:, None] * panorama.solid_front_m
    return (height_m > KNEE_M) & (height_m < eye_m)


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
