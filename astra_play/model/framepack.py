"""FramePack: which latent frames of the past become which tokens, at which time index, under which action row.

The network sees 20 latent frames of the past: the first of them and the last at full resolution ("1x"), the two before
the last halved ("2x": 2 frames and 4 x 4 cells a token), and sixteen before those quartered ("4x": 4 frames and 8 x 8
cells a token). Tokens stand in the order 4x, 2x, start, last, targets. Slots count the window, 0 .. 19 the past and
20 .. the targets; a past of fewer frames stands at the right, behind zero latents.

This is the layout that the published weights were trained with. Three things in it look like mistakes and are kept:
coarse tokens carry the time index and the action row of the first frames of their group and not of the pooled ones,
missing frames are convolved as zeros, and the last frame of the past carries the row of the first target.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .rope import rotary_table

WINDOW = 20  # latent frames of the past that the network can see
LAST_SLOT = WINDOW - 1
QUARTER_SLOTS = range(1, 17)
HALF_SLOTS = range(17, 19)
NO_ROW = -1  # of tokens that carry no action: 25 zeros stand in for the projected row


@dataclass(frozen=True)
class TokenGroup:
    """The tokens that one embedding makes of one latent frame, or of the several that it pools.

    `coarseness`: 4, 2 or 1; `time_index` counts window slots; `row` counts the action table, whose row 0 belongs to
    the first latent frame of the window that is not missing, or is NO_ROW.
    """

    coarseness: int
    time_index: int
    row: int


@dataclass(frozen=True)
class Packing:
    """The token groups of a pass over a past of `num_history` latent frames (at most WINDOW) and the targets."""

    num_history: int
    num_targets: int
    groups: tuple[TokenGroup, ...]

    @property
    def start_slot(self) -> int:
        return WINDOW - self.num_history

    @property
    def coarsenesses(self) -> tuple[int, ...]:
        """The embeddings that the past goes through, in the order of their tokens."""
        return tuple(c for c in (4, 2, 1) if any(g.coarseness == c for g in self.groups))

    def tokens(self, height: int, width: int) -> list[int]:
        """Tokens of each group on a latent grid of `height` x `width` cells."""
        return [rows * columns for rows, columns in (grid(g.coarseness, height, width) for g in self.groups)]

    def num_history_tokens(self, height: int, width: int) -> int:
        return sum(self.tokens(height, width)[:-self.num_targets])


def grid(coarseness: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tokens that a latent grid becomes; what does not fill a token is padded."""
    cells = 2 * coarseness
    return -(-height // cells), -(-width // cells)


@lru_cache(maxsize=64)
def pack(num_latents: int, num_targets: int) -> Packing:
    """Return the packing after `num_latents` latent frames since the beginning, at least 1."""
    assert num_latents >= 1 and num_targets >= 1
    num_history = min(num_latents, WINDOW)
    start = WINDOW - num_history
    groups = []
    quarter = [slot for slot in QUARTER_SLOTS if slot >= start]
    if quarter:
        for frame in range(len(QUARTER_SLOTS) // 4):
            known = frame < len(quarter)
            time = quarter[frame] if known else quarter[-1]
            groups.append(TokenGroup(4, time, time - start if known else NO_ROW))
    half = [slot for slot in HALF_SLOTS if slot >= start]
    if half:
        groups.append(TokenGroup(2, half[0], half[0] - start))
    groups.append(TokenGroup(1, start, 0))
    groups.append(TokenGroup(1, LAST_SLOT, num_history))  # the row of the first target
    groups += [TokenGroup(1, WINDOW + k, num_history + k) for k in range(num_targets)]
    return Packing(num_history, num_targets, tuple(groups))


def packed_rotary_table(packing: Packing, height: int, width: int, head_dim: int, device: torch.device) -> Tensor:
    """Return the (N, head_dim / 2) complex table of all tokens; coarse grids number their own rows and columns."""
    return torch.cat([rotary_table(torch.tensor([g.time_index], device=device), *grid(g.coarseness, height, width),
                                   head_dim) for g in packing.groups])


def patches(latents: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Latents (B, T, C, H, W) -> (B, n, C * patch): tokens by (frame, row, column), values by (channel, frame, row,
    column). An axis that the patches do not fill repeats its last value."""
    for axis, step in zip((1, 3, 4), size, strict=True):
        length = latents.shape[axis]
        if length % step:
            padded = torch.arange(length + -length % step, device=latents.device).clamp(max=length - 1)
            latents = latents.index_select(axis, padded)
    batch, frames, channels, height, width = latents.shape
    pt, ph, pw = size
    x = latents.reshape(batch, frames // pt, pt, channels, height // ph, ph, width // pw, pw)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)


class HistoryEmbedder(nn.Module):
    """The three patch embeddings of clean latents; noisy targets go through the transformer's own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        cells = config.latent_channels * config.patch_size[1] * config.patch_size[2]
        self.layers = nn.ModuleDict({str(c): nn.Linear(cells * c**3, config.dim) for c in (1, 2, 4)})

    def forward(self, window: Tensor, packing: Packing) -> Tensor:
        """window: (B, 20, C, H, W), missing frames zero -> tokens (B, N, D) of the past."""
        latents = {4: window[:, QUARTER_SLOTS.start:QUARTER_SLOTS.stop],
                   2: window[:, HALF_SLOTS.start:HALF_SLOTS.stop],
                   1: window[:, [packing.start_slot, LAST_SLOT]]}
        _, ph, pw = self.patch_size
        return torch.cat([self.layers[str(c)](patches(latents[c], (c, c * ph, c * pw)))
                          for c in packing.coarsenesses], dim=1)
