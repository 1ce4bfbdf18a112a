"""ActionSample -> action rows: the last torch-free step between the player's hands and the network.

One maker per modality, all with the same face. A maker remembers what the hands have begun and the rows have not yet
finished: the rest of a mouse flick, the speed of a car, the state of a gripper.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from ..chunks import ActionSample
from ..config import ControlsConfig, WorldConfig
from ..errors import ConfigError, did_you_mean
from .buttons import MEANINGS
from .rows import arm_row, camera_row, vehicle_row
from .vehicle import MAX_WHEEL_RAD, Car

# A flick faster than training ever moved is finished over this many more frames: enough for 5 times the limit, and over
# in 270 ms at 15 frames a second, so that the view does not go on turning long after the hand has stopped.
CARRY_FRAMES = 4
# Per second, of the full lock: a mouse has no spring, so the wheel that it turns finds its own way back.
WHEEL_BACK_PER_S = 1.0
PRESSED = 0.5  # of a trigger's or stick's way beyond its dead zone: a gripper is told only open or closed


Place = tuple[float, float, float]  # (right, away, up) in metres, of a hand over its table


class RowMaker(Protocol):
    """Turns each sample into the rows of one chunk. `dropped_turn_deg`: turns that were too fast for the world."""

    dropped_turn_deg: float

    def rows(self, sample: ActionSample) -> np.ndarray:
        """Return the rows (T, A) float32 that lead into the latent frames of one chunk."""
        ...

    def stop_turning(self) -> None:
        """Forget the mouse motion that is still to be spent."""
        ...

    def reset(self, hand_m: Place | None = None) -> None:
        """Begin again, at rest; `hand_m` is where the start picture shows the hand of an arm, where that is known."""
        ...


def make_row_maker(config: WorldConfig) -> RowMaker:
    """Return the maker for a world's controls; ConfigError if these name a button that does not exist."""
    for button in sorted(set(config.controls.buttons) - MEANINGS.keys()):
        raise ConfigError(f"the world {config.name!r} listens to the button {button!r}, which does not exist"
                          f"{did_you_mean(button, MEANINGS)}")
    return {"camera": CameraRows, "vehicle": VehicleRows, "arm": ArmRows}[config.controls.modality](config)


def balance(controls: ControlsConfig, sample: ActionSample, positive: str, negative: str) -> float:
    """Return how far towards `positive` the player pushes, in [-1, 1], keys and sticks together."""
    strengths = dict(sample.axes)

    def push(button: str) -> float:
        if button not in controls.buttons:
            return 0.0
        return 1.0 if button in sample.buttons else strengths.get(button, 0.0)

    return push(positive) - push(negative)


class Carry:
    """Mouse motion along one axis, spent at no more than `frame_limit` for each of the frames that a row stands for;
    what exceeds the carry as well is dropped."""

    def __init__(self, frame_limit: float, frames_per_row: int) -> None:
        self._limit, self._most = frame_limit * frames_per_row, frame_limit * CARRY_FRAMES
        self.left, self.dropped = 0.0, 0.0

    def spend(self, wanted: float, num_rows: int, keys: float) -> float:
        """Add `wanted` and return what each of the rows moves, keys included; keys cost nothing when clamped."""
        limit = self._limit
        keys = min(max(keys, -limit), limit)
        wanted += self.left
        moved = min(max(wanted / num_rows, -limit - keys), limit - keys)
        surplus = wanted - moved * num_rows
        self.left = min(max(surplus, -self._most), self._most)
        self.dropped += abs(surplus - self.left)
        return keys + moved


class CameraRows:
    """A person on foot. Mouse motion is a distance, and losing part of it would turn the player less than the hand."""

    def __init__(self, config: WorldConfig) -> None:
        self._controls = controls = config.controls
        self._num_rows = config.stream.latent_frames_per_chunk
        row_s = config.codec.frames_per_latent / config.fps
        self._step_m = controls.move_m_s * row_s
        self._key_turn_deg = controls.turn_deg_s * row_s
        self._yaw_deg, self._pitch_carry_deg = (
            Carry(controls.max_turn_deg_per_frame, config.codec.frames_per_latent) for _ in range(2))
        self._max_pitch_deg = controls.max_pitch_deg
        self._deg_per_px = controls.mouse_deg_per_px
        # A world trained on a level head never saw pitch.
        self._can_look = bool({"look_up", "look_down"} & set(controls.buttons))
        self.reset()

    @property
    def dropped_turn_deg(self) -> float:
        return self._yaw_deg.dropped + self._pitch_carry_deg.dropped

    def stop_turning(self) -> None:
        self._yaw_deg.left = self._pitch_carry_deg.left = 0.0

    def reset(self, hand_m: Place | None = None) -> None:
        self.stop_turning()
        self._pitch_deg = 0.0  # where the rows so far have left the view; every start picture looks level

    def rows(self, sample: ActionSample) -> np.ndarray:
        """Return the rows (T, 12) of one chunk, the motion spread evenly."""
        controls = self._controls
        forward, right = balance(controls, sample, "forward", "back"), balance(controls, sample, "right", "left")
        length = max(1.0, math.hypot(forward, right))  # a diagonal walks no faster than straight ahead
        right_px, down_px = sample.mouse_px
        yaw_deg = self._yaw_deg.spend(-right_px * self._deg_per_px, self._num_rows, self._key_turn_deg * balance(
            controls, sample, "turn_left", "turn_right"))
        pitch_deg = self._pitch_carry_deg.spend(
            -down_px * self._deg_per_px if self._can_look else 0.0, self._num_rows,
            self._key_turn_deg * balance(controls, sample, "look_up", "look_down"))
        pitch_deg = self._within_pitch_range(pitch_deg)
        row = camera_row(forward / length * self._step_m, right / length * self._step_m,
                         math.radians(yaw_deg), math.radians(pitch_deg), controls.move_axes)
        return np.tile(row, (self._num_rows, 1))

    def _within_pitch_range(self, pitch_deg: float) -> float:
        """Cut the pitch of each row where the view would leave what training saw; a neck stops there too."""
        limit, rows = self._max_pitch_deg, self._num_rows
        wanted_deg = min(max(self._pitch_deg + rows * pitch_deg, -limit), limit)
        pitch_deg = (wanted_deg - self._pitch_deg) / rows
        if wanted_deg in (-limit, limit):
            self._pitch_carry_deg.left = 0.0  # or the rest of a flick against the stop would delay the way back
        self._pitch_deg = wanted_deg
        return pitch_deg


