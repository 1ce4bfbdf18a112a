"""Scene -> the painted ground of an `explore` world, seen from above.

Shadows, paths and ponds live in the ground picture: a real shadow pass costs more than the rest of the frame, and a
painted one cannot flicker.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from astra_play.train.scenarios.explore_scene import WORLD_RADIUS_M, Scene
from astra_play.train.scenarios.paint import GroundPlan, Shadows, lit_share, noise, shade, sow_flowers, tint

GROUND_PX = 1024
GROUND_HALF_M = 36.0
_PLAN = GroundPlan(GROUND_PX, GROUND_HALF_M)


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
            pixels = [_PLAN.to_px(x, y) for x, y in line]
            draw.line(pixels, fill=colour, width=round(2 * (half + rim) * _PLAN.px_per_m), joint="curve")
            for x, y in line:
                _PLAN.disc(draw, x, y, half + rim, colour)
        for x, y, radius in scene.plazas:
            _PLAN.disc(draw, x, y, radius + rim, colour)
    for x, y, radius in scene.plazas:
        _PLAN.disc(draw, x, y, 0.72 * radius, shade(palette.path, 0.9))
        _PLAN.disc(draw, x, y, 0.66 * radius, palette.path)
    for grow, colour in ((0.55, palette.sand), (0.0, shade(palette.water, 0.85)), (-0.35, palette.water),
                         (-1.3, tint(palette.water, palette.sky_horizon, 0.25))):
        for x, y, radius in scene.ponds:
            if radius + grow > 0:
                _PLAN.disc(draw, x, y, radius + grow, colour)
    sow_flowers(_PLAN, draw, scene.flowers)
    picture = picture.filter(ImageFilter.GaussianBlur(0.7))
    return np.rint(np.asarray(picture) * lit_share(_paint_shadows(scene), palette)).astype(np.uint8)


def _paint_shadows(scene: Scene) -> np.ndarray:
    """Return how much of the sun each ground pixel misses, (GROUND_PX, GROUND_PX) in [0, 1]."""
    shadows = Shadows(_PLAN, scene)
    shadows.trees(scene.trees + scene.outer_trees)
    shadows.houses(scene.houses)
    for spot in scene.bushes + scene.rocks:
        shadows.sweep(spot.x, spot.y, spot.size_m, 0.0, 0.5 * spot.size_m)
    for spot in scene.landmarks:
        shadows.sweep(spot.x, spot.y, 0.6, 0.0, 3.0)
    for spot in scene.benches:
        shadows.sweep(spot.x, spot.y, 0.5, 0.0, 0.4)
    for spot in scene.lamps:
        shadows.sweep(spot.x, spot.y, 0.1, 0.0, 2.6)
    for angle in np.linspace(0, 2 * math.pi, 240):
        shadows.sweep((WORLD_RADIUS_M + 0.7) * math.cos(angle), (WORLD_RADIUS_M + 0.7) * math.sin(angle), 0.5, 0.0, 1.3)
    return shadows.missed_light(blur_px=3.0)
