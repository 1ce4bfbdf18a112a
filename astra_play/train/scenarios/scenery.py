"""What the painted outdoor worlds are made of: palettes, things that stand about, and the obstacles that they are.

World axes: x east, y north, z up; yaw is counted from +x towards +y, so a positive turn is to the left. Metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TREE_SCALE = (0.85, 1.05, 1.3)  # of the three meshes of each kind of tree


@dataclass(frozen=True)
class Palette:
    """The colours and the light of one hour of one season; every colour is '#rrggbb'."""

    name: str
    sky_top: str
    sky_horizon: str
    cloud: str
    sun_elevation_deg: float
    sun: str
    sun_strength: float
    ambient: str
    grass: str
    path: str
    sand: str
    water: str
    hedge: str
    trunk: str
    stone: str
    far_hill: str
    leaves: tuple[str, ...]
    conifer: tuple[str, ...]
    walls: tuple[str, ...]
    roofs: tuple[str, ...]
    flowers: tuple[str, ...]
    glass: str
    lamps_lit: bool = False
    sun_hidden: bool = False


@dataclass(frozen=True)
class House:
    """A box with a roof; local +x is the front, which faces the street."""

    x: float
    y: float
    yaw_rad: float
    half_depth_m: float
    half_width_m: float
    wall_m: float
    roof_m: float
    gabled: bool
    wall: str
    roof: str


@dataclass(frozen=True)
class Tree:
    """`kind` is round, conifer or tall; `size` picks one of the three meshes of its kind."""

    x: float
    y: float
    kind: str
    size: int
    colour: str
    turn_rad: float


@dataclass(frozen=True)
class Spot:
    """A small thing: bush, rock, lamp, bench, flowers or landmark (`variant` says which)."""

    x: float
    y: float
    yaw_rad: float
    size_m: float
    colour: str
    variant: int = 0


@dataclass
class Obstacles:
    """What cannot be entered: circles (N, 3) of x, y, radius and boxes (M, 5) of x, y, yaw, half x, half y.

    `border_m` is the radius of the disc around the origin that cannot be left.
    """

    circles: np.ndarray
    boxes: np.ndarray
    border_m: float

    def clearance_m(self, x: float, y: float) -> float:
        """Return the distance from (x, y) to the nearest obstacle or the border; negative means inside."""
        nearest = self.border_m - math.hypot(x, y)
        if len(self.circles):
            gaps = np.hypot(self.circles[:, 0] - x, self.circles[:, 1] - y) - self.circles[:, 2]
            nearest = min(nearest, float(gaps.min()))
        for box in self.boxes:
            along, across = box_frame(box, x, y)
            out_x, out_y = abs(along) - box[3], abs(across) - box[4]
            outside = math.hypot(max(out_x, 0.0), max(out_y, 0.0))
            nearest = min(nearest, outside if outside > 0 else max(out_x, out_y))
        return nearest


def box_frame(box: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Return (x, y) in the axes of one obstacle box."""
    cos, sin = math.cos(box[2]), math.sin(box[2])
    dx, dy = x - box[0], y - box[1]
    return cos * dx + sin * dy, -sin * dx + cos * dy


def slide(obstacles: Obstacles, old: tuple[float, float], wanted: tuple[float, float],
          body_m: float) -> tuple[float, float]:
    """Return the free place nearest to `wanted` for a disc of radius `body_m`, or `old` in a corner that has none."""
    x, y = wanted
    for _ in range(4):
        for cx, cy, radius in obstacles.circles:
            away, keep = math.hypot(x - cx, y - cy), radius + body_m
            if 0 < away < keep:
                x, y = cx + (x - cx) * keep / away, cy + (y - cy) * keep / away
        for box in obstacles.boxes:
            x, y = _push_out(box, x, y, body_m)
        away, keep = math.hypot(x, y), obstacles.border_m - body_m
        if away > keep:
            x, y = x * keep / away, y * keep / away
        if obstacles.clearance_m(x, y) > body_m - 1e-6:
            return x, y
    return old


def _push_out(box: np.ndarray, x: float, y: float, body_m: float) -> tuple[float, float]:
    """Return (x, y) moved out of a box grown by the body, along the way that needs least."""
    along, across = box_frame(box, x, y)
    near_along, near_across = min(max(along, -box[3]), box[3]), min(max(across, -box[4]), box[4])
    away = math.hypot(along - near_along, across - near_across)
    if away >= body_m:
        return x, y
    if away > 0:
        along = near_along + (along - near_along) * body_m / away
        across = near_across + (across - near_across) * body_m / away
    elif box[3] - abs(along) < box[4] - abs(across):
        along = math.copysign(box[3] + body_m, along)
    else:
        across = math.copysign(box[4] + body_m, across)
    cos, sin = math.cos(box[2]), math.sin(box[2])
    return box[0] + cos * along - sin * across, box[1] + sin * along + cos * across
