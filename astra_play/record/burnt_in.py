"""The controls of a chunk, drawn into the frames of a recording if the player wants them there."""

from __future__ import annotations

import math

import numpy as np

from ..chunks import ActionSample
from ..overlay import draw_caps

# what the keyboard's own keys do by default; other keys that do the same light the same cap
SIGNS = {
    "forward": "W", "back": "S", "left": "A", "right": "D", "accelerate": "W", "brake": "S", "steer_left": "A",
    "steer_right": "D", "turn_left": "left", "turn_right": "right", "look_up": "up", "look_down": "down",
}
MOUSE_FROM_PX = 1.0  # of motion in one chunk: less is a hand at rest
AXIS_FROM = 0.2


def signs_of(sample: ActionSample) -> frozenset[str]:
    """Return which of W A S D up left down right a reading of the controls amounts to, mouse and sticks included."""
    held = set(sample.buttons) | {button for button, strength in sample.axes if strength >= AXIS_FROM}
    signs = {SIGNS[button] for button in held if button in SIGNS}
    right_px, down_px = sample.mouse_px
    if math.hypot(right_px, down_px) >= MOUSE_FROM_PX:
        # the way that the hand mostly goes, or a turn would flicker between two arrows
        signs.add(("right" if right_px > 0 else "left") if abs(right_px) >= abs(down_px)
                  else ("down" if down_px > 0 else "up"))
    return frozenset(signs)


def with_controls(frame: np.ndarray, sample: ActionSample) -> np.ndarray:
    """Return a copy of a frame (H, W, 3) uint8 with key caps, lit while the world heard them."""
    return draw_caps(frame, signs_of(sample))
