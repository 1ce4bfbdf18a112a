"""Weights cut into shards: they fit, they load as the whole does, and damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from astra_play.errors import WeightsError
from astra_play.model.checkpoint import HEADER_BYTES, read_tensors, write_shards

LIMIT = HEADER_BYTES + 5000


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    # 25 tensors of 1 to 4 KB and one that makes the file larger than the limit
    save_file({f"blocks.{i}.weight": torch.randn(500 + 60 * i).half() for i in range(25)}
              | {f"large.{i}": torch.randn(2400).half() for i in range(60)}, path)
    return path


def test_shards_hold_what_the_whole_held_and_none_is_larger_than_asked(whole: Path, tmp_path: Path) -> None:
    files = write_shards(whole, tmp_path / "out", LIMIT)
    assert len(files) > 3 and all(file.stat().st_size <= LIMIT for file in files)
    assert files[0].name == f"model-00001-of-{len(files) - 1:05d}.safetensors"
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    tensors = read_tensors(tmp_path / "out/model.safetensors")
    expected = read_tensors(whole)
    assert tensors.keys() == expected.keys() == index["weight_map"].keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_file_that_fits_stays_whole(whole: Path, tmp_path: Path) -> None:
    assert write_shards(whole, tmp_path / "out", 10**8) == [tmp_path / "out/model.safetensors"]
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole.read_bytes()


def test_a_tensor_larger_than_a_shard_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"large\.\d+ alone is larger"):
        write_shards(whole, tmp_path / "out", HEADER_BYTES + 4500)


def test_missing_or_foreign_shards_are_named(whole: Path, tmp_path: Path) -> None:
    files = write_shards(whole, tmp_path / "out", LIMIT)
    index = files[-1]
    content = json.loads(index.read_text())
    files[1].unlink()
    with pytest.raises(WeightsError, match="model-00002-of-.* does not exist"):
        read_tensors(tmp_path / "out/model.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(WeightsError, match="not a file beside it"):
        read_tensors(tmp_path / "out/model.safetensors")
    first = {name: file for name, file in content["weight_map"].items() if file == files[0].name}
    index.write_text(json.dumps({"weight_map": first | {"unknown": files[0].name}}))
    with pytest.raises(WeightsError, match="other tensors than it lists"):
        read_tensors(tmp_path / "out/model.safetensors")
    index.write_text("[]")
    with pytest.raises(WeightsError, match="not an index"):
        read_tensors(tmp_path / "out/model.safetensors")
