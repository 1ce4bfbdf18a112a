"""The generator in fake time, on the thread of the test."""

from collections.abc import Callable

import numpy as np
import pytest
from fakes import FakeClock, FakeWorld, ListOutput, fake_config

from astra_play.actions.keymap import Keymap
from astra_play.actions.row_makers import make_row_maker
from astra_play.actions.rows import camera_motion
from astra_play.actions.sources import LiveSource, ScriptedSource
from astra_play.actions.state import InputState
from astra_play.chunks import ActionChunk, ActionSample, InputEvent
from astra_play.runtime.generator import Generator, Prompt, Reset, Resume, Settings
from astra_play.runtime.interfaces import ActionSource
from astra_play.runtime.playout import PlayoutQueue
from astra_play.runtime.stats import Stats

KEYMAP = Keymap(keys={"w": ("forward",)})
PROMPT = np.zeros((2, 6, 8, 3), dtype=np.uint8)


class Bench:
    """A generator run on the test's own thread in fake time; `at` makes things happen as the main thread would."""

    def __init__(self, world: Callable[[FakeClock], FakeWorld], source: ActionSource | None = None,
                 **settings: object) -> None:
        self.clock = FakeClock(0.0)
        self.world = world(self.clock)
        self.state = InputState(KEYMAP)
        self.playout = PlayoutQueue(self.clock)
        self.stats = Stats(self.clock, self.playout)
        self.generator = Generator(lambda: self.world, source or LiveSource(self.state), self.clock, self.playout,
                                   self.stats, Settings(**settings))
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


def test_reset_forgets_a_flick_that_was_still_turning() -> None:
    bench = Bench(steady_world())
    bench.clock.at(0.5, lambda: bench.state.handle(InputEvent("motion", motion_px=(300.0, 0.0))))
    bench.at(0.6, lambda: bench.generator.commands.put(Reset(1, 0, None)))
    bench.run_until(1.0)
    turns = [(action.reset_count, round(camera_motion(action.rows[0])[2], 3)) for action in bench.world.actions]
    assert [turn for count, turn in turns if count == 0 and turn], "the flick began before the reset"
    assert not [turn for count, turn in turns if count == 1 and turn]


def test_pause_forgets_a_flick_that_was_still_turning() -> None:
    bench = Bench(steady_world())
    bench.clock.at(0.5, lambda: bench.state.handle(InputEvent("motion", motion_px=(300.0, 0.0))))
    bench.at(0.6, bench.generator.paused.set)
    bench.at(0.7, bench.generator.paused.clear)
    bench.run_until(1.2)
    turns = [(action.sample.taken_at_s, round(camera_motion(action.rows[0])[2], 3)) for action in bench.world.actions]
    assert [turn for at_s, turn in turns if at_s < 0.7 and turn], "the flick began before the pause"
    assert not [turn for at_s, turn in turns if at_s >= 0.7 and turn]


def test_unpaced_generator_plays_a_script_in_virtual_time() -> None:
    def samples(step_s: float) -> list[list[str]]:
        source = ScriptedSource([key(True, 0.3), key(False, 0.6)], KEYMAP)
        bench = Bench(steady_world(step_s), source, paced=False)
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

    def step(self, action: ActionChunk) -> np.ndarray:
        self._clock.advance(0.5 if len(self.actions) % 10 == 9 else 0.0)
        return super().step(action)


class CrowdedWorld(FakeWorld):
    """Two threads take 10 ms a chunk alone and 300 ms beside a neighbour; one thread takes 20 ms in any company."""

    neighbour = False

    def step(self, action: ActionChunk) -> np.ndarray:
        self._clock.advance(0.020 if self.num_threads == 1 else 0.300 if self.neighbour else 0.010)
        return super().step(action)


def threads_over_time(times_s: list[float], **settings: object) -> tuple[list[int], Bench]:
    """Threads of a session that begins with two, at some times; a neighbour is there from 2 s to 30 s."""
    bench = Bench(lambda clock: CrowdedWorld(fake_config(fps=10), clock), **settings)
    bench.world.num_threads = 2
    seen: list[int] = []
    for time_s, there in ((2.0, True), (30.0, False)):
        bench.at(time_s, lambda there=there: setattr(bench.world, "neighbour", there))
    for time_s in times_s:
        bench.at(time_s, lambda: seen.append(bench.world.num_threads))
    bench.run_until(times_s[-1] + 0.5)
    assert bench.generator.num_threads == bench.world.num_threads
    return seen, bench


def test_a_neighbour_takes_the_session_down_to_one_thread_until_it_leaves() -> None:
    assert threads_over_time([1.9, 4.0, 10.0, 29.0, 60.0, 80.0])[0] == [2, 1, 1, 1, 2, 2]


def test_threads_that_were_asked_for_stay() -> None:
    assert threads_over_time([1.0, 10.0, 29.0], keep_threads=False)[0] == [2, 2, 2]


def test_mouse_motion_that_nobody_could_follow_is_counted() -> None:
    bench = Bench(steady_world())
    bench.at(0.5, lambda: bench.state.handle(InputEvent("motion", motion_px=(100_000.0, 0.0), time_s=0.5)))
    bench.run_until(2.0)
    assert bench.stats.dropped_turn_deg > 1000.0
    assert bench.stats.to_json()["dropped_turn_deg"] == pytest.approx(bench.stats.dropped_turn_deg, rel=0.01)


