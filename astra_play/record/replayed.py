"""A recording as a source and a world of an ordinary session: the same loop that plays it live plays it again.

The window holds a `ReplayControl` and never waits for anything; the generator thread runs a `ReplayedWorld`, which
gives the world the recorded rows. Going to another place is a reset of the session: whatever was made before it is
dropped, as after any reset. Taking over hands the world, where the window stands, to the session that plays on.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..actions.row_makers import RowMaker
from ..chunks import ActionChunk, ActionSample
from ..config import WorldConfig
from ..errors import RecordingError
from .reader import Recording
from .replay import Replay, ReplayableWorld, recorded_chunks


@dataclass(frozen=True)
class HandedOver:
    """A world where a replay was left, and the row maker that has followed it there."""

    world: ReplayableWorld
    row_maker: RowMaker


class ReplayControl:
    """What window and generator thread say to each other about a replay. Plain values, each with one writer."""

    def __init__(self, recording: Recording) -> None:
        """RecordingError for a recording that cannot be replayed."""
        self.recording = recording
        self.recorded = recorded_chunks(recording)
        self.leaving = threading.Event()
        self.limit: int | None = None  # (window) the chunk before which to wait; None: go on to the end
        self._wanted = 0  # (window) the chunk to go to with the next reset
        self.index = 0  # (generator) the chunk that is made next
        self.is_going = False  # (generator) on the way to what is wanted
        self.checkpoint_bytes = 0  # (generator)
        self._hand_over_at: int | None = None  # (window)
        self._handed_over: queue.SimpleQueue[HandedOver | BaseException] = queue.SimpleQueue()

    # --- the window's end -------------------------------------------------------------------------------------------

    def want(self, index: int) -> int:
        """Ask for a chunk to be the next; the session must be reset after this. Returns it, within the recording."""
        self._wanted = min(max(index, 0), len(self.recorded) - 1)
        return self._wanted

    @property
    def wanted(self) -> int:
        return self._wanted

    def hand_over(self, index: int) -> None:
        """Keep the world when the session stops, so that play goes on with chunk `index` in another session."""
        self._hand_over_at = index

    def taken_over(self) -> HandedOver:
        """Wait for the world that was asked for (another session's generator thread)."""
        handed = self._handed_over.get()
        if isinstance(handed, BaseException):
            raise handed
        return handed

    # --- the generator's end ----------------------------------------------------------------------------------------

    def take(self, now_s: float) -> ActionSample | None:
        """Return what was asked for in the chunk to come, None after the last: the replay is a session's source."""
        limit = len(self.recorded) if self.limit is None else min(self.limit, len(self.recorded))
        return None if self.index >= limit else self.recorded[self.index].chunk.sample

    def close_world(self, replay: Replay | None, world: ReplayableWorld) -> None:
        """Give the world up, or bring it to where it was asked for and hand it over.

        Whoever asks for it when it was given up already, after a failure, must not wait for ever.
        """
        if self._hand_over_at is None or replay is None:
            self._handed_over.put(RecordingError(f"the replay of {self.recording.path} ended before it could be taken "
                                                 "over; open it again"))
            world.close()
            return
        try:
            replay.go_to(self._hand_over_at)
            self._handed_over.put(HandedOver(world, replay.row_maker))
        except BaseException as error:  # the other session waits for an answer, whatever it is
            self._handed_over.put(error)


class ReplayedWorld:
    """A PlayableWorld that plays what was recorded, whatever it is asked for."""

    def __init__(self, control: ReplayControl, load: Callable[[], ReplayableWorld]) -> None:
        self._control = control
        self._world = load()
        self._replay: Replay | None = None  # made with the first reset, after the world was warmed up
        self._latents: np.ndarray | None = None

    @property
    def config(self) -> WorldConfig:
        return self._world.config

    @property
    def guidance_scale(self) -> float:
        return self._world.guidance_scale

    @property
    def num_denoise_steps(self) -> int:
        return self._world.num_denoise_steps

    @property
    def num_threads(self) -> int:
        return self._world.num_threads

    @property
    def draws_finely(self) -> bool:
        return self._world.draws_finely

    @property
    def probes_threads(self) -> bool:
        return False  # the recording says on how many it was made

    def warm_up(self) -> None:
        self._world.warm_up()

    def reset(self, seed: int) -> None:
        """Go where the window wants to be; given up as soon as it wants to be elsewhere or leaves."""
        control = self._control
        if self._replay is None:
            threads = self._world.num_threads
            is_recorded = threads == control.recording.head.num_threads
            # a world that was loaded on other threads was so on purpose, and keeps them
            self._replay = Replay(control.recording, self._world, None if is_recorded else {"num_threads": threads})
        wanted, control.is_going = control.wanted, True
        try:
            self._replay.go_to(wanted, self._may_go_on(wanted))
        finally:
            control.is_going = False
            self._note_place()

    def _may_go_on(self, wanted: int) -> Callable[[], bool]:
        def may_go_on() -> bool:
            self._note_place()
            return not self._control.leaving.is_set() and self._control.wanted == wanted

        return may_go_on

    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> None:
        raise RecordingError("a replay begins with the recorded pictures; it cannot be shown others")

    def step(self, action: ActionChunk) -> np.ndarray:
        """Make the next recorded chunk; what it was given is recorded, so that the action only tells where it is."""
        made = self._replay.step()
        self._latents = made.latents
        self._note_place()
        return made.frames

    def _note_place(self) -> None:
        self._control.index = self._replay.index
        self._control.checkpoint_bytes = self._replay.checkpoint_bytes

    @property
    def last_latents(self) -> np.ndarray | None:
        return self._latents

    def commit(self) -> None:
        """Nothing is left to do: each step has committed its chunk."""

    def set_prompt(self, prompt: str) -> None:
        raise RecordingError("a replay has the recorded prompt; take over to write another")

    def passes_per_chunk(self) -> float:
        return self._world.passes_per_chunk()

    def close(self) -> None:
        self._control.close_world(self._replay, self._world)
