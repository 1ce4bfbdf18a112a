"""A batch of streams that run freely: true chunks are shown first, then each chunk is made from the ones before it.

The loop that play, evaluation and training on own rollouts share: expect (the anchor), denoise, settle, paint, commit.
`World` is one stream of it with seeds and numpy around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import StreamConfig
from .anchor import mix, repeat_last
from .carried_picture import CarriedPicture
from .history import CausalHistory
from .solvers import SOLVERS
from .transformer import Transformer

MAX_STRETCH = 2.0  # ratio of deviations beyond which a frame is not faded but another view
MIN_DEVIATION = 1e-3  # network latents are of order 1; a channel that is flat to this degree has no contrast to hold


class FreeRun:
    """`show` true chunks, then `generate`, `paint` (worlds that carry a picture) and `commit`, chunk after chunk.

    `disturb`, where given, noises latents on their way into the history (context noise).
    """

    def __init__(self, model: Transformer, stream: StreamConfig, modality: str, batch: int = 1,
                 carried: CarriedPicture | None = None, disturb: Callable[[Tensor], Tensor] | None = None) -> None:
        self.history = CausalHistory(model, stream, modality, batch)
        self.stream, self.carried, self._disturb = stream, carried, disturb
        self._palette: tuple[Tensor, Tensor] | None = None  # mean and deviation of the first frame's channels
        self._last: Tensor | None = None  # newest clean latent frame, (B, 1, C, H, W)
        self._finished: tuple[Tensor, Tensor, Tensor] | None = None  # latents, rows, anchor of a chunk to commit

    @property
    def has_past(self) -> bool:
        return self._last is not None

    def reset(self) -> None:
        """Forget the past."""
        self.history.reset()
        if self.carried is not None:
            self.carried.reset()
        self._palette = self._last = self._finished = None

    def snapshot(self) -> dict[str, Any]:
        """Return what `restore` needs to go on from here, after a commit; playing on changes nothing in it."""
        return {"history": self.history.snapshot(), "palette": self._palette, "last": self._last,
                "carried": None if self.carried is None else self.carried.snapshot()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.history.restore(snapshot["history"])
        if self.carried is not None:
            self.carried.restore(snapshot["carried"])
        self._palette, self._last, self._finished = snapshot["palette"], snapshot["last"], None

    @property
    def anchor(self) -> Tensor:
        """What was expected of the chunk just made (model/anchor.py)."""
        return self._finished[2]

    def show(self, latents: Tensor, rows: Tensor, picture: Tensor | None = None, goes_on: bool = False) -> Tensor:
        """Take a true chunk (B, c, C, H, W) and the rows (B, c, A) that led into it; returns what was expected of it.

        `picture` (B, 3, H, W) in [-1, 1], the last of the chunk's own pictures, is needed where one is carried. With
        `goes_on` it was taken where the rows led to, which counts where a place is set up in the first one.
        """
        self.commit()
        anchor = self._still(latents[:, :1], rows) if self._last is None else self._expect(rows)
        if self.carried is not None:
            (self.carried.carry_on if goes_on else self.carried.show)(picture)
        if self._palette is None:
            self._palette = channel_statistics(latents[:, :1])
        self._finish(latents, rows, anchor)
        self.commit()
        return anchor

    def generate(self, noise: Tensor, rows: Tensor, sigmas: Sequence[float], guidance_scale: float = 1.0) -> Tensor:
        """Return the clean latents (B, c, C, H, W) of the next chunk, made from noise of that shape."""
        self.commit()
        anchor = self._expect(rows)
        solve = SOLVERS[self.stream.solver]
        clean = solve(lambda noisy, sigma: self.history.velocity(noisy, sigma, rows, guidance_scale, anchor).float(),
                      noise, sigmas)
        expected = mix(anchor, self.history.shares, clean.shape[2])
        clean = settle(clean, expected, self._palette, self.stream)
        self._finish(clean, rows, anchor)
        return clean

    def paint(self) -> tuple[Tensor, Tensor]:
        """Paint the chunk just made over the carried picture: its pictures (B, c, 3, H, W) and their latents.

        The latents of what is shown replace the ones that `generate` returned; the history remembers these.
        """
        latents, rows, anchor = self._finished
        pictures, latents = self.carried.paint_over(latents, self.history.shares)
        self._finish(latents, rows, anchor)
        return pictures, latents

    def commit(self) -> None:
        """Hand the finished chunk to the history, once; its pass is folded into the first pass of the next chunk."""
        if self._finished is not None:
            latents, rows, anchor = self._finished
            self._finished = None
            self.history.push(self._disturb(latents) if self._disturb else latents, rows, anchor)

    def _expect(self, rows: Tensor) -> Tensor:
        return self._still(self._last, rows) if self.carried is None else self.carried.expect(rows)

    def _still(self, last: Tensor, rows: Tensor) -> Tensor:
        return repeat_last(last, rows.shape[1], self.history.model.config.anchor_coverage)

    def _finish(self, latents: Tensor, rows: Tensor, anchor: Tensor) -> None:
        self._finished, self._last = (latents, rows, anchor), latents[:, -1:]


def settle(clean: Tensor, anchor: Tensor, palette: tuple[Tensor, Tensor], stream: StreamConfig) -> Tensor:
    """Return a denoised chunk as it is to be shown: corrections to the anchor gated, palette held (StreamConfig)."""
    if stream.correction_gate:
        correction = clean - anchor
        energy = correction.square().mean(dim=2, keepdim=True)
        clean = anchor + correction * (energy / (energy + stream.correction_gate))
    if stream.colour_hold or stream.contrast_hold:
        (mean, deviation), (first_mean, first_deviation) = channel_statistics(clean), palette
        stretch = (first_deviation / deviation).clamp(1 / MAX_STRETCH, MAX_STRETCH) ** stream.contrast_hold
        clean = torch.lerp(mean, first_mean, stream.colour_hold) + (clean - mean) * stretch
    return clean


def channel_statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the grid of latents (B, T, C, H, W), both (B, T, C, 1, 1)."""
    deviation, mean = torch.std_mean(latents.float(), dim=(-2, -1), keepdim=True)
    return mean, deviation + MIN_DEVIATION
