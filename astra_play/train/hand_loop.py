"""`train hand`: pictures of the arm and the simulator's own outline of the robot -> the hand finder of a codec.

The finder (codec/hand.py) lies in the codec's file; everything else there stays as it is, but for what is kept in bytes
(model/eight_bits.py) and was not yet. With `--find shadow` it is the finder of the hand's shadow that is trained
instead (shadow_loop.py), with `--find tabletop` that of its fingers, the blocks and the camera's place
(tabletop_loop.py), with `--find table`, after these, the restorer of the table behind them (table_loop.py), and with
`--find arm`, after all, what draws the arm that the hand is on (arm_loop.py). With `--find distances` it is no hand at
all, but how far away everything in park and road is (distance_loop.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codec import pixels
from ..codec.arm_completer import ArmCompleter
from ..codec.bare_table import TableRestorer
from ..codec.distances import DistanceFinder
from ..codec.hand import HandFinder
from ..codec.mini import MiniCodec
from ..codec.shadow import ShadowFinder
from ..codec.tabletop import TabletopFinder
from ..config import ControlsConfig, WorldConfig, written_world_config
from ..errors import ConfigError
from ..model.carried import make_motion
from ..model.checkpoint import load_codec
from ..paths import CODEC_FILE, world_folder
from . import arm_loop, distance_loop, scenarios, shadow_loop, table_loop, tabletop_loop
from .arm_play import moments
from .codec_parts import fit_finder, quick, repainted, save_with_part
from .dataset import HELD_OUT_SEED_BASE, TRAIN_SEED_BASE
from .only_writer import only_writer

NUM_HELD_OUT_WORLDS = 20
PLACES = {"explore": "camera", "drive": "vehicle"}  # scenarios that can be set up in depth, and their modality
# How what is set up in depth is played: nothing is carried on, so nothing has to be held, leaked or filtered.
PLACE_STREAM = {"place_reach_m": 30.0, "correction_gate": 0.3, "painter": "patches", "colour_hold": 0.0,
                "contrast_hold": 0.0, "detail_leak": 0.0, "filter_strength": 0.0}
WIDTH, BATCH, LR = 12, 16, 3e-3
FINDER_KINDS = {"hand": (HandFinder, WIDTH), "shadow": (ShadowFinder, shadow_loop.WIDTH),
           "tabletop": (TabletopFinder, tabletop_loop.WIDTH), "table": (TableRestorer, table_loop.WIDTH),
           "arm": (ArmCompleter, arm_loop.WIDTH), "distances": (DistanceFinder, distance_loop.WIDTH)}


@dataclass(frozen=True)
class Outlines:
    """Pictures (N, 3, H, W) in [-1, 1] and which pixels of them show the robot, (N, 1, H, W) in {0, 1}."""

    pictures: Tensor
    robots: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def draw_outlines(first_seed: int, num_worlds: int, width: int, height: int) -> Outlines:
    """Play worlds of the arm from `first_seed` on and draw some moments of each."""
    frames, robots = [], []
    for frame, simulator in moments(first_seed, num_worlds, width, height):
        frames.append(frame)
        robots.append(simulator.outline())
    return Outlines(pixels.to_float(torch.from_numpy(np.stack(frames))),
                    torch.from_numpy(np.stack(robots)).float()[:, None])


def varied(outlines: Outlines, index: Tensor, generator: torch.Generator) -> Outlines:
    """Return a batch, half of it mirrored, in other paints and light."""
    pictures, robots = outlines.pictures[index], outlines.robots[index]
    mirrored = (torch.rand(len(index), 1, 1, 1, generator=generator) < 0.5)
    pictures, robots = (torch.where(mirrored, x.flip(-1), x) for x in (pictures, robots))
    return Outlines(repainted(pictures, generator), robots)


def fit(finder: HandFinder, outlines: Outlines, num_steps: int, seed: int = 0) -> list[float]:
    """Train the finder in place by cross-entropy; return the losses."""
    guessed = quick(finder.logits)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = varied(outlines, torch.randint(len(outlines), (BATCH,), generator=generator), generator)
        return F.binary_cross_entropy_with_logits(guessed(batch.pictures), batch.robots)

    return fit_finder(finder, loss_of_batch, num_steps, LR, seed)


def teach(finder: HandFinder, num_worlds: int, num_steps: int, size: tuple[int, int]) -> None:
    """Train a finder on worlds of the arm that are drawn here, in pictures of `size` (width, height)."""
    fit(finder, draw_outlines(TRAIN_SEED_BASE, num_worlds, *size), num_steps)


@torch.no_grad()
def overlap(finder: HandFinder, outlines: Outlines) -> float:
    """Return the intersection of found and true pixels over their union, all pictures together."""
    found = torch.cat([finder(part) for part in outlines.pictures.split(BATCH)]) > 0.5
    true = outlines.robots > 0.5
    return float((found & true).sum() / (found | true).sum().clamp_min(1))


def new_finder(codec: MiniCodec, config: WorldConfig, find: str, more: bool) -> nn.Module:
    """One of FINDER_KINDS to be trained, with `more` the same as the codec has; ConfigError if it has none."""
    kind, width = FINDER_KINDS[find]
    finder, begin = kind(width), getattr(codec, find)
    if more:
        if begin is None or getattr(config.codec, f"{find}_width") != width:
            raise ConfigError(f"the codec of {config.name!r} has nothing that finds {find} and is {width} wide to "
                              "begin with; leave out --more")
        finder.load_state_dict(begin.state_dict())
    return finder


def learn_hand(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
               more: bool = False) -> dict[str, float]:
    """Give a codec a hand finder; return its scores in held-out worlds. With `more`, here and below, it begins with
    the codec's own."""
    size = config.width, config.height
    codec.hand = new_finder(codec, config, "hand", more)
    teach(codec.hand, num_worlds, num_steps, size)
    held_out = draw_outlines(HELD_OUT_SEED_BASE, NUM_HELD_OUT_WORLDS, *size)
    return {"overlap": overlap(codec.hand.eval(), held_out)}


