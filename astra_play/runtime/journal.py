"""The journal of a session: the generator thread tells what a replay must know, and listeners are told in that order.

Frames alone can be had as any output has them. A replay also needs what lies between them: the seed and the start
pictures of every start, the settings that came into force, the moments when the controls were let go. Nothing is kept
here, so a session that nobody records pays for a few calls per chunk. Whoever wants to look back keeps what it hears;
`record.past` does, packed and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ..actions.row_makers import Place
from ..chunks import FrameChunk

SettingName = Literal["guidance_scale", "num_denoise_steps", "num_threads", "draws_finely", "prompt"]


@dataclass(frozen=True)
class Started:
    """The world begins anew. `prompt_frames`: (F, H, W, 3) uint8 that it was shown; None: its own first picture.

    `hand_m`: where they show the hand of an arm, where that is known.
    """

    seed: int
    reset_count: int
    prompt_frames: np.ndarray | None
    hand_m: Place | None = None


@dataclass(frozen=True)
class Changed:
    """A setting has another value, from the next chunk on. The first value of each is told before the first start."""

    name: SettingName
    value: float | int | bool | str


@dataclass(frozen=True)
class Stilled:
    """The controls were let go before the next chunk: a turn that was still to be made is forgotten."""


@dataclass(frozen=True)
class Made:
    """A chunk, number `number` over all resets, was made and handed to the outputs."""

    number: int
    chunk: FrameChunk


Entry = Started | Changed | Stilled | Made


class JournalListener(Protocol):
    """Whoever listens. `hear` runs on the generator thread, so it must return at once and raise nothing."""

    def hear(self, entry: Entry) -> None: ...


class Journal:
    """Passes entries on. Subscribe before the session starts: nothing is told twice."""

    def __init__(self) -> None:
        self._listeners: tuple[JournalListener, ...] = ()
        self._num_chunks = 0
        self._is_still = True  # nothing was made since the controls were let go, or since the start
        self._values: dict[str, float | int | bool | str] = {}

    def subscribe(self, listener: JournalListener) -> None:
        self._listeners = (*self._listeners, listener)

    # --- the generator's end ----------------------------------------------------------------------------------------

    def resume(self, num_chunks: int) -> None:
        """Count on from `num_chunks`, of which listeners were told elsewhere."""
        self._num_chunks, self._is_still = num_chunks, False

    def started(self, seed: int, reset_count: int, prompt_frames: np.ndarray | None,
                hand_m: Place | None = None) -> None:
        self._is_still = True
        self._tell(Started(seed, reset_count, prompt_frames, hand_m))

    def changed(self, name: SettingName, value: float | int | bool | str) -> None:
        """Note the value of a setting; one that it had before is no change."""
        if self._values.get(name) != value:
            self._values[name] = value
            self._tell(Changed(name, value))

    def stilled(self) -> None:
        """Note that the controls were let go; again before anything was made is no news."""
        if not self._is_still:
            self._is_still = True
            self._tell(Stilled())

    def made(self, chunk: FrameChunk) -> None:
        self._is_still = False
        self._num_chunks += 1
        self._tell(Made(self._num_chunks - 1, chunk))

    def _tell(self, entry: Entry) -> None:
        for listener in self._listeners:
            listener.hear(entry)
