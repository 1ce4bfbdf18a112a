import json
import random

import numpy as np
import pytest
from fakes import FakeClock, fake_chunk

from astra_play.runtime import stats as stats_module
from astra_play.runtime.playout import PlayoutQueue
from astra_play.runtime.stats import BIN_MS, MAX_MS, Distribution, Stats
from astra_play.runtime.threads import ThreadKeeper, choose_num_threads, num_usable_cores


def stats_at_10_fps() -> tuple[FakeClock, PlayoutQueue, Stats]:
    clock = FakeClock()
    playout = PlayoutQueue(clock, fps=10)
    stats = Stats(clock, playout)
    stats.frames_per_chunk = 1
    return clock, playout, stats


def test_whole_run_percentiles_agree_with_numpy_to_half_a_millisecond() -> None:
    values_ms = [random.Random(0).lognormvariate(3.5, 0.5) for _ in range(5000)]
    distribution = Distribution(window=100)
    for value_ms in values_ms:
        distribution.add(value_ms)
    for quantile in (0.5, 0.95, 0.99):
        exact_ms = np.quantile(values_ms, quantile, method="inverted_cdf")
        assert distribution.whole_run(quantile) == pytest.approx(exact_ms, abs=BIN_MS)
    assert distribution.recent(0.5) == pytest.approx(np.quantile(values_ms[-100:], 0.5))


def test_distribution_without_values_says_none_and_an_endless_value_is_kept_as_the_worst() -> None:
    distribution = Distribution()
    assert distribution.to_json() == {"p50": None, "p95": None, "p99": None, "max": None, "count": 0}
    distribution.add(10 * MAX_MS)
    assert distribution.to_json() == {"p50": 10 * MAX_MS, "p95": 10 * MAX_MS, "p99": 10 * MAX_MS, "max": 10 * MAX_MS,
                                      "count": 1}


def test_latency_runs_from_the_event_to_the_flip_that_first_shows_its_chunk() -> None:
    clock, playout, stats = stats_at_10_fps()
    event_s = clock.now()
    clock.advance(0.045)
    playout.publish(fake_chunk(num_frames=2, event_times_s=(event_s, event_s + 0.010)))
    clock.advance(0.003)
    due = playout.due(clock.now())
    clock.advance(0.002)
    stats.flipped(due, clock.now())
    clock.advance(0.1)
    stats.flipped(playout.due(clock.now()), clock.now())
    latency = stats.input_to_flip_ms
    assert latency.count == 2, "the second frame of the chunk shows nothing for the first time"
    assert (latency.recent(0.0), latency.recent(1.0)) == (pytest.approx(40.0), pytest.approx(50.0))


def test_fps_leaves_out_pauses_and_resets() -> None:
    clock, playout, stats = stats_at_10_fps()
    for index in range(40):
        playout.publish(fake_chunk(index))
        stats.flipped(playout.due(clock.now()), clock.now())
        clock.advance(0.1)
        if index == 20:
            clock.advance(60.0)
            playout.reset(0)
            stats.interrupted()
    assert stats.fps == pytest.approx(10.0)
    assert stats.recent_fps == pytest.approx(10.0)


def test_generator_fps_is_what_the_generator_alone_would_reach() -> None:
    _, _, stats = stats_at_10_fps()
    stats.frames_per_chunk = 4
    for busy_ms in (80.0, 80.0, 500.0):
        stats.chunk_made(generate_ms=busy_ms - 20.0, busy_ms=busy_ms)
    assert stats.generator_fps == pytest.approx(50.0, rel=0.01)
    assert stats.num_chunks == 3


def test_series_has_an_entry_every_ten_seconds_and_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "MAX_SERIES", 5)
    clock, playout, stats = stats_at_10_fps()
    for index in range(1000):
        playout.publish(fake_chunk(index))
        stats.flipped(playout.due(clock.now()), clock.now())
        clock.advance(0.1)
    assert len(stats.series) == 5
    assert all(entry["fps"] == pytest.approx(10.0) and entry["rss_mb"] > 1.0 for entry in stats.series)
    assert np.diff([entry["t_s"] for entry in stats.series]) == pytest.approx([10.0] * 4, abs=0.2)