def test_world_waits_for_a_prompt_and_nothing_of_the_wait_is_an_underrun() -> None:
    bench = Bench(lambda clock: FakeWorld(fake_config(fps=10), clock, step_s=0.01))
    slow = bench.world.set_prompt

    def set_prompt(prompt: str) -> None:
        slow(prompt)
        phases.append(bench.generator.phase)
        bench.clock.advance(2.0)

    phases: list[str] = []
    bench.world.set_prompt = set_prompt
    bench.show_frames_every_ms_until(5.0)
    bench.at(1.05, lambda: bench.generator.commands.put(Prompt("a garden")))
    bench.run_until(5.0)
    assert bench.world.prompt == "a garden" and phases == ["reading the prompt"] and bench.generator.phase == "playing"
    counts = bench.playout.counts()
    assert counts.underruns == 0 and counts.held_s == 0.0 and sum(counts.dropped.values()) == 0
    assert len(bench.world.actions) == pytest.approx(30, abs=2)  # five seconds less the two of reading


def test_of_several_prompts_only_the_last_is_read_and_a_reset_keeps_it() -> None:
    bench = Bench(lambda clock: FakeWorld(fake_config(fps=10), clock))
    for text in ("one", "two", "three"):
        bench.generator.commands.put(Prompt(text))
    bench.generator.commands.put(Reset(1, 4, None))
    bench.run_until(0.5)
    assert bench.world.calls.count("set_prompt") == 1 and bench.world.prompt == "three"
    assert bench.world.calls.index("set_prompt") < len(bench.world.calls) - bench.world.calls[::-1].index("reset")
    assert bench.generator.prompt_outcomes.get_nowait().text == "three"
    assert bench.generator.prompt_outcomes.empty()


@pytest.mark.parametrize("failure", [MemoryError("no room"), OSError(28, "disk full"), RuntimeError("kernel")])
def test_prompt_that_fails_in_any_way_is_told_and_play_goes_on(failure: Exception) -> None:
    bench = Bench(lambda clock: FakeWorld(fake_config(fps=10), clock, failures={"set_prompt": failure}))
    bench.at(0.5, lambda: bench.generator.commands.put(Prompt("a garden")))
    bench.run_until(2.0)
    outcome = bench.generator.prompt_outcomes.get_nowait()
    assert (outcome.text, outcome.error) == ("a garden", failure) and bench.world.prompt == ""
    assert len(bench.world.actions) >= 18 and bench.generator.error is None


def test_motion_made_while_a_prompt_is_read_turns_nobody() -> None:
    bench = Bench(lambda clock: FakeWorld(fake_config(fps=10), clock))
    slow = bench.world.set_prompt

    def set_prompt(prompt: str) -> None:
        slow(prompt)
        bench.state.handle(InputEvent("motion", motion_px=(-50.0, 0.0), time_s=bench.clock.now()))

    bench.world.set_prompt = set_prompt
    bench.at(0.45, lambda: bench.generator.commands.put(Prompt("a garden")))
    bench.run_until(1.5)
    assert bench.world.prompt == "a garden"
    assert all(action.sample.mouse_px == (0.0, 0.0) for action in bench.world.actions)


def test_threads_are_left_alone_where_the_world_says_that_fewer_are_no_faster() -> None:
    def slow_world(clock: FakeClock) -> FakeWorld:
        world = FakeWorld(fake_config(fps=10), clock, step_s=1.0)
        world.num_threads, world.probes_threads = 4, False
        return world

    bench = Bench(slow_world)
    bench.run_until(30.0)
    assert bench.world.num_threads == 4 == bench.generator.num_threads


class ShortSource:
    """A source that is over after a few samples, until it is given more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, now_s: float) -> ActionSample | None:
        return ActionSample(taken_at_s=now_s) if self.left > 0 else None


def test_a_source_that_is_over_lets_the_picture_stand_until_there_is_more() -> None:
    source = ShortSource(0)
    bench = Bench(lambda clock: FakeWorld(clock=clock, step_s=0.01), source=source)
    bench.show_frames_every_ms_until(2.0)
    bench.at(1.0, lambda: setattr(source, "left", 1))
    bench.run_until(2.0)
    assert min(action.sample.taken_at_s for action in bench.world.actions) >= 1.0
    counts = bench.playout.counts()
    assert counts.underruns == 0 and counts.shown >= 5, "nothing was missed while nothing was to be shown"


def test_a_world_in_mid_play_goes_on_where_it_was() -> None:
    config = fake_config()
    row_maker = make_row_maker(config)
    bench = Bench(lambda clock: FakeWorld(config, clock, step_s=0.01),
                  resume=Resume(lambda: row_maker, num_chunks=17), seed=5)
    bench.run_until(0.5)
    assert not {"reset", "prefill", "warm_up"} & set(bench.world.calls)
    assert [chunk.chunk_index for chunk in bench.output.chunks][:3] == [17, 18, 19]
    assert bench.stats.seed == 5
