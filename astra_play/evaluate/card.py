"""`python -m astra_play.evaluate.card CARD JSON...`: what `evaluate` measured -> the tables of scores in a model card.

The card keeps its own words; between its two marks stands what the JSON files say, and nothing else. A test holds the
shipped card to the shipped figures.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..config import load_world_config
from ..errors import ConfigError
from . import drift
from .motions import Motions, motions_of

BEGIN, END = "<!-- scores -->\n", "<!-- end of the scores -->"
STEADY = "sharpness", "contrast"  # of a free run, which bars are set on


def with_scores(card: str, results: Sequence[dict[str, Any]], titles: dict[str, str]) -> str:
    """Return the card with the tables of these results of `evaluate`; ConfigError where it has no place for them.

    `titles`: what the scenarios are called.
    """
    head, begin, rest = card.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"the card has no place for scores; write {BEGIN.strip()!r} and {END!r} where they belong")
    tables = [f"### {titles[name]} ({name})\n\n| | measured | bar |\n|---|---|---|\n"
              + "".join(f"| {' | '.join(row)} |\n" for row in _rows(figures, motions_of(name)))
              for result in results for name, figures in result["scenarios"].items()]
    return head + begin + "\n" + "\n".join(tables) + "\n" + end + tail


def _rows(figures: dict[str, Any], kind: Motions) -> Iterator[tuple[str, str, str]]:
    yield from _following(figures, kind)
    yield from _fidelity(figures)
    yield from _free_run(figures)
    if "revisit" in figures:
        yield _revisit(figures["revisit"])
    weights = ", ".join(f"{weight:.2f}" for weight in figures["router"]["mean_weights"])
    yield "mean weight of the action experts", weights, ""


def _bar(figures: dict[str, Any], name: str) -> str:
    for bar in figures["bars"]:
        if bar["name"] == name:
            low, high = bar["at_least"], bar["at_most"]
            words = f"{low:g} to {high:g}" if None not in (low, high) else (
                f"at least {low:g}" if high is None else f"under {_percent(high)}")
            return words if bar["met"] else f"{words}: missed"
    return ""


def _following(figures: dict[str, Any], kind: Motions) -> Iterator[tuple[str, str, str]]:
    ours, true = figures["following"]["generated"], figures["following"]["true_frames"]
    against = "what the simulator did" if kind.still_camera else "what was commanded"
    for name in kind.names:
        yield (f"`{name}` read back against {against}, correlation",
               f"{ours[name]['correlation']:.3f} (true frames {true[name]['correlation']:.3f})",
               _bar(figures, f"{name}_correlation"))

    def keys(of: dict[str, Any]) -> str:
        return ", ".join(f"{name} {key['accuracy']:.2f} / {key['balanced_accuracy']:.2f}"
                         for name, key in of["key_accuracy"].items())

    yield "keys read back, accuracy / balanced over back, none, ahead", f"{keys(ours)} (true frames {keys(true)})", ""
    path = figures["following"]["path"]
    for after, own in path["generated"].items():
        real = path["true_frames"][after]
        words = f"{own['translation_m']:.2f} m of a way of {own['way_m']:.2f} m"
        words_true = f"{real['translation_m']:.2f} m"
        if "rotation_deg" in own:
            words += f", {own['rotation_deg']:.1f} of {own['turned_deg']:.0f} degrees"
            words_true += f", {real['rotation_deg']:.1f} degrees"
        yield f"path read back, off after {after}", f"{words} (true frames {words_true})", ""


def _fidelity(figures: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    moving = {after: horizon["moving"] for after, horizon in figures["fidelity"]["horizons"].items()}
    for after, own in moving.items():
        psnr = [own[kind]["psnr_db"] for kind in ("generated", "repeat_last_frame", "codec_ceiling")]
        low, high = own["gain_over_repeat_db_interval95"]
        yield (f"PSNR after {after}, moving clips",
               f"{psnr[0]:.2f} dB (repeating the last frame {psnr[1]:.2f}, codec alone {psnr[2]:.2f}): "
               f"{own['gain_over_repeat_db']:+.2f} dB, 95 % interval {low:.2f} to {high:.2f}",
               "3 dB over repeating" if after == "1s" else "")

    def ssim(kind: str) -> str:
        return ", ".join(f"{own[kind]['ssim']:.3f}" for own in moving.values())

    yield "SSIM after the same times", f"{ssim('generated')} (repeating {ssim('repeat_last_frame')})", ""
    yield "sharpness that the codec alone keeps", _percent(figures["fidelity"]["codec_sharpness_ratio"]), ""


def _free_run(figures: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    run = figures["drift"]
    for name in STEADY:
        yield (f"{run['seconds']:.0f} s: {name} against real frames, worst of {run['num_windows']} windows",
               f"{run[name]['worst']:.2f}", _bar(figures, f"{name}_worst_window"))
        yield (f"{run['seconds']:.0f} s: {name}, last fifth against first (real walks)",
               f"{_percent(run[name]['drift'])} ({_percent(run[name]['real_drift'])})", _bar(figures, f"{name}_drift"))
    others = [name for name in drift.LOOKS if name not in STEADY] + ["change"]
    yield f"{', '.join(others)}: worst windows", ", ".join(f"{run[name]['worst']:.2f}" for name in others), ""


def _revisit(revisit: dict[str, Any]) -> tuple[str, str, str]:
    tours = revisit["tours"]
    ways = {name.replace("_", " "): tour["path"] for name, tour in tours.items()}
    names = ", ".join(f"{name} ({way['metres']:.0f} m, {way['degrees']:.0f} degrees)" for name, way in ways.items())
    likeness = ", ".join(f"{tour['ssim']:.2f}" for tour in tours.values())
    other = revisit["other_places"]
    return (f"likeness (SSIM) to the start after {names}",
            likeness + (f" (some other place {other['ssim']:.2f})" if other else ""), "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write what evaluations measured into a model card.")
    parser.add_argument("card", type=Path, help="README.md in the folder of the weights, with the marks in it")
    parser.add_argument("results", type=Path, nargs="+", metavar="JSON", help="files of evaluate --json, in order")
    args = parser.parse_args()
    results = [json.loads(path.read_text(encoding="utf-8")) for path in args.results]
    names = [name for result in results for name in result["scenarios"]]
    titles = {name: load_world_config(args.card.parent, name).title for name in names}
    text = with_scores(args.card.read_text(encoding="utf-8"), results, titles)
    part = args.card.with_name(args.card.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, args.card)


if __name__ == "__main__":
    main()
