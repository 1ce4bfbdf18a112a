"""The `doom` scenario: a WAD is read and written back, starts are places, and the engine walks exactly as told."""

from __future__ import annotations

import base64
import hashlib
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_config

from astra_play.actions import row_makers
from astra_play.chunks import ActionSample
from astra_play.config import ControlsConfig
from astra_play.errors import DataError
from astra_play.train import scenarios
from astra_play.train.scenarios import doom_map, doom_wad, doom_wheel
from astra_play.train.scenarios.doom import (
    GAMES,
    UNITS_PER_M,
    USE_AFTER_FRAMES,
    USE_EVERY_FRAMES,
    _uses,
    maps_of_game,
    shows_something,
    tics_of_frame,
)
from astra_play.train.scenarios.doom_policy import LONG_PATIENCE_FRAMES, wander
from astra_play.train.scenarios.explore import EYE_HEIGHT_M, FPS, PITCH_LIMIT_RAD, STEP_M, WalkControl
from astra_play.train.scenarios.interface import Seen
from astra_play.train.scenarios.policy import MAX_YAW_RAD

IMP, TREE, CORPSE = 3001, 54, 15


def two_rooms(step_units: int = 16, ceiling: int = 200, things=((200, 300, 0, IMP, 7),)) -> doom_wad.MapTables:
    """Return two square rooms side by side, 800 wide; the floor of the right one is `step_units` higher."""
    vertexes = np.array([(0, 0), (0, 800), (800, 800), (800, 0), (1600, 800), (1600, 0)], doom_wad.VERTEX)
    none = doom_wad.NO_SIDE
    # clockwise around each room, so that the right side of a line faces into it
    lines = [(0, 1, 1, 0, 0, 0, none), (1, 2, 1, 0, 0, 1, none), (2, 3, 4, 0, 0, 2, 3), (3, 0, 1, 11, 0, 4, none),
             (2, 4, 1, 0, 0, 5, none), (4, 5, 1, 26, 0, 6, none), (5, 3, 1, 0, 0, 7, none)]
    sides = [(0, 0, b"-", b"-", b"BRICK", sector) for sector in (0, 0, 0, 1, 0, 1, 1, 1)]
    sectors = [(0, ceiling, b"FLOOR", b"CEIL", 0, 9, 0), (step_units, ceiling, b"FLOOR", b"CEIL", 255, 0, 0)]
    return doom_wad.MapTables(np.array(list(things), doom_wad.THING), np.array(lines, doom_wad.LINEDEF),
                              np.array(sides, doom_wad.SIDEDEF), vertexes, np.array(sectors, doom_wad.SECTOR))


def lumps_of(tables: doom_wad.MapTables) -> dict[str, bytes]:
    return {name: getattr(tables, name.lower()).tobytes() for name in doom_wad._TABLES} | {"NODES": b"bsp"}


def wad_with(tables: doom_wad.MapTables, name: str = "MAP01") -> doom_wad.Wad:
    return doom_wad.map_wad(name, lumps_of(tables), tables)


# reading and writing WADs, without the engine

def test_wad_gives_back_the_maps_that_were_written():
    tables = two_rooms()
    wad = doom_wad.Wad([doom_wad.Lump("PLAYPAL", b"\1\2"), *wad_with(tables, "E1M1").lumps,
                        *wad_with(two_rooms(40), "MAP07").lumps, doom_wad.Lump("MAP08", b"")], "IWAD")
    again = doom_wad.Wad.parse(wad.to_bytes())
    assert again.kind == "IWAD" and again.lumps == wad.lumps
    assert again.map_names() == ["E1M1", "MAP07"]
    read = doom_wad.read_tables(again.map_lumps("E1M1"))
    assert all(np.array_equal(getattr(read, name), getattr(tables, name)) for name in vars(tables))
    assert doom_wad.read_tables(again.map_lumps("MAP07")).sectors["floor"].tolist() == [0, 40]
    assert again.map_lumps("E1M1")["NODES"] == b"bsp"


def test_wad_has_the_bytes_of_the_format():
    content = doom_wad.Wad([doom_wad.Lump("AB", b"xyz")]).to_bytes()
    assert content == b"PWAD\1\0\0\0\x0f\0\0\0" + b"xyz" + b"\x0c\0\0\0\3\0\0\0AB\0\0\0\0\0\0"


@pytest.mark.parametrize("content, complaint", [
    (b"ZIP!" + bytes(20), "not a WAD"), (b"PWAD", "not a WAD"), (b"PWAD\x09\0\0\0\x0c\0\0\0", "cut off"),
    (b"PWAD\1\0\0\0\x0c\0\0\0" + b"\0\1\0\0\7\0\0\0AB\0\0\0\0\0\0", "damaged")])