def test_json_holds_every_promised_figure_and_survives_a_session_without_frames() -> None:
    _, _, stats = stats_at_10_fps()
    figures = json.loads(json.dumps(stats.to_json(), allow_nan=False))
    assert {"fps", "generator_fps", "frames", "underruns", "dropped", "input_to_flip_ms", "first_frame_s", "rss_mb",
            "passes_per_chunk", "seed"} <= figures.keys()
    assert {"p50", "p95", "p99", "count"} <= figures["input_to_flip_ms"].keys()
    assert "0 frames" in stats.summary() and "\n" not in stats.summary()


def test_first_frame_is_timed_from_the_start_to_its_flip() -> None:
    clock, playout, stats = stats_at_10_fps()
    clock.advance(2.5)
    playout.publish(fake_chunk())
    stats.flipped(playout.due(clock.now()), clock.now())
    assert stats.to_json()["first_frame_s"] == pytest.approx(2.5)
    assert "1 frames" in stats.summary()


class FakeMachine:
    """Passes that take a made-up time for each number of threads."""

    def __init__(self, times_s: dict[int, list[float]]) -> None:
        self.clock = FakeClock()
        self.times_s = times_s
        self.num_passes = dict.fromkeys(times_s, 0)

    def run_pass(self, num_threads: int) -> None:
        times_s = self.times_s[num_threads]
        self.clock.advance(times_s[self.num_passes[num_threads] % len(times_s)])
        self.num_passes[num_threads] += 1

    def choice(self) -> int:
        return choose_num_threads(self.run_pass, self.clock, max_threads=max(self.times_s))


@pytest.mark.parametrize(("times_s", "chosen"), [
    ({1: [0.020], 2: [0.012]}, 2),
    ({1: [0.020], 2: [0.019]}, 1),  # 5 % is not worth a thread
    ({1: [0.020], 2: [0.012, 0.012, 0.012, 0.055]}, 1),  # quick in the median, but it stalls behind a neighbour
    ({1: [0.020], 2: [0.400]}, 1),
    ({1: [0.020], 2: [0.011], 4: [0.0105]}, 2),
    ({1: [0.020], 2: [0.012], 3: [0.008]}, 3),
    ({1: [0.020]}, 1),
])
def test_more_threads_are_chosen_only_when_clearly_faster_and_as_steady(
        times_s: dict[int, list[float]], chosen: int) -> None:
    assert FakeMachine(times_s).choice() == chosen


def test_probe_ends_with_the_pass_in_which_its_time_runs_out() -> None:
    machine = FakeMachine({1: [0.030], 2: [0.025]})
    begin_s = machine.clock.now()
    machine.choice()
    assert machine.clock.now() - begin_s < 0.5 + 0.031


def test_hopeless_number_of_threads_is_not_tried_twice() -> None:
    machine = FakeMachine({1: [0.010], 2: [0.100]})
    machine.choice()
    assert machine.num_passes[2] == 2, "one to warm up, one that says enough"


def test_usable_cores_are_at_least_one() -> None:
    assert num_usable_cores() >= 1


def kept(times_s: list[float], many: int = 2, chunk_s: float = 0.1) -> list[int]:
    """The threads after each chunk of a session that makes ten a second."""
    keeper = ThreadKeeper(many, chunk_s)
    return [keeper.chunk_took(seconds, 0.1 * index) for index, seconds in enumerate(times_s)]


def test_two_late_chunks_are_no_reason_to_give_up_threads_and_three_are() -> None:
    assert kept([0.01, 0.2, 0.2, *[0.01] * 20]) == [2] * 23
    assert kept([0.01, 0.2, 0.01, 0.2, 0.01, 0.2, 0.02]) == [2] * 5 + [1] * 2
    assert kept([0.2, *[0.01] * 8] * 10) == [2] * 90  # one in nine is rare enough, for ever
    assert kept([0.2] * 20, many=1) == [1] * 20


