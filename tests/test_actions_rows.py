import math

import numpy as np
import pytest
from fakes import fake_config

from astra_play.actions.row_makers import CARRY_FRAMES, RowMaker, make_row_maker
from astra_play.actions.rows import (
    arm_row,
    camera_motion,
    camera_row,
    idle_row,
    vehicle_motion,
    vehicle_row,
)
from astra_play.actions.vehicle import Car
from astra_play.chunks import IDLE, ActionSample
from astra_play.errors import ConfigError

CONTROLS = {"move_m_s": 3.0, "turn_deg_s": 60.0, "mouse_deg_per_px": 0.1, "max_turn_deg_per_frame": 12.0}


def maker(**config: object) -> RowMaker:
    return make_row_maker(fake_config(fps=10, **config, **CONTROLS))


def motions(rows: np.ndarray) -> list[tuple[float, float, float, float]]:
    """(forward m, right m, yaw left deg, pitch up deg) per row."""
    return [(f, r, math.degrees(y), math.degrees(p)) for f, r, y, p in map(camera_motion, rows)]


def held(*buttons: str, mouse_px: tuple[float, float] = (0.0, 0.0)) -> ActionSample:
    return ActionSample(buttons=frozenset(buttons), mouse_px=mouse_px)


@pytest.mark.parametrize("motion", [(0.0, 0.0, 0.0, 0.0), (0.2, -0.1, 0.1, 0.05), (-0.3, 0.2, -0.2, -0.15)])
def test_camera_motion_undoes_camera_row(motion: tuple[float, ...]) -> None:
    assert camera_motion(camera_row(*motion)) == pytest.approx(motion, abs=1e-6)


def test_idle_is_the_identity_pose() -> None:
    assert maker().rows(IDLE)[0] == pytest.approx(np.eye(3, 4).reshape(12))


@pytest.mark.parametrize(("button", "motion"), [
    ("forward", (0.3, 0.0, 0.0, 0.0)), ("back", (-0.3, 0.0, 0.0, 0.0)),
    ("right", (0.0, 0.3, 0.0, 0.0)), ("left", (0.0, -0.3, 0.0, 0.0)),
    ("turn_left", (0.0, 0.0, 6.0, 0.0)), ("turn_right", (0.0, 0.0, -6.0, 0.0)),
    ("look_up", (0.0, 0.0, 0.0, 6.0)), ("look_down", (0.0, 0.0, 0.0, -6.0)),
])
def test_each_button_is_its_own_motion_per_latent_frame(button: str, motion: tuple[float, ...]) -> None:
    rows = maker().rows(held(button))
    assert rows.shape == (1, 12) and rows.dtype == np.float32
    assert motions(rows)[0] == pytest.approx(motion, abs=1e-4)


def test_row_of_a_latent_frame_covers_all_its_frames() -> None:
    rows = maker(frames_per_latent=4, latent_frames_per_chunk=3).rows(held("forward"))
    assert [m[0] for m in motions(rows)] == pytest.approx([1.2] * 3)


def test_diagonal_walks_no_faster_than_straight_ahead() -> None:
    forward, right, _, _ = motions(maker().rows(held("forward", "right")))[0]
    assert math.hypot(forward, right) == pytest.approx(0.3) and forward == pytest.approx(right)


def test_half_a_stick_walks_at_half_speed_and_adds_to_keys() -> None:
    half = ActionSample(axes=(("forward", 0.5),))
    assert motions(maker().rows(half))[0][0] == pytest.approx(0.15)
    against = ActionSample(buttons=frozenset({"back"}), axes=(("forward", 0.5),))
    assert motions(maker().rows(against))[0][0] == pytest.approx(-0.15)


def test_mouse_to_the_right_turns_right_and_down_looks_down() -> None:
    _, _, yaw_left, pitch_up = motions(maker().rows(held(mouse_px=(50.0, 20.0))))[0]
    assert (yaw_left, pitch_up) == (pytest.approx(-5.0, abs=1e-4), pytest.approx(-2.0, abs=1e-4))


