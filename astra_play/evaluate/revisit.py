"""Does the place come back? Tours that end where they began: the truth there is the picture they started from.

No simulator is asked: nothing moves in these worlds by itself. The scale is set by the likeness of one place to
another, which is what a world without a memory reaches by painting some place or other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..actions.rows import camera_row
from . import metrics

WALK_M = 0.1875  # 3 m/s at 16 frames a second, as walked in play
STILL = [camera_row()]


def tours() -> dict[str, np.ndarray]:
    """Camera rows (F, 12) of each tour, one for every frame made."""
    turn, walk = (lambda degrees: camera_row(0.0, 0.0, math.radians(degrees))), camera_row
    return {name: np.stack(rows) for name, rows in {
        "look_left_and_back": [turn(6)] * 15 + STILL * 4 + [turn(-6)] * 15,
        "turn_round_once": [turn(8)] * 45,
        "walk_out_and_back": [walk(WALK_M)] * 16 + STILL * 4 + [walk(-WALK_M)] * 16,
        "walk_on_and_look_back": [walk(WALK_M)] * 10 + [turn(6)] * 30 + [turn(-6)] * 30 + [walk(-WALK_M)] * 10,
    }.items()}


def path_of(rows: np.ndarray) -> dict[str, float]:
    """How far a tour goes, all of it counted: metres walked and degrees turned."""
    matrices = rows.reshape(-1, 3, 4)
    return {"metres": float(np.linalg.norm(matrices[:, :, 3], axis=1).sum()),
            "degrees": float(np.degrees(np.abs(np.arctan2(matrices[:, 0, 2], matrices[:, 0, 0]))).sum())}


def compare(starts: np.ndarray, ends: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Likeness of the last frames (N, H, W, 3) of a tour to those it began with, and the tour's length."""
    ssim, psnr = metrics.ssim(ends, starts), metrics.psnr_db(ends, starts)
    return {"ssim": float(ssim.mean()), "ssim_interval95": metrics.interval95(
        lambda index: float(ssim[index].mean()), len(ssim)), "psnr_db": float(psnr.mean()), "path": path_of(rows)}


def other_places(starts: np.ndarray) -> dict[str, float] | None:
    """Mean likeness of each start (N, H, W, 3) to the next one's: two places of different worlds. None of one alone."""
    if len(starts) < 2:
        return None
    others = np.roll(starts, 1, axis=0)
    return {"ssim": float(metrics.ssim(starts, others).mean()),
            "psnr_db": float(metrics.psnr_db(starts, others).mean())}
