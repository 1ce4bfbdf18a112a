"""`bench --record`: what recording costs the thread that makes the chunks, in paired runs.

One world is played at its own rate, a short block after another, in turns: heard by nobody, heard by a recorder that
only keeps the last 30 s, and heard by one that writes video and log. A block is compared with its neighbours of the
same turn alone, so that a machine whose speed drifts, or that others use too, says the same as a quiet one.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .actions.row_makers import make_row_maker
from .chunks import ActionChunk, ActionSample, FrameChunk
from .model.loading import load_world
from .model.world import World
from .record.facts import make_head
from .record.reader import read_recording
from .record.recorder import Recorder, Target
from .runtime.clock import MonotonicClock
from .runtime.journal import Journal

BLOCK_S = 1.0
MIN_TURNS = 4
DRAIN_S = 5.0
BYTES_PER_MB = 1e6
WALK = ActionSample(buttons=frozenset({"forward", "turn_left"}))
NOBODY, LAST_SECONDS, RECORDING = "nobody listens", "last 30 s kept", "recording"


@dataclass
class Arm:
    """One way of being listened to. Milliseconds per chunk by block: on the clock, and of this thread's own work."""

    name: str
    journal: Journal = field(default_factory=Journal)
    recorder: Recorder | None = None
    num_chunks: int = 0
    clock_ms: list[list[float]] = field(default_factory=list)
    own_ms: list[list[float]] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until what was heard is written, so that it is not paid for by the next block."""
        end_s = time.monotonic() + DRAIN_S
        while self.recorder is not None and not self.recorder.is_idle and time.monotonic() < end_s:
            time.sleep(0.002)


def measure_recording(place: Path, seconds: float, threads: int | None, clock: MonotonicClock) -> dict[str, Any]:
    """Play for about `seconds` in all and return the figures of every arm.

    `place`: the world's folder, with "/SCENARIO" after it for another scenario than the first.
    """
    torch.set_num_threads(threads or 1)
    world = load_world(place, device="cpu")
    world.warm_up()
    with tempfile.TemporaryDirectory() as written:
        arms = make_arms(world, str(place), Path(written))
        try:
            play_in_turns(world, arms, max(MIN_TURNS, round(seconds / (BLOCK_S * len(arms)))), clock)
            recorded = finish(arms, Path(written))
        finally:
            for arm in arms:
                if arm.recorder is not None:
                    arm.recorder.close()
    return {"world": world.config.name, "fps": world.config.fps, "threads": torch.get_num_threads(),
            "turns": len(arms[0].clock_ms), "chunks_per_block": len(arms[0].clock_ms[0]),
            "arms": {arm.name: figures(arm, arms[0]) for arm in arms}, **recorded}


def make_arms(world: World, name: str, folder: Path) -> list[Arm]:
    arms = [Arm(NOBODY), Arm(LAST_SECONDS), Arm(RECORDING)]
    for arm in arms[1:]:
        arm.recorder = Recorder(world.config, lambda: make_head(world.config, name))
        arm.journal.subscribe(arm.recorder)
    arms[2].recorder.begin(Target(folder, "bench", datetime.now().astimezone()))
    for arm in arms:
        arm.journal.started(0, 0, None)
    return arms


def play_in_turns(world: World, arms: list[Arm], num_turns: int, clock: MonotonicClock) -> None:
    """Play one block per arm and turn; the order turns round, so that none is always the first after a pause."""
    config = world.config
    rows = make_row_maker(config).rows(WALK)
    num_chunks = max(4, round(BLOCK_S / config.chunk_s))
    world.reset(0)
    world.prefill(world.trial_frames())
    for arm in arms:  # untimed: every thread has begun and every encoder is open
        play_block(world, rows, arm, num_chunks, clock)
        arm.clock_ms.clear()
        arm.own_ms.clear()
    for turn in range(num_turns):
        for index in range(len(arms)):
            play_block(world, rows, arms[(turn + index) % len(arms)], num_chunks, clock)


def play_block(world: World, rows: np.ndarray, arm: Arm, num_chunks: int, clock: MonotonicClock) -> None:
    """Make chunks at the world's rate, as the generator does, and note how long each kept this thread."""
    never, clock_ms, own_ms = threading.Event(), [], []
    due_s = clock.now()
    for _ in range(num_chunks):
        clock.wait(due_s - clock.now(), never)
        begin_s, begin_own_s = clock.now(), time.thread_time()
        action = ActionChunk(WALK, rows, world.config.controls.modality, arm.num_chunks)
        chunk = FrameChunk(world.step(action), arm.num_chunks, 0, action, latents=world.last_latents)
        arm.num_chunks += 1
        arm.journal.made(chunk)
        world.commit()
        own_ms.append(1000.0 * (time.thread_time() - begin_own_s))
        clock_ms.append(1000.0 * (clock.now() - begin_s))
        due_s = max(due_s + world.config.chunk_s, clock.now())
    arm.clock_ms.append(clock_ms)
    arm.own_ms.append(own_ms)
    arm.settle()


