"""Generated picture -> the picture that is shown, twice as wide and high (single-image super-resolution).

Everything that a world remembers stays as small as its network can afford; only what leaves for the window, a recording
or a clip is drawn finer. The worlds of this project are made of flat shapes with straight edges, of which a small
network that has seen both sizes of many simulated pictures (train/upscaler_loop.py) knows more than an interpolation
does. Nothing comes back from here into the world.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 2
BLOCKS = 4


def interpolated(pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] -> (N, 3, FACTOR H, FACTOR W), bicubic.

    For machines that have no time for an upscaler: edges are softer, and it takes next to nothing.
    """
    return F.interpolate(pictures, scale_factor=FACTOR, mode="bicubic", align_corners=False).clamp(-1, 1)


class Upscaler(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W even -> (N, 3, FACTOR H, FACTOR W); starts as bilinear interpolation.

    All convolutions run on a quarter of the small picture's pixels and the large picture is shuffled out of channels at
    the end (sub-pixel convolution, arXiv 1609.05158), which makes it cheap enough for every frame of a processor.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * 4, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
                                                  nn.Conv2d(width, width, 3, padding=1)) for _ in range(BLOCKS))
        self.head = nn.Conv2d(width, 3 * (2 * FACTOR) ** 2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)  # as the pictures are; else they would be turned at every call

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(pictures, 2).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = x + block(x)
        detail = F.pixel_shuffle(self.head(F.silu(x)), 2 * FACTOR)
        smooth = F.interpolate(pictures, scale_factor=FACTOR, mode="bilinear", align_corners=False)
        return (smooth + detail).clamp(-1, 1)
