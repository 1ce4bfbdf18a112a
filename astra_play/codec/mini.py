"""The mini world's own autoencoder: a linear patch encoder and a convolutional decoder with one latent of memory.

The encoder is a single strided convolution whose filters are the principal components of picture patches: it is
fitted in seconds, costs nothing at play, and gives the world stable latents from the first minute of training. The
decoder starts as the transpose of the encoder and learns everything that a linear map cannot know (edges, seams
between patches).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import CodecConfig
from .arm_completer import ArmCompleter
from .bare_table import TableRestorer
from .distances import DistanceFinder
from .hand import HandFinder
from .loop_filter import LoopFilter
from .shadow import ShadowFinder
from .streaming import LayerMemory
from .tabletop import TabletopFinder
from .upscaler import Upscaler


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a SiLU, added to the input; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_out(F.silu(self.conv_in(F.silu(x))))


class Upsample(nn.Module):
    """Double the grid: 1x1 convolution to four times the channels, then pixel shuffle."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width_in, 4 * width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.expand(x), 2)


class MiniCodec(nn.Module):
    """Pictures (B, T, 3, H, W) in [-1, 1] <-> latents (B, T, C, H / s, W / s), one latent frame per picture."""

    IN_BYTES = ("distances", "loop_filter")  # in files; a world is to travel

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        s, c, w = config.spatial_compression, config.latent_channels, config.decoder_width
        self.encoder = nn.Conv2d(3, c, s, stride=s)
        self.linear_decoder = nn.ConvTranspose2d(c, 3, s, stride=s)
        num_doublings = s.bit_length() - 2  # the last doubling is the output's own pixel shuffle
        # Two wide levels where pixels are few, then half the width: cost goes with area, parameters with width squared.
        widths = [w if level < 2 else w // 2 for level in range(num_doublings + 1)]
        self.stem = nn.Conv2d(2 * c, widths[0], 3, padding=1)  # this latent and the one before it
        stages: list[nn.Module] = []
        for level, width in enumerate(widths):
            stages += [ResidualBlock(width) for _ in range(config.decoder_blocks)]
            if level < num_doublings:
                stages.append(Upsample(width, widths[level + 1]))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Conv2d(widths[-1], 3 * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.hand = HandFinder(config.hand_width) if config.hand_width else None
        self.shadow = ShadowFinder(config.shadow_width) if config.shadow_width else None
        self.tabletop = TabletopFinder(config.tabletop_width) if config.tabletop_width else None
        self.table = TableRestorer(config.table_width) if config.table_width else None
        # Its convolutions are a quarter faster so, on processors.
        self.arm = ArmCompleter(config.arm_width).to(memory_format=torch.channels_last) if config.arm_width else None
        self.distances = DistanceFinder(config.distances_width) if config.distances_width else None
        self.loop_filter = LoopFilter(config.loop_filter_width) if config.loop_filter_width else None
        self.upscaler = Upscaler(config.upscaler_width) if config.upscaler_width else None

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of (B, T, 3, H, W) pictures in [-1, 1]."""
        batch, frames = pictures.shape[:2]
        latents = project_patches(pictures.flatten(0, 1), self.encoder.weight, self.encoder.bias)
        return latents.unflatten(0, (batch, frames))

    def decode(self, latents: Tensor, previous: Tensor | None = None) -> Tensor:
        """Return the pictures (B, T, 3, H, W) of latents (B, T, C, h, w).

        `previous` (B, 1, C, h, w) is the latent frame before the first; None at the start of a stream, where the
        first latent frame stands in for it.
        """
        batch, frames = latents.shape[:2]
        before = latents[:, :1] if previous is None else previous
        pairs = torch.cat([latents, torch.cat([before, latents[:, :-1]], dim=1)], dim=2).flatten(0, 1)
        x = self.stages(self.stem(pairs.contiguous(memory_format=torch.channels_last)))
        detail = F.pixel_shuffle(self.head(F.silu(x)), 2)
        blocks = paint_patches(latents.flatten(0, 1), self.linear_decoder.weight)
        return (blocks + self.linear_decoder.bias[:, None, None] + detail).unflatten(0, (batch, frames))

    def encode_chunk(self, pictures: Tensor, memory: None = None) -> tuple[Tensor, None]:
        """Continue a stream (see `streaming.Codec`); the encoder looks at one picture at a time and remembers none."""
        return self.encode(pictures), None

    def decode_chunk(self, latents: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Continue a stream (see `streaming.Codec`); the memory is the last latent frame."""
        pictures = self.decode(latents, memory[self] if memory else None)
        return pictures, {self: latents[:, -1:].clone()}


def project_patches(pictures: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (N, 3, H, W) pictures with filters (C, 3, s, s) at stride s.

    The same as conv2d; written as one matrix product, which CPUs do twenty times faster than a convolution of this
    shape.
    """
    number, colours, height, width = pictures.shape
    size = weight.shape[-1]
    patches = pictures.reshape(number, colours, height // size, size, width // size, size).permute(0, 2, 4, 1, 3, 5)
    return F.linear(patches.flatten(3), weight.flatten(1), bias).permute(0, 3, 1, 2)


def paint_patches(latents: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution of (N, C, h, w) with filters (C, 3, s, s) at stride s: the mirror of `project_patches`."""
    number, _, height, width = latents.shape
    _, colours, size, _ = weight.shape
    patches = F.linear(latents.permute(0, 2, 3, 1), weight.flatten(1).T).unflatten(-1, (colours, size, size))
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(number, colours, height * size, width * size)


@torch.no_grad()
def fit_linear(codec: MiniCodec, pictures: Tensor) -> Tensor:
    """Set encoder and linear decoder to the principal components of patches of (N, 3, H, W) pictures in [-1, 1].

    Returns the standard deviation of each latent channel, (C,), largest first.
    """
    s, c = codec.config.spatial_compression, codec.config.latent_channels
    patches = F.unfold(pictures, s, stride=s).transpose(1, 2).flatten(0, 1).double()
    # Only the mean colour is taken out: a transposed convolution has one bias per colour, not one per pixel of a patch.
    mean = patches.mean(dim=0).reshape(3, -1).mean(dim=1, keepdim=True).expand(3, s * s).flatten()
    centred = patches - mean
    variance, components = torch.linalg.eigh(centred.T @ centred / len(centred))
    components = components.flip(1)[:, :c].T
    codec.encoder.weight.copy_(components.reshape(c, 3, s, s))
    codec.encoder.bias.copy_(-components @ mean)
    codec.linear_decoder.weight.copy_(components.reshape(c, 3, s, s))
    codec.linear_decoder.bias.copy_(mean.reshape(3, -1)[:, 0])
    return variance.flip(0)[:c].clamp_min(1e-12).sqrt().float()
