"""rng -> WalkControl per frame: `policy.wander` for rooms and corridors, where walls are near on every side.

The same two hands, but a player in a corridor does not lean on a wall for two seconds: mostly this one soon turns to
where the room goes on and walks there, and only now and then pushes long enough for a door to open.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np

from astra_play.train.scenarios import policy
from astra_play.train.scenarios.explore import WalkControl
from astra_play.train.scenarios.interface import Seen

PATIENT_SHARE = 0.3  # of the walls met: tried as a door
SHORT_PATIENCE_FRAMES = (2, 6)
LONG_PATIENCE_FRAMES = (20, 30)  # a hand goes out after 4 of them, and 13 more lift a door over the head


def wander(rng: np.random.Generator, simulator: object = None) -> Generator[WalkControl, Seen | None, None]:
    """Yield controls for ever; send back after each one what came of it."""
    hands, blocked_for, patience = policy.wander(rng), 0, _patience(rng)
    control = next(hands)
    while True:
        seen = yield control
        blocked_for = blocked_for + 1 if seen is not None and seen.blocked else 0
        if blocked_for > patience:
            yield from _go_elsewhere(rng)
            blocked_for, patience = 0, _patience(rng)
        control = hands.send(seen)


def _patience(rng: np.random.Generator) -> int:
    return int(rng.integers(*(LONG_PATIENCE_FRAMES if rng.random() < PATIENT_SHARE else SHORT_PATIENCE_FRAMES)))


def _go_elsewhere(rng: np.random.Generator) -> Iterator[WalkControl]:
    """Turn 70 to 180 degrees by key or by mouse, mostly backing off at first, then walk that way for a while."""
    side, angle = rng.choice((-1, 1)), math.radians(rng.uniform(70, 180))
    rate = policy.KEY_TURN_RAD if rng.random() < 0.4 else math.radians(rng.uniform(5, 10))
    back_frames = int(rng.integers(3, 9)) if rng.random() < 0.7 else 0
    for frame in range(math.ceil(angle / rate)):
        yield WalkControl.from_keys(-1 if frame < back_frames else 0, 0, side * min(rate, angle - frame * rate))
    for _ in range(int(rng.integers(8, 32))):
        yield WalkControl.from_keys(1, 0)
