"""`weights verify --golden`: run every golden vector of a folder through the player's own import and classes.

A golden folder holds vectors that a reference implementation made: inputs and the outputs to match, a safetensors file
each. What a folder tests is told by what lies in it. A folder of such folders runs them all.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..codec.taehv import TAEHV
from ..config import CodecConfig, StreamConfig, load_world_config
from ..errors import WeightsError
from .checkpoint import CODEC_FILE, load_model, load_strict, read_tensors
from .framepack_history import FramePackHistory
from .import_astra import PROCESSORS
from .import_codecs import import_taehv
from .import_world import COMPRESSION, import_world
from .precision import Precision, set_precision
from .sampler import euler
from .transformer import SIGMA_SCALE, Transformer

LIMIT_DIT = 2e-6  # relative, in float32; a looser one does not notice the exact GELU in place of the tanh form
LIMIT_TAEHV = 1e-5
CHECKPOINTS = ("diffusion_pytorch_model.ckpt", "diffusion_pytorch_model.safetensors",
               "diffusion_pytorch_model.safetensors.index.json")
FORWARD_KEYS = {"history", "actions", "context", "noisy", "timestep", "velocity"}
TAEHV_KEYS = {"latents", "decoder_raw", "frames", "video", "encoded"}
ROLLOUT_KEYS = {"history", "actions", "context", "noise", "timesteps", "sigmas", "guidance", "latents"}


@dataclass(frozen=True)
class GoldenResult:
    """How far one output is from its golden one: norm(ours - golden) / norm(golden)."""

    name: str
    what: str
    error: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.error <= self.limit  # false for an error that is not a number


@dataclass(frozen=True)
class GoldenSuite:
    """A kind of golden folder: whether a folder is one, and what runs it."""

    knows: Callable[[Path], bool]
    run: Callable[[Path, Precision], Iterator[GoldenResult]]


def run_golden(folder: Path, precision: Precision = "float32") -> Iterator[GoldenResult]:
    """Yield a result for each golden output in `folder` or in the folders inside it; WeightsError if there is none."""
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; give one with golden vectors")
    folders = [f for f in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())) if _suite_of(f)]
    if not folders:
        raise WeightsError(f"{folder} holds no golden vectors that this player knows; an Astra folder holds "
                           f"{CHECKPOINTS[0]} and safetensors files of vectors")
    for one in folders:
        yield from _suite_of(one).run(one, precision)


def _suite_of(folder: Path) -> GoldenSuite | None:
    return next((suite for suite in SUITES if suite.knows(folder)), None)


def relative_error(ours: Tensor, golden: Tensor) -> float:
    """norm(ours - golden) / norm(golden), in float64."""
    if ours.shape != golden.shape:
        return float("inf")
    return ((ours.double() - golden.double()).norm() / golden.double().norm()).item()


# --- the diffusion network ------------------------------------------------------------------------------------------

def _vectors(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.safetensors"))
            if not path.name.startswith("diffusion_pytorch_model")]


def _run_network(folder: Path, precision: Precision) -> Iterator[GoldenResult]:
    vectors = _vectors(folder)
    if not vectors:
        raise WeightsError(f"{folder} holds a checkpoint but no vectors; give the folder with t*.safetensors")
    for path in vectors:
        if _modality(path) is None:
            raise WeightsError(f"{path} must end in _{', _'.join(PROCESSORS.values())}, the modality of its actions")
    height, width = _grid(vectors[0])
    source = next(folder / name for name in CHECKPOINTS if (folder / name).is_file())
    with tempfile.TemporaryDirectory() as temporary:
        world = Path(temporary)
        import_world(folder if source.suffix == ".json" else source, world, width=width * COMPRESSION,
                     height=height * COMPRESSION)
        config = load_world_config(world)
        model = set_precision(load_model(world, config), precision)
    for path in vectors:
        tensors = read_tensors(path)
        if tensors.keys() >= FORWARD_KEYS:
            yield GoldenResult(path.stem, "velocity", _forward_error(model, config.stream, path, tensors), LIMIT_DIT)
        elif tensors.keys() >= ROLLOUT_KEYS:
            yield GoldenResult(path.stem, "rollout", _rollout_error(model, config.stream, path, tensors), LIMIT_DIT)
        else:
            raise WeightsError(f"{path} is neither a forward pass nor a rollout: it holds {', '.join(sorted(tensors))}")


def _grid(path: Path) -> tuple[int, int]:
    tensors = read_tensors(path)
    if "history" not in tensors:
        raise WeightsError(f"{path} is neither a forward pass nor a rollout: it holds {', '.join(sorted(tensors))}")
    return tuple(tensors["history"].shape[-2:])


def _modality(path: Path) -> str | None:
    return next((ours for ours, theirs in PROCESSORS.items() if path.stem.endswith("_" + theirs)), None)


def _shown(model: Transformer, stream: StreamConfig, path: Path,
           tensors: dict[str, Tensor]) -> tuple[FramePackHistory, Tensor]:
    """A history that was shown the vector's past, and its whole action table (1, rows, width - 1)."""
    history = FramePackHistory(model, stream, _modality(path))
    rows = tensors["actions"][None, :, :-1]  # the mask column is the history's own business
    history.set_text(tensors["context"])
    latents = tensors["history"].transpose(0, 1)[None]
    history.push(latents, rows[:, :latents.shape[1]])
    return history, rows


