import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from fakes import FakeClock, FakeWorld, ListOutput, fake_chunk, fake_config

from astra_play.actions.keymap import Keymap
from astra_play.actions.rows import camera_motion
from astra_play.actions.sources import LiveSource, ScriptedSource
from astra_play.actions.state import InputState
from astra_play.chunks import FrameChunk, InputEvent
from astra_play.runtime.clock import MonotonicClock
from astra_play.runtime.generator import Generator, Reset, Settings
from astra_play.runtime.playout import PlayoutQueue
from astra_play.runtime.session import STOP_WITHIN_S, Session
from astra_play.runtime.stats import Stats

KEYMAP = Keymap(keys={"w": ("forward",)})
PROMPT = np.zeros((2, 6, 8, 3), dtype=np.uint8)


class Bench:
    """A generator run on the test's own thread in fake time; `at` makes things happen as the main thread would."""

    def __init__(self, world: Callable[[FakeClock], FakeWorld], **settings: object) -> None:
        self.clock = FakeClock(0.0)
        self.world = world(self.clock)
        self.state = InputState(KEYMAP)
        self.playout = PlayoutQueue(self.clock)
        self.stats = Stats(self.clock, self.playout)
        self.generator = Generator(lambda: self.world, LiveSource(self.state), self.clock, self.playout, self.stats,
                                   Settings(**settings))
        self.output = ListOutput()
        self.generator.outputs = (*self.generator.outputs, self.output)

    def at(self, time_s: float, deed: Callable[[], None]) -> None:
        def noticed() -> None:
            deed()
            self.generator.wake.set()
        self.clock.at(time_s, noticed)

    def show_frames_every_ms_until(self, end_s: float) -> None:
        """Poll the playout queue as a window does, one flip 1 ms after each frame falls due."""
        def poll() -> None:
            due = self.playout.due(self.clock.now())
            if due is not None:
                self.stats.flipped(due, self.clock.now() + 0.001)
        for millisecond in range(round(1000 * end_s)):
            self.clock.at(millisecond / 1000, poll)

    def run_until(self, end_s: float) -> None:
        self.at(end_s, self.generator.stop.set)
        self.generator.run()
        if self.generator.error is not None:
            raise self.generator.error


def key(down: bool, time_s: float) -> InputEvent:
    return InputEvent("button", "w", down=down, time_s=time_s)


def steady_world(step_s: float = 0.03, commit_s: float = 0.0) -> Callable[[FakeClock], FakeWorld]:
    return lambda clock: FakeWorld(fake_config(fps=10), clock, step_s, commit_s)


def test_world_is_played_at_its_own_rate_without_underruns() -> None:
    bench = Bench(steady_world())
    bench.show_frames_every_ms_until(5.0)
    bench.run_until(5.0)
    counts = bench.playout.counts()
    assert bench.stats.fps == pytest.approx(10.0, rel=0.01)
    assert (counts.underruns, counts.dropped) == (0, {})
    assert 48 <= counts.shown <= 51


def test_input_is_sampled_at_the_last_moment() -> None:
    bench = Bench(steady_world(step_s=0.03))
    bench.run_until(2.0)
    assert len(bench.world.actions) == 21
    for action, due_s in zip(bench.world.actions[2:], np.arange(0.03, 3.0, 0.1)[2:], strict=False):
        lead_s = due_s - action.sample.taken_at_s
        assert 0.03 <= lead_s < 0.045, "no earlier than the step takes, plus the margin"


def test_event_just_before_the_sample_point_is_in_that_chunk() -> None:
    first = Bench(steady_world())
    first.run_until(1.0)
    sampled_s = first.world.actions[5].sample.taken_at_s
    bench = Bench(steady_world())
    bench.clock.at(sampled_s - 0.001, lambda: bench.state.handle(key(True, sampled_s - 0.001)))
    bench.run_until(1.0)
    assert [sorted(action.sample.buttons) for action in bench.world.actions[4:7]] == [[], ["forward"], ["forward"]]
    assert bench.world.actions[5].sample.event_times_s == (sampled_s - 0.001,)
    assert camera_motion(bench.world.actions[5].rows[0])[0] == pytest.approx(0.3)


