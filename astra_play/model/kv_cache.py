"""Preallocated keys and values of the context window: sink chunks that stay, ring chunks that are overwritten in turn.

Every chunk owns one slot of `chunk_tokens` tokens. While the window fills, slots are taken in order, so the filled
part is always a prefix and no attention mask is needed; one more slot behind it holds the chunk that is being
denoised. Keys are stored without positions. Their time index is the place in the window, not the time of play: the
sink keeps 0 .. S-1, the newest chunk has the highest index, and an hour of play never leaves the indices that
training saw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig, StreamConfig
from .layers import scaled_attention
from .rope import rotary_table, rotate


class KVCache:
    """The window's keys and values for all layers; `attend` is what the transformer's self-attention calls.

    A pass is announced by `begin_pass`, which says which token ranges commit a clean chunk and which denoise a target.
    """

    def __init__(self, config: ModelConfig, stream: StreamConfig, batch: int = 1,
                 device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        frames = stream.latent_frames_per_chunk
        _, ph, pw = config.patch_size
        self.num_sink, self.num_ring = stream.sink_chunks, stream.ring_chunks
        self.num_slots = self.num_sink + self.num_ring
        self.chunk_tokens = frames * config.tokens_per_latent_frame
        shape = (config.num_layers, batch, config.num_heads, (self.num_slots + 1) * self.chunk_tokens, config.head_dim)
        self._keys = torch.zeros(shape, device=device, dtype=dtype)  # as projected and normed, without positions
        self._rotated = torch.zeros_like(self._keys)
        self._values = torch.zeros_like(self._keys)
        # The same memory as complex numbers, so that the ring is turned from one buffer into the other in one go.
        self._as_pairs = [torch.view_as_complex(buffer.unflatten(-1, (-1, 2))) for buffer in
                          (self._keys, self._rotated)] if dtype == torch.float32 else None
        times = torch.arange((self.num_slots + 1) * frames, device=device)
        table = rotary_table(times, config.grid_height // ph, config.grid_width // pw, config.head_dim)
        self._table = table.unflatten(0, (self.num_slots + 1, self.chunk_tokens))  # by time index of a chunk
        # Tables of the whole ring for each place of the newest chunk in it, made once: a chunk costs one product.
        self._ring_tables = [
            torch.cat([self._table[self.num_slots - 1 - (newest - slot) % self.num_ring]
                       for slot in range(self.num_ring)]) for newest in range(self.num_ring)]
        self.num_committed = 0  # chunks since the last reset
        self._commit_tokens = 0
        self._num_targets = 0
        self._pass_table: Tensor | None = None  # positions of all tokens of the announced pass

    @property
    def num_context(self) -> int:
        """Chunks that a target may look at."""
        return min(self.num_committed, self.num_slots)

    def reset(self) -> None:
        """Forget everything; buffers stay where they are."""
        self.num_committed = 0

    def snapshot(self) -> tuple[int, Tensor]:
        """Return what `restore` needs to go on from here: copies of the filled part, (3, ..., filled tokens, D)."""
        filled = self.num_context * self.chunk_tokens
        buffers = self._keys, self._rotated, self._values
        return self.num_committed, torch.stack([buffer[..., :filled, :] for buffer in buffers])

    def restore(self, snapshot: tuple[int, Tensor]) -> None:
        """Go on from a snapshot of this cache."""
        self.num_committed, filled = snapshot
        for buffer, kept in zip((self._keys, self._rotated, self._values), filled, strict=True):
            buffer[..., :kept.shape[-2], :] = kept

    def slot_of(self, chunk_index: int) -> int:
        """The slot that chunk `chunk_index` since reset lives in."""
        return chunk_index if chunk_index < self.num_slots else (
            self.num_sink + (chunk_index - self.num_sink) % self.num_ring)

    def begin_pass(self, commit: bool, num_targets: int) -> None:
        """Announce the token ranges of the next pass: [a clean chunk to commit] then `num_targets` noisy chunks.

        Two targets are the same chunk under two conditions (guidance); they do not see each other.
        """
        if commit:
            self.num_committed += 1
            if self.num_committed > self.num_slots:
                self._shift_ring()
        self._commit_tokens = self.chunk_tokens if commit else 0
        self._num_targets = num_targets
        first, target = self.num_context - commit, self._table[self.num_context]
        # The newest clean chunk lies just before the target, so that the positions of both are one piece of the table.
        self._pass_table = self._table[first:self.num_context + (num_targets > 0)].flatten(0, 1)
        if num_targets > 1:
            self._pass_table = torch.cat([self._pass_table, *[target] * (num_targets - 1)])

    def _shift_ring(self) -> None:
        """Give every ring chunk the time index of its age; the slot to be overwritten is turned too, which harms
        nobody."""
        newest = self.slot_of(self.num_committed - 1) - self.num_sink
        ring = slice(self.num_sink * self.chunk_tokens, self.num_slots * self.chunk_tokens)
        if self._as_pairs:
            keys, rotated = (pairs[..., ring, :] for pairs in self._as_pairs)
            torch.mul(keys, self._ring_tables[newest], out=rotated)
        else:  # there are no complex numbers of half precision
            self._rotated[..., ring, :] = rotate(self._keys[..., ring, :], self._ring_tables[newest])

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query, key, value: (B, heads, N, head_dim) of the announced pass, not rotated. Returns the same shape."""
        outputs = []
        start, filled = 0, self.num_context * self.chunk_tokens
        query = rotate(query, self._pass_table).to(self._values.dtype)
        rotated = rotate(key, self._pass_table)
        if self._commit_tokens:
            slot = self.slot_of(self.num_committed - 1) * self.chunk_tokens
            own = slice(0, self.chunk_tokens)
            self._keys[layer, :, :, slot:slot + self.chunk_tokens] = key[:, :, own]
            self._write(layer, slot, rotated[:, :, own], value[:, :, own])
            outputs.append(self._look(layer, query[:, :, own], filled))
            start = self.chunk_tokens
        for _ in range(self._num_targets):
            own = slice(start, start + self.chunk_tokens)
            self._write(layer, filled, rotated[:, :, own], value[:, :, own])
            outputs.append(self._look(layer, query[:, :, own], filled + self.chunk_tokens))
            start += self.chunk_tokens
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def _write(self, layer: int, at: int, rotated: Tensor, value: Tensor) -> None:
        self._rotated[layer, :, :, at:at + self.chunk_tokens] = rotated
        self._values[layer, :, :, at:at + self.chunk_tokens] = value

    def _look(self, layer: int, query: Tensor, num_keys: int) -> Tensor:
        return scaled_attention(query, self._rotated[layer, :, :, :num_keys], self._values[layer, :, :, :num_keys])
