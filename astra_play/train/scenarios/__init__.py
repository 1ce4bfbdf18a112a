"""Scenarios: small simulated worlds that answer controls with frames and true poses; the source of training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astra_play.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np

    from astra_play.train.scenarios.explore import Explore, WalkControl

NAMES = ("explore",)


def make(name: str, width: int = 128, height: int = 96) -> Explore:
    """Return the scenario called `name`, rendering frames of `width` x `height` pixels."""
    check_name(name)
    from astra_play.train.scenarios.explore import Explore
    return Explore(width, height)


def player(name: str, rng: np.random.Generator) -> Generator[WalkControl, bool | None, None]:
    """Return the behaviour policy of a scenario, a generator of controls that is told whether each was blocked."""
    check_name(name)
    from astra_play.train.scenarios.policy import wander
    return wander(rng)


def check_name(name: str) -> None:
    """Raise ConfigError unless there is a scenario called `name`."""
    if name not in NAMES:
        raise ConfigError(f"there is no scenario {name!r}{did_you_mean(name, NAMES)}")
