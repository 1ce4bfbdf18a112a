"""The slow, obvious twin of a world's snapshot: a copy of everything that is not a weight."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from astra_play.model.world import World


def naive_snapshot(world: World) -> dict[str, Any]:
    """Copy the run and the decoder with all they hold; modules, which are weights, are shared."""
    memo = {id(module): module for module in _modules(world.__dict__, set())}
    with torch.inference_mode():
        return {"state": copy.deepcopy((world._run, world._decoder), memo),
                "noise": world._noise.get_state().clone(), "commit_noise": world._commit_noise.get_state().clone(),
                "sigmas": world._sigmas, "guidance_scale": world.guidance_scale}


def naive_restore(world: World, kept: dict[str, Any]) -> None:
    world._run, world._decoder = kept["state"]
    if getattr(world._run, "_disturb", None) is not None:
        world._run._disturb = world._disturb  # the copy draws from a copied world's noise
    world._noise.set_state(kept["noise"])
    world._commit_noise.set_state(kept["commit_noise"])
    world._sigmas, world.guidance_scale = kept["sigmas"], kept["guidance_scale"]


def _modules(value: Any, seen: set[int]) -> list[nn.Module]:
    """Every module that can be reached, found as deepcopy finds it."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    elif type(value).__module__.startswith("astra_play"):
        parts = list(vars(value).values())
    elif callable(value) and hasattr(value, "__self__"):
        parts = [value.__self__]
    elif callable(value) and getattr(value, "__closure__", None):
        parts = [cell.cell_contents for cell in value.__closure__]
    else:
        parts = []
    return [module for part in parts for module in _modules(part, seen)]
