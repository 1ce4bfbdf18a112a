"""Episodes on disk: rows and pictures belong together, interrupted work goes on, damage is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from astra_play.actions import rows
from astra_play.errors import DataError
from astra_play.train import dataset as module
from astra_play.train import scenarios
from astra_play.train.dataset import HELD_OUT_SEED_BASE, Dataset, contact_sheet, make_dataset, read_episode
from astra_play.train.scenarios.explore import WalkControl

SMALL = {"scenario": "explore", "frames_per_episode": 6, "width": 48, "height": 36, "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make two small episodes with real workers, or skip where MuJoCo cannot draw."""
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    probe = scenarios.make("explore", 48, 36)
    try:
        probe.reset(0)
    except Exception as error:  # GL libraries fail with errors of their own kind
        pytest.skip(f"no GL context here: {error}")
    finally:
        probe.close()
    folder = tmp_path_factory.mktemp("data") / "explore"
    return make_dataset(folder, num_episodes=2, workers=1, **SMALL)


class FlatWorld:
    """A simulator without GL: each frame is one flat colour that counts the steps."""

    FPS, IDLE = 16, WalkControl()
    blocked = False

    def __init__(self, width: int, height: int) -> None:
        self.shape = height, width, 3

    def reset(self, seed: int) -> np.ndarray:
        self.pose = np.array([seed, 0.0, 1.6, 0.0, 0.0])
        return np.full(self.shape, 0, np.uint8)

    def row(self, control: WalkControl) -> np.ndarray:
        return control.row()

    def step(self, control: WalkControl) -> np.ndarray:
        self.pose = self.pose + np.array([0, 0, 0, control.yaw_left_rad, 0])
        return np.full(self.shape, int(abs(self.pose[3]) * 100) % 256, np.uint8)

    def close(self) -> None:
        pass


@pytest.fixture
def flat_world(monkeypatch):
    """Make episodes in this process, without GL, and note which seeds were played."""
    played = []

    def in_process(folder, settings, seed, make=module.make_episode):
        played.append(seed)
        return make(folder, settings, seed)

    class Here(module.ProcessPoolExecutor):
        def __init__(self, *_, **__) -> None:
            self.shutdown = lambda *_, **__: None

        def submit(self, call, /, *args):
            job = module.Future()
            try:
                job.set_result(call(*args))
            except Exception as error:
                job.set_exception(error)
            return job

    monkeypatch.setattr(scenarios, "make", lambda name, width, height: FlatWorld(width, height))
    monkeypatch.setattr(module, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(module, "make_episode", in_process)
    return played


def test_episode_holds_what_the_simulator_showed(made):
    made.verify()
    assert [path.name for path in made.episodes] == ["episode_0000000.npz", "episode_0000001.npz"]
    episode = read_episode(made.episodes[1])
    assert episode.seed == 1
    assert episode.frames.shape == (6, 36, 48, 3) and episode.frames.dtype == np.uint8
    assert episode.rows.shape == (6, 12) and episode.rows.dtype == np.float32
    simulator = scenarios.make("explore", 48, 36)
    try:
        assert np.array_equal(simulator.reset(1), episode.frames[0])
        for index in range(1, 6):
            frame = simulator.step(WalkControl(*map(float, episode.controls[index])))
            assert np.abs(simulator.pose - episode.poses[index]).max() < 1e-6  # controls are stored as float32
            assert np.abs(frame.astype(int) - episode.frames[index]).mean() < 0.1
    finally:
        simulator.close()


def test_row_zero_is_identity_and_every_row_is_its_control(flat_world, tmp_path):
    data = make_dataset(tmp_path, num_episodes=1, **SMALL | {"frames_per_episode": 40})
    episode = read_episode(data.episodes[0])
    assert np.array_equal(episode.rows[0], rows.camera_row())
    assert not episode.controls[0].any()
    for row, control in zip(episode.rows, episode.controls, strict=True):
        assert rows.camera_motion(row) == pytest.approx(control, abs=1e-6)
    turned = np.diff(episode.poses[:, 3])
    assert np.allclose(turned, episode.controls[1:, 2], atol=1e-6)  # row t leads into frame t


def test_second_run_keeps_finished_episodes_and_makes_the_missing_and_the_damaged(flat_world, tmp_path):
    make_dataset(tmp_path, num_episodes=3, **SMALL)
    assert flat_world == [0, 1, 2]
    before = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "episode_0000001.npz").unlink()
    (tmp_path / "episode_0000002.npz").write_bytes(b"half a file")
    flat_world.clear()
    data = make_dataset(tmp_path, num_episodes=4, **SMALL)
    assert flat_world == [1, 2, 3]
    data.verify()
    assert data.manifest["num_episodes"] == 4
    assert {seed: data.manifest["sha256"][seed] for seed in before["sha256"]} == before["sha256"]
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


