"""Published autoencoder files -> the safetensors file of a world: the Wan 2.1 VAE in either layout, and TAEHV.

Values and their precision stay as published; only the names become those of `codec.wan_vae` (`codec.taehv` has the
published ones). Every tensor is checked by key and shape before anything is written, and a file of another network is
called by its name.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..codec import taehv, wan_vae
from ..codec.taehv import GROW_INDICES, TAEHV
from ..codec.wan_vae import DECODER_BLOCKS, WanVAE
from ..config import CodecConfig
from ..contradictions import WAN_LATENTS
from ..errors import WeightsError
from .checkpoint import name_faults, read_tensors

VAE_FILES = ("Wan2.1_VAE.pth", "vae/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors")
TAEHV_FILES = ("taew2_1.safetensors", "taew2_1.pth", "safetensors/taew2_1.safetensors")

# What a file is that somebody took for another: a key that only such a file has, and its name. The first hit counts.
KNOWN_BY_KEY = (
    ("pytorch-lightning_version", "a Lightning training checkpoint"),
    ("blocks.0.self_attn.q.weight", "a Wan diffusion transformer"),
    ("blocks.0.attn1.to_q.weight", "a Wan diffusion transformer in the diffusers layout"),
    ("token_embedding.weight", "a UMT5 text encoder"),
    ("shared.weight", "a T5 text encoder in the transformers layout"),
    ("encoder.downsamples.0.downsamples.0.residual.0.gamma", "the VAE of Wan 2.2, which makes other latents"),
    ("encoder.down_blocks.0.resnets.0.norm1.gamma", "the VAE of Wan 2.2, which makes other latents"),
    ("encoder.downsamples.0.residual.0.gamma", "a Wan 2.1 VAE"),
    ("encoder.down_blocks.0.norm1.gamma", "a Wan 2.1 VAE in the diffusers layout"),
    ("decoder.3.conv.0.weight", "a TAEHV"),
    ("encoder.down_blocks.0.resnets.0.conv1.weight", "an image VAE"),
)

# Our names -> the original file's, one substitution after the other.
ORIGINAL_RULES = (
    (r"^to_moments\.", "conv1."),
    (r"^from_latents\.", "conv2."),
    (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
    (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
    (r"^encoder\.stages\.", "encoder.downsamples."),
    (r"^decoder\.stages\.", "decoder.upsamples."),
    (r"\.norm_in\.", ".residual.0."),
    (r"\.conv_in\.", ".residual.2."),
    (r"\.norm_out\.", ".residual.3."),
    (r"\.conv_out\.", ".residual.6."),
    (r"\.conv\.", ".resample.1."),
)
DIFFUSERS_RULES = (
    (r"^to_moments\.", "quant_conv."),
    (r"^from_latents\.", "post_quant_conv."),
    (r"(\.\d+)\.norm_in\.", r"\1.norm1."),
    (r"(\.\d+)\.conv_in\.", r"\1.conv1."),
    (r"(\.\d+)\.norm_out\.", r"\1.norm2."),
    (r"(\.\d+)\.conv_out\.", r"\1.conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"(\.\d+)\.conv\.", r"\1.resample.1."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"^encoder\.stages\.", "encoder.down_blocks."),
    (r"^decoder\.stages\.(\d+)\.", lambda match: _up_block(int(match.group(1)))),
)


def _up_block(stage: int) -> str:
    level, number = divmod(stage, DECODER_BLOCKS + 1)
    inner = f"resnets.{number}" if number < DECODER_BLOCKS else "upsamplers.0"
    return f"decoder.up_blocks.{level}.{inner}."


def original_name(name: str) -> str:
    """Return the name that one of our VAE's parameters has in Wan2.1_VAE.pth."""
    return _substitute(name, ORIGINAL_RULES)


def diffusers_name(name: str) -> str:
    """Return the name that one of our VAE's parameters has in the diffusers library."""
    return _substitute(name, DIFFUSERS_RULES)


