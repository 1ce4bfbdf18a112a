"""Scene -> the two painted pictures of a world: the ground from above and the sky all around.

Shadows, paths and ponds live in the ground picture: a real shadow pass costs more than the rest of the frame, and a
painted one cannot flicker.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from astra_play.train.scenarios.explore_scene import TREE_SCALE, WORLD_RADIUS_M, House, Scene

GROUND_PX = 1024
GROUND_HALF_M = 36.0
SKY_SIZE_PX = (512, 128)
SKY_BOTTOM_RAD = math.radians(-6)  # the dome starts below the horizon, so the ground never ends in a gap
_PX_PER_M = GROUND_PX / (2 * GROUND_HALF_M)


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


def paint_ground(scene: Scene) -> np.ndarray:
    """Return the ground seen from above, (GROUND_PX, GROUND_PX, 3) uint8, north at the top."""
    palette = scene.palette
    picture = Image.new("RGB", (GROUND_PX, GROUND_PX), palette.grass)
    blotches = Image.fromarray(_noise(16, seed=1)).resize(picture.size, Image.Resampling.BICUBIC)
    darker = Image.new("RGB", picture.size, shade(palette.grass, 0.86))
    picture.paste(darker, mask=blotches)
    draw = ImageDraw.Draw(picture)
    for rim, colour in ((0.22, shade(palette.path, 0.82)), (0.0, palette.path)):
        for line, half in scene.paths:
            pixels = [_to_px(x, y) for x, y in line]
            draw.line(pixels, fill=colour, width=round(2 * (half + rim) * _PX_PER_M), joint="curve")
            for x, y in line:
                _disc(draw, x, y, half + rim, colour)
        for x, y, radius in scene.plazas:
            _disc(draw, x, y, radius + rim, colour)
    for x, y, radius in scene.plazas:
        _disc(draw, x, y, 0.72 * radius, shade(palette.path, 0.9))
        _disc(draw, x, y, 0.66 * radius, palette.path)
    for grow, colour in ((0.55, palette.sand), (0.0, shade(palette.water, 0.85)), (-0.35, palette.water),
                         (-1.3, tint(palette.water, palette.sky_horizon, 0.25))):
        for x, y, radius in scene.ponds:
            if radius + grow > 0:
                _disc(draw, x, y, radius + grow, colour)
    dots = np.random.default_rng(2)
    for spot in scene.flowers:
        for _ in range(26):
            angle, away = dots.uniform(0, 6.3), spot.size_m * math.sqrt(dots.random())
            _disc(draw, spot.x + away * math.cos(angle), spot.y + away * math.sin(angle), 0.13, spot.colour)
    picture = picture.filter(ImageFilter.GaussianBlur(0.7))
    light = 1 - _paint_shadows(scene)[..., None] * (1 - rgb("#46506e")) * (0.75 * palette.sun_strength)
    return np.rint(np.asarray(picture) * light).astype(np.uint8)


def paint_sky(scene: Scene) -> np.ndarray:
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


def sun_direction(scene: Scene, lowest_deg: float = 0.0) -> np.ndarray:
    """Return the unit vector that points at the sun, or at a lamp in its direction that never sinks too low."""
    lift = math.radians(max(scene.palette.sun_elevation_deg, lowest_deg))
    return np.array([math.cos(lift) * math.cos(scene.sun_azimuth_rad),
                     math.cos(lift) * math.sin(scene.sun_azimuth_rad), math.sin(lift)])


def _to_px(x: float, y: float) -> tuple[float, float]:
    return (x + GROUND_HALF_M) * _PX_PER_M, (GROUND_HALF_M - y) * _PX_PER_M


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius_m: float, fill: str | int) -> None:
    column, row = _to_px(x, y)
    radius = radius_m * _PX_PER_M
    draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=fill)


def _noise(cells: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((cells, cells)) * 255).astype(np.uint8)


def _paint_shadows(scene: Scene) -> np.ndarray:
    """Return how much of the sun each ground pixel misses, (GROUND_PX, GROUND_PX) in [0, 1]."""
    mask = Image.new("L", (GROUND_PX, GROUND_PX), 0)
    draw = ImageDraw.Draw(mask)
    slope = min(1 / math.tan(math.radians(scene.palette.sun_elevation_deg)), 1.6)
    cast = np.array([-math.cos(scene.sun_azimuth_rad), -math.sin(scene.sun_azimuth_rad)]) * slope

    def sweep(x: float, y: float, radius: float, low_m: float, high_m: float) -> None:
        for lift in np.linspace(low_m, high_m, 7):
            _disc(draw, x + cast[0] * lift, y + cast[1] * lift, radius, 255)

    for tree in scene.trees + scene.outer_trees:
        scale = TREE_SCALE[tree.size]
        sweep(tree.x, tree.y, 0.18, 0.0, 1.5 * scale)
        low, high, radius = {"round": (2.5, 3.6, 1.3), "conifer": (1.2, 2.8, 1.0), "tall": (2.3, 5.1, 0.8)}[tree.kind]
        sweep(tree.x, tree.y, radius * scale, low * scale, high * scale)
    for house in scene.houses:
        outline = house_corners(house)
        for lift in np.linspace(0, house.wall_m + 0.5 * house.roof_m, 12):
            draw.polygon([_to_px(x + cast[0] * lift, y + cast[1] * lift) for x, y in outline], fill=255)
    for spot in scene.bushes + scene.rocks:
        sweep(spot.x, spot.y, spot.size_m, 0.0, 0.5 * spot.size_m)
    for spot in scene.landmarks:
        sweep(spot.x, spot.y, 0.6, 0.0, 3.0)
    for spot in scene.benches:
        sweep(spot.x, spot.y, 0.5, 0.0, 0.4)
    for spot in scene.lamps:
        sweep(spot.x, spot.y, 0.1, 0.0, 2.6)
    for angle in np.linspace(0, 2 * math.pi, 240):
        sweep((WORLD_RADIUS_M + 0.7) * math.cos(angle), (WORLD_RADIUS_M + 0.7) * math.sin(angle), 0.5, 0.0, 1.3)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(3.0)), dtype=np.float64) / 255


def house_corners(house: House, grow_m: float = 0.15) -> list[tuple[float, float]]:
    """Return the four corners of a house's outline, a little larger than its walls."""
    cos, sin = math.cos(house.yaw_rad), math.sin(house.yaw_rad)
    depth, width = house.half_depth_m + grow_m, house.half_width_m + grow_m
    return [(house.x + cos * a - sin * b, house.y + sin * a + cos * b)
            for a, b in ((depth, width), (-depth, width), (-depth, -width), (depth, -width))]
