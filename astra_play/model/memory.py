"""What a published world needs of a GPU, counted from its config before anything is loaded, and how it is made to fit.

A mode is named for the gigabytes of the GPU that it is meant for; "full" holds nothing back, and "auto" is the roomiest
that fits into what is free. The modes differ in these points only:

    mode    autoencoder                              while playing live              reads text on
    8       half precision, tile by tile, parked     as 16, and tile by tile         the CPU
    16      half precision, whole pictures           on the GPU for the start only   the CPU
    24      float32, whole pictures                  stays on the GPU                the CPU
    full    float32, whole pictures                  stays on the GPU                the GPU

Parked means that weights, and the memories of the tiles, wait in main memory between two chunks. The network is in the
precision that was asked for in every mode, and live pictures are decoded by the cheaper autoencoder where there is one,
in half precision as it was published. On a CPU both stay float32, so that there the modes only move and cut things.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import psutil
import torch

from ..codec.live_bytes import LiveBytes
from ..codec.tiled import TILE
from ..config import CodecConfig, ModelConfig, WorldConfig
from ..errors import AstraPlayError
from .checkpoint import CODECS
from .framepack import WINDOW, pack
from .precision import Precision, set_precision
from .text import MEMORY_MARGIN
from .transformer import Transformer

MemoryMode = Literal["auto", "8", "16", "24", "full"]
ROOMIEST_FIRST: tuple[MemoryMode, ...] = ("full", "24", "16", "8")
GPU_SIZES_GB = (8, 16, 24)
GB = 1e9
# Beside what is counted: the device's own context, the screen, and gaps between the allocator's blocks.
RESERVED_BYTES = 1.0 * GB
UMT5_XXL_BYTES = 2 * 5_680_910_336  # the published reader of text in half precision
TEXT_TOKENS = 512


@dataclass(frozen=True)
class MemoryPlan:
    """How a world is put on a device, and the bytes that it takes there.

    `passes`: activations of the largest network pass; `kept`: latents, text states, and keys and values that stay
    between passes; `codec`: weights of autoencoders that stay; `stream`: their memory between two chunks; `coding`:
    what encoding or decoding takes beyond that, parked weights included; `reader`: of the text encoder, which has
    left before the rest comes.
    """

    mode: MemoryMode
    precision: Precision
    codec_dtype: torch.dtype
    preview_dtype: torch.dtype
    tiles_codec: bool
    parks_codec: bool
    reads_on_device: bool
    network: int
    passes: int
    kept: int
    codec: int
    stream: int
    coding: int
    reader: int

    @property
    def total(self) -> int:
        """The most that is needed at any time: passes and coding take turns."""
        return max(self.reader, self.network + self.kept + self.codec + self.stream + max(self.passes, self.coding))

    def fits(self, free_bytes: float) -> bool:
        """Tell whether that many bytes are enough, with the reserve."""
        return self.total + RESERVED_BYTES <= free_bytes


@dataclass(frozen=True)
class CodecBytes:
    """Of an autoencoder on one picture size: weights, the peak of encoding one picture and of decoding a latent in the
    middle of a stream (the memory before and after it included), and the memory between two chunks."""

    weights: int
    encoding: int
    decoding: int
    stream: int


def memory_plan(config: WorldConfig, mode: Literal["8", "16", "24", "full"], live: bool,
                precision: Precision = "bfloat16", preview: bool | None = None, on_gpu: bool = True) -> MemoryPlan:
    """Return how a published world is rendered or played live in a mode, and what that takes.

    preview: whether the cheaper autoencoder decodes; None: where it is played live and has one.
    """
    stream = config.played_live().stream if live else config.stream
    decodes_preview = config.preview_codec is not None and (live if preview is None else preview)
    is_small = mode in ("8", "16")
    dtype = torch.bfloat16 if is_small and on_gpu else torch.float32
    preview_dtype = torch.float16 if on_gpu else torch.float32
    tiles, parks = mode == "8", mode == "8" or (mode == "16" and decodes_preview)
    width, grid = 2 if precision != "float32" else 4, (config.model.grid_height, config.model.grid_width)
    num_targets = stream.latent_frames_per_chunk
    own = codec_bytes(config.codec, tuple(map(min, grid, TILE)) if tiles else grid, dtype)
    pictures = 2 * num_targets * config.codec.frames_per_latent * 3 * config.width * config.height * 4
    if decodes_preview:
        cheap = codec_bytes(config.preview_codec, grid, preview_dtype)
        weights, between, decoding = cheap.weights, cheap.stream, cheap.decoding - cheap.stream
    else:
        weights, between = 0, 0 if tiles else own.stream
        decoding = own.decoding - between
    coding = max(own.encoding + (own.weights if parks else 0),
                 decoding + pictures + (own.weights if parks and not decodes_preview else 0))
    reader = int(reader_bytes(config) * MEMORY_MARGIN) if mode == "full" and on_gpu else 0
    return MemoryPlan(
        mode, precision, dtype, preview_dtype, tiles, parks, reads_on_device=mode == "full" and on_gpu,
        network=network_bytes(config.model, precision),
        passes=pass_bytes(config.model, num_targets, width),
        kept=kept_bytes(config.model, width, stream.framepack_cache_sigma > 0, stream.guidance_scale != 1.0),
        codec=weights + (0 if parks else own.weights), stream=between, coding=coding, reader=reader)


def plans(config: WorldConfig, live: bool, precision: Precision = "bfloat16", preview: bool | None = None,
          on_gpu: bool = True) -> Iterator[MemoryPlan]:
    """Yield the plan of every mode, the roomiest first."""
    for mode in ROOMIEST_FIRST:
        yield memory_plan(config, mode, live, precision, preview, on_gpu)


def choose_plan(config: WorldConfig, mode: MemoryMode, live: bool, precision: Precision, preview: bool,
                device: torch.device) -> MemoryPlan:
    """Return the plan of a mode, or for "auto" the roomiest that fits into what is free on the device.

    AstraPlayError with the numbers if there is not enough memory.
    """
    free, on_gpu = free_bytes(device), device.type == "cuda"
    if mode != "auto":
        plan = memory_plan(config, mode, live, precision, preview, on_gpu)
        if plan.total <= free:  # the reserve is a precaution, and who names a mode may do without it
            return plan
    else:
        plan = None
        for plan in plans(config, live, precision, preview, on_gpu):
            if plan.fits(free):
                return plan
    smallest = memory_plan(config, "8", live, precision, preview, on_gpu)
    raise AstraPlayError(not_enough(config, plan, smallest, free, device))


def not_enough(config: WorldConfig, plan: MemoryPlan, smallest: MemoryPlan, free: float, device: torch.device) -> str:
    """Return the sentence about a plan that does not fit."""
    if plan.mode != smallest.mode and smallest.total <= free:
        way_out = f"try --memory 8, which needs {smallest.total / GB:.1f} GB"
    elif plan.precision == "float32" and device.type == "cuda":
        way_out = "try --precision bfloat16, or close other programs"
    else:
        way_out = "close other programs, or take a machine with more memory"
    return (f"the world {config.name!r} needs {plan.total / GB:.1f} GB on {device} in the memory mode {plan.mode} "
            f"({plan.network / GB:.1f} of them the network in {plan.precision}), but {free / GB:.1f} GB are free; "
            f"{way_out}")


def free_bytes(device: torch.device) -> int:
    """Return the bytes that are free on a device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


