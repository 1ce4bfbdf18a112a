"""The clips page in the whole window loop: list, preview, replay, export and delete, by keys, mouse and gamepad."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from hands import Player, seats
from PIL import Image
from recordings import make_log, make_recording, make_video, number_of

from astra_play.display import exports as exports_module
from astra_play.display.app import App
from astra_play.display.canvas import Canvas
from astra_play.display.clipgrid import Thumbnails
from astra_play.display.clips import ClipsScreen
from astra_play.display.exports import unused
from astra_play.display.screens import ListScreen, MenuScreen, SettingsScreen
from astra_play.record.export import ExportStopped
from astra_play.record.library import Library


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "recordings"
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(folder))
    return folder


@pytest.fixture
def open_page(tmp_path: Path, folder: Path) -> Iterator[Callable[[], Player]]:
    with seats(settings_path=tmp_path / "settings.json", world="card") as seat:
        def make() -> Player:
            player = seat()
            player.app.to_menu()
            player.press(pygame.K_c)
            assert isinstance(player.top, ClipsScreen)
            return player

        yield make


def make_recordings(folder: Path, count: int) -> None:
    for index in range(count):
        make_recording(folder, f"clip{index}", num_frames=4)


def folder_made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def names(player: Player) -> list[str]:
    return [clip.name for clip in player.top.grid.clips]


def pad(player: Player, button: int) -> None:
    player.post(pygame.CONTROLLERBUTTONDOWN, button=button, instance_id=0)


# --- the page -------------------------------------------------------------------------------------------------------

def test_page_without_recordings_says_how_to_make_some_and_where_they_go(open_page, monkeypatch) -> None:
    player = open_page()
    offered = []
    with monkeypatch.context() as watched:
        watched.setattr(Canvas, "hints", lambda canvas, hints, at: offered.append(hints))
        player.app.redraw()
        player.steps(1)
    assert set(offered) == {(("Esc", "back"),)}  # there is nothing to choose or to replay
    for key in (pygame.K_RETURN, pygame.K_g, pygame.K_DELETE, pygame.K_RIGHT):
        player.press(key)
    pad(player, pygame.CONTROLLER_BUTTON_X)
    assert isinstance(player.top, ClipsScreen) and names(player) == []
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, MenuScreen)


def test_menu_leads_to_the_page_by_mouse_and_pad_too(open_page) -> None:
    player = open_page()
    player.press(pygame.K_ESCAPE)
    pad(player, pygame.CONTROLLER_BUTTON_X)
    assert isinstance(player.top, ClipsScreen)
    pad(player, pygame.CONTROLLER_BUTTON_B)
    player.click(player.top._buttons._boxes[0].center)
    assert isinstance(player.top, ClipsScreen)
    player.click(player.top._back._boxes[0].center)
    pad(player, pygame.CONTROLLER_BUTTON_Y)
    assert isinstance(player.top, SettingsScreen)


def test_recordings_are_listed_with_pictures_and_new_ones_appear(open_page, folder) -> None:
    make_recording(folder, "one")
    player = open_page()
    grid, thumbnails = player.top.grid, player.top._thumbnails
    player.until(lambda: thumbnails.get(grid.clips[0]) is not None, "the thumbnail")
    assert number_of(thumbnails.get(grid.clips[0])) == 16
    make_recording(folder, "two")
    player.top._look_again_s = 0.0
    player.steps(1)
    assert sorted(names(player)) == ["one", "two"]


def test_page_lists_files_that_cannot_be_decoded_or_whose_names_are_no_text(open_page, folder) -> None:
    odd = make_video(folder_made(folder) / "odd.mp4", num_frames=8)
    odd.write_bytes(odd.read_bytes().replace(b"avc1", b"zzzz"))  # a codec that nobody knows
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).write_bytes(b"x")
    except OSError:
        pass  # a file system where every name is text
    player = open_page()
    damage = {clip.name: clip.damage for clip in player.top.grid.clips}
    assert set(damage.values()) == {"The video cannot be read."} and "odd" in damage
    for _ in damage:
        player.until(lambda: player.top._preview._begin_s == float("inf"), "a preview that gives up")
        player.press(pygame.K_RIGHT)
    assert isinstance(player.top, ClipsScreen)


def test_focus_stays_on_its_clip_when_the_list_changes(open_page, folder) -> None:
    make_recordings(folder, 5)
    player = open_page()
    player.press(pygame.K_DOWN)
    focused = player.top.grid.focused.name
    (folder / f"{names(player)[0]}.mp4").unlink()
    (folder / f"{names(player)[0]}.astra").unlink()
    player.top._look()
    assert player.top.grid.focused.name == focused


def test_focus_walks_the_grid_and_stops_at_its_edges(open_page, folder) -> None:
    make_recordings(folder, 5)
    player = open_page()
    visited = []
    for key in (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_RIGHT, pygame.K_DOWN, pygame.K_DOWN, pygame.K_RIGHT,
                pygame.K_UP, pygame.K_UP):
        player.press(key)
        visited.append(player.top.grid.focus_index)
    assert visited == [0, 1, 2, 4, 4, 4, 1, 1]


def test_a_picture_that_cannot_be_made_costs_no_other(folder) -> None:
    make_recording(folder, "whole")
    library = Library(folder, folder / "cache")
    one, = library.clips()
    lost = dataclasses.replace(one, name="lost")
    thumbnails = Thumbnails(library)
    whole, library.thumbnail = library.thumbnail, lambda clip: whole(clip) if clip is one else open("/nowhere/at all")
    try:
        thumbnails.get(lost)
        thumbnails.get(one)
        ends_s = time.monotonic() + 10.0
        while thumbnails.get(one) is None and time.monotonic() < ends_s:
            thumbnails.tick()
        assert thumbnails.get(one) is not None and thumbnails.get(lost) is None
    finally:
        thumbnails.close()


def test_removed_folder_leaves_an_empty_page_and_a_locked_one_its_reason(open_page, folder, monkeypatch) -> None:
    make_recording(folder)
    player = open_page()

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        player.top._look()
        player.steps(1)
        assert "cannot be read" in player.top.trouble
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    player.top._look()
    player.steps(1)
    assert names(player) == [] and player.top.trouble == ""


# --- replay, export, delete -----------------------------------------------------------------------------------------

def test_opening_replays_the_log(open_page, folder, monkeypatch) -> None:
    make_recording(folder, "one")
    player = open_page()
    opened: list[Path] = []
    monkeypatch.setattr(App, "replay", lambda app, path: opened.append(path))
    player.press(pygame.K_RETURN)
    player.click(player.top.grid._boxes[0].center)
    player.click(player.top._deeds._boxes[0].center)
    pad(player, pygame.CONTROLLER_BUTTON_A)
    assert opened == 4 * [folder / "one.astra"]


def test_video_without_a_log_says_that_it_cannot_be_replayed(open_page, folder) -> None:
    folder.mkdir()
    make_video(folder / "bare.mp4")
    player = open_page()
    player.press(pygame.K_RETURN)
    assert "has no action log" in player.app.toasts.message


def test_export_runs_behind_the_page_and_ends_with_a_toast(open_page, folder) -> None:
    make_recording(folder, "one")
    player = open_page()
    player.press(pygame.K_g)
    player.until(lambda: player.app.exports.source is None, "the GIF")
    assert f"Saved {folder / 'one.gif'}" in player.app.toasts.message
    player.press(pygame.K_g)
    player.press(pygame.K_ESCAPE)  # it goes on behind the menu
    player.until(lambda: player.app.exports.source is None, "the second GIF")
    assert f"Saved {folder / 'one 2.gif'}" in player.app.toasts.message
    with Image.open(folder / "one.gif") as picture:
        assert picture.n_frames == 48 and number_of(np.asarray(picture.convert("RGB"))) == 0


def test_gamepad_exports_through_its_menu(open_page, folder) -> None:
    make_recording(folder, "one")
    player = open_page()
    pad(player, pygame.CONTROLLER_BUTTON_X)
    for button in (pygame.CONTROLLER_BUTTON_DPAD_DOWN, pygame.CONTROLLER_BUTTON_DPAD_DOWN, pygame.CONTROLLER_BUTTON_A):
        pad(player, button)
    player.until(lambda: player.app.exports.source is None, "the WebP")
    assert (folder / "one.webp").is_file() and isinstance(player.top, ClipsScreen)


def test_second_export_waits_for_its_turn_and_a_failed_one_says_why(open_page, folder, monkeypatch) -> None:
    make_recording(folder, "one")
    player = open_page()
    held = exports_module.threading.Event()

    def slow(source, out, **options):
        held.wait(5.0)
        raise exports_module.AstraPlayError("the disk is full")

    monkeypatch.setattr(exports_module, "export", slow)
    player.press(pygame.K_g)
    player.press(pygame.K_v)
    assert "Another export is under way" in player.app.toasts.message
    held.set()
    player.until(lambda: player.app.exports.source is None, "the failure")
    assert player.app.toasts.message == "the disk is full"


def test_closing_the_window_stops_an_export_and_leaves_nothing(open_page, folder, monkeypatch) -> None:
    make_recording(folder, "one")
    player = open_page()
    begun = exports_module.threading.Event()

    def endless(source, out, stop, **options):
        begun.set()
        assert stop.wait(5.0)
        raise ExportStopped("stopped")

    monkeypatch.setattr(exports_module, "export", endless)
    player.press(pygame.K_g)
    assert begun.wait(5.0)
    player.app.close()
    assert sorted(path.name for path in folder.iterdir()) == ["one.astra", "one.mp4"]


def test_log_without_a_video_cannot_be_exported_and_says_so(open_page, folder) -> None:
    folder.mkdir()
    make_log(folder / "log.astra")
    player = open_page()
    player.press(pygame.K_v)
    assert "has no video to export" in player.app.toasts.message


def test_delete_asks_first_and_keeping_is_the_first_answer(open_page, folder) -> None:
    make_recording(folder, "one")
    player = open_page()
    player.press(pygame.K_DELETE)
    assert isinstance(player.top, ListScreen) and "one.mp4 and one.astra" in player.top.panel.message
    player.press(pygame.K_RETURN)
    assert names(player) == ["one"]
    player.press(pygame.K_DELETE)
    player.press(pygame.K_DOWN)
    player.press(pygame.K_RETURN)
    assert names(player) == [] and list(folder.iterdir()) == []
    assert player.app.toasts.message == "one is in the trash."


def test_trash_that_refuses_leads_to_a_second_question(open_page, folder, monkeypatch) -> None:
    make_recording(folder, "one")
    player = open_page()

    def refuse(path: str) -> None:
        raise OSError(18, "no trash on this disk")

    monkeypatch.setattr("send2trash.send2trash", refuse)
    player.press(pygame.K_DELETE)
    player.press(pygame.K_DOWN)
    player.press(pygame.K_RETURN)
    assert "no trash on this disk" in player.top.panel.message and names_on_disk(folder)
    player.press(pygame.K_DOWN)
    player.press(pygame.K_RETURN)
    assert names(player) == [] and not names_on_disk(folder)


def names_on_disk(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_exports_never_take_a_name_that_is_there(tmp_path) -> None:
    for expected in ("a.gif", "a 2.gif", "a 3.gif"):
        path = unused(tmp_path / "a.gif")
        assert path.name == expected
        path.touch()


def test_every_size_of_window_keeps_the_card_in_focus_in_view(open_page, folder) -> None:
    make_recordings(folder, 11)
    player = open_page()
    for size in ((480, 320), (1280, 720), (2560, 1080)):
        player.app.window.resize(size)
        for index in range(11):
            player.top.grid.focus_index = index
            player.app.redraw()
            player.steps(1)
            assert player.top.grid._boxes[index].height > 50, (size, index)
