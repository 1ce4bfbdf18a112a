"""A panorama in depth (panorama.py) -> the place around a player, seen from wherever one walks.

A picture that is moved, painted over and moved again for minutes loses what it was made of; a place that stands still
does not. Every frame follows rays through it: the first thing that a ray meets is seen, be it a billboard
(billboards.py) or something wide, else the ground, else the sky. Farther off than the place reaches everything is seen
as from the start.

One picture shows a sixth of the horizon. The rest goes on as in mirrors, and the whole place, as far as it reaches, is
laid out again and again like tiles, each the mirror of its neighbours, so that it never ends (tiling.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.distances import Distances
from ..config import ControlsConfig
from .anchor import resample
from .billboards import Billboards, Met
from .eyes import Eyes, Rays
from .footing import Footing
from .panorama import STEEP, UP, Panorama, middles
from .tiling import Tiling

# Along a ray; from one to the next it is a fourteenth further. Nobody comes nearer to a wall than the first
# (footing.BODY_M), and who begins nearer sees it because it is thick.
NEAREST_M, NUM_SAMPLES = 0.7, 56
NUM_HALVINGS = 3  # of the way between two of them, to find where in it something is met
FEW_COLUMNS, FACE_COLUMNS = 3, 31  # of the panorama, at most, between a sample before a face and the next behind it
NUM_SHELLS, FARTHEST_SHELL_M = 64, 80.0  # of distances, in which it is noted where something stands
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
        step = (reach_m / NEAREST_M) ** (1 / (NUM_SAMPLES - 1))
        self._samples_m = NEAREST_M * step ** torch.arange(NUM_SAMPLES, device=pictures.device)
        self.billboards = Billboards(self.panorama, self.tiling, self._eye_m)
        is_narrow = self.billboards.labels >= 0
        self.rest = self.panorama.without(is_narrow)  # which is met where it was seen
        self.footing = Footing(self.panorama, self.tiling, self._eye_m, is_narrow)
        self._faces = _faces(self.rest)
        # For samples that few columns lie between, which most of them are, and for others: (2, B, columns, shells).
        self._occupied = torch.stack([_shells_with_something(self.rest, self._faces, columns)
                                      for columns in (FEW_COLUMNS, FACE_COLUMNS)])

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
        one.panorama, one.rest, one.billboards = (own.part(index) for own in (
            self.panorama, self.rest, self.billboards))
        one._faces, one._occupied = self._faces[index:index + 1], self._occupied[:, index:index + 1]
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
        colours, share = self.panorama.look_up(self.panorama.things, met.azimuth, met.down).split([3, 1], dim=1)
        behind, known = self._behind(rays)
        pictures = torch.lerp(behind, colours, torch.lerp(share, torch.ones_like(share), away[:, None]) * is_met)
        return (_smoothed(pictures, met_m, away[:, None]),
                torch.where(is_met, ~met.is_copy[:, None], known).float())

    def _met(self, rays: Rays, is_soft: Tensor) -> Met:
        """What is met first, with the rims of things where it `is_soft` (B, 1, 1)."""
        along_m = self._first_met(rays, torch.where(is_soft, self.rest.front_m, self.rest.solid_front_m))
        finite_m = along_m.nan_to_num(posinf=1.0)
        azimuth, away_m, is_copy = self.tiling.find(*rays.at(finite_m))
        met = Met(along_m, azimuth, rays.down[:, None] * finite_m / away_m, is_copy)
        billboards = self.billboards.meet(rays, ~is_soft[:, 0, 0])
        if billboards is None:
            return met
        is_nearer = billboards.along_m < along_m
        return Met(*(torch.where(is_nearer, *each) for each in zip(billboards, met, strict=True)))

    def _first_met(self, rays: Rays, front_m: Tensor) -> Tensor:
        """How many metres ahead each ray first meets something that stands at `front_m` (B, rows, columns) in the
        panorama, (B, H, W); inf: nothing."""
        batch, width = rays.right.shape
        back_m = self.rest.back_m.masked_fill(front_m.isinf(), 0.0)
        layers = [layer.flatten() for layer in (front_m, back_m, self._faces)]
        azimuth, away_m, _ = self.tiling.find(*rays.at(self._samples_m[:, None]))  # (B, samples, W)
        column = self.panorama.column_of(azimuth)
        # Only where in some row of the column something stands about so far away: few of the samples.
        first = torch.arange(batch, device=column.device)[:, None, None]
        is_far = (column.diff(dim=1, prepend=column[:, :1]).abs() > FEW_COLUMNS).long()
        may_be_met = self._occupied[is_far, first, column, _shell_of(away_m)] & (
            rays.length_m(self._samples_m[:, None]) < self._reach_m)
        of, at, ray = may_be_met.nonzero().unbind(dim=1)

        before = (at - 1).clamp_min(0)
        ends_away_m, columns = ([own[of, end, ray][:, None] for end in (before, at)] for own in (away_m, column))
        down = rays.down * (self._samples_m[at][:, None] / ends_away_m[1])  # (N, H)
        cells = (self.panorama.cell(of[:, None], self.panorama.row_of(down), own) for own in columns)
        stretch = _Stretch.of(layers, *ends_away_m, *cells)
        hit, row = (stretch.is_met() & (down > -UP)).nonzero().unbind(dim=1)
        found = torch.full((batch * width * len(rays.down),), NUM_SAMPLES, device=at.device)
        found.scatter_reduce_(0, (of * width + ray)[hit] * len(rays.down) + row, at[hit], "amin")
        found = found.view(batch, width, len(rays.down)).mT
        return self._where_met(rays, layers, found)

    def _where_met(self, rays: Rays, layers: list[Tensor], found: Tensor) -> Tensor:
        """The same for rays whose samples `found` (B, H, W) are the first that have met something, NUM_SAMPLES for
        none: the way since the sample before is halved some times, and what is left of it taken as even.

        Where neither half tells what the whole did, as it may at the edge of something, the later one is taken.
        """
        of, row, ray = (found < NUM_SAMPLES).nonzero().unbind(dim=1)
        right, ahead, down = rays.right[of, ray], rays.ahead[of, ray], rays.down[row]
        right_m, ahead_m = rays.eyes.right_m[of], rays.eyes.ahead_m[of]

        def reached(along_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """How far from the start points of the rays are, the row and the column that show them."""
            azimuth, away_m, _ = self.tiling.find(right_m + along_m * right, ahead_m + along_m * ahead)
            return away_m, self.panorama.row_of(down * along_m / away_m), self.panorama.column_of(azimuth)

        def between(soon: tuple[Tensor, ...], late: tuple[Tensor, ...]) -> _Stretch:
            cells = (self.panorama.cell(of, late[1], own[2]) for own in (soon, late))
            return _Stretch.of(layers, soon[0], late[0], *cells)

        at = found[of, row, ray]
        ends_m = self._samples_m[(at - 1).clamp_min(0)], self._samples_m[at]
        ends = reached(ends_m[0]), reached(ends_m[1])
        for _ in range(NUM_HALVINGS):
            middle_m = (ends_m[0] + ends_m[1]) / 2
            middle = reached(middle_m)
            is_sooner = between(ends[0], middle).is_met()
            ends_m = torch.where(is_sooner, ends_m[0], middle_m), torch.where(is_sooner, middle_m, ends_m[1])
            ends = tuple(tuple(torch.where(is_sooner, *each) for each in zip(*pair, strict=True))
                         for pair in ((ends[0], middle), (middle, ends[1])))
        met_m = torch.full(found.shape, torch.inf, device=found.device)
        met_m[of, row, ray] = torch.lerp(*ends_m, between(*ends).share_before())
        return met_m

    def _behind(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Colours (B, 3, H, W) of the ground and the sky behind all that stands, and whether the start picture shows
        them, (B, 1, H, W) bool."""
        ground_m = (self._eye_m / rays.down.clamp_min(1e-6))[:, None]
        is_near = rays.length_m(ground_m) < self._reach_m
        azimuth, away_m, is_copy = self.tiling.find_ground(*rays.at(torch.where(is_near, ground_m, 0.0)))
        azimuth, down, is_seen = self.panorama.ground(azimuth, away_m)
        # What is far away is seen as from the start.
        far, far_away = (f(rays.right, rays.ahead)[:, None] for f in (torch.atan2, torch.hypot))
        behind, is_shown = self.panorama.look_up(
            self.panorama.behind, torch.where(is_near, azimuth, self.tiling.fold(far)),
            torch.where(is_near, down, rays.down[:, None] / far_away)).split([3, 1], dim=1)
        is_copy = torch.where(is_near, is_copy | ~is_seen, far.abs() > self.panorama.half_rad)
        return behind, (is_shown > 0.5) & ~is_copy[:, None]


