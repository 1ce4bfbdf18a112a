"""A play that is recorded, by hand: chunks are made and told to a real recorder, then its files are checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from fakes_display import CardWorld, card_config
from naive_boxes import pictures

from astra_play.chunks import ActionChunk, ActionSample, FrameChunk
from astra_play.record.facts import make_head
from astra_play.record.format import Chunk, array_hash
from astra_play.record.reader import Recording, read_recording
from astra_play.record.recorder import Notice, Recorder, Target
from astra_play.runtime.journal import Journal

FPS = 50
PATIENCE_S = 20.0
WHEN = datetime(2026, 3, 4, 5, 6, 7)


class RecordedPlay:
    """A card world played by hand on the test's thread: each `chunk` tells the recorder as the generator would."""

    def __init__(self, folder: Path, **recorder: object) -> None:
        self.folder = folder
        self.config = card_config(FPS)
        self.recorder = Recorder(self.config, **{"make_head": lambda: make_head(self.config, "card"), **recorder})
        self.journal = Journal()
        self.journal.subscribe(self.recorder)
        self.made: list[FrameChunk] = []
        self._chunk_index = self._reset_count = 0
        for name, value in (("guidance_scale", 1.0), ("num_denoise_steps", 1), ("num_threads", 2),
                            ("draws_finely", False)):
            self.journal.changed(name, value)

    def start(self, seed: int = 7, reset_count: int = 0) -> None:
        self.world = CardWorld(self.config)
        self.world.reset(seed)
        self._chunk_index, self._reset_count = 0, reset_count
        self.journal.started(seed, reset_count, np.full((1, 24, 32, 3), seed, np.uint8))

    def chunk(self, count: int = 1, settle: bool = True) -> None:
        for _ in range(count):
            number = len(self.made)
            rows = np.zeros((1, 12), np.float32)
            rows[0, [0, 5, 10]] = 1.0
            rows[0, 11] = -0.01 * (number % 5)
            sample = ActionSample(frozenset({"forward"}), (float(number), 0.0), (), taken_at_s=100.0 + number / FPS)
            action = ActionChunk(sample, rows, "camera", self._chunk_index, self._reset_count)
            frames = self.world.step(action)
            self.made.append(FrameChunk(frames, self._chunk_index, self._reset_count, action, 1.0,
                                        self.world.last_latents))
            self._chunk_index += 1
            self.journal.made(self.made[-1])
            if settle and number % 20 == 19:
                self.settle()

    def settle(self) -> None:
        """Wait until everything that was heard is written."""
        self.until(lambda: self.recorder.is_idle)

    def until(self, come_true: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not come_true():
            assert time.monotonic() < end_s, "waited in vain"
            time.sleep(0.001)

    def target(self, name: str = "clip", **changes: object) -> Target:
        return Target(self.folder, name, WHEN, **changes)

    def close(self) -> list[Notice]:
        self.recorder.close()
        return self.notices()

    def notices(self) -> list[Notice]:
        found = []
        while (notice := self.recorder.notice()) is not None:
            found.append(notice)
        return found

    def check(self, name: str = "clip", video_from: int = 0, log_from: int = 0) -> Recording:
        """Check that log and video hold what was made, chunk by chunk; return the log."""
        read = read_recording(self.folder / f"{name}.astra")
        assert read.loss is None
        for chunk in read.chunks:
            made = self.made[chunk.number]
            assert (chunk.chunk_index, chunk.reset_count) == (made.chunk_index, made.reset_count)
            assert np.array_equal(chunk.action("camera").rows, made.action.rows)
            assert chunk.action("camera").sample.mouse_px == made.action.sample.mouse_px
            assert chunk.latents in ("", array_hash(made.latents)) and chunk.frames in ("", array_hash(made.frames))
        assert [chunk.number for chunk in read.chunks] == list(range(log_from, log_from + len(read.chunks)))
        shown = [chunk.number for chunk in read.chunks if chunk.video]
        video = self.folder / f"{name}.mp4"
        times_s = list(pictures(video)) if video.exists() else []
        assert times_s == [Fraction(number - video_from, FPS) for number in shown]
        return read


@contextmanager
def recorded_plays(folder: Path) -> Iterator[Callable[..., RecordedPlay]]:
    """Lend a maker of plays that record into a folder; all recorders are closed at the end."""
    plays: list[RecordedPlay] = []

    def make(**recorder: object) -> RecordedPlay:
        plays.append(RecordedPlay(folder, **recorder))
        return plays[-1]

    try:
        yield make
    finally:
        for play in plays:
            play.recorder.close()


def kinds(read: Recording) -> list[type]:
    return [type(entry) for entry in read.entries if not isinstance(entry, Chunk)]
