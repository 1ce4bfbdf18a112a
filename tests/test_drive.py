"""The `drive` scenario: a car that obeys its equations, roads that can be driven, pictures that repeat for a seed."""

from __future__ import annotations

import dataclasses
import functools
import math

import naive_vehicle
import numpy as np
import pytest

from astra_play.actions import rows, vehicle
from astra_play.actions.vehicle import Car
from astra_play.train import scenarios
from astra_play.train.scenarios import drive_mjcf
from astra_play.train.scenarios.drive import BODY_RADIUS_M, FPS, FRAME_S, Drive, DriveControl, Ride
from astra_play.train.scenarios.drive_policy import drive
from astra_play.train.scenarios.drive_scene import THEMES, WORLD_RADIUS_M, Scene, make_scene
from astra_play.train.scenarios.drive_track import MIN_RADIUS_M, OWN_DISTANCE_M, RADIUS_SLACK
from astra_play.train.scenarios.interface import Seen
from astra_play.train.scenarios.scenery import Obstacles, Spot


@pytest.fixture(scope="module")
def simulator():
    """Lend a Drive, or skip where MuJoCo cannot draw."""
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    simulator = scenarios.make("drive", 64, 48)
    try:
        simulator.reset(0)
    except Exception as error:  # GL libraries fail with errors of their own kind
        pytest.skip(f"no GL context here: {error}")
    yield simulator
    simulator.close()


@functools.cache
def world(seed: int) -> Scene:
    return make_scene(seed)


def drive_about(seed: int, num_frames: int) -> tuple[Ride, np.ndarray, np.ndarray, np.ndarray]:
    """Return (ride, controls (F, 3), poses (F, 5), blocked (F,)) of the policy in the world of a seed."""
    ride = Ride(world(seed))
    player, seen = drive(np.random.default_rng([seed, 1]), ride), None
    controls, poses, bumps = [], [], []
    for _ in range(num_frames):
        control = player.send(seen)
        ride.move(control)
        seen = Seen(ride.blocked, ride.pose)
        controls.append(control.values())
        poses.append(ride.pose)
        bumps.append(ride.blocked)
    return ride, np.array(controls), np.array(poses), np.array(bumps)


def open_land(circles=(), boxes=()) -> Ride:
    """Return a ride that stands at the origin and looks east, with nothing about but these obstacles."""
    ride = Ride(world(0))
    ride.x, ride.y, ride.yaw_rad = 0.0, 0.0, 0.0
    ride.obstacles = Obstacles(np.array(circles, dtype=float).reshape(-1, 3),
                               np.array(boxes, dtype=float).reshape(-1, 5), WORLD_RADIUS_M)
    return ride


# --- the car


@pytest.mark.parametrize("speed", [0.0, 0.2, 5.0, 13.5, -0.1, -3.0])
@pytest.mark.parametrize("throttle", [-1.0, -0.3, 0.0, 0.05, 0.5, 1.0])
def test_speed_and_way_are_those_of_a_thousand_small_steps(speed: float, throttle: float) -> None:
    car = Car()
    car.speed_m_s = speed
    forward, left, yaw = car.step(throttle, 0.0, FRAME_S)
    expected_speed, expected_way = naive_vehicle.speed_and_way(speed, throttle, FRAME_S)
    assert car.speed_m_s == pytest.approx(expected_speed, abs=1e-3)
    assert forward == pytest.approx(expected_way, abs=1e-3)
    assert left == 0 and yaw == 0


@pytest.mark.parametrize("lock", [-1.0, -0.15, 0.0, 0.1, 0.8])
@pytest.mark.parametrize("steer", [-1.0, 0.0, 0.3, 1.0])
def test_wheels_follow_the_steering_wheel_as_in_small_steps(lock: float, steer: float) -> None:
    car = Car()
    car.lock = lock
    car.step(0.0, steer, FRAME_S)
    assert car.lock == pytest.approx(naive_vehicle.lock_after(lock, steer, FRAME_S), abs=6e-3)


