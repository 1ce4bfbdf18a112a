"""Action tables of the published checkpoint: each preset to the bit, driving, arm, live controls that match them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from fakes import fake_config
from naive_presets import STILL, naive_preset, turned

from astra_play.actions.presets import (
    CAMERA_PRESETS,
    PUBLISHED_CONTROLS,
    arc_rows,
    arm_motion_rows,
    pose_rows,
    preset_name,
    preset_rows,
    vehicle_pose_rows,
)
from astra_play.actions.row_makers import RowMaker, make_row_maker
from astra_play.actions.rows import camera_motion
from astra_play.chunks import IDLE, ActionSample
from astra_play.errors import ConfigError


def published_maker(**changes: object) -> RowMaker:
    """The live controls of the published world: 20 frames a second, 4 frames per latent, 2 latents a chunk."""
    config = fake_config(fps=20, latent_frames_per_chunk=2, frames_per_latent=4)
    return make_row_maker(dataclasses.replace(config, controls=dataclasses.replace(PUBLISHED_CONTROLS, **changes)))


def held(*buttons: str, mouse_px: tuple[float, float] = (0.0, 0.0)) -> ActionSample:
    return ActionSample(buttons=frozenset(buttons), mouse_px=mouse_px)


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize(("num_history", "num_generated"), [(1, 24), (1, 7), (5, 40), (2, 1), (3, 0)])
def test_preset_equals_its_twin_for_any_length(number: int, num_history: int, num_generated: int) -> None:
    table = preset_rows(number, num_history, num_generated)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, naive_preset(number, num_history, num_generated).reshape(-1, 12))


def test_s_curve_steps_aside_in_rows_13_to_16_of_the_reference_run() -> None:
    t_x = preset_rows("s-curve", 1, 24)[:, 3]
    assert t_x[13:17].tolist() == [np.float32(-0.01)] * 4
    assert not t_x[:13].any() and not t_x[17:].any()


def test_first_stage_of_the_reference_run_is_rows_1_to_12() -> None:
    yaw = [round(camera_motion(row)[2], 6) for row in preset_rows("left-right", 1, 24)]
    assert yaw == [0.0] + [0.03] * 12 + [-0.03] * 12


def test_rows_past_the_end_stand_still_and_a_short_table_is_cut() -> None:
    assert preset_rows(1, 1, 2, num_rows=44)[3:].tolist() == [STILL] * 41
    np.testing.assert_array_equal(preset_rows(6, 1, 24, num_rows=10), naive_preset(6, 1, 24)[:10])


def test_presets_go_by_number_and_by_name() -> None:
    assert [preset_name(number) for number in range(1, 8)] == list(CAMERA_PRESETS)
    assert preset_name("7") == preset_name("left-right") == "left-right"


@pytest.mark.parametrize(("preset", "words"), [
    ("forwrd", "did you mean 'forward'?"), ("0", "1 forward, 2 left"), ("8", "7 left-right"), ("-1", "presets are 1"),
    ("", "presets are 1"), ("9" * 5000, "presets are 1"), ("\N{SUPERSCRIPT TWO}", "presets are 1")])
def test_unknown_preset_is_named_with_what_there_is(preset: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset_rows(preset, 1, 24)
    assert words in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(("buttons", "number"), [
    (("forward",), 1), (("turn_left",), 2), (("turn_right",), 3),
    (("forward", "turn_left"), 4), (("forward", "turn_right"), 5)])
def test_held_keys_give_the_numbers_of_the_presets(buttons: tuple[str, ...], number: int) -> None:
    np.testing.assert_allclose(published_maker().rows(held(*buttons)), preset_rows(number, 0, 2), atol=1e-7)


def test_live_rows_come_one_per_latent_frame_and_stand_still_when_idle() -> None:
    assert published_maker().rows(IDLE).tolist() == [STILL] * 2


def test_stepping_right_moves_the_world_left_and_looking_up_is_a_positive_r12() -> None:
    right, up = (published_maker().rows(held(button))[0] for button in ("right", "look_up"))
    assert right[3] == pytest.approx(-0.03) and right[11] == 0.0
    assert up[6] == pytest.approx(math.sin(0.03)) and up[5] == pytest.approx(math.cos(0.03))


def test_speeds_and_mouse_come_from_the_config() -> None:
    maker = published_maker(move_m_s=0.3, turn_deg_s=math.degrees(0.05), mouse_deg_per_px=0.1)
    assert maker.rows(held("forward", "turn_left"))[0] == pytest.approx(turned(0.01, tz=-0.06))
    yaw_left, pitch_up = camera_motion(maker.rows(held(mouse_px=(40.0, -20.0)))[0])[2:]
    assert np.degrees([yaw_left, pitch_up]) == pytest.approx([-2.0, 1.0], abs=1e-5)


def test_mouse_turns_at_most_three_times_as_fast_as_a_key() -> None:
    maker = published_maker()
    assert camera_motion(maker.rows(held(mouse_px=(-5000.0, 0.0)))[0])[2] == pytest.approx(0.09, abs=1e-6)
    assert maker.dropped_turn_deg > 0


# --- known poses, driving, arm --------------------------------------------------------------------------------------

def walk(num_frames: int) -> np.ndarray:
    """World-to-camera poses of somebody who turns and walks a little with every frame."""
    step = np.eye(4)
    step[:3] = np.array(turned(0.01, tx=0.002, tz=-0.01)).reshape(3, 4)
    poses = [np.linalg.inv(np.array([[0, 0, 1, 5], [0, 1, 0, -2], [-1, 0, 0, 3], [0, 0, 0, 1.0]]))]
    for _ in range(num_frames - 1):
        poses.append(step @ poses[-1])
    return np.stack(poses)


def test_known_poses_give_the_motion_over_four_frames_wherever_the_world_begins() -> None:
    step = np.eye(4)
    step[:3] = np.array(turned(0.01, tx=0.002, tz=-0.01)).reshape(3, 4)
    over_four = np.linalg.matrix_power(step, 4)[:3].reshape(12)
    rows = pose_rows(walk(13), num_rows=5)
    assert rows[:3] == pytest.approx(np.tile(over_four, (3, 1)), abs=1e-6)
    assert rows[3:].tolist() == [STILL] * 2, "past the end nobody moves"


@pytest.mark.parametrize(("poses", "words"), [
    (np.zeros((5, 3, 4)), "(5, 3, 4)"), (np.full((5, 4, 4), np.nan), "finite"), (np.zeros((5, 4, 4)), "frame 0")])
def test_matrices_that_are_no_poses_are_refused(poses: np.ndarray, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pose_rows(poses, 3)
    assert words in str(caught.value)


def test_arc_is_driven_from_the_first_row_on() -> None:
    rows = arc_rows(44)
    a = 0.04 * 7
    assert rows.shape == (44, 7) and rows.dtype == np.float32
    assert rows[0] == pytest.approx([0, 0, 0, math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)])
    assert rows[7] == pytest.approx([15 * math.sin(a), 0, 15 * (1 - math.cos(a)), math.cos((a + math.pi / 2) / 2), 0, 0,
                                     math.sin((a + math.pi / 2) / 2)])


def test_keyframe_poses_are_taken_from_the_first_and_end_without_rotation() -> None:
    rows = vehicle_pose_rows(np.array([[10.0, 5, 1], [12, 6, 1]]), np.array([[1.0, 0, 0, 0], [0.8, 0, 0, 0.6]]), 3)
    assert rows.tolist() == pytest.approx(np.array([[0, 0, 0, 1, 0, 0, 0], [2, 1, 0, 0.8, 0, 0, 0.6],
                                                    [0, 0, 0, 1, 0, 0, 0]]))
    with pytest.raises(ConfigError, match="keyframes must be"):
        vehicle_pose_rows(np.zeros((2, 3)), np.zeros((3, 4)), 3)


def test_arm_row_turns_about_x_then_y_then_z() -> None:
    roll, pitch, yaw = 0.02, 0.01, 0.015
    cr, sr, cp, sp, cy, sy = (f(v) for v in (roll, pitch, yaw) for f in (math.cos, math.sin))
    row = [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, 0.0015,
           sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, 0.0009,
           -sp, cp * sr, cp * cr, -0.003]
    assert arm_motion_rows(3) == pytest.approx(np.tile(row, (3, 1)), abs=1e-7)
