"""Small Wan VAEs and TAEHVs with random weights, and the weights of the golden vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from astra_play.codec.taehv import TAEHV
from astra_play.codec.wan_vae import WanVAE
from astra_play.config import CodecConfig

LATENTS = {"latent_channels": 16, "spatial_compression": 8, "frames_per_latent": 4}
SMALL_VAE = CodecConfig(kind="wan_vae", base_width=8, **LATENTS)
SMALL_TAEHV = CodecConfig(kind="taehv", base_width=8, **LATENTS)
FULL_VAE = CodecConfig(kind="wan_vae", **LATENTS)
FULL_TAEHV = CodecConfig(kind="taehv", **LATENTS)


def small_vae() -> WanVAE:
    torch.manual_seed(0)
    return shaken(WanVAE(SMALL_VAE))


def small_taehv() -> TAEHV:
    torch.manual_seed(0)
    return shaken(TAEHV(SMALL_TAEHV))


def shaken(codec):
    """Make the factors of the norms differ, and the pictures vivid enough that errors show; return the codec."""
    codec.eval().requires_grad_(False)
    for parameter in codec.parameters():
        parameter.mul_(1.5).add_(torch.randn_like(parameter) * 0.02)
    return codec


def clip(num_frames: int, height: int = 16, width: int = 24, seed: int = 1) -> Tensor:
    """Random pictures (1, F, 3, H, W) in [-1, 1]."""
    return torch.rand(1, num_frames, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def random_latents(num: int, rows: int = 2, columns: int = 3, seed: int = 2) -> Tensor:
    """Unit normal latents (1, T, 16, h, w), as the diffusion model makes."""
    return torch.randn(1, num, 16, rows, columns, generator=torch.Generator().manual_seed(seed))


def error(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of `theirs`."""
    return ((ours - theirs).norm() / theirs.norm()).item()
