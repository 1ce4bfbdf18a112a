"""One evaluation: walks of the simulator once, then each figure's rollouts, numbers and pictures from them.

The world is shown the first frames of a held-out walk and then plays freely under the walk's own action rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..train.dataset import HELD_OUT_SEED_BASE
from . import drift, fidelity, following, pictures, revisit
from .motion_reader import MotionReader
from .rollout import WorldParts, roll_out, through_codec
from .truth import Simulator, Walk

PROMPT_FRAMES = 2  # true frames before the world plays by itself: hardly more than a start picture gives
FIDELITY_STARTS = 3  # places in each walk from which fidelity is measured
CURVE_EVERY_FRAMES = 2  # of the plot of fidelity over time

MIN_CORRELATION = 0.9
MIN_GAIN_DB = 2.0
LOOK_RANGE = (0.6, 1.4)


@dataclass(frozen=True)
class Options:
    """What one evaluation runs; everything that changes its figures."""

    seed_base: int = HELD_OUT_SEED_BASE
    num_rollouts: int = 20
    rollout_s: float = 8.0
    num_drift_runs: int = 4
    drift_s: float = 60.0


@dataclass
class Evaluation:
    """Truth of one evaluation, and where pictures go (None: nowhere). Frame 0 of a walk is the first prompt frame."""

    world: WorldParts
    options: Options
    report: Path | None
    walks: list[Walk] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> int:
        return self.world.config.fps

    @property
    def num_prompt(self) -> int:
        """PROMPT_FRAMES, rounded up to whole chunks."""
        chunk = self.world.config.stream.latent_frames_per_chunk
        return -(-PROMPT_FRAMES // chunk) * chunk

    def frames_of(self, seconds: float) -> int:
        """Frames of a rollout that plays freely for so long, the prompt included."""
        return self.num_prompt + round(seconds * self.fps)

    def frame_at(self, seconds: float) -> int:
        """Index of the frame so long after the last prompt frame."""
        return self.num_prompt - 1 + round(seconds * self.fps)

    def roll_out(self, walks: list[Walk], seeds: list[int]) -> np.ndarray:
        """Play walks freely from their first frames; return (B, F, H, W, 3) uint8."""
        return roll_out(self.world, np.stack([w.frames[:self.num_prompt] for w in walks]),
                        np.stack([w.rows for w in walks]), seeds)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note the seconds of a block."""
        begin_s = time.perf_counter()
        yield
        self.timings_s[name] = round(time.perf_counter() - begin_s, 1)


def evaluate(world: WorldParts, simulator: Simulator, reader: MotionReader, options: Options,
             report: Path | None) -> dict[str, Any]:
    """Run every part and return the figures."""
    run = Evaluation(world, options, report)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    with run.timed("simulator"):
        for index in range(max(options.num_rollouts, options.num_drift_runs)):
            seconds = options.drift_s if index < options.num_drift_runs else options.rollout_s
            length = run.frames_of(max(seconds, options.rollout_s))
            run.walks.append(simulator.walk(options.seed_base + index, length))
    figures: dict[str, Any] = {}
    with run.timed("following"):
        figures["following"] = run_following(run, reader)
    with run.timed("fidelity"):
        figures["fidelity"] = run_fidelity(run)
    with run.timed("drift"):
        figures["drift"] = run_drift(run)
    if world.config.controls.modality == "camera":
        with run.timed("revisit"):
            figures["revisit"] = run_revisit(run)
    return {**figures, "bars": bars(figures), "timings_s": run.timings_s}


def run_following(run: Evaluation, reader: MotionReader) -> dict[str, Any]:
    """Figure (a), for generated and for true frames, so that the reader's own error is known."""
    walks = [walk.part(0, run.frames_of(run.options.rollout_s)) for walk in run.walks[:run.options.num_rollouts]]
    seeds, last = [walk.seed for walk in walks], run.num_prompt - 1
    truth = np.stack([walk.frames for walk in walks])
    commanded = np.stack([walk.commanded for walk in walks])[:, run.num_prompt:]
    moved = np.stack([walk.moved for walk in walks])[:, run.num_prompt:]
    dream = run.roll_out(walks, seeds)
    read, read_true = (reader.read(frames[:, last:]) for frames in (dream, truth))
    if run.report is not None:
        pictures.following_sheet(run.report, dream, truth, seeds, run.fps, run.num_prompt)
        pictures.yaw_plot(run.report, read, read_true, commanded, seeds, run.fps)
    fov_deg = run.world.config.controls.vertical_fov_deg
    return {
        "num_rollouts": len(walks), "seconds": run.options.rollout_s,
        "generated": following.compare(read, commanded),
        "true_frames": following.compare(read_true, commanded),
        "reader_error_on_true_frames": following.compare(read_true, moved),
        "yaw_correlation_by_part": following.yaw_by_part(read, commanded),
        "yaw_correlation_by_rollout": following.yaw_by_rollout(read, commanded),
        "shift_check": {name: following.shift_check(frames[:, last:], commanded, fov_deg)
                        for name, frames in (("generated", dream), ("true_frames", truth))},
    }


