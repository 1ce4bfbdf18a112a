"""ActionSample -> action row: the last torch-free step between the player's hands and the network.

A camera row is the flattened 3x4 matrix [R | t] of the relative world-to-camera motion with OpenCV axes (x right,
y down, z forward): p_next = R p_now + t. Walking forward is a negative t_z, turning left a positive r_02, looking up a
positive r_12. In worlds trained here the row of a latent frame is the motion that leads INTO it. The
mask column (1 = history, 0 = to predict) is added by the network's input stage, which alone knows which is which.
"""

from __future__ import annotations

import math

import numpy as np

from ..chunks import ActionSample
from ..config import WorldConfig
from ..errors import ConfigError, did_you_mean
from .buttons import MEANINGS

ROW_WIDTH = {"camera": 12, "vehicle": 7, "arm": 7}

# A flick faster than training ever turned is finished over this many more rows: enough for 5 times the limit, and over
# in 270 ms at 15 rows a second, so that the view does not go on turning long after the hand has stopped.
CARRY_ROWS = 4


def camera_row(forward_m: float = 0.0, right_m: float = 0.0, yaw_left_rad: float = 0.0,
               pitch_up_rad: float = 0.0) -> np.ndarray:
    """Return the (12,) float32 camera row of a commanded motion.

    The displacement is given in level axes (a walker's feet do not leave the ground when the head tilts), and the
    turn is yaw first, then pitch: R = R_pitch R_yaw, t = -R d with d = (right, 0, forward).
    """
    cy, sy = math.cos(yaw_left_rad), math.sin(yaw_left_rad)
    cp, sp = math.cos(pitch_up_rad), math.sin(pitch_up_rad)
    yaw = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    pitch = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    rotation = pitch @ yaw
    translation = -rotation @ np.array([right_m, 0.0, forward_m])
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


class RowMaker:
    """Turn each sample into the action rows of one chunk, and carry what a fast mouse flick could not spend yet.

    Keys are rates and cost nothing when clamped; mouse motion is a distance, and losing part of it would turn the
    player less than the hand did. What exceeds the carry as well is gone, and is summed in `dropped_turn_deg`.
    """

    def __init__(self, config: WorldConfig) -> None:
        if config.controls.modality != "camera":
            raise ConfigError(f"the world {config.name!r} is driven by {config.controls.modality!r} actions, which "
                              "cannot be made from keys and mouse here; choose a world with camera actions")
        controls = config.controls
        self._num_rows = config.stream.latent_frames_per_chunk
        self._known = frozenset(controls.buttons)
        for button in sorted(self._known - MEANINGS.keys()):
            raise ConfigError(f"the world {config.name!r} listens to the button {button!r}, which does not exist"
                              f"{did_you_mean(button, MEANINGS)}")
        row_s = config.codec.frames_per_latent / config.fps
        self._step_m = controls.move_m_s * row_s
        self._key_turn_deg = controls.turn_deg_s * row_s
        self._limit_deg = controls.max_turn_deg_per_frame * config.codec.frames_per_latent
        self._max_pitch_deg = controls.max_pitch_deg
        self._deg_per_px = controls.mouse_deg_per_px
        self.dropped_turn_deg = 0.0
        self.reset()

    def stop_turning(self) -> None:
        """Forget the mouse motion that is still to be spent."""
        self._carry_deg = [0.0, 0.0]  # yaw left, pitch up

    def reset(self) -> None:
        """Begin again, still and level."""
        self.stop_turning()
        self._pitch_deg = 0.0  # where the rows so far have left the view; every start picture looks level

    def rows(self, sample: ActionSample) -> np.ndarray:
        """Return the rows (T, 12) float32 that lead into the latent frames of one chunk, the motion spread evenly."""
        forward = self._balance(sample, "forward", "back")
        right = self._balance(sample, "right", "left")
        length = max(1.0, math.hypot(forward, right))  # a diagonal walks no faster than straight ahead
        mouse_right_px, mouse_down_px = sample.mouse_px
        yaw_deg = self._turn_deg(0, self._balance(sample, "turn_left", "turn_right"), -mouse_right_px)
        can_look = bool(self._known & {"look_up", "look_down"})  # a world trained on a level head never saw pitch
        pitch_deg = self._turn_deg(1, self._balance(sample, "look_up", "look_down"),
                                   -mouse_down_px if can_look else 0.0)
        pitch_deg = self._within_pitch_range(pitch_deg)
        row = camera_row(forward / length * self._step_m, right / length * self._step_m,
                         math.radians(yaw_deg), math.radians(pitch_deg))
        return np.tile(row, (self._num_rows, 1))

    def _within_pitch_range(self, pitch_deg: float) -> float:
        """Cut the pitch of each row where the view would leave what training saw; a neck stops there too."""
        limit, rows = self._max_pitch_deg, self._num_rows
        wanted_deg = min(max(self._pitch_deg + rows * pitch_deg, -limit), limit)
        pitch_deg = (wanted_deg - self._pitch_deg) / rows
        if wanted_deg in (-limit, limit):
            self._carry_deg[1] = 0.0  # or the rest of a flick against the stop would delay the way back
        self._pitch_deg = wanted_deg
        return pitch_deg

    def _balance(self, sample: ActionSample, positive: str, negative: str) -> float:
        """Return how far towards `positive` the player pushes, in [-1, 1], keys and sticks together."""
        strengths = dict(sample.axes)

        def push(button: str) -> float:
            if button not in self._known:
                return 0.0
            return 1.0 if button in sample.buttons else strengths.get(button, 0.0)

        return push(positive) - push(negative)

    def _turn_deg(self, axis: int, key_push: float, mouse_px: float) -> float:
        """Return the turn of each row about one axis, within the limit; keep the mouse's surplus for the next chunk."""
        limit = self._limit_deg
        key_deg = min(max(key_push * self._key_turn_deg, -limit), limit)
        wanted_deg = self._carry_deg[axis] + mouse_px * self._deg_per_px
        mouse_deg = min(max(wanted_deg / self._num_rows, -limit - key_deg), limit - key_deg)
        surplus_deg = wanted_deg - mouse_deg * self._num_rows
        kept_deg = min(max(surplus_deg, -CARRY_ROWS * limit), CARRY_ROWS * limit)
        self._carry_deg[axis] = kept_deg
        self.dropped_turn_deg += abs(surplus_deg - kept_deg)
        return key_deg + mouse_deg
