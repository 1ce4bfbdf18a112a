"""How the past is shown to a "framepack" network while a world streams: packed into few tokens, anew at every step.

The face is that of `CausalHistory`: finished chunks are pushed, velocities of the chunk at hand are asked for. But the
attention of the published weights is bidirectional. The tokens of the past see the noisy target and are modulated by
its sigma, so a pass runs over all of them, and keys and values that outlive a pass are an approximation, to be asked
for by `StreamConfig.framepack_cache_sigma`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from ..config import StreamConfig
from ..errors import ConfigError
from .experts import ActionTokens
from .framepack import WINDOW, Packing, pack, packed_rotary_table
from .history import with_mask
from .layers import scaled_attention
from .rope import rotate
from .sampler import guide
from .transformer import SIGMA_SCALE, Transformer

# What an action row says of its latent frame; see FramePackHistory.
RowPlacement = Literal["leaving", "entering"]

_SNAPSHOT = "num_latents", "routing", "_latents", "_rows", "_text"  # none of their tensors is ever written to


@dataclasses.dataclass(frozen=True)
class Layout:
    """A packing on a latent grid, on the device: rotary table (N, head_dim / 2) and action row (N,) of each token."""

    packing: Packing
    rotary: Tensor
    rows: Tensor
    num_history_tokens: int


class PackedAttention:
    """Every token sees every other one. `kept`: a list that the first pass fills, layer by layer, with the past's
    rotated keys and values, and that later passes, of the targets alone, see as well; None: nothing is kept."""

    def __init__(self, rotary: Tensor, num_history_tokens: int, kept: list[tuple[Tensor, Tensor]] | None) -> None:
        self.rotary, self.num_history_tokens, self.kept = rotary, num_history_tokens, kept

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query, key, value: (B, heads, N, head_dim), not rotated. Returns the same shape."""
        query, key = rotate(query, self.rotary), rotate(key, self.rotary)
        if self.num_history_tokens and self.kept is not None:
            # copies, or the keys of the targets would be held in memory with them
            self.kept.append((key[:, :, :self.num_history_tokens].clone(),
                              value[:, :, :self.num_history_tokens].clone()))
        elif self.kept:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self.kept[layer], (key, value), strict=True))
        return scaled_attention(query, key, value)


