"""The `explore` scenario: walking is exact and stays where a person can stand; pictures repeat for a seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fakes import fake_config

from astra_play.actions import rows
from astra_play.actions.row_makers import make_row_maker
from astra_play.chunks import ActionSample
from astra_play.codec.distances import FARTHEST_M
from astra_play.errors import ConfigError
from astra_play.train import scenarios
from astra_play.train.scenarios.explore import (
    BODY_RADIUS_M,
    EYE_HEIGHT_M,
    FPS,
    PITCH_LIMIT_RAD,
    STEP_M,
    Explore,
    WalkControl,
    Walker,
)
from astra_play.train.scenarios.explore_scene import WORLD_RADIUS_M, make_scene
from astra_play.train.scenarios.interface import Seen
from astra_play.train.scenarios.policy import KEY_TURN_RAD, MAX_YAW_RAD, wander
from astra_play.train.scenarios.scenery import Obstacles


@pytest.fixture
def simulator():
    """Lend an Explore, or skip where MuJoCo cannot draw."""
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    explore = scenarios.make("explore", 64, 48)
    try:
        explore.reset(0)
    except Exception as error:  # GL libraries fail with errors of their own kind
        pytest.skip(f"no GL context here: {error}")
    yield explore
    explore.close()


def open_field(circles=(), boxes=()) -> Walker:
    obstacles = Obstacles(np.array(circles, dtype=float).reshape(-1, 3), np.array(boxes, dtype=float).reshape(-1, 5),
                          WORLD_RADIUS_M)
    return Walker(obstacles, 0.0, 0.0, 0.0)


def wander_through(seed: int, num_frames: int) -> tuple[Walker, list[WalkControl], list[np.ndarray]]:
    scene = make_scene(seed)
    walker, player, seen = Walker(scene.obstacles(), *scene.spawn), wander(np.random.default_rng([seed, 1])), None
    controls, poses = [], []
    for _ in range(num_frames):
        controls.append(player.send(seen))
        walker.move(controls[-1])
        seen = Seen(walker.blocked, walker.pose)
        poses.append(walker.pose)
    return walker, controls, poses


def test_open_ground_takes_exactly_the_commanded_motion():
    walker = open_field()
    for control in (WalkControl(0.1, 0.05, 0.3, 0.1), WalkControl(-0.1, 0.1, -1.1, -0.05)):
        before = walker.pose
        walker.move(control)
        after = walker.pose
        dx, dy = after[:2] - before[:2]
        cos, sin = math.cos(before[3]), math.sin(before[3])
        assert dx * cos + dy * sin == pytest.approx(control.forward_m)
        assert dx * sin - dy * cos == pytest.approx(control.right_m)
        assert after[3] == before[3] + control.yaw_left_rad
        assert after[4] == before[4] + control.pitch_up_rad
        assert not walker.blocked


def test_diagonal_is_as_fast_as_straight_ahead():
    for keys in ((1, 0), (1, 1), (0, -1), (-1, 1)):
        control = WalkControl.from_keys(*keys)
        assert math.hypot(control.forward_m, control.right_m) == pytest.approx(STEP_M)
    assert WalkControl.from_keys(0, 0) == WalkControl()


def test_row_gives_the_control_back():
    control = WalkControl(0.12, -0.14, 0.08, -0.05)
    assert rows.camera_motion(control.row()) == pytest.approx(control.values(), abs=1e-6)


@pytest.mark.parametrize("keys", [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("turn", [0, 1, -1])
def test_keys_in_play_give_the_rows_that_training_saw(keys: tuple[int, int], turn: int) -> None:
    """Speeds and angles are written down twice, in the world's config and in the simulator: here they meet."""
    ahead, right = keys
    held = {name for name, is_held in (("forward", ahead > 0), ("back", ahead < 0), ("right", right > 0),
                                       ("left", right < 0), ("turn_left", turn > 0), ("turn_right", turn < 0))
            if is_held}
    ours = make_row_maker(fake_config(fps=FPS)).rows(ActionSample(buttons=frozenset(held)))[0]
    trained = WalkControl.from_keys(ahead, right, turn * KEY_TURN_RAD).row()
    assert ours == pytest.approx(trained, abs=1e-7)


