"""The network: noisy latents, sigma, action rows and text states -> flow velocity (noise minus clean).

One class covers the mini world and the 1.3B Astra; every difference is a field of ModelConfig. A block is AdaLN, plus
the action experts' output, self-attention, ACT-Adapter, gate; optional text cross-attention; AdaLN, MLP, gate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .anchor import mix
from .experts import ActionCrossAttention, ActionEncoder, ActionExperts, ActionTokens
from .framepack import HistoryEmbedder
from .layers import MLP, CrossAttention, KeyValueStore, SelfAttention, act_adapter, modulate

SHARE_BIAS = -2.0  # an untrained network believes mostly in the anchor itself
SIGMA_SCALE = 1000.0  # the sinusoid was defined for timesteps 0..1000; sigma is 0..1 everywhere else


class Block(nn.Module):
    """One transformer layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.randn(6, config.dim) / config.dim**0.5)
        self.attention = SelfAttention(config.dim, config.num_heads, config.eps)
        reads = config.adapter == "cross_attention"
        self.adapter = None if reads else act_adapter(config.dim)
        self.experts = None if reads else ActionExperts(config)
        self.action_attention = ActionCrossAttention(config) if reads else None
        self.mlp = MLP(config.dim, config.ffn_dim)
        self.text_norm = nn.LayerNorm(config.dim, eps=config.eps) if config.text_dim else None
        self.text_attention = CrossAttention(config.dim, config.num_heads, config.eps) if config.text_dim else None

    def forward(self, x: Tensor, noise_level: Tensor, actions: ActionTokens, text: Tensor | None,
                store: KeyValueStore, layer: int) -> Tensor:
        """x: (B, G, n, D); noise_level: (B, G, 6, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (noise_level + self.modulation).unsqueeze(3).unbind(2)
        h = modulate(x, shift1, scale1, self.eps)
        if self.action_attention is not None:
            h = self.attention(h, store, layer)
            h = h + self.action_attention(h, actions)
        else:
            h = self.adapter(self.attention(h + self.experts(actions), store, layer))
        x = torch.addcmul(x, gate1, h.to(torch.promote_types(x.dtype, h.dtype)))
        if self.text_attention is not None:
            x = x.to(self.text_norm.weight.dtype)  # an adapter that is kept wider (precision.py) widens its sum
            x = x + self.text_attention(self.text_norm(x), text)
        h = modulate(x, shift2, scale2, self.eps)
        return torch.addcmul(x, gate2, self.mlp(h).to(x.dtype))


class Transformer(nn.Module):
    """Latent frames in, velocity out; the `store` argument of `trunk` decides what each token may look at."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        patch = math.prod(config.patch_size)
        inputs = config.latent_channels * (1 if config.anchor == "none" else 2)
        self.patch_embedding = nn.Linear((inputs + config.anchor_coverage) * patch, config.dim)
        self.history_embedder = HistoryEmbedder(config) if config.history == "framepack" else None
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, config.dim), nn.SiLU(),
                                            nn.Linear(config.dim, config.dim))
        self.time_projection = nn.Linear(config.dim, 6 * config.dim)
        self.actions = ActionEncoder(config)
        self.text_embedding = nn.Sequential(nn.Linear(config.text_dim, config.dim), nn.GELU(approximate="tanh"),
                                            nn.Linear(config.dim, config.dim)) if config.text_dim else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head_modulation = nn.Parameter(torch.randn(2, config.dim) / config.dim**0.5)
        self.head = nn.Linear(config.dim, config.latent_channels * patch)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.share_head = None
        if config.hypotheses:
            self.share_head = nn.Linear(config.dim, config.hypotheses * config.hypothesis_blocks**2 * patch)
            nn.init.zeros_(self.share_head.weight)
            nn.init.constant_(self.share_head.bias, SHARE_BIAS)

    def patchify(self, latents: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, n, C * patch), values of a patch in the order (channel, row, column)."""
        batch, frames, channels, height, width = latents.shape
        _, ph, pw = self.config.patch_size
        x = latents.reshape(batch, frames, channels, height // ph, ph, width // pw, pw)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)

    def unpatchify(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """(B, T, n, patch * C) -> (B, T, C, H, W); the head orders a patch as (row, column, channel)."""
        batch, frames, _, _ = tokens.shape
        _, ph, pw = self.config.patch_size
        x = tokens.reshape(batch, frames, height // ph, width // pw, ph, pw, -1)
        return x.permute(0, 1, 6, 2, 4, 3, 5).reshape(batch, frames, -1, height, width)

    def embed(self, latents: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Latents (B, T, C, H, W) and, where the config has one, their anchor (with its coverage) -> tokens."""
        if self.config.anchor != "none":
            seen = anchor[:, :, :self.config.latent_channels + self.config.anchor_coverage]
            latents = torch.cat([latents, seen], dim=2)
        return self.patch_embedding(self.patchify(latents))

    def embed_sigma(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """sigma (B, G) in [0, 1] -> the head's embedding (B, G, D) and the blocks' (B, G, 6, D)."""
        half = self.config.freq_dim // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=sigma.device) / half)
        angles = (sigma.double() * SIGMA_SCALE)[..., None] * frequencies
        sinusoid = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.time_embedding[0].weight.dtype)
        embedding = self.time_embedding(sinusoid)
        projected = self.time_projection(nn.functional.silu(embedding))
        return embedding, projected.unflatten(-1, (6, -1))

    def embed_text(self, text: Tensor | None) -> Tensor | None:
        """Raw text states (B, L, text_dim) -> (B, L, D)."""
        return self.text_embedding(text) if self.text_embedding is not None else None

    def trunk(self, x: Tensor, noise_level: Tensor, actions: ActionTokens, text: Tensor | None,
              store: KeyValueStore) -> Tensor:
        """Run all blocks over tokens (B, G, n, D)."""
        for layer, block in enumerate(self.blocks):
            x = block(x, noise_level, actions, text, store, layer)
        return x

    def velocity(self, tokens: Tensor, embedding: Tensor, noisy: Tensor, sigma: Tensor,
                 anchor: Tensor | None = None, share_power: float = 1.0) -> Tensor:
        """Head: trunk output (B, T, n, D) of the noisy frames -> velocity (B, T, C, H, W).

        With `prediction = "clean"` the head's numbers are the clean latents (relative to the anchor, if there is one)
        and velocity = (noisy - clean) / sigma, which is noise - clean for noisy = (1 - sigma) clean + sigma noise.
        """
        if self.config.prediction == "velocity":
            return self._head(tokens, embedding, *noisy.shape[-2:])
        clean, _ = self.clean(tokens, embedding, anchor, *noisy.shape[-2:], share_power)
        return (noisy - clean) / sigma[:, :, None, None, None]

    def clean(self, tokens: Tensor, embedding: Tensor, anchor: Tensor | None, height: int, width: int,
              share_power: float = 1.0) -> tuple[Tensor, Tensor | None]:
        """The clean latents that a `prediction = "clean"` network sees behind the noisy ones, and its shares."""
        output = self._head(tokens, embedding, height, width)
        if self.config.anchor == "none":
            return output, None
        shares = self.shares(tokens, embedding, anchor, share_power)
        return output + mix(anchor, shares, self.config.latent_channels), shares

    def shares(self, tokens: Tensor, embedding: Tensor, anchor: Tensor, power: float = 1.0) -> Tensor | None:
        """How far each block of each latent cell comes from each hypothesis, (B, T, K, blocks, H, W) in [0, 1].

        The K shares of a block and the anchor's own, which is what they leave, add up to 1: a softmax in which the
        anchor's logit is 0. `power` is StreamConfig's share_power. None where the anchor holds no hypotheses.
        """
        channels, blocks = self.config.latent_channels, self.config.hypothesis_blocks**2
        count = (anchor.shape[2] - channels - self.config.anchor_coverage) // (blocks * channels)
        if count == 0:
            return None
        told = self.unpatchify(self.share_head(self._before_head(tokens, embedding)), *anchor.shape[-2:]).float()
        logits = power * told.unflatten(2, (self.config.hypotheses, blocks))[:, :, :count]
        return torch.cat([torch.zeros_like(logits[:, :, :1]), logits], dim=2).softmax(dim=2)[:, :, 1:]

    def _head(self, tokens: Tensor, embedding: Tensor, height: int, width: int) -> Tensor:
        return self.unpatchify(self.head(self._before_head(tokens, embedding)), height, width)

    def _before_head(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = (embedding[:, :, None] + self.head_modulation).unsqueeze(3).unbind(2)
        return modulate(tokens, shift, scale, self.config.eps)
