"""Evaluation: batched rollouts equal play, the motion reader, and the whole command on a made-up simulator."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_evaluate_metrics import smooth_texture
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row
from astra_play.chunks import IDLE, ActionChunk
from astra_play.cli import main as cli_main
from astra_play.codec import pixels
from astra_play.config import ControlsConfig
from astra_play.errors import ConfigError, DependencyError, WeightsError
from astra_play.evaluate import motion_reader, revisit, truth
from astra_play.evaluate.evaluation import Evaluation, Options, _clips
from astra_play.evaluate.fit_motion_reader import fit, fit_neighbours, save_reader
from astra_play.evaluate.motion_reader import MotionReader, load_reader, match_costs, mirrored_order, shipped_reader
from astra_play.evaluate.motions import FINGER_STEP_M, FINGER_STROKE_M, MOTIONS, motions_of
from astra_play.evaluate.plots import Line, plot, round_ticks
from astra_play.evaluate.rollout import load_parts, roll_out, routing_of, through_codec, time_chunks
from astra_play.evaluate.truth import Simulator
from astra_play.model.loading import load_world
from astra_play.train.scenarios.explore import WalkControl

# --- rollouts -------------------------------------------------------------------------------------------------------

def random_rows(number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([camera_row(*rng.normal(size=4) * (0.2, 0.2, 0.1, 0.02)) for _ in range(number)])


def played_by_world(folder: Path, seed: int, prompt: np.ndarray, rows: np.ndarray, steps: int | None,
                    guidance: float) -> np.ndarray:
    """The frames that `World` makes, chunk by chunk, as a session would."""
    world = load_world(folder, device="cpu")
    world.guidance_scale = guidance
    if steps:
        world.num_denoise_steps = steps
    world.reset(seed)
    world.prefill(prompt, rows[:len(prompt)])
    chunk = world.config.stream.latent_frames_per_chunk
    frames = []
    for start in range(len(prompt), len(rows), chunk):
        frames.append(world.step(ActionChunk(IDLE, rows[start:start + chunk], "camera")))
        world.commit()
    return np.concatenate(frames)


@pytest.mark.parametrize(("chunk", "steps", "guidance"), [(1, None, 1.0), (1, 2, 1.0), (2, None, 1.5)])
def test_batched_rollout_equals_play_of_each_world(tmp_path: Path, chunk: int, steps: int | None,
                                                   guidance: float) -> None:
    stream = dataclasses.replace(TINY_WORLD.stream, latent_frames_per_chunk=chunk)
    folder = make_tiny_world(tmp_path / "world", stream=stream)
    prompts = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3)).astype(np.uint8)
    rows, seeds = np.stack([random_rows(12, seed) for seed in range(3)]), [5, 6, 1_000_000]
    parts = load_parts(folder, steps, guidance)
    frames = roll_out(parts, prompts, rows, seeds)
    assert np.array_equal(frames[:, :2], prompts)
    for index, seed in enumerate(seeds):
        expected = played_by_world(folder, seed, prompts[index], rows[index], steps, guidance)
        difference = np.abs(frames[index, 2:].astype(int) - expected.astype(int))
        assert difference.max() <= 1  # sums in another order may round the other way
        assert expected.std() > 5  # a flat picture would show nothing
    assert np.abs(frames[0].astype(int) - frames[1].astype(int)).max() > 20


def test_rollout_that_ends_within_a_chunk_is_cut_and_not_lengthened(tmp_path: Path) -> None:
    stream = dataclasses.replace(TINY_WORLD.stream, latent_frames_per_chunk=2)
    parts = load_parts(make_tiny_world(tmp_path / "world", stream=stream))
    prompts = np.zeros((1, 2, 32, 32, 3), np.uint8)
    even, odd = (roll_out(parts, prompts, random_rows(8, 0)[None, :length], [0]) for length in (8, 7))
    assert odd.shape[1] == 7
    assert np.abs(odd[:, :6].astype(int) - even[:, :6].astype(int)).max() <= 1


def test_codec_ceiling_is_the_last_frame_of_the_decoded_clip(tmp_path: Path) -> None:
    parts = load_parts(make_tiny_world(tmp_path / "world"))
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3)).astype(np.uint8)
    clip = parts.codec.decode(parts.codec.encode(pixels.to_float(torch.from_numpy(frames))))
    expected = pixels.to_uint8(clip[:, -1]).numpy()
    assert np.abs(through_codec(parts, frames).astype(int) - expected.astype(int)).max() <= 1


# --- the motion reader ----------------------------------------------------------------------------------------------

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


# --- plots ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 7.9), (12.1, 12.9), (0.0, 960.0), (3.0, 3.0)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert len(ticks) <= 7 and all(low - 1e-6 <= t <= high + 1e-6 for t in ticks)
    if high > low:
        step = ticks[1] - ticks[0]
        mantissa = step / 10 ** math.floor(math.log10(step * 1.0001))
        assert len(ticks) >= 3 and min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-6


def test_plot_draws_its_curve_and_leaves_gaps() -> None:
    picture = np.asarray(plot("t", "x", "y", [Line("a", [0, 1, 2, 3], [0.0, 1.0, None, 1.0])], (320, 200)))
    assert picture.shape == (200, 320, 3) and (picture != 255).any()
    left, right = picture[40:150, 70:150], picture[40:150, 180:290]
    is_blue = [(part[..., 2].astype(int) - part[..., 0] > 80).any() for part in (left, right)]
    assert is_blue == [True, False]


def test_every_tour_ends_where_it_began_and_its_length_counts_all_of_it() -> None:
    for name, rows in revisit.tours().items():
        pose = np.eye(4)
        for row in rows:
            pose = np.vstack([row.reshape(3, 4), [0, 0, 0, 1]]) @ pose
        assert np.abs(pose - np.eye(4)).max() < 1e-4, name
    round_once, out_and_back = (revisit.path_of(revisit.tours()[n]) for n in ("turn_round_once", "walk_out_and_back"))
    assert round_once == pytest.approx({"metres": 0.0, "degrees": 360.0}, abs=1e-3)
    assert out_and_back["metres"] == pytest.approx(6.0)


def test_revisit_measures_likeness_to_the_start_beside_that_of_another_place() -> None:
    starts = np.stack([smooth_texture(32, 32, seed=seed) for seed in range(4)])
    rows = revisit.tours()["turn_round_once"]
    brighter = np.clip(starts.astype(int) + 20, 0, 255).astype(np.uint8)
    same, noisy = (revisit.compare(starts, ends, rows) for ends in (starts, brighter))
    assert same["ssim"] == pytest.approx(1.0) and same["psnr_db"] == 100.0 and noisy["psnr_db"] < 30
    assert revisit.other_places(starts)["ssim"] < 0.8
    assert revisit.other_places(starts[:1]) is None  # not itself


# --- the whole command ----------------------------------------------------------------------------------------------

class SlidingScenario:
    """A simulator in a few lines: a texture that a turn slides sideways."""

    FPS, CONTROLS, IDLE = 16, ControlsConfig(), WalkControl()
    blocked = False

    def __init__(self, width: int, height: int) -> None:
        self.size = height, width

    def reset(self, seed: int) -> np.ndarray:
        self.texture, self.pose = smooth_texture(*self.size, seed=seed), np.zeros(5)
        return self.frame()

    def row(self, control: WalkControl) -> np.ndarray:
        return control.row()

    def step(self, control: WalkControl) -> np.ndarray:
        self.pose = self.pose + (control.forward_m, 0.0, 0.0, control.yaw_left_rad, control.pitch_up_rad)
        return self.frame()

    def frame(self) -> np.ndarray:
        return np.roll(self.texture, round(math.degrees(self.pose[3])), axis=1)

    def close(self) -> None:
        self.closed = True


def player(name: str, rng: np.random.Generator, simulator: object):
    while True:
        yield WalkControl(0.18, 0.0, rng.normal() * 0.1)


@pytest.fixture
def tiny_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line that evaluates a tiny world on the sliding texture in a second or two."""
    monkeypatch.setattr(truth.scenarios, "make", lambda name, width, height: SlidingScenario(width, height))
    monkeypatch.setattr(truth.scenarios, "player", player)
    make_tiny_world(tmp_path / "world")
    save_reader(MotionReader(32, 32, 4), tmp_path / "reader.safetensors", scenario="explore", width=32,
                height=32)
    return ["evaluate", "--world", str(tmp_path / "world"), "--reader", str(tmp_path / "reader.safetensors"),
            "--json", str(tmp_path / "out.json"), "--report", str(tmp_path / "report"), "--rollouts", "3",
            "--seconds", "3", "--drift-runs", "2", "--drift-seconds", "4", "--seed-base", "1000100"]


