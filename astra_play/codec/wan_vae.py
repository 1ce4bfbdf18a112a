"""The causal video autoencoder of Wan 2.1: 4 pictures and 8 x 8 pixels to a latent cell, one latent at a time.

It decodes what the published diffusion model makes. Every convolution over time looks only backwards, so a stream is
made latent by latent, with the last inputs of each such layer as its memory; a whole clip is a stream in one call, and
therefore equal to it to the bit. The first latent is one picture, each later one four.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import CodecConfig
from .streaming import LayerMemory, latent_sizes, num_whole

PUBLISHED_WIDTH = 96  # channels at full resolution; the coarser levels have this times WIDTH_FACTORS
WIDTH_FACTORS = (1, 2, 4, 4)
SHRINKS_TIME = (False, True, True)  # after which levels the encoder halves time as well as height and width
ENCODER_BLOCKS, DECODER_BLOCKS = 2, 3  # residual blocks per level

# Mean and deviation of each latent channel over the training set; the diffusion model works on (latent - mean) / std.
LATENT_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
LATENT_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
              3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)


class CausalConv(nn.Conv3d):
    """Convolution (B, C, T, H, W) over this step and those before it; zeros stand before the first of a stream."""

    def __init__(self, width_in: int, width_out: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(width_in, width_out, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        before = memory.get(self)
        x = torch.cat([self.nothing_before(x) if before is None else before, x], dim=2)
        memory[self] = x[:, :, 1 - self.kernel_size[0]:].clone()  # a view would keep the whole chunk alive
        return super().forward(x)

    def nothing_before(self, x: Tensor) -> Tensor:
        """Return the memory of a layer that has seen nothing but zeros."""
        batch, channels, _, height, width = x.shape
        return x.new_zeros(batch, channels, self.kernel_size[0] - 1, height, width)


class UnitNorm(nn.Module):
    """Scale the channels (dimension 1) of each place to unit root mean square, then by a learned factor."""

    def __init__(self, width: int, num_axes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, *(1,) * num_axes))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * (len(self.gamma) ** 0.5 * self.gamma)


class ResidualBlock(nn.Module):
    """Two causal 3x3x3 convolutions, each after a norm and a SiLU, added to the input."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm_in = UnitNorm(width_in, 3)
        self.conv_in = CausalConv(width_in, width_out)
        self.norm_out = UnitNorm(width_out, 3)
        self.conv_out = CausalConv(width_out, width_out)
        self.shortcut = nn.Conv3d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        inner = self.conv_in(F.silu(self.norm_in(x)), memory)
        inner = self.conv_out(F.silu(self.norm_out(inner)), memory)
        return self.shortcut(x) + inner


