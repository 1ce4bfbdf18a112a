"""The motion reader: it knows a shift from its mirror image, learns turns, and hears the pairs beside each."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_evaluate_metrics import smooth_texture

from astra_play.errors import ConfigError, WeightsError
from astra_play.evaluate import motion_reader
from astra_play.evaluate.fit_motion_reader import fit, fit_neighbours, save_reader
from astra_play.evaluate.motion_reader import MotionReader, load_reader, match_costs, mirrored_order, shipped_reader
from astra_play.evaluate.motions import FINGER_STEP_M, FINGER_STROKE_M, MOTIONS, motions_of


def test_motion_between_poses_is_the_control_that_led_from_one_to_the_other() -> None:
    before = np.array([[2.0, -1.0, 1.6, 0.7, 0.1]])
    forward, right, yaw, pitch = 0.15, -0.1, 0.2, -0.05
    x = 2.0 + forward * math.cos(0.7) + right * math.sin(0.7)
    y = -1.0 + forward * math.sin(0.7) - right * math.cos(0.7)
    after = np.array([[x, y, 1.6, 0.7 + yaw, 0.1 + pitch]])
    assert np.allclose(motions_of("explore").between(before, after), [[forward, right, yaw, pitch]])
    assert np.allclose(motions_of("drive").between(before, after), [[forward, yaw]])


def test_motion_of_a_hand_is_its_way_and_how_far_the_fingers_closed() -> None:
    before = np.array([[0.1, 0.2, 0.05, 0.1, 9.0, 9.0, 9.0]])
    after = np.array([[0.12, 0.19, 0.06, 0.075, 8.0, 8.0, 8.0]])
    assert np.allclose(motions_of("arm").between(before, after), [[0.02, -0.01, 0.01, 0.025]])


def test_fingers_are_commanded_no_further_than_they_go_in_a_frame() -> None:
    controls = np.array([[0.01, 0.0, -0.02, 0.0]] + [[0.0, 0.0, 0.0, 1.0]] * 6)
    commanded = motions_of("arm").commanded(controls)
    assert np.allclose(commanded[0], [0.01, 0.0, -0.02, 0.0])
    assert np.allclose(commanded[1:5, 3], 2 * FINGER_STEP_M) and np.allclose(commanded[5:, 3], 0.0)
    assert commanded[:, 3].sum() == pytest.approx(2 * FINGER_STROKE_M)


@pytest.mark.parametrize("scenario", MOTIONS)
def test_motions_of_every_scenario_are_told_in_full(scenario: str) -> None:
    kind = motions_of(scenario)
    assert len(kind.mirror) == len(kind.names) and set(kind.leads) | set(kind.key_thresholds) <= set(kind.names)


def test_scenario_without_motions_is_named() -> None:
    with pytest.raises(ConfigError, match="'doom' cannot be evaluated yet"):
        motions_of("doom")


@pytest.mark.parametrize("shift_px", [-4, 0, 3])
def test_best_match_lies_at_the_shift_of_the_picture(shift_px: int) -> None:
    first = smooth_texture(64, 96)
    costs = match_costs(torch.from_numpy(np.stack([first, np.roll(first, shift_px, axis=1)])))
    finest = motion_reader.SCALES[0]
    across = 2 * finest.reach_x + 1
    best = costs[0, :across * (2 * finest.reach_y + 1), 1:-1, 1:-1].flatten(1).mean(dim=1).argmin()
    assert divmod(int(best), across) == (finest.reach_y, finest.reach_x + shift_px)


def test_mirrored_frames_have_mirrored_costs() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3)).astype(np.uint8))
    mirrored = match_costs(frames.flip(2))
    assert torch.allclose(mirrored, match_costs(frames)[:, mirrored_order()].flip(-1), atol=1e-4)


def turning_clip(num_frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A texture that slides sideways by a few pixels a frame, and the yaw of each frame at 1 degree a pixel."""
    shifts = np.random.default_rng(seed).integers(-4, 5, num_frames - 1)
    frames = [smooth_texture(32, 64, seed)]
    for shift in shifts:
        frames.append(np.roll(frames[-1], shift, axis=1))
    return np.stack(frames), np.radians(shifts)


def test_reader_learns_turns_and_reads_them_from_another_texture() -> None:
    costs, motions = [], []
    for seed in range(24):
        frames, yaw = turning_clip(13, seed)
        costs.append(torch.cat(motion_reader.costs_of_clip(frames)))
        motions.append(np.stack([np.zeros_like(yaw), np.zeros_like(yaw), yaw, np.zeros_like(yaw)], axis=1))
    reader = fit(MotionReader(64, 32, 4), torch.cat(costs).half(), torch.from_numpy(np.concatenate(motions)).float(),
                 motions_of("explore"), 150)
    frames, yaw = turning_clip(40, seed=99)
    read = reader.read(frames[None])[0]
    assert read.shape == (39, 4)
    assert np.corrcoef(read[:, 2], yaw)[0, 1] > 0.95


