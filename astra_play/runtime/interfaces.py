"""What the runtime asks of its neighbours: a world to run, a source of actions, outputs for frames, a clock."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from ..chunks import ActionChunk, ActionSample, FrameChunk
from ..config import WorldConfig


class Clock(Protocol):
    """Monotonic seconds, and a wait that a stop event can cut short."""

    def now(self) -> float: ...

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait at most `seconds`; return True if `stop` was set meanwhile."""
        ...


class PlayableWorld(Protocol):
    """The only face of `model.world.World` that a session sees. One thread owns it: the generator."""

    config: WorldConfig
    guidance_scale: float
    num_denoise_steps: int
    num_threads: int  # compute threads; setting it counts from the next pass on
    draws_finely: bool  # take the time for finer pictures of the same size; False, and stays so, where there are none

    @property
    def probes_threads(self) -> bool:
        """Whether fewer compute threads may be faster, so that it is worth trying."""
        ...

    def warm_up(self) -> None: ...

    def reset(self, seed: int) -> None: ...

    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Show the world prompt frames (F, H, W, 3) uint8 and the rows that led into them; None means idle."""
        ...

    def step(self, action: ActionChunk) -> np.ndarray:
        """Generate and decode one chunk: return its frames (F, H, W, 3) uint8. The commit is left for `commit`."""
        ...

    @property
    def last_latents(self) -> np.ndarray | None:
        """The clean latents (T, C, h, w) float32 of the newest chunk, read-only and never written again."""
        ...

    def commit(self) -> None:
        """Write the finished chunk to the history (free when it is folded into the next chunk's first pass)."""
        ...

    def set_prompt(self, prompt: str) -> None:
        """Take another prompt from the next chunk on; reading it may take long. On any error the old one stays."""
        ...

    def passes_per_chunk(self) -> float:
        """Network passes that one chunk costs at the current guidance and steps, commit included."""
        ...

    def close(self) -> None: ...


class ActionSource(Protocol):
    """Where action samples come from: live controls, a script, a recording."""

    def take(self, now_s: float) -> ActionSample | None:
        """Return what is asked for now; None: nothing more is to be played, until something is told otherwise."""
        ...


class FrameOutput(Protocol):
    """Whoever wants finished frames: the playout queue of a window, a recorder, a remote player."""

    def publish(self, chunk: FrameChunk) -> None: ...

    def close(self) -> None: ...
