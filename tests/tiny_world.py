"""A world folder with random weights that loads in milliseconds, for tests that need a real World."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from astra_play.codec.mini import MiniCodec
from astra_play.config import CodecConfig, ModelConfig, StreamConfig, WorldConfig
from astra_play.model.checkpoint import CODEC_FILE, MODEL_FILE, save_config, save_module
from astra_play.model.transformer import Transformer

TINY_WORLD = WorldConfig(
    name="tiny", title="Tiny", description="Random weights.", width=32, height=32, fps=16,
    model=ModelConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, latent_channels=4, grid_height=4, grid_width=4,
                      freq_dim=16, anchor="moved", prediction="clean", router="learned", num_experts=3,
                      router_top_k=2, expert_hidden=8),
    codec=CodecConfig(latent_channels=4, spatial_compression=8, decoder_width=16, decoder_blocks=1),
    stream=StreamConfig(sink_chunks=1, ring_chunks=3, context_sigma=0.05, correction_gate=0.2,
                        colour_hold=0.1, contrast_hold=0.3, step_sigmas={"2": [1.0, 0.6, 0.0]}),
    latent_scale=(2.0, 1.5, 1.0, 0.5))


def make_tiny_world(folder: Path, seed: int = 0, **changes) -> Path:
    """Write a tiny world to `folder` and return it; `changes` replace fields of its config."""
    config = dataclasses.replace(TINY_WORLD, **changes)
    torch.manual_seed(seed)
    model, codec = Transformer(config.model), MiniCodec(config.codec)
    with torch.no_grad():
        for parameter in list(model.parameters()) + list(codec.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_config(config, folder)
    save_module(model, folder / MODEL_FILE)
    save_module(codec, folder / CODEC_FILE)
    return folder
