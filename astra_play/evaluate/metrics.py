"""Frames -> numbers: fidelity (PSNR, SSIM), look (sharpness, contrast, saturation), motion between two frames.

Frames are uint8 RGB, (..., H, W, 3); every function works on the last axes and keeps the ones before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
IDENTICAL_DB = 100.0  # stands for infinity where two frames are equal, so that means stay finite
SSIM_SIGMA_PX, SSIM_RADIUS_PX = 1.5, 5  # Wang et al. 2004
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def luminance(frames: np.ndarray) -> np.ndarray:
    """Return (..., H, W) float32 in [0, 1]."""
    return frames.astype(np.float32) @ (LUMINANCE / 255.0)


def psnr_db(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame over all pixels and colours, in dB."""
    error = frames.astype(np.float32) - truth.astype(np.float32)
    mse = np.square(error).mean(axis=(-3, -2, -1), dtype=np.float64)
    return np.minimum(10.0 * np.log10(255.0**2 / np.maximum(mse, 1e-12)), IDENTICAL_DB)


def ssim(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame's luminance, Gaussian window of 11 pixels, 1 = equal."""
    ours, theirs = (torch.from_numpy(luminance(f)).flatten(0, -3)[:, None] for f in (frames, truth))
    taps = torch.exp(-torch.arange(-SSIM_RADIUS_PX, SSIM_RADIUS_PX + 1).square() / (2 * SSIM_SIGMA_PX**2))
    taps = taps / taps.sum()

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(x, taps[None, None, None, :]), taps[None, None, :, None])

    mean_a, mean_b = blur(ours), blur(theirs)
    var_a, var_b = blur(ours * ours) - mean_a**2, blur(theirs * theirs) - mean_b**2
    covariance = blur(ours * theirs) - mean_a * mean_b
    index = ((2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
             / ((mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)))
    return index.mean(dim=(1, 2, 3)).double().numpy().reshape(frames.shape[:-3])


def sharpness(frames: np.ndarray) -> np.ndarray:
    """Mean gradient magnitude of each frame's luminance, per pixel."""
    light = luminance(frames)
    right = light[..., :-1, 1:] - light[..., :-1, :-1]
    down = light[..., 1:, :-1] - light[..., :-1, :-1]
    return np.hypot(right, down).mean(axis=(-2, -1), dtype=np.float64)


def laplacian_energy(frames: np.ndarray) -> np.ndarray:
    """Mean square of each frame's luminance Laplacian: weighs the finest detail more than `sharpness` does."""
    light = luminance(frames)
    inner = light[..., 1:-1, 1:-1]
    around = light[..., :-2, 1:-1] + light[..., 2:, 1:-1] + light[..., 1:-1, :-2] + light[..., 1:-1, 2:]
    return np.square(around - 4.0 * inner).mean(axis=(-2, -1), dtype=np.float64)


def contrast(frames: np.ndarray) -> np.ndarray:
    """Standard deviation of each frame's luminance."""
    return luminance(frames).std(axis=(-2, -1), dtype=np.float64)


def saturation(frames: np.ndarray) -> np.ndarray:
    """Mean distance of each frame's strongest from its weakest colour, 0 = grey, 1 = pure."""
    spread = frames.max(axis=-1).astype(np.float32) - frames.min(axis=-1)
    return spread.mean(axis=(-2, -1), dtype=np.float64) / 255.0


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean absolute difference of two frames, 1 = black to white; near 0 where a world stands still."""
    difference = np.abs(after.astype(np.float32) - before.astype(np.float32))
    return difference.mean(axis=(-3, -2, -1), dtype=np.float64) / 255.0


def horizontal_shift_px(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far the upper half of a picture moved to the right, by phase correlation, (N, H, W, 3) -> (N,).

    The upper half holds what is far away (sky, roofs, tree tops), which a turn shifts as a whole and a step
    hardly does.
    """
    height, width = before.shape[-3:-1]
    window = np.hanning(height // 2)[:, None] * np.hanning(width)[None, :]

    def spectrum(frames: np.ndarray) -> np.ndarray:
        light = luminance(frames[..., : height // 2, :, :])
        return np.fft.rfft2((light - light.mean(axis=(-2, -1), keepdims=True)) * window)

    cross = spectrum(after) * np.conj(spectrum(before))
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=(height // 2, width))
    rows = surface[:, (-1, 0, 1)].sum(axis=1)  # turns keep the height; one row either way is rounding and pitch
    peak = rows.argmax(axis=-1)
    index = np.arange(len(rows))
    left, centre, right = (rows[index, (peak + offset) % width] for offset in (-1, 0, 1))
    bend = left - 2.0 * centre + right
    offset = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-12), 0.0)
    shift = peak + offset
    return np.where(shift > width / 2, shift - width, shift)


def correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's correlation of all values; None where one of them does not vary."""
    x, y = np.ravel(x).astype(np.float64), np.ravel(y).astype(np.float64)
    if x.std() < 1e-9 or y.std() < 1e-9:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def slope(x: np.ndarray, y: np.ndarray) -> float | None:
    """Slope of y over x through the origin: 1 where y does as much as x asks; None where x asks nothing."""
    energy = float(np.square(x).sum())
    return float((x * y).sum() / energy) if energy > 0 else None


def interval95(statistic: Callable[[np.ndarray], float | None], num_items: int,
               num_resamples: int = 1000, seed: int = 0) -> list[float]:
    """Bootstrap: the 2.5 and 97.5 percentiles of `statistic(indices)` over items drawn with replacement."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(num_items, size=num_items)) for _ in range(num_resamples)]
    values = [value for value in values if value is not None]
    return [float(v) for v in np.percentile(values, (2.5, 97.5))] if values else []


def balanced_accuracy(read: np.ndarray, wanted: np.ndarray, classes: Sequence[int]) -> float | None:
    """Mean over the classes that occur of the share that was read right, so that rare keys weigh like common ones."""
    shares = [float((read[wanted == c] == c).mean()) for c in classes if (wanted == c).any()]
    return float(np.mean(shares)) if shares else None
