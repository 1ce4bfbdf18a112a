"""`evaluate`: options in; one JSON, one table, contact sheets and plots out. The figures are made in `evaluation`."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import torch

from .. import paths
from ..config import to_dict
from ..model.checkpoint import CODEC_FILE, MODEL_FILE
from . import drift
from .evaluation import Options, evaluate
from .motion_reader import SHIPPED, load_reader
from .rollout import WorldParts, load_parts
from .truth import Simulator

DEFAULTS = Options()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("--world", default=paths.DEFAULT_WORLD, metavar="NAME", help="a name in weights/ or a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--report", type=Path, default=Path("runs/evaluate"), metavar="DIR",
                        help="contact sheets and plots (%(default)s)")
    parser.add_argument("--seed-base", type=int, default=DEFAULTS.seed_base, metavar="N",
                        help="first held-out seed; those below %(default)s are for training (%(default)s)")
    parser.add_argument("--rollouts", type=_count, default=DEFAULTS.num_rollouts, metavar="N",
                        help="held-out walks (%(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=DEFAULTS.rollout_s, metavar="S",
                        help="length of a rollout, 2 or more (%(default)s)")
    parser.add_argument("--drift-runs", type=_count, default=DEFAULTS.num_drift_runs, metavar="N",
                        help="long runs for drift (%(default)s)")
    parser.add_argument("--drift-seconds", type=_seconds, default=DEFAULTS.drift_s, metavar="S",
                        help="length of a long run (%(default)s)")
    parser.add_argument("--steps", type=_count, metavar="K", help="denoise steps per chunk (the world's own)")
    parser.add_argument("--guidance", type=float, metavar="SCALE", help="guidance scale (the world's own)")
    parser.add_argument("--threads", type=_count, metavar="N", help="compute threads (torch's own choice)")
    parser.add_argument("--reader", type=Path, default=SHIPPED, metavar="FILE",
                        help="weights of the motion reader (those shipped)")


def main(args: argparse.Namespace) -> int:
    """Run `evaluate`."""
    if args.threads:
        torch.set_num_threads(args.threads)
    folder, scenario = paths.find_world(args.world)
    world = load_parts(folder, args.steps, args.guidance, scenario)
    reader = load_reader(args.reader, world.config.width, world.config.height)
    options = Options(args.seed_base, args.rollouts, args.seconds, args.drift_runs, args.drift_seconds)
    with Simulator(world.config) as simulator:
        figures = evaluate(world, simulator, reader, options, args.report)
    result = {**describe(world, folder, options), **figures, "config": to_dict(world.config)}
    print(table(result))
    print(f"\npictures: {args.report}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def describe(world: WorldParts, folder: Path, options: Options) -> dict[str, Any]:
    """Return what was measured, how and on what."""
    walks = range(options.seed_base, options.seed_base + max(options.num_rollouts, options.num_drift_runs))
    return {
        "world": {"name": world.config.name, "title": world.config.title,
                  "sha256": {name: _sha256(folder / name) for name in (MODEL_FILE, CODEC_FILE)}},
        "options": dataclasses.asdict(options), "seeds": [walks[0], walks[-1]],
        "denoise_steps": len(world.sigmas) - 1, "guidance_scale": world.guidance_scale,
        "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine(),
                    "threads": torch.get_num_threads(), "torch": torch.__version__,
                    "python": platform.python_version()},
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures that matter as lines of text."""
    first, last = result["seeds"]
    lines = [f"{result['world']['title']} ({result['world']['name']}), walks of the seeds {first} to {last}, "
             f"{result['denoise_steps']} denoise steps, guidance {result['guidance_scale']:g}; "
             f"{sum(result['timings_s'].values()):.0f} s on {result['machine']['threads']} threads", ""]
    lines += _following_lines(result["following"]) + _fidelity_lines(result["fidelity"]) + _drift_lines(result["drift"])
    lines += _revisit_lines(result["revisit"]) if "revisit" in result else []
    lines.append("bar                          asked        measured")
    for bar in result["bars"]:
        asked = f">= {bar['at_least']:g}" if bar["at_most"] is None else f"{bar['at_least']:g} to {bar['at_most']:g}"
        lines.append(f"{bar['name']:<28} {asked:<12} {_number(bar['measured']):<9} {'met' if bar['met'] else 'missed'}")
    return "\n".join(lines)