class PictureAttention(nn.Module):
    """One head of attention between the cells of one time step, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = UnitNorm(width, 2)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        batch, _, _, height, _ = x.shape
        steps = x.transpose(1, 2).flatten(0, 1)
        q, k, v = self.to_qkv(self.norm(steps)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).unflatten(2, (height, -1))
        return x + self.proj(mixed).unflatten(0, (batch, -1)).transpose(1, 2)


class Shrink(nn.Module):
    """Halve height and width and, where `over_time`, the steps of every chunk but the first, which has a single one."""

    def __init__(self, width: int, over_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)
        self.time_conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1)) if over_time else None

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        x = each_step(lambda steps: self.conv(F.pad(steps, (0, 1, 0, 1))), x)
        if self.time_conv is None:
            return x
        before = memory.get(self)
        memory[self] = x[:, :, -1:].clone()
        return x if before is None else self.time_conv(torch.cat([before, x], dim=2))


class Grow(nn.Module):
    """Double height and width, halve the channels, and where `over_time` double the steps of all but the first."""

    def __init__(self, width: int, over_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width // 2, 3, padding=1)
        self.time_conv = CausalConv(width, 2 * width, (3, 1, 1)) if over_time else None

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        if self.time_conv is not None:
            if self.time_conv in memory:
                early, late = self.time_conv(x, memory).chunk(2, dim=1)
                x = torch.stack([early, late], dim=3).flatten(2, 3)
            else:  # the first latent stays one picture, and those after it see zeros in its place
                memory[self.time_conv] = self.time_conv.nothing_before(x)
        return each_step(lambda steps: self.conv(F.interpolate(steps, scale_factor=2.0, mode="nearest-exact")), x)


def each_step(change, x: Tensor) -> Tensor:
    """Apply a function of pictures (N, C, H, W) to every time step of (B, C, T, H, W)."""
    return change(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1)).transpose(1, 2)


def middle(width: int) -> nn.ModuleList:
    """Build the coarsest level of either half."""
    return nn.ModuleList([ResidualBlock(width, width), PictureAttention(width), ResidualBlock(width, width)])


class Encoder(nn.Module):
    """Pictures (B, 3, F, H, W) of one latent -> mean and log variance (B, 2C, 1, h, w)."""

    def __init__(self, base: int, latent_channels: int) -> None:
        super().__init__()
        widths = [base * factor for factor in WIDTH_FACTORS]
        self.conv_in = CausalConv(3, widths[0])
        stages: list[nn.Module] = []
        before = widths[0]
        for level, width in enumerate(widths):
            for _ in range(ENCODER_BLOCKS):
                stages.append(ResidualBlock(before, width))
                before = width
            if level < len(SHRINKS_TIME):
                stages.append(Shrink(width, SHRINKS_TIME[level]))
        self.stages = nn.ModuleList(stages)
        self.middle = middle(before)
        self.norm_out = UnitNorm(before, 3)
        self.conv_out = CausalConv(before, 2 * latent_channels)

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        x = self.conv_in(x, memory)
        for stage in (*self.stages, *self.middle):
            x = stage(x, memory)
        return self.conv_out(F.silu(self.norm_out(x)), memory)


class Decoder(nn.Module):
    """One latent (B, C, 1, h, w) -> its pictures (B, 3, F, H, W), F = 1 at the start of a stream and 4 later."""

    def __init__(self, base: int, latent_channels: int) -> None:
        super().__init__()
        widths = [base * factor for factor in reversed(WIDTH_FACTORS)]
        grows_time = SHRINKS_TIME[::-1]
        self.conv_in = CausalConv(latent_channels, widths[0])
        self.middle = middle(widths[0])
        stages: list[nn.Module] = []
        before = widths[0]
        for level, width in enumerate(widths):
            for _ in range(DECODER_BLOCKS):
                stages.append(ResidualBlock(before, width))
                before = width
            if level < len(grows_time):
                stages.append(Grow(width, grows_time[level]))
                before = width // 2
        self.stages = nn.ModuleList(stages)
        self.norm_out = UnitNorm(before, 3)
        self.conv_out = CausalConv(before, 3)

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:
        x = self.conv_in(x, memory)
        for stage in (*self.middle, *self.stages):
            x = stage(x, memory)
        return self.conv_out(F.silu(self.norm_out(x)), memory)


class WanVAE(nn.Module):
    """Pictures (B, F, 3, H, W) in [-1, 1] <-> normalised latents (B, T, 16, H / 8, W / 8), F = 4 T - 3.

    The latents are the diffusion model's own: the mean of the encoder's distribution, never a sample of it, with the
    training set's mean taken out and divided by its deviation. Heights and widths must be multiples of 8.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        base, channels = config.base_width or PUBLISHED_WIDTH, config.latent_channels
        self.encoder = Encoder(base, channels)
        self.to_moments = nn.Conv3d(2 * channels, 2 * channels, 1)
        self.from_latents = nn.Conv3d(channels, channels, 1)
        self.decoder = Decoder(base, channels)
        for name, values in (("mean", LATENT_MEAN), ("std", LATENT_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of a clip; pictures at its end that fill no latent are left out."""
        usable = num_whole(pictures.shape[1], self.config.frames_per_latent)
        return self.encode_chunk(pictures[:, :usable])[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return the 4 T - 3 pictures of T latents, clamped to [-1, 1]."""
        return self.decode_chunk(latents)[0]

    def encode_chunk(self, pictures: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Continue a stream (see `streaming.Codec`): 1 + 4 k pictures at its start, 4 k later."""
        sizes = latent_sizes(pictures.shape[1], self.config.frames_per_latent, starts=memory is None)
        memory = dict(memory or {})
        latents = [self._encode_latent(own, memory) for own in pictures.to(self.mean.dtype).split(sizes, dim=1)]
        return torch.stack(latents, dim=1), memory

    def decode_chunk(self, latents: Tensor, memory: LayerMemory | None = None) -> tuple[Tensor, LayerMemory]:
        """Continue a stream (see `streaming.Codec`)."""
        memory = dict(memory or {})
        pictures = [self._decode_latent(own, memory) for own in latents.to(self.mean.dtype).unbind(1)]
        return torch.cat(pictures, dim=1), memory

    def _encode_latent(self, pictures: Tensor, memory: LayerMemory) -> Tensor:
        moments = self.to_moments(self.encoder(pictures.transpose(1, 2), memory))
        return (moments[:, :self.config.latent_channels, 0] - self.mean) / self.std

    def _decode_latent(self, latent: Tensor, memory: LayerMemory) -> Tensor:
        own = self.from_latents((latent * self.std + self.mean)[:, :, None])
        return self.decoder(own, memory).clamp(-1, 1).transpose(1, 2)
