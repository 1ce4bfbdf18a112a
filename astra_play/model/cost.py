"""What a published network costs, by arithmetic from its config: tokens and FLOP of a pass, of a chunk, of a second.

A multiplication and an addition are two FLOP. Counted are products of matrices, attention's two among them; all else
is elementwise and waits for memory, not for arithmetic. The text is embedded once a prompt and not counted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..config import CodecConfig, ModelConfig, StreamConfig
from .checkpoint import CODECS
from .framepack import WINDOW, pack
from .text import MAX_TOKENS

H200_FLOP_S = 989e12  # dense bfloat16, as its maker states it; matrix products alone reach about four fifths


@dataclass(frozen=True)
class PassCost:
    """One evaluation of the network: tokens that run through its blocks, keys that each of them looks at, and FLOP."""

    num_tokens: int
    num_keys: int
    flop: int


@dataclass(frozen=True)
class ChunkCost:
    """The denoise steps of one chunk, without guidance: passes over everything, and passes of the chunk alone."""

    full: PassCost
    kept: PassCost
    num_full: int
    num_kept: int

    @property
    def flop(self) -> int:
        return self.num_full * self.full.flop + self.num_kept * self.kept.flop

    def flop_s(self, chunk_s: float, decode_flop: int = 0) -> float:
        """Return the FLOP a second that it takes to make a chunk, and decode it, in the time that it is shown."""
        return (self.flop + decode_flop) / chunk_s


def pass_cost(model: ModelConfig, num_latents: int, num_targets: int, is_kept: bool = False, modality: str = "camera",
              text_tokens: int = MAX_TOKENS) -> PassCost:
    """Return the cost of a pass over `num_targets` latent frames after `num_latents` of them, at least 1.

    `is_kept`: the keys and values of the past are there from an earlier pass, so that only the targets run.
    """
    packing = pack(num_latents, num_targets)
    tokens_of = packing.tokens(model.grid_height, model.grid_width)
    targets = sum(tokens_of[-num_targets:])
    num_keys = sum(tokens_of)
    num_tokens = targets if is_kept else num_keys
    cell = model.latent_channels * math.prod(model.patch_size)
    embedded = targets * cell
    if not is_kept:
        past = zip(packing.groups[:-num_targets], tokens_of, strict=False)
        embedded += sum(tokens * cell * group.coarseness**3 for group, tokens in past)
    dim, num_rows = model.dim, packing.num_history + num_targets
    sigma = model.freq_dim * dim + 7 * dim**2
    products = (embedded * dim + sigma + num_rows * model.modalities[modality] * model.action_dim
                + model.num_layers * _block_products(model, num_tokens, num_keys, num_rows + 1, text_tokens)
                + targets * dim * cell)
    return PassCost(num_tokens, num_keys, 2 * products)


def _block_products(model: ModelConfig, num_tokens: int, num_keys: int, num_rows: int, text_tokens: int) -> int:
    """Multiplications of one block; `num_rows`: action rows, of which one stands for none."""
    dim = model.dim
    linear = num_tokens * (5 * dim**2 + 2 * dim * model.ffn_dim)  # query, key, value, out, adapter; MLP
    attention = 2 * num_tokens * num_keys * dim
    text = 0
    if model.text_dim:
        text = 2 * dim**2 * (num_tokens + text_tokens) + 2 * num_tokens * text_tokens * dim
    hidden = model.expert_hidden
    expert = model.action_dim * (hidden or dim) + hidden * dim
    return linear + attention + text + num_rows * model.num_experts * expert


def chunk_cost(model: ModelConfig, stream: StreamConfig, num_latents: int = WINDOW, modality: str = "camera",
               text_tokens: int = MAX_TOKENS) -> ChunkCost:
    """Return the cost of a chunk's denoise steps; the default `num_latents` is a stream that has come into its own.

    Keys and values of the past are kept from the first step at or below `framepack_cache_sigma` on.
    """
    num_targets, sigmas = stream.latent_frames_per_chunk, stream.sigmas[:-1]
    num_kept = max(0, sum(sigma <= stream.framepack_cache_sigma for sigma in sigmas) - 1)
    full, kept = (pass_cost(model, num_latents, num_targets, is_kept, modality, text_tokens)
                  for is_kept in (False, True))
    return ChunkCost(full, kept, len(sigmas) - num_kept, num_kept)


def decode_flop(codec: CodecConfig, grid_height: int, grid_width: int, num_latents: int) -> int:
    """Return the FLOP of decoding `num_latents` latent frames in mid-stream, counted on tensors without content."""
    with torch.device("meta"):
        decoder = CODECS[codec.kind](codec)
        latents = torch.empty(1, num_latents, codec.latent_channels, grid_height, grid_width)
    with torch.inference_mode():
        _, memory = decoder.decode_chunk(latents[:, :1])
        with FlopCounterMode(display=False) as counter:
            decoder.decode_chunk(latents, memory)
    return counter.get_total_flops()
