"""Picture and what was found in it -> the table alone: the small network that says what hand and blocks hide.

Hand, blocks and all their shadows are taken off the start picture as layers (model/tabletop_picture.py), and what is
under them is seen as soon as one of them moves. Colours from around would do for a plain table, but behind a hand there
are its edge, a mat's corner, posters on the wall, and shadows fall on the wall too, where nobody looks for them. The
simulator draws its rooms without all that; from these this network learns (`train hand --find table`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hand import HandFinder
from .shadow import CastShadow
from .tabletop import Tabletop

FAINT = 0.05  # share of a hand or block below which a pixel is the table's own
HARD_SHARES = (0.15, 0.5)  # below, of a finger or block, a pixel is none of it; above, all of it
EDGE_PX = 1  # around what does not belong there: a dark rim that is left of a shadow is seen for good
NUM_OUTPUTS = 4  # three colours, and whether the picture shows anything else


class TableRestorer(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1], H and W multiples of 16, and what is before their tables and thrown on them ->
    the tables alone.

    A hand finder's U-Net, which is shown the picture and what colours from around make of it, and corrects the latter.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shapes = HandFinder(width, num_shapes=NUM_OUTPUTS, num_channels=8)

    def guess(self, pictures: Tensor, hidden: Tensor, dark: Tensor) -> tuple[Tensor, Tensor]:
        """Return the colours of the table (N, 3, H, W), and logits (N, 1, H, W) of where the picture shows others.

        `hidden` (N, 1, H, W) in [0, 1]: share of what stands before the table; `dark` (N, 1, H, W): of shadows.
        """
        filled = fill_in(pictures, (hidden < FAINT) & (dark < FAINT))
        correction, others = self.shapes.logits(torch.cat([pictures, filled, hidden, dark], dim=1)).split([3, 1], dim=1)
        return filled + correction, others

    def forward(self, pictures: Tensor, hidden: Tensor, dark: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tables (N, 3, H, W) in [-1, 1], and where they differ from the pictures, (N, 1, H, W) bool."""
        colours, others = self.guess(pictures, hidden, dark)
        differs = ((others > 0) | (hidden >= FAINT)).float()
        differs = F.max_pool2d(differs, 1 + 2 * EDGE_PX, stride=1, padding=EDGE_PX) > 0
        return torch.where(differs, colours.clamp(-1, 1), pictures), differs


def hidden_and_dark(hand: Tensor, tabletop: Tabletop, shadow: CastShadow) -> tuple[Tensor, Tensor]:
    """What finders found, `hand` being its share (N, 1, H, W) -> shares (N, 1, H, W) of what stands before the table,
    and of the shadows on its plane."""
    # A block found a pixel too small would colour what is filled in behind it.
    blocks = F.max_pool2d(hardened(tabletop.blocks), 3, stride=1, padding=1)
    fingers = hardened(tabletop.fingers).amax(dim=1, keepdim=True)
    return torch.maximum(torch.maximum(hand, fingers), blocks), torch.maximum(shadow.share, tabletop.shadows)


def hardened(share: Tensor) -> Tensor:
    """Shares of which the doubtful ones count in full: what is half a block lets the table show through it."""
    return ((share - HARD_SHARES[0]) / (HARD_SHARES[1] - HARD_SHARES[0])).clamp(0, 1)


def fill_in(pictures: Tensor, known: Tensor) -> Tensor:
    """(B, 3, H, W) pictures whose pixels outside `known` (B, 1, H, W) take the mean colour of the known ones nearby.

    Pull-push (Gortler et al., "The lumigraph", 1996): ever coarser means, each used only where no finer one is known.
    """
    weight = known.to(pictures.dtype)
    if bool(known.all()) or min(pictures.shape[-2:]) < 2:
        return pictures
    size = pictures.shape[-2:]
    coarse_weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    coarse = F.avg_pool2d(pictures * weight, 2, ceil_mode=True) / coarse_weight.clamp_min(1e-6)
    behind = F.interpolate(fill_in(coarse, coarse_weight > 0), size=size, mode="bilinear", align_corners=False)
    return torch.where(known, pictures, behind)
