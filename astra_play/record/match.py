"""A recording and what is here -> the world to replay it in, and in what the two differ, said before it starts."""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from ..config import WorldConfig
from ..errors import RecordingError, WeightsError
from ..paths import find_world
from .format import Head
from .identity import config_sha256, machine_facts, weights_sha256
from .reader import Recording

SHOWN_DIGITS = 8  # of a hash in a sentence


def world_name(head: Head, given: str | None = None) -> str:
    """Return the name to load the recorded world by; `given` replaces where it lies, never its scenario."""
    name = given or head.world
    return f"{name.removesuffix('/' + head.scenario)}/{head.scenario}" if head.scenario else name


def find_recorded_world(recording: Recording, given: str | None = None) -> Path:
    """Return the folder of the recorded world; RecordingError if it is not here, WeightsError if `given` is not."""
    head = recording.head
    if given and (scenario := find_world(given)[1]) and head.scenario and scenario != head.scenario:
        raise RecordingError(f"{recording.path} was played in {head.scenario!r}, but --world {given} is "
                             f"{scenario!r}; give the world without a scenario")
    try:
        return find_world(world_name(head, given))[0]
    except WeightsError as error:
        raise RecordingError(f"{recording.path} was made in the world {head.world!r}, which is not here "
                             f"({error}); copy it to weights/, or say with --world where it lies") from None


def check_weights(recording: Recording, folder: Path, config: WorldConfig) -> None:
    """Refuse weights that are not those of the recording. Reads all of them, which takes seconds if they are large."""
    here = weights_sha256(folder, config)
    for name, recorded in recording.head.weights_sha256.items():
        if name not in here:
            raise RecordingError(f"{recording.path} was made with {name}, which is not in {folder}; take the world's "
                                 "files again, or give another folder with --world")
        if here[name] != recorded:
            raise RecordingError(f"{recording.path} was made with weights {recorded[:SHOWN_DIGITS]} ({name}), but "
                                 f"those of {folder} are {here[name][:SHOWN_DIGITS]}; give the world that it was made "
                                 "with by --world")


def differences(recording: Recording, config: WorldConfig, device: str, precision: str) -> list[str]:
    """Return in what this player, machine and config differ from the recording's, each as half a sentence.

    None of it keeps a recording from being replayed, but any of it may round sums another way.
    """
    head, machine = recording.head, machine_facts()
    found = [("player", head.player_version, __version__),
             ("config", head.config_sha256[:SHOWN_DIGITS], config_sha256(config)[:SHOWN_DIGITS]),
             ("device", head.device, device), ("precision", head.precision, precision),
             *((name, head.machine.get(name, "unknown"), here) for name, here in machine.items())]
    return [f"{name} {recorded} there, {here} here" for name, recorded, here in found if recorded != here]
