"""Picture -> which of its pixels belong to the robot: the small network that cuts the hand out of the start picture.

A world whose actions move a hand carries it along as a layer of its own over the table (model/still_camera.py). Where
that layer ends no action tells, so this network is shown pictures, and in training the simulator's own outline of the
robot (`train hand`). It looks once, at the picture that play starts from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4  # halvings; at the coarsest a cell sees what kind of thing it belongs to


class HandFinder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W multiples of 16 -> shares of the robot in each pixel, (N, 1, H, W).

    A U-Net (Ronneberger et al., 2015) with one convolution a level, sums for its skips and width doubling to a limit.
    """

    def __init__(self, width: int, num_shapes: int = 1, num_channels: int = 3) -> None:
        """`num_shapes`: how many things are told apart, each with shares of its own; `num_channels`: of the pictures.
        """
        super().__init__()
        widths = [min(width << level, 4 * width) for level in range(LEVELS + 1)]
        self.coarsest = widths[-1]
        self.stem = nn.Conv2d(num_channels, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
                                  for narrow, wide in zip(widths, widths[1:], strict=False))
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(wide, narrow, 3, padding=1)
                                for narrow, wide in zip(widths, widths[1:], strict=False))
        self.head = nn.Conv2d(width, num_shapes, 3, padding=1)

    def logits(self, pictures: Tensor) -> Tensor:
        """Return the logits of the shares."""
        return self.draw(*self.look(pictures))

    def look(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what the coarsest level makes of pictures, (N, coarsest, H / 16, W / 16), and the finer ones, finest
        first."""
        x, skips = F.silu(self.stem(pictures)), []
        for down in self.down:
            skips.append(x)
            x = F.silu(down(x))
        return x + F.silu(self.middle(x)), skips

    def draw(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Return the logits of the shares from what `look` returned."""
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = F.silu(skip + up(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return self.head(x)

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(pictures))