def test_measured_latency_is_the_true_one() -> None:
    bench = Bench(steady_world())
    bench.show_frames_every_ms_until(2.0)
    bench.clock.at(1.0, lambda: bench.state.handle(key(True, 1.0)))
    bench.run_until(2.0)
    carrier = next(action for action in bench.world.actions if action.sample.event_times_s)
    due_s = 0.03 + 0.1 * carrier.chunk_index  # the first chunk came at 0.03 and set the grid
    assert bench.stats.input_to_flip_ms.recent(0.5) == pytest.approx(1000 * (due_s + 0.001 - 1.0), abs=1.5)


def test_slow_world_is_never_left_idle_and_its_underruns_are_counted() -> None:
    bench = Bench(steady_world(step_s=0.25))
    bench.show_frames_every_ms_until(5.0)
    bench.run_until(5.0)
    assert bench.stats.num_chunks == 19
    assert bench.playout.counts().underruns >= 19
    assert bench.playout.counts().dropped == {}
    assert bench.stats.generator_fps == pytest.approx(4.0, rel=0.01)


def test_chunk_is_published_before_it_is_committed() -> None:
    seen: list[list[str]] = []
    bench = Bench(steady_world())
    bench.output.publish = lambda chunk: seen.append(list(bench.world.calls))
    bench.run_until(0.5)
    assert all(calls[-1] == "step" for calls in seen)
    assert bench.world.calls[:6] == ["warm_up", "reset", "step", "commit", "step", "commit"]


def test_commit_counts_as_work_of_the_generator_but_not_as_delay_of_the_frame() -> None:
    bench = Bench(steady_world(step_s=0.03, commit_s=0.02))
    bench.run_until(2.0)
    assert bench.stats.generator_fps == pytest.approx(20.0, rel=0.02)
    assert bench.stats.generate_ms.recent(0.5) == pytest.approx(30.0)
    late = bench.world.actions[-1]
    assert 0.03 + 0.1 * late.chunk_index - late.sample.taken_at_s < 0.045


def test_input_from_before_the_first_chunk_is_not_played_into_it() -> None:
    bench = Bench(steady_world())
    bench.state.handle(InputEvent("motion", motion_px=(500.0, 0.0)))
    bench.state.handle(key(True, 0.0))
    bench.run_until(0.3)
    sample = bench.world.actions[0].sample
    assert (sample.mouse_px, sample.event_times_s) == ((0.0, 0.0), ())
    assert sample.buttons == {"forward"}, "a key that is still held counts"


def test_pause_makes_no_chunks_and_resume_goes_on_without_underruns() -> None:
    bench = Bench(steady_world())
    bench.show_frames_every_ms_until(3.0)

    def pause() -> None:
        bench.generator.paused.set()
        bench.playout.pause(bench.clock.now())

    def resume() -> None:
        bench.generator.paused.clear()
        bench.playout.resume(bench.clock.now())

    bench.at(1.0, pause)
    bench.at(2.0, resume)
    bench.run_until(3.0)
    assert not [a for a in bench.world.actions if 1.05 < a.sample.taken_at_s < 2.0]
    after_s = next(a.sample.taken_at_s for a in bench.world.actions if a.sample.taken_at_s >= 2.0)
    assert after_s == pytest.approx(2.0), "a resume is noticed at once"
    assert (bench.playout.counts().underruns, bench.playout.counts().dropped) == (0, {})


def test_reset_starts_the_world_again_and_stale_frames_are_never_shown() -> None:
    bench = Bench(steady_world(), seed=7, prompt_frames=PROMPT)
    shown: list[tuple[float, int]] = []

    def poll() -> None:
        due = bench.playout.due(bench.clock.now())
        if due is not None:
            shown.append((bench.clock.now(), due.chunk.reset_count))
    for millisecond in range(2000):
        bench.clock.at(millisecond / 1000, poll)

    def reset() -> None:
        bench.playout.reset(2)
        bench.generator.commands.put(Reset(1, 5, None))
        bench.generator.commands.put(Reset(2, 9, PROMPT[:1]))
    bench.at(1.01, reset)
    bench.run_until(2.0)
    assert bench.world.seeds == [7, 9], "of two resets only the last is carried out"
    assert [len(prompt) for prompt in bench.world.prompts] == [2, 1]
    assert {count for time_s, count in shown if time_s >= 1.01} == {2}
    assert next(a for a in bench.world.actions if a.reset_count == 2).chunk_index == 0
    assert bench.stats.seed == 9


