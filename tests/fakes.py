"""Stand-ins for the machine's clock and for a world, small enough to be obviously right. No torch."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

import numpy as np

from astra_play.chunks import ActionChunk, ActionSample, FrameChunk
from astra_play.config import CodecConfig, ControlsConfig, ModelConfig, StreamConfig, WorldConfig


def fake_config(fps: int = 10, latent_frames_per_chunk: int = 1, frames_per_latent: int = 1,
                **controls: object) -> WorldConfig:
    """A complete config of a world that exists only in tests."""
    return WorldConfig(
        name="fake", title="Fake", description="counts its frames", width=8, height=6, fps=fps,
        model=ModelConfig(dim=8, ffn_dim=8, num_heads=1, num_layers=1, latent_channels=4, grid_height=2, grid_width=2),
        codec=CodecConfig(frames_per_latent=frames_per_latent),
        stream=StreamConfig(latent_frames_per_chunk=latent_frames_per_chunk),
        controls=ControlsConfig(**controls))


class FakeClock:
    """Time that moves only when told to or waited for; `at` lets the other thread's deeds happen meanwhile."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s
        self._deeds: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.now_s

    def at(self, time_s: float, deed: Callable[[], None]) -> None:
        """Do something when the time comes, as another thread would."""
        heapq.heappush(self._deeds, (time_s, next(self._order), deed))

    def advance(self, seconds: float) -> None:
        self._run_until(self.now_s + seconds, None)

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        if not stop.is_set():
            self._run_until(self.now_s + max(0.0, seconds), stop)
        return stop.is_set()

    def _run_until(self, end_s: float, stop: threading.Event | None) -> None:
        while self._deeds and self._deeds[0][0] <= end_s:
            time_s, _, deed = heapq.heappop(self._deeds)
            self.now_s = max(self.now_s, time_s)
            deed()
            if stop is not None and stop.is_set():
                return
        self.now_s = end_s


class FakeWorld:
    """A PlayableWorld that paints each frame with a running number and writes down every call.

    `step_s` and `commit_s` pass on `clock` (a FakeClock). `gates` maps the name of a call to an event it waits for,
    and `failures` maps it to the exception it raises.
    """

    def __init__(self, config: WorldConfig | None = None, clock: FakeClock | None = None, step_s: float = 0.0,
                 commit_s: float = 0.0, gates: dict[str, threading.Event] | None = None,
                 failures: dict[str, Exception] | None = None) -> None:
        self.config = config or fake_config()
        self.guidance_scale = 1.0
        self.num_denoise_steps = 2
        self.num_threads = 1
        self.draws_finely = False
        self.probes_threads = True
        self.prompt = ""
        self.calls: list[str] = []
        self.entered = {name: threading.Event() for name in ("warm_up", "reset", "prefill", "set_prompt", "step",
                                                             "commit", "close")}
        self.actions: list[ActionChunk] = []
        self.seeds: list[int] = []
        self.prompts: list[np.ndarray] = []
        self.threads: set[str] = set()
        self.step_s = step_s
        self.commit_s = commit_s
        self._clock = clock
        self._gates = gates or {}
        self._failures = failures or {}
        self._num_frames = 0

    def warm_up(self) -> None:
        self._call("warm_up")

    def reset(self, seed: int) -> None:
        self._call("reset")
        self.seeds.append(seed)

    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._call("prefill")
        self.prompts.append(frames)

    def set_prompt(self, prompt: str) -> None:
        self._call("set_prompt")
        self.prompt = prompt

    def step(self, action: ActionChunk) -> np.ndarray:
        self.actions.append(action)
        self._call("step", self.step_s)
        frames = np.zeros((self.config.frames_per_chunk, self.config.height, self.config.width, 3), dtype=np.uint8)
        for frame in frames:
            frame[:] = self._num_frames % 256
            self._num_frames += 1
        return frames

    @property
    def last_latents(self) -> np.ndarray:
        return np.full((1, 4, 2, 2), self._num_frames, np.float32)

    def commit(self) -> None:
        self._call("commit", self.commit_s)

    def passes_per_chunk(self) -> float:
        return self.num_denoise_steps * (2.0 if self.guidance_scale != 1.0 else 1.0) + 1.0

    def close(self) -> None:
        self._call("close")

    def _call(self, name: str, seconds: float = 0.0) -> None:
        self.calls.append(name)
        self.threads.add(threading.current_thread().name)
        self.entered[name].set()
        if name in self._gates:
            self._gates[name].wait(5.0)
        if name in self._failures:
            raise self._failures[name]
        if self._clock is not None and seconds:
            self._clock.advance(seconds)


class ListOutput:
    """A FrameOutput that keeps what it is given."""

    def __init__(self) -> None:
        self.chunks: list[FrameChunk] = []
        self.closed = False

    def publish(self, chunk: FrameChunk) -> None:
        self.chunks.append(chunk)

    def close(self) -> None:
        self.closed = True


def fake_chunk(chunk_index: int = 0, reset_count: int = 0, num_frames: int = 1,
               event_times_s: tuple[float, ...] = ()) -> FrameChunk:
    """A finished chunk of black frames whose sample carries the given events."""
    sample = ActionSample(event_times_s=event_times_s)
    action = ActionChunk(sample, np.zeros((1, 12), dtype=np.float32), "camera", chunk_index, reset_count)
    return FrameChunk(np.zeros((num_frames, 6, 8, 3), dtype=np.uint8), chunk_index, reset_count, action)
