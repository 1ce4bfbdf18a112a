"""A moment of a world, to come back to: `World.snapshot` makes it, `World.restore` goes on from it, replays keep it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from .panorama import Panorama
from .place import Place


@dataclass(frozen=True)
class WorldSnapshot:
    """What all later chunks depend on besides their actions. None of its tensors is written to by playing on.

    `run`: the history, the carried picture and what surrounds it, the text. `decoder_memory`: what the decoder has
    seen. `noise`, `commit_noise`: states of the generators of noise. The settings are those in force.
    """

    run: dict[str, Any]
    decoder_memory: Any
    noise: Tensor
    commit_noise: Tensor
    guidance_scale: float
    sigmas: tuple[float, ...]

    @cached_property
    def num_bytes(self) -> int:
        """Memory that it keeps from being given back, tensors that the world itself still uses included."""
        seen: dict[int, int] = {}
        _note_storages([self.run, self.decoder_memory, self.noise, self.commit_noise], seen)
        return sum(seen.values())


def _note_storages(value: Any, seen: dict[int, int]) -> None:
    """Note the size of every storage once, however many tensors share it."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, dict):
        for own in value.values():
            _note_storages(own, seen)
    elif isinstance(value, (list, tuple)):
        for own in value:
            _note_storages(own, seen)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _note_storages(getattr(value, field.name), seen)
    elif isinstance(value, Place | Panorama):
        _note_storages(vars(value), seen)