def _following_lines(figures: dict[str, Any]) -> list[str]:
    generated, true, check = figures["generated"], figures["true_frames"], figures["shift_check"]
    head = f"following, {figures['num_rollouts']} rollouts of {figures['seconds']:g} s"
    entries = [(f"correlation {name}", generated[name]["correlation"], true[name]["correlation"])
               for name in ("yaw_left_rad", "forward_m", "right_m", "pitch_up_rad")]
    entries += [(f"balanced key accuracy {name}", ours["balanced_accuracy"],
                 true["key_accuracy"][name]["balanced_accuracy"]) for name, ours in generated["key_accuracy"].items()]
    entries.append(("yaw by picture shift", check["generated"]["correlation"], check["true_frames"]["correlation"]))
    lines = [f"{head:<40}generated   true frames"]
    lines += [f"  {name:<38}{_number(ours):<12}{_number(theirs)}" for name, ours, theirs in entries]
    error = figures["reader_error_on_true_frames"]["yaw_left_rad"]
    parts = ", ".join(_number(part, 2) for part in figures["yaw_correlation_by_part"])
    return [*lines, f"  the reader on true frames: yaw is off by {error['mae_deg']:.2f} degrees a frame",
            f"  yaw correlation from the first to the last quarter: {parts}", ""]


def _fidelity_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"PSNR in dB, {figures['num_moving']} moving of {figures['num_clips']} rollouts",
             "  after   generated   repeat   codec   gain (95 %)              SSIM   repeat"]
    for name, both in figures["horizons"].items():
        if (moving := both["moving"]) is None:
            continue
        ours, repeat, codec = (moving[k] for k in ("generated", "repeat_last_frame", "codec_ceiling"))
        low, high = moving["gain_over_repeat_db_interval95"]
        gain = f"{moving['gain_over_repeat_db']:+.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"  {name:<8}{ours['psnr_db']:<12.2f}{repeat['psnr_db']:<9.2f}{codec['psnr_db']:<8.2f}{gain:<25}"
                     f"{ours['ssim']:<7.3f}{repeat['ssim']:.3f}")
    return [*lines, ""]


def _drift_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['seconds']:g} s free run, {figures['num_runs']} runs, ratio to real frames in "
             f"{figures['num_windows']} windows"]
    for name in (*drift.LOOKS, "change"):
        windows = " ".join(f"{value:.2f}" for value in figures[name]["windows"])
        lines.append(f"  {name:<17} {windows}   worst {figures[name]['worst']:.2f}")
    return [*lines, ""]


def _revisit_lines(figures: dict[str, Any]) -> list[str]:
    other = figures["other_places"]
    head = f"back at the start, {figures['num_starts']} tours each"
    lines = [f"{head:<40}{'way':<17}{'SSIM (95 %)':<25}PSNR"]
    for name, tour in figures["tours"].items():
        low, high = tour["ssim_interval95"]
        way = f"{tour['path']['metres']:.1f} m, {tour['path']['degrees']:.0f} deg"
        ssim = f"{tour['ssim']:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"  {name.replace('_', ' '):<38}{way:<17}{ssim:<25}{tour['psnr_db']:.2f}")
    return [*lines, f"  {'some other place':<38}{'':<17}{other['ssim']:<25.3f}{other['psnr_db']:.2f}", ""]


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 2.0 <= value <= 3600.0:  # fidelity looks 2 s ahead
        raise argparse.ArgumentTypeError(f"{text} is not within 2 and 3600")
    return value


_count.__name__ = "whole number"  # argparse names the type in its sentence about a value that does not parse
_seconds.__name__ = "number of seconds"
