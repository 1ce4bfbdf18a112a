"""Painted picture -> the picture that is shown and carried on: the network that keeps a free run looking like a world.

What is carried from picture to picture for minutes is resampled, stretched and painted over thousands of times, and a
latent frame of a few tokens cannot say what a tree looks like that comes into view. Video codecs meet the same and put
a filter into their prediction loop, so that what is cleaned up once stays clean in every picture predicted from it
(in-loop filtering, as in AV1's loop restoration). This one is a small network that is trained on the world's own free
runs to make each picture look like one of the simulator's (train/filter_loop.py): it knows which pixels were seen
before, and what the start picture looked like, so that an autumn stays an autumn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 3  # halvings after the first, which is a pixel unshuffle
MULTIPLE = 2 << LEVELS  # of which both sides of a picture have to be
STYLE_SIZE = 24, 32  # what the start picture is shrunk to before its style is read
STYLE_WIDTH = 32


class StyleReader(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> what a place looks like as a whole, (N, STYLE_WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
                                          for narrow, wide in ((3, 24), (24, 48), (48, 64)))
        self.head = nn.Linear(64, STYLE_WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.interpolate(pictures, size=STYLE_SIZE, mode="area")
        for convolution in self.convolutions:
            x = F.silu(convolution(x))
        return self.head(x.mean(dim=(2, 3)))


class StyledBlock(nn.Module):
    """Two 3x3 convolutions added to the input, scaled and shifted in between by the style; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(STYLE_WIDTH, 2 * width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        for layer in (self.modulation, self.conv_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.modulation(style)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv_out(F.silu(self.conv_in(F.silu(x)) * (1 + scale) + shift))


class LoopFilter(nn.Module):
    """A U-Net (Ronneberger et al., 2015) of styled blocks, sums for its skips; starts as the identity.

    H and W have to be multiples of MULTIPLE.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [min(width * (level + 1), 3 * width) for level in range(LEVELS + 1)]
        self.style = StyleReader()
        self.stem = nn.Conv2d(7 * 4, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(StyledBlock(own) for own in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
                                  for narrow, wide in zip(widths, widths[1:], strict=False))
        self.middle = nn.ModuleList(StyledBlock(widths[-1]) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(wide, 4 * narrow, 1) for narrow, wide in zip(widths, widths[1:],
                                                                                       strict=False))
        self.up_blocks = nn.ModuleList(StyledBlock(own) for own in widths[:-1])
        self.head = nn.Conv2d(widths[0], 3 * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)  # as the pictures are; else they would be turned at every call

    def change(self, pictures: Tensor, moved: Tensor, seen: Tensor, style: Tensor) -> Tensor:
        """What is to be added to the painted pictures, (N, 3, H, W); arguments as of `forward`."""
        known = torch.cat([pictures, pictures - moved, seen], dim=1).contiguous(memory_format=torch.channels_last)
        x, skips = self.stem(F.pixel_unshuffle(known, 2)), []
        for block, down in zip(self.down_blocks, self.down, strict=True):
            skips.append(block(x, style))
            x = down(F.silu(skips[-1]))
        for block in self.middle:
            x = block(x, style)
        for block, up, skip in zip(reversed(self.up_blocks), reversed(self.up), reversed(skips), strict=True):
            x = block(skip + F.pixel_shuffle(up(x), 2), style)
        return F.pixel_shuffle(self.head(F.silu(x)), 2)

    def forward(self, pictures: Tensor, moved: Tensor, seen: Tensor, style: Tensor) -> Tensor:
        """Filter painted pictures (N, 3, H, W) in [-1, 1].

        `moved` (N, 3, H, W) is what they were painted over, `seen` (N, 1, H, W) in [0, 1] which of its pixels were
        truly seen before, `style` (N, STYLE_WIDTH) that of the start picture.
        """
        return (pictures + self.change(pictures, moved, seen, style)).clamp(-1, 1)
