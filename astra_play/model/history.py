"""How the past is shown to the network while a world streams: a KV cache, fed one clean chunk at a time.

`CausalHistory` owns the cache and knows the three kinds of tokens of a pass: the finished chunk that is being
committed, the noisy chunk, and the noisy chunk once more without its action (guidance). The commit of chunk k rides
in the first pass of chunk k+1: its tokens look only at the past, so the result is the same as that of a pass of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import StreamConfig
from .anchor import repeat_last
from .kv_cache import KVCache
from .sampler import guide
from .transformer import Transformer

_KEPT = "routing", "shares", "_pending", "_last"  # of a snapshot; passes make new tensors and never write to these


@dataclass(frozen=True)
class CommittedChunk:
    """A finished chunk on its way into the cache: latents (B, c, C, H, W), rows (B, c, width - 1), its anchor."""

    latents: Tensor
    rows: Tensor
    anchor: Tensor


class CausalHistory:
    """The streaming twin of `TwoStream`: same keys for every token, one chunk at a time."""

    def __init__(self, model: Transformer, stream: StreamConfig, modality: str, batch: int = 1) -> None:
        weight = model.patch_embedding.weight
        self.model, self.stream, self.modality = model, stream, modality
        self.cache = KVCache(model.config, stream, batch, weight.device, weight.dtype)
        self.routing: Tensor | None = None  # expert weights of the newest target rows, (B, c, num_experts)
        self.shares: Tensor | None = None  # of the anchor's hypotheses in the newest target (Transformer.shares)
        self.num_passes = 0
        self._pending: CommittedChunk | None = None
        self._last: Tensor | None = None  # newest clean latent frame, (B, 1, C, H, W)
        self._embedded: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}  # what sigmas become, see `_embed`

    def reset(self) -> None:
        """Forget the past."""
        self.cache.reset()
        self._pending = self._last = self.routing = self.shares = None

    @property
    def has_past(self) -> bool:
        return self._last is not None

    def snapshot(self) -> dict[str, Any]:
        """Return what `restore` needs to go on from here; playing on changes nothing in it."""
        return {"cache": self.cache.snapshot(), **{name: getattr(self, name) for name in _KEPT}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.cache.restore(snapshot["cache"])
        for name in _KEPT:
            setattr(self, name, snapshot[name])

    def push(self, latents: Tensor, rows: Tensor, anchor: Tensor | None = None) -> None:
        """Take a finished chunk; it enters the cache with the next pass, or at once with `flush`.

        `anchor` is what was expected of it (model/anchor.py); None: the latent frame before it.
        """
        self.flush()
        if anchor is None:
            anchor = self._still(latents[:, :1] if self._last is None else self._last, rows)
        self._pending = CommittedChunk(latents, rows, anchor)
        self._last = latents[:, -1:]

    def flush(self) -> None:
        """Commit a pending chunk in a pass of its own."""
        if self._pending is not None:
            self._run(None, 0.0, None, guidance=False)

    def velocity(self, noisy: Tensor, sigma: float, rows: Tensor, guidance_scale: float = 1.0,
                 anchor: Tensor | None = None) -> Tensor:
        """Return the (guided) velocity of a noisy chunk (B, c, C, H, W); the first call also commits what is
        pending."""
        velocities = self._run(noisy, sigma, rows, guidance=guidance_scale != 1.0, anchor=anchor)
        return velocities[0] if len(velocities) == 1 else guide(velocities[1], velocities[0], guidance_scale)

    def _run(self, noisy: Tensor | None, sigma: float, rows: Tensor | None, guidance: bool,
             anchor: Tensor | None = None) -> list[Tensor]:
        model, pending = self.model, self._pending
        parts, part_rows, sigmas, nulls = [], [], [], []
        anchors: list[Tensor] = []
        if pending is not None:
            parts.append(model.embed(pending.latents, pending.anchor))
            part_rows.append(with_mask(pending.rows, 1.0))
            sigmas += [self.stream.context_sigma] * pending.rows.shape[1]
            nulls += [False] * pending.rows.shape[1]
        num_targets = 0 if noisy is None else 1 + guidance
        if num_targets:
            # A target without its action does not know that the camera turned, so its anchor is left where it was.
            still = self._still(self._last, rows)
            anchors = [still if anchor is None else anchor, still][:num_targets]
            for target in range(num_targets):
                parts.append(model.embed(noisy, anchors[target]))
                part_rows.append(with_mask(rows, 0.0))
                sigmas += [sigma] * rows.shape[1]
                nulls += [target == 1] * rows.shape[1]
        velocities = self._pass(torch.cat(parts, 1), torch.cat(part_rows, 1), sigmas, nulls, noisy, anchors)
        self._pending = None
        return velocities

    def _still(self, last: Tensor, rows: Tensor) -> Tensor:
        return repeat_last(last, rows.shape[1], self.model.config.anchor_coverage)

    def _pass(self, x: Tensor, rows: Tensor, sigmas: list[float], nulls: list[bool], noisy: Tensor | None,
              anchors: list[Tensor]) -> list[Tensor]:
        model, batch, num_targets = self.model, x.shape[0], len(anchors)
        self.cache.begin_pass(commit=self._pending is not None, num_targets=num_targets)
        self.num_passes += max(1, num_targets)  # two conditions share a call, but they are two evaluations
        null = torch.tensor([nulls], device=x.device).expand(batch, -1) if any(nulls) else None
        actions = model.actions(rows, self.modality, null)
        sigma = torch.tensor([sigmas], device=x.device)
        embedding, noise_level = self._embed(tuple(sigmas), sigma)
        x = model.trunk(x, noise_level, actions, None, self.cache)
        velocities = []
        frames = noisy.shape[1] if noisy is not None else 0
        for target in range(num_targets):
            end = x.shape[1] - (num_targets - 1 - target) * frames
            own = slice(end - frames, end)
            velocities.append(model.velocity(x[:, own], embedding[:, own], noisy, sigma[:, own], anchors[target],
                                             self.stream.share_power))
        if num_targets:
            first = x.shape[1] - num_targets * frames
            own = slice(first, first + frames)
            self.routing = actions.routing[:, own, 0]
            self.shares = model.shares(x[:, own], embedding[:, own], anchors[0], self.stream.share_power)
        return velocities


    def _embed(self, sigmas: tuple[float, ...], sigma: Tensor) -> tuple[Tensor, Tensor]:
        """`Transformer.embed_sigma`; at play, where weights stay as they are, once for each schedule's sigmas."""
        if not torch.is_inference_mode_enabled():
            return self.model.embed_sigma(sigma)
        if sigmas not in self._embedded:
            self._embedded[sigmas] = self.model.embed_sigma(sigma)
        return self._embedded[sigmas]


def with_mask(rows: Tensor, value: float) -> Tensor:
    """Append the mask column (1 = history, 0 = to predict) to rows (B, T, width - 1)."""
    return torch.cat([rows, torch.full_like(rows[..., :1], value)], dim=-1)
