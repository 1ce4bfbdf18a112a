"""The loop filter's and the upscaler's networks, written out layer by layer for one picture: what they must equal."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from astra_play.codec.loop_filter import LoopFilter
from astra_play.codec.upscaler import BLOCKS, Upscaler


def naive_pixels_to_channels(picture: Tensor) -> Tensor:
    """(C, H, W) -> (4 C, H / 2, W / 2): each colour's upper left, upper right, lower left and lower right pixels."""
    planes = []
    for colour in picture:
        planes += [colour[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return torch.stack(planes)


def naive_channels_to_pixels(planes: Tensor) -> Tensor:
    """The way back."""
    _, height, width = planes.shape
    picture = torch.zeros(len(planes) // 4, 2 * height, 2 * width)
    for i, plane in enumerate(planes):
        picture[i // 4, (i % 4) // 2::2, i % 2::2] = plane
    return picture


def naive_block(weights: dict[str, Tensor], name: str, x: Tensor, style: Tensor) -> Tensor:
    def convolve(part: str, y: Tensor) -> Tensor:
        return F.conv2d(y, weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"], padding=1)

    width = x.shape[0]
    factors = weights[f"{name}.modulation.weight"] @ style + weights[f"{name}.modulation.bias"]
    inner = convolve("conv_in", F.silu(x))
    inner = torch.stack([inner[c] * (1 + factors[c]) + factors[width + c] for c in range(width)])
    return x + convolve("conv_out", F.silu(inner))


def naive_filter(network: LoopFilter, picture: Tensor, moved: Tensor, seen: Tensor, style: Tensor) -> Tensor:
    """One picture (3, H, W), what it was painted over, what of that was seen (1, H, W), and the style (S,)."""
    weights = dict(network.state_dict())

    def convolve(name: str, y: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)

    level0 = naive_block(weights, "down_blocks.0", convolve("stem", naive_pixels_to_channels(
        torch.cat([picture, picture - moved, seen]))), style)
    level1 = naive_block(weights, "down_blocks.1", convolve("down.0", F.silu(level0), stride=2), style)
    level2 = naive_block(weights, "down_blocks.2", convolve("down.1", F.silu(level1), stride=2), style)
    x = convolve("down.2", F.silu(level2), stride=2)
    x = naive_block(weights, "middle.1", naive_block(weights, "middle.0", x, style), style)
    for level, kept in ((2, level2), (1, level1), (0, level0)):
        up = naive_channels_to_pixels(convolve(f"up.{level}", x, padding=0))
        x = naive_block(weights, f"up_blocks.{level}", kept + up, style)
    return (picture + naive_channels_to_pixels(convolve("head", F.silu(x)))).clamp(-1, 1)


def naive_twice_as_large(picture: Tensor) -> Tensor:
    """(C, H, W) -> (C, 2 H, 2 W): each new pixel lies a quarter of the old ones' distance from the nearest of them."""
    _, height, width = picture.shape
    large = torch.zeros(len(picture), 2 * height, 2 * width)

    def neighbours(at: int, length: int) -> list[tuple[int, float]]:
        near = at // 2
        far = near + (1 if at % 2 else -1)
        return [(near, 0.75), (min(max(far, 0), length - 1), 0.25)]

    for y in range(2 * height):
        for x in range(2 * width):
            for row, row_share in neighbours(y, height):
                for column, column_share in neighbours(x, width):
                    large[:, y, x] += row_share * column_share * picture[:, row, column]
    return large


def naive_bicubic(picture: Tensor) -> Tensor:
    """(C, H, W) -> (C, 2 H, 2 W): Keys' cubic with a = -3/4, four old pixels in each direction, the rim repeated."""
    def weight(x: float) -> float:
        x = abs(x)
        near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        return near if x <= 1 else far if x < 2 else 0.0

    def shares(at: int, length: int) -> list[tuple[int, float]]:
        place = (at + 0.5) / 2 - 0.5
        first = math.floor(place) - 1
        return [(min(max(old, 0), length - 1), weight(place - old)) for old in range(first, first + 4)]

    _, height, width = picture.shape
    large = torch.zeros(len(picture), 2 * height, 2 * width)
    for y in range(2 * height):
        for x in range(2 * width):
            for row, row_share in shares(y, height):
                for column, column_share in shares(x, width):
                    large[:, y, x] += row_share * column_share * picture[:, row, column]
    return large.clamp(-1, 1)


def naive_upscale(network: Upscaler, picture: Tensor) -> Tensor:
    """One picture (3, H, W) -> (3, 2 H, 2 W)."""
    weights = dict(network.state_dict())

    def convolve(name: str, y: Tensor) -> Tensor:
        return F.conv2d(y, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    x = convolve("stem", naive_pixels_to_channels(picture))
    for block in range(BLOCKS):
        x = x + convolve(f"blocks.{block}.3", F.silu(convolve(f"blocks.{block}.1", F.silu(x))))
    planes = convolve("head", F.silu(x))
    detail = torch.zeros(3, 4 * x.shape[1], 4 * x.shape[2])
    for i, plane in enumerate(planes):  # 16 planes of a colour are the 4 x 4 pixels of each place
        detail[i // 16, (i % 16) // 4::4, i % 4::4] = plane
    return (naive_twice_as_large(picture) + detail).clamp(-1, 1)
