"""Evaluation: batched rollouts equal play, plots, and the whole command on a made-up simulator."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_evaluate_metrics import smooth_texture
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row
from astra_play.chunks import IDLE, ActionChunk
from astra_play.cli import main as cli_main
from astra_play.codec import pixels
from astra_play.config import ControlsConfig
from astra_play.errors import ConfigError, DependencyError
from astra_play.evaluate import revisit, truth
from astra_play.evaluate.evaluation import Evaluation, Options, _clips
from astra_play.evaluate.fit_motion_reader import save_reader
from astra_play.evaluate.motion_reader import MotionReader
from astra_play.evaluate.motions import motions_of
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