class _Stretch(NamedTuple):
    """Stretches of rays: how far from the start they begin and end, (N, 1) or (N,), and from where to where something
    stands in the directions of both ends, in the row that shows the second, (N, H) or (N,).

    Unless both directions show one and the same face, what stands in the second is told for both.
    """

    soon_away_m: Tensor
    late_away_m: Tensor
    soon_front_m: Tensor
    soon_back_m: Tensor
    late_front_m: Tensor
    late_back_m: Tensor

    @classmethod
    def of(cls, layers: list[Tensor], soon_away_m: Tensor, late_away_m: Tensor, soon_cell: Tensor, late_cell: Tensor
           ) -> _Stretch:
        """Those whose ends are shown by cells, each pair of one row, of flat layers: fronts, backs and faces."""
        # Several times as fast as layer[cell].
        (soon_front_m, soon_back_m, soon_face), (late_front_m, late_back_m, late_face) = (
            [layer.index_select(0, cell.flatten()).view_as(cell) for layer in layers]
            for cell in (soon_cell, late_cell))
        # Faces have rims, which are no fronts where only what is solid counts.
        is_one_face = (soon_face == late_face) & ((soon_cell - late_cell).abs() <= FACE_COLUMNS) & (
            torch.maximum(soon_front_m, late_front_m) < torch.inf)
        return cls(soon_away_m, late_away_m, torch.where(is_one_face, soon_front_m, late_front_m),
                   torch.where(is_one_face, soon_back_m, late_back_m), late_front_m, late_back_m)

    def is_met(self) -> Tensor:
        """Whether something is met: what stands in the direction of the end overlaps with the way there; or the ray
        goes through a face from the front or from the back. Along a wall directions soon become quite others."""
        overlaps = (torch.maximum(self.soon_away_m, self.late_away_m) >= self.late_front_m) & (
            torch.minimum(self.soon_away_m, self.late_away_m) < self.late_back_m)
        goes_through = (self.soon_away_m < self.soon_front_m) & (self.late_away_m >= self.late_front_m) | (
            self.soon_away_m >= self.soon_back_m) & (self.late_away_m < self.late_back_m)
        return overlaps | goes_through

    def share_before(self) -> Tensor:
        """The share that lies before what is met, if the way to it, and its face, are even."""
        is_behind = self.soon_away_m >= self.soon_back_m  # one may come from there
        soon_off_m = self.soon_away_m - torch.where(is_behind, self.soon_back_m, self.soon_front_m)
        way_m = soon_off_m - self.late_away_m + torch.where(is_behind, self.late_back_m, self.late_front_m)
        share = (soon_off_m / torch.where(way_m.abs() < 1e-6, 1e-6, way_m)).clamp(0, 1)
        is_from_aside = (self.soon_away_m >= self.soon_front_m) & ~is_behind  # as far away as it, beside it
        return torch.where(is_from_aside, 1.0, share)


