"""The critic of whole pictures that the loop filter learns from: true, or made by a world that has run freely?

It is shown the picture that the run began with too, as both sides are, so that a park in autumn has to stay one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codec.loop_filter import STYLE_WIDTH, StyleReader

SLOPE = 0.2  # of the leaky rectifiers


class PictureCritic(nn.Module):
    """Pictures and start pictures (N, 3, H, W) in [-1, 1] -> how true places of each look, (N, P).

    Places are cells of 8 pixels, whose surroundings of about 30 pixels are judged, and coarser ones of 16, whose
    surroundings are most of the picture. Only differences of verdicts mean anything.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 5 * width]
        self.style = StyleReader()
        self.down = nn.ModuleList(nn.Conv2d(narrow, wide, 4, stride=2, padding=1)
                                  for narrow, wide in zip([3, *widths], widths, strict=False))
        self.fine = nn.Conv2d(widths[2], widths[2], 3, padding=1)
        self.fine_head = nn.Conv2d(widths[2], 1, 1)
        self.coarse = nn.ModuleList(nn.Conv2d(widths[3], widths[3], 3, padding=1) for _ in range(2))
        self.coarse_head = nn.Conv2d(widths[3], 1, 1)
        self.coarse_query = nn.Linear(STYLE_WIDTH, widths[3])  # a place in the light of the style (arXiv 1802.05637)

    def forward(self, pictures: Tensor, starts: Tensor) -> Tensor:
        x = pictures.contiguous(memory_format=torch.channels_last)
        for down in self.down[:-1]:
            x = F.leaky_relu(down(x), SLOPE)
        x = x + F.leaky_relu(self.fine(x), SLOPE)
        fine = self.fine_head(x)
        x = F.leaky_relu(self.down[-1](x), SLOPE)
        for convolution in self.coarse:
            x = x + F.leaky_relu(convolution(x), SLOPE)
        query = self.coarse_query(self.style(starts))[:, :, None, None]
        coarse = self.coarse_head(x) + (x * query).mean(dim=1, keepdim=True)
        return torch.cat([fine.flatten(1), coarse.flatten(1)], dim=1)
