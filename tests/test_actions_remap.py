"""Rebinding: what a control gives up and keeps, and a file that changes only where the player changed it."""

from __future__ import annotations

import dataclasses

import pytest

from astra_play.actions.keymap import DEFAULT_TEXT, default_keymap, load_keymap, parse_keymap
from astra_play.actions.remap import bind, changed_text, controls_of, unbind, write_keymap
from astra_play.errors import ConfigError

WALKER = ("forward", "back", "left", "right", "turn_left", "turn_right", "look_up", "look_down")


def test_new_key_takes_the_button_over_and_the_pad_keeps_its_own() -> None:
    keymap = bind(default_keymap(), "forward", "t", False, WALKER)
    assert controls_of(keymap, "forward", pad=False) == ["t"]
    assert controls_of(keymap, "forward", pad=True) == ["pad left y -"]
    assert keymap.keys["w"] == ("accelerate",)  # in another world W still drives


def test_control_gives_up_what_it_did_in_this_world_and_keeps_the_others() -> None:
    keymap = bind(default_keymap(), "turn_left", "w", False, WALKER)
    assert keymap.keys["w"] == ("turn_left", "accelerate")
    assert controls_of(keymap, "forward", pad=False) == []


def test_either_end_of_an_axis_is_bound_alone() -> None:
    keymap = bind(default_keymap(), "forward", "pad right trigger", True, WALKER)
    assert keymap.sticks["pad right trigger"] == ((), ("forward", "accelerate"))
    assert keymap.sticks["pad left y"] == ((), ("back",))
    keymap = bind(keymap, "forward", "pad left y", False, WALKER)
    assert keymap.sticks["pad left y"] == (("forward",), ("back",))
    assert keymap.sticks["pad right trigger"] == ((), ("accelerate",))


def test_unbound_button_is_pressed_by_nothing_and_empty_controls_are_gone() -> None:
    keymap = unbind(unbind(default_keymap(), "grip"), "look_up")
    for pad in (False, True):
        assert controls_of(keymap, "grip", pad) == controls_of(keymap, "look_up", pad) == []
    assert "mouse left" not in keymap.keys and keymap.keys["up"] == ("accelerate",)


@pytest.mark.parametrize("text", [DEFAULT_TEXT, "", "# mine\n[pad]\ndead_zone = 0.3\n", '[keys]\n"W" = "forward"\n'])
def test_file_reads_back_as_what_was_written(text) -> None:
    keymap = default_keymap()
    for button, control, positive in (("forward", "t", False), ("back", "pad right y", True), ("left", "pad y", False),
                                      ("right", "mouse x1", False)):
        keymap = bind(keymap, button, control, positive, WALKER)
    keymap = dataclasses.replace(unbind(keymap, "grip"), dead_zone=0.25, trigger_threshold=0.4, invert_y=True)
    assert parse_keymap(changed_text(text, keymap, "test"), "test") == keymap


def test_dead_zone_that_stood_for_the_triggers_too_changes_the_sticks_alone() -> None:
    text = "[pad]\ndead_zone = 0.3\n"
    old = parse_keymap(text, "test")
    assert old.trigger_threshold == 0.3
    new = parse_keymap(changed_text(text, dataclasses.replace(old, dead_zone=0.1), "test"), "test")
    assert (new.dead_zone, new.trigger_threshold) == (0.1, 0.3)


def test_unchanged_keymap_leaves_the_text_as_it_is_and_a_change_leaves_the_comments() -> None:
    assert changed_text(DEFAULT_TEXT, default_keymap(), "test") == DEFAULT_TEXT
    mine = DEFAULT_TEXT.replace('"e" = "up"', '"e" = "up"   # as in my other game')
    changed = changed_text(mine, bind(default_keymap(), "grip", "pad y", False, ("grip",)), "test")
    lines = changed.splitlines()
    kept = [line for line in mine.splitlines() if line not in lines]
    assert kept == ['"pad a" = "grip"'] and [line for line in lines if line not in mine.splitlines()] == \
        ['"pad y" = "grip"']


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "config" / "keymap.toml"
    keymap = bind(default_keymap(), "forward", "t", False, WALKER)
    write_keymap(keymap, path)
    assert load_keymap(path) == keymap and [file.name for file in path.parent.iterdir()] == ["keymap.toml"]
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match="could not be written .No space left.*it is as it was"):
        write_keymap(default_keymap(), path)
    assert path.read_text() == before


def test_change_is_written_into_a_file_with_a_byte_order_mark(tmp_path) -> None:
    path = tmp_path / "keymap.toml"
    path.write_text("# größer\n" + DEFAULT_TEXT, encoding="utf-16")
    keymap = bind(load_keymap(path), "forward", "t", False, WALKER)
    write_keymap(keymap, path)
    assert load_keymap(path) == keymap and path.read_text(encoding="utf-8").startswith("# größer")


def test_file_that_is_no_keymap_any_more_is_left_alone(tmp_path) -> None:
    path = tmp_path / "keymap.toml"
    path.write_text("[keys\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        write_keymap(default_keymap(), path)
    assert path.read_text() == "[keys\n"


def test_entry_that_stands_there_twice_in_other_letters_is_changed_as_one() -> None:
    text = '[keys]\n"W" = "forward"\n"w" = "back"\n"s" = "left"\n'
    old = parse_keymap(text, "test")
    assert old.keys["w"] == ("back",)  # the last one counts
    for keymap in (unbind(old, "back"), bind(old, "right", "w", False, ("right", "back"))):
        assert parse_keymap(changed_text(text, keymap, "test"), "test") == keymap


@pytest.mark.parametrize("stumble", [lambda *asked: [][0], lambda text, *asked: text])
def test_file_that_cannot_be_changed_is_left_alone_with_a_sentence(tmp_path, monkeypatch, stumble) -> None:
    path = tmp_path / "keymap.toml"
    path.write_text('keys.w = "forward"\n')
    monkeypatch.setattr("astra_play.actions.remap.changed_text", stumble)
    with pytest.raises(ConfigError, match="cannot be changed; write its entries below lines .*it is as it was"):
        write_keymap(unbind(load_keymap(path), "forward"), path)
    assert path.read_text() == 'keys.w = "forward"\n'