def _faces(panorama: Panorama) -> Tensor:
    """Numbers (B, rows, columns), the same for those places of a row between which something goes on as far away."""
    ends = ~(panorama.front_m.log().diff(dim=2).abs() < math.log(1 + STEEP))  # also where nothing stands
    return F.pad(ends.cumsum(dim=2), (1, 0)).to(torch.int32)


def _of_faces(values: Tensor, faces: Tensor, columns: int, most: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The least or the most of values (B, rows, columns) within so many columns of each place of the same face."""
    values, step = values.clone(), 1
    while step <= columns:
        for here, beside in ((slice(step, None), slice(None, -step)), (slice(None, -step), slice(step, None))):
            values[..., here] = torch.where(faces[..., here] == faces[..., beside],
                                            most(values[..., here], values[..., beside]), values[..., here])
        step *= 2
    return values


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


def _shells_with_something(panorama: Panorama, faces: Tensor, columns: int) -> Tensor:
    """Whether a ray may meet anything so far away in a direction that is up to so many columns from that of the sample
    before, (B, columns, NUM_SHELLS) bool."""
    stands = panorama.front_m.isfinite().mT.to(torch.int16)
    # On the way from one place of a face to another a ray may meet it anywhere between both.
    front_m = _of_faces(panorama.front_m, faces, columns, torch.minimum)
    back_m = _of_faces(panorama.back_m, faces, columns, torch.maximum)
    first, last = (_shell_of(metres).mT for metres in (front_m, back_m))
    # The way between two samples is, as a rule, up to two shells long.
    first, last = (first - 2).clamp_min(0), (last + 2).clamp_max(NUM_SHELLS - 1)
    # Counted up where something begins and down after its end; what lies between has been counted.
    begun = torch.zeros(*stands.shape[:2], NUM_SHELLS + 1, dtype=torch.int16, device=stands.device)
    begun.scatter_add_(2, first, stands).scatter_add_(2, last + 1, -stands)
    return begun.cumsum(dim=2)[..., :NUM_SHELLS] > 0


def _shell_of(metres: Tensor) -> Tensor:
    """Which shell so far from the start is, int64."""
    shell = (metres / NEAREST_M).log() * (NUM_SHELLS / math.log(FARTHEST_SHELL_M / NEAREST_M))
    return shell.clamp(0, NUM_SHELLS - 1).long()


def _place_in(axis: Tensor, values: Tensor) -> Tensor:
    """Where values are along evenly spaced middles of pixels, -1 and 1 being the outer edges of these."""
    pixel = (values - axis[0]) / (axis[-1] - axis[0]) * (len(axis) - 1)
    return (pixel + 0.5) / len(axis) * 2 - 1
