"""Key caps drawn onto rendered frames: which of WASD and the arrow keys an action row amounts to (render writes them).

WASD stands at the bottom left, the arrows at the bottom right. The caps are drawn once per size and state and kept;
a frame costs one blend of two small corners.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

# Beyond which a row's numbers count as a key. The released run reads rows rounded to bfloat16, where a step of 0.01
# becomes 0.010010 and counts; the last digits here let it count in float32 as well.
MOVE_AT = 0.01 - 1e-6
TURN_AT_RAD = 0.005 - 1e-6

CAP_OF_HEIGHT = 1 / 11  # a cap's edge as a share of the picture's height
MIN_CAP_PX = 10  # below this an S is no longer an S
SHAFT_FROM_PX = 20  # a smaller arrow with a shaft looks like a cross
GAP_OF_CAP = 0.14
OVERSAMPLING = 8  # caps are drawn so much larger and shrunk, for smooth edges

Colour = tuple[int, int, int, int]
FACE_OFF: Colour = (16, 20, 28, 120)
EDGE_OFF: Colour = (255, 255, 255, 110)
SIGN_OFF: Colour = (255, 255, 255, 170)
FACE_ON: Colour = (255, 255, 255, 240)
EDGE_ON: Colour = (16, 20, 28, 150)
SIGN_ON: Colour = (16, 20, 28, 255)

# Strokes of the letters in a unit box, x to the right, y down.
LETTERS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "W": (((0.0, 0.0), (0.24, 1.0), (0.5, 0.25), (0.76, 1.0), (1.0, 0.0)),),
    "A": (((0.06, 1.0), (0.5, 0.0), (0.94, 1.0)), ((0.22, 0.66), (0.78, 0.66))),
    "S": (((0.88, 0.14), (0.70, 0.02), (0.5, 0.0), (0.30, 0.03), (0.15, 0.16), (0.16, 0.32), (0.32, 0.44), (0.68, 0.55),
           (0.85, 0.68), (0.86, 0.84), (0.70, 0.97), (0.5, 1.0), (0.30, 0.98), (0.12, 0.86)),),
    "D": (((0.14, 0.0), (0.14, 1.0), (0.50, 1.0), (0.74, 0.88), (0.86, 0.64), (0.86, 0.36), (0.74, 0.12), (0.50, 0.0),
           (0.14, 0.0)),),
}
ARROW = ((0.5, 0.0), (1.0, 0.62), (0.66, 0.62), (0.66, 1.0), (0.34, 1.0), (0.34, 0.62), (0.0, 0.62))  # points up
SMALL_ARROW = ((0.5, 0.05), (1.0, 0.9), (0.0, 0.9))

# sign -> (row, column) in its block of keys
WASD = {"W": (0, 1), "A": (1, 0), "S": (1, 1), "D": (1, 2)}
ARROWS = {"up": (0, 1), "left": (1, 0), "down": (1, 1), "right": (1, 2)}
QUARTER_TURNS = {"up": 0, "right": 1, "down": 2, "left": 3}  # clockwise


def keys_of(row: np.ndarray) -> frozenset[str]:
    """Return which of W A S D up left down right the 3x4 matrix of a camera or arm row (12 or 13,) amounts to.

    The thresholds are those of the released run: 0.01 for a step, 0.005 rad for a turn. A row of zeros, which is no
    motion but a dropped one, presses nothing.
    """
    matrix = np.asarray(row, np.float64)[:12].reshape(3, 4)
    if not matrix.any():
        return frozenset()
    step_right, step_ahead = -matrix[0, 3], -matrix[2, 3]
    yaw_left = math.atan2(matrix[0, 2], matrix[0, 0])
    pitch_up = math.atan2(matrix[1, 2], matrix[2, 2])
    pressed = {"W": step_ahead > MOVE_AT, "S": step_ahead < -MOVE_AT,
               "D": step_right > MOVE_AT, "A": step_right < -MOVE_AT,
               "left": yaw_left > TURN_AT_RAD, "right": yaw_left < -TURN_AT_RAD,
               "up": pitch_up > TURN_AT_RAD, "down": pitch_up < -TURN_AT_RAD}
    return frozenset(key for key, held in pressed.items() if held)


def latent_of_frame(frame_index: int, frames_per_latent: int) -> int:
    """Return the latent frame that a video frame belongs to: the first latent makes one frame, each later one all of
    its frames, so that the caps change with the picture and not three frames after it.
    """
    return -(-frame_index // frames_per_latent)


def draw_overlay(frame: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return a copy of a frame (H, W, 3) uint8 with the key caps of an action row (12 or 13,) drawn on it.

    Rows that are no 3x4 matrix (vehicles) and frames too small for the caps come back unchanged.
    """
    return draw_caps(frame, keys_of(row)) if len(row) in (12, 13) else frame.copy()