def run_fidelity(run: Evaluation) -> dict[str, Any]:
    """Figure (b), from several starts in each walk."""
    clips = _clips(run, run.frames_of(max(fidelity.HORIZONS_S)))
    last = run.num_prompt - 1
    truth = np.stack([clip.frames for clip in clips])
    dream = run.roll_out(clips, [run.options.seed_base + number for number in range(len(clips))])
    moving = fidelity.is_moving(*(np.stack([clip.poses[at] for clip in clips]) for at in (last, run.frame_at(1.0))))
    horizons = {}
    for horizon_s in fidelity.HORIZONS_S:
        at = run.frame_at(horizon_s)
        contenders = dream[:, at], truth[:, last], through_codec(run.world, truth[:, at - 1:at + 1]), truth[:, at]
        horizons[f"{horizon_s:g}s"] = {
            "all": fidelity.compare(*contenders),
            "moving": fidelity.compare(*(frames[moving] for frames in contenders)) if moving.any() else None}
    picks = list(range(run.num_prompt, truth.shape[1], CURVE_EVERY_FRAMES))
    curve = {"seconds": [(pick - last) / run.fps for pick in picks]}
    if moving.any():
        curve |= fidelity.curve_db(dream[moving][:, picks], truth[moving, last], truth[moving][:, picks])
        if run.report is not None:
            ceilings = [figures["moving"]["codec_ceiling"]["psnr_db"] for figures in horizons.values()]
            pictures.psnr_plot(run.report, curve, fidelity.HORIZONS_S, ceilings)
    return {"num_clips": len(clips), "num_moving": int(moving.sum()), "moving_rule": fidelity.MOVING_RULE,
            "prompt_frames": run.num_prompt, "horizons": horizons, "curve_db": curve}


def _clips(run: Evaluation, length: int) -> list[Walk]:
    """Cut FIDELITY_STARTS pieces out of every walk, at even distances."""
    room = run.frames_of(run.options.rollout_s) - length
    starts = {round(share * max(0, room)) for share in np.linspace(0.0, 1.0, FIDELITY_STARTS)}
    return [walk.part(start, length) for walk in run.walks[:run.options.num_rollouts] for start in sorted(starts)]


def run_drift(run: Evaluation) -> dict[str, Any]:
    """Figure (c)."""
    num_frames = run.frames_of(run.options.drift_s)
    walks = [walk.part(0, num_frames) for walk in run.walks[:run.options.num_drift_runs]]
    seeds = [walk.seed for walk in walks]
    truth = np.stack([walk.frames for walk in walks])
    dream = run.roll_out(walks, seeds)
    picks = drift.picks(num_frames, run.num_prompt).ravel()
    generated = drift.measure(dream[:, picks - 1], dream[:, picks])
    figures = drift.compare(generated, drift.measure(truth[:, picks - 1], truth[:, picks]))
    if run.report is not None:
        times_s = pictures.drift_times_s(run.options.drift_s)
        shown = [min(num_frames - 1, run.frame_at(time_s)) for time_s in times_s]
        pictures.drift_sheet(run.report, dream[:, shown], truth[:, shown], seeds, times_s)
        pictures.drift_plot(run.report, figures, run.options.drift_s, LOOK_RANGE)
    return {"num_runs": len(walks), "seconds": run.options.drift_s, "num_windows": drift.NUM_WINDOWS, **figures}


def run_revisit(run: Evaluation) -> dict[str, Any]:
    """Figure (d): tours that come back to where they started, from the first frames of every walk."""
    walks = run.walks[:run.options.num_rollouts]
    # A still past: every tour is measured against its last prompt frame, from which it starts.
    prompts = np.stack([np.repeat(walk.frames[:1], run.num_prompt, axis=0) for walk in walks])
    starts, figures, shown = prompts[:, -1], {}, {}
    for name, rows in revisit.tours().items():
        still = np.repeat(np.stack(revisit.STILL), run.num_prompt, axis=0)
        rows = np.tile(np.concatenate([still, rows]), (len(walks), 1, 1))
        frames = roll_out(run.world, prompts, rows, [walk.seed for walk in walks])
        figures[name] = revisit.compare(starts, frames[:, -1], rows[0, run.num_prompt:])
        shown[name] = frames[:, run.num_prompt - 1:]
    if run.report is not None:
        pictures.revisit_sheet(run.report, shown, [walk.seed for walk in walks])
    return {"num_starts": len(walks), "tours": figures, "other_places": revisit.other_places(starts)}


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of this version: what was measured, what was asked, whether it is met."""
    at_1s = figures["fidelity"]["horizons"]["1s"]["moving"]
    entries = [
        ("yaw_correlation", figures["following"]["generated"]["yaw_left_rad"]["correlation"], MIN_CORRELATION, None),
        ("gain_over_repeat_1s_db", at_1s["gain_over_repeat_db"] if at_1s else None, MIN_GAIN_DB, None),
        ("sharpness_worst_window", figures["drift"]["sharpness"]["worst"], *LOOK_RANGE),
        ("contrast_worst_window", figures["drift"]["contrast"]["worst"], *LOOK_RANGE),
    ]
    return [{"name": name, "measured": measured, "at_least": low, "at_most": high,
             "met": measured is not None and low <= measured and (high is None or measured <= high)}
            for name, measured, low, high in entries]
