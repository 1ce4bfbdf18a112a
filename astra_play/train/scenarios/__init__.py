"""Scenarios: small simulated worlds that answer controls with frames and true poses; the source of training data."""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib import import_module
from typing import TYPE_CHECKING

from astra_play.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from ...config import ControlsConfig
    from .interface import Player, Scenario, Step

# name -> (module and class of the simulator, module and function of its behaviour policy)
_SCENARIOS = {
    "explore": ("explore.Explore", "policy.wander"),
    "doom": ("doom.Doom", "doom_policy.wander"),
    "arm": ("arm.Arm", "arm_policy.handle"),
    "drive": ("drive.Drive", "drive_policy.drive"),
}
NAMES = tuple(_SCENARIOS)
PLAYER_STREAM = 1  # a policy's numbers are drawn apart from the world's


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


def play(name: str, simulator: Scenario, seed: int, num_frames: int) -> Iterator[Step]:
    """Play the world of `seed` by the scenario's behaviour policy: the first picture, then step by step."""
    import numpy as np

    from .interface import Seen, Step

    moves = player(name, np.random.default_rng([seed, PLAYER_STREAM]), simulator)
    yield Step(simulator.reset(seed), simulator.pose, simulator.IDLE, simulator.IDLE.row())
    seen = None
    for _ in range(num_frames - 1):
        control = moves.send(seen)
        row = simulator.row(control)  # before the step, which moves what it is counted from
        yield Step(simulator.step(control), simulator.pose, control, row)
        seen = Seen(simulator.blocked, simulator.pose)


def controls(name: str) -> ControlsConfig:
    """Return what the player's controls mean in the scenario called `name`; the simulator need not be installed."""
    check_name(name)
    return _import(_SCENARIOS[name][0]).CONTROLS


def check_name(name: str) -> None:
    """Raise ConfigError unless there is a scenario called `name`."""
    if name not in NAMES:
        raise ConfigError(f"there is no scenario {name!r}{did_you_mean(name, NAMES)}")


def named(text: str) -> str:
    """Return the name of a scenario that an option gives; a wrong one is refused before anything is installed."""
    try:
        check_name(text)
    except ConfigError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _import(place: str):
    module, name = place.rsplit(".", 1)
    return getattr(import_module(f"{__name__}.{module}"), name)
