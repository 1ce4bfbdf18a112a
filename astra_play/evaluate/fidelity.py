"""Figure (b): how near to the truth are generated frames after 0.5, 1 and 2 s under the same actions?"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import metrics

HORIZONS_S = (0.5, 1.0, 2.0)


def compare(generated: np.ndarray, repeated: np.ndarray, codec: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return the figures at one horizon; all are frames (N, H, W, 3).

    `repeated` is the last prompt frame, `codec` what the codec makes of the true frame: no world can be better.
    """
    contenders = {"generated": generated, "repeat_last_frame": repeated, "codec_ceiling": codec}
    psnr = {name: metrics.psnr_db(frames, truth) for name, frames in contenders.items()}
    figures: dict[str, Any] = {}
    for name, frames in contenders.items():
        figures[name] = {"psnr_db": float(psnr[name].mean()), "psnr_db_interval95": _interval(psnr[name]),
                         "ssim": float(metrics.ssim(frames, truth).mean())}
    gain = psnr["generated"] - psnr["repeat_last_frame"]
    figures["gain_over_repeat_db"] = float(gain.mean())
    figures["gain_over_repeat_db_interval95"] = _interval(gain)
    figures["share_better_than_repeat"] = float((gain > 0).mean())
    return figures


def curve_db(generated: np.ndarray, repeated: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """Mean PSNR per frame of horizon: generated and truth (N, F, H, W, 3), repeated (N, H, W, 3)."""
    return {"generated": metrics.psnr_db(generated, truth).mean(axis=0).tolist(),
            "repeat_last_frame": metrics.psnr_db(repeated[:, None], truth).mean(axis=0).tolist()}


def _interval(values: np.ndarray) -> list[float]:
    return metrics.interval95(lambda index: float(values[index].mean()), len(values))
