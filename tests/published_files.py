"""Small made files in the layouts that networks are published in."""

from __future__ import annotations

import torch
from torch import Tensor

from astra_play.config import ModelConfig
from astra_play.model.import_astra import DIFFUSERS_NAMES, targets_of

# one head of the width that every published head has, so that no config.json is needed beside the file
SMALL = ModelConfig(dim=128, ffn_dim=48, num_heads=1, num_layers=2, latent_channels=16, grid_height=8, grid_width=12,
                    freq_dim=16, text_dim=12, history="framepack",
                    modalities={"camera": 13, "vehicle": 8, "arm": 13})


def published(config: ModelConfig = SMALL, num_experts: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """A flat state dict in Astra's names, dead tensors included, in the precisions of the published file."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: target.source_shape for target in targets_of(config) for name in target.sources}
    for layer in range(config.num_layers):
        at = f"blocks.{layer}."
        shapes |= {at + "cam_encoder.weight": (config.dim, 13), at + "cam_encoder.bias": (config.dim,)}
        for e in range(3, num_experts):
            shapes |= {f"{at}moe.experts.{e}.0.weight": (config.dim, config.action_dim),
                       f"{at}moe.experts.{e}.0.bias": (config.dim,)}
    shapes |= {"global_router.weight": (num_experts, config.action_dim), "global_router.bias": (num_experts,)}
    wide = ("projector", "moe", "processor", "cam_encoder", "router")
    return {name: (torch.randn(shape, generator=generator) * 0.1).to(
        torch.float32 if any(part in name for part in wide) else torch.bfloat16) for name, shape in shapes.items()}


def in_diffusers_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The Wan part of a state dict under the names that diffusers gives it; Astra's own names stay."""
    renamed = {}
    for name, tensor in tensors.items():
        if not any(part in name for part in ("projector", "moe", "clean_x", "cam_encoder", "global_router")):
            for theirs, wan in DIFFUSERS_NAMES:
                is_short = wan.strip(".") in ("q", "k", "v", "o")
                name = name.replace(wan, theirs) if not is_short or "attn" in name else name
        renamed[name.replace("head.scale_shift_table", "scale_shift_table").replace("head.modulation",
                                                                                    "scale_shift_table")] = tensor
    return renamed


def plain_wan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is left of a state dict without Astra's additions: the plain Wan network."""
    added = ("clean_x_embedder", "processor", "global_router", "cam_encoder", ".projector.", ".moe.")
    return {name: tensor for name, tensor in tensors.items() if not any(part in name for part in added)}