def test_mouse_motion_is_spread_evenly_over_the_latent_frames_of_a_chunk() -> None:
    rows = maker(latent_frames_per_chunk=4).rows(held(mouse_px=(-80.0, 0.0)))
    assert [m[2] for m in motions(rows)] == pytest.approx([2.0] * 4, abs=1e-4)


def test_flick_beyond_the_limit_is_finished_over_the_next_chunks() -> None:
    rows = maker()
    turned = [motions(rows.rows(sample))[0][2] for sample in (held(mouse_px=(-300.0, 0.0)), IDLE, IDLE, IDLE)]
    assert turned == pytest.approx([12.0, 12.0, 6.0, 0.0], abs=1e-3)
    assert rows.dropped_turn_deg == 0.0


def test_limit_of_a_row_is_that_of_all_its_frames() -> None:
    rows = maker(frames_per_latent=2)
    assert motions(rows.rows(held(mouse_px=(-300.0, 0.0))))[0][2] == pytest.approx(24.0, abs=1e-3)


def test_flick_beyond_the_carry_ends_after_the_carry_frames_and_is_counted() -> None:
    rows = maker()
    turned = [motions(rows.rows(sample))[0][2] for sample in (held(mouse_px=(-9000.0, 0.0)), *[IDLE] * 10)]
    assert turned[:1 + CARRY_FRAMES] == pytest.approx([12.0] * (1 + CARRY_FRAMES), abs=1e-3)
    assert turned[1 + CARRY_FRAMES:] == pytest.approx([0.0] * (10 - CARRY_FRAMES), abs=1e-6)
    assert rows.dropped_turn_deg == pytest.approx(900.0 - 12.0 * (1 + CARRY_FRAMES))


def test_hand_that_comes_back_takes_the_carry_back() -> None:
    rows = maker()
    rows.rows(held(mouse_px=(-300.0, 0.0)))
    assert motions(rows.rows(held(mouse_px=(180.0, 0.0))))[0][2] == pytest.approx(0.0, abs=1e-4)


def test_reset_forgets_the_carry() -> None:
    rows = maker()
    rows.rows(held(mouse_px=(-300.0, 0.0)))
    rows.reset()
    assert motions(rows.rows(IDLE))[0][2] == pytest.approx(0.0, abs=1e-6)


def test_keys_and_mouse_together_stay_within_the_limit_and_keys_leave_no_carry() -> None:
    rows = make_row_maker(fake_config(fps=10, **{**CONTROLS, "turn_deg_s": 500.0}))
    assert motions(rows.rows(held("turn_left")))[0][2] == pytest.approx(12.0, abs=1e-3)
    assert motions(rows.rows(IDLE))[0][2] == pytest.approx(0.0, abs=1e-6)
    both = motions(rows.rows(held("turn_left", mouse_px=(-100.0, 0.0))))[0][2]
    assert both == pytest.approx(12.0, abs=1e-3)
    assert motions(rows.rows(IDLE))[0][2] == pytest.approx(10.0, abs=1e-3), "the mouse's part comes after the key"


def test_buttons_a_world_does_not_list_mean_nothing_to_it() -> None:
    rows = make_row_maker(fake_config(buttons=("forward", "turn_left", "turn_right")))
    assert rows.rows(held("left", "look_up", mouse_px=(0.0, 90.0)))[0] == pytest.approx(np.eye(3, 4).reshape(12))


def test_view_stops_at_the_pitch_that_training_saw_and_comes_back_at_once() -> None:
    limited = make_row_maker(fake_config(fps=10, **{**CONTROLS, "max_pitch_deg": 20.0}))
    pitches = [motions(limited.rows(held(mouse_px=(0.0, -80.0))))[0][3] for _ in range(5)]  # 8 degrees up each
    assert pitches == pytest.approx([8.0, 8.0, 4.0, 0.0, 0.0], abs=1e-4)
    back = motions(limited.rows(held(mouse_px=(0.0, 80.0))))[0][3]
    assert back == pytest.approx(-8.0, abs=1e-4)  # nothing of the flick against the stop was kept
    limited.reset()
    assert motions(limited.rows(held(mouse_px=(0.0, -80.0))))[0][3] == pytest.approx(8.0, abs=1e-4)


