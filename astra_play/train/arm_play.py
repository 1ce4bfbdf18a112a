"""Worlds of the arm, played by its behaviour policy -> moments of them that finders learn from (`train hand`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from . import scenarios

if TYPE_CHECKING:
    from .scenarios.arm import Arm

FRAMES_BETWEEN = 15  # two pictures of one world; in between the hand has gone elsewhere
PICTURES_PER_WORLD = 4


def plays(first_seed: int, num_worlds: int, width: int, height: int,
          num_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Play worlds from `first_seed` on; yield of each the frames (F, H, W, 3) uint8 and the rows (F, A) float32 that
    led into them, of which the first one stands still."""
    for seed, simulator in _worlds(first_seed, num_worlds, width, height):
        frames, _, _, rows = zip(*scenarios.play("arm", simulator, seed, num_frames), strict=True)
        yield np.stack(frames), np.stack(rows)


def moments(first_seed: int, num_worlds: int, width: int, height: int) -> Iterator[tuple[np.ndarray, Arm]]:
    """Play worlds from `first_seed` on; yield PICTURES_PER_WORLD frames (H, W, 3) uint8 of each, and the simulator,
    which tells what they show."""
    for seed, simulator in _worlds(first_seed, num_worlds, width, height):
        steps = scenarios.play("arm", simulator, seed, 1 + (PICTURES_PER_WORLD - 1) * FRAMES_BETWEEN)
        for index, step in enumerate(steps):
            if index % FRAMES_BETWEEN == 0:
                yield step.frame, simulator


def _worlds(first_seed: int, num_worlds: int, width: int, height: int) -> Iterator[tuple[int, Arm]]:
    """Yield seeds, and the simulator that is to play each."""
    from tqdm import tqdm

    simulator = scenarios.make("arm", width, height)
    try:
        for seed in tqdm(range(first_seed, first_seed + num_worlds), "drawing", unit="world", leave=False):
            yield seed, simulator
    finally:
        simulator.close()
