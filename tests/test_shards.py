"""Weights cut into shards: they fit, they load as the whole does, and damage is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from fake_training import tiny_recipe
from safetensors.torch import save_file
from test_train import folder_of
from tiny_world import make_tiny_world

from astra_play.bench import num_parameters
from astra_play.errors import WeightsError
from astra_play.evaluate.evaluation import Options
from astra_play.evaluate.report import describe
from astra_play.evaluate.rollout import load_parts
from astra_play.model import checkpoint
from astra_play.model.checkpoint import HEADER_BYTES, copy_weights, files_of, read_tensors, write_shards
from astra_play.model.loading import load_world
from astra_play.train import world_loop

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


def changed(whole: Path) -> dict[str, torch.Tensor]:
    """Write other values into a file, and return them."""
    tensors = {name: tensor + 1 for name, tensor in read_tensors(whole).items()}
    save_file(tensors, whole)
    return tensors


@pytest.mark.parametrize("limits", [(10**8, LIMIT), (LIMIT, 10**8), (LIMIT, 2 * LIMIT - HEADER_BYTES)])
def test_what_is_written_later_takes_the_place_of_what_was_there(whole: Path, tmp_path: Path, limits) -> None:
    """Whole and then cut, cut and then whole, and cut into fewer: the newer is read, and nothing else lies there."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "model_of_mine.safetensors").write_text("is left alone")
    write_shards(whole, out, limits[0])
    expected = changed(whole)
    files = write_shards(whole, out, limits[1])
    tensors = read_tensors(out / "model.safetensors")
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert {path.name for path in out.iterdir()} == {file.name for file in files} | {"model_of_mine.safetensors"}
    assert files_of(out / "model.safetensors") == [file for file in files if file.suffix == ".safetensors"]


def test_shards_are_copied_like_a_whole_file(whole: Path, tmp_path: Path) -> None:
    write_shards(whole, tmp_path / "cut", LIMIT)
    copy_weights(whole, tmp_path / "out")
    expected = changed(whole)
    write_shards(whole, tmp_path / "cut", LIMIT)
    copy_weights(tmp_path / "cut/model.safetensors", tmp_path / "out")
    tensors = read_tensors(tmp_path / "out/model.safetensors")
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in (tmp_path / "cut").iterdir()}
    with pytest.raises(WeightsError, match="does not exist"):
        copy_weights(tmp_path / "nowhere/model.safetensors", tmp_path / "out")


def test_a_world_in_shards_is_evaluated_and_begun_with_like_a_whole_one(tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "HEADER_BYTES", 0)
    world, cut = make_tiny_world(tmp_path / "world"), tmp_path / "cut"
    files = [file for name in ("model", "codec") for file in write_shards(world / f"{name}.safetensors", cut, 60_000)]
    assert len(files) > 4
    shutil.copy(world / "config.json", cut)
    told = describe(load_parts(cut), cut, Options())
    assert told["world"]["sha256"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()
                                       for file in files if file.suffix == ".safetensors"}
    assert num_parameters(cut / "codec.safetensors") == num_parameters(world / "codec.safetensors")
    data = folder_of("explore", tmp_path / "data")
    world_loop.train(tiny_recipe(num_steps=1, rollout_extra_frames=1), [data], cut, tmp_path / "out", (), cut)
    assert load_world(str(tmp_path / "out"), "cpu")
