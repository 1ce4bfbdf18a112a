"""The action rows of each modality: what moved into a latent frame, as the numbers that the network eats.

A camera row is the flattened 3x4 matrix [R | t] of the relative world-to-camera motion with OpenCV axes (x right,
y down, z forward): p_next = R p_now + t. Walking forward is a negative t_z, turning left a positive r_02, looking up a
positive r_12. In worlds trained here the row of a latent frame is the motion that leads INTO it. The
mask column (1 = history, 0 = to predict) is added by the network's input stage, which alone knows which is which.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

ROW_WIDTH = {"camera": 12, "vehicle": 7, "arm": 7}


def camera_row(forward_m: float = 0.0, right_m: float = 0.0, yaw_left_rad: float = 0.0, pitch_up_rad: float = 0.0,
               axes: Literal["before_turn", "after_turn"] = "before_turn") -> np.ndarray:
    """Return the (12,) float32 camera row of a commanded motion.

    The displacement is given in level axes (a walker's feet do not leave the ground when the head tilts), and the
    turn is yaw first, then pitch: R = R_pitch R_yaw, t = -R d with d = (right, 0, forward). With the axes after the
    turn, as the presets of the published checkpoint have it, t = -d.
    """
    cy, sy = math.cos(yaw_left_rad), math.sin(yaw_left_rad)
    cp, sp = math.cos(pitch_up_rad), math.sin(pitch_up_rad)
    yaw = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    pitch = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    rotation = pitch @ yaw
    displacement = np.array([right_m, 0.0, forward_m])
    translation = -rotation @ displacement if axes == "before_turn" else -displacement
    return np.concatenate([rotation, translation[:, None]], axis=1).astype(np.float32).reshape(12)


def camera_motion(row: np.ndarray) -> tuple[float, float, float, float]:
    """Undo `camera_row`: return (forward_m, right_m, yaw_left_rad, pitch_up_rad) of a (12,) row."""
    matrix = np.asarray(row, dtype=np.float64).reshape(3, 4)
    rotation, translation = matrix[:, :3], matrix[:, 3]
    pitch = math.atan2(-rotation[2, 1], rotation[1, 1])
    yaw = math.atan2(rotation[0, 2], rotation[0, 0])
    right, _, forward = -rotation.T @ translation
    return forward, right, yaw, pitch


def vehicle_row(forward_m: float = 0.0, left_m: float = 0.0, yaw_left_rad: float = 0.0) -> np.ndarray:
    """Return the (7,) float32 vehicle row of a motion on level ground: (x, y, z, w, qx, qy, qz).

    The displacement is given in the axes of the car before the motion (x ahead, y left, z up, as nuScenes has its ego
    poses), the turn as a unit quaternion.
    """
    half = yaw_left_rad / 2
    return np.array([forward_m, left_m, 0.0, math.cos(half), 0.0, 0.0, math.sin(half)], np.float32)


def vehicle_motion(row: np.ndarray) -> tuple[float, float, float]:
    """Undo `vehicle_row`: return (forward_m, left_m, yaw_left_rad) of a (7,) row."""
    forward, left, _, w, _, _, z = np.asarray(row, dtype=np.float64)
    return forward, left, 2 * math.atan2(z, w)


def arm_row(right_m: float = 0.0, away_m: float = 0.0, up_m: float = 0.0, close: float = 0.0) -> np.ndarray:
    """Return the (7,) float32 arm row of a commanded motion of the gripper: (x, y, z, roll, pitch, yaw, close).

    The displacement is given as the player sees it (x right, y away, z up; the hand never turns here), `close` is 0
    for an open and 1 for a closed gripper: the seven numbers of a robot action as in RT-1.
    """
    return np.array([right_m, away_m, up_m, 0.0, 0.0, 0.0, close], np.float32)


def idle_row(modality: str) -> np.ndarray:
    """Return the row of a latent frame into which nothing moved."""
    return {"camera": camera_row, "vehicle": vehicle_row, "arm": arm_row}[modality]()