def test_evaluate_writes_every_figure_and_every_picture(tiny_evaluation: list[str], tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main(tiny_evaluation) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"world", "options", "seeds", "machine", "scenarios", "config", "denoise_steps",
            "guidance_scale"} <= result.keys()
    assert result["scenarios"].keys() == {"explore"}  # what a world without scenarios of its own is
    assert result["seeds"] == [1000100, 1000102] and result["options"]["seed_base"] == 1000100
    result = result["scenarios"]["explore"]
    assert {"following", "fidelity", "drift", "revisit", "router", "latency", "bars", "timings_s"} <= result.keys()
    following = result["following"]
    for of in ("generated", "true_frames", "reader_error_on_true_frames"):
        assert {"correlation", "correlation_interval95", "gain", "mae_deg"} <= following[of]["yaw_left_rad"].keys()
        assert following[of]["key_accuracy"].keys() == {"forward_m", "right_m", "yaw_left_rad"}
    assert following["shift_check"].keys() == {"generated", "true_frames"}
    assert len(following["lead_correlation_by_rollout"]) == 3 and len(following["lead_correlation_by_part"]) == 4
    assert following["path"]["true_frames"]["2s"].keys() == {"translation_m", "way_m", "rotation_deg", "turned_deg"}
    assert result["fidelity"]["horizons"].keys() == {"0.5s", "1s", "2s"}
    assert result["fidelity"]["num_moving"] == result["fidelity"]["num_clips"] == 3  # all walk 2.9 m in a second
    assert following["path"]["generated"].keys() == {"2s"}  # no figure for longer than rollouts last
    for both in result["fidelity"]["horizons"].values():
        assert {"generated", "repeat_last_frame", "codec_ceiling", "gain_over_repeat_db",
                "gain_over_repeat_db_interval95"} <= both["moving"].keys()
    for look in ("sharpness", "contrast", "saturation", "laplacian_energy", "change"):
        assert len(result["drift"][look]["windows"]) == 10 and "worst" in result["drift"][look]
    assert [bar["name"] for bar in result["bars"]] == [
        "yaw_left_rad_correlation", "gain_over_repeat_1s_db", "sharpness_worst_window", "sharpness_drift",
        "contrast_worst_window", "contrast_drift"]
    assert sum(result["router"]["mean_weights"]) == pytest.approx(1.0, abs=1e-5)
    assert result["latency"]["chunks"] > 0 and result["latency"]["p50_ms"] > 0
    assert {path.name for path in (tmp_path / "report/explore").iterdir()} == {
        "truth_and_dream.png", "free_run.png", "following.png", "psnr.png", "drift.png", "revisit.png"}
    assert result["revisit"]["tours"].keys() == revisit.tours().keys() and result["revisit"]["num_starts"] == 3
    printed = capsys.readouterr().out
    assert "yaw_left_rad_correlation" in printed and ("met" in printed or "missed" in printed)