def test_a_failed_run_leaves_a_manifest_of_what_was_finished(flat_world, tmp_path, monkeypatch):
    make = module.make_episode

    def fail_at_two(folder, settings, seed):
        if seed == 2:
            raise RuntimeError("out of luck")
        return make(folder, settings, seed)

    monkeypatch.setattr(module, "make_episode", fail_at_two)
    monkeypatch.setattr(module, "as_completed", lambda jobs: jobs)
    with pytest.raises(RuntimeError, match="out of luck"):
        make_dataset(tmp_path, num_episodes=3, **SMALL)
    assert [path.name for path in Dataset(tmp_path).episodes] == ["episode_0000000.npz", "episode_0000001.npz"]


def test_other_settings_are_refused_by_name(flat_world, tmp_path):
    make_dataset(tmp_path, num_episodes=1, **SMALL)
    with pytest.raises(DataError, match="frames_per_episode is 6 there and 7 here"):
        make_dataset(tmp_path, num_episodes=1, **SMALL | {"frames_per_episode": 7})


def test_training_and_held_out_seeds_do_not_mix(flat_world, tmp_path):
    with pytest.raises(DataError, match="held-out"):
        make_dataset(tmp_path, num_episodes=2, first_seed=HELD_OUT_SEED_BASE - 1, **SMALL)
    make_dataset(tmp_path, num_episodes=1, first_seed=HELD_OUT_SEED_BASE, **SMALL)
    with pytest.raises(DataError, match="holds the held-out world 1000000, and those of seed 3 on are for training"):
        make_dataset(tmp_path, num_episodes=1, first_seed=3, **SMALL)
    make_dataset(tmp_path, num_episodes=1, first_seed=HELD_OUT_SEED_BASE + 1, **SMALL)
    with pytest.raises(DataError, match="the first seed is -5"):
        make_dataset(tmp_path / "other", num_episodes=1, first_seed=-5, **SMALL)
    assert flat_world == [HELD_OUT_SEED_BASE, HELD_OUT_SEED_BASE + 1]


def test_damage_is_named(flat_world, tmp_path):
    data = make_dataset(tmp_path, num_episodes=2, **SMALL)
    content = data.episodes[0].read_bytes()
    data.episodes[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"episode_0000000\.npz is not a readable episode"):
        read_episode(data.episodes[0])
    with pytest.raises(DataError, match="differs from its hash"):
        data.verify()
    data.episodes[0].unlink()
    with pytest.raises(DataError, match="missing"):
        data.verify()
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        Dataset(tmp_path)


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(DataError, match="data make"):
        Dataset(tmp_path)


def test_contact_sheet_has_one_line_per_episode(flat_world, tmp_path):
    data = make_dataset(tmp_path / "data", num_episodes=3, **SMALL)
    contact_sheet(data, tmp_path / "sheet.png", num_episodes=2, num_frames=4, scale=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 48 * 2, 2 * 36 * 2)


def test_no_episode_is_begun_after_the_time_is_over_and_the_rest_is_a_data_set(flat_world, tmp_path, monkeypatch):
    now = iter(range(0, 100000, 60))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(now)))
    cancelled = []

    class Slow(module.ProcessPoolExecutor):
        def __init__(self, *_, **__) -> None:
            self.jobs = []

        def __exit__(self, *_) -> None:
            pass

        def submit(self, call, /, *args):
            job = module.Future()
            if len(self.jobs) < 3:
                job.set_result(call(*args))
            self.jobs.append(job)
            return job

        def shutdown(self, wait=True, cancel_futures=False):
            for job in self.jobs:
                if cancel_futures and job.cancel():
                    job.set_running_or_notify_cancel()
                    cancelled.append(job)

    monkeypatch.setattr(module, "ProcessPoolExecutor", Slow)
    data = make_dataset(tmp_path, num_episodes=6, minutes=1.5, **SMALL)
    assert len(data) == 3 and len(cancelled) == 3
    data.verify()


def test_episodes_are_read_ahead_in_their_order_and_a_broken_one_is_told_when_its_turn_comes(flat_world, tmp_path):
    data = make_dataset(tmp_path, num_episodes=12, **SMALL)
    assert [episode.seed for episode in module.read_episodes(data.episodes, "")] == list(range(12))
    assert list(module.read_episodes([], "")) == []
    data.episodes[7].write_bytes(b"nothing")
    reading = module.read_episodes(data.episodes, "")
    assert [next(reading).seed for _ in range(7)] == list(range(7))
    with pytest.raises(DataError, match="episode_0000007"):
        next(reading)
