import random
import threading

import pytest
from fakes import FakeClock, ListOutput, fake_chunk
from naive_runtime import naive_underruns

from astra_play.runtime.clock import MonotonicClock
from astra_play.runtime.playout import MAX_WAITING_S, UNDERRUN_AFTER_S, PlayoutCounts, PlayoutQueue

PERIOD_S = 0.1
START_S = 100.0


def queue_at_10_fps() -> tuple[FakeClock, PlayoutQueue]:
    clock = FakeClock(START_S)
    return clock, PlayoutQueue(clock, fps=10)


def assert_all_accounted(counts: PlayoutCounts) -> None:
    assert counts.published == counts.shown + sum(counts.dropped.values()) + counts.waiting


def test_first_frame_is_due_when_it_comes_and_the_others_a_period_apart() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(num_frames=3))
    first = playout.due(clock.now())
    assert (first.frame_index, first.due_s, first.first_of_chunk) == (0, START_S, True)
    assert playout.due(START_S + 0.099) is None
    second = playout.due(START_S + 0.101)
    assert (second.frame_index, second.due_s, second.first_of_chunk) == (1, pytest.approx(START_S + 0.1), False)
    assert playout.next_due_s() == pytest.approx(START_S + 0.3)
    assert playout.counts().underruns == 0


def test_early_chunk_waits_for_its_place_on_the_grid() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    playout.due(clock.now())
    clock.advance(0.02)
    playout.publish(fake_chunk(1))
    assert playout.due(clock.now()) is None
    assert playout.due(START_S + 0.1).chunk.chunk_index == 1


def test_small_lateness_is_shown_at_once_and_keeps_the_grid() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    playout.due(clock.now())
    clock.advance(0.13)
    playout.publish(fake_chunk(1))
    assert playout.due(clock.now()).chunk.chunk_index == 1
    assert playout.next_due_s() == pytest.approx(START_S + 0.2), "jitter must not add up to a slower world"
    assert (playout.counts().underruns, playout.counts().held_s) == (1, pytest.approx(0.03))


def test_long_stall_moves_the_grid_instead_of_rushing() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    playout.due(clock.now())
    clock.advance(0.55)
    playout.publish(fake_chunk(1, num_frames=2))
    assert playout.due(clock.now()).frame_index == 0, "no frame of a late chunk is skipped"
    assert playout.next_due_s() == pytest.approx(START_S + 0.55 + 0.2)
    assert playout.counts().underruns == 5  # due at 0.1, 0.2, 0.3, 0.4 and 0.5


@pytest.mark.parametrize("seed", range(5))
def test_underruns_are_those_of_the_naive_twin_however_often_the_window_asks(seed: int) -> None:
    rng = random.Random(seed)
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    expected = 0
    for chunk_index in range(1, 200):
        due_s = playout.next_due_s()
        arrives_s = due_s + rng.choice([rng.uniform(-0.05, 0.02), rng.uniform(-0.05, 0.5)])
        while clock.now() < arrives_s:
            playout.due(clock.now())
            clock.advance(min(rng.uniform(0.001, 0.2), arrives_s - clock.now()) + 1e-9)
        expected += naive_underruns(due_s, clock.now(), PERIOD_S, UNDERRUN_AFTER_S)
        playout.publish(fake_chunk(chunk_index))
    assert expected > 50
    assert playout.counts().underruns == expected


def test_window_that_asks_too_late_gets_the_newest_frame_and_the_others_are_counted() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=4, event_times_s=(1.0,)))
    playout.publish(fake_chunk(1, num_frames=4, event_times_s=(2.0,)))
    due = playout.due(START_S + 0.55)
    assert (due.chunk.chunk_index, due.frame_index, due.first_of_chunk) == (1, 1, True)
    assert due.event_times_s == (1.0, 2.0), "the first frame shown is the first to show the effect of both chunks"
    assert playout.counts().dropped == {"late": 5}
    assert_all_accounted(playout.counts())


