"""A data set as the world sees it: every episode encoded once, held in memory, cut into clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codec import pixels
from ..codec.mini import MiniCodec
from ..errors import DataError
from .dataset import Dataset, PackedFrames, read_episodes


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

    Everything lies in one table of frames on `device`, episode after episode. `with_pictures` keeps the frames too and
    gives every clip its `before`: compressed as on disk for the CPU, whose memory is the bottleneck, and as raw pixels
    beside the latents for an accelerator, which must not wait for PNGs.
    """

    def __init__(self, folder: Path, codec: MiniCodec, latent_scale: Tensor, with_pictures: bool = False,
                 device: torch.device | None = None) -> None:
        self.dataset = Dataset(folder)
        device = device or torch.device("cpu")
        scale = latent_scale.to(device)[:, None, None]
        latents, rows, pictures = [], [], []
        self._packed: list[PackedFrames] = []
        reading = read_episodes(self.dataset.episodes, f"encoding {folder}")
        for path, episode in zip(self.dataset.episodes, reading, strict=True):
            if not np.isfinite(episode.rows).all():
                raise DataError(f"{path} holds action rows that are not finite numbers; make or import it again")
            frames = torch.from_numpy(episode.frames).to(device)
            with torch.no_grad():
                latents.append((codec.encode(pixels.to_float(frames)[None])[0] / scale).half())
            rows.append(torch.from_numpy(episode.rows).float())
            if with_pictures and device.type == "cpu":
                self._packed.append(episode.packed)
            elif with_pictures:
                pictures.append(frames)
        if not latents:
            raise DataError(f"{folder} holds no finished episode; fill it with data make or data import")
        self.lengths = [len(own) for own in rows]
        self.latents, self.rows = torch.cat(latents), torch.cat(rows)
        self._pictures = torch.cat(pictures) if pictures else None

    @property
    def num_frames(self) -> int:
        return sum(self.lengths)

    @property
    def longest_clip(self) -> int:
        """Frames of the longest clip that can be drawn: all of an episode but its first frame."""
        return max(self.lengths) - 1

    def check_clips(self, num_frames: int, needed_by: str) -> None:
        """Raise DataError unless clips of so many frames can be drawn: before a run, not at a step that draws one."""
        if self.longest_clip < num_frames:
            raise DataError(f"the longest episode of {self.dataset.folder} has {self.longest_clip + 1} frames, but "
                            f"{needed_by} needs {num_frames + 1}; make longer episodes")

    def sample(self, batch: int, num_frames: int, gap_prob: float, generator: torch.Generator) -> Clips:
        """Draw clips at random from the episodes that are long enough; with `gap_prob` the first frame comes from
        anywhere earlier in its episode."""
        long_enough = [episode for episode, length in enumerate(self.lengths) if length > num_frames]
        if not long_enough:
            raise DataError(f"no episode has {num_frames + 1} frames; make longer episodes")
        episodes, indices, gaps = [], [], []
        for _ in range(batch):
            episode = long_enough[int(torch.randint(len(long_enough), (), generator=generator))]
            start = int(torch.randint(self.lengths[episode] - num_frames, (), generator=generator))
            index = torch.arange(start, start + num_frames)
            gap = start > 0 and float(torch.rand((), generator=generator)) < gap_prob
            if gap:
                index[0] = int(torch.randint(start, (), generator=generator))
            episodes.append(episode)
            indices.append(index)
            gaps.append(gap)
        first = torch.tensor([0, *accumulate(self.lengths)])[episodes, None]
        index = torch.stack(indices)
        return Clips(self.latents[(first + index).to(self.latents.device)].float(), self.rows[first + index],
                     torch.tensor(gaps), self._before(episodes, first, (index - 1).clamp_min(0)))

    def sample_rows(self, batch: int, num_frames: int, generator: torch.Generator) -> Tensor:
        """Draw what somebody did for so many frames, (batch, num_frames, A), without the pictures of it."""
        starts = []
        for first, length in zip(accumulate([0, *self.lengths]), self.lengths, strict=False):
            starts += range(first, first + length - num_frames + 1)
        if not starts:
            raise DataError(f"no episode has {num_frames} frames; make longer episodes")
        first = torch.tensor(starts)[torch.randint(len(starts), (batch, 1), generator=generator)]
        return self.rows[first + torch.arange(num_frames)]

    def _before(self, episodes: list[int], first: Tensor, index: Tensor) -> Tensor | None:
        """The pictures (B, T, H, W, 3) uint8 at an index (B, T) into each clip's own episode, if there are any."""
        if self._pictures is not None:
            return self._pictures[(first + index).to(self._pictures.device)]
        if not self._packed:
            return None
        return torch.stack([torch.from_numpy(self._packed[episode].frames(own.tolist()))
                            for episode, own in zip(episodes, index, strict=True)])


def row_statistics(data: Sequence[LatentDataset]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each action number; columns that hardly vary get a deviation of 1."""
    rows = torch.cat([own.rows for own in data]).double()
    std = rows.std(dim=0)
    std[std < 1e-6] = 1.0
    return rows.mean(dim=0).tolist(), std.tolist()
