"""Start picture and how far away everything in it is -> a panorama in depth, which a place is looked up in (place.py).

What one eye sees, by directions: columns are azimuths, rows the tangents of elevations, so that whatever stands upright
stands in one column. There are two layers, what stands on the ground and what is behind it, ground and sky, where
things hid them filled in from around. It is finer than the picture: silhouettes stay smooth when one comes near.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.bare_table import fill_in
from ..codec.distances import Distances
from ..config import ControlsConfig
from .anchor import resample

FINER = 2  # places for one pixel of the picture, each way
NEAR_FINER = 2  # times as fine, each way, are the colours that one sees from near
SOFT_UP_TO, CRISP_FROM = 1.0, 2.0  # times as large as in the picture, between which the ones go over into the others
WITHIN = 0.97  # of a level picture's width is used; its border pixels would be repeated otherwise
UP, DOWN = 1.2, 1.0  # tangents of the elevations that it ends at
STANDS = 0.1  # share from which on a place belongs to what stands
INNER, PURE = 0.5, 0.9  # from which on a pixel is as far away as that thing, and has its colour alone
THICK_M, THICK_SHARE = 0.6, 0.1  # what stands is so thick, or such a share of its distance, whichever is more
STEEP = 0.2  # share of its distance by which a slope goes back from place to place; what is further is another thing
TALLEST_M = 9.0
ALIKE = 0.2  # logarithms of distances differ by less within one thing
LOG_OF_NOTHING = 20.0  # of metres
CRISP_TIMES = 3  # edges are narrowed, each time by two pixels
EDGE = 0.1  # of lightness, below which nothing is an edge; of twice as much all is
BENDS = 0.1  # of the contrast around a pixel; one that differs from their mean by as much goes all the way
WHERE_BITS = 28  # of a whole number, that tell a pixel of a picture
LEAST_DOWN = 0.1  # tangent that the lower edge of a picture is taken to look down by, at least


class Panorama:
    """The directions within `half_rad` of straight ahead, for a batch.

    `things` (B, 4, rows, columns): colours in [-1, 1] of what stands, and its share of each place; `behind` (B, 4,
    rows, columns): of ground and sky, and whether the picture shows them, in [0, 1]. What stands begins at `front_m`
    along the ground and ends at `back_m`, each (B, rows, columns); where nothing does they are inf and 0.
    `solid_front_m` leaves out the rims of things.
    """

    def __init__(self, pictures: Tensor, distances: Distances, controls: ControlsConfig, reach_m: float) -> None:
        """`pictures` (B, 3, H, W) in [-1, 1], or drawn larger, by a camera as `controls` say, and how far away is what
        they show, for H times W pixels; farther off than `reach_m` nothing stands."""
        height, width = distances.stands.shape[-2:]
        hidden = on_bonnet(controls, distances.stands)
        distances = distances._replace(stands=distances.stands * ~hidden * (distances.distance_m < reach_m))
        tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
        self._limits, self._eye_m = (tangent * width / height, tangent), controls.eye_height_m
        # The lower edge, or so far above the bonnet that what is seen there is not mixed with it.
        self._lowest = tangent * (1 - 2 * controls.bonnet[0] - 2 / height * bool(controls.bonnet[0]))
        self.half_rad = WITHIN * math.atan(self._limits[0])
        self._per_unit = FINER * height / 2 / tangent  # places per radian across and per tangent down
        self.columns = 2 * round(self.half_rad * self._per_unit)
        self.rows = round((UP + DOWN) * self._per_unit)
        self.azimuth = middles(self.columns, pictures.device) * self.half_rad
        self.down = (torch.arange(self.rows, device=pictures.device) + 0.5) / self._per_unit - UP
        top, bottom = self._edges(distances.pitch_rad)
        self._nearest_m = self._eye_m / (bottom / self.azimuth.cos()).clamp_min(LEAST_DOWN)[..., :1]  # ahead, (B, 1, 1)
        where = self._in_pictures(distances.pitch_rad, top, bottom)
        # Rims of what stands are drawn with its own colours and distances, which go on around it.
        inner = distances.stands > INNER
        metres = torch.where(inner, distances.distance_m, _nearest_around(distances.distance_m, inner))
        metres = _between(metres, where)[:, 0]
        share = resample(distances.stands, where).clamp(0, 1)
        things = fill_in(pictures, F.interpolate(_purely(distances.stands).float(), pictures.shape[-2:]) > 0.5)
        self.things = torch.cat([resample(things, where), share], dim=1)
        behind = resample(_without_things(pictures, distances, hidden, tangent), where)
        is_shown = (self.down[:, None] >= top) & (self.down[:, None] <= bottom)
        self.behind = torch.cat([behind, is_shown[:, None].to(behind.dtype)], dim=1)
        self._near_things, self._near_behind = (_from_near(layer) for layer in (self.things, self.behind))
        stands = (share[:, 0] > STANDS) & metres.isfinite() & self._may_stand(metres, top, bottom)
        self.front_m = torch.where(stands, metres, torch.inf)
        self.solid_front_m = torch.where(share[:, 0] > INNER, self.front_m, torch.inf)
        self.back_m = torch.where(stands, metres + _thickness_m(self.front_m), 0.0)

    def _edges(self, pitch_rad: Tensor) -> tuple[Tensor, Tensor]:
        """Where pictures that look up by `pitch_rad` (B,) begin and end in each column, (B, 1, columns)."""
        cos, sin = pitch_rad.cos()[:, None, None], pitch_rad.sin()[:, None, None]
        # (y cos - sin) / (cos + y sin) is the tangent of a pixel row's elevation straight ahead.
        top, bottom = ((y * cos - sin) / (cos + y * sin) * self.azimuth.cos()
                       for y in (-self._limits[1], self._lowest))
        return top, bottom

    def _in_pictures(self, pitch_rad: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
        """Where in pictures that look up by `pitch_rad` (B,) the panorama's places are, (B, rows, columns, 2).

        What is above a picture is taken from below its edge, as in a mirror; what is below it, from its edge.
        """
        down = self.down[:, None]
        down = torch.where(down < top, 2 * top - down, down)
        down = torch.minimum(torch.maximum(down, top), bottom)
        cos, sin = pitch_rad.cos()[:, None, None], pitch_rad.sin()[:, None, None]
        ahead = self.azimuth.cos() * cos - down * sin
        return torch.stack([(self.azimuth.sin() / ahead) / self._limits[0],
                            (down * cos + self.azimuth.cos() * sin) / ahead / self._limits[1]], dim=-1)

    def _may_stand(self, metres: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
        """Where something may stand `metres` (B, rows, columns) away: not above everything else; above the upper edge
        of the picture, whose mirror is seen there, only what the edge cuts off; below the lower one, not under the
        ground."""
        above = self.down[:, None] < top
        at_edge = above.sum(dim=1, keepdim=True).clamp_max(self.rows - 1)
        is_cut = (metres / metres.gather(1, at_edge)).log().abs() < ALIKE
        height_m = self._eye_m - self.down[:, None] * metres
        return (height_m < TALLEST_M) & (~above | is_cut) & ((self.down[:, None] <= bottom) | (height_m > 0))

    def part(self, index: int) -> Panorama:
        """That of one of the batch alone."""
        one = copy.copy(self)
        for name in ("things", "behind", "_near_things", "_near_behind", "front_m", "solid_front_m",
                     "back_m", "_nearest_m"):
            setattr(one, name, getattr(self, name)[index:index + 1])
        return one

    def ground(self, azimuth: Tensor, away_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where `behind` shows the ground `away_m` from the eye in directions (B, H, W): azimuth and how far down; and
        whether the picture shows that. What is before the picture's lower edge, at one's feet, is the mirror of what is
        beyond it, so that a path stays as wide as it is."""
        aside_m, ahead_m = away_m * azimuth.sin(), away_m * azimuth.cos()
        is_shown = ahead_m >= self._nearest_m
        ahead_m = torch.where(is_shown, ahead_m, 2 * self._nearest_m - ahead_m)
        return torch.atan2(aside_m, ahead_m), self._eye_m / torch.hypot(aside_m, ahead_m), is_shown

    def without(self, marks: Tensor) -> Panorama:
        """The same with nothing standing where marks (B, rows, columns) are set."""
        rest = copy.copy(self)
        rest.front_m, rest.solid_front_m = (own.masked_fill(marks, torch.inf) for own in (
            self.front_m, self.solid_front_m))
        rest.back_m = self.back_m.masked_fill(marks, 0.0)
        return rest

    def column_of(self, azimuth: Tensor) -> Tensor:
        """Which column shows directions `azimuth` radians to the right, int64."""
        return ((azimuth / self.half_rad + 1) * (self.columns / 2)).long().clamp(0, self.columns - 1)

    def row_of(self, down: Tensor) -> Tensor:
        """Which row shows directions that go so far down for every metre away, int64."""
        return ((down + UP) * self._per_unit).clamp(0, self.rows - 1).long()

    def cell(self, of: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Indices into a flat layer; `of` tells which of the batch."""
        return (of * self.rows + row) * self.columns + column

    def things_at(self, azimuth: Tensor, down: Tensor, magnified: Tensor) -> Tensor:
        """Colours and shares (B, 4, H, W) of `things` in directions (B, H, W), for who sees them so many times as
        large as the picture shows them."""
        return self._seen(self.things, self._near_things, azimuth, down, magnified)

    def behind_at(self, azimuth: Tensor, down: Tensor, magnified: Tensor) -> Tensor:
        """The same of `behind`."""
        return self._seen(self.behind, self._near_behind, azimuth, down, magnified)

    def _seen(self, layer: Tensor, near: Tensor, azimuth: Tensor, down: Tensor, magnified: Tensor) -> Tensor:
        share = ((magnified - SOFT_UP_TO) / (CRISP_FROM - SOFT_UP_TO)).clamp(0, 1)[:, None]
        seen = self.look_up(layer, azimuth, down)
        return torch.lerp(seen, self.look_up(near, azimuth, down), share) if bool(share.any()) else seen

    def look_up(self, layer: Tensor, azimuth: Tensor, down: Tensor) -> Tensor:
        """Colours (B, C, H, W) of a layer in directions (B, H, W)."""
        places = torch.stack([azimuth / self.half_rad, (down + UP) * (2 * self._per_unit / self.rows) - 1], dim=-1)
        return F.grid_sample(layer, places, mode="bilinear", padding_mode="border", align_corners=False)


def _from_near(layer: Tensor) -> Tensor:
    """Colours and shares (B, 4, rows, columns) as they are seen from near: finer, and with crisp edges."""
    layer = F.interpolate(layer, scale_factor=NEAR_FINER, mode="bicubic", align_corners=False).clamp(-1, 1)
    return torch.cat([crisp(layer[:, :3]), layer[:, 3:].clamp(0, 1)], dim=1)


def crisp(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) whose edges are as narrow as pixels are, and in which all else is as it was.

    What was far away in the picture is magnified when one comes near, and with it how softly it was drawn. On the
    light side of an edge, where lightness bends down, each pixel goes over to the lightest of those around it, on the
    dark side to the darkest: a shock filter (Osher and Rudin, 1990), of whole colours.
    """
    for _ in range(CRISP_TIMES):
        light = pictures.mean(dim=1, keepdim=True)
        (most, lightest), (least, darkest) = _extremes_around(light)
        contrast, bends = most - least, light - _mean_around(light)
        chosen = torch.where(bends > 0, lightest, darkest).flatten(2)
        there = pictures.flatten(2).gather(2, chosen.expand(-1, 3, -1)).view_as(pictures)
        share = (contrast / EDGE - 1).clamp(0, 1) * (bends.abs() / (BENDS * contrast).clamp_min(1e-6)).clamp_max(1)
        pictures = torch.lerp(pictures, there, share)
    return pictures


def _extremes_around(values: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The most and the least of the values (B, 1, H, W) in [-1, 1] among those within a pixel of each, and where in H
    times W each is.

    Value and place are one whole number, whose extremes are quickly found: many times as fast as a pooling that tells
    where.
    """
    where = torch.arange(values[0].numel(), device=values.device).view(values.shape[1:])
    own, found = ((values * 2**30).long() << WHERE_BITS) + where, []
    for extreme in (torch.maximum, torch.minimum):
        around = own
        for dim in (2, 3):
            before, length = around, around.shape[dim] - 1
            around = around.clone()
            for here, beside in ((1, 0), (0, 1)):
                part = around.narrow(dim, here, length)
                extreme(part, before.narrow(dim, beside, length), out=part)
        where = around & (2**WHERE_BITS - 1)
        found.append((values.flatten(2).gather(2, where.flatten(2)).view_as(values), where))
    return found[0], found[1]


def _mean_around(values: Tensor) -> Tensor:
    """The mean of the values (B, 1, H, W) within two pixels of each."""
    sums = torch.stack([values, torch.ones_like(values)])
    for dim in (3, 4):
        before, length = sums, sums.shape[dim]
        sums = sums.clone()
        for far in (1, 2):
            sums.narrow(dim, far, length - far).add_(before.narrow(dim, 0, length - far))
            sums.narrow(dim, 0, length - far).add_(before.narrow(dim, far, length - far))
    return sums[0] / sums[1]


def _without_things(pictures: Tensor, distances: Distances, hidden: Tensor, tangent: float) -> Tensor:
    """Pictures whose things, and what is `hidden` (H, W), are filled in from around: with the sky above the horizon,
    with the ground below."""
    # Rims of things are a little of them, so they go too.
    free = F.max_pool2d(((distances.stands > STANDS) | hidden).float(), 3, stride=1, padding=1) == 0
    free = F.interpolate(free.float(), pictures.shape[-2:]) > 0.5
    y = middles(pictures.shape[2], pictures.device) * tangent
    is_sky = (y < distances.pitch_rad.tan()[:, None])[:, None, :, None].expand_as(free)
    sky, ground = (_filled(pictures, free, part) for part in (is_sky, ~is_sky))
    return torch.where(is_sky, sky, ground)


def _filled(pictures: Tensor, free: Tensor, part: Tensor) -> Tensor:
    """Pictures filled in from what is `free` in a `part` of them, (B, 1, H, W) bool; where that is nothing, as when one
    begins with one's nose against a wall, from all of the part."""
    known = free & part
    return fill_in(pictures, torch.where(known.flatten(1).any(dim=1)[:, None, None, None], known, part))


def _purely(stands: Tensor) -> Tensor:
    """Which pixels, of which things have a share `stands` (B, 1, H, W), show the colours of things alone: those at rims
    show some of what is behind as well, and one who passes sees them stretched. Of what is too narrow to have others
    all count that are more than half of it."""
    pure = stands > PURE
    return pure | (stands > INNER) & (F.max_pool2d(pure.float(), 5, stride=1, padding=2) == 0)


def _between(metres: Tensor, where: Tensor) -> Tensor:
    """Distances (B, 1, H, W) looked up at places (B, rows, columns, 2), even between pixels where they are about as far
    away, or walls would be stairs; the nearest pixel's at the edges of things."""
    nearest, even = (F.grid_sample(metres.log().clamp_max(LOG_OF_NOTHING), where, mode=mode, padding_mode="border",
                                   align_corners=False) for mode in ("nearest", "bilinear"))
    even = torch.where((even - nearest).abs() < math.log(1 + STEEP) / 2, even, nearest)
    return torch.where(nearest < LOG_OF_NOTHING, even.exp(), torch.inf)


def _thickness_m(front_m: Tensor) -> Tensor:
    """How thick what begins at (B, rows, columns) is: at least as far as what is beside it lies further back, or one
    would see through a roof from where it is steep."""
    farthest = F.max_pool2d(torch.where(front_m.isfinite(), front_m, 0.0), 3, stride=1, padding=1)
    step_m = torch.where(farthest < (1 + STEEP) * front_m, farthest - front_m, 0.0)
    return step_m + (THICK_SHARE * front_m).clamp_min(THICK_M)


def _nearest_around(metres: Tensor, known: Tensor) -> Tensor:
    """The least of the known (B, 1, H, W) distances within two pixels of each; inf where there are none."""
    return -F.max_pool2d(torch.where(known, -metres, -torch.inf), 5, stride=1, padding=2)


def on_bonnet(controls: ControlsConfig, pictures: Tensor) -> Tensor:
    """Which pixels of pictures (B, C, H, W) the bonnet hides, (H, W) bool."""
    y, x = (middles(size, pictures.device) for size in pictures.shape[2:])
    return controls.is_bonnet(x, y[:, None]).expand(len(y), -1)


def middles(count: int, device: torch.device) -> Tensor:
    """The middles of `count` cells between -1 and 1."""
    return (torch.arange(count, device=device) + 0.5) / count * 2 - 1
