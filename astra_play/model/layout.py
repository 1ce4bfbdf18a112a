"""How weights lie in memory: the order in which a processor's kernels read them. Values and shapes stay as they are."""

from __future__ import annotations

import torch
from torch import nn


def lay_out_for_processor(module: nn.Module) -> None:
    """Reorder the weights of linear layers and 3x3 convolutions in place, once.

    A linear layer multiplies by the transpose of its weight: for a few dozen rows, as small worlds have them, the
    product is a sixth faster where that is what lies in memory. Convolutions of channels-last pictures want
    channels-last weights, which would otherwise be reordered at every call.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = layer.weight.data.t().contiguous().t()
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
