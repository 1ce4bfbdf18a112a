"""Narrow things of a place (place.py) as billboards: pictures that stand upright and turn to whoever looks.

A picture tells one side of a tree. Seen from elsewhere its pixels, each as far away as it was, come apart like pales of
a fence; but a tree, a lamp or a tower looks about the same from everywhere, so it is shown as it is. What is wider, as
houses are, stays where it is (`Panorama`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .eyes import Eyes, Rays
from .footing import is_in_the_way
from .panorama import DOWN, STEEP, UP, Panorama
from .planting import Copies, Things
from .tiling import Tiling

ALIKE = 0.05  # logarithms of how far neighbours are differ by less within one thing
WIDEST_M = 4.5  # of what looks about the same from everywhere
LEAST_CELLS = 12  # of the panorama; what is smaller is the noise of a finder
FOOT_M = 0.6  # above the ground, or the hedge, at most: what begins higher is a part of something else
HEDGES_M = (1.3, 2.1)  # above which what rises from a hedge, or a low wall, is a thing of its own
ALONG = 0.5  # share of its height along which a thing goes on in another one if both are one slope
NEAREST_M = 0.5  # that a billboard is seen from


class Billboards:
    """The narrow things of a batch of panoramas, and copies of them around the start (planting.py).

    `labels` (B, rows, columns) int64 tells which thing a place of the panorama shows, from 0, or -1.
    """

    def __init__(self, panorama: Panorama, tiling: Tiling, labels: Tensor, copies: Copies) -> None:
        self._panorama, self._tiling, self.labels, self._copies = panorama, tiling, labels, copies
        self._flat_labels = labels.flatten()

    def part(self, index: int) -> Billboards:
        """Those of one of the batch alone."""
        own = Copies(*(values[self._copies.of == index] for values in self._copies))
        return Billboards(self._panorama.part(index), self._tiling, self.labels[index:index + 1],
                          own._replace(of=torch.zeros_like(own.of)))

    def trunks(self, eye_m: float) -> tuple[Tensor, Tensor]:
        """What of the copies stands in the way of feet: which of the batch, (M,), and from where to where around the
        start, (M, 2, 2)."""
        panorama, copies = self._panorama, self._copies
        stands = (self.labels >= 0) & is_in_the_way(panorama, eye_m)
        thing, column = self.labels[stands], stands.nonzero()[:, 2]
        count = int(self.labels.max()) + 1
        ends = [values.new_full((count,), none).scatter_reduce_(0, thing, values, how) for values, none, how in (
            (column, panorama.columns, "amin"), (column + 1, 0, "amax"))]
        lowest = (torch.stack(ends, dim=1) * 2 / panorama.columns - 1) * panorama.half_rad
        has_one = (ends[0] < ends[1])[copies.thing]
        of, thing, azimuth, away_m, _, right_m, ahead_m, side, _, _ = (own[has_one] for own in copies)
        aside_m = (side * away_m)[:, None] * (lowest[thing] - azimuth[:, None]).tan()
        towards = F.normalize(torch.stack([right_m, ahead_m], dim=-1), dim=-1)
        across = torch.stack([towards[:, 1], -towards[:, 0]], dim=-1)[:, None]
        return of, torch.stack([right_m, ahead_m], dim=-1)[:, None] + aside_m[..., None] * across

    def meet(self, rays: Rays, solid: Tensor) -> Met | None:
        """What rays meet first, or None where there are no billboards.

        Of things on which it is `solid` (B,) the rims, which are partly see-through, are left out.
        """
        if not len(self._copies.of):
            return None
        column, near, along_m, aside_m = self._struck(rays)
        off = torch.atan2(near.side * aside_m, near.away_m)
        azimuth = near.azimuth + off
        down = rays.down * (along_m * off.cos() / near.away_m)[:, None]  # (N, H)
        panorama = self._panorama
        cell = panorama.cell(near.of[:, None], panorama.row_of(down), panorama.column_of(azimuth)[:, None])
        is_own = (self._flat_labels[cell] == near.thing[:, None]) & (down > -UP) & (down < DOWN) & (
            panorama.solid_front_m.reshape(-1)[cell].isfinite() | ~solid[near.of, None])
        batch, width = rays.right.shape
        ray = (near.of * width + column)[:, None].expand_as(is_own)
        first_m = torch.full((batch * width, down.shape[1]), torch.inf, device=down.device)
        first_m.scatter_reduce_(0, ray, torch.where(is_own, along_m[:, None], torch.inf), "amin")
        hit, row = (is_own & (along_m[:, None] == first_m.gather(0, ray))).nonzero().unbind(dim=1)
        met = [first_m]
        seen_m = along_m * off.cos() * torch.hypot(rays.right, rays.ahead)[near.of, column]
        for values in (azimuth[hit], down[hit, row], (near.away_m / seen_m)[hit], near.is_copy[hit]):
            met.append(values.new_zeros(first_m.shape).index_put_((ray[hit, 0], row), values))
        return Met(*(values.unflatten(0, (batch, width)).mT for values in met))

    def _struck(self, rays: Rays) -> tuple[Tensor, Copies, Tensor, Tensor]:
        """Where columns of rays strike the upright planes of billboards, each (N,): which column, which billboard, how
        far ahead, and how far to the right of its middle, in metres."""
        near = self._copies_near(rays.eyes)
        to_right, to_ahead = near.right_m - rays.eyes.right_m[near.of], near.ahead_m - rays.eyes.ahead_m[near.of]
        away_m = torch.hypot(to_right, to_ahead)
        to_right, to_ahead = (to_right / away_m)[:, None], (to_ahead / away_m)[:, None]
        right, ahead = rays.right[near.of], rays.ahead[near.of]  # (copies, W)
        towards = right * to_right + ahead * to_ahead
        along_m = away_m[:, None] / towards.clamp_min(1e-6)
        aside_m = along_m * (right * to_ahead - ahead * to_right)
        is_struck = (towards > 1e-6) & (aside_m.abs() <= near.half_m[:, None]) & (away_m > NEAREST_M)[:, None] & (
            along_m * torch.hypot(right, ahead) < self._tiling.reach_m)
        which, column = is_struck.nonzero().unbind(dim=1)
        return column, Copies(*(own[which] for own in near)), along_m[which, column], aside_m[which, column]

    def _copies_near(self, eyes: Eyes) -> Copies:
        """The copies in the four tiles that the reach of eyes touches."""
        copies, tiles = self._copies, []
        own_right, own_ahead = eyes.right_m[copies.of], eyes.ahead_m[copies.of]
        for right in (0, 1):
            for ahead in (0, 1):
                right_of, right_side = self._tiling.tile(own_right, right)
                ahead_of, ahead_side = self._tiling.tile(own_ahead, ahead)
                is_first = (right_of == 0) & (ahead_of == 0)
                tiles.append(copies._replace(
                    right_m=right_of + right_side * copies.right_m, ahead_m=ahead_of + ahead_side * copies.ahead_m,
                    side=copies.side * right_side * ahead_side, is_copy=copies.is_copy | ~is_first))
        return Copies(*(torch.cat(each) for each in zip(*tiles, strict=True)))


class Met(NamedTuple):
    """How many metres ahead something is met, inf for nothing; at which azimuth and how far down for every metre the
    panorama shows that, and how many times as far away; and whether it is a copy of what the start picture shows, each
    (B, H, W)."""

    along_m: Tensor
    azimuth: Tensor
    down: Tensor
    magnified: Tensor
    is_copy: Tensor


def narrow_things(panorama: Panorama, eye_m: float) -> tuple[Things, Tensor]:
    """The narrow things of a batch of panoramas, and their labels (B, rows, columns).

    First those that stand alone, then those that rise from something wide, as trees do from a hedge.
    """
    front_m, height_m = panorama.front_m, eye_m - panorama.down[:, None] * panorama.front_m
    labels, things, count = torch.full(front_m.shape, -1, device=front_m.device), [], 0
    for floor_m in (-FOOT_M, *HEDGES_M):
        found = components(front_m.masked_fill((labels >= 0) | (height_m < floor_m), torch.inf))
        own, found = _narrow(panorama, found, height_m, max(floor_m, 0.0))
        labels = torch.where(found >= 0, found + count, labels)
        things.append(own)
        count += len(own.of)
    return Things(*(torch.cat(each) for each in zip(*things, strict=True))), labels


def _narrow(panorama: Panorama, labels: Tensor, height_m: Tensor, floor_m: float) -> tuple[Things, Tensor]:
    """What is narrow of what hangs together by its labels, begins at about `floor_m`, the ground or the top of
    something wide, and is whole; numbered from 0."""
    stands = labels >= 0
    _, thing, counts = labels[stands].unique(return_inverse=True, return_counts=True)
    of, row, column = stands.nonzero().unbind(dim=1)

    def each(values: Tensor, how: str) -> Tensor:
        return of_each(thing, len(counts), values, how)

    first, last, front_m = each(column, "amin"), each(column, "amax"), panorama.front_m[stands]
    away_m, deep_m = each(front_m.log(), "mean").exp(), each(front_m, "amax") - each(front_m, "amin")
    width_m = (last - first + 1) * (2 * panorama.half_rad / panorama.columns) * away_m
    num_rows = each(row, "amax") - each(row, "amin") + 1
    num_beside = torch.stack([each(own[stands].int(), "sum") for own in _goes_on(panorama.front_m, labels)])
    is_narrow = (torch.hypot(width_m, deep_m) < WIDEST_M) & (counts >= LEAST_CELLS) & (
        each(height_m[stands], "amin") < floor_m + FOOT_M) & (first > 0) & (last < panorama.columns - 1) & (
        num_beside.amax(dim=0) < ALONG * num_rows)
    numbered = torch.full_like(labels, -1)
    numbered[stands] = torch.where(is_narrow, is_narrow.cumsum(dim=0) - 1, -1)[thing]
    azimuth = (panorama.azimuth[first] + panorama.azimuth[last]) / 2
    rises = torch.full_like(is_narrow, floor_m > 0)
    return Things(*(own[is_narrow] for own in (each(of, "amin"), azimuth, width_m, away_m, rises))), numbered


def of_each(thing: Tensor, count: int, values: Tensor, how: str) -> Tensor:
    """The "amin", "amax", "mean" or "sum" of the values (N,) of each of `count` things, which `thing` (N,) numbers."""
    return values.new_zeros(count).scatter_reduce_(0, thing, values, how, include_self=False)


def _goes_on(front_m: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where something goes on to the left, and to the right, in another thing that is hardly further away, (B, rows,
    columns) bool: as the strips do that a wall falls into which is seen from aside."""
    slopes = (front_m.nan_to_num(posinf=1.0).log().diff(dim=2).abs() < math.log(1 + STEEP)) & (
        labels[..., 1:] != labels[..., :-1]) & front_m[..., 1:].isfinite() & front_m[..., :-1].isfinite()
    return F.pad(slopes, (1, 0)), F.pad(slopes, (0, 1))