def test_broken_wad_is_named_as_such(content: bytes, complaint: str):
    with pytest.raises(DataError, match=complaint):
        doom_wad.Wad.parse(content, "some.wad")


def test_missing_map_and_half_a_record_are_errors():
    wad = wad_with(two_rooms())
    with pytest.raises(DataError, match="the maps are MAP01"):
        wad.map_lumps("MAP02")
    with pytest.raises(DataError, match="lacks SECTORS"):
        doom_wad.Wad([lump for lump in wad.lumps if lump.name != "SECTORS"]).map_lumps("MAP01")
    with pytest.raises(DataError, match="THINGS has 9 bytes"):
        doom_wad.read_tables(lumps_of(two_rooms()) | {"THINGS": bytes(9)})


# the plan view and the start

def test_rays_stop_at_walls_and_at_steps_that_are_too_high_to_climb():
    east_west = np.array([0.0, math.pi])
    assert doom_map.Walls(two_rooms(24)).clearance(200, 300, east_west) == pytest.approx([1400, 200])
    assert doom_map.Walls(two_rooms(25)).clearance(200, 300, east_west) == pytest.approx([600, 200])
    # down the same step one can go, and under a low lintel one cannot
    assert doom_map.Walls(two_rooms(25)).clearance(1000, 300, east_west) == pytest.approx([600, 1000])
    assert doom_map.Walls(two_rooms(0, ceiling=55)).clearance(1000, 300, east_west) == pytest.approx([600, 200])


def test_sector_is_known_on_both_sides_of_a_line_and_outside():
    walls = doom_map.Walls(two_rooms())
    assert [walls.sector_at(x, 300) for x in (10, 790, 810, 1590)] == [0, 0, 1, 1]
    assert walls.sector_at(5000, 300) == -1


@pytest.mark.parametrize("things, ceiling", [
    ([(12, 400, 0, IMP, 7)], 200),  # with the shoulder in a wall
    ([(5000, 5000, 0, IMP, 7)], 200),  # outside
    ([(200, 300, 0, IMP, 7)], 55),  # with the head in the ceiling
    ([], 200)])
def test_starts_where_nobody_can_stand_are_rejected(things: list, ceiling: int):
    tables = two_rooms(things=things, ceiling=ceiling)
    assert doom_map.find_start(tables, np.random.default_rng(0)) is None


def test_a_narrow_room_is_no_start_and_an_open_one_is_left_facing_open_ground():
    narrow = two_rooms()
    narrow.vertexes["y"] = np.minimum(narrow.vertexes["y"], 100)
    narrow.things["y"] = 50
    assert doom_map.find_start(narrow, np.random.default_rng(0)) is None
    tables = two_rooms(things=[(120, 400, 0, IMP, 7), (400, 400, 0, TREE, 7)])
    walls, yaws = doom_map.Walls(tables), set()
    for seed in range(20):
        start = doom_map.find_start(tables, np.random.default_rng(seed))
        assert (start.x, start.y) == (400, 400)  # the more open of the two
        assert walls.clearance(start.x, start.y, np.array([start.yaw_rad]))[0] >= doom_map.MIN_AHEAD_UNITS
        yaws.add(round(start.yaw_rad, 3))
    assert len(yaws) > 5


