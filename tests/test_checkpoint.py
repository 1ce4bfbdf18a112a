"""Weights load strictly or not at all, and the sentence says what is wrong."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import TINY_WORLD, make_tiny_world
from wan_codecs import SMALL_TAEHV, SMALL_VAE, small_taehv, small_vae

from astra_play.config import CodecConfig, load_world_config
from astra_play.errors import WeightsError
from astra_play.model.checkpoint import (
    CODEC_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    PREVIEW_FILE,
    load_codec,
    load_model,
    load_preview_codec,
    readable_json,
    save_config,
    save_module,
    verify_folder,
)
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


def test_a_file_of_another_codec_is_refused(tmp_path) -> None:
    make_tiny_world(tmp_path)
    for kind in ("wan_vae", "taehv"):
        codec = CodecConfig(kind=kind, latent_channels=16, spatial_compression=8, frames_per_latent=4, base_width=8)
        with pytest.raises(WeightsError, match=rf"{CODEC_FILE} does not fit .* 24 not known \(encoder.bias"):
            load_codec(tmp_path, dataclasses.replace(TINY_WORLD, codec=codec))


def test_every_kind_of_codec_comes_back_from_its_folder(tmp_path) -> None:
    config = dataclasses.replace(TINY_WORLD, codec=SMALL_VAE, preview_codec=SMALL_TAEHV)
    vae, taehv = small_vae(), small_taehv()
    save_module(vae, tmp_path / CODEC_FILE)
    save_module(taehv, tmp_path / PREVIEW_FILE)
    for saved, loaded in ((vae, load_codec(tmp_path, config)), (taehv, load_preview_codec(tmp_path, config))):
        assert type(loaded) is type(saved) and not loaded.training
        for (name, one), other in zip(saved.named_parameters(), loaded.parameters(), strict=True):
            assert torch.equal(one.half().float(), other), name
    assert load_preview_codec(tmp_path, TINY_WORLD) is None
    (tmp_path / PREVIEW_FILE).unlink()
    with pytest.raises(WeightsError, match=f"{PREVIEW_FILE} does not exist"):
        load_preview_codec(tmp_path, config)


def test_a_world_with_a_preview_codec_is_verified_with_it(tmp_path) -> None:
    model = dataclasses.replace(TINY_WORLD.model, latent_channels=16, anchor="none", prediction="velocity")
    config = dataclasses.replace(TINY_WORLD, model=model, codec=SMALL_VAE, preview_codec=SMALL_TAEHV, latent_scale=())
    save_config(config, tmp_path)
    for module, name in ((Transformer(model), MODEL_FILE), (small_vae(), CODEC_FILE), (small_taehv(), PREVIEW_FILE)):
        save_module(module, tmp_path / name)
    assert [line.split(":")[0] for line in verify_folder(tmp_path)] == [CONFIG_FILE, MODEL_FILE, CODEC_FILE,
                                                                        PREVIEW_FILE]


def test_saving_leaves_no_half_written_file(tmp_path) -> None:
    make_tiny_world(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    assert sum(p.numel() for p in Transformer(TINY_WORLD.model).parameters()) == sum(
        t.numel() for t in load_file(tmp_path / MODEL_FILE).values())


def test_a_config_file_is_laid_out_for_reading(tmp_path) -> None:
    nested = {"one": {"x": "[1,\n 2]"}, "two": ["w" * 70, {"k": "v" * 60}]}
    value = {"a": [1, 2], "long": list(range(60)), "nested": nested, "none": None, "empty": {}, "umlaut": "ä"}
    text = readable_json(value)
    assert json.loads(text) == value
    assert ' "a": [1, 2],' in text.split("\n") and '  "one": {"x": "[1,\\n 2]"},' in text.split("\n")
    assert "\n".join(line.lstrip() for line in text.split("\n")[3:64]) == ",\n".join(map(str, range(60))) + "\n],"
