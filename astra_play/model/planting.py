"""Narrow things of a place (billboards.py) -> where all around the start they and their copies stand.

Beyond the edges of the start picture ground and walls go on as in mirrors. Of trees and lamps an eye knows at once
that they do: the same group again and again, and two side by side before every mirror. Nobody has seen what is there,
so each copy is planted a few steps from where the mirror has it: on ground like that which it comes from, clear of
walls and of others. One that would stand beside its own mirror image is left out if there is no such place. What rises
from a hedge, which goes on as in a mirror, stays with it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .footing import Footing
from .panorama import Panorama
from .tiling import Tiling

SEED, NUM_TRIES = 1, 8
SCATTER_M = 6.0  # from where the mirror has a copy
NEARER = 0.7  # share of its distance from the start that it may come to
GAP_M = 1.5  # between things, and between them and walls
TWIN_M = 1.5  # between a thing and its mirror image, below which all see that it is one
ALIKE = 0.25  # ground differs by less, of colours in [-1, 1]
FOOT_M = 0.7  # that the ground about a foot is looked at

Point = list[float]  # metres right and ahead of the start


class Things(NamedTuple):
    """Narrow things, each (N,)."""

    of: Tensor  # which of the batch
    azimuth: Tensor  # of their middles
    width_m: Tensor
    away_m: Tensor  # from the start
    rises: Tensor  # bool, from something wide


class Copies(NamedTuple):
    """Things, and their mirror images, each (N,)."""

    of: Tensor  # which of the batch
    thing: Tensor
    azimuth: Tensor  # of the thing's middle in the panorama
    away_m: Tensor  # of the thing from the start
    half_m: Tensor  # of its width
    right_m: Tensor
    ahead_m: Tensor
    side: Tensor  # 1, or -1 for what is the wrong way round
    is_copy: Tensor
    rises: Tensor


def planted(things: Things, panorama: Panorama, tiling: Tiling, walls: Footing) -> Copies:
    """Where things stand all around the start, and their copies; `walls` is the footing among all that is no thing."""
    around, thing, side = tiling.copies(things.azimuth)
    of, azimuth, width_m, away_m, rises = (own[thing] for own in things)
    copies = Copies(of, thing, azimuth, away_m, width_m / 2, away_m * around.sin(), away_m * around.cos(), side,
                    (around - azimuth).abs() > 1e-3, rises)
    parts = []
    for index in range(len(panorama.front_m)):
        own = Copies(*(values[of == index] for values in copies))
        parts.append(_scattered(own, _Ground(panorama.part(index), tiling, walls.part(index))))
    return Copies(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _scattered(copies: Copies, ground: _Ground) -> Copies:
    """The copies of one place, each where there is room for it, without those for which there is none."""
    may_move = copies.is_copy & ~copies.rises
    tries, at = _tries(copies, may_move, ground), torch.stack([copies.right_m, copies.ahead_m], dim=-1).tolist()
    half_m, thing = copies.half_m.tolist(), copies.thing.tolist()
    # First what stays where it is, then what has nowhere to go; of the rest what looks largest chooses first.
    by_size = (copies.half_m / copies.away_m).argsort(descending=True, stable=True).tolist()
    order = sorted(by_size, key=[1 + bool(own) if may else 0 for own, may in zip(
        tries, may_move.tolist(), strict=True)].__getitem__)
    stands: dict[int, Point] = {}

    def is_free(own: int, place: Point) -> bool:
        return all(math.dist(place, there) > half_m[own] + half_m[other] + GAP_M for other, there in stands.items())

    def is_twin(own: int) -> bool:
        return any(thing[other] == thing[own] and math.dist(at[own], there) < 2 * half_m[own] + TWIN_M
                   for other, there in stands.items())

    for own in order:
        place = next((place for place in tries[own] if is_free(own, place)), None)
        if place is not None or not (bool(may_move[own]) and is_twin(own)):
            stands[own] = place or at[own]
    left = torch.tensor(sorted(stands), dtype=torch.int64, device=copies.of.device)
    places = copies.right_m.new_tensor([stands[own] for own in sorted(stands)]).view(-1, 2)
    return Copies(*(own[left] for own in copies))._replace(right_m=places[:, 0], ahead_m=places[:, 1])


def _tries(copies: Copies, may_move: Tensor, ground: _Ground) -> list[list[Point]]:
    """Places about each of the copies where it could stand alone; none about those that may not move, (N,) bool."""
    generator = torch.Generator().manual_seed(SEED)  # the same for every place, however many there are
    turn, far = torch.rand(2, NUM_TRIES, len(copies.of), generator=generator).to(copies.right_m.device)
    off_m, turn = SCATTER_M * far.sqrt(), 2 * math.pi * turn
    right_m, ahead_m = copies.right_m + off_m * turn.cos(), copies.ahead_m + off_m * turn.sin()
    fits = may_move & (torch.hypot(right_m, ahead_m) > NEARER * copies.away_m) & ground.has_room(
        right_m, ahead_m, copies.half_m) & ground.is_like(right_m, ahead_m, copies.right_m, copies.ahead_m)
    places = torch.stack([right_m, ahead_m], dim=-1).transpose(0, 1).tolist()
    return [[place for place, fit in zip(*own, strict=True) if fit]
            for own in zip(places, fits.mT.tolist(), strict=True)]


class _Ground:
    """What may be planted where around one start."""

    def __init__(self, panorama: Panorama, tiling: Tiling, walls: Footing) -> None:
        self._panorama, self._tiling, self._walls = panorama, tiling, walls

    def has_room(self, right_m: Tensor, ahead_m: Tensor, half_m: Tensor) -> Tensor:
        """Which points (K, N) are in reach, clear of walls and of their mirror images in the next tile, and beside the
        start picture, for things half as wide as `half_m` (N,)."""
        clear_m = self._walls.clearance_m(torch.stack([right_m, ahead_m], dim=-1).flatten(0, 1)[None])[0]
        off_rad = torch.atan2(right_m, ahead_m).abs() - (half_m / torch.hypot(right_m, ahead_m)).atan()
        return (clear_m.view_as(right_m) > half_m + GAP_M) & (off_rad > self._tiling.half_rad) & (
            torch.maximum(right_m.abs(), ahead_m.abs()) + half_m + TWIN_M / 2 < self._tiling.reach_m)

    def is_like(self, right_m: Tensor, ahead_m: Tensor, old_right_m: Tensor, old_ahead_m: Tensor) -> Tensor:
        """Whether the ground about points (K, N) has the colour of that about old ones (N,)."""
        colours, old = self._colours(right_m, ahead_m), self._colours(old_right_m[None], old_ahead_m[None])
        return ((colours - old.mean(dim=1, keepdim=True)).abs() < ALIKE).all(dim=0).all(dim=0)

    def _colours(self, right_m: Tensor, ahead_m: Tensor) -> Tensor:
        """Those of the ground about points (K, N), (3, 5, K, N)."""
        about = FOOT_M * right_m.new_tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
        points = ((own + off[:, None, None]).flatten(0, 1)[None] for own, off in (
            (right_m, about[:, 0]), (ahead_m, about[:, 1])))
        azimuth, away_m, _ = self._tiling.find_ground(*points)
        azimuth, down, _ = self._panorama.ground(azimuth, away_m)
        return self._panorama.look_up(self._panorama.behind, azimuth, down)[0, :3].unflatten(1, (5, -1))
