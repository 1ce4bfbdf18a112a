"""Files of the UMT5 text encoder: found, checked by name and shape, read tensor by tensor, imported into safetensors.

Read here: the published `models_t5_umt5-xxl-enc-bf16.pth` with the tokenizer beside it, a folder of the transformers
library, and what `import_text_encoder` wrote. Nothing is held in memory but the tensor at hand: a .pth file is mapped,
not loaded, and only its tensors are unpickled (weights_only).
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import WeightsError
from ..paths import CONFIG_FILE, INDEX_SUFFIX, MODEL_FILE, TEXT_FACTS_FILE

PUBLISHED_FILE, PUBLISHED_TOKENIZER = "models_t5_umt5-xxl-enc-bf16.pth", Path("google/umt5-xxl")
TOKENIZER_FILE, INDEX_FILE, FACTS_FILE = "tokenizer.json", MODEL_FILE + INDEX_SUFFIX, TEXT_FACTS_FILE
MAX_SHARD_BYTES = 2 << 30  # one tensor, the embedding, is larger and makes a shard of its own
SAMPLE_SIZE = 64  # values of every tensor that go into the fingerprint
MAX_DISTANCE = 128  # of two tokens, beyond which their distance makes no difference

# transformers' name of each tensor of a block -> the published one
BLOCK_NAMES = {
    **{f"layer.0.SelfAttention.{part}": f"attn.{part}" for part in "qkvo"},
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.0.layer_norm": "norm1", "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0", "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}
EMBEDDING, FINAL_NORM = "shared.weight", "encoder.final_layer_norm.weight"
PUBLISHED_NAMES = {"token_embedding.weight": EMBEDDING, "norm.weight": FINAL_NORM}
# the other half of a whole UMT5, and a second name of the embedding
NOT_NEEDED = re.compile(r"decoder\.|lm_head\.|encoder\.embed_tokens\.weight$")


@dataclass(frozen=True)
class EncoderSize:
    """What the shapes of the tensors say about the network."""

    vocabulary: int
    width: int
    heads: int
    head_width: int
    hidden: int
    layers: int
    buckets: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor that such a network has, under transformers' names."""
        inner, outer = (self.heads * self.head_width, self.width), (self.width, self.heads * self.head_width)
        block = {"layer.0.SelfAttention.q": inner, "layer.0.SelfAttention.k": inner, "layer.0.SelfAttention.v": inner,
                 "layer.0.SelfAttention.o": outer,
                 "layer.0.SelfAttention.relative_attention_bias": (self.buckets, self.heads),
                 "layer.0.layer_norm": (self.width,), "layer.1.layer_norm": (self.width,),
                 "layer.1.DenseReluDense.wi_0": (self.hidden, self.width),
                 "layer.1.DenseReluDense.wi_1": (self.hidden, self.width),
                 "layer.1.DenseReluDense.wo": (self.width, self.hidden)}
        shapes = {EMBEDDING: (self.vocabulary, self.width), FINAL_NORM: (self.width,)}
        for layer in range(self.layers):
            shapes |= {f"encoder.block.{layer}.{name}.weight": shape for name, shape in block.items()}
        return shapes

    def config(self) -> dict[str, object]:
        """Return the values of the transformers library's UMT5 configuration."""
        return {"model_type": "umt5", "architectures": ["UMT5EncoderModel"], "vocab_size": self.vocabulary,
                "d_model": self.width, "d_kv": self.head_width, "d_ff": self.hidden, "num_layers": self.layers,
                "num_heads": self.heads, "relative_attention_num_buckets": self.buckets,
                "relative_attention_max_distance": MAX_DISTANCE, "feed_forward_proj": "gated-gelu",
                "layer_norm_epsilon": 1e-6, "dropout_rate": 0.0, "pad_token_id": 0, "eos_token_id": 1}


