"""`evaluate`: held-out walks -> rollouts -> figures; one JSON, one table, contact sheets and plots.

Seeds below `--seed-base` + the number of rollouts are walked by the simulator's behaviour policy and rendered on the spot;
the world is shown the first frames of each walk and then plays freely under the walk's own action rows.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

from .. import paths
from ..config import to_dict
from ..model.checkpoint import CODEC_FILE, MODEL_FILE
from ..train.dataset import HELD_OUT_SEED_BASE, _sha256
from . import drift, fidelity, following, pictures
from .motion_reader import motion_reader
from .rollout import WorldParts, decode, encode, load_parts, roll_out
from .truth import Simulator, Walk

PROMPT_FRAMES = 2  # true frames before the world plays by itself: as little as a start picture gives
FIDELITY_STARTS = 3  # places in each walk from which fidelity is measured
DRIFT_S = 60.0
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
    drift_s: float = DRIFT_S


@dataclass
class Evaluation:
    """Truth and rollouts of one evaluation, made once and read by every figure. Frame 0 is the first prompt frame."""

    world: WorldParts
    options: Options
    walks: list[Walk]
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


def evaluate(world: WorldParts, simulator: Simulator, options: Options, cache: Path, report: Path | None) -> dict[str, Any]:
    """Run every part and return the figures; pictures go to `report`, None: nowhere."""
    run = Evaluation(world, options, [])
    with _Timer(run, "simulator"):
        longest = [run.frames_of(options.drift_s if index < options.num_drift_runs else options.rollout_s)
                   for index in range(max(options.num_rollouts, options.num_drift_runs))]
        run.walks = [simulator.walk(options.seed_base + index, length) for index, length in enumerate(longest)]
    with _Timer(run, "motion_reader"):
        reader = motion_reader(simulator, world.config.width, world.config.height, cache)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    figures = {}
    with _Timer(run, "following"):
        figures["following"] = run_following(run, reader, report)
    with _Timer(run, "fidelity"):
        figures["fidelity"] = run_fidelity(run, report)
    with _Timer(run, "drift"):
        figures["drift"] = run_drift(run, report)
    return {**figures, "bars": bars(figures), "timings_s": {k: round(v, 1) for k, v in run.timings_s.items()}}


def run_following(run: Evaluation, reader, report: Path | None) -> dict[str, Any]:
    """Figure (a), for generated and for true frames, so that the reader's own error is known."""
    walks = [walk.part(0, run.frames_of(run.options.rollout_s)) for walk in run.walks[:run.options.num_rollouts]]
    truth = np.stack([walk.frames for walk in walks])
    commanded, moved = (np.stack([getattr(walk, name) for walk in walks])[:, run.num_prompt:] for name in ("commanded", "moved"))
    latents = roll_out(run.world, truth[:, :run.num_prompt], np.stack([w.rows for w in walks]), [w.seed for w in walks])
    dream = decode(run.world, latents)
    read, read_true = (reader.read(frames[:, run.num_prompt - 1:]) for frames in (dream, truth))
    if report is not None:
        pictures.following_sheet(report, dream, truth, [w.seed for w in walks], run.fps, run.num_prompt)
        pictures.yaw_plot(report, read, read_true, commanded, [w.seed for w in walks], run.fps)
    return {
        "num_rollouts": len(walks), "seconds": run.options.rollout_s,
        "generated": following.compare(read, commanded),
        "true_frames": following.compare(read_true, commanded),
        "reader_error_on_true_frames": following.compare(read_true, moved),
        "yaw_correlation_by_part": following.yaw_by_part(read, commanded),
        "yaw_correlation_by_rollout": following.yaw_by_rollout(read, commanded),
        "shift_check": {"generated": following.shift_check(dream[:, run.num_prompt - 1:], commanded),
                        "true_frames": following.shift_check(truth[:, run.num_prompt - 1:], commanded)},
    }


