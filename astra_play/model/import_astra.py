"""The published Astra network -> model.safetensors: names, shapes and sizes, every tensor checked and none guessed.

The published file is a flat state dict: the Wan 2.1 network under its own names (or under those of diffusers) with
Astra's additions. What Astra trained but never uses is dropped: `global_router`, the `cam_encoder` of each block, and
experts beyond the modalities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig, load_json
from ..errors import ConfigError, WeightsError
from .checkpoint import some_names
from .published import open_published, refuse_foreign
from .streamed_file import DTYPE_NAMES, Piece, write_streamed

PROCESSORS = {"camera": "sekai", "vehicle": "nuscenes", "arm": "openx"}  # our modality -> Astra's; in expert order
HEAD_DIM = 128  # of every published Wan network
HEADS_NAMES = ("heads", "num_heads", "num_attention_heads")
COARSENESS = {1: "proj", 2: "proj_2x", 4: "proj_4x"}
DEAD = re.compile(r"global_router\.|blocks\.\d+\.cam_encoder\.")
EXPERT = re.compile(r"blocks\.\d+\.moe\.experts\.(\d+)\.")
# diffusers' names of the Wan network -> Wan's own, as beginnings and middles of a name
DIFFUSERS_NAMES = (
    ("condition_embedder.time_embedder.linear_1.", "time_embedding.0."),
    ("condition_embedder.time_embedder.linear_2.", "time_embedding.2."),
    ("condition_embedder.time_proj.", "time_projection.1."),
    ("condition_embedder.text_embedder.linear_1.", "text_embedding.0."),
    ("condition_embedder.text_embedder.linear_2.", "text_embedding.2."),
    ("proj_out.", "head.head."),
    (".attn1.", ".self_attn."),
    (".attn2.", ".cross_attn."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".o."),
    (".norm2.", ".norm3."),
    (".ffn.net.0.proj.", ".ffn.0."),
    (".ffn.net.2.", ".ffn.2."),
    (".scale_shift_table", ".modulation"),
)


@dataclass(frozen=True)
class Target:
    """One of our tensors and the published tensors that it is made of, joined along their first axis."""

    name: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_shape: tuple[int, ...]  # of each of them
    transposed: bool = False  # each source is (out, in) where ours is (in, out)


@dataclass(frozen=True)
class PublishedNetwork:
    """A published network that was found whole: its config (at the latent grid asked for) and what it is made of."""

    config: ModelConfig
    tensors: dict[str, Tensor]  # on the disk until used
    num_experts_found: int

    def pieces(self) -> list[Piece]:
        """Our tensors, each made from the published ones when its turn comes, in the precision of the file."""
        return [Piece(target.name, target.shape, self._dtype(target), lambda target=target: self._make(target))
                for target in targets_of(self.config)]

    def _dtype(self, target: Target) -> torch.dtype:
        dtypes = [self.tensors[name].dtype for name in target.sources]
        widest = dtypes[0]
        for dtype in dtypes[1:]:
            widest = torch.promote_types(widest, dtype)
        return widest

    def _make(self, target: Target) -> Tensor:
        parts = [self.tensors[name].to(self._dtype(target)) for name in target.sources]
        parts = [part.t() for part in parts] if target.transposed else parts
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(target.shape)


def convert_network(source: Path, output: Path) -> None:
    """Write `output` (model.safetensors) from the published network at `source`, holding one tensor at a time."""
    write_streamed(read_network(source).pieces(), output, output.name)


def read_network(source: Path, grid_height: int = 60, grid_width: int = 104) -> PublishedNetwork:
    """Open a published network and check every name, shape and precision; WeightsError lists what is wrong.

    The latent grid is not a fact of the file; the default is that of the published demo, 832 x 480 pixels.
    """
    tensors = open_published(source)
    if "condition_embedder.time_proj.weight" in tensors:
        tensors = {_wan_name(name): tensor for name, tensor in tensors.items()}
    refuse_foreign(set(tensors), source)
    config = _infer_config(tensors, source, grid_height, grid_width)
    experts = {int(found[1]) for name in tensors if (found := EXPERT.match(name))}
    extra = {name for name in tensors if (found := EXPERT.match(name)) and int(found[1]) >= config.num_experts}
    wanted = {name: target.source_shape for target in targets_of(config) for name in target.sources}
    _check(wanted, {name: tensor for name, tensor in tensors.items() if not DEAD.match(name) and name not in extra},
           source)
    return PublishedNetwork(config, {name: tensors[name] for name in wanted}, len(experts))


def targets_of(config: ModelConfig) -> Iterator[Target]:
    """Yield every tensor of our network of this config with its published sources."""
    dim, patch = config.dim, config.patch_size
    yield from _convolution("patch_embedding", "patch_embedding", config.latent_channels, patch, dim)
    for coarse, theirs in COARSENESS.items():
        size = (coarse, coarse * patch[1], coarse * patch[2])
        yield from _convolution(f"history_embedder.layers.{coarse}", f"clean_x_embedder.{theirs}",
                                config.latent_channels, size, dim)
    for layer, width in ((0, config.freq_dim), (2, dim)):
        yield from _linear(f"time_embedding.{layer}", f"time_embedding.{layer}", width, dim)
    yield from _linear("time_projection", "time_projection.1", dim, 6 * dim)
    for modality, theirs in PROCESSORS.items():
        yield from _linear(f"actions.projectors.{modality}", f"{theirs}_processor.projector.0",
                           config.modalities[modality], config.action_dim)
    for layer, width in ((0, config.text_dim), (2, dim)):
        yield from _linear(f"text_embedding.{layer}", f"text_embedding.{layer}", width, dim)
    for index in range(config.num_layers):
        yield from _block(f"blocks.{index}.", config)
    yield Target("head_modulation", (2, dim), ("head.modulation",), (1, 2, dim))
    values = config.latent_channels * patch[0] * patch[1] * patch[2]
    yield from _linear("head", "head.head", dim, values)


def _block(at: str, config: ModelConfig) -> Iterator[Target]:
    dim, experts = config.dim, range(config.num_experts)
    yield Target(at + "modulation", (6, dim), (at + "modulation",), (1, 6, dim))
    yield from _linear(at + "attention.qkv", [f"{at}self_attn.{name}" for name in "qkv"], dim, dim)
    yield from _linear(at + "attention.out", at + "self_attn.o", dim, dim)
    yield from _linear(at + "text_attention.query", at + "cross_attn.q", dim, dim)
    yield from _linear(at + "text_attention.key_value", [f"{at}cross_attn.{name}" for name in "kv"], dim, dim)
    yield from _linear(at + "text_attention.out", at + "cross_attn.o", dim, dim)
    for ours, theirs in (("attention", "self_attn"), ("text_attention", "cross_attn")):
        for norm in ("norm_q.weight", "norm_k.weight"):
            yield Target(f"{at}{ours}.{norm}", (dim,), (f"{at}{theirs}.{norm}",), (dim,))
    for kind in ("weight", "bias"):
        yield Target(f"{at}text_norm.{kind}", (dim,), (f"{at}norm3.{kind}",), (dim,))
    yield from _linear(at + "adapter", at + "projector", dim, dim)
    yield from _linear(at + "mlp.up", at + "ffn.0", dim, config.ffn_dim)
    yield from _linear(at + "mlp.down", at + "ffn.2", config.ffn_dim, dim)
    yield Target(at + "experts.weight", (len(experts), config.action_dim, dim),
                 tuple(f"{at}moe.experts.{e}.0.weight" for e in experts), (dim, config.action_dim), transposed=True)
    yield Target(at + "experts.bias", (len(experts), dim), tuple(f"{at}moe.experts.{e}.0.bias" for e in experts),
                 (dim,))


def _linear(ours: str, theirs: str | list[str], width: int, out: int) -> Iterator[Target]:
    names = [theirs] if isinstance(theirs, str) else theirs
    yield Target(ours + ".weight", (out * len(names), width), tuple(n + ".weight" for n in names), (out, width))
    yield Target(ours + ".bias", (out * len(names),), tuple(n + ".bias" for n in names), (out,))


def _convolution(ours: str, theirs: str, channels: int, size: tuple[int, ...], dim: int) -> Iterator[Target]:
    """A convolution whose stride is its kernel: for us a linear layer over the values of a patch, in the same order."""
    yield Target(ours + ".weight", (dim, channels * size[0] * size[1] * size[2]), (theirs + ".weight",),
                 (dim, channels, *size))
    yield Target(ours + ".bias", (dim,), (theirs + ".bias",), (dim,))


def _wan_name(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, wan in DIFFUSERS_NAMES:
        name = name.replace(theirs, wan)
    return name


def _infer_config(tensors: dict[str, Tensor], source: Path, grid_height: int, grid_width: int) -> ModelConfig:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in tensors:
            raise WeightsError(f"{source} lacks the tensor {name}, so it is not a whole Astra network; "
                               "download it again")
        if tensors[name].ndim != rank:
            raise WeightsError(f"{source}: the tensor {name} has the shape {list(tensors[name].shape)}, but must have "
                               f"{rank} axes; this is not an Astra network")
        return tuple(tensors[name].shape)

    dim, channels, *patch = shape("patch_embedding.weight", 5)
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    modalities = {modality: shape(f"{theirs}_processor.projector.0.weight", 2)[1]
                  for modality, theirs in PROCESSORS.items()}
    return ModelConfig(
        dim=dim, ffn_dim=shape("blocks.0.ffn.0.weight", 2)[0], num_heads=_num_heads(source, dim),
        num_layers=max(blocks) + 1, latent_channels=channels, grid_height=grid_height, grid_width=grid_width,
        patch_size=tuple(patch), freq_dim=shape("time_embedding.0.weight", 2)[1],
        text_dim=shape("text_embedding.0.weight", 2)[1], history="framepack", modalities=modalities,
        action_dim=shape("sekai_processor.projector.0.weight", 2)[0], num_experts=len(PROCESSORS),
        fixed_experts={modality: index for index, modality in enumerate(PROCESSORS)})


def _num_heads(source: Path, dim: int) -> int:
    """The one size that no shape tells: from a config.json beside the file, or by the width of every Wan head."""
    beside = (source if source.is_dir() else source.parent) / "config.json"
    told = load_json(beside) if beside.is_file() else {}
    heads = next((told[name] for name in HEADS_NAMES if isinstance(told, dict) and name in told), None)
    if heads is None and dim % HEAD_DIM == 0:
        return dim // HEAD_DIM
    if heads is None:
        raise WeightsError(f"{source} is {dim} wide, which does not tell its number of heads; put a config.json with "
                           "\"num_heads\" beside it")
    if not isinstance(heads, int) or heads < 1 or dim % (2 * heads):
        raise ConfigError(f"{beside} gives {heads!r} heads, into which a width of {dim} cannot be split evenly")
    return heads


def _check(wanted: dict[str, tuple[int, ...]], found: dict[str, Tensor], source: Path) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    both = sorted(wanted.keys() & found.keys())
    shapes = [f"{n} is {list(found[n].shape)}, not {list(wanted[n])}" for n in both if found[n].shape != wanted[n]]
    dtypes = [f"{n} is {str(found[n].dtype).removeprefix('torch.')}" for n in both if found[n].dtype not in DTYPE_NAMES]
    faults = [f"{len(names)} {what} ({some_names(names)})" for what, names in (
        ("missing", missing), ("not known", extra), ("of another shape", shapes),
        ("neither float32 nor of half precision", dtypes)) if names]
    if faults:
        raise WeightsError(f"{source} is not a whole Astra network: tensors {', '.join(faults)}; download it again")
