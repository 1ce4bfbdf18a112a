"""Key caps on rendered frames: which keys a row amounts to, when they light up, and that only the corners change."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from astra_play import overlay
from astra_play.actions.presets import preset_rows
from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.overlay import draw_overlay, keys_of, latent_of_frame

SIZES = [(480, 832), (96, 128)]


def grey(height: int, width: int, level: int = 100) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(("motion", "keys"), [
    ({}, ""), ({"forward_m": 0.03}, "W"), ({"forward_m": -0.03}, "S"), ({"right_m": 0.03}, "D"),
    ({"right_m": -0.03}, "A"), ({"yaw_left_rad": 0.03}, "left"), ({"yaw_left_rad": -0.03}, "right"),
    ({"pitch_up_rad": 0.03}, "up"), ({"pitch_up_rad": -0.03}, "down"),
    ({"forward_m": 0.03, "yaw_left_rad": 0.03}, "W left"), ({"forward_m": 0.009, "yaw_left_rad": 0.0049}, ""),
    ({"forward_m": 0.01, "yaw_left_rad": 0.005}, "W left")])
def test_motion_beyond_the_thresholds_is_the_key_that_makes_it(motion: dict[str, float], keys: str) -> None:
    assert keys_of(camera_row(**motion, axes="after_turn")) == set(keys.split())


def test_mask_column_is_no_motion_and_a_dropped_row_presses_nothing() -> None:
    assert keys_of(np.append(camera_row(0.03), 1.0)) == {"W"}
    assert keys_of(np.zeros(13)) == frozenset()


def test_s_curve_shows_its_side_step_for_a_third_of_its_second_half() -> None:
    shown = [keys_of(row) for row in preset_rows("s-curve", 1, 24)]
    assert shown == [set()] + [{"W", "left"}] * 12 + [{"W", "right", "D"}] * 4 + [{"W", "right"}] * 8


def test_caps_change_with_the_first_frame_of_a_latent() -> None:
    assert [latent_of_frame(frame, 4) for frame in range(10)] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [latent_of_frame(frame, 1) for frame in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_only_the_bottom_corners_change_and_the_given_frame_does_not(height: int, width: int) -> None:
    frame = grey(height, width)
    drawn = draw_overlay(frame, camera_row(0.03))
    assert (frame == 100).all() and drawn.shape == frame.shape and drawn.dtype == np.uint8
    changed = (drawn != frame).any(axis=2)
    assert not changed[:height * 3 // 4].any() and not changed[:, width // 3:width * 2 // 3].any()
    assert changed[:, :width // 3].any() and changed[:, width * 2 // 3:].any()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_each_key_lights_its_own_cap_and_no_other(height: int, width: int) -> None:
    idle = draw_overlay(grey(height, width), camera_row()).astype(int)
    motions = {"forward_m": (0.03, -0.03), "right_m": (0.03, -0.03), "yaw_left_rad": (0.03, -0.03),
               "pitch_up_rad": (0.03, -0.03)}
    lit = np.zeros((height, width), int)
    for name, values in motions.items():
        for value in values:
            drawn = draw_overlay(grey(height, width), camera_row(**{name: value}))
            changed = np.abs(drawn - idle).sum(axis=2) > 0
            rows, columns = np.nonzero(changed)
            assert np.ptp(rows) < height / 8 and np.ptp(columns) < height / 8, "the change is one cap large"
            assert drawn[changed].mean() > idle[changed].mean() + 30, "what is pressed is brighter"
            lit += changed
    assert lit.max() == 1, "no two keys share a cap"


@pytest.mark.parametrize("level", [0, 97, 255])
def test_blend_equals_the_picture_librarys(level: int) -> None:
    frame, row = np.random.default_rng(0).integers(0, 256, (480, 832, 3), dtype=np.uint8), camera_row(0.03)
    frame[400:] = level
    keys = tuple(overlay.WASD.items())
    cap = round(480 * overlay.CAP_OF_HEIGHT)
    pitch = cap + round(cap * overlay.GAP_OF_CAP)
    picture = Image.fromarray(frame).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    for sign, (line, column) in keys:
        layer.paste(overlay._cap(sign, sign == "W", cap), (
            cap // 3 + column * pitch, 480 - cap // 3 - cap - pitch + line * pitch))
    twin = np.asarray(Image.alpha_composite(picture, layer).convert("RGB")).astype(int)
    left_half = slice(None), slice(0, 400)
    assert np.abs(draw_overlay(frame, row).astype(int) - twin)[left_half].max() <= 1


@pytest.mark.parametrize("row", [vehicle_row(1.0), np.zeros(8)])
def test_rows_that_are_no_matrix_leave_the_frame_as_it_is(row: np.ndarray) -> None:
    assert (draw_overlay(grey(96, 128), row) == 100).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 300), (300, 40)])
def test_frame_too_small_for_the_caps_stays_as_it_is(height: int, width: int) -> None:
    assert (draw_overlay(grey(height, width), camera_row(0.03)) == 100).all()
