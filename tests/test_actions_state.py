import random

import pytest
from naive_runtime import naive_samples

from astra_play.actions.buttons import OPPOSITE_PAIRS, settle
from astra_play.actions.keymap import Keymap, default_keymap
from astra_play.actions.sources import AutopilotSource, LiveSource, ScriptedSource
from astra_play.actions.state import InputState
from astra_play.chunks import InputEvent

KEYMAP = Keymap(keys={"w": ("forward",), "up": ("forward",), "s": ("back",), "a": ("left",), "d": ("right",),
                      "q": ("turn_left",)},
                sticks={"pad left x": (("left",), ("right",)), "pad left y": (("forward",), ("back",))},
                dead_zone=0.2)


def key(control: str, down: bool, time_s: float = 0.0) -> InputEvent:
    return InputEvent("button", control, down=down, time_s=time_s)


def motion(x: float, y: float, time_s: float = 0.0) -> InputEvent:
    return InputEvent("motion", motion_px=(x, y), time_s=time_s)


def stick(axis: str, value: float, time_s: float = 0.0) -> InputEvent:
    return InputEvent("axis", axis, value=value, time_s=time_s)


def state_after(*events: InputEvent) -> InputState:
    state = InputState(KEYMAP)
    for event in events:
        state.handle(event)
    return state


def test_tap_shorter_than_a_chunk_reaches_exactly_one_sample() -> None:
    state = state_after(key("w", True), key("w", False))
    assert [state.take(t).buttons for t in (1.0, 2.0)] == [{"forward"}, frozenset()]


def test_key_pressed_again_within_a_read_is_held() -> None:
    state = state_after(key("w", True), key("w", False), key("w", True))
    assert [state.take(t).buttons for t in (1.0, 2.0)] == [{"forward"}, {"forward"}]


def test_button_is_up_only_when_both_of_its_keys_are_up() -> None:
    state = state_after(key("w", True), key("up", True))
    state.take(0.0)
    state.handle(key("w", False))
    assert state.take(1.0).buttons == {"forward"}
    state.handle(key("up", False))
    assert state.take(2.0).buttons == frozenset()


def test_chord_of_every_compatible_key_is_kept_whole() -> None:
    state = state_after(key("w", True), key("a", True), key("q", True))
    assert state.take(0.0).buttons == {"forward", "left", "turn_left"}
    assert state.held() == {"forward", "left", "turn_left"}


def test_key_up_without_key_down_and_double_key_down_change_nothing() -> None:
    state = state_after(key("w", False), key("a", True, 1.0), key("a", True, 2.0), key("f12", True))
    sample = state.take(3.0)
    assert (sample.buttons, sample.event_times_s) == ({"left"}, (1.0,))
    state.handle(key("a", False))
    assert state.take(4.0).buttons == frozenset(), "one key-up ends a doubled key-down"


def test_of_opposite_keys_the_last_pressed_wins_and_the_first_comes_back() -> None:
    state = state_after(key("a", True), key("d", True))
    assert state.take(0.0).buttons == {"right"}
    state.handle(key("d", False))
    assert state.take(1.0).buttons == {"left"}


@pytest.mark.parametrize(("one", "other"), OPPOSITE_PAIRS)
def test_no_order_of_presses_lets_both_of_a_pair_through(one: str, other: str) -> None:
    assert settle([one, other]) == {other}
    assert settle([other, one]) == {one}
    assert settle([one, other, one]) == {one}


def test_motion_is_summed_scaled_and_read_once() -> None:
    state = InputState(Keymap(mouse_sensitivity=2.0, invert_y=True))
    for event in (motion(3, 1), motion(4, -2)):
        state.handle(event)
    assert state.take(0.0).mouse_px == (14.0, 2.0)
    assert state.take(1.0).mouse_px == (0.0, 0.0)


