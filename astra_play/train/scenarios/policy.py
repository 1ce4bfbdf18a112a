"""rng -> WalkControl per frame: what a curious player does, with two hands that know little of each other.

One hand holds movement keys, the other moves the mouse or holds turning keys; each does one thing for a while, then
another. Only two things join them: being idle, and turning away after pushing against something for long enough.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np

from astra_play.train.scenarios.explore import FPS, WalkControl
from astra_play.train.scenarios.interface import Seen

KEY_TURN_RAD = math.radians(75) / FPS  # a held turning key: the same rate as in play
MAX_YAW_RAD = math.radians(12)  # per frame; faster flicks leave two pictures little in common
IDLE_STARTS = 0.002  # per frame: hands off altogether; with chance rests about one frame in ten


def wander(rng: np.random.Generator, simulator: object = None) -> Generator[WalkControl, Seen | None, None]:
    """Yield controls for ever; send back after each one what came of it. Walks blindly: no simulator."""
    keys, look = _keys(rng), _look(rng)
    blocked_for, patience = 0, int(rng.integers(6, 36))
    while True:
        if rng.random() < IDLE_STARTS:
            for _ in range(int(rng.integers(8, 28))):
                yield WalkControl()
        if blocked_for > patience:
            yield from _turn_away(rng)
            keys = _keys(rng)
            blocked_for, patience = 0, int(rng.integers(6, 36))
        (ahead, right), (yaw, pitch) = next(keys), next(look)
        yaw = min(max(yaw, -MAX_YAW_RAD), MAX_YAW_RAD)
        seen = yield WalkControl.from_keys(ahead, right, yaw, pitch)
        blocked_for = blocked_for + 1 if seen is not None and seen.blocked else 0


def _turn_away(rng: np.random.Generator) -> Iterator[WalkControl]:
    """Turn 60 to 170 degrees by key or by mouse, sometimes while stepping back."""
    side, angle = rng.choice((-1, 1)), math.radians(rng.uniform(60, 170))
    rate = KEY_TURN_RAD if rng.random() < 0.5 else math.radians(rng.uniform(5, 9))
    back = -1 if rng.random() < 0.3 else 0
    for frame in range(math.ceil(angle / rate)):
        yield WalkControl.from_keys(back if frame < 8 else 0, 0, side * min(rate, angle - frame * rate))


def _keys(rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Yield (ahead, right) of the movement keys, each -1, 0 or 1."""
    while True:
        side = int(rng.choice((-1, 1)))
        match rng.choice(["walk", "diagonal", "strafe", "back", "stop", "tap"], p=[0.36, 0.14, 0.12, 0.08, 0.20, 0.10]):
            case "walk":
                held, frames = (1, 0), rng.integers(16, 64)
            case "diagonal":
                held, frames = (1, side), rng.integers(8, 32)
            case "strafe":
                held, frames = (0, side), rng.integers(6, 24)
            case "back":
                held, frames = (-1, side if rng.random() < 0.3 else 0), rng.integers(6, 24)
            case "stop":
                held, frames = (0, 0), rng.integers(8, 40)
            case "tap":
                held, frames = (int(rng.integers(-1, 2)), side), rng.integers(1, 4)
                if rng.random() < 0.5:
                    held = (1, 0)
        yield from [held] * int(frames)
        if held == (0, 0) or rng.random() < 0.2:
            yield from [(0, 0)] * int(rng.integers(1, 6))


def _look(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield (yaw left, pitch up) of one frame in radians; the head comes back to level after every glance."""
    pitch = 0.0
    while True:
        side = int(rng.choice((-1, 1)))
        match rng.choice(["still", "steer", "flick", "key", "round", "glance"], p=[0.27, 0.32, 0.12, 0.15, 0.03, 0.11]):
            case "still":
                yield from [(0.0, 0.0)] * int(rng.integers(6, 36))
            case "steer":
                aim, rate, lift = math.radians(rng.normal(0, 2.4)), 0.0, 0.0
                for frame in range(int(rng.integers(16, 56))):
                    if frame % 12 == 11:
                        aim = math.radians(rng.normal(0, 2.4))
                    rate += 0.3 * (aim - rate)
                    lift += 0.3 * (-0.06 * pitch + math.radians(rng.normal(0, 0.4)) - lift)
                    pitch += lift
                    yield rate, lift
            case "flick":
                angle, frames = side * math.radians(rng.uniform(12, 55)), int(rng.integers(4, 9))
                yield from ((share * angle, 0.0) for share in _swing(frames))
            case "key":
                yield from [(side * KEY_TURN_RAD, 0.0)] * int(rng.integers(2, 22))
            case "round":
                frames = int(rng.integers(24, 40))
                yield from ((share * side * math.pi, 0.0) for share in _swing(frames))
            case "glance":
                # now and then further than the neck goes, so that the stop is seen too
                angle = side * rng.uniform(0.08, 0.5) - pitch
                out, back, drift = int(rng.integers(5, 14)), int(rng.integers(5, 14)), math.radians(rng.normal(0, 1.5))
                yield from ((drift, share * angle) for share in _swing(out))
                yield from [(drift, 0.0)] * int(rng.integers(2, 14))
                yield from ((drift, -share * (angle + pitch)) for share in _swing(back))
                pitch = 0.0


def _swing(frames: int) -> np.ndarray:
    """Return how a hand's motion spreads over frames: slow, fast, slow; sums to 1."""
    shares = np.sin(np.pi * (np.arange(frames) + 0.5) / frames) ** 1.5
    return shares / shares.sum()