def test_evaluating_twice_gives_the_same_figures(tiny_evaluation: list[str], tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        assert cli_main([*tiny_evaluation, "--rollouts", "1", "--drift-runs", "1", "--drift-seconds", "2"]) == 0
        result = json.loads((tmp_path / "out.json").read_text())
        figures = result["scenarios"]["explore"]
        del figures["timings_s"], figures["latency"]
        results.append(result)
    assert results[0] == results[1]


def test_sweep_compares_steps_and_guidance(tiny_evaluation: list[str], tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main([*tiny_evaluation, "--rollouts", "1", "--drift-runs", "1", "--drift-seconds", "2",
                     "--sweep-steps", "1", "2", "--sweep-guidance", "1", "3"]) == 0
    sweep = json.loads((tmp_path / "out.json").read_text())["scenarios"]["explore"]["sweep"]
    assert [entry["steps"] for entry in sweep["steps"]] == [1, 2]
    assert [entry["guidance_scale"] for entry in sweep["guidance"]] == [1.0, 3.0]
    assert {"psnr_1s_db", "ssim_1s", "sharpness_ratio", "yaw_left_rad_correlation",
            "yaw_left_rad_gain"} <= sweep["steps"][0].keys()
    assert sweep["steps"][0]["psnr_1s_db"] != sweep["steps"][1]["psnr_1s_db"]
    assert "by guidance" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "starts"), [(2.0, [0]), (3.0, [0]), (5.0, [0, 48]), (8.0, [0, 48, 96])])
