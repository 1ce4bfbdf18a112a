"""Rotary positions over time, height and width, with explicit integer time indices.

A head's channels are pairs (x0, x1), (x2, x3), ...: first the temporal pairs, then height, then width. Height and width
get 2 * (head_dim // 6) channels each and time the rest (Wan 2.1). Pair j of a part with `n` channels turns by
index * 10000^(-2j / n). Only differences of indices matter, so a context window may number its frames from 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10000.0


def _angles(indices: Tensor, num_channels: int) -> Tensor:
    pairs = torch.arange(0, num_channels, 2, dtype=torch.float64, device=indices.device)
    return indices.double()[:, None] * THETA ** (-pairs / num_channels)


def rotary_table(time_indices: Tensor, grid_height: int, grid_width: int, head_dim: int) -> Tensor:
    """Return the (T * grid_height * grid_width, head_dim / 2) complex64 table of a token block.

    `time_indices`: (T,) integers, one per latent frame; rows and columns count from 0. Token order is (frame, row,
    column). Angles are computed in float64 and rounded once.
    """
    spatial = 2 * (head_dim // 6)
    device = time_indices.device
    time = _angles(time_indices, head_dim - 2 * spatial)
    row = _angles(torch.arange(grid_height, device=device), spatial)
    column = _angles(torch.arange(grid_width, device=device), spatial)
    shape = (len(time_indices), grid_height, grid_width)
    angles = torch.cat([
        time[:, None, None].expand(*shape, -1),
        row[None, :, None].expand(*shape, -1),
        column[None, None, :].expand(*shape, -1),
    ], dim=-1).flatten(0, 2)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn queries or keys (..., N, head_dim) by a (N, head_dim / 2) complex table; the dtype of x is kept."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)
