"""One run with a player: the main thread's face of the generator thread, the playout queue and the stats.

Stop order: the stop event is set and the generator woken, it leaves after the call it is in and closes the world, it
is joined, then the outputs are closed. The first failure wins and is kept in `error`.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Literal

import numpy as np

from ..actions.row_makers import Place
from ..config import WorldConfig
from .generator import (
    Command,
    Generator,
    Guidance,
    Prompt,
    PromptOutcome,
    Reset,
    Resume,
    Settings,
    Steps,
    WorldFactory,
)
from .interfaces import ActionSource, Clock, FrameOutput
from .journal import Journal
from .playout import PlayoutQueue
from .stats import Stats

__all__ = ["PromptOutcome", "Resume", "Session", "Settings", "Status"]

log = logging.getLogger(__name__)

Status = Literal["loading", "warming up", "playing", "reading the prompt", "paused", "failed", "stopped"]

STOP_WITHIN_S = 0.8  # closing a window must feel instant; a world inside a longer call is left to its daemon thread


class Session:
    """Build it, `start` it, poll `playout` for frames, `stop` it. Call every method from the main thread."""

    def __init__(self, world_factory: WorldFactory, source: ActionSource, clock: Clock,
                 settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._clock = clock
        self._seed = settings.seed
        self._prompt_frames, self._hand_m = settings.prompt_frames, settings.hand_m
        self._reset_count = 0
        self._stopped = False
        self.playout = PlayoutQueue(clock)
        self.stats = Stats(clock, self.playout)
        self._generator = Generator(world_factory, source, clock, self.playout, self.stats, settings)
        self._thread = threading.Thread(target=self._generator.run, name="astra-generator", daemon=True)

    def start(self) -> None:
        """Begin to load the world; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop from any state, within STOP_WITHIN_S and what the outputs take to close. Stopping twice is harmless."""
        if self._stopped:
            return
        self._stopped = True
        self._generator.stop.set()
        self._generator.wake.set()
        self.playout.close()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            log.info("The world did not stop within %.1f s; its thread ends with the process.", STOP_WITHIN_S)
        for output in self._generator.outputs:
            self._close_output(output)

    def _close_output(self, output: FrameOutput) -> None:
        try:
            output.close()
        except Exception as error:
            if self._generator.error is None:
                self._generator.error = error
            log.warning("Closing an output failed: %s", error)

    @property
    def status(self) -> Status:
        if self._generator.error is not None:
            return "failed"
        if self._stopped:
            return "stopped"
        if self._generator.phase == "playing" and self.paused:
            return "paused"
        return self._generator.phase

    @property
    def error(self) -> BaseException | None:
        """The first failure of the session, or None."""
        return self._generator.error

    @property
    def config(self) -> WorldConfig | None:
        """The config of the world, or None until it is loaded."""
        return self._generator.config

    @property
    def paused(self) -> bool:
        return self._generator.paused.is_set()

    @property
    def seed(self) -> int:
        """The seed of the current start."""
        return self._seed

    @property
    def reset_count(self) -> int:
        return self._reset_count

    @property
    def guidance_scale(self) -> float | None:
        """What the next chunk is made with, or None until the world is loaded."""
        return self._generator.guidance_scale

    @property
    def num_denoise_steps(self) -> int | None:
        """What the next chunk is made with, or None until the world is loaded."""
        return self._generator.num_denoise_steps

    @property
    def num_threads(self) -> int | None:
        """Compute threads of the world now, or None until it is loaded."""
        return self._generator.num_threads

    @property
    def draws_finely(self) -> bool | None:
        """Whether the world takes the time for finer pictures, or None until it is loaded."""
        return self._generator.draws_finely

    def add_output(self, output: FrameOutput) -> None:
        """Send every chunk that is finished from now on to `output` too; it is closed when the session stops."""
        self._generator.outputs = (*self._generator.outputs, output)

    @property
    def journal(self) -> Journal:
        """Tells what a replay must know; subscribe before `start`."""
        return self._generator.journal

    def pause(self, paused: bool) -> None:
        """Stop the world and its due clock, or let both go on."""
        if paused == self.paused:
            return
        now_s = self._clock.now()
        if paused:
            self._generator.paused.set()
            self.playout.pause(now_s)
        else:
            self.playout.resume(now_s)
            self._generator.paused.clear()
        self.stats.interrupted()
        self._generator.wake.set()

    def reset(self, seed: int | None = None, prompt_frames: np.ndarray | None = None,
              hand_m: Place | None = None) -> None:
        """Start again; None keeps the seed or the prompt frames of the current start. Older frames are dropped.

        `hand_m` belongs to the prompt frames: where they show the hand of an arm, or None, not known.
        """
        self._seed = self._seed if seed is None else seed
        if prompt_frames is not None:
            self._prompt_frames, self._hand_m = prompt_frames, hand_m
        self._reset_count += 1
        self.playout.reset(self._reset_count)
        self.stats.interrupted()
        self._send(Reset(self._reset_count, self._seed, self._prompt_frames, self._hand_m))

    def set_guidance(self, scale: float) -> None:
        """Change the guidance scale from the next chunk on."""
        self._send(Guidance(scale))

    def set_steps(self, num_denoise_steps: int) -> None:
        """Change the number of denoise steps from the next chunk on."""
        self._send(Steps(num_denoise_steps))

    def set_prompt(self, text: str) -> None:
        """Let the world read another prompt. It stands still until it has; `prompt_outcome` tells when."""
        self._send(Prompt(text))

    def prompt_outcome(self) -> PromptOutcome | None:
        """Return what became of a prompt, once, or None: nothing new."""
        try:
            outcome = self._generator.prompt_outcomes.get_nowait()
        except queue.Empty:
            return None
        self.stats.interrupted()
        return outcome

    def _send(self, command: Command) -> None:
        self._generator.commands.put(command)
        self._generator.wake.set()
