"""Gamepads in the whole window loop: plugging in and out, two at once, and the page that binds and tunes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pygame
import pytest
from hands import Player, seats

from astra_play.actions.keymap import load_keymap
from astra_play.config import ControlsConfig
from astra_play.display.padpage import PadScreen
from astra_play.display.pads import PadHands, Pads
from astra_play.display.screens import KeysScreen, PauseScreen, SettingsScreen, open_pad_page
from astra_play.display.text import Text
from astra_play.display.usage import control_name

FULL = 32767


class FakePad:
    """What SDL's controller module makes of an index."""

    def __init__(self, index: int) -> None:
        self.id = index
        self.name = ("Red pad", "Blue pad")[index]


def fake_pads(count: int, pad: type[FakePad] = FakePad) -> Pads:
    return Pads(SimpleNamespace(init=lambda: None, quit=lambda: None, get_count=lambda: count,
                                is_controller=lambda index: True, Controller=pad))


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    (tmp_path / "keymap.toml").write_text('[pad]\ndead_zone = 0.2  # worn out\n')
    with seats(settings_path=tmp_path / "settings.json", keymap_path=tmp_path / "keymap.toml", world="card") as seat:
        def make(num_pads: int = 1) -> Player:
            player = seat()
            player.app._pads.close()
            player.app._pads = fake_pads(num_pads)
            player.until(lambda: player.play.playing, "the first frame")
            return player

        yield make


def axis(player: Player, number: int, value: float, pad: int = 0) -> None:
    player.post(pygame.CONTROLLERAXISMOTION, axis=number, value=round(FULL * value), instance_id=pad)


def button(player: Player, number: int, down: bool = True, pad: int = 0) -> None:
    player.post(pygame.CONTROLLERBUTTONDOWN if down else pygame.CONTROLLERBUTTONUP, button=number, instance_id=pad)


# --- plugging in and out --------------------------------------------------------------------------------------------

def test_unplugging_pauses_with_a_message_and_lets_go_of_everything(make_player) -> None:
    player = make_player()
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    player.until(lambda: player.world.walked_steps > 0, "a step")
    player.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=0)
    assert isinstance(player.top, PauseScreen) and "Red pad was unplugged" in player.top.panel.message
    assert player.play.session.paused and not player.play.input.held() and player.app.pad_names == []
    player.press(pygame.K_ESCAPE)
    player.frames(2)
    walked = player.world.walked_steps
    player.frames(4)
    assert player.world.walked_steps == walked


def test_plugging_in_says_so_once_and_the_pad_plays_at_once(make_player) -> None:
    player = make_player(num_pads=0)
    player.app.toasts.clear()
    player.post(pygame.CONTROLLERDEVICEADDED, device_index=1)
    assert player.app.toasts.message == "Blue pad is plugged in." and player.app.pad_names == ["Blue pad"]
    player.app.toasts.clear()
    player.post(pygame.CONTROLLERDEVICEADDED, device_index=1)
    assert player.app.toasts.message == "" and player.top is player.play


def test_pad_that_nobody_opened_leaves_unnoticed(make_player) -> None:
    player = make_player()
    player.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=5)
    assert player.top is player.play


class ShyPad(FakePad):
    """A pad that the player may not open."""

    def __init__(self, index: int) -> None:
        raise RuntimeError("Unable to open /dev/input/event7")


def test_pad_that_cannot_be_opened_is_logged_and_play_goes_on(make_player, caplog) -> None:
    player = make_player()
    player.app._pads = fake_pads(2, ShyPad)
    assert player.app.pad_names == [] and "Unable to open /dev/input/event7" in caplog.text
    player.post(pygame.CONTROLLERDEVICEADDED, device_index=0)
    player.frames(2)


def test_player_opens_where_gamepads_cannot_be_looked_for(caplog) -> None:
    def refuse() -> None:
        raise pygame.error("no joystick driver")

    assert Pads(SimpleNamespace(init=refuse)).names == [] and "no joystick driver" in caplog.text