def test_unpaced_generator_plays_a_script_in_virtual_time() -> None:
    def samples(step_s: float) -> list[list[str]]:
        bench = Bench(steady_world(step_s), paced=False)
        source = ScriptedSource([key(True, 0.3), key(False, 0.6)], KEYMAP)
        bench.generator._source = source
        bench.run_until(15.5 * step_s)
        assert bench.playout.counts().published == 0
        return [sorted(chunk.action.sample.buttons) for chunk in bench.output.chunks]
    assert samples(0.03) == samples(1.0) == [[]] * 3 + [["forward"]] * 3 + [[]] * 9


def test_lead_never_exceeds_a_chunk_so_stalls_do_not_make_the_controls_sluggish() -> None:
    bench = Bench(lambda clock: StallingWorld(fake_config(fps=10), clock, step_s=0.03))
    bench.run_until(20.0)
    samples = [action.sample.taken_at_s for action in bench.world.actions]
    assert bench.playout.next_due_s() - samples[-1] <= 0.1 + 0.1 + 1e-6


class StallingWorld(FakeWorld):
    """Every tenth step takes half a second."""

    def step(self, action):
        self._clock.advance(0.5 if len(self.actions) % 10 == 9 else 0.0)
        return super().step(action)


# -- with real threads ----------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < end_s, "waited 5 s in vain"
        time.sleep(0.001)


def started_session(world: FakeWorld, **settings: object) -> Session:
    session = Session(lambda: world, LiveSource(InputState(KEYMAP)), MonotonicClock(), Settings(**settings))
    session.start()
    return session


def quick_world(**faults: dict) -> FakeWorld:
    return FakeWorld(fake_config(fps=500), **faults)


def seconds_to_stop(session: Session) -> float:
    begin_s = time.monotonic()
    session.stop()
    return time.monotonic() - begin_s


def test_session_plays_in_one_named_thread_and_stops_clean() -> None:
    world = quick_world()
    session = started_session(world, seed=3)
    output = ListOutput()
    session.add_output(output)
    wait_for(lambda: len(output.chunks) > 5)
    assert session.status == "playing" and session.config == world.config
    session.stop()
    session.stop()
    assert (session.status, session.error, output.closed) == ("stopped", None, True)
    assert world.calls[-1] == "close" and world.threads == {"astra-generator"}
    num_chunks = len(output.chunks)
    time.sleep(0.02)
    assert len(output.chunks) == num_chunks, "nothing is published after stop"


def test_session_that_was_never_started_can_be_stopped() -> None:
    session = Session(quick_world, LiveSource(InputState(KEYMAP)), MonotonicClock())
    assert session.status == "loading" and session.config is None and session.guidance_scale is None
    session.stop()
    assert session.status == "stopped"


def test_stop_while_loading_does_not_wait_for_the_weights() -> None:
    gate, entered = threading.Event(), threading.Event()

    def factory() -> FakeWorld:
        entered.set()
        gate.wait(5.0)
        return quick_world()
    session = Session(factory, LiveSource(InputState(KEYMAP)), MonotonicClock())
    session.start()
    entered.wait(5.0)
    assert session.status == "loading"
    assert seconds_to_stop(session) < 1.0
    gate.set()


@pytest.mark.parametrize("call", ["warm_up", "step", "commit"])
def test_stop_within_a_call_that_does_not_return_takes_less_than_a_second(call: str) -> None:
    gate = threading.Event()
    world = quick_world(gates={call: gate})
    session = started_session(world)
    assert world.entered[call].wait(5.0)
    assert session.status == ("warming up" if call == "warm_up" else "playing")
    assert STOP_WITHIN_S - 0.05 < seconds_to_stop(session) < 1.0
    published = session.playout.counts().published
    gate.set()
    assert world.entered["close"].wait(5.0), "the world is closed when its call returns at last"
    assert session.playout.counts().published == published


@pytest.mark.parametrize("paused", [False, True])
def test_stop_while_playing_or_paused_is_immediate(paused: bool) -> None:
    world = FakeWorld(fake_config(fps=1))  # nearly always waiting for the next due time
    session = started_session(world)
    assert world.entered["commit"].wait(5.0)
    session.pause(paused)
    assert session.status == ("paused" if paused else "playing")
    assert seconds_to_stop(session) < 0.3
    assert session.status == "stopped" and world.calls[-1] == "close"


