"""The display's parts without a loop: scaling, text, settings, events, photos, the catalogue and the menus' focus."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from fakes_display import card_config
from naive_lines import naive_shorten, naive_wrap

from astra_play import paths
from astra_play.chunks import InputEvent
from astra_play.config import to_dict
from astra_play.display import hud, present, theme
from astra_play.display import settings as settings_file
from astra_play.display.canvas import Canvas
from astra_play.display.catalogue import Catalogue, StartPoint, WorldEntry, start_title
from astra_play.display.events import to_input, to_pygame
from astra_play.display.listmenu import Line, ListMenu
from astra_play.display.menu import StartMenu
from astra_play.display.navigation import Move, Navigator
from astra_play.display.photo import save_photo
from astra_play.display.settings import PlayerSettings
from astra_play.display.text import Text
from astra_play.errors import DisplayError

SIZES = ((1280, 720), (3840, 2160))


@pytest.fixture(scope="module", autouse=True)
def key_names() -> Iterator[None]:
    """pygame knows the names of keys only while its display module is up."""
    pygame.display.init()
    yield
    pygame.display.quit()


@pytest.fixture(scope="module")
def text() -> Text:
    return Text()


@pytest.mark.parametrize(("width", "enlarged"), [(128, 384), (256, 512), (320, 640), (321, 321), (832, 832)])
def test_small_frames_are_enlarged_by_the_cubic_kernel_as_far_as_that_is_cheap(width: int, enlarged: int) -> None:
    frame = np.zeros((width * 3 // 4, width, 3), np.uint8)
    assert present.enlarge(frame, 1280, 960).get_width() == enlarged
    assert present.enlarge(frame, width, width * 3 // 4).get_width() == width



# --- scaling --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(1280, 720), (500, 900), (3840, 2160), (64, 48)])
def test_picture_keeps_its_shape_in_the_middle_of_any_window(size):
    box = present.fit(128, 96, pygame.Rect(0, 0, *size))
    assert box.width / box.height == pytest.approx(128 / 96, rel=0.02)
    assert abs(box.centerx - size[0] / 2) <= 1 and abs(box.centery - size[1] / 2) <= 1
    assert box.width == size[0] or box.height == size[1]


def test_letterbox_is_black_and_the_picture_keeps_its_colours():
    surface = pygame.Surface((400, 200))
    surface.fill((9, 9, 9))
    presenter = present.Presenter()
    presenter.frame = np.full((24, 32, 3), (200, 100, 50), np.uint8)
    box = presenter.draw(surface)
    assert surface.get_at((2, 100))[:3] == (0, 0, 0)
    assert surface.get_at((397, 100))[:3] == (0, 0, 0)
    for corner in (box.topleft, (box.right - 1, box.bottom - 1), box.center):
        assert surface.get_at(corner)[:3] == (200, 100, 50)


def test_large_scaling_is_smooth_where_bilinear_alone_has_corners():
    # along a ramp of one bright column the second difference is what the eye sees as a ridge
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[:, 16] = 255
    surface = pygame.Surface((32 * 24, 24 * 24))
    presenter = present.Presenter()
    presenter.frame = frame
    presenter.draw(surface)
    row = pygame.surfarray.array3d(surface)[:, 288, 0].astype(float)
    plain = pygame.transform.smoothscale(present.frame_surface(frame), surface.get_size())
    plain_row = pygame.surfarray.array3d(plain)[:, 288, 0].astype(float)
    assert np.abs(np.diff(row[::4], 2)).max() < 0.75 * np.abs(np.diff(plain_row[::4], 2)).max()
    presenter.spares_time = True
    presenter.draw(surface)
    assert np.array_equal(pygame.surfarray.array3d(surface)[:, 288, 0].astype(float), plain_row)


# --- text -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", SIZES)
def test_smallest_text_is_a_readable_share_of_the_window(text, size):
    canvas = Canvas(pygame.Surface(size), text)
    height_px = text.render("x", canvas.px(theme.SMALL), theme.TEXT).get_height()
    assert height_px / size[1] >= 0.018  # 13 px at 720p, 39 at 4K: a desktop's own menus are this large
    assert height_px >= 13


def test_everything_of_the_hud_scales_with_the_window(text):
    boxes = [hud.draw_hud(Canvas(pygame.Surface(size), text), _figures()) for size in SIZES]
    assert boxes[1].width == 3 * boxes[0].width
    assert boxes[1].height == pytest.approx(3 * boxes[0].height, rel=0.03)


@pytest.mark.parametrize("size", [(1280, 720), (1920, 820), (3840, 2160), (1000, 1000), (1000, 700)])
def test_figures_lie_beside_the_picture_where_that_bar_takes_them_and_never_across_its_edge(text, size):
    picture = present.fit(4, 3, pygame.Rect(0, 0, *size))
    box = hud.draw_hud(Canvas(pygame.Surface(size), text), _figures((1234.0, 1234.0, 1234.0)), picture)
    assert pygame.Rect(0, 0, *size).contains(box)
    assert picture.contains(box) if size[0] <= 1000 else box.right < picture.left


def test_hud_rows_fit_their_panel(text):
    canvas = Canvas(pygame.Surface(SIZES[0]), text)
    room_px = canvas.px(hud.PANEL_WIDTH) - 2 * canvas.px(14)
    for name, value in _figures(latency=(1234.0, 1234.0, 1234.0)).rows():
        assert text.width_px(name, canvas.px(theme.SMALL)) + text.width_px(value, canvas.px(theme.SMALL)) <= room_px


def test_wrapped_lines_fit_and_lose_no_letter(text):
    sentence = "weights/a_very_long_folder_name_without_any_space_in_it_at_all/config.json lacks fps; add it"
    lines = text.wrap(sentence, 17, 200)
    assert all(text.width_px(line, 17) <= 200 for line in lines)
    assert "".join(lines).replace(" ", "") == sentence.replace(" ", "")


def test_lines_are_those_of_the_dull_twin(text):
    chooser = random.Random(0)
    for _ in range(150):
        string = "".join(chooser.choices("iilmWA. ", k=chooser.randrange(1, 150)))
        size_px, max_lines = chooser.choice((13, 17)), chooser.choice((1, 3, 99))
        width_px = chooser.choice((4, 60, 200))
        assert text.wrap(string, size_px, width_px, max_lines) == naive_wrap(text, string, size_px, width_px, max_lines)
        assert text.shorten(string, size_px, width_px) == naive_shorten(text, string, size_px, width_px)


def test_thousands_of_letters_without_a_space_are_measured_a_few_times(text, monkeypatch):
    measured, width_px = [], Text.width_px
    monkeypatch.setattr(Text, "width_px", lambda *asked: measured.append(1) or width_px(*asked))
    assert len(text.wrap("a" * 4000, 17, 560, max_lines=4)) == 4 and text.shorten("a" * 4000, 17, 300).endswith("...")
    assert len(measured) < 100


@pytest.mark.parametrize(("string", "shown"), [("caf\udce9.mp4", "caf?.mp4"), ("a\0b", "a?b")])
def test_letters_that_no_font_takes_are_drawn_as_question_marks(text, string, shown):
    assert text.width_px(string, 17) == text.width_px(shown, 17)
    drawn, wanted = (pygame.image.tobytes(text.render(one, 17, theme.TEXT), "RGBA") for one in (string, shown))
    assert drawn == wanted


def test_text_without_letters_is_drawn_as_nothing(text):
    assert text.render("", 17, theme.TEXT).get_height() > 0


def _figures(latency: tuple[float, float, float] = (80.0, 100.0, 120.0)) -> hud.HudFigures:
    return hud.HudFigures("World", 16.0, 16.0, 31.0, 62.5, latency, 3, 1, 1.5, 2, 4.0, 123456, 2, 512.0, (30.0, 70.0))


def test_hud_says_how_much_of_a_turn_was_lost():
    lost = dataclasses.replace(_figures(), dropped_turn_deg=37.4)
    assert dict(_figures().rows())["dropped"] == "1" and dict(lost.rows())["dropped"] == "1 frames, 37° of turn"


# --- settings -------------------------------------------------------------------------------------------------------

def test_settings_come_back_as_they_were_saved(tmp_path):
    chosen = PlayerSettings(900, 700, True, True, True, 2.5, 4, 0.7)
    settings_file.save(chosen, tmp_path / "folder" / "settings.json")
    assert settings_file.load(tmp_path / "folder" / "settings.json") == chosen
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["settings.json"]


@pytest.mark.parametrize("damaged", [
    "", "{", "[]", '{"hud": "yes"}', '{"hudd": true}', "\x00\x01"])
def test_damaged_settings_give_the_defaults_and_a_logged_sentence(tmp_path, caplog, damaged):
    path = tmp_path / "settings.json"
    path.write_text(damaged)
    with caplog.at_level(logging.WARNING):
        assert settings_file.load(path) == PlayerSettings()
    assert "back to their defaults" in caplog.text


@pytest.mark.parametrize(("name", "value"), [
    ("window_width_px", "-5"), ("window_height_px", "319"), ("mouse_sensitivity", "1e99"), ("guidance", "NaN")])
def test_setting_out_of_its_range_is_the_default_and_all_others_are_kept(tmp_path, caplog, name, value):
    path = tmp_path / "settings.json"
    path.write_text(f'{{"{name}": {value}, "hud": true, "recordings_folder": "/clips"}}')
    with caplog.at_level(logging.WARNING):
        assert settings_file.load(path) == PlayerSettings(hud=True, recordings_folder="/clips")
    assert f"{name} is back to its default" in caplog.text


def test_settings_that_cannot_be_saved_are_logged_and_do_not_stop_the_player(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        settings_file.save(PlayerSettings(), tmp_path / "file" / "settings.json")
    assert "could not be saved" in caplog.text


# --- events ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("event", [
    InputEvent("button", "w", True, time_s=1.5), InputEvent("button", "left shift", False, time_s=2.0),
    InputEvent("button", "mouse right", True, time_s=0.1), InputEvent("button", "pad a", True, time_s=0.2),
    InputEvent("motion", motion_px=(12.0, -3.0), time_s=0.3), InputEvent("axis", "pad left x", value=-1.0, time_s=0.4),
    InputEvent("button", "ä", True, time_s=0.6), InputEvent("focus_lost", time_s=0.5)])
def test_what_a_script_posts_is_what_the_world_hears(event):
    assert to_input(to_pygame(event), polled_at_s=99.0) == event


def test_event_without_a_time_of_its_own_happened_when_it_was_polled():
    event = pygame.Event(pygame.KEYDOWN, key=pygame.K_w, mod=0, unicode="w", scancode=pygame.KSCAN_W)
    assert to_input(event, polled_at_s=3.25) == InputEvent("button", "w", True, time_s=3.25)


def test_walking_keys_are_places_on_the_keyboard():
    # on a French keyboard the key in the place of W types z
    event = pygame.Event(pygame.KEYDOWN, key=pygame.K_z, mod=0, unicode="z", scancode=pygame.KSCAN_W)
    assert to_input(event, 0.0).control == "w"


def test_wheel_is_no_control():
    assert to_input(pygame.Event(pygame.MOUSEBUTTONDOWN, button=4, pos=(0, 0)), 0.0) is None


def test_stick_moves_the_focus_once_per_flick():
    navigator = Navigator()

    def push(value: int) -> Move | None:
        return navigator.move(pygame.Event(pygame.CONTROLLERAXISMOTION, axis=pygame.CONTROLLER_AXIS_LEFTX, value=value))

    assert [push(v) for v in (30000, 32000, 20000, 100, 30000, -32000)] \
        == [Move.RIGHT, None, None, None, Move.RIGHT, None]


# --- photos ---------------------------------------------------------------------------------------------------------

def test_second_photo_of_a_frame_does_not_replace_the_first(tmp_path):
    frame = np.zeros((4, 4, 3), np.uint8)
    paths_written = [save_photo(frame, tmp_path, "park / town", 3, 12) for _ in range(2)]
    assert [path.name for path in paths_written] == ["park-town_seed3_frame12.png", "park-town_seed3_frame12_2.png"]


@pytest.mark.parametrize("folder", ["photos", "photos/below", "n" * 300])
def test_photo_folder_that_cannot_be_one_gives_a_sentence(tmp_path, folder):
    (tmp_path / "photos").write_text("")
    with pytest.raises(DisplayError, match="could not be written.*make the folder writable"):
        save_photo(np.zeros((4, 4, 3), np.uint8), tmp_path / folder, "park", 0, 0)


# --- catalogue and menus --------------------------------------------------------------------------------------------

def test_catalogue_lists_worlds_with_their_starts_and_the_broken_ones_with_why(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "checkout_folder", lambda: tmp_path)
    for name, content in (("alpha", to_dict(card_config())), ("mini", to_dict(card_config(name="mini"))),
                          ("broken", {"nam": 1})):
        (tmp_path / "weights" / name).mkdir(parents=True)
        (tmp_path / "weights" / name / "config.json").write_text(json.dumps(content))
    (tmp_path / "assets" / "starts" / "mini").mkdir(parents=True)
    for picture in ("02_pond.png", "01_village-green.png"):
        (tmp_path / "assets" / "starts" / "mini" / picture).touch()
    entries = Catalogue().entries()
    assert [entry.name for entry in entries] == ["mini", "alpha", "broken"]
    assert [start.title for start in entries[0].starts] == ["Village green", "Pond"]
    assert entries[1].starts == (StartPoint("Test card"),)
    assert "has no setting 'nam'" in entries[2].error


def test_start_titles_are_words():
    assert start_title(Path("03_pond-at-dusk.png")) == "Pond at dusk"
    assert start_title(Path("07.png")) == "07"


def test_focus_walks_the_cards_by_rows_and_stops_at_the_edges():
    worlds = [WorldEntry("a", "A", "", tuple(StartPoint(str(i)) for i in range(6))),
              WorldEntry("b", "B", "", (StartPoint("only"),))]
    menu = StartMenu(worlds)
    moves = [Move.UP, Move.RIGHT, Move.RIGHT, Move.RIGHT, Move.DOWN, Move.DOWN, Move.DOWN, Move.RIGHT, Move.UP]
    walked = []
    for move in moves:
        menu.move(move)
        walked.append(menu.focus_index)
    assert walked == [0, 1, 2, 3, 5, 6, 6, 6, 4]


def test_focused_card_is_always_on_screen(text):
    worlds = [WorldEntry("a", "A", "words", tuple(StartPoint(str(i)) for i in range(40)))]
    menu = StartMenu(worlds)
    canvas = Canvas(pygame.Surface((1280, 720)), text)
    for move in [Move.DOWN] * 12 + [Move.UP] * 12:
        menu.move(move)
        menu.draw(canvas)
        box = menu._boxes[menu.focus_index]
        assert box.height >= canvas.px(200) and canvas.box.contains(box)


def test_row_that_keys_walk_to_has_its_world_above_it_and_no_card_cut_there(text, monkeypatch):
    worlds = [WorldEntry(name, name, "words", tuple(StartPoint(str(i)) for i in range(8))) for name in "abc"]
    menu, canvas = StartMenu(worlds), Canvas(pygame.Surface((1280, 720)), text)
    tops: dict[str, int] = {}
    monkeypatch.setattr(menu, "_draw_world_heading", lambda canvas, world, left, top, width: tops.update(
        {world.name: top}))
    for row in range(6):
        menu.draw(canvas)
        focus = menu._boxes[menu.focus_index]
        assert menu.focused.row_index == row and focus.height == 247, "all of the card"
        assert tops[menu.focused.world.name] == focus.top - canvas.px(66) == canvas.px(184)
        assert not any(box.height for box, card in zip(menu._boxes, menu.cards, strict=True) if card.row_index < row)
        menu.move(Move.DOWN)


def test_menu_shows_that_there_is_more_than_fits(text):
    def at_the_side(num_starts: int, num_downs: int) -> list[tuple[int, int, int]]:
        menu = StartMenu([WorldEntry("a", "A", "", tuple(StartPoint(str(i)) for i in range(num_starts)))])
        canvas = Canvas(pygame.Surface((1280, 720)), text)
        for _ in range(num_downs):
            menu.move(Move.DOWN)
        menu.draw(canvas)
        return [tuple(canvas.surface.get_at((1254, y)))[:3] for y in range(184, 644)]

    assert set(at_the_side(4, 0)) == {theme.BACKGROUND}
    first, last = at_the_side(24, 0), at_the_side(24, 5)
    assert first[5] == last[-5] == theme.TEXT_FAINT and first[-5] == last[5] == theme.PANEL_RAISED


def test_menu_without_worlds_says_what_to_do(text):
    menu = StartMenu([])
    menu.move(Move.DOWN)
    menu.draw(Canvas(pygame.Surface((1280, 720)), text))
    assert menu.focused is None


def test_list_menu_wraps_chooses_and_changes():
    done: list[object] = []
    menu = ListMenu("t", [Line("a", lambda: done.append("a")),
                          Line("b", value=lambda: "v", change=lambda step: done.append(step))],
                    back=lambda: done.append("back"))
    for move in (Move.ACCEPT, Move.UP, Move.LEFT, Move.RIGHT, Move.DOWN, Move.LEFT, Move.BACK):
        menu.move(move)
    assert done == ["a", -1, 1, "back"]


def test_naming_the_display_package_loads_no_pygame_and_the_player_no_torch():
    code = ("import sys, astra_play.display; assert 'pygame' not in sys.modules; "
            "import astra_play.display.app; assert 'torch' not in sys.modules; print('cheap')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "cheap\n", done.stderr