@torch.inference_mode()
def _forward_error(model: Transformer, stream: StreamConfig, path: Path, tensors: dict[str, Tensor]) -> float:
    history, rows = _shown(model, stream, path, tensors)
    noisy, first = tensors["noisy"].transpose(1, 2), history.num_latents
    sigma = tensors["timestep"].double().item() / SIGMA_SCALE
    velocity = history.velocity(noisy, sigma, rows[:, first:first + noisy.shape[1]])
    return relative_error(velocity.transpose(1, 2), tensors["velocity"])


@torch.inference_mode()
def _rollout_error(model: Transformer, stream: StreamConfig, path: Path, tensors: dict[str, Tensor]) -> float:
    history, rows = _shown(model, stream, path, tensors)
    sigmas, scale = [*tensors["sigmas"].tolist(), 0.0], tensors["guidance"].item()
    level = dict(zip(sigmas, (tensors["timesteps"].double() / SIGMA_SCALE).tolist(), strict=False))
    chunks = []
    for noise in tensors["noise"].transpose(1, 2):
        own = rows[:, history.num_latents:history.num_latents + len(noise)]
        clean = euler(lambda noisy, sigma, own=own: history.velocity(noisy, level[sigma], own, scale), noise[None],
                      sigmas)
        history.push(clean, own)
        chunks.append(clean)
    return relative_error(torch.cat(chunks, dim=1)[0].transpose(0, 1), tensors["latents"])


# --- the tiny autoencoder -------------------------------------------------------------------------------------------

def _is_taehv_folder(folder: Path) -> bool:
    first = next(iter(sorted(folder.glob("*.safetensors"))), None)
    return first is not None and TAEHV_KEYS <= read_tensors(first).keys()


def _run_taehv(folder: Path, precision: Precision) -> Iterator[GoldenResult]:
    """The autoencoder always runs in float32."""
    with tempfile.TemporaryDirectory() as temporary:
        source, ours = Path(temporary) / "taew2_1.safetensors", Path(temporary) / CODEC_FILE
        save_file(drawn_taehv_weights(), source)
        codec = TAEHV(import_taehv(source, ours)).eval().requires_grad_(False)
        load_strict(codec, read_tensors(ours), ours)
    for path in sorted(folder.glob("*.safetensors")):
        tensors = read_tensors(path)
        if not TAEHV_KEYS <= tensors.keys():
            raise WeightsError(f"{path} is no vector of the autoencoder: it holds {', '.join(sorted(tensors))}")
        for what, key, run in (
                ("decoder", "decoder_raw", lambda t=tensors: codec.decode_groups(t["latents"])[0]),
                ("frames", "frames", lambda t=tensors: codec.decode(t["latents"]) / 2 + 0.5),
                ("encoder", "encoded", lambda t=tensors: codec.encode_groups(t["video"])[0])):
            yield GoldenResult(path.stem, what, relative_error(run(), tensors[key]), LIMIT_TAEHV)


def drawn_taehv_weights() -> dict[str, Tensor]:
    """Draw the weights of the autoencoder's golden vectors: every tensor from a generator seeded with its name.

    The rule is that of the vectors' makers: normal in float64, cast to float32, times 1.2 / sqrt(fan in), or 0.05.
    """
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in TAEHV(CodecConfig(kind="taehv", latent_channels=16))
                  .named_parameters()}
    weights = {}
    for name, shape in shapes.items():
        values = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
        gain = 1.2 / math.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.05
        weights[name] = torch.from_numpy(values.astype(np.float32)) * gain
    return weights


SUITES = (
    GoldenSuite(lambda folder: any((folder / name).is_file() for name in CHECKPOINTS), _run_network),
    GoldenSuite(_is_taehv_folder, _run_taehv),
)
