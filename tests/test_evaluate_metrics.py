"""Metrics against obvious twins and pictures whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from astra_play.evaluate import drift, fidelity, following, metrics
from astra_play.evaluate.evaluation import bars
from astra_play.evaluate.motions import motions_of

EXPLORE = motions_of("explore")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def smooth_texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of soft blobs that wraps around sideways."""
    spectrum = np.random.default_rng(seed).normal(size=(height, width)) + 0j
    y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    spectrum *= np.exp(-(x**2 + y**2) * 200)
    picture = np.fft.ifft2(np.fft.fft2(spectrum.real) * np.exp(-(x**2 + y**2) * 200)).real
    picture = (picture - picture.min()) / (picture.max() - picture.min()) * 255
    return np.repeat(picture[..., None], 3, axis=-1).astype(np.uint8)


def test_psnr_is_that_of_the_definition() -> None:
    ours, truth = noise(2, 5, 7), noise(2, 5, 7, seed=1)
    for index in range(2):
        mse = sum((float(a) - float(b)) ** 2 for a, b in zip(ours[index].ravel(), truth[index].ravel(), strict=True))
        expected = 10 * math.log10(255**2 / (mse / ours[index].size))
        assert metrics.psnr_db(ours, truth)[index] == pytest.approx(expected, abs=1e-4)
    assert metrics.psnr_db(truth, truth).tolist() == [metrics.IDENTICAL_DB] * 2


def test_ssim_is_that_of_the_definition() -> None:
    ours, truth = noise(13, 12), noise(13, 12, seed=1)
    a, b = (metrics.luminance(f).astype(np.float64) for f in (ours, truth))
    taps = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for row in range(3):
        for column in range(2):
            x, y = a[row:row + 11, column:column + 11], b[row:row + 11, column:column + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert metrics.ssim(ours[None], truth[None])[0] == pytest.approx(np.mean(values), abs=1e-4)
    assert metrics.ssim(truth[None], truth[None])[0] == pytest.approx(1.0)


def test_looks_of_known_pictures() -> None:
    half = np.zeros((8, 10, 3), np.uint8)
    half[:, 5:] = 255
    assert metrics.sharpness(half) == pytest.approx(1 / 9)  # one edge of height 1 among nine columns of differences
    assert metrics.contrast(half) == pytest.approx(0.5)
    assert metrics.saturation(half) == 0.0
    assert metrics.laplacian_energy(half) == pytest.approx(2 / 8)  # both sides of the edge among eight inner columns
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert metrics.saturation(red) == pytest.approx(1.0)
    for look in (metrics.sharpness, metrics.contrast, metrics.laplacian_energy):
        assert look(red) == pytest.approx(0.0, abs=1e-6)
    assert metrics.change(half, half) == 0.0 and metrics.change(half, 255 - half) == pytest.approx(1.0)


def test_blur_lowers_sharpness_and_contrast() -> None:
    sharp = noise(32, 32)
    blurred = np.stack([np.roll(sharp.astype(float), s, axis=1) for s in (-1, 0, 1)]).mean(axis=0).astype(np.uint8)
    assert metrics.sharpness(blurred) < 0.8 * metrics.sharpness(sharp)
    assert metrics.contrast(blurred) < 0.8 * metrics.contrast(sharp)


@pytest.mark.parametrize("shift_px", [-15, -4, 0, 1, 9])
def test_shift_of_a_picture_is_read_back_with_its_sign(shift_px: int) -> None:
    before = smooth_texture(64, 96)[None]
    read = metrics.horizontal_shift_px(before, np.roll(before, shift_px, axis=2))
    assert read[0] == pytest.approx(shift_px, abs=0.6)


def test_shift_check_turns_a_picture_that_moves_right_into_a_turn_to_the_left() -> None:
    focal_px = 48 / math.tan(math.radians(30))
    shifts = [0, 3, 8, -5, 2, -9]
    frames = [smooth_texture(96, 128)]
    for shift in shifts:
        frames.append(np.roll(frames[-1], shift, axis=1))
    commanded = np.arctan(np.array(shifts) / focal_px)[None]
    check = following.shift_check(np.stack(frames)[None], commanded, 60.0)
    assert check["correlation"] > 0.99 and check["median_error_deg"] < 0.5


def test_correlation_of_what_does_not_vary_is_none() -> None:
    x = np.arange(5.0)
    assert metrics.correlation(x, 2 * x + 1) == pytest.approx(1.0)
    assert metrics.correlation(x, -x) == pytest.approx(-1.0)
    assert metrics.correlation(x, np.ones(5)) is None


def test_slope_says_how_much_of_the_command_is_done() -> None:
    x = np.array([1.0, -2.0, 3.0])
    assert metrics.slope(x, 0.5 * x) == pytest.approx(0.5)
    assert metrics.slope(np.zeros(3), x) is None


def test_interval_holds_the_mean_and_narrows_with_more_items() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    few, many = (metrics.interval95(lambda i, n=n: values[:n][i].mean(), n) for n in (25, 400))
    assert few[0] < 3.0 < few[1] and many[0] < 3.0 < many[1]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 / 20, rel=0.2)  # the standard error of 400 values is 1/20
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])


def test_rare_key_weighs_like_a_common_one() -> None:
    wanted = np.array([0] * 98 + [1, -1])
    assert metrics.balanced_accuracy(np.zeros(100, int), wanted, (-1, 0, 1)) == pytest.approx(1 / 3)
    assert metrics.balanced_accuracy(wanted, wanted, (-1, 0, 1)) == 1.0


