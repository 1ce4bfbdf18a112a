"""Figure (a): does the world do what it is told? Motion read back from generated frames against commanded motion."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import metrics
from .truth import MOTIONS

YAW = MOTIONS.index("yaw_left_rad")
NUM_PARTS = 4  # of a rollout, for the figure that shows whether following fades
# A key counts as read when the motion is at least half of what it commands: 3 m/s walking at 16 frames a second, and
# 1 degree a frame for turning, about a fifth of a held turning key.
KEY_THRESHOLDS = {"forward_m": 0.5 * 3.0 / 16, "right_m": 0.5 * 3.0 / 16, "yaw_left_rad": np.radians(1.0)}


def compare(read: np.ndarray, commanded: np.ndarray) -> dict[str, Any]:
    """Return how motion read from frames follows commanded motion, both (B, F, 4) of MOTIONS."""
    figures: dict[str, Any] = {name: _axis(read[..., i], commanded[..., i], angle=name.endswith("rad"))
                               for i, name in enumerate(MOTIONS)}
    figures["key_accuracy"] = {name: _key_accuracy(read[..., MOTIONS.index(name)], commanded[..., MOTIONS.index(name)],
                                                   threshold) for name, threshold in KEY_THRESHOLDS.items()}
    return figures


def yaw_by_part(read: np.ndarray, commanded: np.ndarray) -> list[float | None]:
    """Correlation of yaw in each quarter of the rollouts, first to last."""
    parts = np.array_split(np.arange(read.shape[1]), NUM_PARTS)
    return [metrics.correlation(read[:, part, YAW], commanded[:, part, YAW]) for part in parts]


def yaw_by_rollout(read: np.ndarray, commanded: np.ndarray) -> list[float | None]:
    """Correlation of yaw within each rollout; None where none was commanded."""
    return [metrics.correlation(r[:, YAW], c[:, YAW]) for r, c in zip(read, commanded, strict=True)]


def shift_check(frames: np.ndarray, commanded: np.ndarray, vertical_fov_deg: float) -> dict[str, float | None]:
    """A second opinion that has learned nothing: yaw from the sideways shift of the picture's upper half."""
    focal_px = frames.shape[2] / 2 / np.tan(np.radians(vertical_fov_deg / 2))
    shifts = np.stack([metrics.horizontal_shift_px(clip[:-1], clip[1:]) for clip in frames])
    yaw = np.arctan(shifts / focal_px)
    wanted = commanded[..., YAW]
    return {"correlation": metrics.correlation(yaw, wanted),
            "median_error_deg": float(np.degrees(np.median(np.abs(yaw - wanted))))}


def _axis(read: np.ndarray, commanded: np.ndarray, angle: bool) -> dict[str, Any]:
    error = np.abs(read - commanded).mean()
    pooled = metrics.interval95(lambda i: metrics.correlation(read[i], commanded[i]), len(read))
    return {"correlation": metrics.correlation(read, commanded), "correlation_interval95": pooled,
            "gain": metrics.slope(commanded, read),
            **({"mae_deg": float(np.degrees(error))} if angle else {"mae_m": float(error)})}


def _key_accuracy(read: np.ndarray, commanded: np.ndarray, threshold: float) -> dict[str, float | None]:
    """Sort both into back / none / ahead (right / none / left) and compare frame by frame."""
    seen, wanted = (np.sign(v) * (np.abs(v) >= threshold) for v in (read, commanded))
    return {"accuracy": float((seen == wanted).mean()),
            "balanced_accuracy": metrics.balanced_accuracy(seen, wanted, (-1, 0, 1))}