@pytest.mark.parametrize("speed", [-3.0, 2.0, 8.0, 14.0])
@pytest.mark.parametrize("lock", [-1.0, 0.4, 1.0])
def test_held_wheels_drive_along_the_arc_of_the_rear_axle(speed: float, lock: float) -> None:
    car = Car()
    car.speed_m_s, car.lock = speed, lock
    motion = car.step(0.0, lock, FRAME_S)
    angle = lock * vehicle.wheel_limit_rad((speed + car.speed_m_s) / 2)
    way = naive_vehicle.speed_and_way(speed, 0.0, FRAME_S)[1]
    assert motion == pytest.approx(naive_vehicle.motion(way, angle), abs=1e-3)


def test_two_half_frames_drive_as_far_as_one() -> None:
    whole, halves = Car(), Car()
    for throttle in (1.0, 1.0, 0.3, 0.0, -0.5):
        way = whole.step(throttle, 0.0, FRAME_S)[0]
        assert way == pytest.approx(sum(halves.step(throttle, 0.0, FRAME_S / 2)[0] for _ in range(2)))
    assert whole.speed_m_s == pytest.approx(halves.speed_m_s) and whole.speed_m_s > 0


def test_top_speeds_are_tended_to_and_never_passed() -> None:
    for throttle, top in ((1.0, vehicle.TOP_SPEED_M_S), (-1.0, vehicle.REVERSE_SPEED_M_S)):
        car = Car()
        speeds = []
        for _ in range(30 * FPS):
            car.step(throttle, 0.0, FRAME_S)
            speeds.append(abs(car.speed_m_s))
        assert speeds == sorted(speeds)
        assert 0.99 * top < speeds[-1] <= top


def test_brake_halts_first_and_drives_backwards_only_in_the_next_frame() -> None:
    car = Car()
    car.speed_m_s = 6.0
    speeds = []
    for _ in range(2 * FPS):
        car.step(-1.0, 0.0, FRAME_S)
        speeds.append(car.speed_m_s)
    halt = speeds.index(0.0)
    assert all(speed > 0 for speed in speeds[:halt]) and all(speed < 0 for speed in speeds[halt + 1:])
    assert 0.4 < halt / FPS < 0.7  # 6 m/s at a little more than 9 m/s^2


def test_car_let_roll_comes_to_rest_within_seconds() -> None:
    for speed, longest_s in ((vehicle.TOP_SPEED_M_S, 8.0), (-vehicle.REVERSE_SPEED_M_S, 4.0)):
        car = Car()
        car.speed_m_s = speed
        frames = 0
        while car.speed_m_s and frames < 1000:
            car.step(0.0, 0.0, FRAME_S)
            frames += 1
        assert 1.0 < frames * FRAME_S < longest_s


def test_standing_car_without_gas_stays_however_the_wheel_is_turned() -> None:
    car = Car()
    for steer in (1.0, -1.0, 0.2):
        assert car.step(0.0, steer, FRAME_S) == (0.0, 0.0, 0.0)
    assert car.lock != 0


def test_steering_is_mirrored_and_turns_left_for_plus() -> None:
    left, right = Car(), Car()
    for _ in range(20):
        a, b = left.step(1.0, 0.7, FRAME_S), right.step(1.0, -0.7, FRAME_S)
        assert a == pytest.approx((b[0], -b[1], -b[2]))
    assert a[1] > 0 and a[2] > 0


def test_steering_narrows_with_speed_and_stays_within_grip_and_the_fastest_turn() -> None:
    limits = [vehicle.wheel_limit_rad(speed) for speed in (0, 4, 6, 10, 14)]
    assert limits[0] == limits[1] == vehicle.MAX_WHEEL_RAD
    assert limits[1] > limits[2] > limits[3] > limits[4]
    rng, car = np.random.default_rng(0), Car()
    fastest = 0.0
    for frame in range(3000):
        if frame % 12 == 0:
            throttle, steer = rng.choice((-1, 0, 1, 1)), rng.choice((-1, 0, 1))
        _, _, yaw = car.step(throttle, steer, FRAME_S)
        fastest = max(fastest, abs(yaw) / FRAME_S)
        assert abs(yaw / FRAME_S * car.speed_m_s) < 1.15 * vehicle.MAX_SIDE_M_S2
    assert 0.9 * vehicle.max_yaw_rad_s() < fastest < 1.001 * vehicle.max_yaw_rad_s()


