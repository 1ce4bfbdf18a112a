"""Scene -> the two painted grounds of a `drive` world: the land seen from above and the road rolled out straight.

The road has a picture of its own because the land is too large for one that is fine enough. Lines and kerbs are in
neither: seen as flat as from a car, a picture blurs away what is thin, so those are geometry.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from astra_play.train.scenarios.drive_scene import WORLD_RADIUS_M, Scene, beside
from astra_play.train.scenarios.paint import GroundPlan, Shadows, lit_share, noise, rgb, shade, sow_flowers, tint

GROUND_PX = 1536
GROUND_HALF_M = 104.0
ROAD_SIZE_PX = (2048, 64)  # along and across; about 6 and 8 pixels to the metre
_PLAN = GroundPlan(GROUND_PX, GROUND_HALF_M)


def paint_grounds(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return (land, road) as (height, width, 3) uint8.

    The land has north at the top; the road runs from left to right with its left edge at the bottom.
    """
    missed = _shadows(scene)
    return _lit(_land(scene), missed, scene), _lit(_road(scene), _along_road(missed, scene), scene)


def _lit(picture: Image.Image, missed_light: np.ndarray, scene: Scene) -> np.ndarray:
    return np.rint(np.asarray(picture) * lit_share(missed_light, scene.palette)).astype(np.uint8)


def _land(scene: Scene) -> Image.Image:
    palette, size = scene.palette, (GROUND_PX, GROUND_PX)
    picture = Image.new("RGB", size, palette.grass)
    # meadows, then tufts: near the car only the small ones show that it moves
    for cells, seed, colour in ((26, 1, shade(palette.grass, 0.86)), (150, 2, tint(palette.grass, "#fff4c0", 0.16)),
                                (420, 3, shade(palette.grass, 0.84))):
        blotches = Image.fromarray(noise(cells, seed)).resize(size, Image.Resampling.BICUBIC)
        picture.paste(Image.new("RGB", size, colour), mask=blotches)
    draw = ImageDraw.Draw(picture)
    verge = shade(palette.path, 0.92) if scene.theme != "town" else palette.path
    for road in scene.side_roads:
        _stroke(draw, np.array([road.start, road.end]), road.half_width_m + 0.7, verge, closed=False)
    _stroke(draw, scene.track.line, scene.half_width_m + (2.2 if scene.theme == "circuit" else 0.8), verge)
    if scene.theme == "circuit":
        bends = np.abs(scene.track.curvature) > 1 / 24
        for (x, y), is_bend in zip(scene.track.line, bends, strict=True):
            if is_bend:
                _PLAN.disc(draw, x, y, scene.half_width_m + 4.6, palette.sand)
    for house in scene.houses:
        gap = house.half_depth_m + 1.6
        front = house.x + gap * math.cos(house.yaw_rad), house.y + gap * math.sin(house.yaw_rad)
        _stroke(draw, np.array([(house.x, house.y), front]), 0.8, palette.path, closed=False)
    sow_flowers(_PLAN, draw, scene.flowers)
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def _stroke(draw: ImageDraw.ImageDraw, line: np.ndarray, half_m: float, colour: str, closed: bool = True) -> None:
    corners = np.concatenate([line, line[:2]]) if closed else line
    draw.line([_PLAN.to_px(x, y) for x, y in corners], fill=colour, width=round(2 * half_m * _PLAN.px_per_m),
              joint="curve")