def components(front_m: Tensor) -> Tensor:
    """Distances (B, rows, columns), inf for nothing -> labels of what hangs together, int64, -1 for nothing.

    Cells of a column that hang together are one run, and few runs are left to be joined side by side.
    """
    by_column = front_m.mT  # (B, columns, rows)
    stands, logs = by_column.isfinite(), by_column.nan_to_num(posinf=1.0).log()
    begins = stands.clone()
    begins[..., 1:] &= ~(stands[..., :-1] & (logs.diff(dim=2).abs() < ALIKE))
    runs = begins.flatten().cumsum(dim=0).view_as(begins) - 1
    beside = stands[:, :-1] & stands[:, 1:] & (logs.diff(dim=1).abs() < ALIKE)
    pairs = torch.stack([runs[:, :-1][beside], runs[:, 1:][beside]]).unique_consecutive(dim=1)
    one, other = torch.cat([pairs, pairs.flip(0)], dim=1)
    labels, before = torch.arange(int(begins.sum()), device=front_m.device), None
    while before is None or not torch.equal(labels, before):
        before = labels
        labels = labels.scatter_reduce(0, one, labels[other], "amax")
        labels = labels[labels]  # a label is the number of another run of the same thing
    return torch.where(stands, labels[runs.clamp_min(0)] if len(labels) else runs, -1).mT
