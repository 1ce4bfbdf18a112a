"""Weights load strictly or not at all, and the sentence says what is wrong."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.config import load_world_config
from astra_play.errors import WeightsError
from astra_play.model.checkpoint import CODEC_FILE, MODEL_FILE, load_codec, load_model, save_config, verify_folder
from astra_play.model.transformer import Transformer


def change_tensors(path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_saved_weights_come_back_in_half_precision(tmp_path) -> None:
    make_tiny_world(tmp_path)
    model = load_model(tmp_path, load_world_config(tmp_path))
    stored = load_file(tmp_path / MODEL_FILE)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32 and torch.equal(parameter, stored[name].float()), name
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert len(verify_folder(tmp_path)) == 3


@pytest.mark.parametrize(("damage", "sentence"), [
    (lambda t: t.pop("head.bias"), r"1 missing \(head.bias\)"),
    (lambda t: t.update(extra=torch.zeros(2)), r"1 not known \(extra\)"),
    (lambda t: t.update({"head.bias": torch.zeros(3)}), r"head.bias is \[3\], not \[16\]"),
    (lambda t: t.update({"head.bias": torch.full((16,), float("nan"))}), "not numbers in head.bias"),
])
def test_a_wrong_tensor_is_refused_by_name(tmp_path, damage, sentence: str) -> None:
    make_tiny_world(tmp_path)
    change_tensors(tmp_path / MODEL_FILE, damage)
    with pytest.raises(WeightsError, match=sentence):
        load_model(tmp_path, load_world_config(tmp_path))


@pytest.mark.parametrize("name", [MODEL_FILE, CODEC_FILE])
def test_truncated_or_missing_files_are_named(tmp_path, name: str) -> None:
    make_tiny_world(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(WeightsError, match=f"{name} .* is not a whole safetensors file"):
        verify_folder(tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match=f"{name} does not exist"):
        verify_folder(tmp_path)


def test_a_pickle_is_not_opened(tmp_path) -> None:
    make_tiny_world(tmp_path)
    torch.save({"x": torch.zeros(1)}, tmp_path / MODEL_FILE)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_model(tmp_path, load_world_config(tmp_path))


def test_weights_of_another_size_are_refused(tmp_path) -> None:
    make_tiny_world(tmp_path)
    larger = dataclasses.replace(TINY_WORLD, model=dataclasses.replace(TINY_WORLD.model, num_layers=3))
    save_config(larger, tmp_path)
    with pytest.raises(WeightsError, match="missing .blocks.2"):
        load_model(tmp_path, larger)


def test_a_codec_that_cannot_be_run_is_refused(tmp_path) -> None:
    make_tiny_world(tmp_path)
    config = dataclasses.replace(TINY_WORLD, codec=dataclasses.replace(TINY_WORLD.codec, kind="wan_vae"))
    with pytest.raises(WeightsError, match="wan_vae"):
        load_codec(tmp_path, config)


def test_saving_leaves_no_half_written_file(tmp_path) -> None:
    make_tiny_world(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    assert sum(p.numel() for p in Transformer(TINY_WORLD.model).parameters()) == sum(
        t.numel() for t in load_file(tmp_path / MODEL_FILE).values())