def run_fidelity(run: Evaluation, report: Path | None) -> dict[str, Any]:
    """Figure (b), from several starts in each walk."""
    length = run.frames_of(max(fidelity.HORIZONS_S))
    room = run.frames_of(run.options.rollout_s) - length
    starts = np.linspace(0, max(0, room), FIDELITY_STARTS if room > 0 else 1).round().astype(int)
    clips = [walk.part(start, length) for walk in run.walks[:run.options.num_rollouts] for start in starts]
    last, one_s = run.num_prompt - 1, run.num_prompt - 1 + run.fps
    moving = fidelity.is_moving(*(np.stack([clip.poses[t] for clip in clips]) for t in (last, one_s)))
    truth = np.stack([clip.frames for clip in clips])
    latents = roll_out(run.world, truth[:, :run.num_prompt], np.stack([clip.rows for clip in clips]),
                       [clip.seed + 1 + number for number, clip in enumerate(clips)])
    picks = list(range(run.num_prompt, length, 2))
    exact = sorted({*picks, *(last + round(h * run.fps) for h in fidelity.HORIZONS_S)})
    dream = decode(run.world, latents, exact)
    horizons = {}
    for horizon_s in fidelity.HORIZONS_S:
        at = last + round(horizon_s * run.fps)
        ceiling = decode(run.world, encode(run.world, truth[:, at - 1:at + 1]), [1])[:, 0]
        given = dream[:, exact.index(at)], truth[:, last], ceiling, truth[:, at]
        horizons[f"{horizon_s:g}s"] = {"moving": fidelity.compare(*(frames[moving] for frames in given)) if moving.any() else None,
                                       "all": fidelity.compare(*given)}
    curve = fidelity.curve_db(dream[moving], truth[moving, last], truth[moving][:, exact]) if moving.any() else {}
    seconds = [(t - last) / run.fps for t in exact]
    if report is not None and moving.any():
        pictures.psnr_plot(report, seconds, curve, {h: f["moving"]["codec_ceiling"]["psnr_db"] for h, f in horizons.items()})
    return {"num_clips": len(clips), "num_moving": int(moving.sum()), "moving_rule": fidelity.MOVING_RULE,
            "prompt_frames": run.num_prompt, "horizons": horizons, "curve_db": {"seconds": seconds, **curve}}


