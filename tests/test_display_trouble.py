"""Trouble around the window, of desktops, files and folders: each is a sentence at most, and the player goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from fakes_display import CardCatalogue
from hands import Player, seats
from PIL import Image

from astra_play.display import settings as settings_file
from astra_play.display.catalogue import Catalogue
from astra_play.display.recording import open_folder_line
from astra_play.display.screens import FailureScreen, KeysScreen, MenuScreen, PauseScreen
from astra_play.display.settings import MIN_WINDOW_PX
from astra_play.display.window import Window
from astra_play.errors import WeightsError


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "settings.json", photo_folder=tmp_path / "photos", world="card") as make:
        yield make


def test_a_tile_of_the_desktop_below_the_least_size_costs_no_setting(playing, tmp_path, monkeypatch) -> None:
    playing.app.change_settings(mouse_sensitivity=2.5)
    monkeypatch.setattr(Window, "size", property(lambda window: (960, 300)))
    playing.app.close()
    saved = settings_file.load(tmp_path / "settings.json")
    assert (saved.window_width_px, saved.window_height_px) == (960, MIN_WINDOW_PX[1])
    assert saved.mouse_sensitivity == 2.5


@pytest.mark.parametrize("error", [WeightsError("there is no world 'card'"), PermissionError(13, "Permission denied")])
def test_world_that_vanishes_while_the_menu_is_open_does_not_end_the_player(make_player, monkeypatch, error) -> None:
    def refuse(catalogue: CardCatalogue, name: str) -> None:
        raise error

    player = make_player()
    player.app.unattended = None  # somebody sits before the screen
    player.app.to_menu()
    monkeypatch.setattr(CardCatalogue, "config", refuse)
    player.press(pygame.K_RETURN)
    assert isinstance(player.top, FailureScreen) and str(error) in player.top.panel.message
    player.press(pygame.K_RETURN)  # try again
    assert isinstance(player.top, FailureScreen)


def test_keys_of_a_world_that_has_vanished_are_all_there_are(make_player, monkeypatch) -> None:
    def refuse(catalogue: CardCatalogue, name: str) -> None:
        raise WeightsError("there is no world 'card'")

    player = make_player()
    player.app.to_menu()
    monkeypatch.setattr(CardCatalogue, "config", refuse)
    player.press(pygame.K_k)
    assert isinstance(player.top, KeysScreen) and "there is no world 'card'" in player.app.toasts.message


def test_one_escape_too_many_leaves_the_menu_open_and_asks(make_player) -> None:
    player = make_player()
    player.app.to_menu()
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, MenuScreen) and not player.app._finished
    assert player.app.toasts.message == "Esc again leaves the player."
    player.press(pygame.K_ESCAPE)
    assert player.app._finished


def test_question_of_the_menu_is_forgotten_with_its_words(make_player, monkeypatch) -> None:
    player = make_player()
    player.app.to_menu()
    player.post(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_B, instance_id=0)
    assert player.app.toasts.message == "B again leaves the player."
    later_s = player.app.clock.now() + 5.0
    monkeypatch.setattr(player.app.clock, "now", lambda: later_s)
    player.press(pygame.K_ESCAPE)
    assert not player.app._finished


def test_folder_of_a_world_that_may_not_be_read_is_one_sentence(monkeypatch) -> None:
    def refuse(folder: Path, scenario: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("astra_play.display.catalogue.load_world_config", refuse)
    with pytest.raises(WeightsError, match="'mini' cannot be read .Permission denied.; give yourself permission"):
        Catalogue().config("mini")


def test_keymap_that_binds_escape_leaves_the_way_out_of_the_play(make_player, tmp_path) -> None:
    (tmp_path / "keymap.toml").write_text('[keys]\n"escape" = "back"\n"w" = "forward"\n')
    player = make_player(keymap_path=tmp_path / "keymap.toml")
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, PauseScreen)


def test_huge_start_picture_is_logged_and_the_menu_shows_a_card_without_it(make_player, tmp_path, monkeypatch,
                                                                           caplog) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "huge.png")
    player = make_player(CardCatalogue([tmp_path / "huge.png"]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # beyond twice as many Pillow takes it for a bomb
    player.app.to_menu()
    player.steps(2)
    assert isinstance(player.top, MenuScreen) and "huge.png cannot be shown" in caplog.text


def test_clipboard_that_holds_no_text_pastes_nothing(playing, monkeypatch) -> None:
    def no_text() -> str:
        return b"\xff\xfe".decode("utf-8")

    monkeypatch.setattr("pygame.scrap.get_text", no_text)
    open_folder_line(playing.app)
    written = playing.top.line.text
    playing.press(pygame.K_v, mod=pygame.KMOD_LCTRL)
    assert playing.top.line.text == written


def test_failure_in_play_is_shown_as_its_sentence_with_ways_out(make_player) -> None:
    player = make_player(CardCatalogue(fail_at_chunk=4))
    player.app.unattended = None  # somebody sits before the screen
    player.until(lambda: isinstance(player.top, FailureScreen), "the failure")
    assert "break at a chosen chunk" in player.top.panel.message
    assert player.play is None and not player.app.window.grabbed
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, MenuScreen)


def test_quitting_from_a_failure_ends_with_its_sentence_and_the_menu_forgets_it(make_player) -> None:
    player = make_player(CardCatalogue(fail_at_chunk=2))
    player.app.unattended = None
    player.until(lambda: isinstance(player.top, FailureScreen), "the failure")
    with pytest.raises(WeightsError, match="break at a chosen chunk"):
        player.app.finish()
    player.press(pygame.K_ESCAPE)
    player.app.finish()


def test_failure_of_the_program_names_itself(make_player, monkeypatch) -> None:
    monkeypatch.setattr(CardCatalogue, "load", lambda self, *asked: 1 / 0)
    player = make_player()
    player.app.unattended = None
    player.until(lambda: isinstance(player.top, FailureScreen), "the failure")
    assert "ZeroDivisionError" in player.top.panel.message


def test_try_again_starts_the_same_choice(make_player) -> None:
    catalogue = CardCatalogue(fail_at_chunk=2)
    player = make_player(catalogue, seed=9)
    player.app.unattended = None
    player.until(lambda: isinstance(player.top, FailureScreen), "the failure")
    catalogue.fail_at_chunk = None
    player.press(pygame.K_RETURN)
    player.until(lambda: player.play.playing, "the second try")
    assert player.world.seed == 9


def test_broken_world_shows_its_sentence_and_does_not_start(make_player) -> None:
    player = make_player()
    player.app.to_menu()
    player.press(pygame.K_DOWN)
    player.press(pygame.K_RETURN)
    assert isinstance(player.top, MenuScreen)
    assert "config.json lacks model" in player.app.toasts.message
