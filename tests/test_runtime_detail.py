"""Fine drawing is given up where the world's rate is missed with it, until other passes are asked for; replays know."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeClock, FakeWorld, fake_config
from test_record_format import raw_line
from test_runtime_generator import Bench
from test_runtime_journal import Listener, listened
from tiny_recording import record_offline, restless_samples
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.chunks import ActionChunk
from astra_play.model.loading import load_world
from astra_play.model.world import World
from astra_play.record.branch import continuation
from astra_play.record.facts import make_head
from astra_play.record.format import Setting, Start
from astra_play.record.reader import Recording, read_recording
from astra_play.record.recorder import Recorder, Target
from astra_play.record.replay import Replay
from astra_play.record.verify import verify
from astra_play.runtime.detail import DETAIL_WINDOW, PATIENT_WINDOW, DetailKeeper
from astra_play.runtime.generator import Guidance, Reset, Resume, Steps
from astra_play.runtime.journal import Changed

LARGE = dataclasses.replace(TINY_WORLD.codec, upscaler_width=4)
CHUNK_S = 0.0625


def drawn(times_s: list[float]) -> list[bool]:
    """Whether each chunk's successor is drawn finely."""
    keeper = DetailKeeper(CHUNK_S)
    return [keeper.chunk_took(seconds) for seconds in times_s]


def test_a_world_that_keeps_its_rate_is_drawn_finely_whatever_is_late_now_and_then() -> None:
    assert all(drawn([0.061] * 500))
    assert all(drawn([*[0.5] * 7, *[0.05] * 9] * 30))


def test_fine_drawing_is_given_up_after_one_window_and_never_comes_back() -> None:
    assert drawn([*[0.100] * 40, *[0.01] * 500]) == [*[True] * (DETAIL_WINDOW - 1), *[False] * 525]