def test_pedals_and_wheel_beyond_their_ends_are_cut() -> None:
    ordinary, pressed = Car(), Car()
    for _ in range(5):
        assert ordinary.step(1.0, -1.0, FRAME_S) == pressed.step(3.0, -9.0, FRAME_S)


# --- the world


def test_roads_are_closed_smooth_wide_apart_and_wind_both_ways() -> None:
    for seed in range(12):
        track = world(seed).track
        steps = np.hypot(*(np.roll(track.line, -1, axis=0) - track.line).T)
        assert steps.max() < 1.1 and steps.min() > 0.8
        assert 1 / np.abs(track.curvature).max() > MIN_RADIUS_M[0] * (1 - 2 * RADIUS_SLACK)
        assert track.curvature.sum() * track.step_m == pytest.approx(2 * math.pi)
        assert track.curvature.min() < -1 / 80
        assert OWN_DISTANCE_M > 2 * (world(seed).half_width_m + 2)
        assert np.hypot(*track.line.T).max() < WORLD_RADIUS_M - 12


def test_place_beside_a_road_is_found_again() -> None:
    track = world(3).track
    for along, left in ((0.0, 2.0), (100.3, -3.0), (track.length_m + 40.0, 1.0)):
        x, y, _ = track.place(along, left)
        found_along, found_left = track.nearest(x, y)
        assert math.remainder(found_along - along, track.length_m) == pytest.approx(0.0, abs=1.0)
        assert found_left == pytest.approx(left, abs=0.1)


def test_nothing_solid_but_parked_cars_stands_on_a_road_and_every_spawn_is_free() -> None:
    themes = set()
    for seed in range(16):
        scene = world(seed)
        themes.add(scene.theme)
        obstacles = scene.obstacles()
        assert obstacles.clearance_m(*scene.spawn[:2]) > BODY_RADIUS_M
        obstacles = dataclasses.replace(scene, parked=[]).obstacles()
        assert not scene.parked or scene.theme == "town"
        for x, y in scene.track.line[::4]:
            assert obstacles.clearance_m(x, y) > scene.half_width_m
    assert themes == set(THEMES)


def test_same_seed_is_the_same_world() -> None:
    again = make_scene(3)
    for name, value in vars(world(3)).items():
        if name != "track":
            assert getattr(again, name) == value, name
    assert np.array_equal(again.track.line, world(3).track.line)


def test_worlds_differ_in_palette_road_and_layout() -> None:
    scenes = [world(seed) for seed in range(16)]
    assert len({scene.palette.name for scene in scenes}) >= 6
    assert len({round(scene.track.length_m, 3) for scene in scenes}) == 16


# --- the ride


def test_open_land_takes_exactly_the_commanded_motion() -> None:
    ride, car = open_land(), Car()
    for throttle, steer in ((1, 0), (1, 1), (1, 1), (0.5, -1), (-1, 0.3)) * 4:
        control = DriveControl.from_pedals(car, throttle, steer)
        before = ride.pose
        ride.move(control)
        dx, dy = ride.pose[:2] - before[:2]
        cos, sin = math.cos(before[3]), math.sin(before[3])
        assert dx * cos + dy * sin == pytest.approx(control.forward_m)
        assert dy * cos - dx * sin == pytest.approx(control.left_m)
        assert ride.pose[3] == before[3] + control.yaw_left_rad
        assert ride.pose[4] == pytest.approx(control.forward_m * FPS)
        assert not ride.blocked


def test_row_gives_the_control_back() -> None:
    control = DriveControl(0.61, -0.02, 0.07)
    assert rows.vehicle_motion(control.row()) == pytest.approx(control.values(), abs=1e-6)
    assert np.array_equal(DriveControl().row(), rows.idle_row("vehicle"))


