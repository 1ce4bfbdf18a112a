"""A panorama in depth (panorama.py) -> the place around a player, seen from wherever one walks.

A picture that is moved, painted over and moved again for minutes loses what it was made of; a place that stands still
does not. Every frame follows rays through it: the first thing that a ray meets is seen, be it a billboard
(billboards.py) or something wide (walls.py), else the ground, else the sky. Farther off than the place reaches
everything is seen as from the start.

One picture shows a sixth of the horizon. The rest goes on as in mirrors, but that trees and lamps are planted there
anew (planting.py); and the whole place, as far as it reaches, is laid out again and again like tiles, each the mirror
of its neighbours, so that it never ends (tiling.py).
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.distances import Distances
from ..config import ControlsConfig
from .anchor import resample
from .billboards import Billboards, Met, narrow_things
from .eyes import Eyes, Rays
from .footing import Footing
from .panorama import Panorama, middles
from .planting import planted
from .tiling import Tiling
from .walls import Walls

LEVEL_RAD = 1e-4
STEEPEST_RAD = math.radians(75)  # that a ray may go up or down: level views of steeper ones would be endless
EDGE = 0.2  # logarithms of how far ahead neighbours are differ by more at a silhouette
NOTHING_M = 100.0  # that nothing is taken to be ahead there
SMOOTH_M = 1.0  # from the start, where they are drawn smooth, in which they become stairs to be smoothed


class Place:
    """What stands around the players of a batch, and ground and sky behind it."""

    def __init__(self, pictures: Tensor, distances: Distances, controls: ControlsConfig, reach_m: float) -> None:
        """`pictures` (B, 3, H, W) in [-1, 1], or drawn larger, by a camera as `controls` say, and how far away is what
        they show, for H times W pixels, which are those of views too. `reach_m`: how far the place reaches."""
        height, width = distances.stands.shape[-2:]
        tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
        self._eye_m, self._tangent, self._reach_m = controls.eye_height_m, tangent, reach_m
        self._steepest_rad = STEEPEST_RAD - math.atan(tangent)
        self._across = middles(width, pictures.device) * (tangent * width / height)
        self._down = middles(height, pictures.device) * tangent
        self.panorama = Panorama(pictures, distances, controls, reach_m)
        self.tiling = Tiling(reach_m, self.panorama.half_rad, is_road=controls.modality == "vehicle")
        things, labels = narrow_things(self.panorama, self._eye_m)
        self.walls = Walls(self.panorama.without(labels >= 0), self.tiling)
        footing = Footing(self.walls.panorama, self.tiling, self._eye_m)
        self.billboards = Billboards(self.panorama, self.tiling, labels,
                                     planted(things, self.panorama, self.tiling, footing))
        self.footing = footing.among(*self.billboards.trunks(self._eye_m))

    def view(self, eyes: Eyes) -> tuple[Tensor, Tensor]:
        """Return the pictures (B, 3, H, W) of what is seen, and which pixels the start picture shows, (B, 1, H, W)."""
        if float(eyes.pitch_rad.abs().max()) < LEVEL_RAD:
            return self._level_view(eyes, self._across, self._down)
        if len(eyes.pitch_rad) > 1:  # or what one sees would depend on how far others look up
            alone = [self._part(index).view(Eyes(*(own[index:index + 1] for own in eyes)))
                     for index in range(len(eyes.pitch_rad))]
            pictures, known = (torch.cat(each) for each in zip(*alone, strict=True))
            return pictures, known
        eyes = eyes._replace(pitch_rad=eyes.pitch_rad.clamp(-self._steepest_rad, self._steepest_rad))
        across, down = self._wide_enough(float(eyes.pitch_rad))
        level = torch.cat(self._level_view(eyes, across, down), dim=1)
        y, cos, sin = self._down[:, None], eyes.pitch_rad.cos()[:, None, None], eyes.pitch_rad.sin()[:, None, None]
        ahead = cos + y * sin
        places = torch.stack([_place_in(across, self._across / ahead),
                              _place_in(down, (y * cos - sin) / ahead).expand(-1, -1, len(self._across))], dim=-1)
        pictures, known = resample(level, places).split([3, 1], dim=1)
        return pictures, (known > 0.5).float()

    def _part(self, index: int) -> Place:
        """What one of the batch sees; all still walk together."""
        one = copy.copy(self)
        one.panorama, one.walls, one.billboards = (own.part(index) for own in (
            self.panorama, self.walls, self.billboards))
        return one

    def _wide_enough(self, pitch_rad: float) -> tuple[Tensor, Tensor]:
        """Columns and rows of a level view that holds all that a view sees which looks up by `pitch_rad`."""
        half_rad, device = math.atan(self._tangent), self._down.device
        wider = 1 / (math.cos(pitch_rad) - self._tangent * math.sin(abs(pitch_rad)))
        top, bottom = math.tan(-half_rad - pitch_rad), math.tan(half_rad - pitch_rad)
        rows = math.ceil((bottom - top) / (2 * self._tangent) * len(self._down))
        limit = float(self._across[-1]) * wider
        return (torch.linspace(-limit, limit, math.ceil(wider * len(self._across)), device=device),
                torch.linspace(top, bottom, rows, device=device))

    def _level_view(self, eyes: Eyes, across: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """The same of level eyes, with columns that go `across` (W,) and rows that go `down` (H,) for every metre."""
        cos, sin = eyes.yaw_rad.cos()[:, None], eyes.yaw_rad.sin()[:, None]
        rays = Rays(eyes, across * cos - sin, across * sin + cos, down)
        # From elsewhere the rims of things are no longer shares of pixels: what counts is solid then.
        away = (torch.hypot(eyes.right_m, eyes.ahead_m) / SMOOTH_M).clamp(max=1)[:, None, None]
        met = self._met(rays, away < 0.5)
        met_m, is_met = met.along_m, met.along_m.isfinite()[:, None]
        colours, share = self.panorama.things_at(met.azimuth, met.down, met.magnified).split([3, 1], dim=1)
        behind, known = self._behind(rays)
        pictures = torch.lerp(behind, colours, torch.lerp(share, torch.ones_like(share), away[:, None]) * is_met)
        return (_smoothed(pictures, met_m, away[:, None]),
                torch.where(is_met, ~met.is_copy[:, None], known).float())

    def _met(self, rays: Rays, is_soft: Tensor) -> Met:
        """What is met first, with the rims of things where it `is_soft` (B, 1, 1)."""
        along_m = self.walls.meet(rays, is_soft)
        finite_m = along_m.nan_to_num(posinf=1.0)
        azimuth, away_m, is_copy = self.tiling.find(*rays.at(finite_m))
        met = Met(along_m, azimuth, rays.down[:, None] * finite_m / away_m, away_m / rays.length_m(finite_m), is_copy)
        billboards = self.billboards.meet(rays, ~is_soft[:, 0, 0])
        if billboards is None:
            return met
        is_nearer = billboards.along_m < along_m
        return Met(*(torch.where(is_nearer, *each) for each in zip(billboards, met, strict=True)))

    def _behind(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Colours (B, 3, H, W) of the ground and the sky behind all that stands, and whether the start picture shows
        them, (B, 1, H, W) bool."""
        ground_m = (self._eye_m / rays.down.clamp_min(1e-6))[:, None]
        is_near = rays.length_m(ground_m) < self._reach_m
        azimuth, away_m, is_copy = self.tiling.find_ground(*rays.at(torch.where(is_near, ground_m, 0.0)))
        azimuth, down, is_seen = self.panorama.ground(azimuth, away_m)
        # What is far away is seen as from the start.
        far, far_away = (f(rays.right, rays.ahead)[:, None] for f in (torch.atan2, torch.hypot))
        magnified = torch.where(is_near, self._eye_m / down / rays.length_m(ground_m), 1.0)
        behind, is_shown = self.panorama.behind_at(
            torch.where(is_near, azimuth, self.tiling.fold(far)),
            torch.where(is_near, down, rays.down[:, None] / far_away), magnified).split([3, 1], dim=1)
        is_copy = torch.where(is_near, is_copy | ~is_seen, far.abs() > self.panorama.half_rad)
        return behind, (is_shown > 0.5) & ~is_copy[:, None]


def _smoothed(pictures: Tensor, met_m: Tensor, share: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with their silhouettes smoothed to a share (B, 1, 1, 1).

    A ray meets something or does not, so silhouettes are stairs; those of the start picture were drawn smooth.
    `met_m` (B, H, W): how far ahead things are, inf for none.
    """
    logs = met_m.clamp_max(NOTHING_M).log()[:, None]
    is_edge = F.max_pool2d(logs, 3, stride=1, padding=1) + F.max_pool2d(-logs, 3, stride=1, padding=1) > EDGE
    binomial = torch.tensor([1.0, 2.0, 1.0], device=pictures.device) / 4
    kernel = (binomial[:, None] * binomial).expand(3, 1, 3, 3)
    smooth = F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return torch.lerp(pictures, smooth, is_edge * share)


def _place_in(axis: Tensor, values: Tensor) -> Tensor:
    """Where values are along evenly spaced middles of pixels, -1 and 1 being the outer edges of these."""
    pixel = (values - axis[0]) / (axis[-1] - axis[0]) * (len(axis) - 1)
    return (pixel + 0.5) / len(axis) * 2 - 1
