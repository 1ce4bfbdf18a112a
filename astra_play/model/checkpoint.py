"""Weights on disk: strict safetensors load and save, always beside the config that they belong to.

A world is a folder: config.json, model.safetensors (the transformer), codec.safetensors (the autoencoder). Files hold
half precision and are read as float32.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..codec.mini import MiniCodec
from ..config import WorldConfig, load_world_config, to_dict
from ..errors import WeightsError
from .transformer import Transformer

MODEL_FILE, CODEC_FILE, CONFIG_FILE = "model.safetensors", "codec.safetensors", "config.json"
MAX_NAMES_SHOWN = 4


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; WeightsError says whether it is missing or damaged."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; a world folder holds {CONFIG_FILE}, {MODEL_FILE} and {CODEC_FILE}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise WeightsError(f"{path} ({size} bytes) is not a whole safetensors file ({error}); "
                           "copy or download it again") from None


def load_strict(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy tensors into a module's parameters; every key and shape must match, or WeightsError lists what does not."""
    expected = {name: tuple(p.shape) for name, p in module.named_parameters()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    wrong = [f"{n} is {list(found[n])}, not {list(expected[n])}" for n in sorted(expected.keys() & found.keys())
             if expected[n] != found[n]]
    faults = [f"{len(names)} {what} ({_some(names)})"
              for what, names in (("missing", missing), ("not known", extra), ("of another shape", wrong)) if names]
    if faults:
        raise WeightsError(f"{source} does not fit its config: tensors {', '.join(faults)}; "
                           "use the config.json that came with these weights")
    not_finite = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if not_finite:
        raise WeightsError(f"{source} holds values that are not numbers in {_some(sorted(not_finite))}; "
                           "the file is damaged or its training diverged")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[name])


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    return shown + (", ..." if len(names) > MAX_NAMES_SHOWN else "")


def load_codec(folder: Path, config: WorldConfig) -> MiniCodec:
    """Build the autoencoder of a world folder, in eval mode, float32."""
    if config.codec.kind != "mini":
        raise WeightsError(f"{folder} asks for the codec {config.codec.kind!r}, which this version cannot run; "
                           "use \"mini\"")
    codec = MiniCodec(config.codec)
    load_strict(codec, read_tensors(folder / CODEC_FILE), folder / CODEC_FILE)
    return codec.eval().requires_grad_(False)


def load_model(folder: Path, config: WorldConfig) -> Transformer:
    """Build the transformer of a world folder, in eval mode, float32."""
    model = Transformer(config.model)
    load_strict(model, read_tensors(folder / MODEL_FILE), folder / MODEL_FILE)
    return model.eval().requires_grad_(False)


def save_module(module: nn.Module, path: Path) -> None:
    """Write a module's parameters as float16 by temp name and rename."""
    tensors = {name: p.detach().to("cpu", torch.float16).contiguous() for name, p in module.named_parameters()}
    temporary = path.with_name(path.name + ".tmp")
    save_file(tensors, temporary)
    temporary.chmod(0o644)  # the library makes files that only their owner may read
    os.replace(temporary, path)


def save_config(config: WorldConfig, folder: Path) -> None:
    """Write config.json by temp name and rename."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (CONFIG_FILE + ".tmp")
    temporary.write_text(json.dumps(to_dict(config), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / CONFIG_FILE)


def verify_folder(folder: Path) -> list[str]:
    """Load everything strictly and return one line per file: name, tensors, parameters, megabytes."""
    config = load_world_config(folder)
    lines = [f"{CONFIG_FILE}: {config.title}, {config.width}x{config.height} at {config.fps} fps"]
    for name, module in ((MODEL_FILE, load_model(folder, config)), (CODEC_FILE, load_codec(folder, config))):
        parameters = [p.numel() for p in module.parameters()]
        size_mb = (folder / name).stat().st_size / 1e6
        lines.append(f"{name}: {len(parameters)} tensors, {sum(parameters) / 1e6:.2f} M parameters, {size_mb:.1f} MB")
    return lines