def test_more_threads_are_tried_again_ever_more_rarely() -> None:
    """Chunks stall whenever there are two threads: the trials lie 10, 20, 40 ... 160 s apart."""
    keeper, now_s, trials_s = ThreadKeeper(2, 0.1), 0.0, []
    while now_s < 800.0:
        before = keeper.num_threads
        if keeper.chunk_took(0.2 if before == 2 else 0.02, now_s) > before:
            trials_s.append(now_s)
        now_s += 0.1
    gaps_s = np.diff([0.0, *trials_s])
    assert gaps_s == pytest.approx([10, 20, 40, 80, 160, 160, 160, 160], abs=1.0)


def kept_while(keeper: ThreadKeeper, times_s: dict[int, float], seconds: float, now_s: float = 0.0) -> list[int]:
    """The threads after each chunk of a stretch of play in which a chunk takes as long as it is made on many."""
    seen, ends_s = [], now_s + seconds
    while now_s < ends_s:
        took_s = times_s[keeper.num_threads]
        now_s += max(took_s, 0.0625)
        seen.append(keeper.chunk_took(took_s, now_s))
    return seen


@pytest.mark.parametrize("times_s", [{2: 0.100, 1: 0.134}, {2: 0.100, 1: 0.100}, {2: 0.055, 1: 0.060}])
def test_a_machine_that_is_slow_on_any_number_of_threads_stays_on_many(times_s: dict[int, float]) -> None:
    """Three chunks say that it stalls, eight that one thread is no help; after that nothing is tried again."""
    seen = kept_while(ThreadKeeper(2, 0.0625), times_s, 300.0)
    assert seen[:20] == [2] * 2 + [1] * 8 + [2] * 10 and set(seen[20:]) == {2}


def test_a_burst_that_slowed_one_thread_too_is_forgotten_once_the_machine_is_quick_again() -> None:
    keeper, now_s = ThreadKeeper(2, 0.0625), 0.0

    def play(times_s: dict[int, float], num_chunks: int) -> list[int]:
        nonlocal now_s
        seen = []
        for _ in range(num_chunks):
            seen.append(keeper.chunk_took(times_s[keeper.num_threads], now_s))
            now_s += 0.0625
        return seen

    assert play({2: 0.3, 1: 0.3}, 12)[-1] == 2, "one thread was no help in the burst"
    assert set(play({2: 0.040, 1: 0.050}, 100)) == {2}
    assert play({2: 0.36, 1: 0.055}, 4)[-1] == 1, "the neighbour that comes then is a stall as ever"


def test_the_first_chunks_of_another_kind_do_not_speak_for_one_thread() -> None:
    keeper = ThreadKeeper(2, 0.0625)
    keeper.start_over()
    first = [0.150, 0.140, 0.130, *[0.085] * 5]
    seen = [keeper.chunk_took(seconds, 0.1 * index) for index, seconds in enumerate(first)]
    assert seen == [2] * 7 + [1], "a whole window is waited for"
    seen = [keeper.chunk_took(0.100, 1.0 + 0.1 * index) for index in range(8)]
    assert seen == [1] * 7 + [2], "one thread is no faster than the many were by then"


@pytest.mark.parametrize("stalled_s", [0.5, 3.0])
def test_a_stall_on_a_slow_machine_still_takes_it_down_until_the_neighbour_leaves(stalled_s: float) -> None:
    keeper = ThreadKeeper(2, 0.0625)
    kept_while(keeper, {2: 0.100, 1: 0.134}, 20.0)
    beside = kept_while(keeper, {2: stalled_s, 1: 0.140}, 100.0, 20.0)
    assert beside[:3] == [2, 2, 1] and beside.count(1) > 0.9 * len(beside)
    after = kept_while(keeper, {2: 0.100, 1: 0.134}, 300.0, 120.0)
    assert set(after[-1000:]) == {2}


def test_one_thread_is_judged_by_the_chunks_that_stalled_and_not_by_the_quick_ones_between() -> None:
    keeper, seen = ThreadKeeper(2, 0.1), []
    for index, seconds in enumerate([*[0.01] * 5, *[0.3] * 3, *[0.02] * 20]):
        seen.append(keeper.chunk_took(seconds, 0.1 * index))
    assert seen == [2] * 7 + [1] * 21


def test_a_late_chunk_or_two_on_one_thread_do_not_make_it_slow() -> None:
    assert kept([*[0.2] * 3, 0.02, 0.5, 0.02, 0.5, *[0.02] * 20]) == [2] * 2 + [1] * 25
