"""The picture that goes on from chunk to chunk: moved (model/anchor.py), painted over with the new latents, filtered.

What a player sees is this picture. It lies between the network, whose latents are too few to hold it, and the codec,
whose decoder and loop filter draw what is new in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..codec.loop_filter import LoopFilter
from .anchor import CameraMotion, blur_across, camera_poses, mix, mix_pictures, pace

EXACT_M = 12.0  # walked, in which what is known becomes so worn that a third of it alone is left as it is in a turn


class CarriedPicture:
    """The last shown picture of every stream of a batch, moved along with the camera and painted over.

    A new picture is what the decoder makes of the new latents plus the detail that the moved picture had beyond the
    decoder's idea of it, less a leak: picture = D(latents) + (1 - leak) (moved - D(anchor)). Where the latents are
    the anchor's the moved picture stays; where they differ the decoder's picture takes over. The leak (leaky
    prediction, as in video coding) makes detail that no latent supports fade instead of feeding on itself.

    `paint`: network latents (N, C, h, w) -> pictures (N, 3, H, W), about in [-1, 1]; the codec's decoder, or the linear
    one of `CameraMotion`, which is cheap and what training uses (`StreamConfig.painter`). `loop_filter`, where there is
    one, cleans every picture up before it is shown and carried on (codec/loop_filter.py). `strength` is the share of
    its changes that is made when the camera moves briskly; the slower it goes the less of them: to one that stands
    nothing new comes into view, and to one that only turns nothing new of what is known already, until that is worn by
    walking. The same goes there for what is painted and what leaks, or a place would fade before the eyes of who stands
    or looks about in it.
    """

    def __init__(self, motion: CameraMotion, paint: Callable[[Tensor], Tensor], leak: float,
                 loop_filter: LoopFilter | None = None, strength: float = 1.0) -> None:
        self._motion, self._paint, self._leak = motion, paint, leak
        self._filter, self._strength = loop_filter, strength
        self._picture: Tensor | None = None
        self._start: Tensor | None = None  # the first picture, (B, 3, H, W): the bonnet in it is the car's for good
        self._style: Tensor | None = None  # of that, (B, STYLE_WIDTH), for the filter
        self._walked_m: Tensor | None = None  # since then, (B,)
        self._moved = self._seen = self._others = self._anchors = None
        self._ahead: Tensor | None = None  # how much of each column is blurred, (B, T, W)
        # Of the chunk last expected: how briskly it walks, (B, T, 1, 1, 1), and how much of what is new counts in each
        # pixel, (B, T, 1, H, W), both in [0, 1]; where they are None all counts.
        self._walks: Tensor | None = None
        self._gate: Tensor | None = None
        self.filters_at_rest = False  # though nothing comes of it; for those who watch what a filter is given

    @property
    def picture(self) -> Tensor | None:
        """The newest picture, (B, 3, H, W) in [-1, 1]."""
        return self._picture

    def reset(self) -> None:
        """Forget the picture."""
        self._picture = self._start = self._style = self._walked_m = None
        self._moved = self._seen = self._others = self._anchors = self._ahead = self._walks = self._gate = None

    def snapshot(self) -> dict[str, Any]:
        """Return what `restore` needs to go on from here, between two chunks; playing on changes nothing in it."""
        return {"picture": self._picture, "start": self._start, "style": self._style, "walked": self._walked_m}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.reset()
        self._picture, self._start, self._style = snapshot["picture"], snapshot["start"], snapshot["style"]
        self._walked_m = snapshot["walked"]

    def show(self, pictures: Tensor) -> None:
        """Carry a given picture on from here, (B, 3, H, W) in [-1, 1]; the first one says what the place looks like."""
        if self._start is None:
            self._start, self._walked_m = pictures, pictures.new_zeros(len(pictures))
            self._style = None if self._filter is None else self._filter.style(pictures)
        self._picture = pictures

    def carry_on(self, pictures: Tensor) -> None:
        """Go on from the last pictures of the chunk just painted."""
        self.show(pictures)

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors (B, T, C or C + 1, h, w) of the chunk that rows (B, T, 12) lead into."""
        moved, seen, anchors = self._motion.expect(self._picture, rows)
        return self._offer(rows, moved, seen, self._motion.other_pictures(self._picture, rows), anchors)

    def _offer(self, rows: Tensor, moved: Tensor, seen: Tensor, others: Tensor | None, anchors: Tensor) -> Tensor:
        self._moved, self._seen, self._others = moved, seen, others
        if self._filter is not None:
            walked_m = self._walked_m[:, None] + camera_poses(rows)[..., 3].norm(dim=-1).cumsum(dim=1)
            self._walked_m = walked_m[:, -1]
            # Frames of a chunk are all moved from the picture before it: what one of them needs the next one needs too.
            moves, self._walks = (pace(rows, turns).cummax(dim=1).values[..., None, None, None]
                                  for turns in (True, False))
            exact = seen * torch.exp(-walked_m / EXACT_M)[..., None, None, None]
            self._gate = moves + (self._walks - moves) * exact
        self._ahead = self._motion.straight_ahead(rows)
        self._anchors = self._motion.offer(anchors, moved, others)
        return self._anchors

    def block_errors(self, truth: Tensor) -> Tensor | None:
        """How wrong each block of the chunk last expected would be, hypothesis by hypothesis
        (`CameraMotion.block_errors`); None where there are none."""
        return None if self._others is None else self._motion.block_errors(self._moved, self._others, truth)

    def paint_over(self, latents: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take the clean latents (B, T, C, h, w) of the chunk last expected, and its shares of the hypotheses.

        Returns its pictures (B, T, 3, H, W), and their latents, which are what the history should remember.
        """
        shape = latents.shape[:2]
        both = torch.cat([latents, mix(self._anchors, shares, latents.shape[2])])
        painted, expected = self._paint(both.flatten(0, 1).float()).chunk(2)
        moved = self._moved if shares is None else mix_pictures(self._moved, self._others, shares)
        if shares is not None and self._walks is not None:
            moved = torch.lerp(self._moved, moved, self._walks)  # in a turn all is as the anchor says, near and far
        moved = moved.flatten(0, 1)
        if self._ahead is not None:
            moved = blur_across(moved, self._ahead.flatten(0, 1))
        change = painted - expected - self._leak * (moved - expected)
        if self._gate is not None:
            change = change * self._gate.flatten(0, 1)
        pictures = (moved + change).clamp(-1, 1)
        if self._filter is not None:
            # Who stands still is shown the same picture, and need not wait for a filter.
            if self.filters_at_rest or bool(self._gate.any()):
                style = self._style.repeat_interleave(shape[1], dim=0)
                filtered = self._filter(pictures, moved, self._seen.flatten(0, 1), style)
                pictures = torch.lerp(pictures, filtered, self._strength * self._gate.flatten(0, 1))
            pictures = torch.where(self._motion.on_bonnet, self._start.repeat_interleave(shape[1], dim=0), pictures)
        latents, pictures = self._motion.encode(pictures).unflatten(0, shape), pictures.unflatten(0, shape)
        self.carry_on(pictures[:, -1])
        return pictures, latents
