"""Action tables of the published Astra checkpoint, written before a render starts: presets, driven arcs, known poses.

A table holds one row per latent frame (four frames of video), row 0 for the first latent frame of the clip, without
the mask column. Row i is the motion that LEAVES latent frame i, as the checkpoint was trained; worlds trained here use
rows that lead in. Numbers are float32: who runs the network in bfloat16 rounds them there. Facts: Astra
(arXiv 2512.08931) and its released inference procedure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..config import ControlsConfig
from ..errors import ConfigError, did_you_mean
from .rows import camera_row

FRAMES_PER_LATENT = 4
FORWARD = 0.03  # per latent frame, in the checkpoint's own unit of length
TURN_RAD = 0.03  # per latent frame: 8.6 degrees a second at 20 frames a second
SIDE = 0.01  # how far the S curve steps to the right in the first third of its second half: t_x is -0.01 there

# What keys and mouse mean to the published camera modality: held keys give the numbers of the presets at 20 frames a
# second. The mouse may turn three times as fast as a key, and may look up and down, since training saw hand-held
# cameras; how far is a guess on the side of what people walking with a camera do.
PUBLISHED_CONTROLS = ControlsConfig(
    modality="camera", move_m_s=FORWARD * 5.0, turn_deg_s=math.degrees(TURN_RAD * 5.0), mouse_deg_per_px=0.04,
    max_turn_deg_per_frame=math.degrees(3.0 * TURN_RAD) / FRAMES_PER_LATENT, max_pitch_deg=30.0, move_axes="after_turn")

ARC_RADIUS = 15.0  # of the driven arc, in metres
ARC_STEP_RAD = 0.04  # per latent frame

ARM_ROLL_PITCH_YAW_RAD = (0.02, 0.01, 0.015)
ARM_MOVE = (0.0015, 0.0009, -0.003)


@dataclass(frozen=True)
class Stage:
    """Half of a preset: how far forward and how far round (left positive) each latent frame goes."""

    forward: float = 0.0
    yaw_left_rad: float = 0.0
    right_in_first_third: float = 0.0


def _both(stage: Stage) -> tuple[Stage, Stage]:
    return stage, stage


# name -> the stages of the first and the second half; the number of a preset is its place, from 1
CAMERA_PRESETS: dict[str, tuple[Stage, Stage]] = {
    "forward": _both(Stage(FORWARD)),
    "left": _both(Stage(0.0, TURN_RAD)),
    "right": _both(Stage(0.0, -TURN_RAD)),
    "forward-left": _both(Stage(FORWARD, TURN_RAD)),
    "forward-right": _both(Stage(FORWARD, -TURN_RAD)),
    "s-curve": (Stage(FORWARD, TURN_RAD), Stage(FORWARD, -TURN_RAD, SIDE)),
    "left-right": (Stage(0.0, TURN_RAD), Stage(0.0, -TURN_RAD)),
}


def preset_name(preset: str | int) -> str:
    """Return the name of a preset given by its number (1 to 7) or name; ConfigError names the nearest known one."""
    text = str(preset)
    names = list(CAMERA_PRESETS)
    if text in names:
        return text
    if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= len(names):
        return names[int(text) - 1]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    hint = f"; presets are {numbered}" if not text.isalpha() else did_you_mean(text[:40], names)
    raise ConfigError(f"there is no preset {text[:40]!r}{hint}")


def preset_rows(preset: str | int, num_history: int, num_generated: int, num_rows: int | None = None) -> np.ndarray:
    """Return the camera table (num_rows, 12) float32 of a preset; None means num_history + num_generated rows.

    The `num_history` rows of the given latent frames and rows past the end stand still. The first half of the
    generated rows (rounded down) is the preset's first stage, the rest its second.
    """
    first, second = CAMERA_PRESETS[preset_name(preset)]
    end = num_history + num_generated
    table = np.tile(camera_row(), (end if num_rows is None else num_rows, 1))
    middle = num_history + num_generated // 2
    num_sideways = (end - middle) // 3
    for row in range(num_history, min(end, len(table))):
        stage = first if row < middle else second
        right = stage.right_in_first_third if row < middle + num_sideways else 0.0
        table[row] = camera_row(stage.forward, right, stage.yaw_left_rad, axes="after_turn")
    return table


def pose_rows(poses: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the camera or arm table (num_rows, 12) of known world-to-camera poses (F, 4, 4), one per video frame.

    Row i is the top of pose[4 (i + 1)] inverse(pose[4 i]). Rows that the poses do not reach stand still: the released
    code fills them with zeros, which training has seen only where the whole table was dropped.
    """
    poses = np.asarray(poses, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not np.isfinite(poses).all():
        raise ConfigError(f"poses must be finite matrices of shape (F, 4, 4), but have the shape {poses.shape}; give "
                          "one world-to-camera pose per frame")
    table = np.tile(camera_row(), (num_rows, 1))
    known = poses[::FRAMES_PER_LATENT]
    for row in range(min(num_rows, len(known) - 1)):
        try:
            table[row] = (known[row + 1] @ np.linalg.inv(known[row]))[:3].reshape(12)
        except np.linalg.LinAlgError:
            raise ConfigError(f"the pose of frame {row * FRAMES_PER_LATENT} cannot be inverted, so it is no camera "
                              "pose; check how the poses are stored") from None
    return table


def arc_rows(num_rows: int) -> np.ndarray:
    """Return the vehicle table (num_rows, 7) of the released driving demo: an absolute arc to the left.

    Row i is (15 sin a, 0, 15 (1 - cos a), cos(y / 2), 0, 0, sin(y / 2)) with a = 0.04 i and y = a + pi / 2, for given
    latent frames too. This modality's rows are poses since the start, not steps.
    """
    angle = ARC_STEP_RAD * np.arange(num_rows, dtype=np.float64)
    half_yaw = (angle + math.pi / 2) / 2
    zero = np.zeros_like(angle)
    return np.stack([ARC_RADIUS * np.sin(angle), zero, ARC_RADIUS * (1 - np.cos(angle)),
                     np.cos(half_yaw), zero, zero, np.sin(half_yaw)], axis=1).astype(np.float32)


def vehicle_pose_rows(translations: np.ndarray, quaternions: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the vehicle table (num_rows, 7) of known ego poses, one keyframe per latent frame.

    translations (K, 3) in metres, quaternions (K, 4) as w, x, y, z. A row is the translation since keyframe 0 along
    the axes of the world and the keyframe's own rotation; rows past the last keyframe are zeros and no rotation.
    """
    translations, quaternions = np.asarray(translations, np.float64), np.asarray(quaternions, np.float64)
    if translations.shape[1:] != (3,) or quaternions.shape != (len(translations), 4) or len(translations) == 0:
        raise ConfigError(f"keyframes must be translations (K, 3) and quaternions (K, 4), but have the shapes "
                          f"{translations.shape} and {quaternions.shape}")
    table = np.zeros((num_rows, 7), np.float32)
    table[:, 3] = 1.0
    known = min(num_rows, len(translations))
    table[:known, :3] = translations[:known] - translations[0]
    table[:known, 3:] = quaternions[:known]
    return table


def arm_motion_rows(num_rows: int) -> np.ndarray:
    """Return the arm table (num_rows, 12) of the released robot demo: one small constant motion on every row."""
    roll, pitch, yaw = ARM_ROLL_PITCH_YAW_RAD
    rotation = _about(2, yaw) @ _about(1, pitch) @ _about(0, roll)
    matrix = np.concatenate([rotation, np.array(ARM_MOVE)[:, None]], axis=1)
    return np.tile(matrix.astype(np.float32).reshape(12), (num_rows, 1))


def _about(axis: int, angle_rad: float) -> np.ndarray:
    """Return the right-handed rotation about one axis."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[a, a] = rotation[b, b] = math.cos(angle_rad)
    rotation[b, a] = math.sin(angle_rad)
    rotation[a, b] = -rotation[b, a]
    return rotation
