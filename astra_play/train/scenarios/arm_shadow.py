"""Arm's state -> the shadow of the robot on its table: from every place of the table a ray is sent to the lamp.

The truth that a shadow finder learns from (codec/shadow.py). Pictures would not do: they hide the shadow behind the
hand, and break it on blocks and at the table's edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astra_play.train.scenarios.arm_mjcf import (
    BODYWORK_GROUP,
    FILL_DIRECTION,
    FILL_SHARE,
    ROUND_TABLE_RADIUS_M,
    TABLE_HALF_M,
)
from astra_play.train.scenarios.arm_scene import AIM_UP_M, VERTICAL_FOV_DEG, ArmScene
from astra_play.train.scenarios.drawing import import_mujoco
from astra_play.train.scenarios.paint import rgb

if TYPE_CHECKING:
    import mujoco

NUM_GROUPS = 6  # of MuJoCo's shapes
ABOVE_M = 0.001  # where rays start: over mats and plates, which are flat


@dataclass(frozen=True)
class ShadowTruth:
    """The fields of `codec.shadow.CastShadow` as the simulator has them.

    `share` (H, W) bool, `table` (H, W) bool, `light` (3,) and `slant` (2,) float64.
    """

    share: np.ndarray
    table: np.ndarray
    light: np.ndarray
    slant: np.ndarray


def places_on_table(scene: ArmScene, width: int, height: int) -> np.ndarray:
    """Where on the plane of the table top each pixel looks, (H, W, 2) metres right and away in the player's axes."""
    lift = math.radians(scene.elevation_deg)
    tangent = math.tan(math.radians(VERTICAL_FOV_DEG) / 2)
    x, y = np.meshgrid(((np.arange(width) + 0.5) / width * 2 - 1) * tangent * width / height,
                       ((np.arange(height) + 0.5) / height * 2 - 1) * tangent)
    down = math.sin(lift) + y * math.cos(lift)
    away = math.cos(lift) - y * math.sin(lift)
    eye_away_m, eye_up_m = -scene.distance_m * math.cos(lift), AIM_UP_M + scene.distance_m * math.sin(lift)
    if down.min() <= 0:
        raise ValueError("the camera sees the horizon, where the table has no places")
    return np.stack([x, away], axis=-1) * (eye_up_m / down)[..., None] + (0.0, eye_away_m)


def shadow_truth(model: mujoco.MjModel, data: mujoco.MjData, scene: ArmScene, origin_m: np.ndarray, axes: np.ndarray,
                 width: int, height: int) -> ShadowTruth:
    """Follow the light back from every place of the table. `origin_m` (3,) and `axes` (3, 3): the player's, rows right,
    away and up, in the robot's world."""
    mujoco = import_mujoco("The arm simulator")
    to_lamp = np.array(scene.room.light_from) / np.linalg.norm(scene.room.light_from)
    places = places_on_table(scene, width, height)
    starts = np.concatenate([places, np.full((height, width, 1), ABOVE_M)], axis=-1).reshape(-1, 3) @ axes + origin_m
    groups, hit = np.zeros(NUM_GROUPS, np.uint8), np.zeros(1, np.int32)
    groups[BODYWORK_GROUP] = 1
    ray = to_lamp @ axes
    dark = [mujoco.mj_ray(model, data, start, ray, groups, 1, -1, hit) >= 0 for start in starts]
    right, away = np.moveaxis(places, -1, 0)
    half_right, half_away, _ = TABLE_HALF_M
    table = np.hypot(right, away) <= ROUND_TABLE_RADIUS_M if scene.round_table \
        else (np.abs(right) <= half_right) & (np.abs(away) <= half_away)
    return ShadowTruth(np.array(dark).reshape(height, width), table, light_left(scene), -to_lamp[:2] / to_lamp[2])


def light_left(scene: ArmScene) -> np.ndarray:
    """What the lamp's shadow leaves of each colour of the table, which faces up, (3,): Lambert's law for both lights.
    """
    room = scene.room
    lamp = rgb(room.light) * room.light_strength
    rest = rgb(room.ambient) + FILL_SHARE * lamp * -FILL_DIRECTION[2] / math.hypot(*FILL_DIRECTION)
    return rest / (rest + lamp * room.light_from[2] / math.hypot(*room.light_from))
