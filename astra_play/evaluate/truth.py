"""Held-out walks, with which rollouts are compared: the simulator under its behaviour policy, rendered on the spot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import WorldConfig
from ..errors import ConfigError
from ..train import scenarios
from .motions import motions_of

DEFAULT_SCENARIO = "explore"  # of weights that name none


@dataclass(frozen=True)
class Walk:
    """One walk; entry t of everything but `frames` and `poses` is what leads into frame t, and entry 0 stands still.

    `frames`: (F, H, W, 3) uint8; `rows`: (F, A) float32; `commanded`, `moved`: (F, M) of the scenario's motions, what
    was asked for and what was done (less where something stood in the way); `poses`: (F, P), see the scenario.
    """

    seed: int
    frames: np.ndarray
    rows: np.ndarray
    commanded: np.ndarray
    moved: np.ndarray
    poses: np.ndarray

    def part(self, start: int, num_frames: int) -> Walk:
        """Return `num_frames` frames from `start` on."""
        own = slice(start, start + num_frames)
        return Walk(self.seed, self.frames[own], self.rows[own], self.commanded[own], self.moved[own], self.poses[own])


class Simulator:
    """The scenario of a world, for one evaluation; a context manager, since it holds a picture buffer."""

    def __init__(self, config: WorldConfig) -> None:
        self.name = config.scenario or DEFAULT_SCENARIO
        self.motions = motions_of(self.name)
        self._scenario = scenarios.make(self.name, config.width, config.height)
        modality = self._scenario.CONTROLS.modality
        if modality != config.controls.modality:
            raise ConfigError(f"the world {config.name!r} is driven by {config.controls.modality!r} actions, but the "
                              f"simulator {self.name} by {modality!r}; there is no truth to compare with")
        if self._scenario.FPS != config.fps or config.codec.frames_per_latent != 1:
            raise ConfigError(f"the world {config.name!r} has {config.fps} frames a second and "
                              f"{config.codec.frames_per_latent} per latent frame, but evaluation needs "
                              f"{self._scenario.FPS} and 1, one action row for each frame of the simulator {self.name}")

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self._scenario.close()

    def walk(self, seed: int, num_frames: int) -> Walk:
        """Play the world of `seed` by the behaviour policy."""
        frames, poses, controls, rows = zip(*scenarios.play(self.name, self._scenario, seed, num_frames),
                                             strict=True)
        poses = np.array(poses)
        moved = self.motions.between(poses[:-1], poses[1:])
        return Walk(seed, np.stack(frames), np.stack(rows),
                    self.motions.commanded(np.array([c.values() for c in controls])),
                    np.concatenate([np.zeros_like(moved[:1]), moved]), poses)