def test_a_second_before_a_house_is_no_reason_and_a_rate_that_is_nearly_kept_is_one_later() -> None:
    house = [0.070] * (PATIENT_WINDOW // 2 - 4)
    assert all(drawn([*[0.050] * 60, *house, *[0.050] * 60, *house, *[0.050] * 60]))
    assert drawn([0.070] * 100) == [*[True] * (PATIENT_WINDOW - 1), *[False] * (101 - PATIENT_WINDOW)]
    assert not drawn([*[0.050] * 200, *[0.090] * DETAIL_WINDOW])[-1]


def test_what_went_before_another_number_of_threads_counts_for_nothing() -> None:
    keeper = DetailKeeper(CHUNK_S)
    for _ in range(10):
        assert all(keeper.chunk_took(0.100) for _ in range(DETAIL_WINDOW - 1))
        keeper.forget()
    assert all(keeper.chunk_took(0.050) for _ in range(100))


# --- in a session ---------------------------------------------------------------------------------------------------

class SlowWorld(FakeWorld):
    """On a slow machine, 10 frames a second: 160 ms a chunk on two threads and 210 ms on one; drawing costs 70 ms."""

    def step(self, action: ActionChunk) -> np.ndarray:
        self._clock.advance((0.160 if self.num_threads == 2 else 0.210) - (0.0 if self.draws_finely else 0.070))
        return super().step(action)


def slow_session(seconds: float, draws_finely: bool = True, **settings: object) -> tuple[Bench, Listener]:
    def world(clock: FakeClock) -> FakeWorld:
        made = SlowWorld(fake_config(fps=10), clock)
        made.num_threads, made.draws_finely = 2, draws_finely
        return made

    bench = Bench(world, **settings)
    listener = listened(bench)
    bench.run_until(seconds)
    assert bench.generator.draws_finely == bench.world.draws_finely
    return bench, listener


def told(listener: Listener, name: str) -> list[object]:
    return [entry.value for entry in listener.entries if isinstance(entry, Changed) and entry.name == name]


def test_a_slow_session_settles_on_many_threads_and_gives_fine_drawing_up_once() -> None:
    bench, listener = slow_session(120.0)
    assert told(listener, "draws_finely") == [True, False]
    assert told(listener, "num_threads") == [2, 1, 2, 1, 2], "what one thread is good for is asked again without it"
    at = listener.entries.index(Changed("draws_finely", False))
    assert listener.entries[at - 1].number == 3 + 8 + DETAIL_WINDOW - 1, "the trial of one thread was not counted"
    assert bench.world.num_threads == 2 and bench.stats.generator_fps == pytest.approx(11.0, abs=0.2)


def test_a_number_of_threads_that_was_asked_for_stays_and_fine_drawing_is_given_up_all_the_same() -> None:
    _, listener = slow_session(30.0, keep_threads=False)
    assert told(listener, "draws_finely") == [True, False] and told(listener, "num_threads") == [2]


@pytest.mark.parametrize("command", [Guidance(2.0), Steps(2)])
def test_asking_for_other_passes_lets_fine_drawing_be_tried_again(command: Guidance | Steps) -> None:
    def world(clock: FakeClock) -> FakeWorld:
        made = SlowWorld(fake_config(fps=10), clock)
        made.num_threads, made.draws_finely = 2, True
        return made

    bench = Bench(world)
    listener = listened(bench)
    bench.at(30.0, lambda: bench.generator.commands.put(command))
    bench.run_until(60.0)
    assert told(listener, "draws_finely") == [True, False, True, False]


@pytest.mark.parametrize("settings", [{"draws_finely": False}, {"paced": False}])
def test_worlds_that_cannot_and_sessions_that_must_not_are_left_alone(settings: dict[str, object]) -> None:
    bench, listener = slow_session(30.0, **settings)
    assert told(listener, "draws_finely") == [settings.get("draws_finely", True)]
    assert bench.stats.num_chunks > 50


# --- in a recording -------------------------------------------------------------------------------------------------

class SlowedWorld:
    """A world whose chunks take a made-up time, longer while they are drawn finely."""

    def __init__(self, world: World, clock: FakeClock) -> None:
        vars(self).update(_world=world, _clock=clock)

    def __getattr__(self, name: str) -> object:
        return getattr(self._world, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._world, name, value)

    def step(self, action: ActionChunk) -> np.ndarray:
        self._clock.advance(0.100 if self._world.draws_finely else 0.055)
        return self._world.step(action)


def record_session(folder: Path, load: Callable[[], World], seconds: float) -> Path:
    """Play a session on a slow machine with a reset on the way, and record it."""
    pictures = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    bench = Bench(lambda clock: SlowedWorld(load(), clock), prompt_frames=pictures[:1], seed=7)
    config = bench.world.config
    recorder = Recorder(config, lambda: make_head(config, str(folder / "world")))
    bench.generator.journal.subscribe(recorder)
    recorder.begin(Target(folder, "slow", datetime(2026, 3, 4)))
    bench.at(0.7 * seconds, lambda: bench.generator.commands.put(Reset(1, 8, pictures[1:])))
    try:
        bench.run_until(seconds)
    finally:
        recorder.close()
    return folder / "slow.astra"


@pytest.fixture
def slow_recording(tmp_path: Path) -> Recording:
    make_tiny_world(tmp_path / "world", codec=LARGE)
    return read_recording(record_session(tmp_path, lambda: load_world(tmp_path / "world", "cpu"), 4.5))


def world_of(recording: Recording) -> World:
    return load_world(recording.head.world, "cpu")


def given_up_at(recording: Recording) -> int:
    """The place of the first chunk that is not drawn finely."""
    return next(chunk.number for place, chunk in enumerate(recording.entries)
                if recording.entries[place - 1] == Setting("draws_finely", False))


def test_a_session_that_gave_up_replays_to_the_bit(slow_recording: Recording) -> None:
    assert slow_recording.head.draws_finely and given_up_at(slow_recording) == DETAIL_WINDOW
    assert sum(isinstance(entry, Start) for entry in slow_recording.entries) == 2
    verdict = verify(Replay(slow_recording, world_of(slow_recording)))
    assert verdict.is_same and verdict.num_chunks > 60 and verdict.num_unknown == 0
    deaf = dataclasses.replace(slow_recording, entries=tuple(
        entry for entry in slow_recording.entries if not isinstance(entry, Setting) or entry.name != "draws_finely"))
    verdict = verify(Replay(deaf, world_of(slow_recording)))
    assert verdict.first.what == "frames" and verdict.first.chunk == DETAIL_WINDOW and verdict.num_latents_differ == 0


def test_going_back_and_forth_draws_every_chunk_as_it_was(slow_recording: Recording) -> None:
    dull = Replay(slow_recording, world_of(slow_recording), keeps_checkpoints=False)
    frames = [dull.step().frames.tobytes() for _ in dull.recorded]
    replay = Replay(slow_recording, world_of(slow_recording))
    for place in (50, 10, 40, 0, 33, 15, 16):
        replay.go_to(place)
        assert replay.step().frames.tobytes() == frames[place], place
    assert replay.checkpoint_indices


@pytest.mark.parametrize("ahead", [-3, 5])
def test_taking_over_goes_on_with_the_drawing_in_force_there(slow_recording: Recording, ahead: int) -> None:
    replay = Replay(slow_recording, world_of(slow_recording))
    index = given_up_at(slow_recording) + ahead
    replay.go_to(index + 30)
    replay.go_to(index)
    before = continuation(slow_recording, replay.recorded, index)
    assert before.settings["draws_finely"] == replay.world.draws_finely == (ahead < 0)
    clock = FakeClock(0.0)
    bench = Bench(lambda _: SlowedWorld(replay.world, clock), resume=Resume(lambda: replay.row_maker, index))
    listener = listened(bench)
    bench.run_until(0.5)
    assert told(listener, "draws_finely") == [ahead < 0]


def test_worlds_without_an_upscaler_say_so_and_older_logs_read_as_before(tmp_path: Path) -> None:
    world = load_world(make_tiny_world(tmp_path / "plain"), "cpu")
    walk = restless_samples(world.config, 5)
    start = Start(0, 3, (np.zeros((32, 32, 3), np.uint8),))
    path = record_offline(tmp_path / "walk.astra", world, [start, *walk], str(tmp_path / "plain"))
    recording = read_recording(path)
    assert not recording.head.draws_finely and not make_head(world.config, "plain").draws_finely
    assert make_head(dataclasses.replace(world.config, codec=LARGE), "large").draws_finely
    assert verify(Replay(recording, world_of(recording))).is_same
    head_line, *lines = path.read_bytes().splitlines(keepends=True)
    head = {name: value for name, value in json.loads(head_line.split(b" ", 1)[1]).items() if name != "draws_finely"}
    path.write_bytes(b"".join([raw_line(head), *lines]))
    older = read_recording(path)
    assert older.loss is None and older.head == dataclasses.replace(recording.head, draws_finely=True)
    assert verify(Replay(older, world)).is_same and not world.draws_finely
