"""Files as others publish them: open one without running it, and say by name what it is when it is not Astra.

A checkpoint is torch.save's zip (opened with weights_only, mapped instead of read), a safetensors file, or a folder
with either, in shards with an index or whole. What comes out is a flat dict of tensors that still lie on the disk.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError

ENDINGS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
TAKE_ANOTHER = "give Astra's diffusion_pytorch_model.ckpt"
MAGIC_BYTES = {
    b"version https://git-lfs": "a Git LFS pointer and not the file itself; fetch it with: git lfs pull",
    b"GGUF": f"a GGUF file of quantised weights; {TAKE_ANOTHER}",
    b"<!DOCTYPE": "a web page and not weights; download the file itself",
    b"<html": "a web page and not weights; download the file itself",
}


def open_published(path: Path) -> dict[str, Tensor]:
    """Return the flat dict of tensors of a published file or folder; WeightsError says in one sentence what is wrong.

    Tensors are mapped from the file and read when they are used.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; {TAKE_ANOTHER}")
    with path.open("rb") as file:
        start = file.read(64)
    for magic, sentence in MAGIC_BYTES.items():
        if start.startswith(magic):
            raise WeightsError(f"{path} is {sentence}")
    if start.startswith(b"PK"):
        return _flat(_open_zip(path), path)
    if start[8:9] == b"{":
        return _open_safetensors(path)
    if start[:1] == b"\x80":
        raise WeightsError(f"{path} is a pickle of an old kind, which can only be read whole; "
                           f"save it once more with a current torch.save, or {TAKE_ANOTHER}")
    raise WeightsError(f"{path} ({path.stat().st_size} bytes) is neither a torch checkpoint nor a safetensors file; "
                       f"{TAKE_ANOTHER}")


def _open_folder(folder: Path) -> dict[str, Tensor]:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        try:
            names = set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            raise WeightsError(f"{indices[0]} is not an index of shards; download it again") from None
        tensors: dict[str, Tensor] = {}
        for name in sorted(names):
            tensors |= open_published(folder / Path(name).name)
        return tensors
    files = [path for path in sorted(folder.iterdir()) if path.suffix in ENDINGS and path.is_file()]
    if len(files) != 1:
        found = ", ".join(path.name for path in files[:4]) or "none"
        raise WeightsError(f"{folder} must hold one checkpoint, but holds {len(files)} ({found}); give the file itself")
    return open_published(files[0])


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file ({error}); "
                           "download it again") from None


def _open_zip(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise WeightsError(f"{path} holds more than tensors, and opening it would run its code; save its state dict "
                           f"alone, or {TAKE_ANOTHER}") from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} ({path.stat().st_size} bytes) is not a whole checkpoint ({reason}); "
                           "download it again") from None


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no dictionary of tensors but {type(content).__name__}; {TAKE_ANOTHER}")
    if isinstance(content.get("state_dict"), dict):
        raise WeightsError(f"{path} is a Lightning checkpoint (its tensors lie under \"state_dict\"); save its "
                           "network's state dict alone, without the prefix \"pipe.dit.\"")
    for name in ("generator_ema", "generator"):
        if isinstance(content.get(name), dict):
            raise WeightsError(f"{path} is a checkpoint of the Self-Forcing family (a dictionary \"{name}\") and not "
                               f"Astra's; {TAKE_ANOTHER}")
    foreign = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise WeightsError(f"{path} holds more than tensors (first: {foreign[0]}), so it is a training state; save its "
                           f"network's state dict alone, or {TAKE_ANOTHER}")
    return content


# --- what else a file may be ----------------------------------------------------------------------------------------

Names = set[str]


def _some(part: str) -> Callable[[Names], bool]:
    return lambda names: any(part in name for name in names)


def _all(*wanted: str) -> Callable[[Names], bool]:
    return lambda names: names >= set(wanted)


FOREIGN: tuple[tuple[Callable[[Names], bool], str], ...] = (
    (_some("pipe.dit."), "a Lightning checkpoint (its tensors carry the prefix \"pipe.dit.\"); strip the prefix and "
                         "save the state dict alone"),
    (_some("lora_"), f"a LoRA, a small change to a network and not the network; {TAKE_ANOTHER}"),
    (_some(".lora."), f"a LoRA, a small change to a network and not the network; {TAKE_ANOTHER}"),
    (_some(".attention.qkv."), "a world of this player already; put its folder into weights/"),
    (_some("img_emb."), f"a Wan image-to-video network without Astra's parts; {TAKE_ANOTHER}"),
    (_some("vace_blocks."), f"a Wan VACE network without Astra's parts; {TAKE_ANOTHER}"),
    (_all("token_embedding.weight", "blocks.0.attn.q.weight"),
     f"the UMT5 text encoder of Wan; {TAKE_ANOTHER} here and the folder of Wan with --wan"),
    (_all("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
     f"a T5 text encoder; {TAKE_ANOTHER} here and the folder of Wan with --wan"),
    (_all("encoder.conv1.weight", "decoder.conv1.weight"),
     f"the VAE of Wan; {TAKE_ANOTHER} here and the folder of Wan with --wan"),
    (_all("encoder.conv_in.weight", "decoder.conv_in.weight"),
     f"a VAE; {TAKE_ANOTHER} here and the folder of Wan with --wan"),
    (_all("decoder.1.weight", "encoder.0.weight"), f"a tiny autoencoder (TAEHV) and not a diffusion network; "
                                                   f"{TAKE_ANOTHER}"),
    (_some("model.diffusion_model."), f"a checkpoint of the Stable Diffusion or ComfyUI kind and not Astra's; "
                                      f"{TAKE_ANOTHER}"),
    (lambda names: "patch_embedding.weight" in names and not any(n.startswith("clean_x_embedder.") for n in names),
     f"a plain Wan network without Astra's parts; {TAKE_ANOTHER} here and the folder of Wan with --wan"),
)


def refuse_foreign(names: Names, path: Path) -> None:
    """Raise the WeightsError that names what `path` is, if its tensors' names are not those of an Astra network."""
    for knows, sentence in FOREIGN:
        if knows(names):
            raise WeightsError(f"{path} is {sentence}")
    if "patch_embedding.weight" not in names:
        shown = ", ".join(sorted(names)[:3])
        raise WeightsError(f"{path} is a network that this player does not know (its tensors begin with {shown}); "
                           f"{TAKE_ANOTHER}")
