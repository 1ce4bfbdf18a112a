"""WalkControl -> frame: a person on foot in a low-poly park or town, rendered by MuJoCo.

Walking is plain geometry (a disc that slides along circles and boxes), so the same seed and controls always give the
same poses; MuJoCo only draws. The pose is (x, y, z, yaw, pitch): metres and radians, yaw positive to the left.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

import numpy as np

from astra_play.actions import rows
from astra_play.config import ControlsConfig
from astra_play.errors import DependencyError
from astra_play.train.scenarios.explore_mjcf import build_model
from astra_play.train.scenarios.explore_scene import WORLD_RADIUS_M, Obstacles, box_frame, make_scene

FPS = 16
WALK_SPEED_M_S = 3.0
STEP_M = WALK_SPEED_M_S / FPS
EYE_HEIGHT_M = 1.6
PITCH_LIMIT_RAD = 0.45
BODY_RADIUS_M = 0.6  # a nose against a wall shows one flat colour, from which nothing can be learned
BLOCKED_SHARE = 0.5  # of the commanded way; less than that was walked into something


@dataclass(frozen=True)
class WalkControl:
    """The commanded motion of one frame (1/16 s); what is walked may be less when something is in the way."""

    forward_m: float = 0.0
    right_m: float = 0.0
    yaw_left_rad: float = 0.0
    pitch_up_rad: float = 0.0

    def row(self) -> np.ndarray:
        """Return the (12,) action row of this motion."""
        return rows.camera_row(self.forward_m, self.right_m, self.yaw_left_rad, self.pitch_up_rad)

    def values(self) -> tuple[float, float, float, float]:
        """Return (forward, right, yaw left, pitch up), the order in which episodes store controls."""
        return self.forward_m, self.right_m, self.yaw_left_rad, self.pitch_up_rad

    @classmethod
    def from_keys(cls, ahead: int, right: int, yaw_left_rad: float = 0.0, pitch_up_rad: float = 0.0) -> WalkControl:
        """Return full speed in one of eight directions; `ahead` and `right` are -1, 0 or 1."""
        share = STEP_M / math.hypot(ahead, right) if ahead or right else 0.0
        return cls(ahead * share, right * share, yaw_left_rad, pitch_up_rad)


class Walker:
    """Where the person stands and looks; moves by controls and slides along obstacles."""

    def __init__(self, obstacles: Obstacles, x: float, y: float, yaw_rad: float) -> None:
        self.obstacles = obstacles
        self.x, self.y, self.yaw_rad, self.pitch_rad = x, y, yaw_rad, 0.0
        self.blocked = False

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw, pitch) as float64."""
        return np.array([self.x, self.y, EYE_HEIGHT_M, self.yaw_rad, self.pitch_rad])

    def move(self, control: WalkControl) -> None:
        """Walk in the old heading, then turn: the order in which `camera_row` writes a motion."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        step = (control.forward_m * cos + control.right_m * sin, control.forward_m * sin - control.right_m * cos)
        wanted = math.hypot(*step)
        old = self.x, self.y
        self.x, self.y = _slide(self.obstacles, old, (old[0] + step[0], old[1] + step[1]))
        self.blocked = wanted > 0 and math.hypot(self.x - old[0], self.y - old[1]) < BLOCKED_SHARE * wanted
        self.yaw_rad += control.yaw_left_rad
        self.pitch_rad = min(max(self.pitch_rad + control.pitch_up_rad, -PITCH_LIMIT_RAD), PITCH_LIMIT_RAD)


def _slide(obstacles: Obstacles, old: tuple[float, float], wanted: tuple[float, float]) -> tuple[float, float]:
    """Return the free place nearest to `wanted`, or `old` in a corner that has none."""
    x, y = wanted
    for _ in range(4):
        for cx, cy, radius in obstacles.circles:
            away, keep = math.hypot(x - cx, y - cy), radius + BODY_RADIUS_M
            if 0 < away < keep:
                x, y = cx + (x - cx) * keep / away, cy + (y - cy) * keep / away
        for box in obstacles.boxes:
            x, y = _push_out(box, x, y)
        away, keep = math.hypot(x, y), WORLD_RADIUS_M - BODY_RADIUS_M
        if away > keep:
            x, y = x * keep / away, y * keep / away
        if obstacles.clearance_m(x, y) > BODY_RADIUS_M - 1e-6:
            return x, y
    return old


def _push_out(box: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Return (x, y) moved out of a box grown by the body, along the way that needs least."""
    along, across = box_frame(box, x, y)
    near_along, near_across = min(max(along, -box[3]), box[3]), min(max(across, -box[4]), box[4])
    away = math.hypot(along - near_along, across - near_across)
    if away >= BODY_RADIUS_M:
        return x, y
    if away > 0:
        along = near_along + (along - near_along) * BODY_RADIUS_M / away
        across = near_across + (across - near_across) * BODY_RADIUS_M / away
    elif box[3] - abs(along) < box[4] - abs(across):
        along = math.copysign(box[3] + BODY_RADIUS_M, along)
    else:
        across = math.copysign(box[4] + BODY_RADIUS_M, across)
    cos, sin = math.cos(box[2]), math.sin(box[2])
    return box[0] + cos * along - sin * across, box[1] + sin * along + cos * across


class Explore:
    """The scenario: `reset(seed)` builds a world, `step(control)` moves the person; both return (H, W, 3) uint8."""

    FPS = FPS
    CONTROLS = ControlsConfig()
    IDLE = WalkControl()

    def __init__(self, width: int = 128, height: int = 96) -> None:
        if sys.platform == "linux":
            os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported; a window is never needed
        try:
            import mujoco
        except ImportError as error:
            raise DependencyError("mujoco", "The explore simulator", "train") from error
        self._mujoco = mujoco
        self.width, self.height = width, height
        self._renderer = None
        self.walker: Walker | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Build the world of `seed` and return its first frame."""
        self.close()
        scene = make_scene(seed)
        self.walker = Walker(scene.obstacles(), *scene.spawn)
        self._model = build_model(scene, self.width, self.height)
        self._data = self._mujoco.MjData(self._model)
        self._renderer = self._mujoco.Renderer(self._model, self.height, self.width)
        for flag in (self._mujoco.mjtRndFlag.mjRND_SHADOW, self._mujoco.mjtRndFlag.mjRND_REFLECTION,
                     self._mujoco.mjtRndFlag.mjRND_HAZE, self._mujoco.mjtRndFlag.mjRND_SKYBOX):
            self._renderer.scene.flags[flag] = 0
        self._mujoco.mj_forward(self._model, self._data)  # places the standing things, once
        return self._render()

    def step(self, control: WalkControl) -> np.ndarray:
        """Move by the control of one frame and return what is seen after it."""
        self.walker.move(control)
        return self._render()

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw_rad, pitch_rad) as float64."""
        return self.walker.pose

    @property
    def blocked(self) -> bool:
        """Say whether the last step walked into something."""
        return self.walker.blocked

    def close(self) -> None:
        """Free the picture memory now; mujoco's own clean-up at exit comes too late and complains."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _render(self) -> np.ndarray:
        x, y, z, yaw, pitch = self.walker.pose
        ahead = np.array([math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)])
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        self._data.cam_xpos[0] = x, y, z
        self._data.cam_xmat[0] = np.stack([right, np.cross(right, ahead), -ahead], axis=1).reshape(9)
        self._renderer.update_scene(self._data, camera=0)
        return self._renderer.render()