def figures(arm: Arm, base: Arm) -> dict[str, Any]:
    """Return an arm's medians, and what its blocks cost more than those of `base` in the same turn, in percent."""
    return {"clock_ms": float(np.median(arm.clock_ms)), "own_ms": float(np.median(arm.own_ms)),
            "cost_percent": {"clock": cost_percent(arm.clock_ms, base.clock_ms),
                             "own": cost_percent(arm.own_ms, base.own_ms)}}


def cost_percent(blocks_ms: list[list[float]], base_ms: list[list[float]]) -> dict[str, float]:
    """Return the median over the turns of (block's median chunk / base block's median chunk - 1), and its quartiles."""
    ratios = [np.median(block) / np.median(base) for block, base in zip(blocks_ms, base_ms, strict=True)]
    low, middle, high = 100.0 * (np.percentile(ratios, (25, 50, 75)) - 1.0)
    return {"median": float(middle), "quartiles": [float(low), float(high)]}


def finish(arms: list[Arm], folder: Path) -> dict[str, Any]:
    """End the recording and return what it wrote and what the last seconds took in memory."""
    board = arms[1].recorder.board
    held = {"buffer_mb": board.buffer_bytes / BYTES_PER_MB, "past_mb": board.past_bytes / BYTES_PER_MB}
    arms[2].recorder.close()
    read = read_recording(folder / "bench.astra")
    return {**held, "recorded_chunks": len(read.chunks), "dropped_frames": read.end.num_dropped_frames,
            "video_mb": (folder / "bench.mp4").stat().st_size / BYTES_PER_MB,
            "log_mb": (folder / "bench.astra").stat().st_size / BYTES_PER_MB}


def table(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    lines = [f"{result['world']} at {result['fps']} fps on {result['threads']} compute thread(s), {result['turns']} "
             f"turns of {result['chunks_per_block']} chunks each", "",
             "                  chunk ms   own work ms   costs more, median (quartiles)"]
    for name, arm in result["arms"].items():
        clock, own = (arm["cost_percent"][kind] for kind in ("clock", "own"))
        cost = "" if name == NOBODY else (
            f"{clock['median']:+.1f} % ({clock['quartiles'][0]:+.1f} to {clock['quartiles'][1]:+.1f}) on the clock, "
            f"{own['median']:+.1f} % ({own['quartiles'][0]:+.1f} to {own['quartiles'][1]:+.1f}) of own work")
        lines.append(f"{name:<18}{arm['clock_ms']:<11.2f}{arm['own_ms']:<14.2f}{cost}".rstrip())
    return "\n".join([*lines, "", f"recorded {result['recorded_chunks']} chunks, {result['dropped_frames']} frames "
                      f"dropped: video {result['video_mb']:.2f} MB, log {result['log_mb']:.2f} MB; the last seconds "
                      f"take {result['buffer_mb']:.1f} MB, their log {result['past_mb']:.2f} MB"])