def _road(scene: Scene) -> Image.Image:
    """Return the asphalt: wheel tracks, coarse grain, and patches where it was mended."""
    width, height = ROAD_SIZE_PX
    rng = np.random.default_rng(int(scene.track.length_m * 1e3))
    across = (np.arange(height) + 0.5) / height * 2 - 1
    tracks = sum(np.exp(-((across - at) / 0.09) ** 2) for at in (-0.68, -0.28, 0.28, 0.68))
    grain = Image.fromarray((rng.random((12, 420)) * 255).astype(np.uint8)).resize(ROAD_SIZE_PX,
                                                                                  Image.Resampling.BICUBIC)
    light = 1.0 - 0.08 * tracks[:, None] + 0.22 * (np.asarray(grain) / 255 - 0.5)
    picture = Image.fromarray(np.rint(np.clip(light[..., None] * rgb(scene.asphalt), 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(8, 16))):
        left, top = rng.uniform(0, width), rng.uniform(0, 0.7 * height)
        colour = shade(scene.asphalt, 0.84) if rng.random() < 0.7 else tint(scene.asphalt, "#ffffff", 0.1)
        draw.rectangle((left, top, left + rng.uniform(8, 36), top + rng.uniform(8, 26)), fill=colour)
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def _along_road(missed: np.ndarray, scene: Scene) -> np.ndarray:
    """Return the shadows of the land as they fall on the rolled-out road, (height, width)."""
    width, height = ROAD_SIZE_PX
    index = np.arange(width) * len(scene.track.line) / width
    line, left = (np.stack([np.interp(index, np.arange(len(values) + 1), np.append(values[:, axis], values[0, axis]))
                            for axis in (0, 1)], axis=1) for values in (scene.track.line, scene.track.left))
    offset = (1 - 2 * (np.arange(height) + 0.5) / height) * scene.half_width_m  # the left edge is written last
    places = line[None] - offset[:, None, None] * left[None]
    columns = ((places[..., 0] + GROUND_HALF_M) * _PLAN.px_per_m).astype(int).clip(0, GROUND_PX - 1)
    rows = ((GROUND_HALF_M - places[..., 1]) * _PLAN.px_per_m).astype(int).clip(0, GROUND_PX - 1)
    return missed[rows, columns]


def _shadows(scene: Scene) -> np.ndarray:
    shadows = Shadows(_PLAN, scene)
    shadows.trees(scene.trees + scene.outer_trees)
    shadows.houses(scene.houses)
    for spot in scene.bushes + scene.rocks:
        shadows.sweep(spot.x, spot.y, spot.size_m, 0.0, 0.5 * spot.size_m)
    for spot in scene.cacti:
        shadows.sweep(spot.x, spot.y, 0.5 * spot.size_m, 0.0, 3.0 * spot.size_m)
    for spot in scene.lamps:
        shadows.sweep(spot.x, spot.y, 0.12, 0.0, 4.6)
    for spot in scene.signs:
        shadows.sweep(spot.x, spot.y, 0.3, 1.2, 2.0)
    for spots, half_long, half_wide, high in ((scene.parked, 2.1, 0.9, 1.2), (scene.stands, 2.4, 6.0, 3.0)):
        for spot in spots:
            shadows.block(_outline(spot.x, spot.y, spot.yaw_rad, half_long, half_wide), high)
    for x, y, yaw, half in scene.rails:
        shadows.block(_outline(x, y, yaw, half, 0.15), 0.7)
    for gate in scene.gates:
        feet = [beside(gate, side * gate.size_m) for side in (-1, 1)]
        for share in np.linspace(0, 1, 40):
            shadows.sweep(feet[0][0] * (1 - share) + feet[1][0] * share,
                          feet[0][1] * (1 - share) + feet[1][1] * share, 0.5, 4.8, 6.0)
    for angle in np.linspace(0, 2 * math.pi, 700):
        shadows.sweep((WORLD_RADIUS_M + 1.0) * math.cos(angle), (WORLD_RADIUS_M + 1.0) * math.sin(angle), 0.5, 0.0, 1.3)
    return shadows.missed_light(blur_px=1.6)


def _outline(x: float, y: float, yaw: float, half_long: float, half_wide: float) -> list[tuple[float, float]]:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return [(x + cos * a - sin * b, y + sin * a + cos * b)
            for a, b in ((half_long, half_wide), (-half_long, half_wide), (-half_long, -half_wide),
                         (half_long, -half_wide))]