def test_unplugging_over_a_menu_opens_no_second_one(make_player) -> None:
    player = make_player()
    player.press(pygame.K_ESCAPE)
    player.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=0)
    assert [type(screen).__name__ for screen in player.app.screens] == ["PlayScreen", "PauseScreen"]
    assert "unplugged" in player.app.toasts.message


# --- held over a menu -----------------------------------------------------------------------------------------------

def test_stick_held_while_pausing_moves_no_focus_until_it_was_back(make_player) -> None:
    player = make_player()
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -0.95)
    button(player, pygame.CONTROLLER_BUTTON_START)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -0.93)
    assert player.top.panel.focus_index == 0
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.0)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.95)
    assert player.top.panel.focus_index == 1


def test_stick_pushed_in_one_menu_moves_no_focus_in_the_one_below(make_player) -> None:
    player = make_player()
    player.press(pygame.K_ESCAPE)
    player.app.push(SettingsScreen(player.app))
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.95)
    button(player, pygame.CONTROLLER_BUTTON_B)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.93)
    assert isinstance(player.top, PauseScreen) and player.top.panel.focus_index == 0


@pytest.mark.parametrize("away", ["pause", "minimised"])
def test_stick_held_while_the_play_stood_still_walks_on_afterwards(make_player, away: str) -> None:
    player = make_player()
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -1.0)
    player.until(lambda: player.world.walked_steps > 0, "a step")
    if away == "pause":
        button(player, pygame.CONTROLLER_BUTTON_START)
        assert not player.play.input.held()
        button(player, pygame.CONTROLLER_BUTTON_START)
    else:
        player.post(pygame.WINDOWMINIMIZED)
        assert not player.play.input.held()
        player.post(pygame.WINDOWRESTORED)
    walked = player.world.walked_steps
    player.until(lambda: player.world.walked_steps > walked + 2, "more steps")
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.0)
    assert not player.play.input.held()


# --- two at once ----------------------------------------------------------------------------------------------------

def test_pad_that_goes_takes_only_what_was_held_on_it_along(make_player) -> None:
    player = make_player(num_pads=2)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -1.0, pad=0)
    axis(player, pygame.CONTROLLER_AXIS_LEFTX, 1.0, pad=1)
    player.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=0)
    button(player, pygame.CONTROLLER_BUTTON_START, pad=1)
    assert player.top is player.play and player.play.input.held() == {"right"}


def test_resting_stick_of_a_second_pad_does_not_stop_the_first(make_player) -> None:
    player = make_player(num_pads=2)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, -1.0, pad=0)
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.01, pad=1)
    assert "forward" in player.play.input.held()
    axis(player, pygame.CONTROLLER_AXIS_LEFTY, 0.0, pad=0)
    assert not player.play.input.held()


def test_button_is_up_when_it_is_up_on_every_pad() -> None:
    hands = PadHands()

    def told(down: bool, pad: int) -> bool:
        kind = pygame.CONTROLLERBUTTONDOWN if down else pygame.CONTROLLERBUTTONUP
        return hands.merge(pygame.Event(kind, button=0, instance_id=pad)) is not None

    assert [told(True, 0), told(True, 1), told(False, 0), told(False, 1)] == [True, True, False, True]
    assert hands.buttons() == frozenset()


# --- the page -------------------------------------------------------------------------------------------------------

@pytest.fixture
def on_page(make_player) -> Player:
    player = make_player()
    player.press(pygame.K_ESCAPE)
    open_pad_page(player.app)
    player.steps(1)
    assert isinstance(player.top, PadScreen)
    return player


def choose(player: Player, label: str) -> None:
    player.top.focus_index = [row.label for row in player.top.rows].index(label)
    player.press(pygame.K_RETURN)


