"""`evaluate`: options in; one JSON, a table per scenario, sheets and plots out. `evaluation` makes the figures."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import paths
from ..config import load_world_config, to_dict
from ..errors import ConfigError
from ..model.checkpoint import CODEC_FILE, MODEL_FILE, files_of
from ..train import scenarios
from . import drift
from .evaluation import Options, evaluate
from .motion_reader import load_reader, shipped_reader
from .rollout import WorldParts, load_parts
from .truth import DEFAULT_SCENARIO, Simulator

DEFAULTS = Options()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("--world", default=paths.DEFAULT_WORLD, metavar="NAME", help="a name in weights/ or a folder")
    parser.add_argument("--scenario", nargs="+", type=scenarios.named, metavar="S", help="scenarios of the world (all)")
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
    parser.add_argument("--reader", type=Path, metavar="FILE",
                        help="weights that read motion back from frames (those shipped for the scenario)")
    parser.add_argument("--sweep-steps", type=_count, nargs="+", default=(), metavar="K",
                        help="compare these numbers of denoise steps too")
    parser.add_argument("--sweep-guidance", type=float, nargs="+", default=(), metavar="SCALE",
                        help="compare these guidance scales too")


def main(args: argparse.Namespace) -> int:
    """Run `evaluate`."""
    paths.check_out_folder("--json", args.json)
    if args.threads:
        torch.set_num_threads(args.threads)
    folder, own = paths.find_world(args.world)
    options = Options(args.seed_base, args.rollouts, args.seconds, args.drift_runs, args.drift_seconds,
                      tuple(args.sweep_steps), tuple(args.sweep_guidance))
    result: dict[str, Any] = {}
    for scenario in chosen_scenarios(folder, own, args.scenario):
        world = load_parts(folder, args.steps, args.guidance, scenario)
        result = result or {**describe(world, folder, options), "scenarios": {}, "config": to_dict(world.config)}
        with Simulator(world.config) as simulator:
            name = simulator.name
            reader = load_reader(args.reader or shipped_reader(name), name, world.config.width, world.config.height)
            result["scenarios"][name] = evaluate(world, simulator, reader, options, args.report / name)
        print(table(result, name) + "\n")
        if args.json:  # after each scenario: what was measured is kept, whatever becomes of the next
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"pictures: {args.report}")
    return 0


def chosen_scenarios(folder: Path, own: str, asked: Sequence[str] | None) -> list[str]:
    """Return the scenarios to evaluate: those asked for, else the one in the world's name, else all; "" if it has none.
    """
    known = list(load_world_config(folder, own).scenarios)
    chosen = list(asked or ([own] if own else known or [""]))
    for name in chosen:
        if name not in (known or ["", DEFAULT_SCENARIO]):
            raise ConfigError(f"{folder} has no scenario {name!r}; it has: {', '.join(known) or DEFAULT_SCENARIO}")
    return chosen if known else [""]


def describe(world: WorldParts, folder: Path, options: Options) -> dict[str, Any]:
    """Return what was measured, how and on what."""
    walks = range(options.seed_base, options.seed_base + max(options.num_rollouts, options.num_drift_runs))
    return {
        "world": {"name": world.config.name, "title": world.config.title,
                  "sha256": {file.name: _sha256(file) for name in (MODEL_FILE, CODEC_FILE)
                             for file in files_of(folder / name)}},
        "options": dataclasses.asdict(options), "seeds": [walks[0], walks[-1]],
        "denoise_steps": len(world.sigmas) - 1, "guidance_scale": world.guidance_scale,
        "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine(),
                    "threads": torch.get_num_threads(), "torch": torch.__version__,
                    "python": platform.python_version()},
    }


def table(result: dict[str, Any], scenario: str) -> str:
    """Return the figures of a scenario that matter as lines of text."""
    (first, last), figures = result["seeds"], result["scenarios"][scenario]
    lines = [f"{scenario} of {result['world']['name']}, walks of the seeds {first} to {last}, "
             f"{result['denoise_steps']} denoise steps, guidance {result['guidance_scale']:g}; "
             f"{sum(figures['timings_s'].values()):.0f} s on {result['machine']['threads']} threads", ""]
    lines += _following_lines(figures["following"]) + _fidelity_lines(figures["fidelity"])
    lines += _drift_lines(figures["drift"])
    lines += _revisit_lines(figures["revisit"]) if "revisit" in figures else []
    lines += _sweep_lines(figures["sweep"]) if "sweep" in figures else []
    weights = ", ".join(_number(weight, 2) for weight in figures["router"]["mean_weights"])
    lines += [f"mean weight of the action experts: {weights}"]
    if "p50_ms" in figures["latency"]:
        lines.append("a chunk of one world alone: {p50_ms:.1f} ms (median), {p95_ms:.1f} ms (95 %)".format(
            **figures["latency"]))
    lines += ["", "bar                          asked        measured"]
    for bar in figures["bars"]:
        low, high = bar["at_least"], bar["at_most"]
        asked = f">= {low:g}" if high is None else f"<= {high:g}" if low is None else f"{low:g} to {high:g}"
        lines.append(f"{bar['name']:<28} {asked:<12} {_number(bar['measured']):<9} {'met' if bar['met'] else 'missed'}")
    return "\n".join(lines)


def _following_lines(figures: dict[str, Any]) -> list[str]:
    generated, true = figures["generated"], figures["true_frames"]
    head = f"following, {figures['num_rollouts']} rollouts of {figures['seconds']:g} s"
    entries = [(f"correlation {name}", generated[name]["correlation"], true[name]["correlation"])
               for name in generated if name != "key_accuracy"]
    entries += [(f"balanced key accuracy {name}", ours["balanced_accuracy"],
                 true["key_accuracy"][name]["balanced_accuracy"]) for name, ours in generated["key_accuracy"].items()]
    if "shift_check" in figures:
        entries.append(("yaw by picture shift", *(figures["shift_check"][of]["correlation"]
                                                  for of in ("generated", "true_frames"))))
    for seconds, ours in figures["path"]["generated"].items():
        theirs = figures["path"]["true_frames"][seconds]
        entries.append((f"path after {seconds}, of {ours['way_m']:.2f} m: off by m", ours["translation_m"],
                        theirs["translation_m"]))
        if "rotation_deg" in ours:
            entries.append((f"path after {seconds}, of {ours['turned_deg']:.0f} degrees: off by", ours["rotation_deg"],
                            theirs["rotation_deg"]))
    lines = [f"{head:<40}generated   true frames"]
    lines += [f"  {name:<38}{_number(ours):<12}{_number(theirs)}" for name, ours, theirs in entries]
    lead = figures["leads"][0]
    error = figures["reader_error_on_true_frames"][lead]
    off = f"{error['mae_deg']:.2f} degrees" if "mae_deg" in error else f"{1000 * error['mae_m']:.1f} mm"
    parts = ", ".join(_number(part, 2) for part in figures["lead_correlation_by_part"])
    return [*lines, f"  the reader on true frames: {lead} is off by {off} a frame",
            f"  {lead} correlation from the first to the last quarter: {parts}", ""]


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
    kept = 100 * figures["codec_sharpness_ratio"]
    return [*lines, f"  the codec alone keeps {kept:.0f} % of the sharpness of real frames", ""]


def _drift_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['seconds']:g} s free run, {figures['num_runs']} runs, ratio to real frames in "
             f"{figures['num_windows']} windows"]
    for name in (*drift.LOOKS, "change"):
        windows = " ".join(f"{value:.2f}" for value in figures[name]["windows"])
        lines.append(f"  {name:<17} {windows}   worst {figures[name]['worst']:.2f}, begin to end "
                     f"{100 * figures[name]['drift']:.0f} % (real walks {100 * figures[name]['real_drift']:.0f} %)")
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
    if other is None:
        return [*lines, "  some other place: not measured, which takes two rollouts", ""]
    return [*lines, f"  {'some other place':<38}{'':<17}{other['ssim']:<25.3f}{other['psnr_db']:.2f}", ""]


def _sweep_lines(figures: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = []
    for of, entries in figures.items():
        if entries:
            names = list(entries[0])
            lines.append(f"by {of:<7}" + "".join(f"{name.replace('correlation', 'corr'):>24}" for name in names[1:]))
            lines += [f"  {entry[names[0]]:<8g}" + "".join(f"{_number(entry[name]):>24}" for name in names[1:])
                      for entry in entries]
    return [*lines, ""]


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