def _substitute(name: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def import_wan_vae(source: Path, out: Path, config: CodecConfig | None = None) -> CodecConfig:
    """Write the Wan 2.1 VAE of `source` to the safetensors file `out` and return the config that it needs.

    source: Wan2.1_VAE.pth (flat or wrapped in "model_state"), the safetensors of the diffusers layout, or a folder that
    holds one of them. `config` None means the width that the file has. WeightsError names what is not as it must be.
    """
    path = find_file(source, VAE_FILES)
    tensors = read_published(path)
    names = diffusers_name if diffusers_name("encoder.conv_in.weight") in tensors else original_name
    config = config or _config_of(tensors.get(names("encoder.conv_in.weight")), "wan_vae")
    _import(path, out, WanVAE, config, tensors, names)
    return config


def import_taehv(source: Path, out: Path, config: CodecConfig | None = None) -> CodecConfig:
    """Write the TAEHV of `source` (taew2_1.pth or .safetensors, or their folder) to the safetensors file `out`.

    Returns the config that it needs; `config` None means the width that the file has. WeightsError names what is not as
    it must be.
    """
    path = find_file(source, TAEHV_FILES)
    tensors = read_published(path)
    config = config or _config_of(tensors.get("encoder.0.weight"), "taehv")
    _import(path, out, TAEHV, config, keep_last_steps(tensors, config), lambda name: name)
    return config


def keep_last_steps(tensors: dict[str, Tensor], config: CodecConfig) -> dict[str, Tensor]:
    """Cut time-growing layers that were stored for more steps than they make here to their last output channels."""
    with torch.device("meta"):
        wanted = dict(TAEHV(config).named_parameters())
    tensors = dict(tensors)
    for name in (f"decoder.{index}.conv.weight" for index in GROW_INDICES):
        stored = tensors.get(name)
        if stored is not None and stored.ndim == 4 and len(stored) > len(wanted[name]):
            tensors[name] = stored[-len(wanted[name]):].clone()  # a view would be refused by the file format
    return tensors


def find_file(source: Path, names: tuple[str, ...]) -> Path:
    """Return `source` if it is a file, or the first of `names` in the folder that it is."""
    if not source.is_dir():
        return source
    found = [source / name for name in names if (source / name).is_file()]
    if not found:
        raise WeightsError(f"{source} holds none of {', '.join(names)}; give the file itself, or the folder that "
                           "the weights were downloaded to")
    return found[0]


def read_published(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors or a torch file (flat, or wrapped in "model_state"), weights only.

    Nothing of the file is run, and a torch file (but one in its oldest format) is mapped rather than read.
    WeightsError says what else it is.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the path")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise WeightsError(f"{path} ({path.stat().st_size} bytes) is not a whole torch file of nothing but weights "
                           f"({reason}); copy or download it again") from None
    if isinstance(content, dict) and isinstance(content.get("model_state"), dict):
        content = content["model_state"]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no named tensors but a {type(content).__name__}; give the published file")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        what = kind_of(content)
        raise WeightsError(f"{path} is {what}, not a plain file of weights; give the published file" if what else
                           f"{path} holds more than tensors ({', '.join(others[:4])}); give the published file")
    return content


def kind_of(names: dict) -> str:
    """Return what a file with these tensors is, in words, or "" for none that is known."""
    return next((name for key, name in KNOWN_BY_KEY if key in names), "")


def _config_of(first: Tensor | None, kind: Literal["wan_vae", "taehv"]) -> CodecConfig:
    """Return the config of an autoencoder by its first convolution, which is as wide as its finest level.

    A file without one gets the published width, so that what it lacks is found when its tensors are checked.
    """
    channels, spatial, frames = WAN_LATENTS
    published = {"wan_vae": wan_vae.PUBLISHED_WIDTH, "taehv": taehv.PUBLISHED_WIDTH}[kind]
    width = len(first) if first is not None and first.ndim > 1 else published
    return CodecConfig(kind=kind, latent_channels=channels, spatial_compression=spatial, frames_per_latent=frames,
                       base_width=0 if width == published else width)


def _import(path: Path, out: Path, codec_class: type[nn.Module], config: CodecConfig, tensors: dict[str, Tensor],
            published_name: Callable[[str], str]) -> None:
    """Check `tensors` (by their published names) against the codec and write them under its own names."""
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in codec_class(config).named_parameters()}
    theirs = {published_name(name): name for name in shapes}
    wanted, what = kind_of(theirs), kind_of(tensors)
    if what and what != wanted:
        raise WeightsError(f"{path} is {what}, not {wanted}; give the published file")
    faults = name_faults({name: shapes[own] for name, own in theirs.items()}, tensors)
    if faults:
        raise WeightsError(f"{path} is not {wanted} as published: tensors {faults}; give the published file")
    not_finite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not_finite:
        raise WeightsError(f"{path} holds values that are not numbers in {not_finite[0]}; download it again")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    try:
        save_file({theirs[name]: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        temporary.chmod(0o644)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