def test_frames_nobody_asks_for_are_bounded_and_counted() -> None:
    clock, playout = queue_at_10_fps()
    for chunk_index in range(50):
        playout.publish(fake_chunk(chunk_index, num_frames=2))
        clock.advance(0.2)
    counts = playout.counts()
    assert counts.waiting * PERIOD_S <= MAX_WAITING_S and counts.dropped == {"full": 100 - counts.waiting}
    assert_all_accounted(counts)


def test_reset_drops_what_is_older_on_both_sides() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, reset_count=0, num_frames=2))
    playout.reset(1)
    assert playout.due(clock.now()) is None
    playout.publish(fake_chunk(1, reset_count=0, event_times_s=(9.0,)))
    clock.advance(5.0)
    assert playout.due(clock.now()) is None
    playout.publish(fake_chunk(0, reset_count=1, event_times_s=(104.0,)))
    due = playout.due(clock.now())
    assert (due.chunk.reset_count, due.event_times_s) == (1, (104.0,))
    counts = playout.counts()
    assert (counts.dropped, counts.underruns) == ({"reset": 3}, 0), "the time a reset takes is no underrun"
    assert_all_accounted(counts)


def test_events_of_chunks_nobody_saw_are_forgotten_at_a_reset() -> None:
    clock, playout = queue_at_10_fps()
    for chunk_index in range(20):
        playout.publish(fake_chunk(chunk_index, event_times_s=(float(chunk_index),)))
    assert playout.counts().dropped == {"full": 10}
    playout.reset(1)
    playout.publish(fake_chunk(0, reset_count=1))
    assert playout.due(clock.now()).event_times_s == ()


def test_chunk_of_a_reset_that_came_first_from_the_generator_is_believed() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=3))
    playout.publish(fake_chunk(0, reset_count=2))
    assert playout.due(clock.now()).chunk.reset_count == 2
    assert playout.counts().dropped == {"reset": 3}


def test_pause_stops_the_due_clock_and_resume_goes_on_without_underruns() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=2))
    playout.due(clock.now())
    clock.advance(0.04)
    playout.pause(clock.now())
    clock.advance(30.0)
    playout.pause(clock.now())
    assert playout.due(clock.now()) is None
    playout.resume(clock.now())
    assert playout.due(clock.now() + 0.05) is None
    shown = playout.due(clock.now() + 0.07)
    assert (shown.frame_index, shown.due_s) == (1, pytest.approx(clock.now() + 0.06))
    clock.advance(0.3)
    playout.publish(fake_chunk(1))
    assert playout.due(clock.now()).chunk.chunk_index == 1
    assert playout.counts().underruns == 0, "the generator stood too: the first chunk after a pause sets the grid"


def test_chunk_finished_during_a_pause_is_shown_after_it_in_order() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    playout.due(clock.now())
    playout.pause(clock.now())
    clock.advance(5.0)
    playout.publish(fake_chunk(1))
    playout.resume(clock.now())
    playout.publish(fake_chunk(2))
    shown = [due.chunk.chunk_index for step in range(30) if (due := playout.due(clock.now() + step * 0.01))]
    assert shown == [1, 2]
    assert playout.counts().underruns == 0


def test_closed_queue_takes_no_frames_counts_no_underruns_and_still_shows_what_waits() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=2))
    playout.due(clock.now())
    playout.close()
    playout.publish(fake_chunk(1))
    assert playout.due(START_S + 0.1).frame_index == 1
    assert playout.due(START_S + 9.0) is None
    counts = playout.counts()
    assert (counts.underruns, counts.dropped) == (0, {"closed": 1})
    assert_all_accounted(counts)


@pytest.mark.parametrize("seed", range(20))
def test_every_published_frame_is_accounted_for_under_random_schedules(seed: int) -> None:
    rng = random.Random(seed)
    clock, playout = queue_at_10_fps()
    published = shown = reset_count = 0
    last_key = (0, -1, -1)
    for chunk_index in range(400):
        deed = rng.random()
        if deed < 0.05:
            reset_count += 1
            playout.reset(reset_count)
        elif deed < 0.10:
            playout.pause(clock.now())
        elif deed < 0.20:
            playout.resume(clock.now())
        elif deed < 0.60:
            num_frames = rng.randrange(1, 5)
            published += num_frames
            playout.publish(fake_chunk(chunk_index, max(0, reset_count - (rng.random() < 0.1)), num_frames))
        else:
            due = playout.due(clock.now())
            if due is not None:
                shown += 1
                key = (due.chunk.reset_count, due.chunk.chunk_index, due.frame_index)
                assert key > last_key and due.due_s <= clock.now() + 1e-9
                last_key = key
        clock.advance(rng.choice([0.0, rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.5)]))
        counts = playout.counts()
        assert_all_accounted(counts)
        assert (counts.published, counts.shown) == (published, shown)


