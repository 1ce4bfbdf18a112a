"""Pictures dropped on the window: while playing, over a menu, in the menu, on a failure; and what is no picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from fakes_display import CardCatalogue
from hands import Player, seats
from PIL import Image
from test_display_replay import record_card

from astra_play.display.replay import ReplayScreen
from astra_play.display.screens import FailureScreen, KeysScreen, MenuScreen, PauseScreen


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(world="card", seed=7) as seat:
        def make(catalogue: CardCatalogue | None = None, **options) -> Player:
            player = seat(catalogue, **options)
            player.app.unattended = None  # somebody sits before the screen
            return player

        yield make


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return painted(tmp_path / "red.png", (200, 10, 10))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk")
    return path


def painted(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (64, 48), colour).save(path)
    return path


def starts_from(player: Player, colour: tuple[int, int, int]) -> bool:
    return player.world.prompt is not None and player.world.prompt[0, 0, 0].tolist() == list(colour)


def test_dropped_picture_restarts_the_world_from_it_with_the_same_seed(playing, red):
    playing.frames(5)
    playing.drop(red)
    assert playing.play.session.reset_count == 1
    playing.until(lambda: starts_from(playing, (200, 10, 10)), "a new start")
    assert playing.world.seed == 7 and "red.png" in playing.app.toasts.message
    playing.press(pygame.K_BACKSPACE)
    playing.until(lambda: playing.play.session.reset_count == 2, "a reset")
    playing.frames(2)
    assert starts_from(playing, (200, 10, 10)) and playing.play.choice.picture == red


def test_dropped_picture_is_on_screen_at_once(playing, red):
    playing.drop(red)
    assert playing.play._start[0, 0, 0].tolist() == [200, 10, 10]
    assert np.array_equal(playing.frame, playing.play._start[0]) or playing.play.frame_index <= 1


# --- another start for another seed ---------------------------------------------------------------------------------

def test_new_seed_leads_to_another_of_the_worlds_starts_and_says_which(make_player, red, tmp_path):
    starts = [red, painted(tmp_path / "02_blue-pond.png", (10, 10, 200))]
    player = make_player(CardCatalogue(starts))
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_n)
    player.until(lambda: starts_from(player, (10, 10, 200)) and player.world.seed != 7, "the other start")
    assert player.app.toasts.message == f"Blue pond, seed {player.play.choice.seed}"
    player.press(pygame.K_BACKSPACE)
    player.frames(2)
    assert starts_from(player, (10, 10, 200)) and player.play.choice.picture == starts[1]
    player.press(pygame.K_ESCAPE)
    assert "New seed, other start" in [line.label for line in player.top.panel.lines]


def test_new_seed_keeps_a_start_of_the_players_own_and_says_so(make_player, red, tmp_path):
    starts = [painted(tmp_path / f"{number}.png", (10, 10, number)) for number in (1, 2)]
    player = make_player(CardCatalogue(starts), image=red)
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_n)
    player.until(lambda: player.world.seed != 7, "another seed")
    assert starts_from(player, (200, 10, 10))
    assert player.app.toasts.message == f"Same start, new seed {player.play.choice.seed}"


def test_start_that_has_vanished_is_said_and_play_goes_on(make_player, red, tmp_path):
    blue = painted(tmp_path / "blue.png", (10, 10, 200))
    player = make_player(CardCatalogue([red, blue]))
    player.until(lambda: player.play.playing, "the first frame")
    blue.unlink()
    player.press(pygame.K_n)
    assert "not exist" in player.app.toasts.message and player.play.session.reset_count == 0
    assert player.play.choice.seed == 7
    player.frames(2)


# --- several files, and what is no picture --------------------------------------------------------------------------

def test_first_picture_of_several_files_wins(playing, text, red, tmp_path):
    playing.drop(text, red, painted(tmp_path / "blue.png", (10, 10, 200)))
    playing.until(lambda: starts_from(playing, (200, 10, 10)), "a start from the first picture")
    assert playing.play.session.reset_count == 1


def test_file_that_is_no_picture_is_a_toast_and_play_goes_on(playing, text, tmp_path):
    odd = bytearray(painted(tmp_path / "odd.dds", (9, 9, 9)).read_bytes())
    odd[80:84] = (0x80000).to_bytes(4, "little")  # a pixel format that Pillow has no reader for
    (tmp_path / "odd.dds").write_bytes(odd)
    for path, words in ((text, "is not a picture"), (tmp_path, "is a folder"), (tmp_path / "gone.png", "not exist"),
                        (tmp_path / "odd.dds", "cannot be read"), (tmp_path / "caf\udce9.png", "not exist")):
        playing.drop(path)
        assert words in playing.app.toasts.message
    playing.frames(3)
    assert playing.play.session.reset_count == 0 and playing.play.session.error is None


def test_dropped_words_are_told_that_they_are_none(playing):
    pygame.event.post(pygame.Event(pygame.DROPBEGIN))
    pygame.event.post(pygame.Event(pygame.DROPTEXT, text="https://example.org/a.png"))
    playing.post(pygame.DROPCOMPLETE)
    assert "not a file" in playing.app.toasts.message
    playing.app.toasts.clear()
    playing.steps(2)
    assert playing.app.toasts.message == ""


def test_files_are_waited_for_until_the_drop_is_complete(playing, text, red):
    playing.post(pygame.DROPBEGIN)
    playing.post(pygame.DROPFILE, file=str(text))
    assert playing.app.toasts.message == "" or "picture" not in playing.app.toasts.message
    playing.post(pygame.DROPFILE, file=str(red))
    playing.post(pygame.DROPCOMPLETE)
    playing.until(lambda: starts_from(playing, (200, 10, 10)), "a start from the second file")


def test_drop_on_an_open_menu_closes_it_and_plays(playing, red):
    playing.press(pygame.K_ESCAPE)
    playing.app.push(KeysScreen(playing.app, playing.app.keymap))
    playing.drop(red)
    assert playing.top is playing.play and not playing.play.session.paused
    playing.until(lambda: starts_from(playing, (200, 10, 10)), "a start from the picture")


def test_bad_drop_leaves_an_open_menu_open(playing, text):
    playing.press(pygame.K_ESCAPE)
    playing.drop(text)
    assert isinstance(playing.top, PauseScreen) and "is not a picture" in playing.app.toasts.message


@pytest.mark.parametrize("menu_below", [True, False])
def test_bad_drop_ends_no_replay(make_player, text, tmp_path, menu_below):
    log = record_card(tmp_path / "clip.astra")
    player = make_player(replay=None if menu_below else log)
    if menu_below:
        player.app.to_menu()
        player.app.replay(log)
    player.until(lambda: player.top.index >= 0, "the replay's first frame")
    player.app.toasts.clear()
    player.drop(text)
    assert isinstance(player.top, ReplayScreen)
    assert ("is not a picture" if menu_below else "leave the replay") in player.app.toasts.message


def test_drop_while_loading_is_the_first_start(make_player, red):
    catalogue = CardCatalogue()
    catalogue.may_load.clear()
    player = make_player(catalogue)
    player.drop(red)
    catalogue.may_load.set()
    player.until(lambda: player.play.playing, "the first frame")
    assert starts_from(player, (200, 10, 10))


def test_drop_on_the_menu_starts_the_world_in_focus(make_player, red):
    player = make_player(CardCatalogue(needs_picture=True))
    player.app.to_menu()
    player.press(pygame.K_RETURN)
    assert isinstance(player.top, MenuScreen)
    assert "Test card starts from a picture of yours: drop one" in player.app.toasts.message
    player.drop(red)
    player.until(lambda: player.play is not None and player.play.playing, "the first frame")
    assert starts_from(player, (200, 10, 10))


def test_bad_drop_on_the_menu_and_a_drop_on_a_broken_world_are_toasts(make_player, text, red):
    player = make_player()
    player.app.to_menu()
    player.drop(text)
    assert "is not a picture" in player.app.toasts.message
    player.press(pygame.K_DOWN)
    player.drop(red)
    assert "config.json lacks model" in player.app.toasts.message
    assert isinstance(player.top, MenuScreen)


def test_drop_on_a_failure_tries_again_from_the_picture(make_player, text, red):
    catalogue = CardCatalogue(fail_at_chunk=2)
    player = make_player(catalogue)
    player.until(lambda: isinstance(player.top, FailureScreen), "the failure")
    catalogue.fail_at_chunk = None
    player.drop(text)
    assert isinstance(player.top, FailureScreen) and "is not a picture" in player.app.toasts.message
    player.drop(text, red)
    player.until(lambda: player.play is not None and player.play.playing, "the second try")
    assert starts_from(player, (200, 10, 10)) and player.world.seed == 7