class VehicleRows:
    """A car with pedals and a wheel: the rows are the motion of the same `Car` that drove in training.

    Keys hold the wheel at full lock while they are down; the mouse turns it and leaves it to come back by itself.
    """

    def __init__(self, config: WorldConfig) -> None:
        self._controls = config.controls
        self._num_rows = config.stream.latent_frames_per_chunk
        self._row_s = config.codec.frames_per_latent / config.fps
        self._lock_per_px = config.controls.mouse_deg_per_px / math.degrees(MAX_WHEEL_RAD)
        self.dropped_turn_deg = 0.0
        self.reset()

    def stop_turning(self) -> None:
        self._wheel = 0.0  # where the mouse holds it, in [-1, 1], positive to the left

    def reset(self, hand_m: Place | None = None) -> None:
        self._car = Car()
        self.stop_turning()

    def rows(self, sample: ActionSample) -> np.ndarray:
        """Return the rows (T, 7) of one chunk."""
        throttle = balance(self._controls, sample, "accelerate", "brake")
        keys = balance(self._controls, sample, "steer_left", "steer_right")
        self._wheel = min(max(self._wheel - sample.mouse_px[0] * self._lock_per_px, -1.0), 1.0)
        made = []
        for _ in range(self._num_rows):
            made.append(vehicle_row(*self._car.step(throttle, keys + self._wheel, self._row_s)))
            back = min(abs(self._wheel), WHEEL_BACK_PER_S * self._row_s)
            self._wheel -= math.copysign(back, self._wheel)
        return np.stack(made)


class ArmRows:
    """A hand over a table: keys and mouse move it, one click closes the gripper and another opens it.

    Where it begins is told by `reset`; from then on it is known where its reach ends, and rows end there, as they did
    in training. In a world that starts from a stranger's picture the hand may be anywhere, and nothing stops it.
    """

    def __init__(self, config: WorldConfig) -> None:
        self._controls = controls = config.controls
        self._num_rows = config.stream.latent_frames_per_chunk
        row_s = config.codec.frames_per_latent / config.fps
        self._step_m = controls.move_m_s * row_s
        self._right_m, self._away_m = (Carry(controls.max_move_m_per_frame, config.codec.frames_per_latent)
                                       for _ in range(2))
        self.dropped_turn_deg = 0.0
        self.reset()

    def stop_turning(self) -> None:
        self._right_m.left = self._away_m.left = 0.0

    def reset(self, hand_m: Place | None = None) -> None:
        self.stop_turning()
        self._close = 0.0
        reach_m = self._controls.reach_m
        self._at_m = np.array(hand_m) if hand_m is not None and reach_m else None

    def rows(self, sample: ActionSample) -> np.ndarray:
        """Return the rows (T, 7) of one chunk, the motion spread evenly as far as the hand reaches."""
        controls = self._controls
        push = np.array([balance(controls, sample, *pair) for pair in
                         (("right", "left"), ("forward", "back"), ("up", "down"))])
        keys_m = push / max(1.0, float(np.linalg.norm(push))) * self._step_m
        mouse_right_px, mouse_down_px = sample.mouse_px
        right_m = self._right_m.spend(mouse_right_px * controls.mouse_m_per_px, self._num_rows, keys_m[0])
        away_m = self._away_m.spend(-mouse_down_px * controls.mouse_m_per_px, self._num_rows, keys_m[1])
        self._close = self._closing(sample)
        step_m = np.array([right_m, away_m, keys_m[2]])
        return np.stack([arm_row(*self._within_reach(step_m), self._close) for _ in range(self._num_rows)])

    def _closing(self, sample: ActionSample) -> float:
        """Return how the gripper is from now on: 1 closed, 0 open; as it was while both of its buttons are pressed."""
        pressed = sample.buttons | {button for button, strength in sample.axes if strength >= PRESSED}
        closes, opens = "grip" in pressed, "release" in pressed
        return self._close if closes == opens else float(closes)

    def _within_reach(self, step_m: np.ndarray) -> np.ndarray:
        """Cut the step of one row where the reach ends, and note where that leaves the hand."""
        if self._at_m is None:
            return step_m
        low_m, high_m = np.split(np.array(self._controls.reach_m), 2)
        wanted_m = self._at_m + step_m
        end_m = np.clip(wanted_m, low_m, high_m)
        for carry, stopped in zip((self._right_m, self._away_m), end_m[:2] != wanted_m[:2], strict=True):
            if stopped:
                carry.left = 0.0  # or the rest of a flick against the end would delay the way back
        cut_m, self._at_m = end_m - self._at_m, end_m
        return cut_m
