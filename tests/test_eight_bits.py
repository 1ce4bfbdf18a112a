"""Weights in bytes: what is read is what was written, to a step; a file that lacks the steps is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from astra_play.errors import WeightsError
from astra_play.model import checkpoint
from astra_play.model.checkpoint import load_strict, read_tensors, save_module, write_shards
from astra_play.model.eight_bits import LARGEST, pack, unpack


class Two(torch.nn.Module):
    IN_BYTES = ("fine",)

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.plain = torch.nn.Conv2d(3, 5, 3), torch.nn.Linear(4, 2)


def test_weights_come_back_to_within_half_a_step_of_each_output() -> None:
    weight = torch.randn(6, 3, 3, 3) * torch.tensor([1e-4, 1.0, 30.0, 0.0, 5.0, 0.1])[:, None, None, None]
    numbers, step = pack(weight)
    assert numbers.dtype == torch.int8 and step.shape == (6, 1, 1, 1)
    again = unpack({"w": numbers, "w.step": step}, "file")["w"]
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((again - weight).abs() <= largest / LARGEST * 0.501).all()
    assert torch.equal(again[3], torch.zeros(3, 3, 3))


def test_what_was_packed_once_is_not_changed_by_packing_it_again() -> None:
    once = unpack(dict(zip(("w", "w.step"), pack(torch.randn(8, 4, 3, 3)), strict=True)), "file")["w"]
    twice = unpack(dict(zip(("w", "w.step"), pack(once), strict=True)), "file")["w"]
    assert torch.allclose(once, twice, rtol=1e-6)


def test_a_module_keeps_its_parts_in_bytes_and_is_read_as_ever(tmp_path) -> None:
    torch.manual_seed(0)
    module, path = Two(), tmp_path / "two.safetensors"
    save_module(module, path)
    raw = load_file(path)
    assert raw["fine.weight"].dtype == torch.int8 and raw["fine.bias"].dtype == raw["plain.weight"].dtype == torch.half
    assert set(read_tensors(path)) == dict(module.named_parameters()).keys()
    again = Two()
    load_strict(again, read_tensors(path), path)
    assert torch.allclose(again.fine.weight, module.fine.weight, atol=2e-3)
    assert torch.allclose(again.plain.weight, module.plain.weight, atol=1e-3)


def test_a_file_that_was_cut_into_shards_is_read_as_the_whole(tmp_path, monkeypatch) -> None:
    """Numbers and steps may lie in different shards."""
    monkeypatch.setattr(checkpoint, "HEADER_BYTES", 0)
    path = tmp_path / "two.safetensors"
    save_module(Two(), path)
    assert len(write_shards(path, tmp_path / "cut", 140)) > 2
    whole, cut = read_tensors(path), read_tensors(tmp_path / "cut" / path.name)
    assert whole.keys() == cut.keys() and all(torch.equal(cut[name], own) for name, own in whole.items())


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_bytes_without_their_steps_are_refused(tmp_path, damage: str) -> None:
    path = tmp_path / "two.safetensors"
    save_module(Two(), path)
    raw = load_file(path)
    if damage == "missing":
        del raw["fine.weight.step"]
    else:
        raw["fine.weight.step"] = raw["fine.weight.step"][:2]
    save_file(raw, path)
    with pytest.raises(WeightsError, match=r"fine\.weight in whole numbers"):
        read_tensors(path)