@pytest.mark.parametrize("call", ["warm_up", "reset", "step", "commit"])
def test_first_failure_is_kept_and_ends_the_session(call: str) -> None:
    failure = RuntimeError(f"{call} is broken")
    world = quick_world(failures={call: failure, "close": OSError("and close too")})
    session = started_session(world)
    wait_for(lambda: session.status == "failed" and world.calls[-1] == "close")
    session.stop()
    assert session.error is failure and session.status == "failed"


def test_factory_that_fails_is_the_failure_of_the_session() -> None:
    def factory() -> FakeWorld:
        raise FileNotFoundError("no weights")
    session = Session(factory, LiveSource(InputState(KEYMAP)), MonotonicClock())
    session.start()
    wait_for(lambda: session.status == "failed")
    assert isinstance(session.error, FileNotFoundError)
    assert seconds_to_stop(session) < 0.3


def test_output_that_fails_to_publish_fails_the_session_and_the_others_are_closed() -> None:
    class FullDisk(ListOutput):
        def publish(self, chunk: FrameChunk) -> None:
            raise OSError("no space left")

        def close(self) -> None:
            raise OSError("still no space")
    world, good = quick_world(gates={"warm_up": (gate := threading.Event())}), ListOutput()
    session = started_session(world)
    session.add_output(FullDisk())
    session.add_output(good)
    gate.set()
    wait_for(lambda: session.status == "failed")
    session.stop()
    assert str(session.error) == "no space left" and good.closed


def test_guidance_and_steps_change_between_chunks_and_are_reported() -> None:
    world = quick_world()
    session = started_session(world, guidance_scale=1.5)
    wait_for(lambda: session.status == "playing")
    assert (session.guidance_scale, session.num_denoise_steps) == (1.5, 2)
    session.set_guidance(3.0)
    session.set_steps(4)
    wait_for(lambda: session.num_denoise_steps == 4)
    assert (world.guidance_scale, world.num_denoise_steps, session.stats.passes_per_chunk) == (3.0, 4, 9.0)
    session.stop()


def test_session_reset_keeps_or_changes_seed_and_start() -> None:
    world = quick_world()
    session = started_session(world, seed=3, prompt_frames=PROMPT)
    for seed, prompt_frames in ((None, None), (8, PROMPT[:1]), (None, None)):
        session.reset(seed, prompt_frames)
        wait_for(lambda: len(world.prompts) == session.reset_count + 1)
    wait_for(lambda: session.playout.counts().waiting > 0)
    session.stop()
    assert world.seeds == [3, 3, 8, 8] and [len(prompt) for prompt in world.prompts] == [2, 2, 1, 1]
    assert session.playout.counts().dropped.keys() <= {"reset", "full"}
    assert session.seed == 8


def test_pause_and_resume_of_a_running_session() -> None:
    world = quick_world()
    session = started_session(world)
    wait_for(lambda: session.stats.num_chunks > 3)
    session.pause(True)
    session.pause(True)
    time.sleep(0.02)  # a chunk under way at the pause is still finished
    num_chunks = session.stats.num_chunks
    time.sleep(0.03)
    assert session.stats.num_chunks == num_chunks
    session.pause(False)
    wait_for(lambda: session.stats.num_chunks > num_chunks + 3)
    assert session.status == "playing"
    session.stop()


def test_chunk_made_for_an_older_reset_is_dropped_and_counted() -> None:
    gate = threading.Event()
    world = quick_world(gates={"step": gate})
    session = started_session(world)
    assert world.entered["step"].wait(5.0)
    session.reset(seed=1)
    gate.set()
    wait_for(lambda: len(world.seeds) == 2 and session.stats.num_chunks >= 2)
    session.stop()
    counts = session.playout.counts()
    assert counts.dropped["reset"] == 1
    assert counts.published == counts.shown + sum(counts.dropped.values()) + counts.waiting


def test_fake_chunk_counts_its_frames() -> None:
    assert fake_chunk(num_frames=3).frames.shape == (3, 6, 8, 3)