def test_limits_and_lens_of_play_are_those_of_the_simulator(simulator) -> None:
    controls = Explore.CONTROLS
    assert math.radians(controls.max_turn_deg_per_frame) == MAX_YAW_RAD
    # The camera's own, and not the file's: MuJoCo has another for cameras that are not told.
    assert simulator._model.cam_fovy.tolist() == [controls.vertical_fov_deg]


def test_distances_are_those_of_the_ground_and_of_what_stands_on_it(simulator) -> None:
    """Ground is seen as far down as it is far away, and what stands is not further than the ground behind it."""
    simulator.reset(3)
    simulator.step(WalkControl(pitch_up_rad=-0.1))
    stands, metres, pitch = simulator.distances()
    before = simulator.step(WalkControl())
    assert pitch == pytest.approx(-0.1) and stands.dtype == bool and stands.shape == metres.shape == (48, 64)
    tangent = math.tan(math.radians(Explore.CONTROLS.vertical_fov_deg / 2))
    y, x = np.meshgrid(((np.arange(48) + 0.5) / 24 - 1) * tangent, ((np.arange(64) + 0.5) / 32 - 1) * tangent * 4 / 3,
                       indexing="ij")
    down, ahead = y * math.cos(pitch) - math.sin(pitch), math.cos(pitch) + y * math.sin(pitch)
    on_ground_m = EYE_HEIGHT_M / np.maximum(down, 1e-6) * np.hypot(x, ahead)
    ground = ~stands & (on_ground_m < 20)
    assert ground.sum() > 300
    assert np.abs(metres[ground] / on_ground_m[ground] - 1).mean() < 0.02
    assert stands.any() and (metres[stands] < FARTHEST_M).all() and (metres[stands] < on_ground_m[stands] * 1.02).all()
    assert np.array_equal(simulator.step(WalkControl()), before)  # pictures are drawn as before


def test_head_on_obstacle_stops_and_a_slanted_one_lets_slide():
    for shape in ({"circles": [(2.0, 0.0, 0.5)]}, {"boxes": [(2.0, 0.0, 0.0, 0.5, 3.0)]}):
        walker = open_field(**shape)
        for _ in range(20):
            walker.move(WalkControl.from_keys(1, 0))
        assert walker.x == pytest.approx(1.5 - BODY_RADIUS_M)
        assert walker.blocked
    walker = open_field(boxes=[(2.0, 0.0, 0.0, 0.5, 30.0)])
    for _ in range(20):
        walker.move(WalkControl.from_keys(1, 1))
    assert walker.x == pytest.approx(1.5 - BODY_RADIUS_M)
    assert walker.y == pytest.approx(-20 * STEP_M / math.sqrt(2))
    assert not walker.blocked


def test_a_corner_between_two_obstacles_holds_the_walker():
    walker = open_field(circles=[(1.5, 0.6, 0.6), (1.5, -0.6, 0.6)])
    for _ in range(40):
        walker.move(WalkControl.from_keys(1, 0))
    assert walker.obstacles.clearance_m(walker.x, walker.y) >= BODY_RADIUS_M - 1e-6
    assert walker.x < 1.5


def test_border_cannot_be_left():
    walker = open_field()
    for _ in range(400):
        walker.move(WalkControl.from_keys(1, 0, 0.002))
    assert math.hypot(walker.x, walker.y) <= WORLD_RADIUS_M - BODY_RADIUS_M + 1e-6


def test_pitch_stops_at_its_limit_and_returns_at_once():
    walker = open_field()
    for _ in range(10):
        walker.move(WalkControl(pitch_up_rad=0.1))
    assert walker.pitch_rad == PITCH_LIMIT_RAD
    walker.move(WalkControl(pitch_up_rad=-0.1))
    assert walker.pitch_rad == pytest.approx(PITCH_LIMIT_RAD - 0.1)