def learn_shadow(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
                 more: bool = False) -> dict[str, float]:
    """Give a codec a shadow finder; return its scores in held-out worlds."""
    codec.shadow = new_finder(codec, config, "shadow", more)
    return _taught(codec.shadow, shadow_loop, shadow_loop.draw_shadows, config, num_worlds, num_steps)


def learn_tabletop(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
                   more: bool = False) -> dict[str, float]:
    """Give a codec a tabletop finder; return its scores in held-out worlds."""
    codec.tabletop = new_finder(codec, config, "tabletop", more)
    return _taught(codec.tabletop, tabletop_loop, tabletop_loop.draw_tabletops, config, num_worlds, num_steps)


def learn_table(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
                more: bool = False) -> dict[str, float]:
    """Give a codec that has all finders a table restorer; return its scores in held-out worlds."""
    codec.table = new_finder(codec, config, "table", more)
    return _taught(codec.table, table_loop, functools.partial(table_loop.draw_tables, codec), config, num_worlds,
                   num_steps)


def learn_arm(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
              more: bool = False) -> dict[str, float]:
    """Give a codec that has finders and a table restorer an arm completer; return its scores in held-out worlds."""
    name = next((name for name, own in config.scenarios.items() if own.controls.modality == "arm"), "")
    own = config.playing(name)
    if codec.table is None or own.controls.modality != "arm" or own.model.anchor != "moved":
        raise ConfigError(f"an arm is completed in a world of the arm whose layers are all known, which "
                          f"{config.name!r} is not; give its codec a table restorer first: `train hand --find table`")
    completer, codec.arm = new_finder(codec, config, "arm", more), None  # what is drawn is what it learns from
    motion = make_motion(own, codec)
    codec.arm = completer
    return _taught(codec.arm, arm_loop, functools.partial(arm_loop.draw_arms, motion), config, num_worlds, num_steps)


def learn_distances(codec: MiniCodec, config: WorldConfig, num_worlds: int, num_steps: int,
                    more: bool = False) -> dict[str, float]:
    """Give a codec a distance finder; return its scores in held-out worlds."""
    if config.model.anchor != "moved":
        raise ConfigError(f"a place is set up in depth where pictures move with the camera, and {config.name!r} has "
                          f"the anchor {config.model.anchor!r}; train a world with the anchor \"moved\" first")
    with_place(config)  # or there is no place to be set up
    codec.distances = new_finder(codec, config, "distances", more)
    draw = functools.partial(distance_loop.draw_views, kinds=places_of(config))
    return _taught(codec.distances, distance_loop, draw, config, num_worlds, num_steps)


def _taught(finder: nn.Module, loop: ModuleType, draw: Callable[..., Any], config: WorldConfig, num_worlds: int,
            num_steps: int) -> dict[str, float]:
    """Train a finder as its `loop` does on worlds that `draw` draws, and return its scores in held-out ones."""
    size = config.width, config.height
    loop.fit(finder, draw(TRAIN_SEED_BASE, num_worlds, *size), num_steps)
    return loop.scores(finder.eval(), draw(HELD_OUT_SEED_BASE, NUM_HELD_OUT_WORLDS, *size))


