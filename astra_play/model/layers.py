"""The parts of a transformer block: attention, cross-attention, AdaLN modulation, ACT-Adapter, MLP.

Token blocks are (B, G, n, D): G groups that share one noise level and one action row (a latent frame each), n tokens a
group. Attention flattens them to (B, N, D) with N = G * n.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rope import rotate


class KeyValueStore(Protocol):
    """What self-attention asks of the past: given this pass's queries, keys and values, return the attended values."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor: ...


class MaskedAttention:
    """Attention inside one pass: every token may see every other one that `mask` (N, N) allows; None allows all."""

    def __init__(self, rotary: Tensor, mask: Tensor | None = None) -> None:
        self.rotary = rotary
        self.mask = mask

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with (B, heads, N, head_dim) tensors that are not rotated yet."""
        query, key = rotate(query, self.rotary), rotate(key, self.rotary)
        if self.mask is None or query.device.type != "cpu" or value.dtype != torch.bfloat16:
            return scaled_attention(query, key, value, self.mask)
        return self._batched_products(query, key, value)

    def _batched_products(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention as three plain operations: with bfloat16 units it trains twice as fast as the fused CPU kernel."""
        batch, heads, tokens, head_dim = query.shape
        bias = torch.zeros_like(self.mask, dtype=value.dtype).masked_fill_(~self.mask, float("-inf"))
        query, key, value = (t.to(value.dtype).reshape(batch * heads, tokens, head_dim) for t in (query, key, value))
        scores = torch.baddbmm(bias[None], query, key.transpose(1, 2), alpha=head_dim**-0.5)
        return torch.bmm(torch.softmax(scores, dim=-1), value).reshape(batch, heads, tokens, head_dim)


@lru_cache(maxsize=1)
def _flash_attention() -> Callable[..., Tensor] | None:
    try:
        return importlib.import_module("flash_attn").flash_attn_func
    except (ImportError, OSError):  # built against another torch or CUDA: torch's own attention does the same
        return None


def _flash_takes(query: Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.float16, torch.bfloat16)


def scaled_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention with scale 1 / sqrt(head_dim), by flash-attn where it is installed and takes the case."""
    if mask is None and _flash_takes(query) and (flash := _flash_attention()):
        return flash(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, statistics in float32, then scaled by a learned weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.rms_norm(x.float(), x.shape[-1:], eps=self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


class SelfAttention(nn.Module):
    """Fused query/key/value projection; queries and keys are RMS-normed over the full width before the head split."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(self, x: Tensor, store: KeyValueStore, layer: int) -> Tensor:
        """x: (B, G, n, D). The store decides which keys the queries may see."""
        batch, groups, tokens, dim = x.shape
        projected = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, -1))
        # Queries and keys in one go: a small world's norm is mostly the calls that it takes.
        normed = F.rms_norm(projected[..., :2, :].float(), (dim,), eps=self.norm_q.eps).to(projected.dtype)
        normed = normed * torch.stack([self.norm_q.weight, self.norm_k.weight]).to(projected.dtype)
        query, key, value = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                             for t in (normed[..., 0, :], normed[..., 1, :], projected[..., 2, :]))
        attended = store.attend(layer, query, key.to(value.dtype), value)
        return self.out(attended.transpose(1, 2).reshape(batch, groups, tokens, dim))


class CrossAttention(nn.Module):
    """Tokens look at text states; no positions, no mask, no gate."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """x: (B, G, n, D); text: (B, L, D)."""
        batch, groups, tokens, dim = x.shape
        key, value = self.key_value(text).chunk(2, dim=-1)
        query, key, value = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                             for t in (self.norm_q(self.query(x.flatten(1, 2))), self.norm_k(key), value))
        attended = scaled_attention(query, key, value)
        return self.out(attended.transpose(1, 2).reshape(batch, groups, tokens, dim))


class MLP(nn.Module):
    """Two linear layers with the tanh form of GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def act_adapter(dim: int) -> nn.Linear:
    """Return the ACT-Adapter: one linear layer after self-attention that starts as the identity (Astra, section 3)."""
    layer = nn.Linear(dim, dim)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LayerNorm without parameters, then (1 + scale) and shift, which broadcast over a group's tokens."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)