def test_every_world_spawns_in_the_open_and_nothing_is_ever_entered():
    for seed in range(24):
        scene = make_scene(seed)
        assert scene.obstacles().clearance_m(*scene.spawn[:2]) >= BODY_RADIUS_M
        walker, _, poses = wander_through(seed, 200)
        gaps = [walker.obstacles.clearance_m(x, y) for x, y, *_ in poses]
        assert min(gaps) >= BODY_RADIUS_M - 1e-6


def test_same_seed_is_the_same_walk_and_another_is_not():
    first, again, other = (wander_through(seed, 60) for seed in (5, 5, 6))
    assert first[1] == again[1]
    assert np.array_equal(first[2], again[2])
    assert first[1] != other[1]


def test_player_moves_turns_rests_and_bumps():
    controls, blocked = [], 0
    for seed in range(20):
        scene = make_scene(seed)
        walker, player, seen = Walker(scene.obstacles(), *scene.spawn), wander(np.random.default_rng([seed, 1])), None
        for _ in range(239):
            controls.append(player.send(seen).values())
            walker.move(WalkControl(*controls[-1]))
            seen = Seen(walker.blocked, walker.pose)
            blocked += walker.blocked
    forward, right, yaw, pitch = np.array(controls).T
    idle = (forward == 0) & (right == 0) & (yaw == 0) & (pitch == 0)
    assert 0.04 < idle.mean() < 0.16
    assert ((forward > 0) | (yaw != 0)).mean() > 0.7
    assert 0.005 < blocked / len(controls) < 0.15
    assert np.abs(yaw).max() <= MAX_YAW_RAD + 1e-12
    assert (np.abs(yaw) < math.radians(6)).mean() > 0.9
    assert abs(yaw.mean()) < math.radians(0.3)  # neither side is preferred


def test_unknown_scenario_names_the_known_one():
    with pytest.raises(ConfigError, match="did you mean 'explore'"):
        scenarios.make("explor")


def test_same_seed_and_controls_give_the_same_frames(simulator):
    controls = [WalkControl.from_keys(1, 0, 0.05), WalkControl.from_keys(0, 1, -0.02, 0.1), WalkControl()]
    runs = [[simulator.reset(3)] + [simulator.step(control) for control in controls] for _ in range(2)]
    assert np.array_equal(runs[0], runs[1])
    assert runs[0][0].shape == (48, 64, 3) and runs[0][0].dtype == np.uint8
    assert np.array_equal(runs[0][-1], runs[0][-2])  # standing still changes nothing
    assert not np.array_equal(runs[0][0], runs[0][1])


def test_turning_left_moves_the_picture_right(simulator):
    before = simulator.reset(1).astype(float)
    after = simulator.step(WalkControl(yaw_left_rad=math.radians(8))).astype(float)
    shifts = {shift: np.abs(np.roll(before, shift, axis=1)[:, 12:-12] - after[:, 12:-12]).mean()
              for shift in range(-10, 11)}
    assert 4 <= min(shifts, key=shifts.get) <= 8  # 8 degrees of a 75 degree, 64 pixel wide picture


def test_sun_stands_where_its_direction_says(simulator):
    # seed 1 is golden hour: a low sun, so that turning to it is enough
    simulator.reset(1)
    scene = make_scene(1)
    assert scene.palette.name == "golden hour"
    simulator.walker = Walker(Obstacles(np.zeros((0, 3)), np.zeros((0, 5)), WORLD_RADIUS_M), *scene.spawn[:2],
                              scene.sun_azimuth_rad)
    toward = simulator.step(WalkControl(pitch_up_rad=math.radians(scene.palette.sun_elevation_deg)))
    away = simulator.step(WalkControl(yaw_left_rad=math.pi))
    assert toward[22:26, 30:34].mean() > away[22:26, 30:34].mean() + 20
