"""One evaluation of one scenario: walks of the simulator once, then each figure's rollouts, numbers and pictures.

The world is shown the first frames of a held-out walk and then plays freely under the walk's own action rows.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..train.dataset import HELD_OUT_SEED_BASE
from . import drift, fidelity, following, metrics, pictures, revisit
from .motion_reader import MotionReader
from .motions import Motions
from .rollout import WorldParts, roll_out, routing_of, through_codec, time_chunks
from .truth import Simulator, Walk

PROMPT_FRAMES = 2  # true frames before the world plays by itself: hardly more than a start picture gives
FIDELITY_STARTS = 3  # places in each walk from which fidelity is measured, where it is long enough
CURVE_EVERY_FRAMES = 2  # of the plot of fidelity over time

MIN_CORRELATION = 0.95
MIN_GAIN_DB = 3.0
MAX_DRIFT = 0.15
LOOK_RANGE = (0.6, 1.4)
SWEEP_ROLLOUTS, SWEEP_S = 8, 4.0  # of each setting that a sweep tries


@dataclass(frozen=True)
class Options:
    """What one evaluation runs; everything that changes its figures."""

    seed_base: int = HELD_OUT_SEED_BASE
    num_rollouts: int = 20
    rollout_s: float = 8.0
    num_drift_runs: int = 4
    drift_s: float = 120.0
    sweep_steps: tuple[int, ...] = ()  # numbers of denoise steps to compare with each other
    sweep_guidance: tuple[float, ...] = ()  # guidance scales


@dataclass
class Evaluation:
    """Truth of one evaluation, and where pictures go (None: nowhere). Frame 0 of a walk is the first prompt frame."""

    world: WorldParts
    kind: Motions
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

    def roll_out(self, walks: list[Walk], seeds: list[int], world: WorldParts | None = None) -> np.ndarray:
        """Play walks freely from their first frames; return (B, F, H, W, 3) uint8."""
        return roll_out(world or self.world, np.stack([w.frames[:self.num_prompt] for w in walks]),
                        np.stack([w.rows for w in walks]), seeds)

    def asked(self, walks: list[Walk]) -> np.ndarray:
        """What following is measured against, (B, F, M) from the first generated frame on.

        The commanded motion; for a hand the simulator's own under the same commands, which end where its arm does.
        """
        motion = [walk.moved if self.kind.still_camera else walk.commanded for walk in walks]
        return np.stack(motion)[:, self.num_prompt:]

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note the seconds of a block."""
        begin_s = time.perf_counter()
        yield
        self.timings_s[name] = round(time.perf_counter() - begin_s, 1)


def evaluate(world: WorldParts, simulator: Simulator, reader: MotionReader, options: Options,
             report: Path | None) -> dict[str, Any]:
    """Run every part and return the figures."""
    run = Evaluation(world, simulator.motions, options, report)
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
    with run.timed("router"):
        figures["router"] = run_router(run)
    with run.timed("latency"):
        figures["latency"] = time_chunks(world, run.walks[0].frames[:run.num_prompt], run.walks[0].rows)
    if options.sweep_steps or options.sweep_guidance:
        with run.timed("sweep"):
            figures["sweep"] = run_sweep(run, reader)
    return {**figures, "bars": bars(figures), "timings_s": run.timings_s}


def run_following(run: Evaluation, reader: MotionReader) -> dict[str, Any]:
    """Figure (a), for generated and for true frames, so that the reader's own error is known."""
    walks = [walk.part(0, run.frames_of(run.options.rollout_s)) for walk in run.walks[:run.options.num_rollouts]]
    seeds, last = [walk.seed for walk in walks], run.num_prompt - 1
    truth = np.stack([walk.frames for walk in walks])
    moved = np.stack([walk.moved for walk in walks])[:, run.num_prompt:]
    commanded = run.asked(walks)
    dream = run.roll_out(walks, seeds)
    read, read_true = (reader.read(frames[:, last:]) for frames in (dream, truth))
    if run.report is not None:
        pictures.following_sheet(run.report, dream, truth, seeds, run.fps, run.num_prompt)
        lead = run.kind.index(run.kind.leads[0])
        pictures.following_plot(run.report, run.kind.leads[0], *(m[..., lead] for m in (read, read_true, commanded)),
                                seeds, run.fps)
    figures = {
        "num_rollouts": len(walks), "seconds": run.options.rollout_s, "leads": list(run.kind.leads),
        "generated": following.compare(read, commanded, run.kind),
        "true_frames": following.compare(read_true, commanded, run.kind),
        "reader_error_on_true_frames": following.compare(read_true, moved, run.kind),
        "lead_correlation_by_part": following.lead_by_part(read, commanded, run.kind),
        "lead_correlation_by_rollout": following.lead_by_rollout(read, commanded, run.kind),
        "path": {"generated": following.path_errors(read, moved, run.kind, run.fps),
                 "true_frames": following.path_errors(read_true, moved, run.kind, run.fps)},
    }
    if not run.kind.still_camera:
        yaw, fov_deg = commanded[..., run.kind.index("yaw_left_rad")], run.world.config.controls.vertical_fov_deg
        figures["shift_check"] = {name: following.shift_check(frames[:, last:], yaw, fov_deg)
                                  for name, frames in (("generated", dream), ("true_frames", truth))}
    return figures