def test_a_pad_button_is_bound_written_and_walks(on_page, tmp_path) -> None:
    choose(on_page, "Walk forward")
    button(on_page, pygame.CONTROLLER_BUTTON_Y)
    button(on_page, pygame.CONTROLLER_BUTTON_Y, down=False)
    assert load_keymap(tmp_path / "keymap.toml").keys["pad y"] == ("forward",)
    assert "# worn out" in (tmp_path / "keymap.toml").read_text()
    on_page.press(pygame.K_ESCAPE)
    on_page.press(pygame.K_ESCAPE)
    button(on_page, pygame.CONTROLLER_BUTTON_Y)
    on_page.until(lambda: on_page.world.walked_steps > 0, "a step")


def test_a_key_is_bound_too_and_the_old_one_does_nothing_any_more(on_page, tmp_path) -> None:
    choose(on_page, "Walk forward")
    on_page.press(pygame.K_g)
    assert on_page.play.keymap.keys["g"] == ("forward",) and "w" not in on_page.play.keymap.keys
    assert load_keymap(tmp_path / "keymap.toml").keys["w"] == ("accelerate",)


def test_page_says_which_other_worlds_a_key_changes(on_page, monkeypatch) -> None:
    arm = ControlsConfig(modality="arm", buttons=("left", "grip"))
    entries, config = on_page.catalogue.entries(), on_page.catalogue.config
    monkeypatch.setattr(on_page.catalogue, "entries", lambda: [
        *entries, dataclasses.replace(entries[0], name="arm", title="Robot arm")])
    monkeypatch.setattr(on_page.catalogue, "config", lambda name: dataclasses.replace(config(name), controls=arm)
                        if name == "arm" else config(name))
    on_page.press(pygame.K_ESCAPE)
    open_pad_page(on_page.app)
    said = {}
    for index, row in enumerate(on_page.top.rows):
        on_page.top.focus_index = index
        said[row.label] = on_page.top.reach()
    assert said["Step left"] == "Counts too in Robot arm (move the hand left)."
    assert said["Turn left"] == "Counts in Test card alone."
    assert said["Stick dead zone"] == said["Back to the defaults"] == "Counts in all worlds." and said["Done"] == ""


def test_trigger_is_bound_and_a_stick_still_pushed_from_choosing_is_not(on_page) -> None:
    axis(on_page, pygame.CONTROLLER_AXIS_LEFTY, 1.0)  # the flick that walked down the list
    on_page.top.focus_index = 0
    button(on_page, pygame.CONTROLLER_BUTTON_A)
    axis(on_page, pygame.CONTROLLER_AXIS_LEFTY, 0.9)
    assert on_page.top.listener is not None
    axis(on_page, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.9)
    assert on_page.top.listener is None
    assert on_page.app.keymap.sticks["pad right trigger"] == ((), ("forward", "accelerate"))


def test_escape_leaves_the_binding_and_start_is_refused(on_page) -> None:
    before = on_page.app.keymap
    choose(on_page, "Walk forward")
    button(on_page, pygame.CONTROLLER_BUTTON_START)
    assert "Start pauses the play" in on_page.app.toasts.message and on_page.top.listener is not None
    on_page.press(pygame.K_ESCAPE)
    assert on_page.top.listener is None and on_page.app.keymap == before


