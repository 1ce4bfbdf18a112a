"""Weights on disk: strict safetensors load and save, always beside the config that they belong to.

A world is a folder: config.json, model.safetensors (the transformer), codec.safetensors (the autoencoder), and, where
the config has one, preview.safetensors (a cheaper autoencoder of the same latents). Files hold half precision, some
parts of a codec bytes (eight_bits.py), or what the published weights hold, and are read as float32. A file that is too
large to travel may be cut into shards with an index beside them, NAME-00001-of-00002.safetensors and
NAME.safetensors.index.json, as the Hugging Face libraries do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..codec.mini import MiniCodec
from ..codec.streaming import Codec
from ..codec.taehv import TAEHV
from ..codec.wan_vae import WanVAE
from ..config import CodecConfig, WorldConfig, load_world_config, to_dict
from ..errors import WeightsError
from ..paths import (
    CODEC_FILE,
    CONFIG_FILE,
    INDEX_SUFFIX,
    MODEL_FILE,
    PREVIEW_FILE,
    TEXT_FOLDER,
    incomplete_sentence,
)
from .eight_bits import STEP_SUFFIX, pack, unpack
from .transformer import Transformer

HEADER_BYTES = 1 << 18  # of a shard, left free for the names and shapes in its header
MAX_NAMES_SHOWN = 4
LINE_WIDTH = 120  # characters of a value in a config file, beyond which it takes several lines

CODECS: dict[str, type[MiniCodec | WanVAE | TAEHV]] = {"mini": MiniCodec, "wan_vae": WanVAE, "taehv": TAEHV}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file or its shards; WeightsError says whether it is missing or damaged."""
    index = path.with_name(path.name + INDEX_SUFFIX)
    is_cut = not path.is_file() and index.is_file()
    return unpack(_read_shards(index) if is_cut else _read_file(path), path)


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; a world folder holds {CONFIG_FILE}, {MODEL_FILE} and {CODEC_FILE}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise WeightsError(f"{path} ({size} bytes) is not a whole safetensors file ({error}); "
                           "copy or download it again") from None


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        shard_of = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index} is not an index of shards ({error!r}); copy or download it again") from None
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(shard_of.values())):
        if Path(name).name != name:
            raise WeightsError(f"{index} points to {name!r}, which is not a file beside it")
        tensors |= _read_file(index.with_name(name))
    if tensors.keys() != shard_of.keys():
        raise WeightsError(f"the shards of {index} hold other tensors than it lists; copy or download all of them "
                           "again")
    return tensors