def draw_caps(frame: np.ndarray, pressed: frozenset[str]) -> np.ndarray:
    """Return a copy of a frame (H, W, 3) uint8 with the caps of W A S D and the arrows, those `pressed` lit.

    Frames too small for the caps come back unchanged.
    """
    frame = frame.copy()
    height, width, _ = frame.shape
    cap = max(MIN_CAP_PX, round(height * CAP_OF_HEIGHT))
    margin = max(2, cap // 3)
    for keys, on_the_left in ((WASD, True), (ARROWS, False)):
        weighted, rest = _block(tuple(keys.items()), frozenset(pressed & keys.keys()), cap)
        block_height, block_width = rest.shape[:2]
        if block_height + 2 * margin > height or 2 * (block_width + margin) > width:
            continue
        top, left = height - margin - block_height, margin if on_the_left else width - margin - block_width
        corner = frame[top:top + block_height, left:left + block_width]
        corner[:] = (weighted + rest * corner) // 255
    return frame


@lru_cache(maxsize=128)
def _block(keys: tuple[tuple[str, tuple[int, int]], ...], pressed: frozenset[str],
           cap: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a block of keys; returns colour times opacity and 255 minus opacity, (h, w, 3) and (h, w, 1) uint16."""
    pitch = cap + max(1, round(cap * GAP_OF_CAP))
    image = Image.new("RGBA", (2 * pitch + cap, pitch + cap))
    for sign, (line, column) in keys:
        image.paste(_cap(sign, sign in pressed, cap), (column * pitch, line * pitch))
    pixels = np.asarray(image).astype(np.uint16)
    opacity = pixels[..., 3:]
    return pixels[..., :3] * opacity + 127, 255 - opacity


def _cap(sign: str, is_on: bool, cap: int) -> Image.Image:
    """Draw one key cap of `cap` pixels."""
    size = cap * OVERSAMPLING
    image = Image.new("RGBA", (size, size), (*FACE_OFF[:3], 0))
    draw = ImageDraw.Draw(image)
    face, edge, ink = (FACE_ON, EDGE_ON, SIGN_ON) if is_on else (FACE_OFF, EDGE_OFF, SIGN_OFF)
    line = max(OVERSAMPLING * 2 // 3, size // 24)
    draw.rounded_rectangle((0, 0, size - 1, size - 1), radius=size * 0.2, fill=face, outline=edge, width=line)
    inset = size * (0.27 if cap >= SHAFT_FROM_PX else 0.25)
    box = size - 2 * inset
    if sign in LETTERS:
        for stroke in LETTERS[sign]:
            points = [(inset + x * box, inset + y * box) for x, y in stroke]
            _stroke(draw, points, size * 0.095, ink)
    else:
        points = ARROW if cap >= SHAFT_FROM_PX else SMALL_ARROW
        for _ in range(QUARTER_TURNS[sign]):
            points = tuple((1.0 - y, x) for x, y in points)
        draw.polygon([(inset + x * box, inset + y * box) for x, y in points], fill=ink)
    return _shrunk(image, cap)


def _stroke(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], thickness: float, ink: Colour) -> None:
    """Draw a line with round ends and joints."""
    draw.line(points, fill=ink, width=round(thickness), joint="curve")
    radius = thickness / 2
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)


def _shrunk(image: Image.Image, size: int) -> Image.Image:
    """Shrink with colours weighted by opacity, or the clear surroundings would darken the edges."""
    return image.convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA")
