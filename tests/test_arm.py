"""The `arm` scenario: the hand goes where it is sent and stays in view, grasping lifts, pictures repeat for a seed."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections import Counter

import numpy as np
import pytest
from fakes import fake_config

from astra_play.actions.buttons import MEANINGS
from astra_play.actions.row_makers import make_row_maker
from astra_play.chunks import ActionSample
from astra_play.errors import DependencyError
from astra_play.train import dataset, scenarios
from astra_play.train.scenarios import arm_policy
from astra_play.train.scenarios.arm import KEY_STEP_M, MAX_STEP_M, Arm, ArmControl, player_axes
from astra_play.train.scenarios.arm_mjcf import ROBOT, asset_folder
from astra_play.train.scenarios.arm_policy import BEHAVIOURS, handle
from astra_play.train.scenarios.arm_scene import (
    AIM_UP_M,
    BLOCK_COLOURS,
    BLOCK_HALF_M,
    LEAST_CONTRAST,
    ROOMS,
    VERTICAL_FOV_DEG,
    WORKSPACE_M,
    ArmScene,
    contrast,
    make_scene,
)
from astra_play.train.scenarios.interface import Seen
from astra_play.train.scenarios.paint import rgb

FINGERTIP_M = 0.0185  # below the hand
RIGHT, AWAY, UP, OPENING, BLOCK = 0, 1, 2, 3, slice(4, 7)  # of a pose


@pytest.fixture(scope="module")
def simulator():
    """Lend an Arm, or skip where the robot's files are missing or MuJoCo cannot draw."""
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    if importlib.util.find_spec("gymnasium_robotics") is None:
        pytest.skip("gymnasium-robotics is not installed")
    arm = scenarios.make("arm", 128, 96)
    try:
        arm.reset(0)
    except Exception as error:  # GL libraries fail with errors of their own kind
        pytest.skip(f"no GL context here: {error}")
    yield arm
    arm.close()


@pytest.fixture
def unseen(simulator, monkeypatch):
    """Lend the same Arm without its pictures, which cost ten times the physics."""
    monkeypatch.setattr(simulator, "_render", lambda: None)
    return simulator


class Weightless:
    """A table without physics: the hand goes as commanded, and closed fingers around the block hold it."""

    def __init__(self, seed: int) -> None:
        scene = make_scene(seed)
        self.hand = np.array(scene.start)
        self.block = np.array([scene.blocks[0].x, scene.blocks[0].y, BLOCK_HALF_M])
        self.opening, self.holds = 0.1, False

    def step(self, control: ArmControl) -> Seen:
        wanted = np.array(control.values()[:3])
        before, self.hand = self.hand, np.clip(self.hand + wanted, *WORKSPACE_M)
        around = np.all(np.abs(self.hand - self.block) < (0.02, 0.025, 0.025))
        self.holds = control.close > 0.5 and bool(self.holds or (around and self.opening > 0.06))
        self.opening = 2 * BLOCK_HALF_M if self.holds else 0.1 * (1 - control.close)
        self.block = self.hand.copy() if self.holds else np.array([*self.block[:2], BLOCK_HALF_M])
        moved, way = np.linalg.norm(self.hand - before), np.linalg.norm(wanted)
        return Seen(bool(moved < 0.5 * way), np.array([*self.hand, self.opening, *self.block]))


def on_picture(scene: ArmScene, place: np.ndarray, width: int = 128, height: int = 96) -> tuple[float, float, float]:
    """Return (column, row, pixels per metre there) of a place in the player's axes: a pinhole camera, by hand."""
    lift, focal_px = math.radians(scene.elevation_deg), height / 2 / math.tan(math.radians(VERTICAL_FOV_DEG) / 2)
    right, away, up = np.asarray(place) - (0.0, 0.0, AIM_UP_M)
    depth = scene.distance_m + away * math.cos(lift) - up * math.sin(lift)
    above = away * math.sin(lift) + up * math.cos(lift)
    return width / 2 + focal_px * right / depth, height / 2 - focal_px * above / depth, focal_px / depth


def run(arm: Arm, control: ArmControl, frames: int) -> np.ndarray:
    """Repeat a control and return the pose after each frame."""
    poses = []
    for _ in range(frames):
        arm.step(control)
        poses.append(arm.pose)
    return np.array(poses)


def go_to(arm: Arm, place: np.ndarray, close: float = 0.0) -> None:
    for _ in range(40):
        way = np.asarray(place) - arm.pose[:3]
        if np.linalg.norm(way) < 0.002:
            return
        arm.step(ArmControl(*(way * min(1.0, KEY_STEP_M / np.linalg.norm(way))), close))


