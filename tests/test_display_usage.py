"""What a player is told of a world's controls: the sentence at the start, the keys of the overlay, the page of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hands import Player, seats

from astra_play.actions.keymap import Keymap, default_keymap
from astra_play.actions.remap import bind, unbind
from astra_play.display.usage import usage

WALKER = ("forward", "back", "left", "right", "turn_left", "turn_right", "look_up", "look_down")
DRIVER = ("accelerate", "brake", "steer_left", "steer_right")
HAND = ("forward", "back", "left", "right", "up", "down", "grip", "release")
PLAYED = {"camera": WALKER, "vehicle": DRIVER, "arm": HAND}


def keymap_of(modality: str, keymap: Keymap | None = None) -> Keymap:
    return (keymap or default_keymap()).limited_to(PLAYED[modality], modality)


@pytest.mark.parametrize(("modality", "sentence"), [
    ("camera", "Walk with W A S D, look around with the arrow keys or the mouse."),
    ("vehicle", "Drive with W, brake with S, steer with A D or the mouse."),
    ("arm", "Move the hand with W A S D or the mouse, lift and lower it with E Q, close and open it with the mouse "
            "buttons.")])
def test_a_world_is_introduced_by_how_it_is_played(modality: str, sentence: str) -> None:
    assert usage(keymap_of(modality)) == sentence


def test_keys_that_were_bound_anew_are_told_and_those_without_a_key_are_left_out() -> None:
    keymap = bind(bind(default_keymap(), "left", "j", False, WALKER), "back", "left shift", False, WALKER)
    for button in WALKER[4:]:
        keymap = unbind(keymap, button)
    assert usage(keymap_of("camera", keymap)) == "Walk with W / J / Left shift / D, look around with the mouse."


def test_where_no_key_is_left_the_pad_is_told() -> None:
    keymap = bind(unbind(default_keymap(), "accelerate"), "accelerate", "pad right trigger", True, DRIVER)
    assert usage(keymap_of("vehicle", keymap)).startswith("Drive with Right trigger, brake")


# --- in the window --------------------------------------------------------------------------------------------------

@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "settings.json", keymap_path=tmp_path / "keymap.toml", world="card") as seat:
        (tmp_path / "keymap.toml").write_text("")
        yield seat


def test_first_words_in_a_world_say_how_to_walk_by_the_keys_that_count(make_player, tmp_path: Path) -> None:
    (tmp_path / "keymap.toml").write_text('[keys]\n"i" = "forward"\n"k" = "back"\n')
    player = make_player()
    player.until(lambda: player.play.playing, "the first frame")
    assert player.app.toasts.message.startswith("Walk with I K, look around with ")
    assert "Esc pauses" in player.app.toasts.message
