"""Prompt -> text states, once per prompt: looked up on disk, else made by UMT5, which leaves memory before play begins.

The network reads text states (1, 512, width) bfloat16: one row per token, rows past the prompt's end zero. They are
stored under a hash of the cleaned prompt and the encoder's fingerprint, so that a prompt that was played before needs
neither the encoder's memory nor, for an imported encoder, its weights.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import html
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import platformdirs
import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import AstraPlayError, DependencyError, WeightsError
from .text_files import EMBEDDING, EncoderFiles, read_facts

log = logging.getLogger(__name__)

MAX_TOKENS = 512
END_TOKEN = "</s>"
MEMORY_MARGIN = 1.1  # beside the weights: activations of 512 tokens and what the allocator keeps
# Of the weights, where they are mapped from the disk: one block at a time, which is read, used and may be given up.
MAPPED_SHARE = 0.1


@dataclass(frozen=True)
class EncodedPrompt:
    """`states`: (L, width) bfloat16 on the CPU, L at most 512; `num_tokens`: of the whole prompt, end included."""

    states: Tensor
    num_tokens: int


def text_states(prompts: Sequence[str], encoder: Path, device: torch.device | str = "cpu",
                cache: Path | None = None) -> list[Tensor]:
    """Return (1, 512, width) bfloat16 on the CPU for each prompt; the empty prompt is legal.

    `encoder` is a folder or file as for `text_files.find`, `device` where it runs if a prompt is not in the cache, and
    `cache` the folder of the cache (None: the user's own). A prompt of more than 512 tokens is cut, with a warning.
    """
    cleaned = [clean_prompt(prompt) for prompt in prompts]
    cache = cache or cache_folder()
    fingerprint = read_facts(encoder).get("fingerprint") or EncoderFiles(encoder).fingerprint()
    paths = {prompt: cache / f"{cache_key(prompt, str(fingerprint))}.safetensors" for prompt in cleaned}
    found = {prompt: _read_cached(path) for prompt, path in paths.items()}
    missing = [prompt for prompt, encoded in found.items() if encoded is None]
    if missing:
        with TextEncoder(encoder, device) as umt5:
            for prompt in missing:
                found[prompt] = umt5.encode(prompt)
                _write_cached(paths[prompt], found[prompt])
    for encoded in found.values():
        if encoded.num_tokens > MAX_TOKENS:
            log.warning("The prompt has %d tokens; the first %d are used and the rest is cut off.",
                        encoded.num_tokens, MAX_TOKENS - 1)
    return [padded(found[prompt].states) for prompt in cleaned]


def clean_prompt(prompt: str) -> str:
    """Return a prompt as the published model was shown text: mended by ftfy, HTML unescaped twice, spaces collapsed."""
    prompt = prompt.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
    plain = prompt.isascii() and prompt.replace("\n", " ").isprintable() and "&" not in prompt
    if not plain:  # ftfy changes nothing in plain text
        try:
            import ftfy
        except ImportError:
            raise DependencyError("ftfy", "a prompt with other signs than plain English ones", "text") from None
        prompt = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", prompt).strip()


def padded(states: Tensor) -> Tensor:
    """Return (1, 512, width) of (L, width): zeros follow."""
    full = states.new_zeros(1, MAX_TOKENS, states.shape[1])
    full[0, :len(states)] = states
    return full


class TextEncoder:
    """UMT5 in memory for as long as the context lasts. WeightsError if its files or the machine's memory do not do."""

    def __init__(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16) -> None:
        self._files = EncoderFiles(path)
        self._device, self._dtype = torch.device(device), dtype

    def __enter__(self) -> TextEncoder:
        try:
            import tokenizers
            import transformers
        except ImportError as error:
            raise DependencyError(error.name or "transformers", "a prompt that is not in the cache", "text") from None
        mapped = self._device.type == "cpu" and self._files.is_mapped(self._dtype)
        check_memory(self._files.num_parameters * self._dtype.itemsize, self._device, mapped)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(self._files.tokenizer))
        except Exception as error:  # the library raises nothing narrower
            raise WeightsError(f"{self._files.tokenizer} is not a tokenizer ({error}); download it again") from None
        self._end_id = self._tokenizer.token_to_id(END_TOKEN)
        if self._end_id is None or self._tokenizer.get_vocab_size() > self._files.size.vocabulary:
            raise WeightsError(f"{self._files.tokenizer} does not belong to the text encoder (it has "
                               f"{self._tokenizer.get_vocab_size()} tokens, the encoder "
                               f"{self._files.size.vocabulary}); take the one that came with it")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        with torch.device("meta"):
            model = transformers.UMT5EncoderModel(transformers.UMT5Config(**self._files.size.config()))
        tensors = {name: self._files.read(name).to(self._device, self._dtype) for name in self._files.names()}
        tensors["encoder.embed_tokens.weight"] = tensors[EMBEDDING]  # the library's second name of it
        model.load_state_dict(tensors, strict=True, assign=True)
        self._model = model.eval().requires_grad_(False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        del self._model
        gc.collect()  # the library's modules point at each other
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def tokens(self, prompt: str) -> list[int]:
        """Return the token ids of a cleaned prompt, all of them, with the end token."""
        return [*self._tokenizer.encode(prompt, add_special_tokens=False).ids, self._end_id]

    @torch.inference_mode()
    def encode(self, prompt: str) -> EncodedPrompt:
        """Encode a cleaned prompt.

        Only its own tokens pass through the network: the published code pads to 512 and masks the rest, which gives
        the same rows, and then sets the others to zero.
        """
        ids = self.tokens(prompt)
        kept = ids if len(ids) <= MAX_TOKENS else [*ids[:MAX_TOKENS - 1], self._end_id]
        states = self._model(input_ids=torch.tensor([kept], device=self._device)).last_hidden_state[0]
        return EncodedPrompt(states.to("cpu", torch.bfloat16), len(ids))


def check_memory(weight_bytes: int, device: torch.device, mapped: bool = False) -> None:
    """Raise AstraPlayError with the numbers if the encoder does not fit into what is free on a device.

    Weights that are mapped from the disk as they are need not fit: a prompt passes through them once, block by block.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    needed = weight_bytes * MEMORY_MARGIN
    if mapped and free < needed:
        log.warning("The text encoder has %.1f GB and %.1f GB of memory are free, so it is read from the disk while it "
                    "runs; this takes longer.", weight_bytes / 1e9, free / 1e9)
        needed = weight_bytes * MAPPED_SHARE
    if needed > free:
        raise AstraPlayError(f"the text encoder needs {needed / 1e9:.1f} GB of memory on {device}, but "
                             f"{free / 1e9:.1f} GB are free; close other programs, or encode the prompt on a larger "
                             f"machine and copy the folder {cache_folder()} from there")


# --- cache ----------------------------------------------------------------------------------------------------------

def cache_folder() -> Path:
    return Path(platformdirs.user_cache_dir("astra-play", appauthor=False)) / "text"


def cache_key(prompt: str, fingerprint: str) -> str:
    """Return the name of a cleaned prompt's states; another encoder or length limit has other names."""
    return hashlib.sha256(f"{fingerprint}\n{MAX_TOKENS}\n{prompt}".encode()).hexdigest()[:40]


def _read_cached(path: Path) -> EncodedPrompt | None:
    """Return stored states; None if there are none or the file is damaged, which is said."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            states, num_tokens = file.get_tensor("states"), int(file.metadata()["num_tokens"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        states, num_tokens = torch.empty(0), 0
    whole = (states.dtype == torch.bfloat16 and states.ndim == 2 and 1 <= len(states) <= MAX_TOKENS
             and len(states) == min(num_tokens, MAX_TOKENS) and bool(torch.isfinite(states).all()))
    if not whole:
        log.warning("The stored text states %s are damaged and are made again.", path)
        return None
    return EncodedPrompt(states, num_tokens)


def _write_cached(path: Path, encoded: EncodedPrompt) -> None:
    """Store states by temp name and rename; a cache that cannot be written costs time at the next start, no more."""
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"states": encoded.states.contiguous()}, temporary, {"num_tokens": str(encoded.num_tokens)})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        log.warning("The text states could not be stored in %s (%s).", path.parent, error)