def test_keys_have_one_speed_in_all_directions():
    for keys in ((1, 0, 0), (0, -1, 0), (1, 1, 0), (-1, 1, 1)):
        assert np.linalg.norm(ArmControl.from_keys(*keys).values()[:3]) == pytest.approx(KEY_STEP_M)
    assert ArmControl.from_keys(0, 0, 0) == Arm.IDLE
    assert pytest.approx(Arm.CONTROLS.move_m_s / Arm.FPS) == KEY_STEP_M


def test_row_holds_the_control_and_no_turn():
    control = ArmControl(0.01, -0.02, 0.03, 0.5)
    assert control.row() == pytest.approx([0.01, -0.02, 0.03, 0, 0, 0, 0.5])
    assert control.values() == (0.01, -0.02, 0.03, 0.5)


def test_every_button_of_the_arm_has_a_meaning():
    assert Arm.CONTROLS.modality == "arm"
    assert set(Arm.CONTROLS.buttons) <= MEANINGS.keys()


def test_player_right_of_a_camera_opposite_the_robot_is_the_robots_left():
    right, away, up = player_axes(180)
    assert right == pytest.approx([0, 1, 0]) and away == pytest.approx([-1, 0, 0]) and up == pytest.approx([0, 0, 1])
    for azimuth_deg in (160, 200):
        axes = player_axes(azimuth_deg)
        assert axes @ axes.T == pytest.approx(np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)


def test_hand_and_blocks_stay_in_the_picture_and_blocks_are_nine_pixels_wide():
    low, high = np.array(WORKSPACE_M)
    for seed in range(60):
        scene = make_scene(seed)
        for corner in np.ndindex(2, 2, 2):
            hand = np.where(corner, high, low)
            for finger in (-0.06, 0.06):  # open fingers, outer faces
                column, row, _ = on_picture(scene, hand + (finger, 0, -FINGERTIP_M))
                assert 2 < column < 126 and 2 < row < 94, (seed, hand)
        for block in scene.blocks:
            column, row, scale = on_picture(scene, np.array([block.x, block.y, BLOCK_HALF_M]))
            assert 8 < column < 120 and 8 < row < 88
            assert 2 * BLOCK_HALF_M * scale > 9


def test_worlds_of_a_seed_are_equal_and_others_differ():
    assert make_scene(4) == make_scene(4)
    scenes = [make_scene(seed) for seed in range(60)]
    assert len({scene.room.name for scene in scenes}) == len(ROOMS)
    assert {len(scene.blocks) for scene in scenes} == {1, 2, 3}
    assert 10 < sum(scene.plate is not None for scene in scenes) < 50
    assert len({scene.blocks[0].colour for scene in scenes}) > 6


def test_blocks_lie_apart_and_stand_out_from_the_table():
    for seed in range(100):
        scene = make_scene(seed)
        for index, block in enumerate(scene.blocks):
            assert contrast(block.colour, scene.room.table) >= LEAST_CONTRAST
            assert scene.mat is None or contrast(block.colour, scene.mat[2]) >= LEAST_CONTRAST
            for other in scene.blocks[:index]:
                assert math.dist((block.x, block.y), (other.x, other.y)) > 0.11 and block.colour != other.colour


def test_every_table_leaves_a_colour_for_each_block_and_the_plate():
    for room in ROOMS:
        for ground in (room.table, *room.mats):
            usable = [c for c in BLOCK_COLOURS if min(contrast(c, room.table), contrast(c, ground)) >= LEAST_CONTRAST]
            assert len(usable) >= 4, (room.name, ground)


def test_player_does_everything_and_nothing_too_fast(monkeypatch):
    begun: Counter[str] = Counter()

    def counted(name: str, behave):
        def begin(self):
            begun[name] += 1
            yield from behave(self)
        return begin

    for name in BEHAVIOURS:
        monkeypatch.setattr(arm_policy._Hand, name, counted(name, getattr(arm_policy._Hand, name)))
    controls, heights, blocked = [], [], []
    for seed in range(40):
        table, player, seen = Weightless(seed), handle(np.random.default_rng([seed, 1])), None
        for _ in range(239):
            controls.append(player.send(seen))
            seen = table.step(controls[-1])
            heights.append(seen.pose[6])
            blocked.append(seen.blocked)
    assert begun.keys() == BEHAVIOURS.keys() and min(begun.values()) > 5
    commanded = np.array([control.values() for control in controls])
    lengths = np.linalg.norm(commanded[:, :3], axis=1)
    assert lengths.max() <= MAX_STEP_M + 1e-9
    assert 0.15 < (lengths == 0).mean() < 0.45
    assert 0.2 < (commanded[:, 3] > 0.5).mean() < 0.6
    assert 0.05 < (np.array(heights) > 0.05).mean() < 0.5  # carried
    assert 0.005 < np.mean(blocked) < 0.15
    assert np.abs(commanded[:, :3].mean(axis=0)).max() < 0.002  # no way is preferred
    assert sum(BEHAVIOURS.values()) == pytest.approx(1)


