"""What every training run by a recipe takes on the command line, and how its recipe is read."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TypeVar

import torch

from .loop import load_recipe

Recipe = TypeVar("Recipe")


def add_run_options(parser: argparse.ArgumentParser, held_out: str = "") -> None:
    """Options of a run. `held_out`: what data of held-out seeds are needed for; "": they may be left out."""
    parser.add_argument("--recipe", type=Path, required=True, help="TOML file, see astra_play/train/recipes")
    parser.add_argument("--data", type=Path, required=True, nargs="+", metavar="DIR",
                        help="folders made by `data make`, one for each scenario")
    parser.add_argument("--held-out", type=Path, required=bool(held_out), nargs="+", default=[], metavar="DIR",
                        help=f"data of held-out seeds, for {held_out or 'the sample strips'}")
    parser.add_argument("--out", type=Path, required=True, help="weights, log, strips; resumed if it exists")
    parser.add_argument("--minutes", type=float, help="time budget of training (the recipe's own, or its steps)")
    parser.add_argument("--threads", type=int, help="compute threads (default: torch's own choice)")


def recipe_of(args: argparse.Namespace, kind: type[Recipe]) -> Recipe:
    """Read the recipe that the options name, with their time budget, and set the compute threads."""
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = load_recipe(kind, args.recipe)
    return dataclasses.replace(recipe, minutes=args.minutes) if args.minutes else recipe
