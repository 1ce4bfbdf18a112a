"""Colours, light and the painted sky: what the pictures of all outdoor worlds share."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from astra_play.train.scenarios.scenery import House, Palette

SKY_SIZE_PX = (512, 128)
SKY_BOTTOM_RAD = math.radians(-6)  # the dome starts below the horizon, so the ground never ends in a gap


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


def house_corners(house: House, grow_m: float = 0.15) -> list[tuple[float, float]]:
    """Return the four corners of a house's outline, a little larger than its walls."""
    cos, sin = math.cos(house.yaw_rad), math.sin(house.yaw_rad)
    depth, width = house.half_depth_m + grow_m, house.half_width_m + grow_m
    return [(house.x + cos * a - sin * b, house.y + sin * a + cos * b)
            for a, b in ((depth, width), (-depth, width), (-depth, -width), (depth, -width))]
