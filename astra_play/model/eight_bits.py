"""Weights on disk in one byte each: whole numbers and, for every output of a layer, how large their steps are.

A world is to travel, and a network that cleans up pictures does not need more: with 255 steps across each filter its
weights are off by a two-hundredth of the largest at most. What is read is float32 as before (model/checkpoint.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import WeightsError

STEP_SUFFIX = ".step"  # of the name of a tensor's steps, beside the tensor itself
LARGEST = 127


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (N, ...) as whole numbers, int8, and their steps (N, 1, ...), float32."""
    weight = weight.detach().to("cpu", torch.float32)
    largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    step = largest / LARGEST
    numbers = (weight / step.clamp_min(1e-30)).round().clamp(-LARGEST, LARGEST)
    return numbers.to(torch.int8).contiguous(), step.contiguous()


def unpack(tensors: dict[str, Tensor], source: object) -> dict[str, Tensor]:
    """Return tensors of a file by their names, those in bytes as float32; WeightsError for one without its steps."""
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(STEP_SUFFIX) and name.removesuffix(STEP_SUFFIX) in tensors:
            continue
        if tensor.dtype == torch.int8:
            step = tensors.get(name + STEP_SUFFIX)
            if step is None or step.shape != (len(tensor), *[1] * (tensor.ndim - 1)):
                raise WeightsError(f"{source} holds {name} in whole numbers, but not what their steps are; copy or "
                                   "download it again")
            tensor = tensor.float() * step
        whole[name] = tensor
    return whole
