"""Worlds of the arm, played by its behaviour policy -> moments of them that finders learn from (`train hand`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from . import scenarios
from .scenarios.interface import Seen

if TYPE_CHECKING:
    from .scenarios.arm import Arm

FRAMES_BETWEEN = 15  # two pictures of one world; in between the hand has gone elsewhere
PICTURES_PER_WORLD = 4


def moments(first_seed: int, num_worlds: int, width: int, height: int) -> Iterator[tuple[np.ndarray, Arm]]:
    """Play worlds from `first_seed` on; yield PICTURES_PER_WORLD frames (H, W, 3) uint8 of each, and the simulator,
    which tells what they show."""
    from tqdm import tqdm

    simulator = scenarios.make("arm", width, height)
    try:
        for seed in tqdm(range(first_seed, first_seed + num_worlds), "drawing", unit="world", leave=False):
            player = scenarios.player("arm", np.random.default_rng([seed, 1]), simulator)
            frame, seen = simulator.reset(seed), None
            for step in range(1 + (PICTURES_PER_WORLD - 1) * FRAMES_BETWEEN):
                if step:
                    frame = simulator.step(player.send(seen))
                    seen = Seen(simulator.blocked, simulator.pose)
                if step % FRAMES_BETWEEN == 0:
                    yield frame, simulator
    finally:
        simulator.close()