def test_player_repeats_for_a_seed():
    def play(seed: int) -> list[ArmControl]:
        table, player, seen, controls = Weightless(2), handle(np.random.default_rng(seed)), None, []
        for _ in range(80):
            controls.append(player.send(seen))
            seen = table.step(controls[-1])
        return controls

    assert play(5) == play(5) != play(6)


def test_a_seen_is_not_taken_for_blocked():
    with pytest.raises(TypeError, match="blocked"):
        bool(Seen(True, np.zeros(7)))


def test_missing_robot_files_are_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"gymnasium-robotics.*pip install 'astra-play\[train\]'"):
        asset_folder()


def test_same_seed_and_controls_give_the_same_frames_and_poses(simulator):
    controls = [ArmControl.from_keys(1, 0, -1, 1.0), ArmControl.from_keys(0, 1, 0, 0.3), ArmControl(), ArmControl()]
    runs = []
    for _ in range(2):
        frames, poses = [simulator.reset(3)], [simulator.pose]
        for control in controls * 3:
            frames.append(simulator.step(control))
            poses.append(simulator.pose)
        runs.append((np.array(frames), np.array(poses)))
    assert np.array_equal(runs[0][0], runs[1][0]) and np.array_equal(runs[0][1], runs[1][1])
    assert runs[0][0].shape == (13, 96, 128, 3) and runs[0][0].dtype == np.uint8
    assert runs[0][1].shape == (13, 7) and runs[0][1].dtype == np.float64
    assert not np.array_equal(simulator.reset(4), runs[0][0][0])


def test_robot_is_seen_in_our_own_shapes_only(simulator):
    mujoco = pytest.importorskip("mujoco")
    simulator.reset(2)
    model = simulator._model
    seen = {int(model.geom_type[geom]) for geom in range(model.ngeom)
            if model.body(model.geom_bodyid[geom]).name.startswith(ROBOT) and model.geom_rgba[geom, 3] > 0}
    assert seen and mujoco.mjtGeom.mjGEOM_MESH not in seen
    assert not any(model.geom_rgba[geom, 3] for geom in range(model.ngeom)
                   if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH)


def test_hand_goes_exactly_as_commanded_and_rests_when_nothing_is(unseen):
    unseen.reset(1)
    go_to(unseen, np.array([0.0, 0.0, 0.12]))
    for control in (ArmControl(KEY_STEP_M), ArmControl(0, -KEY_STEP_M), ArmControl(0, 0, MAX_STEP_M), ArmControl()):
        before = unseen.pose
        unseen.step(control)
        moved = unseen.pose[:3] - before[:3]
        assert moved == pytest.approx(control.values()[:3], abs=0.0015)
        assert not unseen.blocked
    rest = run(unseen, ArmControl(), 8)
    assert np.abs(rest[2:, :3] - rest[2, :3]).max() < 1e-4


@pytest.mark.parametrize(("control", "across", "down"), [
    (ArmControl(0.03), 1, 0), (ArmControl(-0.03), -1, 0), (ArmControl(0, 0, 0.03), 0, -1),
    (ArmControl(0, -0.03), 0, 1)])
def test_hand_moves_on_the_picture_as_the_player_means_it(simulator, control, across, down):
    """Painted fingers are looked for in the picture, so this does not trust any formula of the axes."""
    simulator.reset(2)  # whose hand starts far from every limit
    model = simulator._model
    for geom in range(model.ngeom):
        name = model.body(model.geom_bodyid[geom]).name
        if name.startswith(ROBOT):  # the hand above would hide more of one finger than of the other
            model.geom_rgba[geom] = 1, 0, 1, 1 if "finger" in name else 0

    def middle(frame: np.ndarray) -> np.ndarray:
        red, green, blue = np.moveaxis(frame.astype(int), 2, 0)
        rows, columns = np.nonzero((np.minimum(red, blue) > 60) & (green < 30))
        assert len(rows) > 10
        # of what they span: the mean would follow the light, which may leave one finger dark
        return np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2

    before = middle(simulator.step(ArmControl()))
    for _ in range(2):
        frame = simulator.step(control)
    moved = middle(frame) - before
    for wanted, got in zip((across, down), moved, strict=True):
        assert got * wanted > 4 if wanted else abs(got) < 2


def test_block_is_drawn_where_its_pose_says(simulator):
    for seed in (1, 12):
        frame = simulator.reset(seed)
        column, row, _ = on_picture(simulator.scene, simulator.pose[BLOCK] + (0, 0, BLOCK_HALF_M / 2))
        shown = frame[round(row), round(column)] / 255
        wanted = rgb(simulator.scene.blocks[0].colour)
        assert float(shown @ wanted) / (np.linalg.norm(shown) * np.linalg.norm(wanted)) > 0.95