def run_fidelity(run: Evaluation) -> dict[str, Any]:
    """Figure (b), from several starts in each walk."""
    clips = _clips(run, run.frames_of(max(fidelity.HORIZONS_S)))
    last = run.num_prompt - 1
    truth = np.stack([clip.frames for clip in clips])
    dream = run.roll_out(clips, [run.options.seed_base + number for number in range(len(clips))])
    moving = run.kind.is_moving(*(np.stack([clip.poses[at] for clip in clips]) for at in (last, run.frame_at(1.0))))
    horizons, codec_looks = {}, []
    for horizon_s in fidelity.HORIZONS_S:
        at = run.frame_at(horizon_s)
        contenders = dream[:, at], truth[:, last], through_codec(run.world, truth[:, at - 1:at + 1]), truth[:, at]
        codec_looks.append(metrics.sharpness(contenders[2]).mean() / metrics.sharpness(contenders[3]).mean())
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
    return {"num_clips": len(clips), "num_moving": int(moving.sum()), "moving_rule": run.kind.moving_rule,
            "prompt_frames": run.num_prompt, "horizons": horizons, "curve_db": curve,
            "codec_sharpness_ratio": float(np.mean(codec_looks))}


def _clips(run: Evaluation, length: int) -> list[Walk]:
    """Cut FIDELITY_STARTS pieces out of every walk, at even distances; of a short one as many as do not overlap."""
    whole = run.frames_of(run.options.rollout_s)
    count = min(FIDELITY_STARTS, max(1, whole // length))
    starts = [round(share * max(0, whole - length)) for share in np.linspace(0.0, 1.0, count)]
    return [walk.part(start, length) for walk in run.walks[:run.options.num_rollouts] for start in starts]


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


def run_router(run: Evaluation) -> dict[str, Any]:
    """How much the action experts have to say: the mean weight of each, over frames that play freely."""
    walk = run.walks[0].part(0, run.frames_of(run.options.rollout_s))
    weights = routing_of(run.world, walk.frames[None, :run.num_prompt], walk.rows[None], [walk.seed])
    return {"mean_weights": weights.mean(axis=0).tolist(), "share_of_frames": (weights > 0).mean(axis=0).tolist()}


def run_sweep(run: Evaluation, reader: MotionReader) -> dict[str, list[dict[str, Any]]]:
    """Following and fidelity by the number of denoise steps and by guidance scale, on fewer and shorter rollouts."""
    length = run.frames_of(min(SWEEP_S, run.options.rollout_s))
    walks = [walk.part(0, length) for walk in run.walks[:min(SWEEP_ROLLOUTS, run.options.num_rollouts)]]
    commanded = run.asked(walks)
    truth, at = np.stack([walk.frames for walk in walks]), run.frame_at(1.0)

    def measure(world: WorldParts) -> dict[str, Any]:
        dream = run.roll_out(walks, [walk.seed for walk in walks], world)
        read = following.compare(reader.read(dream[:, run.num_prompt - 1:]), commanded, run.kind)
        return {"psnr_1s_db": float(metrics.psnr_db(dream[:, at], truth[:, at]).mean()),
                "ssim_1s": float(metrics.ssim(dream[:, at], truth[:, at]).mean()),
                "sharpness_ratio": float(metrics.sharpness(dream).mean() / metrics.sharpness(truth).mean()),
                **{f"{lead}_{figure}": read[lead][figure] for lead in run.kind.leads
                   for figure in ("correlation", "gain")}}

    return {"steps": [{"steps": steps, **measure(dataclasses.replace(run.world, num_steps=steps))}
                      for steps in run.options.sweep_steps],
            "guidance": [{"guidance_scale": scale, **measure(dataclasses.replace(run.world, guidance_scale=scale))}
                         for scale in run.options.sweep_guidance]}


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of this version: what was measured, what was asked, whether it is met."""
    at_1s = figures["fidelity"]["horizons"]["1s"]["moving"]
    entries = [(f"{lead}_correlation", figures["following"]["generated"][lead]["correlation"], MIN_CORRELATION, None)
               for lead in figures["following"]["leads"]]
    entries.append(("gain_over_repeat_1s_db", at_1s["gain_over_repeat_db"] if at_1s else None, MIN_GAIN_DB, None))
    for look in ("sharpness", "contrast"):
        entries.append((f"{look}_worst_window", figures["drift"][look]["worst"], *LOOK_RANGE))
        entries.append((f"{look}_drift", figures["drift"][look]["drift"], None, MAX_DRIFT))
    return [{"name": name, "measured": measured, "at_least": low, "at_most": high,
             "met": measured is not None and (low is None or measured >= low) and (high is None or measured <= high)}
            for name, measured, low, high in entries]
