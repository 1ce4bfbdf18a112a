"""`train hand --find table`: pictures of the arm and of the same rooms without it -> the table restorer of a codec.

What is learned is told in codec/bare_table.py. What hides the table is what the codec's own finders say, so they come
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import pixels
from ..codec.bare_table import TableRestorer, hidden_and_dark
from ..codec.mini import MiniCodec
from ..errors import ConfigError
from .arm_play import moments
from .codec_parts import fit_finder, quick, repainted

WIDTH, BATCH, LR = 10, 16, 3e-3
OTHER = 0.03  # of a colour's range of 2, from which on two pictures show different things
EDGES_WEIGHT = 1.0  # of errors in the differences between neighbours, beside errors of the colours
OTHERS_WEIGHT = 0.3  # of the cross-entropy of where the picture shows something else


@dataclass(frozen=True)
class Tables:
    """Pictures (N, 3, H, W) in [-1, 1], what was found in them (N, 1, H, W), and their tables alone (N, 3, H, W)."""

    pictures: Tensor
    hidden: Tensor
    dark: Tensor
    tables: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def draw_tables(codec: MiniCodec, first_seed: int, num_worlds: int, width: int, height: int) -> Tables:
    """Play worlds of the arm from `first_seed` on, draw some moments of each, and let the codec's finders look."""
    if codec.hand is None or codec.shadow is None or codec.tabletop is None:
        raise ConfigError("a table is restored behind what finders find, and this codec lacks some of them; give it "
                          "all three by `train hand --find hand`, `--find shadow` and `--find tabletop`")
    frames, bare = [], []
    for frame, simulator in moments(first_seed, num_worlds, width, height):
        frames.append(frame)
        bare.append(simulator.bare())
    pictures, tables = (pixels.to_float(torch.from_numpy(np.stack(each))) for each in (frames, bare))
    with torch.no_grad():
        found = [hidden_and_dark(codec.hand(part), codec.tabletop(part), codec.shadow(part))
                 for part in pictures.split(BATCH)]
    return Tables(pictures, *(torch.cat(shares) for shares in zip(*found, strict=True)), tables)


def varied(tables: Tables, index: Tensor, generator: torch.Generator) -> Tables:
    """Return a batch, half of it mirrored, in other paints and light."""
    mirrored = torch.rand(len(index), 1, 1, 1, generator=generator) < 0.5
    pictures, hidden, dark, alone = (torch.where(mirrored, x[index].flip(-1), x[index]) for x in (
        tables.pictures, tables.hidden, tables.dark, tables.tables))
    pictures, alone = repainted(torch.cat([pictures, alone], dim=2), generator).chunk(2, dim=2)  # both alike
    return Tables(pictures, hidden, dark, alone)


def fit(restorer: TableRestorer, tables: Tables, num_steps: int, seed: int = 0) -> list[float]:
    """Train the restorer in place; return the losses."""
    guessed = quick(restorer.guess)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = varied(tables, torch.randint(len(tables), (BATCH,), generator=generator), generator)
        colours, others = guessed(batch.pictures, batch.hidden, batch.dark)
        differs = (batch.tables - batch.pictures).abs().amax(dim=1, keepdim=True) > OTHER
        where = differs | (batch.hidden > 0.5)
        off = (colours - batch.tables) * F.max_pool2d(where.float(), 3, stride=1, padding=1)
        errors = off.abs().sum() + EDGES_WEIGHT * sum(off.diff(dim=dim).abs().sum() for dim in (2, 3))
        return errors / (3 * where.sum()) + OTHERS_WEIGHT * F.binary_cross_entropy_with_logits(others, differs.float())

    return fit_finder(restorer, loss_of_batch, num_steps, LR, seed)


@torch.no_grad()
def scores(restorer: TableRestorer, tables: Tables) -> dict[str, float]:
    """PSNR (dB) of the tables where the pictures show something else, and how well that is found (intersection over
    union, all pictures together; without the edge that is added around it)."""
    given = zip(*(x.split(BATCH) for x in (tables.pictures, tables.hidden, tables.dark)), strict=True)
    made, found = (torch.cat(parts) for parts in zip(*(
        (restorer(*part)[0], restorer.guess(*part)[1] > 0) for part in given), strict=True))
    differs = (tables.tables - tables.pictures).abs().amax(dim=1, keepdim=True) > OTHER
    squared = ((made - tables.tables) / 2).square().mean(dim=1, keepdim=True)[differs].mean()
    return {"table_psnr_db": float(-10 * squared.log10()),
            "others_overlap": float((found & differs).sum() / (found | differs).sum().clamp_min(1))}