def run_drift(run: Evaluation, report: Path | None) -> dict[str, Any]:
    """Figure (c)."""
    walks = run.walks[:run.options.num_drift_runs]
    num_frames = run.frames_of(run.options.drift_s)
    truth = np.stack([walk.frames[:num_frames] for walk in walks])
    latents = roll_out(run.world, truth[:, :run.num_prompt], np.stack([w.rows[:num_frames] for w in walks]),
                       [w.seed for w in walks])
    picks = drift.picks(num_frames, run.num_prompt).ravel()
    generated = drift.measure(decode(run.world, latents, picks - 1), decode(run.world, latents, picks))
    figures = drift.compare(generated, drift.measure(truth[:, picks - 1], truth[:, picks]))
    if report is not None:
        times_s = pictures.drift_times_s(run.options.drift_s)
        shown = [min(num_frames - 1, run.num_prompt - 1 + round(t * run.fps)) for t in times_s]
        pictures.drift_sheet(report, decode(run.world, latents, shown), truth[:, shown], [w.seed for w in walks], times_s)
        pictures.drift_plot(report, figures, run.options.drift_s, LOOK_RANGE)
    return {"num_runs": len(walks), "seconds": run.options.drift_s, "num_windows": drift.NUM_WINDOWS, **figures}


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of this version: what was measured, what was asked, whether it is met."""
    at_1s = figures["fidelity"]["horizons"]["1s"]["moving"]
    entries = [
        ("yaw_correlation", figures["following"]["generated"]["yaw_left_rad"]["correlation"], (MIN_CORRELATION, None)),
        ("gain_over_repeat_1s_db", at_1s["gain_over_repeat_db"] if at_1s else None, (MIN_GAIN_DB, None)),
        ("sharpness_worst_window", figures["drift"]["sharpness"]["worst"], LOOK_RANGE),
        ("contrast_worst_window", figures["drift"]["contrast"]["worst"], LOOK_RANGE),
    ]
    return [{"name": name, "measured": measured, "at_least": low, "at_most": high,
             "met": measured is not None and low <= measured <= (np.inf if high is None else high)}
            for name, measured, (low, high) in entries]


def table(result: dict[str, Any]) -> str:
    """Return the figures that matter as lines of text."""
    lines = [f"{result['world']['title']} ({result['world']['name']}), {result['options']['num_rollouts']} held-out walks "
             f"from seed {result['options']['seed_base']}, {sum(result['timings_s'].values()):.0f} s", ""]
    lines += _following_lines(result["following"]) + _fidelity_lines(result["fidelity"]) + _drift_lines(result["drift"])
    lines += ["bar                          asked        measured"]
    for bar in result["bars"]:
        asked = f">= {bar['at_least']:g}" if bar["at_most"] is None else f"{bar['at_least']:g} to {bar['at_most']:g}"
        lines.append(f"{bar['name']:<28} {asked:<12} {_number(bar['measured'], 3):<9} {'met' if bar['met'] else 'missed'}")
    return "\n".join(lines)


def _following_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"following, {figures['num_rollouts']} rollouts of {figures['seconds']:g} s   generated   true frames"]
    generated, true = figures["generated"], figures["true_frames"]
    for name in ("yaw_left_rad", "forward_m", "right_m", "pitch_up_rad"):
        lines.append(f"  correlation {name:<14}            {_number(generated[name]['correlation'], 3):<11} "
                     f"{_number(true[name]['correlation'], 3)}")
    for name, ours in generated["key_accuracy"].items():
        lines.append(f"  balanced key accuracy {name:<14}  {_number(ours['balanced_accuracy'], 3):<11} "
                     f"{_number(true['key_accuracy'][name]['balanced_accuracy'], 3)}")
    check = figures["shift_check"]
    lines.append(f"  yaw by picture shift                  {_number(check['generated']['correlation'], 3):<11} "
                 f"{_number(check['true_frames']['correlation'], 3)}")
    error = figures["reader_error_on_true_frames"]["yaw_left_rad"]["mae_deg"]
    parts = ", ".join(_number(part, 2) for part in figures["yaw_correlation_by_part"])
    return [*lines, f"  the reader's yaw error on true frames is {error:.2f} degrees a frame; yaw by quarter: {parts}", ""]


def _fidelity_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"PSNR in dB, {figures['num_moving']} moving of {figures['num_clips']} rollouts",
             "  after   generated   repeat   codec   gain (95 %)             SSIM   repeat"]
    for name, both in figures["horizons"].items():
        f = both["moving"]
        if f:
            interval = " to ".join(f"{v:.2f}" for v in f["gain_over_repeat_db_interval95"])
            lines.append(f"  {name:<7} {f['generated']['psnr_db']:<11.2f} {f['repeat_last_frame']['psnr_db']:<8.2f} "
                         f"{f['codec_ceiling']['psnr_db']:<7.2f} {f['gain_over_repeat_db']:+.2f} ({interval})".ljust(61)
                         + f" {f['generated']['ssim']:<6.3f} {f['repeat_last_frame']['ssim']:.3f}")
    return [*lines, ""]


def _drift_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['seconds']:g} s free run, {figures['num_runs']} runs, ratio to real frames in "
             f"{figures['num_windows']} windows"]
    for name in (*drift.LOOKS, "change"):
        windows = " ".join(f"{v:.2f}" for v in figures[name]["windows"])
        lines.append(f"  {name:<17} {windows}   worst {figures[name]['worst']:.2f}")
    return [*lines, ""]


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


class _Timer:
    """Adds the seconds of a block to `run.timings_s`."""

    def __init__(self, run: Evaluation, name: str) -> None:
        self._run, self._name = run, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._run.timings_s[self._name] = time.perf_counter() - self._start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("--world", default=paths.DEFAULT_WORLD, metavar="NAME", help="a name in weights/ or a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--report", type=Path, default=Path("runs/evaluate"), metavar="DIR",
                        help="contact sheets and plots (%(default)s)")
    parser.add_argument("--seed-base", type=int, default=HELD_OUT_SEED_BASE, metavar="N",
                        help="first held-out seed (%(default)s); training uses those below %(default)s")
    parser.add_argument("--rollouts", type=int, default=20, metavar="N", help="held-out walks (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="length of a rollout (%(default)s)")
    parser.add_argument("--drift-runs", type=int, default=4, metavar="N", help="free runs for drift (%(default)s)")
    parser.add_argument("--drift-seconds", type=float, default=DRIFT_S, metavar="S", help="length of one (%(default)s)")
    parser.add_argument("--steps", type=int, metavar="K", help="denoise steps per chunk (the world's own)")
    parser.add_argument("--guidance", type=float, metavar="SCALE", help="guidance scale (the world's own)")
    parser.add_argument("--threads", type=int, metavar="N", help="compute threads (torch's own choice)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the motion reader is kept (the user's cache)")


def main(args: argparse.Namespace) -> int:
    """Run `evaluate`."""
    if args.threads:
        torch.set_num_threads(args.threads)
    folder = paths.world_folder(args.world)
    world = load_parts(folder, args.steps, args.guidance)
    options = Options(args.seed_base, args.rollouts, args.seconds, args.drift_runs, args.drift_seconds)
    cache = args.cache or Path(platformdirs.user_cache_dir("astra-play"))
    with Simulator(world.config) as simulator:
        figures = evaluate(world, simulator, options, cache, args.report)
    result = {"world": {"name": world.config.name, "title": world.config.title}, "options": vars(options),
              "denoise_steps": len(world.sigmas) - 1, "guidance_scale": world.guidance_scale,
              "weights_sha256": {name: _sha256(folder / name) for name in (MODEL_FILE, CODEC_FILE)},
              "machine": machine(), **figures, "config": to_dict(world.config)}
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {"system": platform.platform(), "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}
