"""The slow, obvious twin of the UMT5 encoder, on the published file's own names, in float32 and padded."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bucket(distance: int, num_buckets: int = 32, max_distance: int = 128) -> int:
    """Bucket of key position minus query position: exact when near, logarithmic further away, ahead in its own half."""
    half = num_buckets // 2
    offset, d = (half if distance > 0 else 0), abs(distance)
    if d < half // 2:
        return offset + d
    far = half // 2 + math.floor(math.log(d / (half // 2)) / math.log(max_distance / (half // 2)) * (half // 2))
    return offset + min(far, half - 1)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight


def naive_umt5(tensors: dict[str, Tensor], ids: list[int], length: int) -> Tensor:
    """Text states (length, width) of token ids, padded with id 0 and masked, pad rows set to zero afterwards."""
    w = {name: tensor.float() for name, tensor in tensors.items()}
    x = w["token_embedding.weight"][torch.tensor(ids + [0] * (length - len(ids)))]
    num_layers = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))
    for n in range(num_layers):
        block = f"blocks.{n}."
        bias_table = w[block + "pos_embedding.embedding.weight"]
        num_heads = bias_table.shape[1]
        h = rms_norm(x, w[block + "norm1.weight"])
        q, k, v = (h @ w[f"{block}attn.{part}.weight"].T for part in "qkv")
        size = q.shape[1] // num_heads
        heads = []
        for head in range(num_heads):
            own = slice(head * size, (head + 1) * size)
            scores = q[:, own] @ k[:, own].T
            for i in range(length):
                for j in range(length):
                    scores[i, j] += bias_table[bucket(j - i, bias_table.shape[0]), head]
            scores[:, len(ids):] = torch.finfo(torch.float32).min
            heads.append(scores.softmax(dim=-1) @ v[:, own])
        x = x + torch.cat(heads, dim=1) @ w[block + "attn.o.weight"].T
        h = rms_norm(x, w[block + "norm2.weight"])
        g = h @ w[block + "ffn.gate.0.weight"].T
        gate = 0.5 * g * (1 + torch.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)))
        x = x + (h @ w[block + "ffn.fc1.weight"].T * gate) @ w[block + "ffn.fc2.weight"].T
    x = rms_norm(x, w["norm.weight"])
    x[len(ids):] = 0
    return x


def published_tensors(layers: int = 2, width: int = 24, heads: int = 3, head_width: int = 8, hidden: int = 40,
                      vocabulary: int = 300, seed: int = 0) -> dict[str, Tensor]:
    """Random bfloat16 tensors under the published names, large enough for every part to matter."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(torch.bfloat16)

    inner = heads * head_width
    tensors = {"token_embedding.weight": random(vocabulary, width, scale=1.0),
               "norm.weight": 1 + random(width, scale=0.2)}
    for n in range(layers):
        block = f"blocks.{n}."
        tensors |= {f"{block}norm{i}.weight": 1 + random(width, scale=0.2) for i in (1, 2)}
        tensors |= {f"{block}attn.{part}.weight": random(inner, width, scale=0.3) for part in "qkv"}
        tensors[block + "attn.o.weight"] = random(width, inner, scale=0.3)
        tensors[block + "ffn.gate.0.weight"] = random(hidden, width, scale=0.3)
        tensors[block + "ffn.fc1.weight"] = random(hidden, width, scale=0.3)
        tensors[block + "ffn.fc2.weight"] = random(width, hidden, scale=0.3)
        tensors[block + "pos_embedding.embedding.weight"] = random(32, heads, scale=1.0)
    return tensors
