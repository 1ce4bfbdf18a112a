"""Any codec, tile by tile: the pictures of a small GPU that cannot hold those of the whole view at once.

The latent grid is cut into tiles that overlap; each goes through the codec alone and they are blended by weights that
fall off linearly towards a neighbour. A stream keeps one memory per tile, so it may be tiled chunk by chunk; a whole
clip goes tile by tile instead, and holds the memory of one tile only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .streaming import Codec, LayerMemory

# As the published system tiles: rows and columns of a tile, and from one to the next, in latent cells.
TILE = (34, 34)
STRIDE = (18, 16)


@dataclass(frozen=True)
class Span:
    """Part of one axis, in cells; `rises` and `falls` say whether a neighbour overlaps it before and behind."""

    start: int
    stop: int
    rises: bool
    falls: bool


def spans(length: int, tile: int, stride: int) -> list[Span]:
    """Cut an axis into spans of `tile` cells every `stride`; the last is cut short, and reaches the end."""
    starts = [0]
    while starts[-1] + tile < length:
        starts.append(starts[-1] + stride)
    return [Span(start, min(start + tile, length), start > 0, start + tile < length) for start in starts]


def ramp(span: Span, overlap: int, scale: int, device: torch.device) -> Tensor:
    """Weights along a span at `scale` points a cell: 1, and from 1/n to 1 over the n points shared with a neighbour."""
    size, shared = (span.stop - span.start) * scale, overlap * scale
    rising = (torch.arange(size, device=device) + 1) / max(shared, 1)
    weights = torch.ones(size, device=device)
    if span.rises:
        weights = torch.minimum(weights, rising)
    if span.falls:
        weights = torch.minimum(weights, rising.flip(0))
    return weights


class TiledCodec(nn.Module):
    """A codec that sees no more than `tile` latent cells at once, with the face of the codec that it wraps.

    tile, stride: (rows, columns) in latent cells, stride at most tile. park: device on which tiles that are not being
    worked on wait, pictures and memories alike; None leaves them where they are. Results are on the device of what
    was given. Attention and zero padding stop at a tile's edge, so the result differs a little from the whole view's.
    """

    def __init__(self, codec: Codec, tile: tuple[int, int] = TILE, stride: tuple[int, int] = STRIDE,
                 park: torch.device | str | None = None) -> None:
        super().__init__()
        assert all(1 <= step <= size for size, step in zip(tile, stride, strict=True)), "a stride must not leave gaps"
        self.config = codec.config
        self.codec = codec
        self.tile, self.stride, self.park = tile, stride, park

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of a clip (see `streaming.Codec`), tile by tile."""
        scale = self.config.spatial_compression
        return self._blend(pictures, scale, 1, lambda own, _: self.codec.encode(own))

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of a clip (see `streaming.Codec`), tile by tile."""
        return self._blend(latents, 1, self.config.spatial_compression, lambda own, _: self.codec.decode(own))

    def encode_chunk(self, pictures: Tensor, memory: list[LayerMemory | None] | None = None
                     ) -> tuple[Tensor, list[LayerMemory | None]]:
        """Continue a stream (see `streaming.Codec`); the memory is a list of the tiles' own."""
        return self._continue(self.codec.encode_chunk, pictures, self.config.spatial_compression, 1, memory)

    def decode_chunk(self, latents: Tensor, memory: list[LayerMemory | None] | None = None
                     ) -> tuple[Tensor, list[LayerMemory | None]]:
        """Continue a stream (see `streaming.Codec`); the memory is a list of the tiles' own."""
        return self._continue(self.codec.decode_chunk, latents, 1, self.config.spatial_compression, memory)

    def tiles(self, rows: int, columns: int) -> list[tuple[Span, Span]]:
        """Return the tiles of a latent grid, row by row."""
        down, across = (spans(length, tile, stride) for length, tile, stride in
                        zip((rows, columns), self.tile, self.stride, strict=True))
        return [(own, other) for own in down for other in across]

    def weights(self, rows: int, columns: int, scale: int, device: torch.device) -> Iterator[Tensor]:
        """Yield the weights of each tile at `scale` points a cell; they add up to 1 wherever tiles overlap."""
        overlaps = [tile - stride for tile, stride in zip(self.tile, self.stride, strict=True)]
        own = [torch.minimum(ramp(down, overlaps[0], scale, device)[:, None],
                             ramp(across, overlaps[1], scale, device)[None])
               for down, across in self.tiles(rows, columns)]
        total = torch.zeros(rows * scale, columns * scale, device=device)
        areas = [_area(tile, scale) for tile in self.tiles(rows, columns)]
        for area, weight in zip(areas, own, strict=True):
            total[area] += weight
        for area, weight in zip(areas, own, strict=True):
            yield weight / total[area]

    def _continue(self, step, given: Tensor, scale_in: int, scale_out: int,
                  memory: list[LayerMemory | None] | None) -> tuple[Tensor, list[LayerMemory | None]]:
        rows, columns = (side // scale_in for side in given.shape[-2:])
        memory = memory or [None] * len(self.tiles(rows, columns))
        after: list[LayerMemory | None] = []

        def one(own: Tensor, index: int) -> Tensor:
            made, kept = step(own, _moved(memory[index], own.device))
            after.append(_moved(kept, self.park))
            return made

        return self._blend(given, scale_in, scale_out, one), after

    def _blend(self, given: Tensor, scale_in: int, scale_out: int, make) -> Tensor:
        """Add up what `make` returns for each tile of `given`, (its part, its number) -> (B, F, C, H, W)."""
        rows, columns = (side // scale_in for side in given.shape[-2:])
        canvas: Tensor | None = None
        place = self.park or given.device
        weights = self.weights(rows, columns, scale_out, torch.device(place))
        for index, (tile, weight) in enumerate(zip(self.tiles(rows, columns), weights, strict=True)):
            made = make(given[(..., *_area(tile, scale_in))], index).to(place)
            if canvas is None:
                canvas = made.new_zeros(*made.shape[:3], rows * scale_out, columns * scale_out)
            canvas[(..., *_area(tile, scale_out))] += made * weight.to(made.dtype)
        return canvas.to(given.device)


def _area(tile: tuple[Span, Span], scale: int) -> tuple[slice, slice]:
    down, across = tile
    return (slice(down.start * scale, down.stop * scale), slice(across.start * scale, across.stop * scale))


def _moved(memory: LayerMemory | None, device: torch.device | str | None) -> LayerMemory | None:
    if memory is None or device is None:
        return memory
    return {layer: kept.to(device) for layer, kept in memory.items()}
