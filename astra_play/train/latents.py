"""A data set as the world sees it: every episode encoded once, held in memory, cut into clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..codec import pixels
from ..codec.mini import MiniCodec
from ..errors import DataError
from .dataset import Dataset, PackedFrames, read_episode


@dataclass(frozen=True)
class Clips:
    """A batch of clips: network latents (B, T, C, H, W) float32 and the rows (B, T, A) that lead into each frame.

    `is_gap` (B,): frame 0 was taken from earlier in the episode, as the sink of a long session is, so frame 1 does
    not follow it. `before` (B, T, H, W, 3) uint8: the picture that truly came before each latent frame's own (the
    first of an episode: its own), for worlds that carry pictures along; else None.
    """

    latents: Tensor
    rows: Tensor
    is_gap: Tensor
    before: Tensor | None = None

    def to(self, device: torch.device) -> Clips:
        """The same clips on another device."""
        before = None if self.before is None else self.before.to(device)
        return Clips(self.latents.to(device), self.rows.to(device), self.is_gap.to(device), before)

    def pictures_before(self, frames: slice | int) -> Tensor:
        """`before` of some latent frames as pictures (..., 3, H, W) in [-1, 1]."""
        return pixels.to_float(self.before[:, frames])


class LatentDataset:
    """All episodes of a data set as float16 network latents (codec latents / scale) with their action rows.

    `with_pictures` keeps the frames too, compressed as they are on disk, and gives every clip its `before`.
    """

    def __init__(self, folder: Path, codec: MiniCodec, latent_scale: Tensor, with_pictures: bool = False) -> None:
        self.dataset = Dataset(folder)
        self._packed: list[PackedFrames] | None = [] if with_pictures else None
        scale = latent_scale[:, None, None]
        self.latents: list[Tensor] = []
        self.rows: list[Tensor] = []
        for path in tqdm(self.dataset.episodes, desc=f"encoding {folder}", unit="episode", leave=False):
            episode = read_episode(path)
            with torch.no_grad():
                latents = codec.encode(pixels.to_float(torch.from_numpy(episode.frames))[None])[0]
            self.latents.append((latents / scale).half())
            self.rows.append(torch.from_numpy(episode.rows).float())
            if self._packed is not None:
                self._packed.append(episode.packed)
        if not self.latents:
            raise DataError(f"{folder} holds no finished episode; make some with: data make --out {folder}")
        self.num_frames = sum(len(e) for e in self.latents)

    def sample(self, batch: int, num_frames: int, gap_prob: float, generator: torch.Generator) -> Clips:
        """Draw clips at random; with `gap_prob` the first frame comes from anywhere earlier in its episode."""
        latents, rows, gaps, before = [], [], [], []
        for _ in range(batch):
            episode = int(torch.randint(len(self.latents), (), generator=generator))
            length = len(self.latents[episode])
            if length < num_frames + 1:
                raise DataError(f"an episode has {length} frames, but clips need {num_frames + 1}; "
                                "make longer episodes")
            start = int(torch.randint(length - num_frames, (), generator=generator))
            index = torch.arange(start, start + num_frames)
            gap = start > 0 and float(torch.rand((), generator=generator)) < gap_prob
            if gap:
                index[0] = int(torch.randint(start, (), generator=generator))
            latents.append(self.latents[episode][index].float())
            rows.append(self.rows[episode][index])
            gaps.append(gap)
            if self._packed:
                before.append(torch.from_numpy(self._packed[episode].frames((index - 1).clamp_min(0).tolist())))
        return Clips(torch.stack(latents), torch.stack(rows), torch.tensor(gaps),
                     torch.stack(before) if before else None)


def row_statistics(data: Sequence[LatentDataset]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each action number; columns that hardly vary get a deviation of 1."""
    rows = torch.cat([rows for own in data for rows in own.rows]).double()
    std = rows.std(dim=0)
    std[std < 1e-6] = 1.0
    return rows.mean(dim=0).tolist(), std.tolist()