def test_head_on_obstacle_stops_the_car_while_the_row_stays_the_commanded_motion() -> None:
    for shape in ({"circles": [(6.0, 0.0, 0.5)]}, {"boxes": [(6.0, 0.0, 0.0, 0.5, 3.0)]}):
        ride, car = open_land(**shape), Car()
        for _ in range(40):
            control = DriveControl.from_pedals(car, 1.0, 0.0)
            ride.move(control)
        assert ride.x == pytest.approx(5.5 - BODY_RADIUS_M)
        assert ride.blocked and ride.pose[4] == pytest.approx(0.0, abs=1e-9)
        assert rows.vehicle_motion(control.row())[0] == pytest.approx(control.forward_m) and control.forward_m > 0.4


def test_slanted_rail_lets_the_car_slide_along() -> None:
    ride, car = open_land(boxes=[(0.0, -2.0, 0.0, 60.0, 0.2)]), Car()
    ride.yaw_rad = -0.3
    for _ in range(40):
        ride.move(DriveControl.from_pedals(car, 1.0, 0.0))
    assert ride.y == pytest.approx(BODY_RADIUS_M - 1.8)
    assert ride.x > 8 and not ride.blocked


def test_border_cannot_be_left() -> None:
    ride, car = open_land(), Car()
    for _ in range(14 * FPS):
        ride.move(DriveControl.from_pedals(car, 1.0, 0.0))
    assert math.hypot(ride.x, ride.y) == pytest.approx(WORLD_RADIUS_M - BODY_RADIUS_M)
    assert ride.blocked


# --- the driver


def test_same_seed_is_the_same_drive_and_another_is_not() -> None:
    first, again, other = (drive_about(seed, 60) for seed in (5, 5, 6))
    assert np.array_equal(first[1], again[1]) and np.array_equal(first[2], again[2])
    assert not np.array_equal(first[1], other[1])


def test_driver_goes_on_the_road_and_off_it_both_ways_forwards_and_back_and_is_never_inside_things() -> None:
    controls, bumps, aside, along, gaps = [], [], [], [], []
    for seed in range(16):
        ride, commanded, poses, blocked = drive_about(seed, 239)
        controls.append(commanded)
        bumps.append(blocked)
        track = ride.scene.track
        for x, y, _, yaw, _ in poses[::6]:
            at, left = track.nearest(x, y)
            aside.append(abs(left) / ride.scene.half_width_m)
            along.append(math.cos(yaw - track.heading[track.index(at)]))
            gaps.append(ride.obstacles.clearance_m(x, y))
    forward, left, yaw = np.concatenate(controls).T
    aside, along, idle = np.array(aside), np.array(along), (forward == 0) & (yaw == 0)
    assert min(gaps) >= BODY_RADIUS_M - 1e-6
    assert 0.03 < idle.mean() < 0.16
    assert (forward > 0.01).mean() > 0.7
    assert 0.02 < (forward < -0.01).mean() < 0.15
    assert (forward > 8 / FPS).mean() > 0.15
    assert 0.005 < np.concatenate(bumps).mean() < 0.1
    assert 0.7 < (aside < 1).mean() < 0.95 and (aside > 1.6).mean() > 0.02
    assert (along > 0.7).mean() > 0.25 and (along < -0.7).mean() > 0.15
    assert np.abs(np.degrees(yaw)).max() <= Drive.CONTROLS.max_turn_deg_per_frame
    assert abs(np.degrees(yaw).mean()) < 0.5
    assert np.abs(left).max() < 0.2


# --- the pictures


def test_lens_limits_and_buttons_of_play_are_those_of_the_simulator() -> None:
    controls = Drive.CONTROLS
    assert controls.modality == "vehicle" and controls.buttons == (
        "accelerate", "brake", "steer_left", "steer_right")
    text = drive_mjcf._Mjcf(world(0), 64, 48).text()
    assert text.count(f'fovy="{controls.vertical_fov_deg:g}"') == 2  # the file's and the camera's own, which counts
    assert f'<camera name="eye" pos="0 0 {controls.eye_height_m:g}"' in text
    assert controls.max_turn_deg_per_frame == pytest.approx(math.degrees(vehicle.max_yaw_rad_s()) / FPS)


