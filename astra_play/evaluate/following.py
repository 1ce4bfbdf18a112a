"""Figure (a): does the world do what it is told? Motion read back from generated frames against commanded motion."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import metrics
from .motions import Motions

NUM_PARTS = 4  # of a rollout, for the figure that shows whether following fades
PATH_S = (2.0, 8.0)  # after which the paths read and commanded are compared


def compare(read: np.ndarray, commanded: np.ndarray, kind: Motions) -> dict[str, Any]:
    """Return how motion read from frames follows commanded motion, both (B, F, M) of the scenario's motions."""
    figures: dict[str, Any] = {name: _axis(read[..., i], commanded[..., i], angle=name.endswith("rad"))
                               for i, name in enumerate(kind.names)}
    figures["key_accuracy"] = {name: _key_accuracy(read[..., kind.index(name)], commanded[..., kind.index(name)],
                                                   threshold) for name, threshold in kind.key_thresholds.items()}
    return figures


def lead_by_part(read: np.ndarray, commanded: np.ndarray, kind: Motions) -> list[float | None]:
    """Correlation of the first lead motion in each quarter of the rollouts, first to last."""
    lead, parts = kind.index(kind.leads[0]), np.array_split(np.arange(read.shape[1]), NUM_PARTS)
    return [metrics.correlation(read[:, part, lead], commanded[:, part, lead]) for part in parts]


def lead_by_rollout(read: np.ndarray, commanded: np.ndarray, kind: Motions) -> list[float | None]:
    """Correlation of the first lead motion within each rollout; None where none was commanded."""
    lead = kind.index(kind.leads[0])
    return [metrics.correlation(r[:, lead], c[:, lead]) for r, c in zip(read, commanded, strict=True)]


def path_errors(read: np.ndarray, moved: np.ndarray, kind: Motions, fps: int) -> dict[str, dict[str, float]]:
    """How far the path read from frames (B, F, M) has left the true one after PATH_S, on average over rollouts; of
    those times that rollouts last.

    `translation_m`: distance between the two ends (of camera or hand); `rotation_deg`: difference of the turns; both
    beside the length of the true path, `way_m` and `turned_deg`, so that a share can be told.
    """
    ours, true = (integrate(motion, kind) for motion in (read, moved))
    steps = np.linalg.norm(np.diff(true[0], axis=1), axis=2)
    figures = {}
    for seconds in PATH_S:
        if (at := round(seconds * fps)) > read.shape[1]:
            continue
        figures[f"{seconds:g}s"] = {
            "translation_m": float(np.linalg.norm(ours[0][:, at] - true[0][:, at], axis=1).mean()),
            "way_m": float(steps[:, :at].sum(axis=1).mean())}
        if "yaw_left_rad" in kind.names:
            figures[f"{seconds:g}s"] |= {
                "rotation_deg": float(np.degrees(np.abs(ours[1][:, at] - true[1][:, at])).mean()),
                "turned_deg": float(np.degrees(np.abs(np.diff(true[1][:, :at + 1], axis=1)).sum(axis=1)).mean())}
    return figures


def integrate(motion: np.ndarray, kind: Motions) -> tuple[np.ndarray, np.ndarray]:
    """Motions (B, F, M) -> places (B, F + 1, 2 or 3) in metres and headings (B, F + 1) in radians, from 0 on.

    A camera steps in its old heading and then turns; a hand's axes do not turn.
    """
    start = np.zeros_like(motion[:, :1, 0])
    if "yaw_left_rad" not in kind.names:
        places = np.cumsum(motion[..., [kind.index(name) for name in kind.leads]], axis=1)
        return np.concatenate([np.zeros_like(places[:, :1]), places], axis=1), np.zeros((len(motion), 1))
    heading = np.concatenate([start, np.cumsum(motion[..., kind.index("yaw_left_rad")], axis=1)], axis=1)
    ahead = motion[..., kind.index("forward_m")]
    right = motion[..., kind.index("right_m")] if "right_m" in kind.names else np.zeros_like(ahead)
    cos, sin = np.cos(heading[:, :-1]), np.sin(heading[:, :-1])
    steps = np.stack([ahead * cos + right * sin, ahead * sin - right * cos], axis=2)
    return np.concatenate([np.zeros_like(steps[:, :1]), np.cumsum(steps, axis=1)], axis=1), heading


def shift_check(frames: np.ndarray, yaw_left_rad: np.ndarray, vertical_fov_deg: float) -> dict[str, float | None]:
    """A second opinion that has learned nothing: yaw from the sideways shift of the picture's upper half.

    `yaw_left_rad` (B, F - 1) is what was commanded between frames (B, F, H, W, 3).
    """
    focal_px = frames.shape[2] / 2 / np.tan(np.radians(vertical_fov_deg / 2))
    shifts = np.stack([metrics.horizontal_shift_px(clip[:-1], clip[1:]) for clip in frames])
    yaw = np.arctan(shifts / focal_px)
    return {"correlation": metrics.correlation(yaw, yaw_left_rad),
            "median_error_deg": float(np.degrees(np.median(np.abs(yaw - yaw_left_rad))))}


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
