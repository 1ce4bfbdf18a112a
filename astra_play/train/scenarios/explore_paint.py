"""Scene -> the painted ground of an `explore` world, seen from above.

Shadows, paths and ponds live in the ground picture: a real shadow pass costs more than the rest of the frame, and a
painted one cannot flicker.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from astra_play.train.scenarios.explore_scene import WORLD_RADIUS_M, Scene
from astra_play.train.scenarios.paint import house_corners, noise, rgb, shade, tint
from astra_play.train.scenarios.scenery import TREE_SCALE

GROUND_PX = 1024
GROUND_HALF_M = 36.0
_PX_PER_M = GROUND_PX / (2 * GROUND_HALF_M)


def paint_ground(scene: Scene) -> np.ndarray:
    """Return the ground seen from above, (GROUND_PX, GROUND_PX, 3) uint8, north at the top."""
    palette = scene.palette
    picture = Image.new("RGB", (GROUND_PX, GROUND_PX), palette.grass)
    blotches = Image.fromarray(noise(16, seed=1)).resize(picture.size, Image.Resampling.BICUBIC)
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


def _to_px(x: float, y: float) -> tuple[float, float]:
    return (x + GROUND_HALF_M) * _PX_PER_M, (GROUND_HALF_M - y) * _PX_PER_M


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius_m: float, fill: str | int) -> None:
    column, row = _to_px(x, y)
    radius = radius_m * _PX_PER_M
    draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=fill)


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
