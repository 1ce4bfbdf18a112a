"""The one face that all scenarios have: `reset(seed)`, `step(control)`, a pose, and a policy that plays them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from ...config import ControlsConfig


class Control(Protocol):
    """What is commanded for one frame."""

    def row(self) -> np.ndarray:
        """Return the (A,) float32 action row of this motion, of the scenario's modality, without any limits."""
        ...

    def values(self) -> tuple[float, ...]:
        """Return the numbers that episodes store, always the same ones in the same order."""
        ...


class Scenario(Protocol):
    """A small simulated world. The same seed and controls give the same frames and poses."""

    FPS: int
    CONTROLS: ControlsConfig  # modality, buttons, camera: what the player's menu and the action rows need
    IDLE: Control

    def reset(self, seed: int) -> np.ndarray:
        """Build the world of `seed` and return its first frame, (H, W, 3) uint8 RGB."""
        ...

    def row(self, control: Control) -> np.ndarray:
        """Return the (A,) float32 action row of a control that is about to be acted on: the motion that it asks for,
        as far as the player's own body allows (a hand has a reach), whatever stands in the way."""
        ...

    def step(self, control: Control) -> np.ndarray:
        """Act for one frame and return what is seen after it."""
        ...

    @property
    def pose(self) -> np.ndarray:
        """The true state as float64 numbers, always the same ones in the same order."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether something stood in the way of the last step."""
        ...

    def close(self) -> None:
        """Give the memory back. Closing twice is harmless."""
        ...


class Step(NamedTuple):
    """One frame of a world that is played: `frame` (H, W, 3) uint8, the `pose` in it, and the `control` and action
    `row` that led into it; those of the first one stand still."""

    frame: np.ndarray
    pose: np.ndarray
    control: Control
    row: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What a behaviour policy is told after each of its controls: the scenario's `blocked` and `pose`."""

    blocked: bool
    pose: np.ndarray

    def __bool__(self) -> bool:
        """Refuse: `if seen` would always hold, where `if seen.blocked` is meant."""
        raise TypeError("a Seen is neither true nor false; ask for .blocked or .pose")


# Yields controls for ever and is sent, after each, what came of it.
Player = Generator[Control, Seen | None, None]