def write_shards(path: Path, out: Path, max_bytes: int) -> list[Path]:
    """Copy a safetensors file into the folder `out`, cut into shards with an index if it is larger than `max_bytes`.

    They take the place of what `out` held under that name, whole or cut. Returns the files written. WeightsError if a
    single tensor is larger than that.
    """
    if path.stat().st_size <= max_bytes:
        return copy_weights(path, out)
    shards: list[dict[str, Tensor]] = [{}]
    room = limit = max_bytes - HEADER_BYTES
    for name, tensor in load_file(path).items():
        if tensor.nbytes > limit:
            raise WeightsError(f"{path}: the tensor {name} alone is larger than a shard of {max_bytes} bytes")
        if tensor.nbytes > room:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= tensor.nbytes
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{path.stem}-{number:05d}-of-{len(shards):05d}.safetensors"
             for number in range(1, len(shards) + 1)]
    for file, tensors in zip(files, shards, strict=True):
        _put(file, lambda temporary, own=tensors: save_file(own, temporary, {"format": "pt"}))
    index = out / (path.name + INDEX_SUFFIX)
    content = json.dumps({
        "metadata": {"total_size": sum(t.nbytes for tensors in shards for t in tensors.values())},
        "weight_map": {name: file.name for file, tensors in zip(files, shards, strict=True) for name in tensors},
    }, indent=1)
    _put(index, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    _remove_others(path.name, [*files, index])
    return [*files, index]


def copy_weights(path: Path, out: Path) -> list[Path]:
    """Copy a safetensors file, or the shards that stand for it, into the folder `out` in place of what is there; return
    the files written."""
    sources = files_of(path)
    if not path.is_file():
        sources.append(path.with_name(path.name + INDEX_SUFFIX))
    if not all(source.is_file() for source in sources):
        raise WeightsError(f"{path} does not exist; a world folder holds {CONFIG_FILE}, {MODEL_FILE} and {CODEC_FILE}")
    out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        _put(out / source.name, lambda temporary, source=source: shutil.copyfile(source, temporary))
    _remove_others(path.name, [out / source.name for source in sources])
    return [out / source.name for source in sources]


def _put(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write a file under a temporary name, and rename it: a killed run leaves the previous one whole."""
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    temporary.chmod(0o644)  # the library makes files that only their owner may read
    os.replace(temporary, path)


def _remove_others(name: str, kept: list[Path]) -> None:
    """Remove from the folder of `kept` what stood for the file `name` before: a whole file would be read instead of
    shards, and old shards be taken for some of the new."""
    folder, stem = kept[0].parent, Path(name).stem
    for path in (folder / name, folder / (name + INDEX_SUFFIX), *folder.glob(f"{stem}-*-of-*.safetensors")):
        if path not in kept:
            path.unlink(missing_ok=True)


def load_strict(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy tensors into a module's parameters; every key and shape must match, or WeightsError lists what does not."""
    check_tensors(module, tensors, source)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[name])


def check_tensors(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Raise the WeightsError that says how tensors differ from a module's parameters, or which are not numbers."""
    faults = name_faults({name: tuple(p.shape) for name, p in module.named_parameters()}, tensors)
    if faults:
        raise WeightsError(f"{source} does not fit its config: tensors {faults}; "
                           "use the config.json that came with these weights")
    not_finite = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if not_finite:
        raise WeightsError(f"{source} holds values that are not numbers in {some_names(sorted(not_finite))}; "
                           "the file is damaged or its training diverged")


def name_faults(expected: dict[str, tuple[int, ...]], tensors: dict[str, Tensor]) -> str:
    """Return in words how tensors differ from the expected names and shapes; "" if they do not."""
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    wrong = [f"{n} is {list(found[n])}, not {list(expected[n])}" for n in sorted(expected.keys() & found.keys())
             if expected[n] != found[n]]
    return ", ".join(f"{len(names)} {what} ({some_names(names)})" for what, names in
                     (("missing", missing), ("not known", extra), ("of another shape", wrong)) if names)


def some_names(names: list[str]) -> str:
    """Return the first names of a list, for a sentence about them."""
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    return shown + (", ..." if len(names) > MAX_NAMES_SHOWN else "")


def load_codec(folder: Path, config: WorldConfig) -> Codec:
    """Build the autoencoder of a world folder, in eval mode, float32."""
    return _read_codec(config.codec, folder / CODEC_FILE)


def load_preview_codec(folder: Path, config: WorldConfig) -> Codec | None:
    """Build the cheaper autoencoder that decodes the same latents, as `load_codec`; None if the world has none."""
    return _read_codec(config.preview_codec, folder / PREVIEW_FILE) if config.preview_codec else None


def _read_codec(config: CodecConfig, path: Path) -> Codec:
    codec = CODECS[config.kind](config)
    load_strict(codec, read_tensors(path), path)
    return codec.eval().requires_grad_(False)


def load_model(folder: Path, config: WorldConfig, dtype: torch.dtype | None = torch.float32) -> Transformer:
    """Build the transformer of a world folder, in eval mode.

    dtype: of its parameters; None, for published networks only, leaves them as the file has them, mapped from it.
    """
    if config.model.history == "framepack":
        return _load_large_model(folder, config, dtype)
    model = Transformer(config.model)
    load_strict(model, read_tensors(folder / MODEL_FILE), folder / MODEL_FILE)
    return model.eval().requires_grad_(False)


def _load_large_model(folder: Path, config: WorldConfig, dtype: torch.dtype | None) -> Transformer:
    """Load without drawing random weights first and with no second copy in memory: every parameter is put in place by
    itself, and its source, a piece of the mapped file, may be given up."""
    with torch.device("meta"):
        model = Transformer(config.model)
    tensors = read_tensors(folder / MODEL_FILE)
    check_tensors(model, tensors, folder / MODEL_FILE)
    for name, _ in list(model.named_parameters()):
        owner, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(owner), own_name,
                nn.Parameter(tensors.pop(name).to(dtype=dtype), requires_grad=False))
    return model.eval()


def save_module(module: nn.Module, path: Path) -> None:
    """Write a module's parameters as float16 by temp name and rename; of its parts `IN_BYTES` the filters in bytes."""
    in_bytes, tensors = tuple(f"{part}." for part in getattr(module, "IN_BYTES", ())), {}
    for name, parameter in module.named_parameters():
        if name.startswith(in_bytes) and parameter.ndim > 1:
            tensors[name], tensors[name + STEP_SUFFIX] = pack(parameter)
        else:
            tensors[name] = parameter.detach().to("cpu", torch.float16).contiguous()
    _put(path, lambda temporary: save_file(tensors, temporary))


def save_config(config: WorldConfig, folder: Path) -> None:
    """Write config.json by temp name and rename."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (CONFIG_FILE + ".tmp")
    temporary.write_text(readable_json(to_dict(config)) + "\n", encoding="utf-8")
    os.replace(temporary, folder / CONFIG_FILE)


def readable_json(value: Any, indent: str = "") -> str:
    """Plain values as JSON; one that fits in a line stands in one, of all others each entry begins its own."""
    text, deeper = json.dumps(value), indent + " "
    if len(text) <= LINE_WIDTH or not isinstance(value, list | dict):
        return text
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {readable_json(own, deeper)}" for key, own in value.items()]
    else:
        entries = [readable_json(own, deeper) for own in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + ",".join(f"\n{deeper}{entry}" for entry in entries) + f"\n{indent}{closing}"


def verify_folder(folder: Path) -> list[str]:
    """Load everything strictly, one part after the other, and return a line for each: name, tensors, parameters,
    megabytes. WeightsError for a part that is damaged, or for the parts that a published world still lacks."""
    config = load_world_config(folder)
    lines = [f"{CONFIG_FILE}: {config.title}, {config.width}x{config.height} at {config.fps} fps"]
    sentence = incomplete_sentence(folder, config)
    if sentence:
        raise WeightsError(sentence)
    mapped = None if config.model.history == "framepack" else torch.float32
    loaders = {MODEL_FILE: lambda: load_model(folder, config, mapped), CODEC_FILE: lambda: load_codec(folder, config),
               PREVIEW_FILE: lambda: load_preview_codec(folder, config)}
    for name, load in loaders.items():
        module = load()
        if module is None:
            continue
        parameters = [p.numel() for p in module.parameters()]
        del module
        size_mb = sum(path.stat().st_size for path in files_of(folder / name)) / 1e6
        lines.append(f"{name}: {len(parameters)} tensors, {sum(parameters) / 1e6:.2f} M parameters, {size_mb:.1f} MB")
    if config.model.text_dim:
        from .text_files import verify_text_encoder

        lines.append(verify_text_encoder(folder / TEXT_FOLDER))
    return lines


def files_of(path: Path) -> list[Path]:
    """Return a safetensors file, or the shards that stand for it."""
    return [path] if path.is_file() else sorted(path.parent.glob(f"{path.stem}-*-of-*.safetensors"))
