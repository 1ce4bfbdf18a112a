"""What is wide in a place (place.py), as houses, hedges and walls are: which ray meets it first, and where.

It is met where it was seen from the start: the panorama tells for every direction how far away something begins and
ends. Along each ray samples are taken, more and more apart. Few of them are near enough to anything that a ray could
meet it on the way from the sample before, and only of these the rows are looked at.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .eyes import Rays
from .panorama import STEEP, UP, Panorama
from .tiling import Tiling

# Along a ray; from one to the next it is a fourteenth further. Nobody comes nearer to a wall than the first
# (footing.BODY_M), and who begins nearer sees it because it is thick.
NEAREST_M, NUM_SAMPLES = 0.7, 56
NUM_HALVINGS = 3  # of the way between two of them, to find where in it something is met
FEW_COLUMNS, FACE_COLUMNS = 3, 31  # of the panorama, at most, between a sample before a face and the next behind it
NUM_SHELLS, FARTHEST_SHELL_M = 64, 80.0  # of distances, in which it is noted where something may be met


class Walls:
    """The wide things of a batch of panoramas, in which nothing else stands."""

    def __init__(self, panorama: Panorama, tiling: Tiling) -> None:
        self.panorama, self._tiling = panorama, tiling
        step = (tiling.reach_m / NEAREST_M) ** (1 / (NUM_SAMPLES - 1))
        self._samples_m = NEAREST_M * step ** torch.arange(NUM_SAMPLES, device=panorama.front_m.device)
        faces, fronts_m = _faces(panorama), torch.stack([panorama.front_m, panorama.solid_front_m])
        # Fronts, backs and faces, (2, B, rows, columns): with the rims of things, which are partly see-through, and
        # without.
        self._layers = fronts_m, panorama.back_m.masked_fill(fronts_m.isinf(), 0.0), torch.stack([faces, faces])
        # For samples that few columns lie between, which most of them are, and for others.
        spans = [_spans(panorama, faces, columns) for columns in (FEW_COLUMNS, FACE_COLUMNS)]
        self._from_m, self._to_m = (torch.stack(ends) for ends in zip(*spans, strict=True))  # (2, B, columns, rows)
        self._begun = _begun(self._from_m, self._to_m)

    def part(self, index: int) -> Walls:
        """Those of one of the batch alone."""
        one, own = copy.copy(self), slice(index, index + 1)
        one.panorama, one._layers = self.panorama.part(index), tuple(
            layer[:, own].contiguous() for layer in self._layers)
        one._from_m, one._to_m, one._begun = self._from_m[:, own], self._to_m[:, own], self._begun[:, own]
        return one

    def meet(self, rays: Rays, is_soft: Tensor) -> Tensor:
        """How many metres ahead each ray first meets something, (B, H, W); inf: nothing.

        Rims of things count where it `is_soft`, (B, 1, 1).
        """
        shown = torch.arange(len(is_soft), device=is_soft.device) + len(is_soft) * ~is_soft.flatten()
        return self._where_met(rays, shown, self._first_met(rays, shown))

    def _first_met(self, rays: Rays, shown: Tensor) -> Tensor:
        """The first sample before which each ray has met something, (B, H, W) int64; NUM_SAMPLES: none. `shown` (B,)
        tells which of all layers each of the batch looks at."""
        ways = self._ways_past_something(rays)
        way, line, row = self._rows_of_something(ways, rays.down)
        at, ray = ways.at[way], (ways.of * rays.right.shape[1] + ways.ray)[way] * len(rays.down) + line
        none = torch.full((rays.right.numel() * len(rays.down),), NUM_SAMPLES, device=at.device)

        def first_of(which: Tensor) -> Tensor:
            return none.scatter_reduce(0, ray[which], at[which], "amin")

        def is_met(which: Tensor) -> Tensor:
            own = way[which]
            cells = (self.panorama.cell(shown[ways.of[own]], row[which], column[own])
                     for column in (ways.soon_column, ways.late_column))
            return _Stretch.of(self._layers, ways.soon_away_m[own], ways.late_away_m[own], *cells).is_met()

        # Nearly everywhere it is the first that may; where it is not, all are looked at.
        first = (at == none.scatter_reduce(0, ray, at, "amin")[ray]).nonzero()[:, 0]
        is_first_met = is_met(first)
        is_open = torch.zeros_like(none, dtype=torch.bool)
        is_open[ray[first[~is_first_met]]] = True
        others = is_open[ray].nonzero()[:, 0]
        found = torch.minimum(first_of(first[is_first_met]), first_of(others[is_met(others)]))
        batch, width = rays.right.shape
        return found.view(batch, width, len(rays.down)).mT

    def _ways_past_something(self, rays: Rays) -> _Ways:
        """Those ways between samples on which something may be met in some row."""
        azimuth, away_m, _ = self._tiling.find(*rays.at(self._samples_m[:, None]))  # (B, samples, W)
        column = self.panorama.column_of(azimuth)
        soon_away_m, soon_column = (torch.cat([own[:, :1], own[:, :-1]], dim=1) for own in (away_m, column))
        is_wide = ((column - soon_column).abs() > FEW_COLUMNS).long()
        of = torch.arange(len(column), device=column.device)[:, None, None]
        begun_before, begun = (
            self._begun[is_wide, of, column, _shell_of(most(soon_away_m, away_m)) + after]
            for most, after in ((torch.minimum, 0), (torch.maximum, 1)))
        is_in_reach = rays.length_m(self._samples_m[:, None]) < self._tiling.reach_m
        of, at, ray = ((begun > begun_before) & is_in_reach).nonzero().unbind(dim=1)
        return _Ways(of, at, ray, *(own[of, at, ray] for own in (soon_away_m, away_m, soon_column, column, is_wide)))

    def _rows_of_something(self, ways: _Ways, rays_down: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where on ways rays that go `rays_down` (H,) for every metre may meet something, each (M,): on which way,
        which ray, and the row of the panorama that shows its end."""
        down = rays_down * (self._samples_m[ways.at] / ways.late_away_m)[:, None]  # (N, H)
        row = self.panorama.row_of(down)
        first = (ways.is_wide * self._from_m.shape[1] + ways.of) * self.panorama.columns + ways.late_column
        cell = (first * self.panorama.rows)[:, None] + row
        from_m, to_m = (own.flatten().index_select(0, cell.flatten()).view_as(cell) for own in (
            self._from_m, self._to_m))
        nearest_m, farthest_m = (most(ways.soon_away_m, ways.late_away_m)[:, None]
                                 for most in (torch.minimum, torch.maximum))
        way, line = ((farthest_m >= from_m) & (nearest_m < to_m) & (down > -UP)).nonzero().unbind(dim=1)
        return way, line, row[way, line]

    def _where_met(self, rays: Rays, shown: Tensor, found: Tensor) -> Tensor:
        """How many metres ahead rays meet something, (B, H, W), whose samples `found` are the first that have met it,
        NUM_SAMPLES for none: the way since the sample before is halved some times, and what is left of it taken as
        even.

        Where neither half tells what the whole did, as it may at the edge of something, the later one is taken.
        """
        of, line, ray = (found < NUM_SAMPLES).nonzero().unbind(dim=1)
        along_m, away_m, column, first = self._points(rays, of, ray, found[of, line, ray])
        down = rays.down[line]

        def between(soon: Tensor, late: Tensor) -> _Stretch:
            row = self.panorama.row_of(down * steepness[late])
            cells = (self.panorama.cell(shown[of], row, column[own]) for own in (soon, late))
            return _Stretch.of(self._layers, away_m[soon], away_m[late], *cells)

        steepness = along_m / away_m  # how much steeper the start looks at a point than the eye does
        for halving in reversed(range(NUM_HALVINGS)):
            middle = first + 2**halving
            first = torch.where(between(first, middle).is_met(), first, middle)
        last, share = first + 1, between(first, first + 1).share_before()
        # The whole way may have led past what is known on the way from above it.
        is_known = down * torch.maximum(steepness[first], steepness[last]) > -UP
        met_m = torch.full(found.shape, torch.inf, device=found.device)
        met_m[of, line, ray] = torch.lerp(along_m[first], along_m[last], share).masked_fill(~is_known, torch.inf)
        return met_m

    def _points(self, rays: Rays, of: Tensor, ray: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points on the ways to samples `at` (N,) at which halvings may look: how far ahead, how far from the start and
        in which column they are, each (K,), and which is the first of each way, (N,). Others follow it in order.

        All rays of a column have the same ways, so most are asked for many times.
        """
        way = (of * rays.right.shape[1] + ray) * NUM_SAMPLES + at
        is_asked = torch.zeros(rays.right.numel() * NUM_SAMPLES, dtype=torch.int64, device=way.device)
        is_asked[way] = 1
        column, at = is_asked.view(-1, NUM_SAMPLES).nonzero().unbind(dim=1)
        along_m = torch.stack([self._samples_m[(at - 1).clamp_min(0)], self._samples_m[at]], dim=1)
        for _ in range(NUM_HALVINGS):
            middles_m = (along_m[:, :-1] + along_m[:, 1:]) / 2
            along_m = torch.cat([torch.stack([along_m[:, :-1], middles_m], dim=2).flatten(1), along_m[:, -1:]], dim=1)
        azimuth, away_m, _ = self._tiling.find(*(
            of_eyes[column // rays.right.shape[1]][:, None] + along_m * per_m.flatten()[column][:, None]
            for of_eyes, per_m in ((rays.eyes.right_m, rays.right), (rays.eyes.ahead_m, rays.ahead))))
        first = (is_asked.cumsum(dim=0)[way] - 1) * along_m.shape[1]
        return along_m.flatten(), away_m.flatten(), self.panorama.column_of(azimuth).flatten(), first


class _Ways(NamedTuple):
    """Ways along columns of rays from one sample to the next, each (N,)."""

    of: Tensor  # which of the batch
    at: Tensor  # the sample at the end
    ray: Tensor
    soon_away_m: Tensor  # of its begin from the start
    late_away_m: Tensor
    soon_column: Tensor  # of the panorama
    late_column: Tensor
    is_wide: Tensor  # 1 if more than few columns lie between, or 0


class _Stretch(NamedTuple):
    """Stretches of rays: how far from the start they begin and end, and from where to where something stands in the
    directions of both ends, in the row that shows the second, each (N,).

    Unless both directions show one and the same face, what stands in the second is told for both.
    """

    soon_away_m: Tensor
    late_away_m: Tensor
    soon_front_m: Tensor
    soon_back_m: Tensor
    late_front_m: Tensor
    late_back_m: Tensor

    @classmethod
    def of(cls, layers: tuple[Tensor, ...], soon_away_m: Tensor, late_away_m: Tensor, soon_cell: Tensor,
           late_cell: Tensor) -> _Stretch:
        """Those whose ends are shown by cells, each pair of one row, of layers: fronts, backs and faces."""
        # Several times as fast as layer[cell].
        (soon_front_m, soon_back_m, soon_face), (late_front_m, late_back_m, late_face) = (
            [layer.flatten().index_select(0, cell) for layer in layers] for cell in (soon_cell, late_cell))
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


def _spans(panorama: Panorama, faces: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """From where to where a way must lead for anything to be met on it, if its end is shown by a place and its begin by
    one up to so many columns from it, (B, columns, rows) each: to where that begins, or behind where its face ends in
    these columns; inf and 0 where nothing stands."""
    stands = panorama.front_m.isfinite()
    farthest_m = _of_faces(panorama.front_m.masked_fill(~stands, 0.0), faces, columns, torch.maximum)
    nearest_m = _of_faces(panorama.back_m.masked_fill(~stands, torch.inf), faces, columns, torch.minimum)
    return (torch.where(stands, torch.minimum(panorama.front_m, nearest_m), torch.inf).mT.contiguous(),
            torch.where(stands, torch.maximum(panorama.back_m, farthest_m), 0.0).mT.contiguous())


def _begun(from_m: Tensor, to_m: Tensor) -> Tensor:
    """In how many shells nearer than each something may be met by any row, (..., columns, NUM_SHELLS + 1)."""
    stands = (to_m > 0).to(torch.int16)
    # Counted up where something begins and down after its end; what lies between has been counted.
    begun = torch.zeros(*stands.shape[:-1], NUM_SHELLS + 1, dtype=torch.int16, device=stands.device)
    begun.scatter_add_(-1, _shell_of(from_m), stands).scatter_add_(-1, _shell_of(to_m) + 1, -stands)
    return F.pad((begun.cumsum(dim=-1)[..., :NUM_SHELLS] > 0).cumsum(dim=-1), (1, 0))


def _shell_of(metres: Tensor) -> Tensor:
    """Which shell so far from the start is, int64."""
    shell = (metres / NEAREST_M).log() * (NUM_SHELLS / math.log(FARTHEST_SHELL_M / NEAREST_M))
    return shell.clamp(0, NUM_SHELLS - 1).long()
