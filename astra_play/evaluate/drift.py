"""Figure (c): do minutes of free running keep the look of real frames? Worst of ten windows, and begin against end."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import metrics

NUM_WINDOWS = 10  # a collapse in the middle that heals again must show
PAIRS_PER_WINDOW = 24  # frames looked at, each with its predecessor; decoding all of them would say the same, later
FAINTEST = 1e-6  # in place of nothing at all, so that a grey world compares with a grey one
LOOKS = {"sharpness": metrics.sharpness, "contrast": metrics.contrast, "saturation": metrics.saturation,
         "laplacian_energy": metrics.laplacian_energy}


def picks(num_frames: int, first: int) -> np.ndarray:
    """Return the frames (NUM_WINDOWS, PAIRS_PER_WINDOW) to look at, evenly over first + 1 .. num_frames - 1."""
    total = NUM_WINDOWS * PAIRS_PER_WINDOW
    return np.linspace(first + 1, num_frames - 1, total).round().astype(int).reshape(NUM_WINDOWS, PAIRS_PER_WINDOW)


def measure(before: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Return every look and the change from the frame before, (B, NUM_WINDOWS), of picked frames (B, F, H, W, 3)."""
    values = {name: look(frames) for name, look in LOOKS.items()} | {"change": metrics.change(before, frames)}
    return {name: v.reshape(len(frames), NUM_WINDOWS, -1).mean(axis=2) for name, v in values.items()}


def compare(generated: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return per look the ratio to real frames in each window, and the window that is furthest from 1.

    The yardstick is the mean over all real frames of the same walks. A walk looks at sky here and at a house there, so
    `real_windows` gives the same ratios for the real frames: what the yardstick itself wavers by.
    """
    figures = {}
    for name, values in generated.items():
        ours, theirs = (np.maximum(v, FAINTEST) for v in (values, real[name]))
        yardstick = theirs.mean()
        ratios = ours.mean(axis=0) / yardstick
        single = ours / theirs.mean(axis=1, keepdims=True)
        figures[name] = {"windows": ratios.tolist(), "worst": worst(ratios), "mean": float(ratios.mean()),
                         "real_windows": (theirs.mean(axis=0) / yardstick).tolist(),
                         "drift": drift_of(ours.mean(axis=0)), "real_drift": drift_of(theirs.mean(axis=0)),
                         "worst_of_any_single_run": worst(single)}
    return figures


def drift_of(windows: np.ndarray) -> float:
    """Return by what share of the first part's look the last part differs from it.

    First and last are the outer fifths of a run, as in FramePack's start-to-end measure of drift (arXiv 2504.12626):
    views change from window to window in real walks too, and what stays after that is what adds up.
    """
    part = max(1, len(windows) // 5)
    begin, end = windows[:part].mean(), windows[-part:].mean()
    return float(abs(end / begin - 1.0))


def worst(ratios: np.ndarray) -> float:
    """Return the ratio that is furthest from 1 either way."""
    ratios = np.ravel(ratios)
    return float(ratios[np.argmax(np.abs(ratios - 1.0))])
