"""A codec whose weights wait in main memory and are on the device only while it works, for small GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .streaming import Codec


class ParkedCodec:
    """Has the face of the codec that it wraps (see `streaming.Codec`); `to` says where it works, not where it waits.

    What it returns, the memory of a stream included, stays on the device that it was made on.
    """

    def __init__(self, codec: Codec | nn.Module) -> None:
        self.config = codec.config
        self._codec = codec.to("cpu")
        self._device = torch.device("cpu")

    def to(self, device: torch.device | str) -> ParkedCodec:
        """Work on another device from now on."""
        self._device = torch.device(device)
        return self

    def encode(self, pictures: Tensor) -> Tensor:
        return self._there(self._codec.encode, pictures)

    def decode(self, latents: Tensor) -> Tensor:
        return self._there(self._codec.decode, latents)

    def encode_chunk(self, pictures: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        return self._there(self._codec.encode_chunk, pictures, memory)

    def decode_chunk(self, latents: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        return self._there(self._codec.decode_chunk, latents, memory)

    def _there(self, work: Callable[..., Any], *given: Any) -> Any:
        with self._on_device():
            return work(*given)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        self._codec.to(self._device)
        try:
            yield
        finally:
            self._codec.to("cpu")
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
