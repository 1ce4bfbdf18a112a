"""One causal pass over a whole clip for training: a clean stream that is the past, a noisy stream that is predicted.

Chunk k of the noisy stream sees itself and the clean chunks before k; chunk k of the clean stream sees clean chunks
up to k. Streaming generation visits exactly the same keys one chunk at a time, so what is learned here is what is
played.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .layers import MaskedAttention
from .rope import rotary_table
from .transformer import Transformer


@dataclass(frozen=True)
class TwoStreamBatch:
    """Inputs of a two-stream pass over T latent frames in chunks of c frames; P = T - c frames are predicted.

    `history` (B, T, C, H, W): clean latents, perhaps lightly noised, perhaps the network's own; `history_sigma` (B, T):
    how noisy they are. `noisy` (B, S * P, C, H, W) and `sigma` (B, S * P): S samples of the targets behind their noise,
    sample after sample; nothing precedes the first chunk, so it is never a target. `rows` (B, T, width - 1): the motion
    into each latent frame. `anchor` (B, T, C, H, W) and `target_anchor` (B, S * P, C, H, W): the anchors of the
    history's and of the targets' frames. `null` (B, S * P) bool: hide the action of a target.
    """

    history: Tensor
    history_sigma: Tensor
    noisy: Tensor
    sigma: Tensor
    rows: Tensor
    modality: str
    anchor: Tensor
    target_anchor: Tensor
    null: Tensor | None = None


@dataclass(frozen=True)
class TwoStreamResult:
    """`clean` (B, S * P, C, H, W): predicted clean latents. `routing`: weights of the experts for all rows. `shares`
    (B, S * P, K, blocks, H, W): of the anchor's hypotheses (`Transformer.shares`), or None."""

    clean: Tensor
    routing: Tensor
    shares: Tensor | None = None


def two_stream_mask(num_frames: int, frames_per_chunk: int, tokens_per_frame: int, device: torch.device,
                    num_samples: int = 1) -> Tensor:
    """Return the (N, N) bool mask of [clean frames 0 .. T-c-1, then S times noisy frames c .. T-1]; true = may look."""
    c = frames_per_chunk
    chunk = torch.arange(num_frames, device=device) // c
    targets = chunk[c:].repeat(num_samples)
    sample = torch.arange(num_samples, device=device).repeat_interleave(num_frames - c)
    clean_sample = torch.full_like(chunk[:-c], -1)
    chunk, sample = torch.cat([chunk[:-c], targets]), torch.cat([clean_sample, sample])
    noisy = sample >= 0
    query_chunk, key_chunk = chunk[:, None], chunk[None, :]
    clean_key = ~noisy[None, :] & torch.where(noisy[:, None], key_chunk < query_chunk, key_chunk <= query_chunk)
    own = noisy[:, None] & (sample[:, None] == sample[None, :]) & (key_chunk == query_chunk)
    return (clean_key | own).repeat_interleave(tokens_per_frame, 0).repeat_interleave(tokens_per_frame, 1)


class TwoStream:
    """Runs two-stream passes of one clip length; holds the mask and the rotary table, which never change."""

    def __init__(self, model: Transformer, num_frames: int, frames_per_chunk: int, device: torch.device,
                 num_samples: int = 1) -> None:
        config = model.config
        self.model, self.frames_per_chunk, self.num_samples = model, frames_per_chunk, num_samples
        self.num_clean = num_frames - frames_per_chunk
        _, ph, pw = config.patch_size
        times = torch.arange(num_frames, device=device)
        times = torch.cat([times[: self.num_clean], times[frames_per_chunk:].repeat(num_samples)])
        rotary = rotary_table(times, config.grid_height // ph, config.grid_width // pw, config.head_dim)
        mask = two_stream_mask(num_frames, frames_per_chunk, config.tokens_per_latent_frame, device, num_samples)
        self.store = MaskedAttention(rotary, mask)

    def __call__(self, batch: TwoStreamBatch) -> TwoStreamResult:
        """Predict the targets."""
        model = self.model
        history = batch.history[:, : self.num_clean]
        sigma = torch.cat([batch.history_sigma[:, : self.num_clean], batch.sigma], dim=1)
        x = model.embed(torch.cat([history, batch.noisy], dim=1),
                        torch.cat([batch.anchor[:, : self.num_clean], batch.target_anchor], dim=1))
        actions = model.actions(*self._rows(batch))
        embedding, noise_level = model.embed_sigma(sigma)
        x = model.trunk(x, noise_level, actions, None, self.store)
        noisy_tokens, noisy_embedding = x[:, self.num_clean:], embedding[:, self.num_clean:]
        if model.config.prediction == "clean":
            clean, shares = model.clean(noisy_tokens, noisy_embedding, batch.target_anchor, *batch.noisy.shape[-2:])
            return TwoStreamResult(clean, actions.routing, shares)
        velocity = model.velocity(noisy_tokens, noisy_embedding, batch.noisy, batch.sigma)
        return TwoStreamResult(batch.noisy - batch.sigma[:, :, None, None, None] * velocity, actions.routing)

    def _rows(self, batch: TwoStreamBatch) -> tuple[Tensor, str, Tensor | None]:
        targets = batch.rows[:, self.frames_per_chunk:].repeat(1, self.num_samples, 1)
        rows = torch.cat([batch.rows[:, : self.num_clean], targets], dim=1)
        mask = torch.ones_like(rows[..., :1])
        mask[:, self.num_clean:] = 0.0
        null = None
        if batch.null is not None:
            null = torch.cat([torch.zeros_like(batch.null[:, :1]).expand(-1, self.num_clean), batch.null], dim=1)
        return torch.cat([rows, mask], dim=-1), batch.modality, null