def test_following_is_perfect_when_the_commanded_motion_is_read() -> None:
    commanded = np.random.default_rng(0).normal(size=(3, 20, 4)) * (0.2, 0.2, 0.05, 0.02)
    figures = following.compare(commanded, commanded, EXPLORE)
    assert all(figures[name]["correlation"] == pytest.approx(1.0) for name in ("forward_m", "right_m", "yaw_left_rad"))
    assert figures["yaw_left_rad"]["mae_deg"] == 0.0 and figures["yaw_left_rad"]["gain"] == pytest.approx(1.0)
    assert figures["key_accuracy"]["forward_m"]["balanced_accuracy"] == 1.0
    assert following.lead_by_part(commanded, commanded, EXPLORE) == pytest.approx([1.0] * 4)


def test_fading_shows_in_the_last_quarter() -> None:
    rng = np.random.default_rng(0)
    commanded = rng.normal(size=(4, 80, 4))
    read = commanded.copy()
    read[:, 60:] = rng.normal(size=(4, 20, 4))
    parts = following.lead_by_part(read, commanded, EXPLORE)
    assert min(parts[:3]) > 0.99 and abs(parts[3]) < 0.5


def test_moving_means_walked_or_turned_by_the_stated_amount() -> None:
    before = np.zeros((4, 5))
    after = np.array([[0.74, 0, 0, 0, 0], [0.5, 0.6, 0, 0, 0], [0, 0, 0, math.radians(-16), 0], [0, 0, 0, 0.1, 0.4]])
    assert EXPLORE.is_moving(before, after).tolist() == [False, True, True, False]


def test_fidelity_compares_each_contender_with_the_truth() -> None:
    truth = np.full((3, 16, 16, 3), 100, np.uint8)
    figures = fidelity.compare(truth + 5, truth + 10, truth, truth)
    assert figures["gain_over_repeat_db"] == pytest.approx(20 * math.log10(2))
    assert figures["codec_ceiling"]["psnr_db"] == metrics.IDENTICAL_DB
    assert figures["share_better_than_repeat"] == 1.0


def test_drift_looks_at_every_tenth_of_the_run_and_never_at_the_prompt() -> None:
    picks = drift.picks(962, 2)
    assert picks.shape == (10, drift.PAIRS_PER_WINDOW)
    assert picks.min() > 2 and picks.max() == 961
    assert (np.diff(picks.ravel()) > 0).all()
    assert np.allclose(picks.mean(axis=1), 3 + 958 * (np.arange(10) + 0.5) / 10, atol=3)


def test_worst_window_is_found_in_the_middle_and_on_both_sides() -> None:
    real = {"sharpness": np.full((2, 10), 0.5)}
    blurred = {"sharpness": np.full((2, 10), 0.5)}
    blurred["sharpness"][:, 4] = 0.2
    assert drift.compare(blurred, real)["sharpness"]["worst"] == pytest.approx(0.4)
    assert drift.worst(np.array([1.0, 0.65, 1.41])) == 1.41


def figures_for_bars(correlation: float | None, gain: float, sharpness: float, contrast: float,
                     lost: float) -> dict:
    return {"following": {"leads": ["yaw_left_rad"], "generated": {"yaw_left_rad": {"correlation": correlation}}},
            "fidelity": {"horizons": {"1s": {"moving": {"gain_over_repeat_db": gain}}}},
            "drift": {"sharpness": {"worst": sharpness, "drift": lost}, "contrast": {"worst": contrast, "drift": lost}}}


def test_bars_are_those_of_training_without_an_accelerator() -> None:
    assert all(bar["met"] for bar in bars(figures_for_bars(0.95, 3.0, 0.6, 1.4, 0.15)))
    missed = bars(figures_for_bars(None, 2.99, 0.59, 1.41, 0.151))
    assert len(missed) == 6 and not any(bar["met"] for bar in missed)


def test_drift_is_the_last_fifth_against_the_first() -> None:
    windows = np.array([1.0, 0.8, 5.0, 5.0, 0.1, 0.1, 3.0, 3.0, 0.6, 0.66])
    assert drift.drift_of(windows) == pytest.approx(0.3)
    assert drift.drift_of(windows[::-1]) == pytest.approx(0.9 / 0.63 - 1)


def test_path_of_a_walker_turns_with_its_heading_and_a_hand_never_turns() -> None:
    quarter = np.zeros((1, 3, 4))
    quarter[0, :, 0] = 1.0  # a step ahead, then a quarter turn to the left
    quarter[0, :, 2] = np.pi / 2
    places, headings = following.integrate(quarter, EXPLORE)
    assert np.allclose(places[0], [[0, 0], [1, 0], [1, 1], [0, 1]]) and headings[0, -1] == pytest.approx(1.5 * np.pi)
    hand, still = following.integrate(np.tile([0.1, 0.0, -0.2, 9.0], (1, 2, 1)), motions_of("arm"))
    assert np.allclose(hand[0], [[0, 0, 0], [0.1, 0, -0.2], [0.2, 0, -0.4]]) and not still.any()


def test_path_errors_are_distances_of_ends_beside_the_way() -> None:
    true = np.zeros((2, 40, 2))
    true[..., 0] = 0.5
    read = true.copy()
    read[:, 0, 1] = 0.1  # a turn that nobody made: a metre of the next ones is walked askew
    errors = following.path_errors(read, true, motions_of("drive"), fps=16)
    assert errors.keys() == {"2s"}  # 2.5 s are not 8
    error = errors["2s"]
    assert error["way_m"] == pytest.approx(16.0) and error["turned_deg"] == 0.0
    assert error["rotation_deg"] == pytest.approx(math.degrees(0.1))
    assert error["translation_m"] == pytest.approx(2 * 15.5 * math.sin(0.05))