def test_fidelity_starts_as_often_in_a_walk_as_pieces_do_not_overlap(tmp_path: Path, seconds: float,
                                                                     starts: list[int]) -> None:
    run = Evaluation(load_parts(make_tiny_world(tmp_path)), motions_of("explore"), Options(rollout_s=seconds), None)
    numbers = np.arange(run.frames_of(seconds))[:, None]
    run.walks = [truth.Walk(1, numbers, numbers, numbers, numbers, numbers)]
    clips = _clips(run, run.frames_of(2.0))
    assert [clip.frames[0, 0] for clip in clips] == starts and all(len(clip.frames) == 34 for clip in clips)


def test_one_rollout_is_no_other_place_to_compare_with(tiny_evaluation: list[str],
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main([*tiny_evaluation, "--rollouts", "1", "--drift-runs", "1"]) == 0
    assert "some other place: not measured" in capsys.readouterr().out


def test_a_scenario_that_the_world_has_not_is_refused(tiny_evaluation: list[str],
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main([*tiny_evaluation, "--scenario", "arm"]) != 0
    assert "has no scenario 'arm'; it has: explore" in capsys.readouterr().err


def test_routing_and_times_are_those_of_the_frames_made(tmp_path: Path) -> None:
    parts = load_parts(make_tiny_world(tmp_path / "world"))
    prompt, rows = np.zeros((2, 32, 32, 3), np.uint8), random_rows(30, 0)
    weights = routing_of(parts, prompt[None], rows[None], [0])
    assert weights.shape == (28, parts.config.model.num_experts) and np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert time_chunks(parts, prompt, rows)["chunks"] == 7  # of 28, 20 warm up and the first mark has no time


def test_world_of_another_rate_or_control_has_no_truth_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth.scenarios, "make", lambda name, width, height: SlidingScenario(width, height))
    with pytest.raises(ConfigError, match="20 frames a second"):
        Simulator(dataclasses.replace(TINY_WORLD, fps=20))
    controls = dataclasses.replace(TINY_WORLD.controls, modality="vehicle")
    with pytest.raises(ConfigError, match="'vehicle' actions"):
        Simulator(dataclasses.replace(TINY_WORLD, controls=controls))


def test_missing_simulator_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(DependencyError, match=r"pip install 'astra-play\[train\]'"):
        Simulator(TINY_WORLD)


def test_walk_of_the_real_simulator_moves_as_commanded_where_nothing_is_in_the_way() -> None:
    pytest.importorskip("mujoco")
    try:
        with Simulator(dataclasses.replace(TINY_WORLD, width=64, height=48)) as simulator:
            walk = simulator.walk(1_000_001, 80)
    except Exception as error:  # a machine without any GL raises what its driver likes
        pytest.skip(f"MuJoCo cannot draw here: {error}")
    assert walk.frames.shape == (80, 48, 64, 3) and walk.frames.std() > 10
    assert not walk.commanded[0].any() and not walk.moved[0].any()
    assert np.allclose(walk.moved[:, 2], walk.commanded[:, 2])
    walked = np.hypot(*walk.commanded[:, :2].T) > 0
    error_m = np.abs(walk.moved - walk.commanded)[walked, :2].max(axis=1)
    assert walked.sum() > 10 and np.median(error_m) < 1e-6  # most steps slide along nothing
