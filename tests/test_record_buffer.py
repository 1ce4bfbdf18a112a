"""The last seconds in memory: bounded by time and by bytes, and what comes out of it is what went in."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from astra_play.chunks import IDLE, ActionSample
from astra_play.record.buffer import MAX_BYTES, FrameBuffer
from astra_play.record.format import Chunk, Head, to_line
from astra_play.record.past import Past


def natural(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of soft shapes with some grain, about as hard to pack as a photograph."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40.0
    soft = sum(np.sin(random.normal() * x + random.normal() * y + random.uniform(0, 6)) for _ in range(12))
    grain = random.normal(0, 4, (height, width, 3))
    return np.clip(128 + 18 * soft[..., None] * random.uniform(0.5, 1, 3) + grain, 0, 255).astype(np.uint8)


def fill(buffer: FrameBuffer, num_chunks: int, frames: np.ndarray | list[np.ndarray], most: int) -> int:
    """Add chunks, check the bound after each, and return the most bytes it ever held."""
    peak = first_frame = 0
    for number in range(num_chunks):
        own = frames[number % len(frames)]
        buffer.add(number, 0, first_frame, len(own), own, IDLE)
        first_frame += len(own)
        peak = max(peak, buffer.num_bytes)
        assert buffer.num_bytes == sum(chunk.num_bytes for chunk in buffer.chunks()) <= most
    return peak


def test_half_a_minute_of_the_default_world_is_kept_as_it_is_in_17_7_megabytes() -> None:
    buffer = FrameBuffer(128, 96, fps=16)
    frames = [np.full((1, 96, 128, 3), number, np.uint8) for number in range(256)]
    assert fill(buffer, 1000, frames, most=17_700_000) == 30 * 16 * 128 * 96 * 3 == 17_694_720
    kept = buffer.chunks()
    assert [chunk.number for chunk in kept] == list(range(1000 - 480, 1000))
    assert all(buffer.unpacked(chunk.frames[0]).base is frames[chunk.number % 256] for chunk in kept)


def test_half_a_minute_of_a_large_world_is_packed_and_takes_a_tenth() -> None:
    buffer = FrameBuffer(832, 480, fps=20)
    clip = [np.stack([natural(480, 832, seed)] * 4) for seed in range(3)]
    peak = fill(buffer, 160, clip, most=MAX_BYTES)
    assert buffer.num_frames == 600  # all 30 s fit
    assert peak < 100_000_000 < 30 * 20 * 832 * 480 * 3 / 7
    packed = buffer.chunks()[-1].frames[0]
    assert np.abs(buffer.unpacked(packed).astype(int) - clip[159 % 3][0]).mean() < 4


def test_pictures_that_cannot_be_packed_cost_seconds_and_never_more_memory() -> None:
    noise = [np.random.default_rng(0).integers(0, 256, (1, 480, 832, 3), np.uint8)]
    buffer = FrameBuffer(832, 480, fps=20, max_bytes=8_000_000)
    fill(buffer, 30, noise, most=8_000_000)
    assert 3 < buffer.num_frames < 25
    assert [chunk.number for chunk in buffer.chunks()] == list(range(30 - buffer.num_frames, 30))


def test_frames_that_were_dropped_take_time_and_no_memory() -> None:
    buffer = FrameBuffer(32, 24, fps=10, seconds=1.0)
    for number in range(30):
        frames = None if number % 2 else np.zeros((1, 24, 32, 3), np.uint8)
        buffer.add(number, 0, number, 1, frames, IDLE)
    assert [chunk.number for chunk in buffer.chunks()] == list(range(20, 30))
    assert buffer.num_bytes == 5 * 24 * 32 * 3


def test_what_was_taken_out_stays_while_play_goes_on() -> None:
    buffer = FrameBuffer(32, 24, fps=10, seconds=1.0)
    for number in range(10):
        buffer.add(number, 0, number, 1, np.full((1, 24, 32, 3), number, np.uint8), IDLE)
    taken = buffer.chunks()
    for number in range(10, 40):
        buffer.add(number, 1, number, 1, np.zeros((1, 24, 32, 3), np.uint8), IDLE)
    assert [chunk.frames[0].flat[0] for chunk in taken] == list(range(10)) and buffer.oldest_reset_count == 1


# --- the log lines that go with it ----------------------------------------------------------------------------------

HEAD = Head("0", "card", "", "", {}, "", 10, 8, 6, 1, 1, "camera", 1.0, 1, 1, "float32", "cpu", "")


class NaivePast:
    """Every line of every start in plain lists."""

    def __init__(self) -> None:
        self.starts: deque[tuple[int, list[str]]] = deque()

    def begin(self, reset_count: int, line: str) -> None:
        self.starts.append((reset_count, [line]))

    def since(self, reset_count: int) -> list[list[str]]:
        return [lines for count, lines in self.starts if count >= reset_count]


@pytest.mark.parametrize("seed", range(3))
def test_packed_lines_are_the_lines_that_were_added(seed: int) -> None:
    random = np.random.default_rng(seed)
    past, naive = Past(), NaivePast()
    for reset_count in range(4):
        line = f"start {reset_count} Ünïcode \u2028 and separators\n"
        past.begin(reset_count, seed, HEAD, line)
        naive.begin(reset_count, line)
        for _ in range(int(random.integers(0, 900))):
            line = f"{random.integers(0, 1 << 60)}\n"
            past.add(line, is_chunk=True)
            naive.starts[-1][1].append(line)
    for reset_count in range(5):
        assert [list(start.lines()) for start in past.since(reset_count)] == naive.since(reset_count)
        assert [start.num_chunks + 1 for start in past.since(reset_count)] == list(map(len, naive.since(reset_count)))
    past.forget_before(2)
    assert [start.reset_count for start in past.since(0)] == [2, 3]
    past.forget_before(99)
    assert past.last().reset_count == 3 and list(past.last().lines()) == naive.starts[-1][1]


def test_lines_are_bounded_the_oldest_start_goes_first_and_the_last_one_whole() -> None:
    past = Past(max_bytes=100_000)
    random = np.random.default_rng(0)
    for reset_count in range(3):
        past.begin(reset_count, 0, HEAD, "start\n")
        for _ in range(900):
            past.add(random.bytes(40).hex() + "\n", is_chunk=True)
            assert past.num_bytes <= 100_000
    kept = past.since(0)
    assert 0 < len(kept) < 3 and all(next(iter(start.lines())) == "start\n" for start in kept)
    for _ in range(5000):
        past.add(random.bytes(40).hex() + "\n", is_chunk=True)
        assert past.num_bytes <= 100_000
    assert past.last() is None, "half a start replays nothing"


def test_a_chunks_line_takes_about_150_bytes() -> None:
    past, random = Past(), np.random.default_rng(0)
    past.begin(0, 0, HEAD, "start\n")
    for number in range(2048):
        rows = np.float32([[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, random.normal()]])
        sample = ActionSample(frozenset({"forward"}), (float(random.integers(-9, 9)), 0.0))
        past.add(to_line(Chunk(number, number, 0, number / 16 + random.normal() / 100, sample, rows,
                               random.bytes(16).hex(), random.bytes(16).hex())), is_chunk=True)
    assert past.num_bytes / 2048 < 160