def test_two_threads_lose_no_frame() -> None:
    playout = PlayoutQueue(MonotonicClock(), fps=2000)
    publisher = threading.Thread(target=lambda: [playout.publish(fake_chunk(index)) for index in range(500)])
    publisher.start()
    shown = 0
    clock = MonotonicClock()
    while publisher.is_alive() or playout.counts().waiting:
        shown += playout.due(clock.now()) is not None
    assert playout.counts().shown == shown
    assert_all_accounted(playout.counts())


def test_monotonic_clock_moves_on_and_its_wait_ends_with_stop() -> None:
    clock, stop = MonotonicClock(), threading.Event()
    before_s = clock.now()
    assert clock.wait(0.001, stop) is False and clock.wait(-1.0, stop) is False
    stop.set()
    assert clock.wait(60.0, stop) is True
    assert 0.001 <= clock.now() - before_s < 30.0


def test_list_output_is_an_output() -> None:
    output = ListOutput()
    output.publish(fake_chunk())
    output.close()
    assert len(output.chunks) == 1 and output.closed


def test_eight_frames_of_a_chunk_are_due_one_period_apart_and_the_next_chunk_follows_them() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=8))
    clock.advance(0.45)
    playout.publish(fake_chunk(1, num_frames=8))  # made while half of the first is still to be shown
    assert playout.next_due_s() == pytest.approx(START_S + 1.6)
    shown = []
    looked_s = 0.0
    while len(shown) < 16 and looked_s < 3.0:
        due = playout.due(START_S + looked_s)
        shown += [] if due is None else [(due.chunk.chunk_index, due.frame_index, due.due_s - START_S)]
        looked_s += 0.05
    assert shown[0] == (0, 0, pytest.approx(0.0))
    assert [entry[:2] for entry in shown] == [(chunk, frame) for chunk in (0, 1) for frame in range(8)]
    assert [entry[2] for entry in shown] == pytest.approx([0.1 * place for place in range(16)])
    assert playout.counts().underruns == 0


def test_expected_gap_counts_nothing_and_its_end_sets_the_grid() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0, num_frames=2))
    assert playout.due(clock.now()).frame_index == 0
    playout.expect_gap()
    assert playout.next_due_s() is None
    assert playout.due(START_S + 0.1).frame_index == 1  # what waits is still shown in time
    assert playout.due(START_S + 5.0) is None
    clock.advance(6.0)
    playout.publish(fake_chunk(1, num_frames=2))
    assert playout.due(clock.now()).due_s == pytest.approx(START_S + 6.0)
    counts = playout.counts()
    assert (counts.underruns, counts.held_s) == (0, 0.0)
    assert_all_accounted(counts)


def test_gap_that_begins_late_keeps_what_was_missed_before_it() -> None:
    clock, playout = queue_at_10_fps()
    playout.publish(fake_chunk(0))
    playout.due(clock.now())
    clock.advance(0.35)
    playout.expect_gap()
    clock.advance(5.0)
    assert playout.due(clock.now()) is None and playout.counts().underruns == 3


def test_a_window_that_steps_gets_every_frame_in_order_due_or_not() -> None:
    clock = FakeClock()
    queue = PlayoutQueue(clock, fps=10)
    queue.publish(fake_chunk(0, num_frames=2))
    queue.publish(fake_chunk(1))
    queue.pause(clock.now())
    places = []
    while (frame := queue.next_waiting()) is not None:
        places.append((frame.chunk.chunk_index, frame.frame_index))
    assert places == [(0, 0), (0, 1), (1, 0)]
    counts = queue.counts()
    assert (counts.shown, counts.waiting, counts.dropped) == (3, 0, {})
