"""TAEHV, the tiny autoencoder for Wan 2.1 latents: a live decoder at a small part of the cost of the Wan VAE.

All convolutions are over single pictures; time enters by blocks that also see their own previous input, and by layers
that fold steps into channels or back. Layers lie at the indices that the published weights (taew2_1) name. A stream is
made latent by latent, and a whole clip is a stream in one call, equal to it to the bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import CodecConfig
from .streaming import LayerMemory, latent_sizes, num_whole

PUBLISHED_WIDTH = 64
FRAMES_PER_LATENT = 4
NUM_TRIMMED = FRAMES_PER_LATENT - 1  # pictures before the stream's first, which the first latent makes too
GROW_INDICES = (7, 13, 19)  # of the decoder


def conv3(width_in: int, width_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps the grid, or halves it at stride 2."""
    return nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=bias)


class SoftClamp(nn.Module):
    """Keep latents within (-3, 3), smoothly."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class MemoryBlock(nn.Module):
    """Three convolutions over this step's input and that of the step before (zeros at first), added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv3(2 * width, width), nn.ReLU(), conv3(width, width), nn.ReLU(),
                                  conv3(width, width))

    def forward(self, x: Tensor, memory: LayerMemory, batch: int) -> Tensor:
        steps = x.unflatten(0, (batch, -1))
        before = memory.get(self)
        before = torch.zeros_like(steps[:, :1]) if before is None else before
        memory[self] = steps[:, -1:].clone()
        past = torch.cat([before, steps[:, :-1]], dim=1).flatten(0, 1)
        return F.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class FoldTime(nn.Module):
    """Mix every `steps` consecutive steps into one; the earlier comes first in the channels."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(steps * width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.unflatten(0, (-1, self.steps)).flatten(1, 2))


class UnfoldTime(nn.Module):
    """Make `steps` steps of one; the first group of channels is the earliest."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(width, steps * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).unflatten(1, (self.steps, -1)).flatten(0, 1)


class Stages(nn.Sequential):
    """Layers in a row over (B, T, C, H, W), of which the memory blocks also take what they remember."""

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        batch = len(x)
        x = x.flatten(0, 1)
        for layer in self:
            x = layer(x, memory, batch) if isinstance(layer, MemoryBlock) else layer(x)
        return x.unflatten(0, (batch, -1))


def encoder_stages(width: int, latent_channels: int) -> Stages:
    """Build the encoder: 4 pictures (B, 4, 3, H, W) in [0, 1] -> one latent (B, 1, C, H / 8, W / 8)."""
    layers: list[nn.Module] = [conv3(3, width), nn.ReLU()]
    for steps in (2, 2, 1):
        layers += [FoldTime(width, steps), conv3(width, width, stride=2, bias=False)]
        layers += [MemoryBlock(width) for _ in range(3)]
    return Stages(*layers, conv3(width, latent_channels))


def decoder_stages(width: int, latent_channels: int) -> Stages:
    """Build the decoder: one latent -> 4 pictures in about [0, 1], not clamped."""
    widths = (4 * width, 2 * width, width, width)
    layers: list[nn.Module] = [SoftClamp(), conv3(latent_channels, widths[0]), nn.ReLU()]
    for own, following, steps in zip(widths, widths[1:], (1, 2, 2), strict=False):
        layers += [MemoryBlock(own) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), UnfoldTime(own, steps), conv3(own, following, bias=False)]
    return Stages(*layers, nn.ReLU(), conv3(widths[-1], 3))


class TAEHV(nn.Module):
    """Pictures (B, F, 3, H, W) in [-1, 1] <-> normalised Wan latents (B, T, 16, H / 8, W / 8), F = 4 T - 3."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        width = config.base_width or PUBLISHED_WIDTH
        self.encoder = encoder_stages(width, config.latent_channels)
        self.decoder = decoder_stages(width, config.latent_channels)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of a clip; pictures at its end that fill no latent are left out."""
        return self.encode_chunk(pictures[:, :num_whole(pictures.shape[1], FRAMES_PER_LATENT)])[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return the 4 T - 3 pictures of T latents, clamped to [-1, 1]."""
        return self.decode_chunk(latents)[0]

    def encode_chunk(self, pictures: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Continue a stream (see `streaming.Codec`): 1 + 4 k pictures at its start, 4 k later.

        The first picture also stands for the three before it, which decoding makes and drops.
        """
        starts = memory is None
        latent_sizes(pictures.shape[1], FRAMES_PER_LATENT, starts)
        if starts:
            pictures = torch.cat([pictures[:, :1]] * NUM_TRIMMED + [pictures], dim=1)
        return self.encode_groups(pictures / 2 + 0.5, memory)

    def decode_chunk(self, latents: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Continue a stream (see `streaming.Codec`)."""
        pictures, after = self.decode_groups(latents, memory)
        shown = pictures[:, NUM_TRIMMED:] if memory is None else pictures
        return shown.clamp(0, 1) * 2 - 1, after

    def encode_groups(self, pictures: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Return the latents of (B, F, 3, H, W) pictures in [0, 1], four to each, and the memory.

        A last group that is not full is filled by repeating its last picture.
        """
        missing = -pictures.shape[1] % FRAMES_PER_LATENT
        pictures = torch.cat([pictures] + [pictures[:, -1:]] * missing, dim=1)
        return self._run(self.encoder, pictures.split(FRAMES_PER_LATENT, dim=1), memory)

    def decode_groups(self, latents: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Return four pictures for every latent, none dropped and not clamped, in about [0, 1], and the memory."""
        return self._run(self.decoder, latents.split(1, dim=1), memory)

    def _run(self, stages: Stages, pieces: tuple[Tensor, ...], memory: LayerMemory | None
             ) -> tuple[Tensor, LayerMemory]:
        memory = dict(memory or {})
        dtype = self.decoder[1].weight.dtype
        return torch.cat([stages(piece.to(dtype), memory) for piece in pieces], dim=1), memory
