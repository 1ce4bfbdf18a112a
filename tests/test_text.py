"""Text states: the encoder against its twin, cleaning, the cache, and when the encoder is not needed at all."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import ftfy
import pytest
import torch
import transformers
from naive_umt5 import bucket, naive_umt5, published_tensors
from safetensors.torch import save_file
from tiny_text import make_published_text, make_tokenizer

from astra_play.errors import AstraPlayError, DependencyError, WeightsError
from astra_play.model import text
from astra_play.model.text import MAX_TOKENS, TextEncoder, cache_folder, clean_prompt, text_states
from astra_play.model.text_files import FACTS_FILE, EncoderFiles, import_text_encoder

PROMPT = "the garden walking through a sunlit path"


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_published_text(tmp_path_factory.mktemp("wan"))


def forbid_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextEncoder, "__enter__", lambda self: pytest.fail("the encoder was loaded"))


@pytest.mark.parametrize("prompt", [PROMPT, "", " ".join([PROMPT] * 6)])
def test_encoder_equals_its_twin_on_the_published_names(wan: Path, prompt: str) -> None:
    with TextEncoder(wan, dtype=torch.float32) as encoder:
        ids = encoder.tokens(prompt)
        found = encoder._model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    twin = naive_umt5(published_tensors(), ids, length=len(ids) + 5)
    assert (found - twin[:len(ids)]).norm() / twin.norm() < 5e-6
    assert not twin[len(ids):].any()


def test_bucket_of_every_distance_is_the_librarys() -> None:
    config = transformers.UMT5Config(d_model=8, d_kv=4, num_heads=2)
    attention = transformers.models.umt5.modeling_umt5.UMT5Attention(config, has_relative_attention_bias=True)
    distances = torch.arange(-MAX_TOKENS, MAX_TOKENS + 1)
    assert attention._relative_position_bucket(distances).tolist() == [bucket(int(d)) for d in distances]


def test_states_are_bfloat16_close_to_the_twin_and_zero_past_the_prompt(wan: Path) -> None:
    [states] = text_states([PROMPT], wan)
    with TextEncoder(wan) as encoder:
        ids = encoder.tokens(PROMPT)
    twin = naive_umt5(published_tensors(), ids, length=len(ids))
    assert states.shape == (1, MAX_TOKENS, 24) and states.dtype == torch.bfloat16
    assert (states[0, :len(ids)].float() - twin).norm() / twin.norm() < 0.03
    assert not states[0, len(ids):].any()


def test_tokens_are_those_of_the_transformers_tokenizer(tmp_path: Path, wan: Path) -> None:
    library = transformers.PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(tmp_path / "tokenizer.json"),
                                                   pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    with TextEncoder(wan) as encoder:
        for prompt in (PROMPT, "", "caf\u00e9 & <tea> \u96ea", "x" * 2000):
            theirs = library(prompt, truncation=True, max_length=MAX_TOKENS)["input_ids"]
            ours = encoder.tokens(prompt)
            assert theirs == (ours if len(ours) <= MAX_TOKENS else ours[:MAX_TOKENS - 1] + ours[-1:])


# --- cleaning -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("prompt", "cleaned"), [
    ("  a  walk\n\tin the\u00a0park ", "a walk in the park"),
    ("tea &amp;amp; cake", "tea & cake"),
    ("\u201cquoted\u201d", '"quoted"'),
    ("caf\u00c3\u00a9", "caf\u00e9"),
    ("\ufb01ne", "fine"),
    ("half \ud800 a sign", "half ? a sign"),
    ("", ""), (" \n ", "")])
def test_prompt_is_cleaned_as_the_published_model_was_shown_text(prompt: str, cleaned: str) -> None:
    assert clean_prompt(prompt) == cleaned


def test_plain_text_that_is_not_shown_to_ftfy_would_not_be_changed_by_it() -> None:
    choice = random.Random(1)
    signs = [chr(code) for code in range(32, 127) if chr(code) != "&"] + ["\n"]
    for _ in range(2000):
        prompt = "".join(choice.choices(signs, k=30))
        assert ftfy.fix_text(prompt) == prompt


# --- cache ----------------------------------------------------------------------------------------------------------

def test_second_time_needs_no_encoder_and_gives_the_same(wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text_states([PROMPT, ""], wan)
    forbid_the_encoder(monkeypatch)
    again = text_states(["", f"  {PROMPT}\n"], wan)
    assert torch.equal(first[0], again[1]) and torch.equal(first[1], again[0])


def test_imported_encoder_without_its_weights_still_serves_stored_prompts(tmp_path: Path, wan: Path) -> None:
    folder = import_text_encoder(wan, tmp_path / "text")
    [first] = text_states([PROMPT], folder)
    for path in folder.iterdir():
        if path.name != FACTS_FILE:
            path.unlink()
    assert torch.equal(text_states([PROMPT], folder)[0], first)
    with pytest.raises(WeightsError, match="holds no text encoder"):
        text_states(["another prompt"], folder)


def test_import_finds_what_the_published_files_stored(tmp_path: Path, wan: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    [first] = text_states([PROMPT], wan)
    forbid_the_encoder(monkeypatch)
    assert torch.equal(text_states([PROMPT], import_text_encoder(wan, tmp_path / "text"))[0], first)


def test_other_encoder_or_other_prompt_has_other_states(tmp_path: Path, wan: Path) -> None:
    other = make_published_text(tmp_path / "other", published_tensors(seed=1))
    found = [text_states([PROMPT], wan)[0], text_states([PROMPT], other)[0], text_states([PROMPT + " a"], wan)[0]]
    assert len(list(cache_folder().glob("*.safetensors"))) == 3
    assert not any(torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "not a number", "wrong length", "no count", "float32"])
def test_damaged_cache_file_is_made_again(wan: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    [first] = text_states([PROMPT], wan)
    [path] = cache_folder().glob("*.safetensors")
    whole = path.read_bytes()
    states = first[0, :5].contiguous()
    wrong = {"not a number": (states * float("nan"), {"num_tokens": "5"}),
             "wrong length": (states, {"num_tokens": "9"}),
             "no count": (states, None), "float32": (states.float(), {"num_tokens": "5"})}
    if damage in wrong:
        save_file({"states": wrong[damage][0]}, path, wrong[damage][1])
    else:
        path.write_bytes({"cut": whole[:len(whole) // 2], "empty": b"", "text": b"hello world" * 100}[damage])
    assert torch.equal(text_states([PROMPT], wan)[0], first)
    assert "are damaged and are made again" in caplog.text
    assert path.read_bytes() == whole and list(cache_folder().iterdir()) == [path]


def test_cache_that_cannot_be_written_is_said_and_no_error(wan: Path, tmp_path: Path,
                                                           caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    [states] = text_states([PROMPT], wan, cache=blocked)
    assert states.any() and "could not be stored" in caplog.text


# --- bounds ---------------------------------------------------------------------------------------------------------

def test_prompt_of_10000_characters_is_cut_with_one_sentence_each_time(wan: Path,
                                                                       caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # encoded, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            [states] = text_states(["q" * 10_000], wan)
        assert [record.getMessage() for record in caplog.records] == [
            "The prompt has 10002 tokens; the first 511 are used and the rest is cut off."]
        assert states[0].any(dim=1).all()


def test_cut_prompt_ends_with_the_end_token(wan: Path) -> None:
    with TextEncoder(wan, dtype=torch.float32) as encoder:
        ids = encoder.tokens("q" * 600)
        expected = encoder._model(input_ids=torch.tensor([ids[:511] + [1]])).last_hidden_state[0]
        assert torch.equal(encoder.encode("q" * 600).states, expected.bfloat16())


def test_encoder_leaves_memory_with_its_context(wan: Path) -> None:
    import gc
    import weakref

    with TextEncoder(wan) as encoder:
        gone = weakref.ref(encoder._model)
    gc.collect()
    assert gone() is None


def free_memory(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    monkeypatch.setattr(text.psutil, "virtual_memory", lambda: SimpleNamespace(available=available))


def test_too_little_memory_is_said_with_the_numbers(wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 100)
    with pytest.raises(AstraPlayError, match=r"needs 0.0 GB of memory on cpu, but 0.0 GB are free; close other"):
        text_states([PROMPT], wan)
    free_memory(monkeypatch, 6_100_000_000)
    with pytest.raises(AstraPlayError, match=r"needs 12.5 GB of memory on cpu, but 6.1 GB are free"):
        text.check_memory(2 * 5_680_910_336, torch.device("cpu"))


def test_mapped_weights_need_not_fit_into_memory(wan: Path, monkeypatch: pytest.MonkeyPatch,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    with TextEncoder(wan) as encoder:
        whole = encoder.encode(PROMPT).states
    size = EncoderFiles(wan).num_bytes
    free_memory(monkeypatch, size // 2)
    [states] = text_states([PROMPT], wan)
    assert torch.equal(states[0, :len(whole)], whole) and "is read from the disk while it runs" in caplog.text
    with pytest.raises(AstraPlayError, match="of memory on cpu"), TextEncoder(wan, dtype=torch.float32):
        pass  # another type is a copy, and the copy must fit


@pytest.mark.parametrize(("package", "prompt"), [
    ("transformers", PROMPT), ("tokenizers", PROMPT), ("ftfy", "caf\u00e9")])
def test_missing_package_is_named_with_its_extra(wan: Path, package: str, prompt: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"{package}, which is not installed; run: .*'astra-play\[text\]'"):
        text_states([prompt], wan)


@pytest.mark.parametrize(("content", "words"), [
    ("not json", "is not a tokenizer"), ('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}',
                                         "does not belong to the text encoder")])
def test_wrong_tokenizer_is_refused(tmp_path: Path, content: str, words: str) -> None:
    folder = make_published_text(tmp_path / "wan")
    (folder / "google" / "umt5-xxl" / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match=words):
        text_states([PROMPT], folder)
