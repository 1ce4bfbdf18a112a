"""Scenarios: small simulated worlds that answer controls with frames and true poses; the source of training data."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from astra_play.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from ...config import ControlsConfig
    from .interface import Player, Scenario

# name -> (module and class of the simulator, module and function of its behaviour policy)
_SCENARIOS = {
    "explore": ("explore.Explore", "policy.wander"),
    "doom": ("doom.Doom", "doom_policy.wander"),
    "arm": ("arm.Arm", "arm_policy.handle"),
    "drive": ("drive.Drive", "drive_policy.drive"),
}
NAMES = tuple(_SCENARIOS)


def make(name: str, width: int = 128, height: int = 96) -> Scenario:
    """Return the scenario called `name`, rendering frames of `width` x `height` pixels."""
    check_name(name)
    return _import(_SCENARIOS[name][0])(width, height)


def player(name: str, rng: np.random.Generator, simulator: Scenario | None = None) -> Player:
    """Return the behaviour policy of a scenario, a generator of controls that is sent what came of each (`Seen`).

    Some policies look at the world that they play in: they need the simulator, reset before the first control.
    """
    check_name(name)
    return _import(_SCENARIOS[name][1])(rng, simulator)


def controls(name: str) -> ControlsConfig:
    """Return what the player's controls mean in the scenario called `name`; the simulator need not be installed."""
    check_name(name)
    return _import(_SCENARIOS[name][0]).CONTROLS


def check_name(name: str) -> None:
    """Raise ConfigError unless there is a scenario called `name`."""
    if name not in NAMES:
        raise ConfigError(f"there is no scenario {name!r}{did_you_mean(name, NAMES)}")


def _import(place: str):
    module, name = place.rsplit(".", 1)
    return getattr(import_module(f"{__name__}.{module}"), name)
