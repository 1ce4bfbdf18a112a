"""Clips on the menu's cards: the frame of the moment, only while in focus, and no harm from a broken file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astra_play import paths
from astra_play.display.catalogue import StartPoint, WorldEntry
from astra_play.display.menu import StartMenu
from astra_play.display.navigation import Move
from astra_play.display.preview import DELAY_S, Preview
from astra_play.render import WebpWriter


def clip(path: Path, count: int = 5, duration_ms: int = 100) -> Path:
    """An animation whose frame i is grey of brightness 40 i."""
    frames = [Image.fromarray(np.full((24, 32, 3), 40 * i, np.uint8)) for i in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration_ms, loop=0, lossless=True)
    return path


def number(preview: Preview) -> int | None:
    return None if preview.frame is None else round(float(preview.frame.mean()) / 40)


def test_a_clip_starts_after_a_moment_shows_the_frame_of_its_time_and_begins_again(tmp_path: Path) -> None:
    preview, path = Preview(), clip(tmp_path / "a.webp")
    assert preview.tick(path, 10.0) is False
    assert preview.tick(path, 10.0 + DELAY_S - 0.01) is False and preview.frame is None
    changes = [(preview.tick(path, 10.0 + DELAY_S + t), number(preview)) for t in (0.01, 0.05, 0.11, 0.35, 0.45, 0.51)]
    assert changes == [(True, 0), (False, 0), (True, 1), (True, 3), (True, 4), (True, 0)]


def test_another_card_ends_it_and_the_menu_is_told_to_draw(tmp_path: Path) -> None:
    preview, path = Preview(), clip(tmp_path / "a.webp")
    for t in (0.0, 1.0):
        preview.tick(path, t)
    assert number(preview) is not None
    assert preview.tick(None, 1.1) is True and preview.frame is None
    assert preview.tick(None, 5.0) is False


@pytest.mark.parametrize("content", [b"", b"RIFF0000WEBP", b"no picture"])
def test_a_broken_clip_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path, preview = tmp_path / "a.webp", Preview()
    path.write_bytes(content)
    assert [preview.tick(path, t) for t in (0.0, 1.0, 2.0)] == [False] * 3 and preview.frame is None
    whole = clip(tmp_path / "b.webp")
    assert [preview.tick(whole, t) for t in (3.0, 4.0)] == [False, True]


def test_a_huge_clip_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, preview = clip(tmp_path / "a.webp"), Preview()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # beyond twice as many Pillow takes it for a bomb
    assert [preview.tick(path, t) for t in (0.0, 1.0, 2.0)] == [False] * 3 and preview.frame is None


def test_the_menu_plays_the_clip_of_the_card_in_focus(tmp_path: Path) -> None:
    starts = (StartPoint("a", None, clip(tmp_path / "a.webp")), StartPoint("b"))
    menu = StartMenu([WorldEntry("w", "W", "", starts)])
    assert [menu.tick(t) for t in (0.0, 1.0)] == [False, True]
    menu.move(Move.RIGHT)
    assert menu.tick(1.1) is True and menu.tick(2.0) is False
    broken = StartMenu([WorldEntry("w", "W", "", starts, error="no")])
    assert [broken.tick(t) for t in (0.0, 1.0)] == [False, False]


def test_a_clip_has_the_name_of_its_start_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "assets_folder", lambda: tmp_path)
    (tmp_path / "clips/mini/drive").mkdir(parents=True)
    path = clip(tmp_path / "clips/mini/drive/01_road.webp")
    assert paths.clip_of(tmp_path / "starts/mini/drive/01_road.png") == path
    assert paths.clip_of(tmp_path / "starts/mini/drive/02_hill.png") is None
    assert paths.clip_of(Path("/elsewhere/01_road.png")) is None


def test_a_picture_that_stands_still_lasts_as_long_as_it_did(tmp_path: Path) -> None:
    with WebpWriter(tmp_path / "a.webp", 16) as writer:
        for brightness in (0, 0, 0, 0, 80, 160):  # four alike are stored as one
            writer.write(np.full((24, 32, 3), brightness, np.uint8))
    preview = Preview()
    preview.tick(tmp_path / "a.webp", 0.0)
    shown = []
    for frame in range(6):
        preview.tick(tmp_path / "a.webp", DELAY_S + (frame + 0.5) / 16)
        shown.append(number(preview))
    assert shown == [0, 0, 0, 0, 2, 4]