class EncoderFiles:
    """The tensors of one text encoder under transformers' names, and its tokenizer; `path` as for `find`.

    WeightsError if the files are missing, damaged, or belong to another network.
    """

    def __init__(self, path: Path) -> None:
        self.weights, self.tokenizer = find(path)
        self._readers = dict(_published_tensors(self.weights) if self.weights.is_file()
                             else _folder_tensors(self.weights))
        found = {name: shape for name, (shape, _) in self._readers.items()}
        self.size = _size_of(found, self.weights)
        _check(found, self.size.shapes(), self.weights)

    @property
    def num_parameters(self) -> int:
        return sum(torch.Size(shape).numel() for shape, _ in self._readers.values())

    @property
    def num_bytes(self) -> int:
        """Size in bfloat16."""
        return 2 * self.num_parameters

    def is_mapped(self, dtype: torch.dtype) -> bool:
        """Tell whether every tensor is used as it lies in the file, without a copy in memory."""
        return all(read().dtype == dtype for _, read in self._readers.values())

    def names(self) -> list[str]:
        """Return the names in an order that depends on nothing but the network's size."""
        return list(self.size.shapes())

    def read(self, name: str) -> Tensor:
        """Return one tensor in bfloat16; WeightsError if it holds what is no number."""
        tensor = self._readers[name][1]().to(torch.bfloat16)
        # both ends carry a NaN along; a mask of all values would take the memory of the tensor and 50 times as long
        if not all(end.isfinite() for end in torch.aminmax(tensor)):
            raise WeightsError(f"{self.weights} holds values that are not numbers in {name}; download it again")
        return tensor

    def fingerprint(self) -> str:
        """Return a hash of the tokenizer and of names, shapes and samples of the tensors; an import does not change it.
        """
        digest = hashlib.sha256(self.tokenizer.read_bytes())
        for name in self.names():
            shape, read = self._readers[name]
            sample = read().reshape(-1)[:: max(1, torch.Size(shape).numel() // SAMPLE_SIZE)][:SAMPLE_SIZE]
            digest.update(f"{name}{shape}".encode())
            digest.update(sample.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
        return digest.hexdigest()


Reader = tuple[tuple[int, ...], Callable[[], Tensor]]  # shape, and how to read the tensor


def find(path: Path) -> tuple[Path, Path]:
    """Return the weights (a .pth file or a folder of safetensors) and the tokenizer file.

    `path` is that file, that folder, or the folder above: a download of Wan 2.1 in its own or the diffusers layout.
    """
    if path.is_dir() and (path / PUBLISHED_FILE).is_file():
        path = path / PUBLISHED_FILE
    elif path.is_dir() and (path / "text_encoder").is_dir():
        path = path / "text_encoder"
    if not path.is_file() and not list(path.glob("model*.safetensors")):
        raise WeightsError(f"{path} holds no text encoder; give a folder with {PUBLISHED_FILE}, or a transformers "
                           "folder with model.safetensors, such as weights fetch downloads")
    for folder in (path, path.parent / "tokenizer", path.parent / PUBLISHED_TOKENIZER, path.parent):
        if (folder / TOKENIZER_FILE).is_file():
            return path, folder / TOKENIZER_FILE
    raise WeightsError(f"the text encoder {path} comes without its tokenizer; put {PUBLISHED_TOKENIZER}/"
                       f"{TOKENIZER_FILE} of Wan-AI/Wan2.1-T2V-1.3B beside it")


def _published_tensors(path: Path) -> Iterator[tuple[str, Reader]]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path} ({path.stat().st_size} bytes) is not a whole file of tensors "
                           f"({str(error).splitlines()[0][:100]}); download it again") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise WeightsError(f"{path} is not a flat file of tensors, so no text encoder; give {PUBLISHED_FILE}")
    for name, tensor in tensors.items():
        yield _our_name(name), (tuple(tensor.shape), lambda tensor=tensor: tensor)


def _our_name(name: str) -> str:
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)
    if match:
        for ours, published in BLOCK_NAMES.items():
            if published == match[2]:
                return f"encoder.block.{match[1]}.{ours}.weight"
    return PUBLISHED_NAMES.get(name, name)


def _folder_tensors(folder: Path) -> Iterator[tuple[str, Reader]]:
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file ({error}); "
                               "copy or download it again") from None
        for name, shape in shapes.items():
            if not NOT_NEEDED.match(name):
                yield name, (shape, lambda path=path, name=name: _tensor_of(path, name))


