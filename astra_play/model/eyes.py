"""Where players stand and look in a place (place.py), how motions move them, and the rays that they look along."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Eyes(NamedTuple):
    """Where players stand and look, each (B,): metres right and ahead of the start; radians to the left and up."""

    right_m: Tensor
    ahead_m: Tensor
    yaw_rad: Tensor
    pitch_rad: Tensor

    def moved(self, pose: Tensor) -> Eyes:
        """The eyes after a motion (B, 3, 4) of the camera: p_next = R p_now + t.

        A turn is one of the body, about the vertical, and a nod; feet stay on the ground wherever the eyes look. So a
        motion is read as the controls behind it (actions.rows.camera_motion), and not multiplied up: that would let
        the horizon tilt after turns with a lifted head.
        """
        rotation = pose[..., :3]
        right, _, ahead = -torch.einsum("bji,bj->ib", rotation, pose[..., 3])  # of the body, before it turns
        cos, sin = self.yaw_rad.cos(), self.yaw_rad.sin()
        return Eyes(self.right_m + cos * right - sin * ahead, self.ahead_m + sin * right + cos * ahead,
                    self.yaw_rad + torch.atan2(rotation[:, 0, 2], rotation[:, 0, 0]),
                    self.pitch_rad + torch.atan2(-rotation[:, 2, 1], rotation[:, 1, 1]))

    def turned_from(self, start: Eyes) -> Tensor:
        """How the camera has turned since it looked as `start`, (B, 3, 3): p_next = R p_start."""
        return _nods(self.pitch_rad) @ _turns(self.yaw_rad - start.yaw_rad) @ _nods(start.pitch_rad).mT

    def way_m(self, start: Eyes) -> Tensor:
        """How far from `start` the feet are, (B,)."""
        return torch.hypot(self.right_m - start.right_m, self.ahead_m - start.ahead_m)


class Rays(NamedTuple):
    """Where rays of level views go for every metre ahead of the eye.

    Columns go `right` and `ahead` of the start, each (B, W), rows `down` (H,); `eyes` are where they begin.
    """

    eyes: Eyes
    right: Tensor
    ahead: Tensor
    down: Tensor

    def at(self, along_m: Tensor) -> tuple[Tensor, Tensor]:
        """The points (B, N, W) that are so far ahead, N of them along each column: metres right and ahead of the
        start."""
        return (self.eyes.right_m[:, None, None] + along_m * self.right[:, None],
                self.eyes.ahead_m[:, None, None] + along_m * self.ahead[:, None])

    def length_m(self, along_m: Tensor) -> Tensor:
        """How far from the eye along the ground the points (B, N, W) so far ahead are."""
        return along_m * torch.hypot(self.right, self.ahead)[:, None]


def _turns(left_rad: Tensor) -> Tensor:
    """Turns of a camera to the left, (B, 3, 3)."""
    cos, sin, zero = left_rad.cos(), left_rad.sin(), torch.zeros_like(left_rad)
    return torch.stack([cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], dim=-1).unflatten(-1, (3, 3))


def _nods(up_rad: Tensor) -> Tensor:
    """Nods of a camera upwards, (B, 3, 3)."""
    cos, sin, zero = up_rad.cos(), up_rad.sin(), torch.zeros_like(up_rad)
    return torch.stack([zero + 1, zero, zero, zero, cos, sin, zero, -sin, cos], dim=-1).unflatten(-1, (3, 3))
