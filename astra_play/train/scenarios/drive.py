"""DriveControl -> frame: the view from the driver's seat of a car on a low-poly road, rendered by MuJoCo.

A control is a motion that `actions.vehicle.Car` made from pedals and steering; the world moves the car by it and lets
it slide along what stands in its way, so the same seed and controls always give the same poses. MuJoCo only draws. The
pose is (x, y, z, yaw, speed): metres, radians positive to the left, and metres per second really driven.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astra_play.actions import rows, vehicle
from astra_play.config import ControlsConfig
from astra_play.train.scenarios.drawing import distances_drawn, import_mujoco, plain_renderer
from astra_play.train.scenarios.drive_mjcf import EYE_HEIGHT_M, VERTICAL_FOV_DEG, build_model
from astra_play.train.scenarios.drive_scene import Scene, make_scene
from astra_play.train.scenarios.scenery import Obstacles, slide

FPS = 16
FRAME_S = 1 / FPS
BODY_RADIUS_M = 1.45  # the eye is in the middle of the car: what is hit stands just before the bonnet
BLOCKED_SHARE = 0.5  # of the commanded way; less than that was driven into something


@dataclass(frozen=True)
class DriveControl:
    """The commanded motion of one frame in the axes of the car before it; less is driven when something is in the way.
    """

    forward_m: float = 0.0
    left_m: float = 0.0
    yaw_left_rad: float = 0.0

    def row(self) -> np.ndarray:
        """Return the (7,) action row of this motion."""
        return rows.vehicle_row(self.forward_m, self.left_m, self.yaw_left_rad)

    def values(self) -> tuple[float, float, float]:
        """Return (forward, left, yaw left), the order in which episodes store controls."""
        return self.forward_m, self.left_m, self.yaw_left_rad

    @classmethod
    def from_pedals(cls, car: vehicle.Car, throttle: float, steer: float) -> DriveControl:
        """Drive `car` for one frame and return the motion that it makes."""
        return cls(*car.step(throttle, steer, FRAME_S))


class Ride:
    """Where the car is in a world; moves by controls and slides along obstacles. Draws nothing."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.obstacles = scene.obstacles()
        self.x, self.y, self.yaw_rad = scene.spawn
        self.speed_m_s, self.blocked = 0.0, False

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw, speed) as float64."""
        return np.array([self.x, self.y, EYE_HEIGHT_M, self.yaw_rad, self.speed_m_s])

    def move(self, control: DriveControl) -> None:
        """Shift the car in its old axes, then turn it: the order in which `vehicle_row` writes a motion."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        step = (control.forward_m * cos - control.left_m * sin, control.forward_m * sin + control.left_m * cos)
        wanted, old = math.hypot(*step), (self.x, self.y)
        near = _near(self.obstacles, *old, BODY_RADIUS_M + wanted + 1.0)
        self.x, self.y = slide(near, old, (old[0] + step[0], old[1] + step[1]), BODY_RADIUS_M)
        driven = math.hypot(self.x - old[0], self.y - old[1])
        self.blocked = wanted > 0 and driven < BLOCKED_SHARE * wanted
        self.speed_m_s = ((self.x - old[0]) * cos + (self.y - old[1]) * sin) * FPS
        self.yaw_rad += control.yaw_left_rad


def _near(obstacles: Obstacles, x: float, y: float, reach_m: float) -> Obstacles:
    """Return only the obstacles within reach of a place; a road has hundreds of others."""
    circles, boxes = obstacles.circles, obstacles.boxes
    by_circle = np.hypot(circles[:, 0] - x, circles[:, 1] - y) < circles[:, 2] + reach_m
    by_box = np.hypot(boxes[:, 0] - x, boxes[:, 1] - y) < np.hypot(boxes[:, 3], boxes[:, 4]) + reach_m
    return Obstacles(circles[by_circle], boxes[by_box], obstacles.border_m)


class Drive:
    """The scenario: `reset(seed)` builds a world, `step(control)` moves the car; both return (H, W, 3) uint8."""

    FPS = FPS
    CONTROLS = ControlsConfig(
        modality="vehicle", buttons=("accelerate", "brake", "steer_left", "steer_right"),
        move_m_s=vehicle.TOP_SPEED_M_S, turn_deg_s=math.degrees(vehicle.max_yaw_rad_s()),
        max_turn_deg_per_frame=math.degrees(vehicle.max_yaw_rad_s()) * FRAME_S, max_pitch_deg=0.0,
        vertical_fov_deg=float(VERTICAL_FOV_DEG), eye_height_m=EYE_HEIGHT_M, scene_depth_m=25.0,
        other_depths_m=(3.0, 0.0),
        bonnet=(0.085, 0.79))  # a pixel more than is drawn: edges are blended with what lies behind
    IDLE = DriveControl()

    def __init__(self, width: int = 128, height: int = 96) -> None:
        self._mujoco = import_mujoco("The drive simulator")
        self.width, self.height = width, height
        self._renderer = None
        self.ride: Ride | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Build the world of `seed` and return its first frame."""
        self.close()
        scene = make_scene(seed)
        self.ride = Ride(scene)
        self._model = build_model(scene, self.width, self.height)
        self._data = self._mujoco.MjData(self._model)
        self._car, self._sky = (int(self._model.body(name).mocapid[0]) for name in ("car", "sky"))
        self._renderer = plain_renderer(self._mujoco, self._model, self.width, self.height)
        self._mujoco.mj_forward(self._model, self._data)
        return self._render()

    def row(self, control: DriveControl) -> np.ndarray:
        """Return the action row of a control."""
        return control.row()

    def step(self, control: DriveControl) -> np.ndarray:
        """Move by the control of one frame and return what is seen after it."""
        self.ride.move(control)
        return self._render()

    @property
    def scene(self) -> Scene:
        """Return the world of the last reset."""
        return self.ride.scene

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw_rad, speed_m_s) as float64."""
        return self.ride.pose

    @property
    def blocked(self) -> bool:
        """Say whether the last step drove into something."""
        return self.ride.blocked

    def distances(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what stands on the ground in the present frame, (H, W) bool, how far away along the ground what each
        pixel shows is, in metres (H, W), and the pitch in radians: the truth of codec/distances.py."""
        return distances_drawn(self._renderer, self._render, self.CONTROLS)

    def close(self) -> None:
        """Free the picture memory now; mujoco's own clean-up at exit comes too late and complains."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _render(self) -> np.ndarray:
        x, y, _, yaw, _ = self.ride.pose
        self._data.mocap_pos[self._car] = x, y, 0.0
        self._data.mocap_quat[self._car] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
        self._data.mocap_pos[self._sky] = x, y, 0.0  # the sky goes along, or the sun would stand nearby
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, camera=0)
        return self._renderer.render()
