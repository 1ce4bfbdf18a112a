"""Guidance and steps by keys and the settings page: what is remembered, and what the next world takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from fakes_display import CardCatalogue
from hands import Player, seats

from astra_play.config import StreamConfig, WorldConfig
from astra_play.display import settings as settings_file

THREE_STEPS = StreamConfig(sigmas=(1.0, 0.6, 0.3, 0.0), guidance_scale=1.5)


class ThreeSteps(CardCatalogue):
    """A world whose own numbers are not the least there are."""

    def config(self, name: str) -> WorldConfig:
        return dataclasses.replace(super().config(name), stream=THREE_STEPS)


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "settings.json", world="card") as seat:
        def make(catalogue: CardCatalogue | None = None) -> Player:
            player = seat(catalogue)
            player.until(lambda: player.play.playing, "the first frame")
            return player

        yield make


def remembered(folder: Path) -> tuple[float | None, int | None]:
    saved = settings_file.load(folder / "settings.json")
    return saved.guidance, saved.steps


def test_there_and_back_by_keys_is_the_worlds_own_again(make_player, tmp_path) -> None:
    player = make_player(ThreeSteps())
    for key in (pygame.K_EQUALS, pygame.K_RIGHTBRACKET):
        player.press(key)
    assert remembered(tmp_path) == (1.75, 4)
    for key in (pygame.K_MINUS, pygame.K_LEFTBRACKET):
        player.press(key)
    assert remembered(tmp_path) == (None, None)
    player.press(pygame.K_MINUS)
    assert remembered(tmp_path) == (None, 2)
    player.until(lambda: (player.world.guidance_scale, player.world.num_denoise_steps) == (1.5, 2), "what was asked")


def test_settings_page_still_counts_after_keys(make_player, tmp_path) -> None:
    player = make_player()
    for key in (pygame.K_EQUALS, pygame.K_EQUALS, pygame.K_MINUS):
        player.press(key)
    assert remembered(tmp_path) == (None, 2)
    player.app.change_settings(steps=5)
    player.until(lambda: player.world.num_denoise_steps == 5, "what the page says")
    player.app.change_settings(steps=None)
    player.until(lambda: player.world.num_denoise_steps == 1, "the world's own")
