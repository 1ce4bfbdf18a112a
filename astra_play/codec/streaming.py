"""One latent chunk in, its frames out (and frames in, latents out), with a codec's memory kept between the chunks.

A stream of latents begins with one that holds a single picture; every later one holds `frames_per_latent`. What a codec
has to remember between chunks is its own affair: it is handed back its memory, and nobody else looks inside.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..config import CodecConfig
from . import pixels

LayerMemory = dict[nn.Module, Tensor]  # a layer -> what it has to remember of its own last inputs


class Codec(Protocol):
    """What every autoencoder offers. Pictures are (B, F, 3, H, W) in [-1, 1], latents (B, T, C, h, w).

    T latent frames stand for 1 + (T - 1) * frames_per_latent pictures. The chunk methods continue a stream: `memory` is
    what the call before returned, None at the start, and is never changed, so that a stream may go on from it twice.
    """

    config: CodecConfig

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of a clip; pictures at its end that fill no latent are left out."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of a clip."""

    def encode_chunk(self, pictures: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Return the latents of the next pictures, and the memory. Their number must fill whole latents."""

    def decode_chunk(self, latents: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Return the pictures of the next latents, and the memory: the first latent of a stream makes one picture."""


class StreamingDecoder:
    """Decodes a stream chunk by chunk; the pictures equal those of decoding the whole clip at once."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.memory: Any = None  # the codec's, which never changes it: one that was kept may be put back

    def reset(self) -> None:
        """Forget the stream: the next chunk is a first one."""
        self.memory = None

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the (F, H, W, 3) uint8 frames of a chunk of codec latents (T, C, h, w)."""
        pictures, self.memory = self.codec.decode_chunk(latents[None], self.memory)
        return pixels.to_uint8(pictures[0])


class StreamingEncoder:
    """Encodes frames as they come, any number at a time; the latents equal those of encoding the whole clip at once."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget the stream, frames that wait included: the next frame is a first one."""
        self._memory: Any = None
        self._waiting: Tensor | None = None

    @property
    def num_waiting(self) -> int:
        """Frames that were given but fill no latent yet."""
        return 0 if self._waiting is None else len(self._waiting)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Return the latents (T, C, h, w) that these (F, H, W, 3) uint8 frames complete; T may be 0."""
        config = self.codec.config
        frames = frames if self._waiting is None else torch.cat([self._waiting, frames])
        ready = num_whole(len(frames), config.frames_per_latent, starts=self._memory is None)
        self._waiting = frames[ready:].clone()
        if ready == 0:
            height, width = (side // config.spatial_compression for side in frames.shape[1:3])
            return torch.zeros(0, config.latent_channels, height, width, device=frames.device)
        latents, self._memory = self.codec.encode_chunk(pixels.to_float(frames[:ready])[None], self._memory)
        return latents[0]


def num_whole(num_frames: int, frames_per_latent: int, starts: bool = True) -> int:
    """Return how many of `num_frames` pictures fill whole latents, at the start of a stream or later in it."""
    first = min(num_frames, 1) if starts else 0
    return first + (num_frames - first) // frames_per_latent * frames_per_latent


def latent_sizes(num_frames: int, frames_per_latent: int, starts: bool) -> list[int]:
    """Return the number of pictures in each latent of a chunk of `num_frames`: 1, 4, 4, ... or 4, 4, ..."""
    assert num_whole(num_frames, frames_per_latent, starts) == num_frames, "a chunk must fill whole latents"
    return [1] * starts + [frames_per_latent] * ((num_frames - starts) // frames_per_latent)
