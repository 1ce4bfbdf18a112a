"""The figures as pictures, in the report folder: sheets of truth above dream, and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .plots import Line, plot, save_column
from .sheets import save_sheet

SHEET_TIMES_S = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
SHEET_ROLLOUTS = 6
FOLLOWING_PLOTS = 4
DRIFT_EVERY_S = 3.0
DRIFT_COLUMNS = 10
REVISIT_COLUMNS, REVISIT_STARTS = 9, 3


def following_sheet(report: Path, dream: np.ndarray, truth: np.ndarray, seeds: Sequence[int], fps: int,
                    num_prompt: int) -> None:
    """truth_and_dream.png: several rollouts at given times after the last prompt frame (0 s)."""
    times_s = [t for t in SHEET_TIMES_S if num_prompt - 1 + round(t * fps) < dream.shape[1]]
    shown = [num_prompt - 1 + round(t * fps) for t in times_s]
    rows: list[tuple[str, Sequence[np.ndarray]]] = []
    for index in range(min(SHEET_ROLLOUTS, len(dream))):
        rows += [(f"true {seeds[index]}", truth[index, shown]), ("generated", dream[index, shown])]
    save_sheet(report / "truth_and_dream.png", rows, [f"{t:g} s" for t in times_s])


def drift_times_s(seconds: float) -> list[float]:
    """Times of the pictures on the drift sheet."""
    return [float(t) for t in np.arange(DRIFT_EVERY_S, seconds + 1e-6, DRIFT_EVERY_S)] or [seconds]


def drift_sheet(report: Path, dream: np.ndarray, truth: np.ndarray, seeds: Sequence[int],
                times_s: Sequence[float]) -> None:
    """free_run.png: each run every few seconds, in lines of ten; below it the true walk, which it may have left."""
    rows: list[tuple[str, Sequence[np.ndarray]]] = []
    for index, seed in enumerate(seeds):
        for name, frames in ((f"run {seed}", dream[index]), ("true walk", truth[index])):
            for start in range(0, len(times_s), DRIFT_COLUMNS):
                part = slice(start, start + DRIFT_COLUMNS)
                rows.append((f"{name}, {times_s[start]:g} s on", frames[part]))
        rows.append(("", []))
    columns = [f"+ {DRIFT_EVERY_S * i:g} s" for i in range(min(DRIFT_COLUMNS, len(times_s)))]
    save_sheet(report / "free_run.png", rows, columns)


def revisit_sheet(report: Path, tours: dict[str, np.ndarray], seeds: Sequence[int]) -> None:
    """revisit.png: tours (N, F, H, W, 3) from start to end at even distances; the last should equal the first."""
    rows = []
    for name, frames in tours.items():
        picks = np.linspace(0, frames.shape[1] - 1, REVISIT_COLUMNS).round().astype(int)
        title = name.replace("_", " ")
        rows += [(f"{title}, {seed}", frames[index, picks]) for index, seed in enumerate(seeds[:REVISIT_STARTS])]
    save_sheet(report / "revisit.png", rows, [f"{i} / {REVISIT_COLUMNS - 1}" for i in range(REVISIT_COLUMNS)])


def following_plot(report: Path, name: str, read: np.ndarray, read_true: np.ndarray, commanded: np.ndarray,
                   seeds: Sequence[int], fps: int) -> None:
    """following.png: one motion (B, F) per frame as commanded, and as read from generated and from true frames."""
    scale, unit = (180 / np.pi, "degrees") if name.endswith("_rad") else (1.0, "metres")
    seconds = [(t + 1) / fps for t in range(read.shape[1])]
    plots = []
    for index in range(min(FOLLOWING_PLOTS, len(read))):
        lines = [Line(label, seconds, (scale * values[index]).tolist(), dashed)
                 for label, values, dashed in (("commanded", commanded, False), ("generated", read, False),
                                              ("true frames", read_true, True))]
        plots.append(plot(f"{name} of seed {seeds[index]}", "seconds", f"{unit} a frame", lines, size=(820, 240)))
    save_column(report / "following.png", plots)


def psnr_plot(report: Path, curve: dict[str, list[float]], horizons_s: Sequence[float],
              ceilings_db: Sequence[float]) -> None:
    """psnr.png: fidelity by horizon on moving rollouts."""
    lines = [Line("generated", curve["seconds"], curve["generated"]),
             Line("repeat last frame", curve["seconds"], curve["repeat_last_frame"]),
             Line("codec ceiling", horizons_s, ceilings_db)]
    save_column(report / "psnr.png", [plot("PSNR of moving rollouts", "seconds of free running", "dB", lines)])


def drift_plot(report: Path, figures: dict[str, Any], seconds: float, allowed: tuple[float, float]) -> None:
    """drift.png: looks of the free run against real frames, window by window; dashed: the real frames' own windows."""
    plots = []
    for name in ("sharpness", "contrast", "saturation", "change"):
        windows = figures[name]["windows"]
        middle = [(i + 0.5) * seconds / len(windows) for i in range(len(windows))]
        top = max(1.6, *windows, *figures[name]["real_windows"])
        lines = [Line("generated", middle, windows), Line("real frames", middle, figures[name]["real_windows"], True)]
        plots.append(plot(name, "seconds", "ratio to real frames", lines, (640, 220), (0.0, top), allowed))
    save_column(report / "drift.png", plots)