def test_blocks_show_their_faces_to_the_outside() -> None:
    """What is wound the other way is not drawn: one could look through it."""
    spot = Spot(3.0, -2.0, 0.7, 1.0, "#ffffff")
    for block in (drive_mjcf._box(3.0, -2.0, 1.0, 0.5, 0.2, 0.9, 0.4), drive_mjcf._diamond(spot, 2.0, 0.6, 0.05),
                  drive_mjcf._taper(3.0, -2.0, 0.0, 2.0, (2.0, 1.0), (1.0, 0.5), 2.0),
                  drive_mjcf._prism(3.0, -2.0, 1.0, 0.2, 1.0), drive_mjcf._wheel(3.0, -2.0, 1.0, side=-1)):
        normals = np.cross(block[:, 1] - block[:, 0], block[:, 2] - block[:, 0])
        outward = block.mean(axis=1) - block.reshape(-1, 3).mean(axis=0)
        assert ((normals * outward).sum(axis=1) > 0).all()


def test_raised_strips_face_up_and_to_both_sides() -> None:
    track = world(3).track
    right, left = (np.concatenate([line, line[:1]]) for line in (track.edge(-5.0), track.edge(-4.0)))
    for triangles, towards in ((drive_mjcf._ribbon(right, left, 0.1), None),
                               (drive_mjcf._wall(left, 0.0, 0.1, outward=1), track.left),
                               (drive_mjcf._wall(right, 0.0, 0.1, outward=-1), -track.left)):
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        if towards is None:
            assert (normals[:, 2] > 0).all()
        else:
            assert ((normals[:, :2] * np.repeat(towards, 2, axis=0)).sum(axis=1) > 0).all()


def test_same_seed_and_controls_give_the_same_frames_and_rows_lead_into_them(simulator) -> None:
    controls = [DriveControl(0.6, 0.02, 0.06), DriveControl(0.6, -0.02, -0.03), DriveControl()]
    runs = []
    for _ in range(2):
        frames, poses = [simulator.reset(4)], [simulator.pose]
        for control in controls:
            frames.append(simulator.step(control))
            poses.append(simulator.pose)
        runs.append((frames, np.array(poses)))
    (frames, poses), again = runs
    assert np.array_equal(frames, again[0]) and np.array_equal(poses, again[1])
    assert frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8
    for index, control in enumerate(controls, start=1):  # frame t shows the place to which row t led
        changed = np.abs(frames[index].astype(int) - frames[index - 1]).mean()
        assert (changed > 1) == any(control.values())
        assert poses[index, 3] - poses[index - 1, 3] == pytest.approx(rows.vehicle_motion(control.row())[2], abs=1e-6)


def test_turning_left_moves_the_picture_right_but_not_the_own_bonnet(simulator) -> None:
    before = simulator.reset(1).astype(float)
    after = simulator.step(DriveControl(yaw_left_rad=math.radians(8))).astype(float)
    shifts = {shift: np.abs(np.roll(before, shift, axis=1)[:36, 12:-12] - after[:36, 12:-12]).mean()
              for shift in range(-10, 11)}
    assert 4 <= min(shifts, key=shifts.get) <= 8  # 8 degrees of a 75 degree, 64 pixel wide picture
    assert np.abs(before[46:, 20:44] - after[46:, 20:44]).max() < 20  # only the light on it changes


def test_policy_by_name_plays_the_simulator(simulator) -> None:
    simulator.reset(2)
    player = scenarios.player("drive", np.random.default_rng(1), simulator)
    frame, seen = None, None
    for _ in range(20):
        frame = simulator.step(player.send(seen))
        seen = Seen(simulator.blocked, simulator.pose)
    assert frame.std() > 15
