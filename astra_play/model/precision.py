"""Precision of a "framepack" network: float32, bfloat16, or the mixture that the reference runs in.

"reference_bf16" keeps what the reference attaches to its bfloat16 network in float32: the action projectors, the
experts and the ACT-Adapters; and it computes the time projection in float32. Every other tensor, the timestep and the
action numbers included, is bfloat16, and what the wide parts return is rounded to bfloat16, except that an adapter's
output is gated and added in float32 first.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .experts import ActionTokens
from .transformer import Transformer

Precision = Literal["float32", "bfloat16", "reference_bf16"]


def set_precision(model: Transformer, precision: Precision) -> Transformer:
    """Convert a model in place, once, and return it. Its parameters are float32 or, as published, narrower."""
    if precision == "float32":
        return model.float()
    if model.config.history != "framepack":
        raise ConfigError(f"the precision {precision!r} is for networks with the history \"framepack\"; "
                          f"this one has {model.config.history!r} and runs in float32")
    wide = _wide_modules(model) if precision == "reference_bf16" else []
    kept = {id(parameter) for module in wide for parameter in module.parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if id(parameter) in kept else parameter.data.bfloat16()
    # the weights of the time projection are bfloat16 numbers all the same
    model.time_projection.to(torch.bfloat16)
    if precision == "reference_bf16":
        model.time_projection.float()
        for module in wide:
            _run_in_float32(module, returns=None if module in _adapters(model) else torch.bfloat16)
    return model


def _adapters(model: Transformer) -> list[nn.Module]:
    return [block.adapter for block in model.blocks]


def _wide_modules(model: Transformer) -> list[nn.Module]:
    experts = [block.experts for block in model.blocks]
    return [*_adapters(model), *experts, *model.actions.projectors.values(), model.time_projection]


def _run_in_float32(module: nn.Module, returns: torch.dtype | None) -> None:
    """Give a module float32 inputs; its output becomes `returns`, or stays float32 where that is None."""
    module.register_forward_pre_hook(lambda _, inputs: tuple(_widened(value) for value in inputs))
    if returns is not None:
        module.register_forward_hook(lambda _, inputs, output: output.to(returns))


def _widened(value: Any) -> Any:
    if isinstance(value, ActionTokens):
        return dataclasses.replace(value, features=value.features.float())
    return value.float() if isinstance(value, Tensor) else value
