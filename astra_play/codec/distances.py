"""Picture -> how far away everything in it is: the small network that gives a place its depth.

Who walks passes near trees faster than far ones, and a place that is one flat picture tears and smears within a few
steps. So the start picture is set up in depth (model/place.py), each pixel as far away as this network says. It learns
from the simulator's own distances (`train hand --find distances`) and looks once, at the picture that play starts from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .hand import HandFinder

NEAREST_M, FARTHEST_M = 1.0, 35.0  # beyond, things are as good as painted on the sky
MIDDLE, SPREAD = 2.3, 0.8  # of the logarithms of the distances that are learned from
SHARPNESS = 3.0  # of logits: a rim that half stands would be seen through
PITCH_SPREAD_RAD = 0.2


class Distances(NamedTuple):
    """What stands in pictures (N, 3, H, W), and where.

    `stands` (N, 1, H, W): share in [0, 1] of what stands on the ground within FARTHEST_M; the rest is the ground, or so
    far away that no walk brings it nearer. `distance_m` (N, 1, H, W): along the ground, to what stands there; without
    meaning where nothing does. `pitch_rad` (N,): how far the eye looks up.
    """

    stands: Tensor
    distance_m: Tensor
    pitch_rad: Tensor


class Guess(NamedTuple):
    """The network's own numbers: logits of what stands, logarithms of distances in spreads off their middle, each (N,
    1, H, W), and the pitch in spreads (N,)."""

    stands: Tensor
    logs: Tensor
    pitch: Tensor


class DistanceFinder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W multiples of 16 -> `Distances`.

    A hand finder's U-Net that is also told each pixel's row. The pitch is read from the rows of the coarsest level,
    where the horizon stands out.
    """

    def __init__(self, width: int, coarse_rows: int = 6) -> None:
        """`coarse_rows`: that are told apart for the pitch."""
        super().__init__()
        self.shapes = HandFinder(width, num_shapes=2, num_channels=4)
        self.level = nn.AdaptiveAvgPool2d((coarse_rows, 1))
        self.pitch = nn.Sequential(nn.Linear(self.shapes.coarsest * coarse_rows, 32), nn.SiLU(), nn.Linear(32, 1))
        self.to(memory_format=torch.channels_last)  # its convolutions are a third faster so, on processors

    def guess(self, pictures: Tensor) -> Guess:
        rows = torch.linspace(-1, 1, pictures.shape[2], dtype=pictures.dtype, device=pictures.device)
        rows = rows[:, None].expand_as(pictures[:, :1])
        coarse, skips = self.shapes.look(
            torch.cat([pictures, rows], dim=1).contiguous(memory_format=torch.channels_last))
        stands, logs = self.shapes.draw(coarse, skips).split(1, dim=1)
        return Guess(stands, logs, self.pitch(self.level(coarse).flatten(1))[:, 0])

    def forward(self, pictures: Tensor) -> Distances:
        guess = self.guess(pictures)
        return Distances(torch.sigmoid(SHARPNESS * guess.stands), in_metres(guess.logs),
                         guess.pitch * PITCH_SPREAD_RAD)


def in_metres(logs: Tensor) -> Tensor:
    """Logarithms of distances, in spreads off their middle -> metres."""
    return torch.exp(MIDDLE + SPREAD * logs).clamp(NEAREST_M, FARTHEST_M)


def in_spreads(distance_m: Tensor) -> Tensor:
    """What `in_metres` undoes."""
    return (distance_m.clamp(NEAREST_M, FARTHEST_M).log() - MIDDLE) / SPREAD
