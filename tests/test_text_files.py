"""Files of the text encoder: every layout is read, wrong ones are refused by name, and an import can be broken off."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from naive_umt5 import published_tensors
from safetensors.torch import load_file
from tiny_text import make_published_text, make_tokenizer
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel, UMT5ForConditionalGeneration

from astra_play.errors import WeightsError
from astra_play.model import text_files
from astra_play.model.text_files import (
    PUBLISHED_FILE,
    EncoderFiles,
    EncoderSize,
    import_text_encoder,
    read_facts,
    verify_text_encoder,
)

SHARD_BYTES = 15_000  # cuts the tiny encoder into three


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_published_text(tmp_path_factory.mktemp("wan"))


def tensors_of(path: Path) -> dict[str, Tensor]:
    files = EncoderFiles(path)
    return {name: files.read(name) for name in files.names()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_published_size_has_the_published_number_of_tensors_and_parameters() -> None:
    shapes = EncoderSize(256384, 4096, 64, 64, 10240, 24, 32).shapes()
    assert len(shapes) == 242
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 5_680_910_336


def test_folder_file_and_folder_above_are_the_same_encoder(wan: Path, tmp_path: Path) -> None:
    imported = import_text_encoder(wan, tmp_path / "wan-diffusers" / "text_encoder")
    (tmp_path / "wan-diffusers" / "tokenizer").mkdir()
    (imported / "tokenizer.json").rename(tmp_path / "wan-diffusers" / "tokenizer" / "tokenizer.json")
    places = [wan, wan / PUBLISHED_FILE, imported, tmp_path / "wan-diffusers"]
    assert all(same(tensors_of(place), tensors_of(wan)) for place in places)
    assert len({EncoderFiles(place).fingerprint() for place in places}) == 1


def test_published_tensors_keep_their_values_under_the_librarys_names(wan: Path) -> None:
    published, ours = published_tensors(), tensors_of(wan)
    for theirs, name in (("blocks.1.ffn.gate.0", "encoder.block.1.layer.1.DenseReluDense.wi_0"),
                         ("blocks.0.norm2", "encoder.block.0.layer.1.layer_norm")):
        assert torch.equal(ours[name + ".weight"], published[theirs + ".weight"])
    assert len(ours) == len(published)


def test_folder_that_the_library_saved_is_read_and_ours_is_read_by_the_library(wan: Path, tmp_path: Path) -> None:
    imported = import_text_encoder(wan, tmp_path / "ours", SHARD_BYTES)
    model = UMT5EncoderModel.from_pretrained(imported, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs")
    make_tokenizer(tmp_path / "theirs" / "tokenizer.json")
    assert same(tensors_of(tmp_path / "theirs"), tensors_of(wan))


def test_decoder_of_a_whole_umt5_is_left_out(tmp_path: Path) -> None:
    config = UMT5Config(vocab_size=300, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3)
    UMT5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(tmp_path)
    make_tokenizer(tmp_path / "tokenizer.json")
    assert len(tensors_of(tmp_path)) == 22


# --- import ---------------------------------------------------------------------------------------------------------

def test_import_writes_shards_with_an_index_and_says_what_it_is(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(wan, tmp_path / "text", SHARD_BYTES)
    shards = sorted(path.name for path in out.glob("model-*.safetensors"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(shards) == 3 and shards[0] == "model-00001-of-00003.safetensors"
    assert {name: shard for shard in shards for name in load_file(out / shard)} == index["weight_map"]
    assert read_facts(out) == {"fingerprint": EncoderFiles(wan).fingerprint(), "width": 24}
    assert not list(out.glob("*.tmp")) and not list(out.glob("*.started"))


def test_no_shard_is_larger_than_asked_for_unless_one_tensor_is(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(wan, tmp_path / "text", max_shard_bytes=5_000)
    for path in out.glob("model-*.safetensors"):
        tensors = load_file(path)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= 5_000


def test_broken_import_goes_on_where_it_ended(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = import_text_encoder(wan, tmp_path / "whole", SHARD_BYTES)
    write, written = text_files._write_shard, []

    def fails_at_the_second(files: EncoderFiles, names: list[str], path: Path) -> None:
        if len(written) == 1 and not (tmp_path / "text" / "retry").exists():
            raise OSError(28, "No space left on device", str(path))
        written.append(path.name)
        write(files, names, path)

    monkeypatch.setattr(text_files, "_write_shard", fails_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        import_text_encoder(wan, tmp_path / "text", SHARD_BYTES)
    assert not read_facts(tmp_path / "text")
    (tmp_path / "text" / "retry").touch()
    out = import_text_encoder(wan, tmp_path / "text", SHARD_BYTES)
    assert len(written) == 3 == len(set(written)), "no shard is written twice"
    assert same(tensors_of(out), tensors_of(whole))
    import_text_encoder(wan, out, SHARD_BYTES)
    assert len(written) == 3, "what is whole is left alone"


def test_shards_of_another_encoder_are_not_mixed_in(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(make_published_text(tmp_path / "other", published_tensors(seed=1)), tmp_path / "text",
                              SHARD_BYTES)
    (out / "text.json").unlink()
    assert same(tensors_of(import_text_encoder(wan, out, SHARD_BYTES)), tensors_of(wan))


def test_import_onto_itself_is_refused_and_leaves_it_whole(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(wan, tmp_path / "text")
    with pytest.raises(WeightsError, match="give another folder to write to"):
        import_text_encoder(out, out)
    assert same(tensors_of(out), tensors_of(wan))


def test_too_little_room_is_said_before_anything_is_written(wan: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(WeightsError, match=r"needs 0.0 GB in .*text, but only 0.0 GB are free"):
        import_text_encoder(wan, tmp_path / "text")
    assert not list((tmp_path / "text").glob("*.safetensors"))


def test_verify_reads_everything_and_says_what_there_is(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(wan, tmp_path / "text", SHARD_BYTES)
    num_parameters = sum(tensor.numel() for tensor in published_tensors().values())
    assert verify_text_encoder(out) == (f"text: 22 tensors, {num_parameters / 1e6:.2f} M parameters, "
                                        f"{2 * num_parameters / 1e6:.1f} MB")
    shutil.copyfile(import_text_encoder(make_published_text(tmp_path / "other", published_tensors(seed=1)),
                                        tmp_path / "text2", SHARD_BYTES) / "model-00002-of-00003.safetensors",
                    out / "model-00002-of-00003.safetensors")
    with pytest.raises(WeightsError, match="another text encoder than its text.json says"):
        verify_text_encoder(out)


# --- wrong files ----------------------------------------------------------------------------------------------------

def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(name)


WRONG_TENSORS = {
    "a missing tensor": (without("blocks.1.attn.o.weight"), "1 missing (encoder.block.1.layer.0.SelfAttention.o"),
    "a missing embedding": (without("token_embedding.weight"), "is not a UMT5 text encoder"),
    "an unknown tensor": (lambda t: t.update({"blocks.0.extra.weight": torch.ones(2)}), "1 not known (blocks.0.extra"),
    "another shape": (lambda t: t.update({"norm.weight": torch.ones(23)}), "1 of another shape (encoder.final_layer"),
    "another network": (lambda t: (t.clear(), t.update({"patch_embedding.weight": torch.ones(2)})),
                        "is not a UMT5 text encoder (it holds patch_embedding.weight)"),
    "nothing": (lambda t: t.clear(), "it holds nothing"),
}


@pytest.mark.parametrize("fault", WRONG_TENSORS)
def test_wrong_tensors_are_counted_and_named(tmp_path: Path, fault: str) -> None:
    change, words = WRONG_TENSORS[fault]
    tensors = published_tensors()
    change(tensors)
    with pytest.raises(WeightsError) as caught:
        import_text_encoder(make_published_text(tmp_path / "wan", tensors), tmp_path / "text")
    assert words in str(caught.value)
    assert not (tmp_path / "text").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_values_that_are_not_numbers_are_found(tmp_path: Path, value: str) -> None:
    tensors = published_tensors()
    tensors["blocks.0.ffn.fc1.weight"][3, 3] = float(value)
    with pytest.raises(WeightsError, match=r"not numbers in encoder.block.0.layer.1.DenseReluDense.wi_1.weight"):
        import_text_encoder(make_published_text(tmp_path / "wan", tensors), tmp_path / "text")
    assert not read_facts(tmp_path / "text")


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_file_that_would_run_code_is_refused_and_does_not_run(wan: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wan, tmp_path / "wan")
    torch.save({"token_embedding.weight": Trap(tmp_path / "trapped")}, folder / PUBLISHED_FILE)
    with pytest.raises(WeightsError, match="is not a whole file of tensors"):
        EncoderFiles(folder)
    (folder / PUBLISHED_FILE).write_bytes(pickle.dumps(Trap(tmp_path / "trapped")))
    with pytest.raises(WeightsError, match="is not a whole file of tensors"):
        EncoderFiles(folder)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"0" * 50, None])
def test_damaged_published_file_is_said_with_its_size(wan: Path, tmp_path: Path, content: bytes | None) -> None:
    folder = shutil.copytree(wan, tmp_path / "wan")
    path = folder / PUBLISHED_FILE
    path.write_bytes(path.read_bytes()[:-2000] if content is None else content)
    with pytest.raises(WeightsError, match=rf"\({path.stat().st_size} bytes\) is not a whole file of tensors"):
        EncoderFiles(folder)


def test_list_instead_of_tensors_is_refused(wan: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wan, tmp_path / "wan")
    torch.save([1, 2], folder / PUBLISHED_FILE)
    with pytest.raises(WeightsError, match="no text encoder"):
        EncoderFiles(folder)


def test_damaged_shard_is_said_with_its_size(wan: Path, tmp_path: Path) -> None:
    out = import_text_encoder(wan, tmp_path / "text")
    path = next(out.glob("model*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        EncoderFiles(out)


def test_folder_without_encoder_or_without_tokenizer_is_said(wan: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no text encoder"):
        EncoderFiles(tmp_path)
    with pytest.raises(WeightsError, match="holds no text encoder"):
        EncoderFiles(tmp_path / "nowhere")
    shutil.copyfile(wan / PUBLISHED_FILE, tmp_path / PUBLISHED_FILE)
    with pytest.raises(WeightsError, match="comes without its tokenizer"):
        EncoderFiles(tmp_path)
