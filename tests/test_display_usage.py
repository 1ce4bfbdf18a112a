"""What a player is told of a world's controls: the sentence at the start, the keys of the overlay, the page of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from fakes_display import CardCatalogue, card_config
from hands import Player, seats

from astra_play.actions.keymap import Keymap, default_keymap
from astra_play.actions.remap import bind, unbind
from astra_play.config import WorldConfig
from astra_play.display import heard
from astra_play.display.canvas import Canvas
from astra_play.display.present import fit
from astra_play.display.screens import PLAYER_KEYS, KeysScreen, player_keys, world_keys
from astra_play.display.text import Text
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


# --- the overlay ----------------------------------------------------------------------------------------------------

Caps = dict[str, tuple[pygame.Rect, bool]]


@pytest.fixture
def caps(monkeypatch: pytest.MonkeyPatch) -> Caps:
    """The keys that are drawn: control -> its box on the window, and whether it is lit."""
    drawn, draw = {}, heard._draw_key

    def note(canvas: Canvas, control: str, box: pygame.Rect, lit: bool) -> None:
        drawn[control] = box, lit
        draw(canvas, control, box, lit)

    monkeypatch.setattr(heard, "_draw_key", note)
    return drawn


@pytest.mark.parametrize("size", [(1280, 720), (1000, 1000), (1000, 780), (800, 600), (1920, 820)])
def test_overlay_shows_every_key_of_the_hand_and_no_cap_lies_across_the_picture_s_edge(caps: Caps, size) -> None:
    window = pygame.Rect(0, 0, *size)
    picture = fit(4, 3, window)
    heard.draw_heard(Canvas(pygame.Surface(size), Text()), keymap_of("arm"), frozenset(("up", "grip")), (0.0, 0.0),
                     picture)
    assert caps.keys() == {"w", "a", "s", "d", "e", "q", "mouse left", "mouse right"}
    assert {control for control, (_, lit) in caps.items() if lit} == {"e", "mouse left"}
    boxes = [box for box, _ in caps.values()]
    assert all(window.contains(box) for box in boxes)
    assert len({picture.contains(box) for box in boxes}) == 1 and \
        len({picture.colliderect(box) for box in boxes}) == 1
    assert all(box.collidelistall(boxes) == [index] for index, box in enumerate(boxes))


# --- the page of keys -----------------------------------------------------------------------------------------------

def test_page_of_keys_calls_controls_as_the_page_that_binds_them() -> None:
    rows = dict(map(reversed, world_keys(keymap_of("arm"))))
    assert rows["move the hand away"] == "W, Left stick up" and rows["lift the hand"] == "E, D-pad up"
    assert rows["close the gripper"] == "Mouse left, Pad A" and rows["move the hand"] == "Mouse"
    car = dict(map(reversed, world_keys(keymap_of("vehicle"))))
    assert car["steer left"] == "A, Left, Left stick left" and car["accelerate"] == "W, Up, Right trigger"


@pytest.mark.parametrize(("config", "missing"), [
    (card_config(max_guidance=1.0), {"T", "[  ]"}), (card_config(max_guidance=4.0, text_dim=4), set()), (None, set())])
def test_keys_that_do_nothing_in_a_world_are_not_listed(config: WorldConfig | None, missing: set[str]) -> None:
    assert {keys for keys, _ in PLAYER_KEYS} - {keys for keys, _ in player_keys(config, 1)} == missing


def test_n_is_told_to_lead_elsewhere_where_the_world_has_several_starts() -> None:
    assert [dict(player_keys(card_config(), num_starts))["N"] for num_starts in (1, 8)] \
        == ["new seed", "new seed, other start"]


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


def test_overlay_follows_a_key_that_is_bound_anew(make_player, caps: Caps) -> None:
    player = make_player()
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_F2)
    player.frames(1)
    assert caps.keys() == {"w", "a", "s", "d", "up", "down", "left", "right"}
    player.app.change_keymap(bind(player.app.keymap, "left", "j", False, WALKER))
    caps.clear()
    player.frames(1)
    assert "j" in caps and "a" not in caps
    player.key(pygame.K_j, True)
    player.until(lambda: caps["j"][1], "a lit key")


def test_no_key_is_lit_before_the_world_hears_it(make_player, caps: Caps) -> None:
    catalogue = CardCatalogue()
    catalogue.may_load.clear()
    player = make_player(catalogue)
    player.press(pygame.K_F2)
    player.key(pygame.K_w, True)
    player.steps(1)
    player.app.redraw()
    player.steps(1)
    assert not caps["w"][1]
    catalogue.may_load.set()
    player.until(lambda: player.play.playing and caps["w"][1], "a lit key that is still held")


@pytest.mark.parametrize("way_in", [(pygame.K_k,), (pygame.K_RETURN, pygame.K_ESCAPE)])
def test_page_of_keys_names_its_world_and_how_it_is_closed(make_player, way_in, monkeypatch) -> None:
    player = make_player()
    player.app.to_menu()
    for key in way_in:
        player.press(key)
        player.until(lambda: player.play is None or player.play.playing, "the first frame")
    if player.play is not None:
        player.top.panel.focus_index = [line.label for line in player.top.panel.lines].index("Keys")
        player.press(pygame.K_RETURN)
    written = []
    box = pygame.Rect(0, 0, 9, 9)
    monkeypatch.setattr(Canvas, "keycap", lambda canvas, label, *place: written.append(label) or box)
    monkeypatch.setattr(Canvas, "heading", lambda canvas, words, at: written.append(words) or box)
    player.app.redraw()
    player.steps(1)
    assert isinstance(player.top, KeysScreen) and written[-3:] == ["Test card", "The player", "Esc"]
    player.press(pygame.K_ESCAPE)
    assert not isinstance(player.top, KeysScreen)
