"""Colours, light, shadows and the painted sky: what the pictures of all outdoor worlds share."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from astra_play.train.scenarios.scenery import TREE_SCALE, House, Palette, Spot, Tree

SKY_SIZE_PX = (512, 128)
SKY_BOTTOM_RAD = math.radians(-6)  # the dome starts below the horizon, so the ground never ends in a gap
_CROWNS = {"round": (2.5, 3.6, 1.3), "conifer": (1.2, 2.8, 1.0), "tall": (2.3, 5.1, 0.8)}  # low, high, radius in metres


class LitScene(Protocol):
    """A world with an hour of the day and a place of the sun."""

    palette: Palette
    sun_azimuth_rad: float


def rgb(colour: str) -> np.ndarray:
    """Return '#rrggbb' as three floats in [0, 1]."""
    return np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255


def tint(colour: str, towards: str, share: float) -> str:
    """Return a colour moved by `share` of the way towards another."""
    mixed = rgb(colour) * (1 - share) + rgb(towards) * share
    return "#" + "".join(f"{round(float(c) * 255):02x}" for c in mixed)


def shade(colour: str, share: float) -> str:
    """Return a colour with `share` of its light."""
    return tint("#000000", colour, share)


def paint_sky(scene: LitScene) -> np.ndarray:
    """Return the dome picture, (height, width, 3) uint8: columns are azimuth from -pi to pi, the top row is zenith."""
    palette = scene.palette
    width, height = SKY_SIZE_PX
    azimuth = (np.arange(width) + 0.5) / width * 2 * math.pi - math.pi
    up = math.pi / 2 - (np.arange(height) + 0.5) / height * (math.pi / 2 - SKY_BOTTOM_RAD)
    azimuth, up = np.meshgrid(azimuth, up)
    toward = np.stack([np.cos(up) * np.cos(azimuth), np.cos(up) * np.sin(azimuth), np.sin(up)], -1)
    rise = np.clip(np.sin(np.maximum(up, 0)) * 1.5, 0, 1)[..., None] ** 0.65
    sky = rgb(palette.sky_horizon) * (1 - rise) + rgb(palette.sky_top) * rise
    near_sun = np.clip(toward @ sun_direction(scene), 0, 1)[..., None]
    if not palette.sun_hidden:
        sky += (rgb(palette.sun) - sky) * (0.55 * near_sun**18)
    rng = np.random.default_rng(int(abs(scene.sun_azimuth_rad) * 1e6))
    cloud = np.zeros(azimuth.shape)
    for _ in range(int(rng.integers(7, 12))):
        centre, lift, size = rng.uniform(-math.pi, math.pi), rng.uniform(0.18, 0.6), rng.uniform(0.1, 0.2)
        for puff in range(5):
            along = (azimuth - centre - (puff - 2) * size * 0.55 + math.pi) % (2 * math.pi) - math.pi
            tall = size * (0.42 - 0.09 * abs(puff - 2))
            flat = up - lift
            reach = (along / (0.7 * size)) ** 2 + (flat / np.where(flat > 0, tall, 0.3 * tall)) ** 2
            cloud = np.maximum(cloud, np.clip(1.6 * (1 - reach), 0, 1))
    sky += (rgb(palette.cloud) - sky) * (0.85 * cloud[..., None])
    if not palette.sun_hidden:
        disc = np.clip((near_sun - 0.9955) / 0.0015, 0, 1)
        sky += (np.minimum(rgb(palette.sun) * 1.15, 1) - sky) * disc
    for layer, (tall, haze) in enumerate(((0.16, 0.62), (0.10, 0.38))):
        phases, waves = rng.uniform(0, 6.3, 3), (2 + layer, 5 + layer, 9)
        ridge = sum(np.sin(azimuth * wave + phase) / (1 + index)
                    for index, (wave, phase) in enumerate(zip(waves, phases, strict=True)))
        ridge = tall * (0.55 + 0.28 * ridge)
        inside = np.clip((ridge - up) / 0.012, 0, 1)[..., None]
        sky += (rgb(tint(palette.far_hill, palette.sky_horizon, haze)) - sky) * inside
    return np.rint(np.clip(sky, 0, 1) * 255).astype(np.uint8)


def sun_direction(scene: LitScene, lowest_deg: float = 0.0) -> np.ndarray:
    """Return the unit vector that points at the sun, or at a lamp in its direction that never sinks too low."""
    lift = math.radians(max(scene.palette.sun_elevation_deg, lowest_deg))
    return np.array([math.cos(lift) * math.cos(scene.sun_azimuth_rad),
                     math.cos(lift) * math.sin(scene.sun_azimuth_rad), math.sin(lift)])


def noise(cells: int, seed: int) -> np.ndarray:
    """Return (cells, cells) uint8 of even noise, to be enlarged into blotches."""
    return (np.random.default_rng(seed).random((cells, cells)) * 255).astype(np.uint8)


class GroundPlan:
    """A square picture of the ground with the origin in its middle and north at the top; metres to pixels."""

    def __init__(self, side_px: int, half_m: float) -> None:
        self.side_px, self.half_m = side_px, half_m
        self.px_per_m = side_px / (2 * half_m)

    def to_px(self, x: float, y: float) -> tuple[float, float]:
        """Return (column, row) of a place."""
        return (x + self.half_m) * self.px_per_m, (self.half_m - y) * self.px_per_m

    def disc(self, draw: ImageDraw.ImageDraw, x: float, y: float, radius_m: float, fill: str | int) -> None:
        """Draw a filled circle."""
        column, row = self.to_px(x, y)
        radius = radius_m * self.px_per_m
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=fill)


class Shadows:
    """Collects what things keep from the sun, each as its outline swept away from the sun while it rises."""

    def __init__(self, plan: GroundPlan, scene: LitScene) -> None:
        self._plan = plan
        self._mask = Image.new("L", (plan.side_px, plan.side_px), 0)
        self._draw = ImageDraw.Draw(self._mask)
        slope = min(1 / math.tan(math.radians(scene.palette.sun_elevation_deg)), 1.6)
        self._cast = np.array([-math.cos(scene.sun_azimuth_rad), -math.sin(scene.sun_azimuth_rad)]) * slope

    def sweep(self, x: float, y: float, radius: float, low_m: float, high_m: float) -> None:
        """Shade what an upright cylinder between two heights shades."""
        for lift in np.linspace(low_m, high_m, 7):
            self._plan.disc(self._draw, x + self._cast[0] * lift, y + self._cast[1] * lift, radius, 255)

    def block(self, outline: list[tuple[float, float]], high_m: float) -> None:
        """Shade what a block of this outline shades."""
        for lift in np.linspace(0, high_m, 12):
            self._draw.polygon([self._plan.to_px(x + self._cast[0] * lift, y + self._cast[1] * lift)
                                for x, y in outline], fill=255)

    def trees(self, trees: list[Tree]) -> None:
        """Shade what trees shade: trunk and crown."""
        for tree in trees:
            scale = TREE_SCALE[tree.size]
            self.sweep(tree.x, tree.y, 0.18, 0.0, 1.5 * scale)
            low, high, radius = _CROWNS[tree.kind]
            self.sweep(tree.x, tree.y, radius * scale, low * scale, high * scale)

    def houses(self, houses: list[House]) -> None:
        """Shade what houses shade."""
        for house in houses:
            self.block(house_corners(house), house.wall_m + 0.5 * house.roof_m)

    def missed_light(self, blur_px: float) -> np.ndarray:
        """Return how much of the sun each pixel of the ground misses, (side, side) in [0, 1]."""
        return np.asarray(self._mask.filter(ImageFilter.GaussianBlur(blur_px)), dtype=np.float64) / 255


def lit_share(missed_light: np.ndarray, palette: Palette) -> np.ndarray:
    """Return what is left of the colours (..., 3) of a ground that misses so much (...) of the sun: shade is bluish."""
    return 1 - missed_light[..., None] * (1 - rgb("#46506e")) * (0.75 * palette.sun_strength)


def sow_flowers(plan: GroundPlan, draw: ImageDraw.ImageDraw, flowers: list[Spot]) -> None:
    """Dot the ground with the blossoms of each patch."""
    dots = np.random.default_rng(2)
    for spot in flowers:
        for _ in range(26):
            angle, away = dots.uniform(0, 6.3), spot.size_m * math.sqrt(dots.random())
            plan.disc(draw, spot.x + away * math.cos(angle), spot.y + away * math.sin(angle), 0.13, spot.colour)


def house_corners(house: House, grow_m: float = 0.15) -> list[tuple[float, float]]:
    """Return the four corners of a house's outline, a little larger than its walls."""
    cos, sin = math.cos(house.yaw_rad), math.sin(house.yaw_rad)
    depth, width = house.half_depth_m + grow_m, house.half_width_m + grow_m
    return [(house.x + cos * a - sin * b, house.y + sin * a + cos * b)
            for a, b in ((depth, width), (-depth, width), (-depth, -width), (depth, -width))]