def test_button_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'forwad'.*did you mean 'forward'"):
        make_row_maker(fake_config(fps=10, buttons=("forwad",)))


def test_vehicle_rows_hold_displacement_and_unit_quaternion_and_can_be_read_back() -> None:
    row = vehicle_row(0.8, -0.1, math.radians(30))
    assert row.dtype == np.float32 and row.shape == (7,)
    assert np.linalg.norm(row[3:]) == pytest.approx(1.0) and row[2] == row[4] == row[5] == 0
    assert vehicle_motion(row) == pytest.approx((0.8, -0.1, math.radians(30)), abs=1e-6)


def test_idle_rows_of_every_modality_move_nothing() -> None:
    assert idle_row("vehicle").tolist() == [0, 0, 0, 1, 0, 0, 0] and idle_row("arm").tolist() == [0] * 7
    assert arm_row(0.01, 0.02, -0.03, 1.0).tolist() == pytest.approx([0.01, 0.02, -0.03, 0, 0, 0, 1.0])


# --- vehicles -------------------------------------------------------------------------------------------------------

def vehicle(**config: object) -> RowMaker:
    return make_row_maker(fake_config(fps=16, modality="vehicle", mouse_deg_per_px=0.1, buttons=(
        "accelerate", "brake", "steer_left", "steer_right"), **config))


def test_vehicle_rows_are_the_motion_of_the_car_that_drove_in_training() -> None:
    maker, car, fastest_m_s = vehicle(), Car(), 0.0
    for sample, pedals in ((held("accelerate"), (1.0, 0.0)), (held("accelerate", "steer_left"), (1.0, 1.0)),
                           (held("brake", "steer_right"), (-1.0, -1.0)), (IDLE, (0.0, 0.0))):
        for _ in range(20):
            assert maker.rows(sample)[0] == pytest.approx(vehicle_row(*car.step(*pedals, 1 / 16)))
            fastest_m_s = max(fastest_m_s, car.speed_m_s)
    assert fastest_m_s > 5.0


def test_frames_of_a_vehicle_chunk_follow_one_another() -> None:
    one, four, gas = vehicle(), vehicle(latent_frames_per_chunk=4), held("accelerate")
    assert four.rows(gas) == pytest.approx(np.concatenate([one.rows(gas) for _ in range(4)]))


def test_mouse_turns_the_wheel_and_the_wheel_comes_back_by_itself() -> None:
    maker = vehicle()
    for _ in range(32):
        maker.rows(held("accelerate"))
    turned = [vehicle_motion(maker.rows(sample)[0])[2] for sample in (
        held("accelerate", mouse_px=(-300.0, 0.0)), *[held("accelerate")] * 40)]
    assert max(turned) == max(turned[2:12]) > 0.02 and abs(turned[-1]) < 1e-6
    maker.rows(held("accelerate", mouse_px=(-300.0, 0.0)))
    maker.stop_turning()
    assert abs(vehicle_motion([maker.rows(held("accelerate"))[0] for _ in range(16)][-1])[2]) < 1e-6


def test_reset_puts_the_car_at_rest() -> None:
    maker = vehicle()
    for _ in range(16):
        maker.rows(held("accelerate"))
    maker.reset()
    assert maker.rows(IDLE)[0] == pytest.approx(idle_row("vehicle"))


# --- arms -----------------------------------------------------------------------------------------------------------

def arm(**config: object) -> RowMaker:
    return make_row_maker(fake_config(fps=16, modality="arm", move_m_s=0.32, mouse_m_per_px=0.001, buttons=(
        "forward", "back", "left", "right", "up", "down", "grip", "release"), max_move_m_per_frame=0.03, **config))


def test_keys_and_mouse_move_the_hand_as_the_player_sees_it() -> None:
    assert arm().rows(held("forward"))[0] == pytest.approx(arm_row(away_m=0.02))
    assert arm().rows(held("down"))[0] == pytest.approx(arm_row(up_m=-0.02))
    diagonal = arm().rows(held("right", "up", "forward"))[0][:3]
    assert np.linalg.norm(diagonal) == pytest.approx(0.02) and len(set(diagonal.round(6))) == 1
    assert arm().rows(held(mouse_px=(10.0, 5.0)))[0] == pytest.approx(arm_row(right_m=0.01, away_m=-0.005))