class FramePackHistory:
    """The last 20 latent frames, their action rows, and the text states; makes velocities of the chunk after them.

    `placement` says what the rows given to `push` and `velocity` mean, and where the network's table has them:

    - "leaving": row t is the motion from latent frame t to the next, as in training. The table is what is given. This
      is how the reference renders presets; a key pressed for a chunk moves its second latent frame, not its first.
    - "entering": row t is the motion into latent frame t, as everywhere else in this player. The past's rows move one
      place forward, to the frame that the motion left, which is where training had them. The targets' rows stay: the
      row of the first target, which the token of the last frame of the past reads too, is the motion between the two,
      so that the newest control moves the chunk that is being made. Training had the following motion there; the two
      are equal while a control is held, and masks, row numbers and time indices are the trained ones.
    """

    def __init__(self, model: Transformer, stream: StreamConfig, modality: str,
                 placement: RowPlacement = "leaving") -> None:
        if model.config.history != "framepack":
            raise ConfigError(f"FramePackHistory needs a network with the history \"framepack\", but this one has "
                              f"{model.config.history!r}; use CausalHistory")
        self.model, self.stream, self.modality, self.placement = model, stream, modality, placement
        self.num_latents = 0  # since the reset, of which the last WINDOW are kept
        self.num_passes = 0
        self.routing: Tensor | None = None  # expert weights of the newest target rows, (B, m, num_experts)
        self._latents: Tensor | None = None
        self._rows: Tensor | None = None
        self._text: dict[bool, Tensor | None] = {False: None, True: None}  # embedded; True: of the negative prompt
        self._layout: Layout | None = None
        self._layout_key: tuple[int, ...] = ()
        self._kept: dict[tuple[bool, bool], list[tuple[Tensor, Tensor]]] = {}  # by (null action, negative prompt)
        self._last_sigma = 0.0

    @property
    def has_past(self) -> bool:
        return self._latents is not None

    def reset(self) -> None:
        """Forget the past; the text stays."""
        self.num_latents = 0
        self._latents = self._rows = self.routing = None
        self._kept.clear()

    def snapshot(self) -> dict[str, Any]:
        """Return what `restore` needs to go on from here, the text included; playing on changes nothing in it."""
        return {name: getattr(self, name) for name in _SNAPSHOT}

    def restore(self, snapshot: dict[str, Any]) -> None:
        for name in _SNAPSHOT:
            setattr(self, name, snapshot[name])
        self._kept.clear()  # the next chunk makes its own

    def set_text(self, text: Tensor, negative: Tensor | None = None) -> None:
        """Take the text states (B, L, text_dim) of the prompt and, for text guidance, of the negative prompt.

        May be called between any two chunks.
        """
        weight = self.model.text_embedding[0].weight
        self._text = {is_negative: None if states is None else self.model.embed_text(states.to(weight))
                      for is_negative, states in ((False, text), (True, negative))}
        self._kept.clear()

    def push(self, latents: Tensor, rows: Tensor) -> None:
        """Take finished latents (B, c, C, H, W) and their action rows (B, c, width - 1), any number of them."""
        if self._latents is not None:
            latents, rows = torch.cat([self._latents, latents], dim=1), torch.cat([self._rows, rows], dim=1)
            self.num_latents -= self._latents.shape[1]
        self.num_latents += latents.shape[1]
        self._latents, self._rows = latents[:, -WINDOW:], rows[:, -WINDOW:]
        self._kept.clear()

    def velocity(self, noisy: Tensor, sigma: float, rows: Tensor, guidance_scale: float = 1.0,
                 text_guidance_scale: float = 1.0) -> Tensor:
        """Return the velocity of a noisy chunk (B, m, C, H, W) under its rows (B, m, width - 1).

        `guidance_scale` steers away from the null action, an all-zero table; `text_guidance_scale` away from the
        negative prompt, which stands in for the prompt in the null action's pass too. 1 turns either off; each costs
        a pass. With a kept past the rows must not change between the steps of a chunk.
        """
        if sigma >= self._last_sigma:  # a schedule descends, so this is another chunk
            self._kept.clear()
        self._last_sigma = sigma
        by_text = text_guidance_scale != 1.0
        velocity = self._pass(noisy, sigma, rows)
        if guidance_scale != 1.0:
            null = self._pass(noisy, sigma, rows, null_action=True, negative=by_text)
            velocity = guide(null, velocity, guidance_scale)
        if by_text:
            velocity = guide(self._pass(noisy, sigma, rows, negative=True), velocity, text_guidance_scale)
        return velocity

    def _pass(self, noisy: Tensor, sigma: float, rows: Tensor, null_action: bool = False,
              negative: bool = False) -> Tensor:
        model, dtype = self.model, self.model.patch_embedding.weight.dtype
        layout = self._layout_for(noisy)
        kept, is_filled = None, False
        if sigma <= self.stream.framepack_cache_sigma:
            kept = self._kept.setdefault((null_action, negative), [])
            is_filled = bool(kept)
        x = model.embed(noisy.to(dtype)).flatten(1, 2)
        num_target_tokens, first = x.shape[1], layout.num_history_tokens if is_filled else 0
        if not is_filled:
            x = torch.cat([model.history_embedder(self._window(noisy.shape[1:]).to(dtype), layout.packing), x], dim=1)
        store = PackedAttention(layout.rotary[first:], layout.num_history_tokens - first, kept)
        # The network was trained on timesteps of its own precision, of which bfloat16 has few.
        timestep = torch.tensor([[sigma * SIGMA_SCALE]], dtype=torch.float64, device=x.device).to(dtype)
        level = timestep.double() / SIGMA_SCALE
        embedding, noise_level = model.embed_sigma(level)
        actions = self._actions(self._table(rows).to(dtype), layout, null_action, first)
        x = model.trunk(x[:, None], noise_level, actions, self._text_states(negative), store)
        self.num_passes += 1
        tokens = x[:, 0, -num_target_tokens:].unflatten(1, (noisy.shape[1], -1))
        return model.velocity(tokens, embedding, noisy, level).to(noisy.dtype)

    def _text_states(self, negative: bool) -> Tensor | None:
        states = self._text[negative]
        if states is None and self.model.config.text_dim:
            raise ConfigError("text guidance needs the text states of a negative prompt; give them to set_text"
                              if negative else "this network reads text; give its states to set_text first")
        return states

    def _layout_for(self, noisy: Tensor) -> Layout:
        _, frames, _, height, width = noisy.shape
        packing = pack(self.num_latents, frames)
        key = (packing.num_history, frames, height, width)
        if key != self._layout_key:
            tokens = packing.tokens(height, width)
            rows = torch.tensor([group.row for group in packing.groups], device=noisy.device)
            rotary = packed_rotary_table(packing, height, width, self.model.config.head_dim, noisy.device)
            rows = rows.repeat_interleave(torch.tensor(tokens, device=noisy.device), output_size=sum(tokens))
            self._layout = Layout(packing, rotary, rows, packing.num_history_tokens(height, width))
            self._layout_key = key
        return self._layout

    def _window(self, shape: torch.Size) -> Tensor:
        past = self._latents
        missing = past.new_zeros(past.shape[0], WINDOW - past.shape[1], *shape[1:])
        return torch.cat([missing, past], dim=1)

    def _table(self, rows: Tensor) -> Tensor:
        """The action table from the first kept latent frame on, (B, num_history + m, width).

        The mask column is written by the place in the whole run, so it marks exactly the past however long that is.
        """
        past = self._rows
        if self.placement == "entering":
            past = torch.cat([past[:, 1:], rows[:, :1]], dim=1)
        return torch.cat([with_mask(past, 1.0), with_mask(rows, 0.0)], dim=1)

    def _actions(self, table: Tensor, layout: Layout, null_action: bool, first: int) -> ActionTokens:
        """Encode the table once a row, and spread it over the tokens from `first` on."""
        encoder, packing = self.model.actions, layout.packing
        null = torch.ones(table.shape[:2], dtype=torch.bool, device=table.device) if null_action else None
        features = encoder(table, self.modality, null).features[:, :, 0]
        nothing = torch.zeros_like(features[:, :1])  # where NO_ROW, which is -1, points to
        actions = encoder.route(torch.cat([features, nothing], dim=1)[:, None], self.modality)
        if not null_action:
            self.routing = actions.routing[:, 0, packing.num_history:packing.num_history + packing.num_targets]
        return dataclasses.replace(actions, spread=layout.rows[first:])
