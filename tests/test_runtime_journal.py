"""What the journal tells, in which order: enough to make every chunk again."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeWorld, fake_chunk, fake_config
from test_runtime_generator import PROMPT, Bench, steady_world

from astra_play.runtime.generator import Guidance, Prompt, Reset, Steps
from astra_play.runtime.journal import Changed, Entry, Journal, Made, Started, Stilled


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def hear(self, entry: Entry) -> None:
        self.entries.append(entry)

    def without_chunks(self) -> list[Entry]:
        return [entry for entry in self.entries if not isinstance(entry, Made)]

    def chunks(self) -> list[Made]:
        return [entry for entry in self.entries if isinstance(entry, Made)]


def listened(bench: Bench) -> Listener:
    listener = Listener()
    bench.generator.journal.subscribe(listener)
    return listener


def test_settings_are_told_before_the_start_and_the_start_before_its_chunks() -> None:
    bench = Bench(steady_world(), seed=7, prompt_frames=PROMPT, guidance_scale=2.0)
    listener = listened(bench)
    bench.run_until(0.5)
    assert {(entry.name, entry.value) for entry in listener.entries[:4]} == {
        ("guidance_scale", 2.0), ("num_denoise_steps", 2), ("num_threads", 1), ("draws_finely", False)}
    start = listener.entries[4]
    assert isinstance(start, Started) and (start.seed, start.reset_count, start.hand_m) == (7, 0, None)
    assert start.prompt_frames is PROMPT
    assert [made.number for made in listener.chunks()] == list(range(len(bench.output.chunks))) != []
    assert [made.chunk for made in listener.chunks()] == bench.output.chunks


def test_a_reset_starts_again_while_chunks_are_counted_on() -> None:
    bench = Bench(steady_world(), seed=7)
    listener = listened(bench)
    bench.at(0.45, lambda: bench.generator.commands.put(Reset(1, 8, None)))
    bench.run_until(1.0)
    starts = [entry for entry in listener.entries if isinstance(entry, Started)]
    assert [(start.seed, start.reset_count) for start in starts] == [(7, 0), (8, 1)]
    assert [made.number for made in listener.chunks()] == list(range(len(listener.chunks())))
    after = listener.entries[listener.entries.index(starts[1]) + 1]
    assert isinstance(after, Made) and (after.chunk.chunk_index, after.chunk.reset_count) == (0, 1)


def test_settings_and_prompts_are_told_before_the_chunk_that_they_are_in_force_for() -> None:
    bench = Bench(steady_world())
    listener = listened(bench)
    for command in (Guidance(3.0), Steps(4), Steps(4), Prompt("a pond")):
        bench.at(0.45, lambda command=command: bench.generator.commands.put(command))
    bench.run_until(1.0)
    told = [(entry.name, entry.value) for entry in listener.without_chunks()[5:] if isinstance(entry, Changed)]
    assert told == [("guidance_scale", 3.0), ("num_denoise_steps", 4), ("prompt", "a pond")]


def test_a_pause_lets_go_of_the_controls_once_and_only_after_a_chunk() -> None:
    bench = Bench(steady_world())
    listener = listened(bench)
    bench.at(0.45, bench.generator.paused.set)
    bench.at(3.0, bench.generator.paused.clear)
    bench.at(3.01, bench.generator.paused.set)  # nothing was made in between that could have gone on turning
    bench.at(3.02, bench.generator.paused.clear)
    bench.run_until(4.0)
    kinds = [type(entry) for entry in listener.entries]
    assert kinds.count(Stilled) in (1, 2) and kinds[kinds.index(Stilled) - 1] is Made
    assert (Stilled, Stilled) not in list(zip(kinds, kinds[1:], strict=False))


def test_another_number_of_threads_is_a_setting() -> None:
    def world(clock) -> FakeWorld:
        made = FakeWorld(fake_config(fps=10), clock, step_s=0.095)
        made.num_threads = 2
        return made

    bench = Bench(world)
    listener = listened(bench)
    bench.run_until(2.0)
    assert [entry.value for entry in listener.entries if isinstance(entry, Changed)
            and entry.name == "num_threads"] == [2, 1, 2]  # one takes as long, so it was no help


def test_a_chunk_carries_the_latents_that_its_frames_were_made_of() -> None:
    bench = Bench(steady_world())
    bench.run_until(0.5)
    firsts = [chunk.latents.flat[0] for chunk in bench.output.chunks]
    assert firsts == [chunk.frames[0].flat[0] + 1 for chunk in bench.output.chunks]  # as the fake world counts


def test_the_same_value_again_is_no_change() -> None:
    journal, listener = Journal(), Listener()
    journal.subscribe(listener)
    for value in (1.0, 1.0, 2.0, 2.0, 1.0):
        journal.changed("guidance_scale", value)
    assert [entry.value for entry in listener.entries] == [1.0, 2.0, 1.0]


@pytest.mark.parametrize("num_listeners", [0, 3])
def test_every_listener_hears_everything(num_listeners: int) -> None:
    journal, listeners = Journal(), [Listener() for _ in range(num_listeners)]
    for listener in listeners:
        journal.subscribe(listener)
    journal.started(1, 0, np.zeros((1, 2, 2, 3), np.uint8))
    journal.made(fake_chunk())
    journal.stilled()
    assert all([type(entry) for entry in listener.entries] == [Started, Made, Stilled] for listener in listeners)
