"""A tiny UMT5 with a tiny tokenizer, laid out as the published files are."""

from __future__ import annotations

from pathlib import Path

import torch
from naive_umt5 import published_tensors
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from astra_play.model.text_files import PUBLISHED_FILE, PUBLISHED_TOKENIZER, TOKENIZER_FILE

SIGNS = [chr(code) for code in range(33, 127)]
WORDS = ["the", "garden", "walk", "ing", "through", "a", "sun", "lit", "path", "\N{LATIN SMALL LETTER E WITH ACUTE}"]


def make_tokenizer(path: Path) -> Tokenizer:
    """Write a unigram tokenizer like UMT5's: pad 0, end 1, unknown 2, words that begin with a low line."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\N{LOWER ONE EIGHTH BLOCK}", -2.0)]
    pieces += [("\N{LOWER ONE EIGHTH BLOCK}" + word, -3.0) for word in WORDS]
    pieces += [(word, -4.0) for word in WORDS if len(word) > 1] + [(sign, -8.0) for sign in SIGNS if sign != "a"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def make_published_text(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """Write encoder and tokenizer as a download of Wan 2.1 has them, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(published_tensors() if tensors is None else tensors, folder / PUBLISHED_FILE)
    make_tokenizer(folder / PUBLISHED_TOKENIZER / TOKENIZER_FILE)
    return folder