def steady_stretches(num_clips: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs and motions of clips that slide at one speed each, and of which every third picture is blank."""
    costs, motions = [], []
    for clip in range(num_clips):
        shift = int(np.random.default_rng(seed + clip).integers(-4, 5))
        frames = np.stack([np.roll(smooth_texture(32, 64, seed + clip), shift * i, axis=1) for i in range(13)])
        frames[2::3] = 128
        costs.append(torch.cat(motion_reader.costs_of_clip(frames)))
        motions.append(torch.tensor([0, 0, math.radians(shift), 0]).expand(12, 4))
    return torch.stack(costs), torch.stack(motions)


def test_neighbours_tell_what_a_pair_of_pictures_cannot() -> None:
    kind = motions_of("explore")
    costs, motions = steady_stretches(24, 0)
    reader = fit(MotionReader(64, 32, 4), costs.flatten(0, 1), motions.flatten(0, 1), kind, 150)
    alone = {name: own.clone() for name, own in reader.layers.state_dict().items()}
    unseen, yaw = steady_stretches(12, 100)

    def error() -> float:
        read = torch.stack([reader(own) * reader.spread for own in unseen])
        return float((read[..., 2] - yaw[..., 2]).abs().mean())

    before = error()
    fit_neighbours(reader, costs, motions, kind, 150)
    assert error() < 0.6 * before
    assert all(torch.equal(own, alone[name]) for name, own in reader.layers.state_dict().items())


@torch.no_grad()
def test_a_clip_is_read_as_a_whole_and_pairs_far_away_have_no_say() -> None:
    torch.manual_seed(0)
    reader = MotionReader(64, 32, 4).eval()
    torch.nn.init.normal_(reader.neighbours.tell.weight)
    frames = np.random.default_rng(0).integers(0, 256, (24, 32, 64, 3)).astype(np.uint8)
    read = reader.read(frames[None])[0]
    np.testing.assert_allclose(read, reader(match_costs(torch.from_numpy(frames))).numpy(), atol=1e-4)
    frames[:4] = 0
    changed = np.abs(reader.read(frames[None])[0] - read).max(axis=1) > 1e-4
    assert changed[:8].all() and not changed[8:].any()  # pairs 0 to 3 are others, and have a say in the next four
    assert reader.read(frames[None, :2]).shape == (1, 1, 4)


def test_a_reader_of_pairs_alone_is_named_and_can_be_taught(tmp_path: Path) -> None:
    path, reader = tmp_path / "reader.safetensors", MotionReader(32, 32, 4)
    save_file({name: own for name, own in reader.state_dict().items() if not name.startswith("neighbours.")}, path,
              {"scenario": "explore", "width": "32", "height": "32"})
    with pytest.raises(WeightsError, match="reads pairs of frames alone.*--begin"):
        load_reader(path, "explore", 32, 32)
    frames = torch.zeros(3, len(mirrored_order()), 2, 2)
    with torch.no_grad():
        own = load_reader(path, "explore", 32, 32, pairs_alone=True).of_pairs(frames)
        assert torch.equal(own, reader.eval().of_pairs(frames))


def test_mirror_changes_the_sides_of_a_motion_only() -> None:
    assert dict(zip(motions_of("explore").names, motions_of("explore").mirror, strict=True)) == {
        "forward_m": 1, "right_m": -1, "yaw_left_rad": -1, "pitch_up_rad": 1}


@pytest.mark.parametrize("scenario", MOTIONS)
def test_shipped_readers_read_the_size_of_the_default_world_and_no_other(scenario: str) -> None:
    assert isinstance(load_reader(shipped_reader(scenario), scenario, 128, 96), MotionReader)
    with pytest.raises(ConfigError, match="128x96 pixels, but this world makes 64x48"):
        load_reader(shipped_reader(scenario), scenario, 64, 48)
    other = next(name for name in MOTIONS if name != scenario)
    with pytest.raises(ConfigError, match=f"reads motions of '{scenario}', but this world plays '{other}'"):
        load_reader(shipped_reader(scenario), other, 128, 96)


def test_reader_weights_without_their_frame_size_are_refused(tmp_path: Path) -> None:
    save_reader(MotionReader(32, 32, 4), tmp_path / "reader.safetensors", steps=1)
    with pytest.raises(WeightsError, match="fit_motion_reader"):
        load_reader(tmp_path / "reader.safetensors", "explore", 32, 32)
