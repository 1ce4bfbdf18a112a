"""One latent chunk in, its frames out, with the decoder's memory kept between chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from . import pixels
from .mini import MiniCodec


class StreamingDecoder:
    """Decodes a stream chunk by chunk; the pictures equal those of decoding the whole clip at once."""

    def __init__(self, codec: MiniCodec) -> None:
        self.codec = codec
        self._previous: Tensor | None = None

    def reset(self) -> None:
        """Forget the stream: the next chunk is a first one."""
        self._previous = None

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the (F, H, W, 3) uint8 frames of a chunk of codec latents (T, C, h, w)."""
        pictures = self.codec.decode(latents[None], self._previous)
        self._previous = latents[None, -1:].clone()
        return pixels.to_uint8(pictures[0])
