"""Distances as a network guesses them -> distances of things that stand upright with their feet on the ground.

A guess that strays from row to row bends a post as soon as one steps aside. But what stands is upright, so that its
distance hardly changes along a column, and where it meets the ground that says how far away it is: the eye's height
over the tangent of how far down it is seen. The distances that agree best with all of that are the solution of a
weighted least squares problem (Farbman et al., "Edge-preserving decompositions", 2008), in logarithms, by conjugate
gradients.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.distances import Distances
from ..config import ControlsConfig
from .billboards import components, of_each
from .panorama import middles, on_bonnet

STANDS = 0.5  # share from which on a pixel belongs to what stands
ALIKE_DOWN, ALIKE_ACROSS = 0.15, 0.15  # logarithms of neighbours that differ by less are taken for one thing
DOWN, ACROSS = 8.0, 1.0  # how much neighbours count above each other, and beside each other
GUESS, FOOT = 0.002, 0.2  # how much the guess counts, and where the ground is met
LEAST_DOWN = 0.02  # tangent; nearer to the horizon the ground says little
BELIEVED = 0.2  # difference of logarithms from the guess up to which a foot is one: a tree's crown ends in mid-air
NUM_STEPS = 250
LOW_M = 0.3  # as high as a knee: what is lower is nothing that stands
HANGS_M, NARROW_M = 0.8, 3.0  # what begins higher above the ground, and is narrower, is a bit of something else


@torch.no_grad()
def upright(distances: Distances, controls: ControlsConfig) -> Distances:
    """Return the distances (B, 1, H, W) set upright; seen by a camera as `controls` say."""
    stands, guess = distances.stands > STANDS, distances.distance_m.log()
    foot = _log_of_foot(distances, controls)
    goes_on = _below(stands | on_bonnet(controls, stands))  # behind the bonnet no foot is in view
    is_foot = stands & ~goes_on & foot.isfinite() & ((foot - guess).abs() < BELIEVED)
    weight = torch.where(stands, GUESS, 1.0) + FOOT * is_foot
    wanted = torch.where(is_foot, foot, guess)
    links = []
    for dim, alike, strength in ((2, ALIKE_DOWN, DOWN), (3, ALIKE_ACROSS, ACROSS)):
        both = stands.narrow(dim, 1, stands.shape[dim] - 1) & stands.narrow(dim, 0, stands.shape[dim] - 1)
        links.append((dim, strength * (both & (guess.diff(dim=dim).abs() < alike))))
    return distances._replace(distance_m=_solve(weight, wanted, links, guess).exp())


def without_kerbs(distances: Distances, controls: ControlsConfig) -> Distances:
    """The distances (B, 1, H, W) without what stands lower than LOW_M: kerbs and flower beds are as good as painted on
    the ground, and cut out of a picture in pieces they would be fences when one comes near."""
    height, focal_px = distances.stands.shape[2], _focal_px(distances, controls)
    down, _ = _ways_down(distances, controls)
    missing_m = LOW_M - (controls.eye_height_m - down * distances.distance_m)
    # The row in which the same thing would be seen at that height.
    row = torch.arange(height, device=down.device)[:, None]
    above = (row - (missing_m * focal_px / distances.distance_m).ceil().clamp(1, height)).long()
    same = distances.distance_m.gather(2, above.clamp_min(0)).log() - distances.distance_m.log()
    goes_on = (distances.stands.gather(2, above.clamp_min(0)) > STANDS) & (same.abs() < ALIKE_DOWN) | (above < 0)
    return distances._replace(stands=distances.stands * ((missing_m <= 0) | goes_on))


def without_shreds(distances: Distances, controls: ControlsConfig) -> Distances:
    """The distances (B, 1, H, W) without what hangs in mid-air, narrower than NARROW_M and over nothing that stands:
    bits of posts that a finder has missed the rest of would fly past whoever walks on; in the sky they pass for it."""
    stands = distances.stands > STANDS
    if not bool(stands.any()):
        return distances
    labels = components(torch.where(stands, distances.distance_m, torch.inf)[:, 0])[:, None]
    things, thing = labels[stands].unique(return_inverse=True)

    def each(values: Tensor, how: str) -> Tensor:
        return of_each(thing, len(things), values.expand_as(stands)[stands], how)

    column = torch.arange(stands.shape[3], device=labels.device)
    pixels = each(column, "amax") - each(column, "amin") + 1
    width_m = pixels / _focal_px(distances, controls) * each(distances.distance_m, "amin")
    height_m = controls.eye_height_m - _ways_down(distances, controls)[1] * distances.distance_m
    rests = each(_rests(stands, labels, on_bonnet(controls, stands)).int(), "amax") > 0
    is_shred = (each(height_m, "amin") > HANGS_M) & ~rests & (width_m < NARROW_M)
    marks = torch.zeros_like(stands)
    marks[stands] = is_shred[thing]
    rims = (F.max_pool2d(marks.float(), 5, stride=1, padding=2) > 0) & ~stands
    return distances._replace(stands=distances.stands.masked_fill(marks | rims, 0.0))


def _rests(stands: Tensor, labels: Tensor, hidden: Tensor) -> Tensor:
    """Which pixels (B, 1, H, W) are over another thing by the labels, over what is `hidden` (H, W), or at an edge of
    the picture, beyond which a thing may go on."""
    at_edge = torch.ones_like(stands)
    at_edge[..., 1:, 1:-1] = False
    return at_edge | (_below(stands | hidden) & (_below(labels, fill=-2) != labels))


def _focal_px(distances: Distances, controls: ControlsConfig) -> float:
    return distances.stands.shape[2] / 2 / math.tan(math.radians(controls.vertical_fov_deg) / 2)


def _log_of_foot(distances: Distances, controls: ControlsConfig) -> Tensor:
    """The logarithm of how far away the ground is that the lower edge of each pixel shows, (B, 1, H, W); inf: none."""
    down = _ways_down(distances, controls)[1]
    return torch.where(down > LEAST_DOWN, (controls.eye_height_m / down.clamp_min(LEAST_DOWN)).log(), torch.inf)


def _ways_down(distances: Distances, controls: ControlsConfig) -> tuple[Tensor, Tensor]:
    """How far down one looks for each metre along the ground, in the middles of pixels and at their lower edges, each
    (B, 1, H, W)."""
    height, width = distances.stands.shape[2:]
    tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
    x = middles(width, distances.stands.device) * (tangent * width / height)
    cos, sin = (f(distances.pitch_rad)[:, None, None, None] for f in (torch.cos, torch.sin))
    down = []
    for lower in (0, 1 / height):
        y = (middles(height, distances.stands.device)[:, None] + lower) * tangent
        down.append((y * cos - sin) / ((cos + y * sin).square() + x.square()).sqrt())
    return down[0], down[1]


def _below(marks: Tensor, fill: int = 1) -> Tensor:
    """Of each pixel the mark (B, 1, H, W) of the one below it, `fill` below the lowest row, which is taken to go on."""
    return torch.cat([marks[:, :, 1:], torch.full_like(marks[:, :, :1], fill)], dim=2)


def _solve(weight: Tensor, wanted: Tensor, links: list[tuple[int, Tensor]], begin: Tensor) -> Tensor:
    """Return the x (B, 1, H, W) for which sum weight (x - wanted)^2 + sum of links (x - its neighbour)^2 is least.

    `links` along a dimension lie between neighbours, so there is one less of them.
    """
    def times(x: Tensor) -> Tensor:
        result = weight * x
        for dim, link in links:
            pull = link * x.diff(dim=dim)
            result.narrow(dim, 0, pull.shape[dim]).sub_(pull)
            result.narrow(dim, 1, pull.shape[dim]).add_(pull)
        return result

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(1, 2, 3), keepdim=True)

    x = begin
    rest = weight * wanted - times(x)
    way, size = rest, inner(rest, rest)
    for _ in range(NUM_STEPS):
        image = times(way)
        step = size / inner(way, image).clamp_min(1e-12)
        x, rest = x + step * way, rest - step * image
        size, before = inner(rest, rest), size
        way = rest + size / before.clamp_min(1e-12) * way
    return x