def test_focus_loss_releases_all_and_drops_unread_motion_and_taps() -> None:
    state = state_after(key("w", True), stick("pad left x", 1.0))
    state.take(0.0)
    for event in (key("a", True), key("a", False), motion(9, 9), InputEvent("focus_lost", time_s=5.0)):
        state.handle(event)
    sample = state.take(6.0)
    assert (sample.buttons, sample.axes, sample.mouse_px) == (frozenset(), (), (0.0, 0.0))
    assert sample.event_times_s == (5.0,), "the release is what this sample shows first"
    state.handle(key("w", False))  # the key-up arrives after the window is back
    assert state.take(7.0).buttons == frozenset()


def test_stick_counts_from_the_edge_of_its_dead_zone() -> None:
    state = state_after(stick("pad left x", 0.19), stick("pad left y", -0.6))
    assert state.take(0.0).axes == (("forward", pytest.approx(0.5)),)
    state.handle(stick("pad left y", 1.0))
    assert state.take(1.0).axes == (("back", 1.0),)


def test_flick_of_a_stick_shorter_than_a_read_reaches_exactly_one_sample() -> None:
    state = state_after(stick("pad left x", 1.0, 1.0), stick("pad left x", 0.0, 1.1))
    first, second = state.take(2.0), state.take(3.0)
    assert (first.axes, first.event_times_s) == ((("right", 1.0),), (1.0,))
    assert (second.axes, second.event_times_s) == ((), (1.1,))


def test_event_times_name_each_change_once_and_nothing_else() -> None:
    state = state_after(key("w", True, 1.0), key("up", True, 1.1), motion(1, 0, 1.2), motion(0, 0, 1.3))
    assert state.take(2.0).event_times_s == (1.0, 1.2), "a second key of a held button shows nowhere"
    assert state.take(3.0).event_times_s == ()
    state.handle(key("up", False, 3.5))
    assert state.take(4.0).event_times_s == ()
    state.handle(key("w", False, 4.5))
    assert state.take(5.0).event_times_s == (4.5,)


def test_release_of_a_latched_tap_is_an_event_of_the_sample_after() -> None:
    state = state_after(key("w", True, 1.0), key("w", False, 1.1))
    assert state.take(2.0).event_times_s == (1.0,)
    assert state.take(3.0).event_times_s == (1.1,)
    assert state.take(4.0).event_times_s == ()


def test_key_let_go_and_pressed_again_between_reads_is_no_change() -> None:
    state = state_after(key("w", True, 1.0))
    state.take(2.0)
    for event in (key("w", False, 2.1), key("w", True, 2.2)):
        state.handle(event)
    assert state.take(3.0).event_times_s == ()


def test_release_that_was_taken_back_within_its_read_is_not_blamed_for_a_later_change() -> None:
    state = state_after(key("w", True, 1.0), key("w", False, 1.1), key("w", True, 1.2))
    assert state.take(2.0).event_times_s == (1.0,)
    state.handle(key("a", True, 2.5))
    assert state.take(3.0).event_times_s == (2.5,)


def test_last_sample_is_what_the_reader_took() -> None:
    state = state_after(key("w", True))
    assert state.last_sample.buttons == frozenset()
    sample = state.take(1.0)
    assert state.last_sample is sample


@pytest.mark.parametrize("seed", range(30))
def test_random_events_give_the_samples_of_the_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    windows = [[_random_event(rng) for _ in range(rng.randrange(7))] for _ in range(40)]
    state = InputState(KEYMAP)
    got = []
    for window in windows:
        for event in window:
            state.handle(event)
        sample = state.take(0.0)
        got.append((sample.buttons, sample.mouse_px))
    assert got == naive_samples(windows, KEYMAP)


def _random_event(rng: random.Random) -> InputEvent:
    kind = rng.random()
    if kind < 0.05:
        return InputEvent("focus_lost")
    if kind < 0.25:
        return motion(rng.randrange(-20, 20), rng.randrange(-20, 20))
    return key(rng.choice(["w", "up", "s", "a", "d", "q", "f12"]), rng.random() < 0.5)