def test_a_sweep_of_the_mouse_beyond_the_limit_is_finished_over_the_next_rows() -> None:
    maker = arm()
    went = [maker.rows(sample)[0][0] for sample in (held(mouse_px=(70.0, 0.0)), IDLE, IDLE, IDLE)]
    assert went == pytest.approx([0.03, 0.03, 0.01, 0.0])


def test_one_click_closes_the_gripper_and_another_opens_it() -> None:
    maker = arm()
    closed = [maker.rows(sample)[0][6] for sample in (IDLE, held("grip"), IDLE, held("left"), held("release"), IDLE)]
    assert closed == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    maker.rows(held("grip"))
    maker.reset()
    assert maker.rows(IDLE)[0] == pytest.approx(idle_row("arm"))


def test_gripper_listens_to_a_trigger_that_is_pulled_half_its_way() -> None:
    maker = arm()

    def pulled(**strengths: float) -> float:
        return maker.rows(ActionSample(axes=tuple(sorted(strengths.items()))))[0][6]

    assert [pulled(grip=0.3), pulled(grip=0.6), pulled(), pulled(release=0.4), pulled(release=1.0)] == [0, 1, 1, 1, 0]
    assert [pulled(grip=0.7, release=0.7), pulled(grip=0.7), pulled(grip=0.7, release=0.7)] == [0, 1, 1]


REACH_M = (-0.1, -0.05, 0.02, 0.1, 0.05, 0.2)


def reach_in_hundredths(hand_m: tuple[float, ...], steps_m: list[tuple[float, ...]]) -> list[list[float]]:
    """Walk every axis on its own, a hundredth of the step at a time, and stand still where the next one would leave."""
    at, went = list(hand_m), []
    for step in steps_m:
        before = list(at)
        for axis in range(3):
            for _ in range(100):
                after = at[axis] + step[axis] / 100
                if REACH_M[axis] - 1e-9 <= after <= REACH_M[axis + 3] + 1e-9:
                    at[axis] = after
        went.append([now - then for now, then in zip(at, before, strict=True)])
    return went


def test_hand_ends_where_its_reach_does_as_in_hundredths_of_every_step() -> None:
    randoms = np.random.default_rng(0)
    names = ("forward", "back", "left", "right", "up", "down")
    samples = [held(*randoms.choice(names, 2, replace=False)) for _ in range(200)]
    free, bound = arm(), arm(reach_m=REACH_M)
    bound.reset(hand_m=(0.03, -0.02, 0.1))
    told = [free.rows(sample)[0] for sample in samples]
    went = np.array([bound.rows(sample)[0][:3] for sample in samples])
    dull = reach_in_hundredths((0.03, -0.02, 0.1), [tuple(row[:3]) for row in told])
    assert went == pytest.approx(np.array(dull), abs=2.1e-4)  # the twin stops within a hundredth of a step of the end
    assert np.abs(went).sum() < np.abs(np.array(told)[:, :3]).sum() - 0.3  # so that limits were met at all


def test_nothing_stops_a_hand_whose_place_is_not_known() -> None:
    maker = arm(reach_m=REACH_M)
    assert sum(maker.rows(held("right"))[0][0] for _ in range(40)) == pytest.approx(40 * 0.02)
    maker.reset(hand_m=(0.0, 0.0, 0.1))
    assert sum(maker.rows(held("right"))[0][0] for _ in range(40)) == pytest.approx(0.1)
    maker.reset()
    assert sum(maker.rows(held("right"))[0][0] for _ in range(40)) == pytest.approx(40 * 0.02)


def test_flick_against_the_end_of_the_reach_does_not_delay_the_way_back() -> None:
    maker = arm(reach_m=REACH_M)
    maker.reset(hand_m=(0.08, 0.0, 0.1))
    assert maker.rows(held(mouse_px=(100.0, 0.0)))[0][0] == pytest.approx(0.02)
    assert maker.rows(held(mouse_px=(-10.0, 0.0)))[0][0] == pytest.approx(-0.01)