# --- the numbers ----------------------------------------------------------------------------------------------------

def network_bytes(config: ModelConfig, precision: Precision) -> int:
    """Return the bytes of a network's weights in a precision."""
    with torch.device("meta"):
        model = set_precision(Transformer(config).requires_grad_(False), precision)
    return sum(parameter.nbytes for parameter in model.parameters())


def pass_bytes(config: ModelConfig, num_targets: int, width: int) -> int:
    """Return the bytes of the activations of the largest pass, over all N tokens of a full past and the targets.

    The peak lies in one block, in its MLP or in its attention, whichever is wider; with w bytes a number:

        MLP         N w (4 D + 2 F): the block's input and what is added to it, and the hidden layer before and after
                    its GELU
        attention   N (9 w + 12) D: input, its norm, and that with the actions; queries, keys and values; queries and
                    keys normed; turned queries; and three float32 arrays while keys are turned

    and everywhere 4 bytes a token and channel of a head for the rotary table. The scores of attention, N^2, are never
    held: the fused kernels go through them in pieces.
    """
    packing = pack(WINDOW, num_targets)
    num_tokens = sum(packing.tokens(config.grid_height, config.grid_width))
    mlp = width * (4 * config.dim + 2 * config.ffn_dim)
    attention = (9 * width + 12) * config.dim
    return num_tokens * (max(mlp, attention) + 4 * config.head_dim)


def kept_bytes(config: ModelConfig, width: int, keeps_keys: bool, is_guided: bool) -> int:
    """Return the bytes between two passes: the window's latents, the text states, and the past's keys and values where
    a world keeps them (2 D numbers a token and layer, once more for the null action's pass)."""
    latents = WINDOW * config.latent_channels * config.grid_height * config.grid_width * 4
    text = TEXT_TOKENS * config.dim * width if config.text_dim else 0
    num_tokens = pack(WINDOW, 1).num_history_tokens(config.grid_height, config.grid_width)
    keys = 2 * num_tokens * config.dim * config.num_layers * width * (1 + is_guided) if keeps_keys else 0
    return latents + text + keys


@lru_cache(maxsize=32)
def codec_bytes(config: CodecConfig, grid: tuple[int, int], dtype: torch.dtype) -> CodecBytes:
    """Return what an autoencoder takes on a latent grid, counted by running it on tensors without content."""
    rows, columns = grid
    side = config.spatial_compression
    with torch.device("meta"), torch.inference_mode():
        codec = CODECS[config.kind](config).requires_grad_(False).to(dtype)
        with LiveBytes() as encoding:
            codec.encode(torch.empty(1, 1, 3, rows * side, columns * side))
        latents = torch.empty(1, 1, config.latent_channels, rows, columns)
        with LiveBytes() as decoding:
            pictures, memory = codec.decode_chunk(latents)
            del pictures
            pictures, memory = codec.decode_chunk(latents, memory)
            del pictures
            between = decoding.now
    return CodecBytes(sum(p.nbytes for p in codec.parameters()), encoding.peak, decoding.peak, between)


def reader_bytes(config: WorldConfig) -> int:
    """Return the bytes of the text encoder's weights: those of the published one, or 0 where no text is read.

    No config tells its size; only the published width stands for the published encoder.
    """
    return UMT5_XXL_BYTES if config.model.text_dim == 4096 else 0
