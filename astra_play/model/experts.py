"""Mixture of action experts: one projector per modality, a router, and experts in every block.

An action row (mask column included) is projected to `action_dim` numbers that all modalities share. The router turns
them into weights over the experts: learned (softmax over the top-k logits) or fixed (a table by modality, weight 1,
as in the published weights). Each block owns its experts and adds their weighted sum to its normalised tokens, before
self-attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import CrossAttention

# Standard deviations that a normalised action number may be off its mean. Products of two small turns have a tiny
# deviation in training, and a player who moves the mouse diagonally would otherwise be 100 of them away.
MAX_DEVIATIONS = 8.0
NUM_ACTION_TOKENS = 4  # of the cross-attention adapter


@dataclass(frozen=True)
class ActionTokens:
    """Projected actions of a pass and the routing that they chose.

    `features`: (B, G, A, action_dim); `routing`: (B, G, A, num_experts), rows sum to 1; A is 1 (one row for a whole
    latent frame) or the number of tokens in the group. `spread`: (N,) row of each token where the A rows of a group
    are shared by N tokens of it (FramePack), so that the experts are evaluated once a row; None: token by token.
    """

    features: Tensor
    routing: Tensor
    spread: Tensor | None = None


class ActionEncoder(nn.Module):
    """Action rows of any modality -> ActionTokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.projectors = nn.ModuleDict({m: nn.Linear(width, config.action_dim)
                                         for m, width in config.modalities.items()})
        for name in config.action_std:
            self.register_buffer(f"mean_{name}", torch.tensor(config.action_mean[name]), False)
            self.register_buffer(f"std_{name}", torch.tensor(config.action_std[name]), False)
        if config.router == "learned":
            self.router = nn.Linear(config.action_dim, config.num_experts)
            self.null_action = nn.Parameter(torch.zeros(config.action_dim))

    def forward(self, rows: Tensor, modality: str, null: Tensor | None = None) -> ActionTokens:
        """Encode rows (B, G, width).

        `null`: (B, G) bool, true where the action is hidden from the network. A learned null vector stands in for it;
        the published weights know no such vector and read an all-zero row instead (mask column too).
        """
        if null is not None and self.config.router == "fixed":
            rows = rows.masked_fill(null[..., None], 0.0)
        features = self.projectors[modality](self.normalise(rows, modality))
        if null is not None and self.config.router == "learned":
            features = torch.where(null[..., None], self.null_action.to(features.dtype), features)
        return self.route(features[:, :, None], modality)

    def normalise(self, rows: Tensor, modality: str) -> Tensor:
        """Centre and scale rows by the statistics of training; rows of weights that came without any are left alone."""
        if modality not in self.config.action_std:
            return rows
        mean, std = getattr(self, f"mean_{modality}"), getattr(self, f"std_{modality}")
        return ((rows - mean) / std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)

    def route(self, features: Tensor, modality: str) -> ActionTokens:
        """Attach the routing weights to features (B, G, A, action_dim)."""
        if self.config.router == "fixed":
            routing = features.new_zeros(*features.shape[:-1], self.config.num_experts)
            routing[..., self.config.fixed_experts.get(modality, 0)] = 1.0
            return ActionTokens(features, routing)
        logits = self.router(features).float()
        kept, index = logits.topk(self.config.router_top_k, dim=-1)
        routing = torch.zeros_like(logits).scatter(-1, index, kept.softmax(dim=-1))
        return ActionTokens(features, routing)


class ActionExperts(nn.Module):
    """The experts of one block, evaluated together: a row costs num_experts small products, tokens cost nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.expert_hidden
        first = hidden or config.dim
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.action_dim, first))
        self.bias = nn.Parameter(torch.zeros(config.num_experts, first))
        nn.init.uniform_(self.weight, -config.action_dim**-0.5, config.action_dim**-0.5)
        self.out_weight = self.out_bias = None
        if hidden:
            self.out_weight = nn.Parameter(torch.empty(config.num_experts, hidden, config.dim))
            self.out_bias = nn.Parameter(torch.zeros(config.num_experts, config.dim))
            nn.init.uniform_(self.out_weight, -hidden**-0.5, hidden**-0.5)

    def forward(self, actions: ActionTokens) -> Tensor:
        """Return the routed sum (B, G, A, D), or (B, G, N, D) where rows are spread over tokens."""
        rows = actions.features.flatten(0, 2).expand(len(self.weight), -1, -1)  # (experts, rows, action_dim)
        outputs = torch.bmm(rows, self.weight) + self.bias[:, None]
        if self.out_weight is not None:
            outputs = torch.bmm(nn.functional.silu(outputs), self.out_weight) + self.out_bias[:, None]
        routing = actions.routing.flatten(0, 2).T[..., None]  # (experts, rows, 1)
        routed = (outputs * routing.to(outputs.dtype)).sum(dim=0).unflatten(0, actions.features.shape[:3])
        return routed if actions.spread is None else routed[:, :, actions.spread]


class ActionCrossAttention(nn.Module):
    """Tokens look at their latent frame's action: what the ACT-Adapter is compared with, and no part of Astra.

    The action becomes NUM_ACTION_TOKENS tokens, so that there is something to choose from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Linear(config.action_dim, NUM_ACTION_TOKENS * config.dim)
        self.attention = CrossAttention(config.dim, config.num_heads, config.eps)

    def forward(self, x: Tensor, actions: ActionTokens) -> Tensor:
        """x: (B, G, n, D); what its tokens read from the actions of their group, of the same shape."""
        tokens = self.embedding(actions.features).unflatten(-1, (NUM_ACTION_TOKENS, -1)).flatten(2, 3)
        read = self.attention(x.flatten(0, 1)[:, None], tokens.flatten(0, 1))
        return read[:, 0].unflatten(0, x.shape[:2])


def load_balance_loss(routing: Tensor) -> Tensor:
    """Return num_experts * sum_e f_e^2 with f_e the mean weight of expert e (1 when balanced, num_experts when not).

    The soft form of the Switch Transformer balance term (arXiv 2101.03961, equation 4).
    """
    share = routing.flatten(0, -2).mean(dim=0)
    return routing.shape[-1] * share.square().sum()
