"""Slow, obvious twins of the autoencoders: whole clips in one pass, every step of time at once, no memory anywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astra_play.codec.taehv import TAEHV, FoldTime, MemoryBlock, Stages, UnfoldTime
from astra_play.codec.wan_vae import Grow, PictureAttention, ResidualBlock, Shrink, UnitNorm, WanVAE


def naive_vae_encode(vae: WanVAE, pictures: Tensor) -> Tensor:
    """Normalised latents of 4 T - 3 pictures."""
    x = causal(vae.encoder.conv_in, pictures.transpose(1, 2))
    for layer in (*vae.encoder.stages, *vae.encoder.middle):
        x = naive_layer(layer, x)
    moments = vae.to_moments(causal(vae.encoder.conv_out, F.silu(unit(vae.encoder.norm_out, x))))
    return ((moments[:, :16].transpose(1, 2)) - vae.mean) / vae.std


def naive_vae_decode(vae: WanVAE, latents: Tensor) -> Tensor:
    """The 4 T - 3 pictures of T normalised latents, before the clamp."""
    x = causal(vae.decoder.conv_in, vae.from_latents((latents * vae.std + vae.mean).transpose(1, 2)))
    for layer in (*vae.decoder.middle, *vae.decoder.stages):
        x = naive_layer(layer, x)
    return causal(vae.decoder.conv_out, F.silu(unit(vae.decoder.norm_out, x))).transpose(1, 2)


def naive_layer(layer: nn.Module, x: Tensor) -> Tensor:
    match layer:
        case ResidualBlock():
            inner = causal(layer.conv_in, F.silu(unit(layer.norm_in, x)))
            return layer.shortcut(x) + causal(layer.conv_out, F.silu(unit(layer.norm_out, inner)))
        case PictureAttention():
            return torch.stack([naive_attention(layer, x[:, :, t]) for t in range(x.shape[2])], dim=2)
        case Shrink():
            x = torch.stack([layer.conv(F.pad(x[:, :, t], (0, 1, 0, 1))) for t in range(x.shape[2])], dim=2)
            if layer.time_conv is None:
                return x
            return torch.cat([x[:, :, :1]] + [layer.time_conv(x[:, :, t - 2:t + 1]) for t in range(2, x.shape[2], 2)],
                             dim=2)
        case Grow():
            if layer.time_conv is not None:
                width, steps = x.shape[1], [x[:, :, 0]]
                later = causal(layer.time_conv, x[:, :, 1:])
                for t in range(later.shape[2]):
                    steps += [later[:, :width, t], later[:, width:, t]]
                x = torch.stack(steps, dim=2)
            doubled = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
            return torch.stack([layer.conv(doubled[:, :, t]) for t in range(x.shape[2])], dim=2)
    raise AssertionError(layer)


def causal(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Convolve (B, C, T, H, W) with zeros before the first step and around the picture."""
    time, height, width = conv.kernel_size
    return F.conv3d(F.pad(x, (width // 2,) * 2 + (height // 2,) * 2 + (time - 1, 0)), conv.weight, conv.bias)


def unit(norm: UnitNorm, x: Tensor) -> Tensor:
    return x / x.square().mean(dim=1, keepdim=True).sqrt() * norm.gamma


def naive_attention(layer: PictureAttention, x: Tensor) -> Tensor:
    batch, width, height, columns = x.shape
    q, k, v = (part.flatten(2).transpose(1, 2) for part in layer.to_qkv(unit(layer.norm, x)).split(width, dim=1))
    mixed = (q @ k.transpose(1, 2) / width ** 0.5).softmax(dim=-1) @ v
    return x + layer.proj(mixed.transpose(1, 2).reshape(batch, width, height, columns))


def naive_taehv(stages: Stages, x: Tensor) -> Tensor:
    """One half of a TAEHV over a whole clip (B, T, C, H, W)."""
    batch = len(x)
    for layer in stages:
        match layer:
            case MemoryBlock():
                past = F.pad(x, (0, 0) * 3 + (1, 0))[:, :-1]
                x = x + torch.stack([layer.conv(torch.cat([x[:, t], past[:, t]], dim=1)) for t in range(x.shape[1])],
                                    dim=1)
                x = x.relu()
            case FoldTime():
                groups = [torch.cat(x[:, t:t + layer.steps].unbind(1), dim=1)
                          for t in range(0, x.shape[1], layer.steps)]
                x = torch.stack([layer.conv(group) for group in groups], dim=1)
            case UnfoldTime():
                x = torch.cat([torch.stack(layer.conv(x[:, t]).chunk(layer.steps, dim=1), dim=1)
                               for t in range(x.shape[1])], dim=1)
            case _:
                x = layer(x.flatten(0, 1)).unflatten(0, (batch, -1))
    return x


def naive_taehv_decode(codec: TAEHV, latents: Tensor) -> Tensor:
    return naive_taehv(codec.decoder, latents)[:, 3:].clamp(0, 1) * 2 - 1


def naive_tiled(make, given: Tensor, tile: tuple[int, int], stride: tuple[int, int], scale_in: int, scale_out: int
                ) -> Tensor:
    """Blend what `make` makes of each tile, point by point: every weight is worked out for itself, in Python."""
    rows, columns = given.shape[-2] // scale_in, given.shape[-1] // scale_in
    total = value = 0
    for top in starts(rows, tile[0], stride[0]):
        for left in starts(columns, tile[1], stride[1]):
            bottom, right = min(top + tile[0], rows), min(left + tile[1], columns)
            made = make(given[..., top * scale_in:bottom * scale_in, left * scale_in:right * scale_in])
            around = (left * scale_out, (columns - right) * scale_out, top * scale_out, (rows - bottom) * scale_out)
            weights = torch.tensor([[min(weight(y, top, bottom, rows, tile[0] - stride[0], scale_out),
                                         weight(x, left, right, columns, tile[1] - stride[1], scale_out))
                                     for x in range(left * scale_out, right * scale_out)]
                                    for y in range(top * scale_out, bottom * scale_out)])
            value = value + F.pad(made * weights, around)
            total = total + F.pad(weights, around)
    return value / total


def starts(length: int, tile: int, stride: int) -> list[int]:
    return [start for start in range(0, length, stride) if start == 0 or start - stride + tile < length]


def weight(point: int, start: int, stop: int, length: int, overlap: int, scale: int) -> float:
    values = [1.0]
    if start > 0 and overlap:
        values.append((point - start * scale + 1) / (overlap * scale))
    if stop < length and overlap:
        values.append((stop * scale - point) / (overlap * scale))
    return min(values)