def _tensor_of(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def _size_of(shapes: dict[str, tuple[int, ...]], path: Path) -> EncoderSize:
    block = "encoder.block.0.layer.{}.weight"
    layers = {int(match[1]) for name in shapes if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    try:
        vocabulary, width = shapes[EMBEDDING]
        buckets, heads = shapes[block.format("0.SelfAttention.relative_attention_bias")]
        inner, hidden = (shapes[block.format(name)][0] for name in ("0.SelfAttention.q", "1.DenseReluDense.wi_1"))
    except (KeyError, ValueError):
        some = ", ".join(sorted(shapes)[:3]) or "nothing"
        raise WeightsError(f"{path} is not a UMT5 text encoder (it holds {some}); give {PUBLISHED_FILE} or a "
                           "transformers folder of UMT5") from None
    return EncoderSize(vocabulary, width, heads, inner // heads, hidden, max(layers) + 1, buckets)


def _check(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], path: Path) -> None:
    """Raise WeightsError that counts and names what is missing, unknown or of another shape."""
    groups = {"missing": expected.keys() - found.keys(), "not known": found.keys() - expected.keys(),
              "of another shape": {n for n in expected.keys() & found.keys() if expected[n] != found[n]}}
    faults = [f"{len(names)} {what} ({', '.join(sorted(names)[:3])})" for what, names in groups.items() if names]
    if faults:
        raise WeightsError(f"{path} is not a whole UMT5 text encoder: tensors {', '.join(faults)}; download it again")


# --- import ---------------------------------------------------------------------------------------------------------

def import_text_encoder(source: Path, out: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> Path:
    """Write a text encoder as a transformers folder of bfloat16 safetensors, tokenizer included, and return `out`.

    A copy, rather than a pointer to the source: a world folder stays whole when it is moved, and every later load reads
    one format that was checked once, value by value. Memory holds one shard. A broken run goes on where it ended; the
    file text.json is written last, so a folder that has it is whole.
    """
    files = EncoderFiles(source)
    fingerprint, shards = files.fingerprint(), list(_shards(files, max_shard_bytes))
    paths = [out / f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    started = out / (FACTS_FILE + ".started")
    if out.resolve() == files.weights.resolve():
        raise WeightsError(f"{out} is the text encoder that was to be imported; give another folder to write to")
    if read_facts(out).get("fingerprint") == fingerprint and all(path.is_file() for path in paths):
        return out
    out.mkdir(parents=True, exist_ok=True)
    if not started.is_file() or started.read_text(encoding="utf-8") != fingerprint:
        for stale in (*out.glob("model*.safetensors*"), out / FACTS_FILE):  # of another encoder: never mix them
            stale.unlink(missing_ok=True)
        started.write_text(fingerprint, encoding="utf-8")
    _check_room(out, [shard for shard, path in zip(shards, paths, strict=True) if not path.is_file()], files)
    for shard, path in zip(tqdm(shards, desc="text encoder", unit="shard"), paths, strict=True):
        if not path.is_file():
            _write_shard(files, shard, path)
    _write_json(out / INDEX_FILE, {"metadata": {"total_size": files.num_bytes}, "weight_map": {
        name: path.name for shard, path in zip(shards, paths, strict=True) for name in shard}})
    _write_json(out / CONFIG_FILE, files.size.config())
    shutil.copyfile(files.tokenizer, out / TOKENIZER_FILE)
    _write_json(out / FACTS_FILE, {"fingerprint": fingerprint, "width": files.size.width})
    started.unlink()
    return out


def verify_text_encoder(path: Path) -> str:
    """Read every value and return one line: tensors, parameters, megabytes. WeightsError if something is wrong.

    An imported encoder must also be the one that its text.json says it is.
    """
    files = EncoderFiles(path)
    for name in files.names():
        files.read(name)
    if read_facts(path).get("fingerprint", files.fingerprint()) != files.fingerprint():
        raise WeightsError(f"{path} holds another text encoder than its {FACTS_FILE} says; import it again")
    return (f"{path.name}: {len(files.names())} tensors, {files.num_parameters / 1e6:.2f} M parameters, "
            f"{files.num_bytes / 1e6:.1f} MB")


def read_facts(folder: Path) -> dict[str, object]:
    """Return what an import wrote down about the encoder in a folder; empty if none did or the file is damaged."""
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _shards(files: EncoderFiles, max_bytes: int) -> Iterator[list[str]]:
    shard, room = [], max_bytes
    for name, shape in files.size.shapes().items():
        size = 2 * torch.Size(shape).numel()
        if shard and size > room:
            yield shard
            shard, room = [], max_bytes
        shard.append(name)
        room -= size
    yield shard


def _write_shard(files: EncoderFiles, names: Iterable[str], path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file({name: files.read(name).contiguous() for name in names}, temporary, {"format": "pt"})
    except SafetensorError as error:  # what the library makes of a full disk
        raise WeightsError(f"{path} cannot be written ({error}); make room and import again: it goes on here") from None
    temporary.chmod(0o644)
    os.replace(temporary, path)


def _check_room(out: Path, shards: list[list[str]], files: EncoderFiles) -> None:
    shapes = files.size.shapes()
    needed = sum(2 * torch.Size(shapes[name]).numel() for shard in shards for name in shard)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise WeightsError(f"the text encoder needs {needed / 1e9:.1f} GB in {out}, but only {free / 1e9:.1f} GB are "
                           "free; make room or give another folder")


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