def test_dark_flat_and_blood_red_first_pictures_are_rejected():
    stripes = np.tile(np.array([0, 90], np.uint8), (48, 32))[..., None].repeat(3, axis=2)
    assert shows_something(stripes)
    assert not shows_something(stripes // 4)
    assert not shows_something(np.full_like(stripes, 120))
    assert not shows_something(stripes * np.array([2, 0, 0], np.uint8) + np.array([70, 30, 30], np.uint8))


def test_copy_is_lit_and_open_and_nothing_in_it_ends_the_walk():
    tables = two_rooms(things=[(200, 300, 0, IMP, 7), (220, 300, 0, TREE, 7), (700, 700, 0, TREE, 7),
                               (600, 600, 0, CORPSE, 7), (100, 100, 0, doom_map.PLAYER_START, 7)])
    copy = doom_map.gentle_copy(tables, doom_map.Start(200, 300, math.radians(75)))
    assert copy.things.tolist() == [(200, 300, 75, doom_map.PLAYER_START, 7), (700, 700, 0, TREE, 7)]
    assert copy.linedefs["special"].tolist() == [0, 0, 0, 0, 0, 1, 0]  # the exit is gone, the lock is off
    assert copy.sectors["light"].tolist() == [doom_map.DARKEST_LIGHT, 255]
    assert copy.sectors["special"].tolist() == [0, 0]
    assert tables.linedefs["special"][3] == 11 and tables.sectors["light"][0] == 0  # the original is untouched


# time, hands and rows

def test_frames_keep_the_pace_of_the_engine():
    lengths = [tics_of_frame(index) for index in range(160)]
    assert set(lengths) == {2, 3}
    assert all(sum(lengths[start:start + 16]) == 35 for start in range(144))


def test_hand_goes_out_after_a_while_of_pushing_and_in_between_lets_the_door_open():
    pushes = [frame for frame in range(60) if _uses(frame)]
    assert pushes == [USE_AFTER_FRAMES + n * USE_EVERY_FRAMES for n in range(3)]
    opening_frames = math.ceil(doom_map.BODY_HEIGHT_UNITS / 2 / 35 * FPS)  # doors rise by 2 units a tic
    assert opening_frames < USE_EVERY_FRAMES
    assert USE_AFTER_FRAMES + opening_frames < LONG_PATIENCE_FRAMES[0]


def test_keys_in_play_give_the_rows_that_training_saw():
    config = replace(fake_config(fps=FPS), controls=scenarios._import("doom.Doom").CONTROLS)
    ours = row_makers.make_row_maker(config).rows(ActionSample(buttons=frozenset(("forward", "left"))))[0]
    assert ours == pytest.approx(WalkControl.from_keys(1, -1).row(), abs=1e-7)


def test_lens_and_eye_are_those_of_explore_to_a_fifth_of_a_degree():
    controls = scenarios._import("doom.Doom").CONTROLS
    assert replace(controls, vertical_fov_deg=60.0) == ControlsConfig()
    assert controls.vertical_fov_deg == pytest.approx(60, abs=0.2)


def test_player_soon_leaves_a_wall_and_now_and_then_waits_for_a_door():
    player, seen, run, runs = wander(np.random.default_rng(0)), None, 0, []
    for _ in range(6000):
        control = player.send(seen)
        assert abs(control.yaw_left_rad) <= MAX_YAW_RAD + 1e-12
        blocked = control.forward_m > 0  # a wall ahead wherever this player turns
        seen = Seen(blocked, np.zeros(5))
        if blocked:
            run += 1
        elif run:
            runs.append(run)
            run = 0
    assert min(runs) < USE_AFTER_FRAMES < LONG_PATIENCE_FRAMES[0] < max(runs)


# the engine itself

@pytest.fixture(scope="module")
def doom():
    """Lend a Doom."""
    pytest.importorskip("vizdoom", reason="vizdoom is not installed")
    simulator = scenarios.make("doom", 64, 48)
    yield simulator
    simulator.close()


def motion(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return (forward, right) in metres between two poses, in the heading of the first."""
    (dx, dy), cos, sin = (after - before)[:2], math.cos(before[3]), math.sin(before[3])
    return dx * cos + dy * sin, dx * sin - dy * cos


def test_open_ground_takes_the_commanded_motion_to_half_a_millimetre(doom):
    doom.reset(1)
    assert doom.pose[2] * UNITS_PER_M / 1.2 % 8 == pytest.approx(41 % 8, abs=0.01)  # the eye over a floor
    assert UNITS_PER_M * EYE_HEIGHT_M == pytest.approx(41 * 1.2)
    # at once from rest to full speed, to and fro, across, turning all the while, and at once to rest
    for keys, turn in [((1, 0), 0.0), ((1, 0), 0.2), ((-1, 0), -0.2), ((0, 1), 0.1), ((1, -1), -0.1), ((0, 0), 0.0)]:
        control, before = WalkControl.from_keys(*keys, turn), doom.pose
        doom.step(control)
        assert motion(before, doom.pose) == pytest.approx((control.forward_m, control.right_m), abs=0.001)
        assert doom.pose[3] - before[3] == pytest.approx(turn, abs=2e-4)
        assert not doom.blocked


def test_turns_add_up_without_drift_and_count_past_full_turns(doom):
    doom.reset(1)
    start = doom.pose[3]
    for _ in range(50):
        doom.step(WalkControl(yaw_left_rad=MAX_YAW_RAD))
    assert doom.pose[3] - start == pytest.approx(50 * MAX_YAW_RAD, abs=1e-4)
    for _ in range(50):
        doom.step(WalkControl(yaw_left_rad=-0.123456))
    assert doom.pose[3] - start == pytest.approx(50 * (MAX_YAW_RAD - 0.123456), abs=1e-4)


def shift(before: np.ndarray, after: np.ndarray, axis: int) -> int:
    """Return by how many pixels the middle of the picture has moved, to the right or downwards."""
    before, after = before.mean(axis=2), after.mean(axis=2)
    middle = (slice(100, -100), slice(120, -120))
    return min(range(-60, 61), key=lambda n: np.abs(np.roll(before, n, axis)[middle] - after[middle]).mean())


def test_pictures_turn_by_the_angle_through_the_lens_that_is_named():
    pytest.importorskip("vizdoom", reason="vizdoom is not installed")
    doom = scenarios.make("doom", 512, 384)
    try:
        before = doom.reset(1)
        focal_px = 192 / math.tan(math.radians(doom.CONTROLS.vertical_fov_deg) / 2)
        up = doom.step(WalkControl(pitch_up_rad=0.1))
        assert shift(before, up, axis=0) == pytest.approx(focal_px * math.tan(0.1), abs=1.5)  # the world sinks
        level = doom.step(WalkControl(pitch_up_rad=-0.1))
        left = doom.step(WalkControl(yaw_left_rad=0.1))
        assert shift(level, left, axis=1) == pytest.approx(focal_px * math.tan(0.1), abs=2)  # and moves to the right
    finally:
        doom.close()


def test_pitch_stops_at_its_limit_and_returns_at_once(doom):
    doom.reset(1)
    for sign in (1, -1):
        for _ in range(12):
            doom.step(WalkControl(pitch_up_rad=sign * 0.1))
        assert doom.pose[4] == pytest.approx(sign * PITCH_LIMIT_RAD, abs=2e-4)
    doom.step(WalkControl(pitch_up_rad=0.1))
    assert doom.pose[4] == pytest.approx(0.1 - PITCH_LIMIT_RAD, abs=2e-4)


def test_wall_blocks_and_keeps_its_distance(doom):
    doom.reset(1)
    for frame in range(400):
        before = doom.pose
        # at a slant one slides, so now and then another way is tried
        doom.step(WalkControl.from_keys(1, 0, 0.2 if frame % 40 > 36 else 0.0))
        if doom.blocked:
            break
    assert doom.blocked
    assert math.hypot(*motion(before, doom.pose)) < STEP_M / 2
    maps = {name: lumps for game in GAMES for name, lumps in maps_of_game(game_path(doom, game)).items()}
    walls, (x, y) = doom_map.Walls(doom_wad.read_tables(maps[doom.map_name])), doom.pose[:2] * UNITS_PER_M
    clear = walls.clearance(x, y, np.arange(360) * math.pi / 180)
    assert doom_map.BODY_RADIUS_UNITS - 1 <= clear.min() < doom_map.BODY_RADIUS_UNITS * 1.5


def test_a_door_opens_for_who_pushes_against_it(doom):
    doom.map_name, blocked = "MAP02", []
    doom._open(game_path(doom, "freedoom2.wad"), doom_map.Start(932, -320, 0.0), seed=0)  # 100 units before a door
    for _ in range(45):
        doom.step(WalkControl.from_keys(1, 0))
        blocked.append(doom.blocked)
    assert 10 < sum(blocked) < 30
    assert doom.pose[0] * UNITS_PER_M > 932 + 150


def game_path(doom, game: str) -> Path:
    """Return where the engine's package keeps a game file."""
    return Path(doom._vizdoom.__file__).parent / game


def test_same_seed_and_controls_give_the_same_frames_and_poses(doom):
    controls = [WalkControl.from_keys(1, 0, 0.05)] * 6 + [WalkControl.from_keys(0, 1, -0.02, 0.1), WalkControl()]
    runs = []
    for seed in (4, 4, 5):
        frames = [doom.reset(seed)]
        poses = [doom.pose]
        for control in controls:
            frames.append(doom.step(control))
            poses.append(doom.pose)
        runs.append((np.array(frames), np.array(poses)))
    assert runs[0][0].shape == (9, 48, 64, 3) and runs[0][0].dtype == np.uint8
    assert np.array_equal(runs[0][0], runs[1][0]) and np.array_equal(runs[0][1], runs[1][1])
    assert not np.array_equal(runs[0][0], runs[2][0])
    assert not np.array_equal(runs[0][0][0], runs[0][0][5])


def test_every_start_shows_a_place(doom):
    names = set()
    for seed in range(4):
        assert shows_something(doom.reset(seed))
        names.add(doom.map_name)
    assert len(names) >= 3


def test_engine_leaves_nothing_behind(doom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    doom.reset(0)
    folder = Path(doom._folder.name)
    assert folder.exists()
    doom.close()
    doom.close()
    assert not folder.exists() and not list(tmp_path.iterdir())


# the smaller wheel

def made_up_wheel(folder: Path) -> Path:
    """Write a wheel with one of everything; returns its path."""
    game = doom_wad.Wad([doom_wad.Lump("PLAYPAL", b"palette"), *wad_with(two_rooms()).lumps,
                         doom_wad.Lump("REJECT", b"who sees whom"), doom_wad.Lump("D_RUNNIN", b"la la"),
                         doom_wad.Lump("DSPISTOL", b"bang"), doom_wad.Lump("SKULFACE", b"part of a wall"),
                         doom_wad.Lump("S_START", b""), doom_wad.Lump("POSSA1", b"walks"),
                         doom_wad.Lump("POSSL0", b"lies"), doom_wad.Lump("DSPIN0", b"a sprite"),
                         doom_wad.Lump("S_END", b"")], "IWAD")
    path = folder / "vizdoom-1.3.2-cp312-cp312-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {
                "vizdoom/__init__.py": b"import os", "vizdoom/vizdoom.pk3": b"pk3", "vizdoom/vizdoom.pyi": b"types",
                "vizdoom/freedoom2.wad": game.to_bytes(), "vizdoom/gymnasium_wrapper/__init__.py": b"gym",
                "vizdoom/scenarios/basic.wad": b"small", "vizdoom/scenarios/README.md": b"list",
                "vizdoom.libs/libfoo.so": b"elf", "vizdoom-1.3.2.dist-info/METADATA": b"Name: vizdoom",
                "vizdoom-1.3.2.dist-info/RECORD": b"old"}.items():
            wheel.writestr(name, content)
        engine = zipfile.ZipInfo("vizdoom/vizdoom")
        engine.external_attr = 0o100755 << 16
        wheel.writestr(engine, b"engine")
    return path


def test_smaller_wheel_holds_what_is_needed_and_vouches_for_it(tmp_path):
    target = doom_wheel.strip_wheel(made_up_wheel(tmp_path), tmp_path / "small")
    with zipfile.ZipFile(target) as wheel:
        contents = {name: wheel.read(name) for name in wheel.namelist()}
        assert wheel.getinfo("vizdoom/vizdoom").external_attr >> 16 & 0o111  # the engine can still be run
    record = contents.pop("vizdoom-1.3.2.dist-info/RECORD").decode().splitlines()
    assert set(contents) == {"vizdoom/__init__.py", "vizdoom/vizdoom.pk3", "vizdoom/freedoom2.wad", "vizdoom/vizdoom",
                             "vizdoom/scenarios/README.md", "vizdoom.libs/libfoo.so",
                             "vizdoom-1.3.2.dist-info/METADATA"}
    assert record[-1] == "vizdoom-1.3.2.dist-info/RECORD,,"
    for name, digest, size in (line.split(",") for line in record[:-1]):
        wanted = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={wanted}", len(contents.pop(name)))
    assert not contents  # nothing goes unrecorded


def test_smaller_game_file_loses_sounds_and_living_monsters_only(tmp_path):
    with zipfile.ZipFile(doom_wheel.strip_wheel(made_up_wheel(tmp_path), tmp_path / "small")) as wheel:
        wad = doom_wad.Wad.parse(wheel.read("vizdoom/freedoom2.wad"))
    names = [lump.name for lump in wad.lumps]
    assert names[-5:] == ["SKULFACE", "S_START", "POSSL0", "DSPIN0", "S_END"]
    assert not {"D_RUNNIN", "DSPISTOL", "POSSA1"} & set(names)
    assert wad.lumps[names.index("REJECT")].content == b""
    assert wad.kind == "IWAD" and wad.map_names() == ["MAP01"]


def test_what_is_no_wheel_of_vizdoom_is_refused(tmp_path, capsys):
    (tmp_path / "vizdoom-1.whl").write_bytes(b"no zip")
    assert doom_wheel.main([str(tmp_path / "vizdoom-1.whl"), str(tmp_path / "small")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    wheel = made_up_wheel(tmp_path)
    with pytest.raises(DataError, match="over itself"):
        doom_wheel.strip_wheel(wheel, tmp_path)
    other = wheel.rename(tmp_path / "numpy-1.whl")
    with pytest.raises(DataError, match="not a wheel of vizdoom"):
        doom_wheel.strip_wheel(other, tmp_path / "small")
    assert doom_wheel.main([str(wheel.parent / "missing.whl"), str(tmp_path / "small")]) == 1