def with_fingers(config: WorldConfig) -> WorldConfig:
    """A world in which clicks move fingers as far and as fast as the simulator does, where it does not say itself."""
    own = scenarios.controls("arm")

    def filled(controls: ControlsConfig) -> ControlsConfig:
        if controls.modality != "arm" or controls.finger_stroke_m:
            return controls
        return dataclasses.replace(controls, finger_stroke_m=own.finger_stroke_m,
                                   finger_m_per_frame=own.finger_m_per_frame)

    return dataclasses.replace(config, controls=filled(config.controls), scenarios={
        name: dataclasses.replace(scenario, controls=filled(scenario.controls))
        for name, scenario in config.scenarios.items()})


def places_of(config: WorldConfig) -> tuple[str, ...]:
    """The scenarios of a world that are set up in depth: those whose camera goes about in a place."""
    if not config.scenarios:  # such as a world of one's own, which may be of no scenario
        return tuple(name for name, modality in PLACES.items()
                     if config.scenario in ("", name) and config.controls.modality == modality)
    return tuple(name for name, modality in PLACES.items()
                 if name in config.scenarios and config.playing(name).controls.modality == modality)


def with_place(config: WorldConfig) -> WorldConfig:
    """A world whose park and road are set up in depth, seen by the cameras that the simulators have."""
    def seen(controls: ControlsConfig, name: str) -> ControlsConfig:
        return dataclasses.replace(controls, vertical_fov_deg=scenarios.controls(name).vertical_fov_deg)

    names = places_of(config)
    if not names:
        raise ConfigError(f"the world {config.name!r} has neither park nor road, which alone are set up in depth; "
                          f"distances are found in worlds of the scenarios {' and '.join(PLACES)}")
    if not config.scenarios:
        return dataclasses.replace(config, controls=seen(config.controls, names[0]),
                                   stream=dataclasses.replace(config.stream, **PLACE_STREAM))
    own = dict(config.scenarios)
    for name in names:
        own[name] = dataclasses.replace(own[name], controls=seen(own[name].controls, name),
                                        stream={**own[name].stream, **PLACE_STREAM})
    controls = own[config.scenario].controls if config.scenario in names else config.controls
    return dataclasses.replace(config, controls=controls, scenarios=own)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--codec", required=True, metavar="WORLD", help="the world whose codec gets the finder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the codec is written")
    parser.add_argument("--find", choices=tuple(FINDER_KINDS), default="hand",
                        help="what the finder finds: the robot's hand, its shadow on the table, its fingers, the "
                             "blocks and the camera's place, or, after all these, the table behind them, or, after "
                             "that, the arm that the hand is on; or how far away everything in park and road is (hand)")
    parser.add_argument("--more", action="store_true", help="begin with the finder that the codec has")
    parser.add_argument("--worlds", type=int, default=300, metavar="N", help="drawn to learn from (300)")
    parser.add_argument("--steps", type=int, default=1200, metavar="N", help="training steps (1200)")
    parser.add_argument("--threads", type=int, metavar="N", help="compute threads (torch's own choice)")


def main(args: argparse.Namespace) -> int:
    if args.threads:
        torch.set_num_threads(args.threads)
    with only_writer(args.out):
        return _teach_part(args)


def _teach_part(args: argparse.Namespace) -> int:
    folder = world_folder(args.codec)
    config = written_world_config(folder)
    codec = load_codec(folder, config)
    torch.manual_seed(0)
    learn = {"hand": learn_hand, "shadow": learn_shadow, "tabletop": learn_tabletop, "table": learn_table,
             "arm": learn_arm, "distances": learn_distances}[args.find]
    scores = {name: round(score, 4)
              for name, score in learn(codec, config, args.worlds, args.steps, args.more).items()}
    if args.find == "tabletop":
        config = with_fingers(config)
    if args.find == "distances":
        config = with_place(config)
    asked = ("" if args.find == "hand" else f" --find {args.find}") + " --more" * args.more
    told = {"command": f"train hand{asked} --worlds {args.worlds} --steps {args.steps}", **scores}
    if args.more:
        told["began_with"] = config.provenance.get(f"{args.find}_finder", {})
    _, width = FINDER_KINDS[args.find]
    save_with_part(codec, config, {f"{args.find}_width": width}, {f"{args.find}_finder": told}, folder, args.out)
    found = ", ".join(f"{name.replace('_', ' ')} {score:g}" for name, score in scores.items())
    print(f"{args.find} finder -> {args.out / CODEC_FILE}; in {NUM_HELD_OUT_WORLDS} held-out worlds: {found}")
    return 0