def test_dead_zone_slides_by_keys_and_mouse_and_counts_at_once(on_page, tmp_path) -> None:
    labels = [row.label for row in on_page.top.rows]
    index = on_page.top.focus_index = labels.index("Stick dead zone")
    on_page.press(pygame.K_RIGHT)
    assert load_keymap(tmp_path / "keymap.toml").dead_zone == 0.25
    slider = on_page.top._sliders[index]
    on_page.click((slider.left + slider.width * 2 // 3, slider.centery))
    assert on_page.app.keymap.dead_zone == pytest.approx(0.6, abs=0.01)
    on_page.press(pygame.K_ESCAPE)
    on_page.press(pygame.K_ESCAPE)
    axis(on_page, pygame.CONTROLLER_AXIS_LEFTY, -0.5)
    assert not on_page.play.input.held()
    axis(on_page, pygame.CONTROLLER_AXIS_LEFTY, -0.7)
    assert "forward" in on_page.play.input.held()


def test_triggers_have_a_threshold_of_their_own(on_page) -> None:
    choose(on_page, "Walk forward")
    axis(on_page, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.9)
    axis(on_page, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.0)
    on_page.top.focus_index = [row.label for row in on_page.top.rows].index("Trigger threshold")
    for _ in range(8):
        on_page.press(pygame.K_RIGHT)
    assert on_page.app.keymap.trigger_threshold == 0.6 and on_page.app.keymap.dead_zone == 0.2
    on_page.press(pygame.K_ESCAPE)
    on_page.press(pygame.K_ESCAPE)
    axis(on_page, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.5)
    assert not on_page.play.input.held()
    axis(on_page, pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 0.7)
    assert "forward" in on_page.play.input.held()


def test_unbinding_and_defaults(on_page, tmp_path) -> None:
    on_page.press(pygame.K_DELETE)
    keymap = on_page.app.keymap
    assert keymap.keys["w"] == ("accelerate",) and keymap.sticks["pad left y"] == ((), ("back",))
    choose(on_page, "Back to the defaults")
    again = load_keymap(tmp_path / "keymap.toml")
    assert again.keys["w"] == ("forward", "accelerate") and again.dead_zone == 0.15


def test_page_shows_the_pad_move_and_says_when_there_is_none(on_page) -> None:
    def picture() -> bytes:
        on_page.app.redraw()
        on_page.steps(1)
        return pygame.image.tobytes(on_page.app.window.surface, "RGB")

    still = picture()
    axis(on_page, pygame.CONTROLLER_AXIS_RIGHTX, 0.8)
    moved = picture()
    assert moved != still
    button(on_page, pygame.CONTROLLER_BUTTON_RIGHTSHOULDER)
    assert picture() != moved
    on_page.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=0)
    on_page.app.toasts.clear()
    assert on_page.app.pad_names == [] and picture() != still  # another sentence over a pad at rest


def test_keymap_that_cannot_be_written_counts_until_the_player_is_left(on_page, tmp_path, monkeypatch) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("astra_play.actions.remap.os.replace", refuse)
    choose(on_page, "Walk forward")
    on_page.press(pygame.K_g)
    assert "could not be written" in on_page.app.toasts.message
    assert on_page.app.keymap.keys["g"] == ("forward",)


def test_every_size_of_window_keeps_the_row_in_focus_in_view(on_page) -> None:
    for size in ((480, 320), (1280, 720), (2560, 1080)):
        on_page.app.window.resize(size)
        for index in range(len(on_page.top.rows)):
            on_page.top.focus_index = index
            on_page.app.redraw()
            on_page.steps(1)
            assert on_page.top._boxes[index].height > 10, (size, index)


@pytest.mark.parametrize("size", [(640, 400), (1280, 720)])
def test_no_words_of_settings_and_keys_are_cut(on_page, monkeypatch, size) -> None:
    shorten, cut = Text.shorten, []

    def watched(text: Text, string: str, size_px: int, width_px: int) -> str:
        shown = shorten(text, string, size_px, width_px)
        cut.extend([string] if shown != string else [])
        return shown

    monkeypatch.setattr(Text, "shorten", watched)
    on_page.app.window.resize(size)
    choose(on_page, on_page.top.rows[0].label)
    on_page.app.redraw()
    on_page.steps(1)
    assert on_page.top.listener is not None
    for screen in (SettingsScreen(on_page.app), KeysScreen(on_page.app, on_page.app.keymap)):
        on_page.app.push(screen)
        on_page.steps(1)
    assert cut == []


def test_controls_are_called_by_what_the_hand_does() -> None:
    names = [control_name(control) for control in ("pad left y -", "pad right x +", "pad left trigger +", "pad up",
                                                   "pad a", "left shift", "up")]
    assert names == ["Left stick up", "Right stick right", "Left trigger", "D-pad up", "A", "Left shift", "Up"]