@pytest.mark.parametrize("seed", [0, 5, 9])
def test_closing_on_the_block_and_rising_lifts_it_and_opening_drops_it(unseen, seed):
    unseen.reset(seed)
    above = unseen.pose[BLOCK] + (0, 0, 0.07)
    go_to(unseen, [*unseen.pose[:2], 0.1])
    go_to(unseen, above)
    go_to(unseen, unseen.pose[BLOCK])
    closing = run(unseen, ArmControl(close=1.0), 6)[:, OPENING]
    assert closing[0] > closing[1] > 2 * BLOCK_HALF_M - 0.003  # seen to close, and not through the block
    held = run(unseen, ArmControl.from_keys(0, 0, 1, 1.0), 8)
    assert held[-1, 6] > BLOCK_HALF_M + 0.09
    assert np.abs(held[-1, 4:6] - held[-1, :2]).max() < 0.02
    dropped = run(unseen, ArmControl(), 14)
    assert dropped[-1, 6] == pytest.approx(BLOCK_HALF_M, abs=0.003)
    assert dropped[-1, OPENING] == pytest.approx(0.1, abs=0.004)


def test_fingers_beside_the_block_lift_nothing(unseen):
    unseen.reset(5)
    go_to(unseen, unseen.pose[BLOCK] + (0.1, 0, 0.07))
    go_to(unseen, unseen.pose[BLOCK] + (0.1, 0, 0))
    run(unseen, ArmControl(close=1.0), 6)
    after = run(unseen, ArmControl.from_keys(0, 0, 1, 1.0), 6)
    assert after[-1, 6] < BLOCK_HALF_M + 0.01 and after[-1, OPENING] < 0.01


def test_limits_of_the_workspace_and_the_table_hold_the_hand(unseen):
    unseen.reset(2)
    go_to(unseen, np.array([0.0, 0.0, 0.15]))
    for axis, sign in ((RIGHT, 1), (RIGHT, -1), (AWAY, 1), (AWAY, -1), (UP, 1), (UP, -1)):
        keys = [0, 0, 0]
        keys[axis] = sign
        poses = run(unseen, ArmControl.from_keys(*keys), 28)
        assert unseen.blocked
        assert poses[-1, axis] == pytest.approx(WORKSPACE_M[sign > 0][axis], abs=0.003)
        unseen.step(ArmControl.from_keys(*(-key for key in keys)))
        assert not unseen.blocked  # the way back is free at once
        go_to(unseen, np.array([0.0, 0.0, 0.15]))


def test_episode_holds_rows_poses_and_controls_of_the_arm(simulator, tmp_path):
    dataset.make_episode(tmp_path, dataset.Settings("arm", Arm.FPS, 32, 24, 30), 1)
    episode = dataset.read_episode(next(tmp_path.glob("*.npz")))
    assert episode.frames.shape == (30, 24, 32, 3)
    assert episode.rows.shape == (30, 7) and episode.poses.shape == (30, 7) and episode.controls.shape == (30, 4)
    assert np.array_equal(episode.rows[:, (0, 1, 2, 6)], episode.controls) and not episode.rows[0].any()
    moved = np.diff(episode.poses[:, :3], axis=0)
    assert np.abs(moved - episode.controls[1:, :3]).max() < 0.01  # row t leads into frame t


def test_row_is_the_way_that_the_hand_goes_where_no_block_is_in_it(simulator):
    """At the ends of the workspace too, to which a player and the rows of training then agree."""
    for seed, keys in ((3, (1, 1, 1)), (5, (-1, 0, 1)), (6, (0, -1, 0))):
        simulator.reset(seed)
        go_to(simulator, np.array([0.1 * keys[0], 0.06 * keys[1], 0.16]))
        maker = make_row_maker(dataclasses.replace(fake_config(fps=16), controls=Arm.CONTROLS))
        maker.reset(tuple(simulator.hand))
        held = ActionSample(frozenset(name for name, key in (
            ("right", keys[0]), ("left", -keys[0]), ("forward", keys[1]), ("back", -keys[1]), ("up", keys[2]))
            if key > 0))
        control, cut = ArmControl.from_keys(*keys), 0
        for _ in range(20):
            before, row = simulator.hand, simulator.row(control)
            simulator.step(control)
            assert simulator.hand - before == pytest.approx(row[:3], abs=0.002)
            assert maker.rows(held)[0] == pytest.approx(row, abs=0.002)
            cut += bool(np.abs(row - control.row()).max() > 1e-6)
        assert cut > 3
