"""The slow, obvious twin of FramePack: the index rule of the published inference, walked slot by slot and token by
token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from astra_play.model.transformer import Transformer


def slots(num_latents: int, num_targets: int) -> dict[str, list[int]]:
    """The absolute indices of every slot: 1 start, 16 of the 4x, 2 of the 2x, 1 last, the targets; -1 is missing."""
    first = max(num_latents - 20, 0)
    indices = list(range(first, first + 20 + num_targets))
    missing = 20 - min(num_latents, 20)
    indices[0] = indices[missing]
    for slot in range(1, missing):
        indices[slot] = -1
    return {"start": indices[:1], "4x": indices[1:17], "2x": indices[17:19], "last": indices[19:20],
            "target": indices[20:]}


def naive_groups(num_latents: int, num_targets: int) -> list[tuple[str, int, int | None]]:
    """(kind, time index, action row or None) of every group of tokens, in the order of the sequence."""
    found = slots(num_latents, num_targets)
    origin = found["start"][0]
    groups: list[tuple[str, int, int | None]] = []
    for kind, num_coarse in (("4x", 4), ("2x", 1)):
        valid = [index for index in found[kind] if index >= 0]
        if valid:
            for j in range(num_coarse):
                time = valid[j] if j < len(valid) else valid[-1]
                groups.append((kind, time, valid[j] - origin if j < min(4, len(valid)) else None))
    groups.append(("1x", origin, 0))
    groups.append(("1x", found["last"][0], found["last"][0] + 1 - origin))
    groups += [("target", index, index - origin) for index in found["target"]]
    return groups


def naive_tokens(model: Transformer, history: Tensor, num_targets: int) -> Tensor:
    """Tokens (1, N, D) of the past (T, C, H, W), by convolutions over padded latents."""
    channels, height, width = history.shape[1:]
    found = slots(len(history), num_targets)
    kept = min(len(history), 20)
    buffer = torch.zeros(20, channels, height, width)
    for k in range(kept):
        buffer[20 - kept + k] = history[len(history) - kept + k]
    tokens = []
    for kind, coarse, frames in (("4x", 4, buffer[1:17]), ("2x", 2, buffer[17:19])):
        if any(index >= 0 for index in found[kind]):
            tokens.append(_convolve(model, coarse, frames))
    tokens += [_convolve(model, 1, buffer[20 - kept:20 - kept + 1]), _convolve(model, 1, buffer[19:20])]
    return torch.cat(tokens)[None]


def _convolve(model: Transformer, coarse: int, frames: Tensor) -> Tensor:
    layer = model.history_embedder.layers[str(coarse)]
    channels, height, width = frames.shape[1:]
    size = (coarse, 2 * coarse, 2 * coarse)
    clip = frames.transpose(0, 1)[None]
    pad = (0, -width % size[2], 0, -height % size[1], 0, -len(frames) % size[0])
    clip = F.pad(clip, pad, mode="replicate") if any(pad) else clip
    out = F.conv3d(clip, layer.weight.reshape(-1, channels, *size), layer.bias, stride=size)
    return out[0].flatten(1).t()


class NaiveAttention:
    """Softmax attention over all tokens, each turned pair by pair by its own (time, row, column)."""

    def __init__(self, places: list[tuple[int, int, int]]) -> None:
        self.places = places

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key = self._turn(query), self._turn(key)
        weights = (query @ key.transpose(-1, -2) / query.shape[-1]**0.5).softmax(-1)
        return (weights @ value.double()).to(value.dtype)

    def _turn(self, x: Tensor) -> Tensor:
        spatial = 2 * (x.shape[-1] // 6)
        sizes = (x.shape[-1] - 2 * spatial, spatial, spatial)
        out = x.double().clone()
        for token, place in enumerate(self.places):
            at = 0
            for position, size in zip(place, sizes, strict=True):
                if position:  # an angle of zero turns nothing
                    angle = position * 10000.0 ** (-torch.arange(0, size, 2).double() / size)
                    a, b = (x[:, :, token, at + i:at + size:2].double() for i in (0, 1))
                    out[:, :, token, at:at + size:2] = a * angle.cos() - b * angle.sin()
                    out[:, :, token, at + 1:at + size:2] = a * angle.sin() + b * angle.cos()
                at += size
        return out


def naive_velocity(model: Transformer, modality: str, history: Tensor, table: Tensor, noisy: Tensor, sigma: float,
                   text: Tensor, null_action: bool = False,
                   first_keys: dict[int, tuple[Tensor, Tensor]] | None = None) -> Tensor:
    """Velocity (m, C, H, W) of a noisy chunk after all of `history` (T, C, H, W), by the absolute action table
    (T + m, width - 1). `first_keys`: keys and values of the past that the first of several passes left there."""
    num_latents, (num_targets, _, height, width) = len(history), noisy.shape
    mask = torch.tensor([[1.0] if row < num_latents else [0.0] for row in range(num_latents + num_targets)])
    table = torch.cat([table, mask], dim=1)[max(num_latents - 20, 0):]
    if null_action:
        table = torch.zeros_like(table)
    projector = model.actions.projectors[modality]
    cells = {"4x": 8, "2x": 4, "1x": 2, "target": 2}
    places, features = [], []
    for kind, time, row in naive_groups(num_latents, num_targets):
        for y in range(-(-height // cells[kind])):
            for x in range(-(-width // cells[kind])):
                places.append((time, y, x))
                features.append(torch.zeros(projector.out_features) if row is None else projector(table[row]))
    x = torch.cat([naive_tokens(model, history, num_targets), model.embed(noisy[None]).flatten(1, 2)], dim=1)
    embedding, noise_level = model.embed_sigma(torch.tensor([[sigma]], dtype=torch.float64))
    actions = model.actions.route(torch.stack(features)[None, None], modality)
    num_target_tokens = num_targets * (height // 2) * (width // 2)
    store = NaiveAttention(places) if first_keys is None else ReplacedKeys(places, len(places) - num_target_tokens,
                                                                           first_keys)
    x = model.trunk(x[:, None], noise_level, actions, model.embed_text(text), store)
    tokens = x[:, 0, -num_target_tokens:].unflatten(1, (num_targets, -1))
    return model.velocity(tokens, embedding, noisy[None], torch.tensor([[sigma]]))[0]


class ReplacedKeys(NaiveAttention):
    """Full passes in which the past's keys and values are those of the first pass, whatever its tokens become."""

    def __init__(self, places: list[tuple[int, int, int]], num_history_tokens: int,
                 first: dict[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__(places)
        self.num_history_tokens, self.first = num_history_tokens, first

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        past = slice(0, self.num_history_tokens)
        old_key, old_value = self.first.setdefault(layer, (key[:, :, past].clone(), value[:, :, past].clone()))
        key, value = key.clone(), value.clone()
        key[:, :, past], value[:, :, past] = old_key, old_value
        return super().attend(layer, query, key, value)
