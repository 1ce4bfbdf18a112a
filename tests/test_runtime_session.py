"""Sessions with their real thread, and worlds that take no time."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from fakes import FakeWorld, ListOutput, fake_config

from astra_play.actions.keymap import Keymap
from astra_play.actions.sources import LiveSource
from astra_play.actions.state import InputState
from astra_play.chunks import FrameChunk, InputEvent
from astra_play.runtime.clock import MonotonicClock
from astra_play.runtime.session import STOP_WITHIN_S, Session, Settings

KEYMAP = Keymap(keys={"w": ("forward",)})
PROMPT = np.zeros((2, 6, 8, 3), dtype=np.uint8)


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


def test_hand_of_every_start_ends_where_its_reach_does() -> None:
    """Held to the right, so that the sum of all rows since a start tells from where the hand began."""
    config = fake_config(fps=500, modality="arm", move_m_s=1.0, buttons=("right",), reach_m=(0, 0, 0, 1, 1, 1))
    state = InputState(Keymap(keys={"d": ("right",)}))
    state.handle(InputEvent("button", "d", down=True))
    session = Session(lambda: FakeWorld(config), LiveSource(state), MonotonicClock(),
                      Settings(prompt_frames=PROMPT, hand_m=(0.99, 0.5, 0.5)))
    output = ListOutput()
    session.add_output(output)
    session.start()

    def way_m(reset_count: int) -> float:
        def stands() -> bool:
            own = [chunk for chunk in list(output.chunks) if chunk.reset_count == reset_count]
            return bool(own) and float(own[-1].action.rows[0, 0]) == 0.0
        wait_for(stands)
        return sum(float(c.action.rows[:, 0].sum()) for c in list(output.chunks) if c.reset_count == reset_count)

    assert way_m(0) == pytest.approx(0.01)
    session.reset()
    assert way_m(1) == pytest.approx(0.01)  # the same start again
    session.reset(prompt_frames=PROMPT, hand_m=(0.98, 0.5, 0.5))
    assert way_m(2) == pytest.approx(0.02)
    session.stop()


def test_reset_empties_the_playout_queue_at_once_however_long_the_world_takes() -> None:
    world = FakeWorld(fake_config(fps=1, frames_per_latent=4))
    session = started_session(world)
    wait_for(lambda: session.playout.counts().waiting == 4)
    session.reset()
    counts = session.playout.counts()
    session.stop()
    assert counts.dropped == {"reset": 4}


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