def test_script_gives_each_reading_the_events_up_to_its_time() -> None:
    events = [key("w", True, 0.5), key("w", False, 0.9), motion(7, 0, 0.2)]
    source = ScriptedSource(events, KEYMAP)
    samples = [source.take(t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert [sample.mouse_px[0] for sample in samples] == [0.0, 7.0, 0.0, 0.0, 0.0]
    assert [sorted(sample.buttons) for sample in samples] == [[], [], ["forward"], ["forward"], []]


def test_script_counts_from_its_first_reading_and_stamps_events_on_the_readers_clock() -> None:
    source = ScriptedSource([key("w", True, 0.5)], KEYMAP)
    assert source.take(1000.0).buttons == frozenset()
    sample = source.take(1000.6)
    assert (sample.buttons, sample.event_times_s) == ({"forward"}, (1000.5,))


def test_live_source_reads_the_state() -> None:
    assert LiveSource(state_after(key("w", True))).take(1.0).buttons == {"forward"}


def test_autopilot_wanders_alike_for_one_seed_however_often_it_is_read() -> None:
    slow, quick = AutopilotSource(3), AutopilotSource(3)
    quick_buttons = [quick.take(10.0 + i * 0.01).buttons for i in range(6000)]
    assert [slow.take(10.0 + i * 0.01).buttons for i in range(0, 6000, 100)] == quick_buttons[::100]
    assert {button for buttons in quick_buttons for button in buttons} == {"forward", "turn_left", "turn_right"}
    assert quick_buttons != [AutopilotSource(4).take(10.0 + i * 0.01).buttons for i in range(6000)]


def test_autopilot_presses_only_what_the_world_knows() -> None:
    source = AutopilotSource(1, buttons=("forward",))
    assert {button for i in range(600) for button in source.take(i * 0.1).buttons} == {"forward"}


def driven(buttons: tuple[str, ...], seed: int = 2, seconds: int = 600) -> tuple[dict[str, float], set[str]]:
    """Return how long each button was pushed (seconds of full strength), and every button seen."""
    source, pushed = AutopilotSource(seed, buttons), dict.fromkeys(buttons, 0.0)
    for tick in range(seconds * 20):
        sample = source.take(tick / 20)
        for button, strength in (*((button, 1.0) for button in sample.buttons), *sample.axes):
            pushed[button] += strength / 20
    return pushed, {button for button, sum_s in pushed.items() if sum_s > 0.0}


def test_autopilot_on_foot_keeps_looking_where_it_began() -> None:
    source, left_s = AutopilotSource(5), 0.0
    for tick in range(600 * 20):
        buttons = source.take(tick / 20).buttons
        left_s += ("turn_left" in buttons) / 20 - ("turn_right" in buttons) / 20
        assert abs(left_s) <= 2.5  # 188 degrees in the default world


def test_autopilot_drives_on_and_steers_back_what_it_steered() -> None:
    pushed, seen = driven(("accelerate", "brake", "steer_left", "steer_right"))
    assert seen == {"accelerate", "steer_left", "steer_right"}
    assert pushed["accelerate"] > 600 * 0.4
    assert pushed["steer_left"] == pytest.approx(pushed["steer_right"], abs=0.5)


def test_autopilot_of_an_arm_keeps_the_hand_over_the_table_and_opens_what_it_closed() -> None:
    buttons = ("forward", "back", "left", "right", "up", "down", "grip", "release")
    pushed, seen = driven(buttons)
    assert seen == set(buttons)
    for one, other in (("forward", "back"), ("left", "right"), ("up", "down")):
        assert abs(pushed[one] - pushed[other]) <= 1.5
    assert pushed["grip"] == pytest.approx(pushed["release"], abs=0.9)


def test_default_keymap_moves_with_wasd() -> None:
    state = InputState(default_keymap().limited_to(("forward", "left")))
    for event in (key("w", True), key("a", True)):
        state.handle(event)
    assert state.take(0.0).buttons == {"forward", "left"}
