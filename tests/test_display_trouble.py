"""Trouble around the window, of desktops, files and folders: each is a sentence at most, and the player goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hands import Player, seats

from astra_play.display import settings as settings_file
from astra_play.display.settings import MIN_WINDOW_PX
from astra_play.display.window import Window


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "settings.json", photo_folder=tmp_path / "photos", world="card") as make:
        yield make


@pytest.fixture
def playing(make_player) -> Player:
    player = make_player()
    player.until(lambda: player.play.playing, "the first frame")
    return player


def test_a_tile_of_the_desktop_below_the_least_size_costs_no_setting(playing, tmp_path, monkeypatch) -> None:
    playing.app.change_settings(mouse_sensitivity=2.5)
    monkeypatch.setattr(Window, "size", property(lambda window: (960, 300)))
    playing.app.close()
    saved = settings_file.load(tmp_path / "settings.json")
    assert (saved.window_width_px, saved.window_height_px) == (960, MIN_WINDOW_PX[1])
    assert saved.mouse_sensitivity == 2.5
