"""WalkControl -> frame: a person on foot in a low-poly park or town, rendered by MuJoCo.

Walking is plain geometry (a disc that slides along circles and boxes), so the same seed and controls always give the
same poses; MuJoCo only draws. The pose is (x, y, z, yaw, pitch): metres and radians, yaw positive to the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astra_play.actions import rows
from astra_play.config import ControlsConfig
from astra_play.train.scenarios.drawing import distances_drawn, import_mujoco, plain_renderer
from astra_play.train.scenarios.explore_mjcf import VERTICAL_FOV_DEG, build_model
from astra_play.train.scenarios.explore_scene import make_scene
from astra_play.train.scenarios.scenery import Obstacles, slide

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
        self.x, self.y = slide(self.obstacles, old, (old[0] + step[0], old[1] + step[1]), BODY_RADIUS_M)
        self.blocked = wanted > 0 and math.hypot(self.x - old[0], self.y - old[1]) < BLOCKED_SHARE * wanted
        self.yaw_rad += control.yaw_left_rad
        self.pitch_rad = min(max(self.pitch_rad + control.pitch_up_rad, -PITCH_LIMIT_RAD), PITCH_LIMIT_RAD)


class Explore:
    """The scenario: `reset(seed)` builds a world, `step(control)` moves the person; both return (H, W, 3) uint8."""

    FPS = FPS
    CONTROLS = ControlsConfig(vertical_fov_deg=float(VERTICAL_FOV_DEG), other_depths_m=(4.0, 0.0))
    IDLE = WalkControl()

    def __init__(self, width: int = 128, height: int = 96) -> None:
        self._mujoco = import_mujoco("The explore simulator")
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
        self._renderer = plain_renderer(self._mujoco, self._model, self.width, self.height)
        self._mujoco.mj_forward(self._model, self._data)  # places the standing things, once
        return self._draw()

    def row(self, control: WalkControl) -> np.ndarray:
        """Return the action row of a control."""
        return control.row()

    def step(self, control: WalkControl) -> np.ndarray:
        """Move by the control of one frame and return what is seen after it."""
        self.walker.move(control)
        return self._draw()

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw_rad, pitch_rad) as float64."""
        return self.walker.pose

    @property
    def blocked(self) -> bool:
        """Say whether the last step walked into something."""
        return self.walker.blocked

    def distances(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what stands on the ground in the present frame, (H, W) bool, how far away along the ground what each
        pixel shows is, in metres (H, W), and the pitch in radians: the truth of codec/distances.py."""
        return distances_drawn(self._renderer, self._draw, self.CONTROLS, self.walker.pitch_rad)

    def close(self) -> None:
        """Free the picture memory now; mujoco's own clean-up at exit comes too late and complains."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _draw(self) -> np.ndarray:
        x, y, z, yaw, pitch = self.walker.pose
        ahead = np.array([math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)])
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        self._data.cam_xpos[0] = x, y, z
        self._data.cam_xmat[0] = np.stack([right, np.cross(right, ahead), -ahead], axis=1).reshape(9)
        self._renderer.update_scene(self._data, camera=0)
        return self._renderer.render()
