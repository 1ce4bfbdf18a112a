"""Arm's state -> its fingers, blocks, their shadows and the camera's place in the picture just drawn.

The truth that the finder of these things learns from (codec/tabletop.py), whose names and units are used here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astra_play.codec.hand_points import POINTS_M
from astra_play.train.scenarios.arm_scene import AIM_UP_M, BLOCK_HALF_M, VERTICAL_FOV_DEG, ArmScene
from astra_play.train.scenarios.arm_shadow import places_on_table

MIDDLE_PX = 1.5  # how wide the mark of a block's middle is, one standard deviation


@dataclass(frozen=True)
class Things:
    """Where things are, in metres along the player's axes, from the middle of the workspace on the table top.

    `hand` (3,): the point between its fingertips; `opening_m`: of each finger; `blocks` (K, 3): their middles; `axes`
    (K, 3, 3): the directions of each block's edges, one a row.
    """

    hand: np.ndarray
    opening_m: float
    blocks: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class TabletopTruth:
    """The fields of `codec.tabletop.Tabletop` as the simulator has them, of one picture.

    Shares (., H, W) bool, but `middles` (1, H, W) float64; `points` (5, 2) and the facts float64.
    """

    fingers: np.ndarray
    blocks: np.ndarray
    shadows: np.ndarray
    middles: np.ndarray
    points: np.ndarray
    opening_m: float
    depth_m: float
    lift_rad: float
    eye_height_m: float


class Eye:
    """The camera of a scene: metres along the player's axes -> places in a picture."""

    def __init__(self, scene: ArmScene, width: int, height: int) -> None:
        self.lift_rad = math.radians(scene.elevation_deg)
        sin, cos = math.sin(self.lift_rad), math.cos(self.lift_rad)
        self.place = np.array([0.0, -scene.distance_m * cos, AIM_UP_M + scene.distance_m * sin])
        self._axes = np.array([[1.0, 0.0, 0.0], [0.0, -sin, -cos], [0.0, cos, -sin]])  # rows right, down, ahead
        tangent = math.tan(math.radians(VERTICAL_FOV_DEG) / 2)
        self._limits = np.array([tangent * width / height, tangent])

    def see(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) -> places (..., 2), x and y in [-1, 1] if in view, and metres ahead of the camera (...)."""
        seen = (points - self.place) @ self._axes.T
        return seen[..., :2] / seen[..., 2:] / self._limits, seen[..., 2]


def tabletop_truth(scene: ArmScene, things: Things, shown: np.ndarray, fingers: Sequence[int],
                   blocks: Sequence[int]) -> TabletopTruth:
    """Return what is to be found in a picture.

    `shown` (H, W): the number of the body that each pixel shows; `fingers` (left and right) and `blocks`: theirs.
    """
    height, width = shown.shape
    eye = Eye(scene, width, height)
    visible = [index for index, body in enumerate(blocks) if (shown == body).any()]
    to_lamp = np.array(scene.room.light_from) / np.linalg.norm(scene.room.light_from)
    places = places_on_table(scene, width, height)
    dark = [box_shadow(places, to_lamp, middle, axes) for middle, axes in zip(things.blocks, things.axes, strict=True)]
    middles, _ = eye.see(things.blocks[visible])
    _, depth_m = eye.see(things.hand)
    return TabletopTruth(
        shown == np.array(fingers)[:, None, None], np.isin(shown, blocks)[None], np.any(dark, axis=0)[None],
        marks(middles, width, height)[None], eye.see(things.hand + np.array(POINTS_M))[0],
        things.opening_m, float(depth_m), eye.lift_rad, float(eye.place[2]))


def box_shadow(places: np.ndarray, to_lamp: np.ndarray, middle: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Say from which places (H, W, 2) of the table a block hides the lamp, (H, W) bool.

    The slab test (Kay and Kajiya, "Ray tracing complex scenes", 1986): a ray meets a box while it is between each of
    three pairs of planes.
    """
    starts = (np.concatenate([places, np.zeros_like(places[..., :1])], axis=-1) - middle) @ axes.T
    ray = axes @ to_lamp
    ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
    ends = np.stack([(-BLOCK_HALF_M - starts) / ray, (BLOCK_HALF_M - starts) / ray])
    enters, leaves = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
    return (enters <= leaves) & (leaves > 0)


def marks(places: np.ndarray, width: int, height: int) -> np.ndarray:
    """Soft spots (H, W) in [0, 1] about places (K, 2) of a picture."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    made = np.zeros((height, width))
    for place in places:
        off_x, off_y = x - (place[0] + 1) / 2 * width, y - (place[1] + 1) / 2 * height
        made = np.maximum(made, np.exp(-(off_x**2 + off_y**2) / (2 * MIDDLE_PX**2)))
    return made
