"""What moves in each scenario: the numbers in which following is measured, and how poses and controls become them.

A walker's and a driver's motion is that of the camera; an arm's is that of its hand in a picture that stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

FINGER_STROKE_M, FINGER_STEP_M = 0.05, 0.0125  # of each finger: its way, and the most of it in a frame


@dataclass(frozen=True)
class Motions:
    """The motion numbers of one scenario.

    `names` end in their unit; `leads` are those that bars are set on. `mirror`: what a mirrored picture makes of each.
    A key counts as read when the motion is at least its threshold. `between` poses (N, P), (N, P) gives the motions
    (N, M); `commanded` those that controls (F, V) ask for, whatever stands in the way; `is_moving` tells of poses at
    either end of a second whether so much happened that repeating a picture is no way out (`moving_rule` in words).
    """

    names: tuple[str, ...]
    leads: tuple[str, ...]
    mirror: tuple[float, ...]
    key_thresholds: dict[str, float]
    between: Callable[[np.ndarray, np.ndarray], np.ndarray]
    commanded: Callable[[np.ndarray], np.ndarray]
    is_moving: Callable[[np.ndarray, np.ndarray], np.ndarray]
    moving_rule: str
    still_camera: bool = False  # its motions are those of a hand in the picture

    def index(self, name: str) -> int:
        """Column of a motion."""
        return self.names.index(name)


def camera_steps(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps ahead and right, in metres of the old heading, and the turn left between (x, y, z, yaw, ...)."""
    step, heading = after[:, :2] - before[:, :2], before[:, 3]
    forward = step[:, 0] * np.cos(heading) + step[:, 1] * np.sin(heading)
    right = step[:, 0] * np.sin(heading) - step[:, 1] * np.cos(heading)
    return forward, right, after[:, 3] - before[:, 3]


def walk_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Poses (N, 5) of x, y, z, yaw, pitch -> (N, 4) forward, right, yaw left, pitch up."""
    return np.stack([*camera_steps(before, after), after[:, 4] - before[:, 4]], axis=1)


def drive_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Poses (N, 5) of x, y, z, yaw, speed -> (N, 2) forward, yaw left."""
    forward, _, yaw = camera_steps(before, after)
    return np.stack([forward, yaw], axis=1)


def hand_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Poses (N, 7) of hand, opening and block -> (N, 4): the hand's way right, away, up, and the fingers' closing."""
    return (after[:, :4] - before[:, :4]) * (1, 1, 1, -1)


def hand_commanded(controls: np.ndarray) -> np.ndarray:
    """Controls (F, 4) of right, away, up and close (0 to 1) -> (F, 4): ways, and the closing that fingers can make."""
    finger_m, closing = FINGER_STROKE_M, []
    for close in controls[:, 3]:
        step = np.clip(FINGER_STROKE_M * (1 - np.clip(close, 0, 1)) - finger_m, -FINGER_STEP_M, FINGER_STEP_M)
        finger_m += step
        closing.append(-2 * step)  # there are two
    return np.column_stack([controls[:, :3], closing])


def _camera_is_moving(moved_m: float, turned_deg: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def is_moving(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        went_m = np.hypot(*(after[:, :2] - before[:, :2]).T)
        return (went_m >= moved_m) | (np.degrees(np.abs(after[:, 3] - before[:, 3])) >= turned_deg)
    return is_moving


def _hand_is_moving(moved_m: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda before, after: np.linalg.norm(after[:, :3] - before[:, :3], axis=1) >= moved_m


MOTIONS: dict[str, Motions] = {
    # Half of walking at 3 m/s with 16 frames a second, and 1 degree a frame, a fifth of a held turning key.
    "explore": Motions(
        ("forward_m", "right_m", "yaw_left_rad", "pitch_up_rad"), ("yaw_left_rad",), (1, -1, -1, 1),
        {"forward_m": 0.5 * 3.0 / 16, "right_m": 0.5 * 3.0 / 16, "yaw_left_rad": np.radians(1.0)},
        walk_between, lambda controls: controls, _camera_is_moving(0.75, 15.0),
        "from the last prompt frame to 1 s later the true camera went at least 0.75 m or turned at least 15 degrees"),
    # 3 m/s is a car that clearly rolls; 0.4 degrees a frame a wheel that is clearly turned.
    "drive": Motions(
        ("forward_m", "yaw_left_rad"), ("yaw_left_rad",), (1, -1),
        {"forward_m": 3.0 / 16, "yaw_left_rad": np.radians(0.4)},
        drive_between, lambda controls: controls[:, [0, 2]], _camera_is_moving(0.75, 15.0),
        "from the last prompt frame to 1 s later the true car went at least 0.75 m or turned at least 15 degrees"),
    # Half of what a held key moves the hand, and half of what the fingers move, in a frame.
    "arm": Motions(
        ("right_m", "away_m", "up_m", "closing_m"), ("right_m", "away_m", "up_m"), (-1, 1, 1, 1),
        {"right_m": 0.5 * 0.24 / 16, "away_m": 0.5 * 0.24 / 16, "up_m": 0.5 * 0.24 / 16, "closing_m": FINGER_STEP_M},
        hand_between, hand_commanded, _hand_is_moving(0.05),
        "from the last prompt frame to 1 s later the true hand went at least 0.05 m", still_camera=True),
}


def motions_of(scenario: str) -> Motions:
    """Return the motions of a scenario by name; ConfigError for one that has none."""
    if scenario not in MOTIONS:
        raise ConfigError(f"the scenario {scenario!r} cannot be evaluated yet; those that can: {', '.join(MOTIONS)}")
    return MOTIONS[scenario]
