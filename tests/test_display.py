"""The whole window loop under SDL's dummy driver, driven by posted pygame events, with a test card for a world."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from fakes_display import CardCatalogue, CardWorld
from hands import PATIENCE_S, Player, seats
from PIL import Image

from astra_play.chunks import ActionChunk
from astra_play.config import WorldConfig
from astra_play.display import settings as settings_file
from astra_play.display.app import App, PlayOptions
from astra_play.display.screens import FailureScreen, KeysScreen, MenuScreen, PauseScreen, SettingsScreen
from astra_play.display.settings import PlayerSettings
from astra_play.display.window import Window
from astra_play.errors import DisplayError, ImageError


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "config" / "settings.json", photo_folder=tmp_path / "photos",
               world="card") as make:
        yield make


@pytest.fixture
def playing(make_player) -> Player:
    player = make_player(seed=7)
    player.until(lambda: player.play.playing, "the first frame")
    return player


def test_a_player_walks_from_the_menu_into_a_world_and_out_again(make_player):
    player = make_player()
    player.app.to_menu()
    assert isinstance(player.top, MenuScreen)
    player.press(pygame.K_RETURN)
    player.until(lambda: player.play is not None and player.play.playing, "the first frame")
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, PauseScreen)
    for _ in range(2):  # upwards from the first line: over the last one
        player.press(pygame.K_UP)
    player.press(pygame.K_RETURN)
    assert isinstance(player.top, MenuScreen) and player.play is None


def test_frames_react_to_a_held_key_and_stop_when_it_is_up(playing):
    playing.key(pygame.K_w, True)
    playing.until(lambda: playing.world.walked_steps >= 3, "three steps ahead")
    playing.key(pygame.K_w, False)
    playing.frames(3)
    stood_at = playing.world.walked_steps
    playing.frames(3)
    assert playing.world.walked_steps == stood_at
    assert playing.frame[0, stood_at % playing.frame.shape[1]].tolist() == [255, 255, 255]


def test_mouse_motion_turns_the_world_and_sensitivity_scales_it(playing):
    playing.app.change_settings(mouse_sensitivity=2.0)
    playing.move_mouse(10)
    playing.until(lambda: playing.world.yaw_deg != 0.0, "a turn")
    playing.frames(2)
    assert playing.world.yaw_deg == pytest.approx(-2.0 * 10 * playing.play.config.controls.mouse_deg_per_px, rel=1e-4)


class SlowWhenFine(CardWorld):
    """A card that takes longer than it is shown for as long as it is drawn finely."""

    def step(self, action: ActionChunk) -> np.ndarray:
        if self.draws_finely:
            time.sleep(1.5 * self.config.chunk_s)
        return super().step(action)


class FineCatalogue(CardCatalogue):
    """Cards of a world that can draw finely, and does so at first."""

    def config(self, name: str) -> WorldConfig:
        config = super().config(name)
        return dataclasses.replace(config, codec=dataclasses.replace(config.codec, upscaler_width=8))

    def load(self, name: str, *options: object) -> CardWorld:
        world = SlowWhenFine(self.config(name))
        world.draws_finely = True
        self.loaded.append(world)
        return world


def test_the_window_spares_its_own_time_once_the_world_is_short_of_it(make_player):
    player = make_player(FineCatalogue())
    player.until(lambda: player.play is not None and player.play.playing, "the first frame")
    assert player.world.draws_finely and not player.play._presenter.spares_time
    player.until(lambda: player.play._presenter.spares_time, "a window that goes without its cubic step")
    assert not player.world.draws_finely


def test_a_world_that_never_drew_finely_spares_nothing(playing):
    playing.frames(3)
    assert not playing.world.draws_finely and not playing.play._presenter.spares_time


def test_latency_is_counted_for_a_key_from_its_event_to_the_flip(playing):
    playing.key(pygame.K_w, True)
    playing.until(lambda: playing.play.session.stats.input_to_flip_ms.count == 1, "a measured key")
    assert 0.0 < playing.play.session.stats.input_to_flip_ms.max_ms < 1000.0 * PATIENCE_S


def test_escape_pauses_and_frees_the_mouse_and_resuming_takes_it_again(playing):
    assert playing.app.window.grabbed
    playing.press(pygame.K_ESCAPE)
    assert not playing.app.window.grabbed and playing.play.session.paused
    playing.steps(3)  # the chunk under way ends
    shown = playing.play.num_shown
    playing.steps(20)
    assert playing.play.num_shown == shown
    playing.press(pygame.K_ESCAPE)
    assert playing.app.window.grabbed and not playing.play.session.paused
    playing.frames(2)


def test_first_frame_leaves_the_mouse_to_another_window_that_has_the_focus(make_player, monkeypatch):
    player = make_player()
    monkeypatch.setattr(Window, "focused", property(lambda window: False))
    player.until(lambda: player.play.playing, "the first frame")
    assert not player.app.window.grabbed
    player.click((5, 5))
    assert player.app.window.grabbed


def test_a_click_beside_the_pause_panel_resumes(playing):
    playing.press(pygame.K_ESCAPE)
    playing.click((3, 3))
    assert playing.top is playing.play and not playing.play.session.paused


def test_pausing_lets_go_of_keys_held_at_that_moment(playing):
    playing.key(pygame.K_w, True)
    playing.until(lambda: playing.world.walked_steps >= 1, "a step")
    playing.press(pygame.K_ESCAPE)
    assert not playing.play.input.held()


def test_reset_keeps_the_seed_and_new_seed_changes_it(playing):
    playing.frames(5)
    playing.press(pygame.K_BACKSPACE)
    playing.until(lambda: playing.play.frame_index <= 1, "a frame after the reset")
    assert playing.world.seed == 7
    playing.press(pygame.K_n)
    playing.until(lambda: playing.world.seed != 7, "another seed")
    assert playing.play.choice.seed == playing.world.seed


def test_guidance_and_steps_change_while_playing_and_are_remembered(playing, tmp_path):
    playing.press(pygame.K_RIGHTBRACKET)
    playing.press(pygame.K_EQUALS)
    playing.until(lambda: playing.world.num_denoise_steps == 2, "two steps")
    assert playing.world.guidance_scale == 1.25
    playing.press(pygame.K_LEFTBRACKET)
    playing.press(pygame.K_MINUS)
    playing.press(pygame.K_MINUS)
    playing.until(lambda: playing.world.guidance_scale == 1.0, "guidance off")
    saved = settings_file.load(tmp_path / "config" / "settings.json")
    assert (saved.guidance, saved.steps) == (None, None)  # back at the world's own, which no other world inherits
    playing.press(pygame.K_MINUS)
    assert playing.world.num_denoise_steps == 1 and "the world's own" in playing.app.toasts.message


def test_photo_is_the_shown_frame_named_by_world_seed_and_frame(playing, tmp_path):
    playing.frames(3)
    frame, index = playing.frame.copy(), playing.play.frame_index
    playing.key(pygame.K_p, True)
    playing.app._handle(pygame.event.get(pygame.KEYDOWN)[0], playing.app.clock.now())
    photo = tmp_path / "photos" / f"card_seed7_frame{index}.png"
    assert np.array_equal(np.asarray(Image.open(photo)), frame)
    assert str(photo) in playing.app.toasts.message


def test_photo_that_cannot_be_written_is_said_in_the_window(playing, tmp_path):
    (tmp_path / "photos").write_text("a file where the folder should be")
    playing.press(pygame.K_F12)
    assert "could not be written" in playing.app.toasts.message


def test_resizing_ten_times_keeps_playing_and_fills_each_size(playing):
    for index in range(10):
        size = (640 + 97 * index, 400 + 61 * ((index * 7) % 10))
        playing.app.window.resize(size)
        playing.frames(1)
        assert playing.app.window.surface.get_size() == size
        assert playing.app.window.surface.get_at((size[0] // 2, size[1] // 2))[:3] == (40, 40, 40)


def test_full_screen_toggles_and_is_remembered(playing, tmp_path):
    playing.press(pygame.K_F11)
    assert playing.app.window.fullscreen
    assert settings_file.load(tmp_path / "config" / "settings.json").fullscreen
    playing.frames(1)
    playing.press(pygame.K_RETURN, mod=pygame.KMOD_LALT)
    assert not playing.app.window.fullscreen
    playing.frames(1)


def test_losing_the_focus_lets_go_of_keys_and_mouse_but_the_world_goes_on(playing):
    playing.key(pygame.K_w, True)
    playing.until(lambda: "forward" in playing.play.input.held(), "the key")
    pygame.event.post(pygame.Event(pygame.WINDOWFOCUSLOST))
    playing.steps(1)
    assert not playing.play.input.held() and not playing.app.window.grabbed
    assert not playing.play.session.paused
    playing.frames(2)
    playing.move_mouse(50)
    playing.frames(3)
    assert playing.world.yaw_deg == 0.0  # a free mouse turns nobody
    playing.click((5, 5))
    assert playing.app.window.grabbed


def test_minimised_window_pauses_the_world_and_draws_nothing(playing):
    pygame.event.post(pygame.Event(pygame.WINDOWMINIMIZED))
    playing.steps(2)
    assert playing.play.session.paused
    drawn = playing.app.present_ms.count
    playing.app.redraw()
    playing.steps(3)
    assert playing.app.present_ms.count == drawn
    pygame.event.post(pygame.Event(pygame.WINDOWRESTORED))
    playing.steps(1)
    assert not playing.play.session.paused
    playing.frames(2)


def test_a_window_restored_over_an_open_menu_stays_paused(playing):
    playing.press(pygame.K_ESCAPE)
    for kind in (pygame.WINDOWMINIMIZED, pygame.WINDOWRESTORED):
        pygame.event.post(pygame.Event(kind))
        playing.steps(1)
    assert playing.play.session.paused


def test_closing_the_window_quits_within_a_second(playing):
    begin_s = time.monotonic()
    pygame.event.post(pygame.Event(pygame.QUIT))
    playing.app.run()
    playing.app.close()
    assert time.monotonic() - begin_s < 1.0
    assert playing.app.screens == []


def test_window_is_drawn_before_the_world_is_loaded_and_can_be_left(make_player):
    catalogue = CardCatalogue()
    catalogue.may_load.clear()
    player = make_player(catalogue)
    assert player.app.present_ms.count == 1 and player.play.session.status == "loading"
    player.steps(3)
    player.press(pygame.K_ESCAPE)
    begin_s = time.monotonic()
    player.app.close()
    assert time.monotonic() - begin_s < 1.0
    catalogue.may_load.set()


def test_start_picture_is_shown_while_loading_and_given_to_the_world(make_player, tmp_path):
    picture = tmp_path / "red.png"
    Image.new("RGB", (64, 48), (200, 10, 10)).save(picture)
    player = make_player(image=picture)
    assert player.frame[0, 0].tolist() == [200, 10, 10]
    player.until(lambda: player.play.playing, "the first frame")
    assert player.world.prompt.shape == (1, 24, 32, 3)


def test_start_picture_that_is_none_fails_before_anything_is_played(make_player, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        make_player(image=tmp_path / "missing.png")


def test_hud_and_overlay_are_toggled_by_their_keys(playing):
    pixel = (40, 40)
    plain = playing.app.window.surface.get_at(pixel)
    playing.press(pygame.K_F1)
    playing.frames(1)
    assert playing.app.settings.hud and playing.app.window.surface.get_at(pixel) != plain
    playing.press(pygame.K_F2)
    assert playing.app.settings.input_overlay
    playing.press(pygame.K_F1)
    playing.frames(1)
    assert playing.app.window.surface.get_at(pixel) == plain


def test_key_of_the_players_keymap_belongs_to_the_world(make_player, tmp_path):
    keymap = tmp_path / "keymap.toml"
    keymap.write_text('[keys]\n"n" = "forward"\n')
    player = make_player(keymap_path=keymap, seed=7)
    player.until(lambda: player.play.playing, "the first frame")
    player.key(pygame.K_n, True)
    player.until(lambda: player.world.walked_steps > 0, "a step")
    assert player.play.choice.seed == 7


def test_pad_stick_walks_and_its_start_button_pauses(playing):
    pygame.event.post(pygame.Event(pygame.CONTROLLERAXISMOTION, axis=pygame.CONTROLLER_AXIS_LEFTY, value=-32768,
                                   instance_id=0))
    playing.until(lambda: playing.world.walked_steps > 0, "a step")
    pygame.event.post(pygame.Event(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_START, instance_id=0))
    playing.steps(1)
    assert isinstance(playing.top, PauseScreen)


def test_settings_screen_changes_what_is_remembered(playing, tmp_path):
    playing.app.push(SettingsScreen(playing.app))
    for _ in range(3):
        playing.press(pygame.K_DOWN)
    playing.press(pygame.K_RIGHT)
    playing.press(pygame.K_DOWN)
    playing.press(pygame.K_RIGHT)
    playing.press(pygame.K_ESCAPE)
    saved = settings_file.load(tmp_path / "config" / "settings.json")
    assert (saved.mouse_sensitivity, saved.guidance) == (1.1, 1.0)


def test_window_size_is_remembered_when_the_player_leaves(playing, tmp_path):
    playing.app.window.resize((900, 600))
    playing.steps(2)
    playing.app.close()
    saved = settings_file.load(tmp_path / "config" / "settings.json")
    assert (saved.window_width_px, saved.window_height_px) == (900, 600)


def test_every_screen_is_drawn_at_any_size(playing):
    screens = [lambda: PauseScreen(playing.app, playing.play), lambda: SettingsScreen(playing.app),
               lambda: KeysScreen(playing.app, playing.app.keymap), lambda: MenuScreen(playing.app),
               lambda: FailureScreen(playing.app, "a long sentence " * 30, None)]
    for size in ((480, 320), (1280, 720), (2000, 500)):
        playing.app.window.resize(size)
        for make in screens:
            playing.app.push(make())
            drawn = playing.app.present_ms.count
            playing.steps(1)
            assert playing.app.present_ms.count > drawn
            playing.app.pop()


def test_no_display_is_one_sentence_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    app = App(PlayOptions(world="card", catalogue=CardCatalogue(), settings_path=tmp_path / "settings.json",
                          keymap_path=_default_keymap(tmp_path)))
    with pytest.raises(DisplayError, match="no window can be opened here.*--headless"):
        app.open()
    app.close()


@pytest.mark.parametrize("driver", ["dummy", "offscreen"])
def test_driver_that_shows_nothing_is_no_display_unless_it_was_asked_for(monkeypatch, tmp_path, driver):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: driver)
    with pytest.raises(DisplayError, match=f"only its '{driver}' driver.*--headless"):
        Window((640, 480))


def _default_keymap(folder: Path) -> Path:
    path = folder / "keymap.toml"
    path.write_text("")
    return path


def test_settings_options_win_over_what_is_remembered(make_player, tmp_path):
    settings_file.save(dataclasses.replace(PlayerSettings(), guidance=3.0, steps=4),
                       tmp_path / "config" / "settings.json")
    player = make_player(guidance=2.0)
    player.until(lambda: player.play.playing, "the first frame")
    assert (player.world.guidance_scale, player.world.num_denoise_steps) == (2.0, 4)


@pytest.mark.parametrize(("most", "own", "sentence"), [(1.0, 1.0, "knows no guidance"),
                                                       (2.0, 2.0, "takes no guidance above 2.00")])
def test_a_world_takes_no_more_guidance_than_it_knows_and_what_is_remembered_stays(make_player, tmp_path, most, own,
                                                                                   sentence):
    path = tmp_path / "config" / "settings.json"
    settings_file.save(dataclasses.replace(PlayerSettings(), guidance=3.0), path)
    player = make_player(CardCatalogue(max_guidance=most))
    player.until(lambda: player.play.playing, "the first frame")
    assert player.world.guidance_scale == own
    player.press(pygame.K_RIGHTBRACKET)
    assert sentence in player.app.toasts.message
    if most == 1.0:
        player.press(pygame.K_LEFTBRACKET)  # below 1 there is as little
    assert player.world.guidance_scale == own and settings_file.load(path).guidance == 3.0
    player.app.change_settings(guidance=4.0)
    player.frames(3)
    assert player.world.guidance_scale == own


def test_an_option_of_the_command_line_passes_the_world_s_limit(make_player):
    player = make_player(CardCatalogue(max_guidance=1.0), guidance=2.0)
    player.until(lambda: player.play.playing, "the first frame")
    assert player.world.guidance_scale == 2.0


def test_other_settings_leave_options_of_the_command_line_alone(make_player):
    player = make_player(guidance=2.0, steps=3)
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_F1)
    player.frames(2)
    assert (player.world.guidance_scale, player.world.num_denoise_steps) == (2.0, 3)
    player.app.change_settings(guidance=4.0)
    player.until(lambda: player.world.guidance_scale == 4.0, "what the menu says")
    player.app.change_settings(guidance=None)
    player.until(lambda: player.world.guidance_scale == 1.0, "the world's own")
    assert player.world.num_denoise_steps == 3


def test_letter_of_a_command_in_the_place_of_a_walking_key_walks(playing):
    pygame.event.post(pygame.Event(pygame.KEYDOWN, key=pygame.K_p, mod=0, unicode="", scancode=pygame.KSCAN_D))
    playing.steps(1)
    assert "right" in playing.play.input.held() and "Photo" not in playing.app.toasts.message
