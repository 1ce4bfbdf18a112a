"""Golden vectors of the published network, through the player's own import and command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from astra_play import cli
from astra_play.config import load_world_config
from astra_play.errors import ConfigError
from astra_play.model.checkpoint import load_model
from astra_play.model.golden import run_golden
from astra_play.model.import_world import import_world
from astra_play.model.precision import set_precision

GOLDEN = Path(__file__).parent / "golden" / "astra_dit"
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def golden_subset(folder: Path, *names: str) -> Path:
    """A golden folder with the weights and some of the vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in GOLDEN.iterdir():
        if path.name.startswith(("diffusion", "config")) or path.stem in names:
            shutil.copyfile(path, folder / path.name)
    return folder


def test_every_golden_vector_is_matched_in_float32() -> None:
    results = list(run_golden(GOLDEN))
    assert {r.name for r in results} == {"t1_sekai", "t2_sekai", "t5_sekai", "t19_nuscenes", "t25_sekai", "roll_sekai",
                                         "roll_long_openx"}
    assert all(r.limit == 2e-6 for r in results)
    assert [f"{r.name}: {r.error:.1e}" for r in results if not r.holds] == []


def test_the_flat_ckpt_and_the_shards_make_the_same_world(tmp_path: Path) -> None:
    tensors = {}
    for path in GOLDEN.glob("diffusion_pytorch_model-*.safetensors"):
        tensors |= load_file(path)
    shutil.copyfile(GOLDEN / "config.json", tmp_path / "config.json")
    torch.save(tensors, tmp_path / "diffusion_pytorch_model.ckpt")
    import_world(tmp_path / "diffusion_pytorch_model.ckpt", tmp_path / "one", width=96, height=64)
    import_world(golden_subset(tmp_path / "shards"), tmp_path / "other", width=96, height=64)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "other/model.safetensors").read_bytes()


@pytest.mark.parametrize("precision", ["bfloat16", "reference_bf16"])
def test_half_precision_stays_near_and_is_over_the_limit(tmp_path: Path, precision: str) -> None:
    results = list(run_golden(golden_subset(tmp_path, "t5_sekai", "roll_sekai"), precision))
    assert len(results) == 2 and all(1e-3 < r.error < 0.1 and not r.holds for r in results)


def test_the_reference_mixture_keeps_what_it_attached_in_float32(tmp_path: Path) -> None:
    import_world(golden_subset(tmp_path / "golden"), tmp_path / "world", width=96, height=64)
    model = load_model(tmp_path / "world", load_world_config(tmp_path / "world"))
    set_precision(model, "reference_bf16")
    wide = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert wide == {name for name, _ in model.named_parameters()
                    if ".adapter." in name or ".experts." in name or name.startswith(("actions.", "time_projection."))}
    weight = model.time_projection.weight
    assert torch.equal(weight, weight.bfloat16().float())  # computed wide from narrow numbers
    with pytest.raises(ConfigError, match="kv_cache"):
        set_precision(load_model(Path(__file__).parents[1] / "weights/mini",
                                 load_world_config(Path(__file__).parents[1] / "weights/mini")), "bfloat16")


def test_verify_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    golden_subset(tmp_path / "inner", "t1_sekai")
    assert cli.main(["weights", "verify", "--golden", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "t1_sekai" in printed and "1 of 1 within the limit" in printed
    (result,) = json.loads((tmp_path / "out.json").read_text())
    assert result["what"] == "velocity" and result["holds"] and 0 < result["error"] < 2e-6 == result["limit"]


def test_the_autoencoder_matches_its_golden_vectors() -> None:
    results = list(run_golden(GOLDEN.parent / "taehv"))
    assert [r.what for r in results] == ["decoder", "frames", "encoder"]
    assert all(r.holds and 0 < r.error and r.limit == 1e-5 for r in results)


def test_verify_fails_when_one_vector_is_over_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = golden_subset(tmp_path, "t1_sekai", "t2_sekai")
    tensors = load_file(folder / "t1_sekai.safetensors")
    tensors["velocity"] *= 1 + 3e-6
    save_file(tensors, folder / "t1_sekai.safetensors")
    assert cli.main(["weights", "verify", "--golden", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 within the limit" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.endswith("over")] == ["t1_sekai"]


def test_a_result_that_is_not_a_number_is_over(tmp_path: Path) -> None:
    folder = golden_subset(tmp_path, "t1_sekai")
    tensors = load_file(folder / "t1_sekai.safetensors")
    tensors["history"][0, 0, 0, 0] = float("nan")
    save_file(tensors, folder / "t1_sekai.safetensors")
    (result,) = run_golden(folder)
    assert not result.holds


@pytest.mark.parametrize(("prepare", "sentence"), [
    (lambda folder: None, "holds no golden vectors"),
    (lambda folder: golden_subset(folder), "no vectors"),
    (lambda folder: save_file({"x": torch.zeros(1)}, golden_subset(folder) / "a_sekai.safetensors"),
     "neither a forward pass nor a rollout"),
    (lambda folder: shutil.copyfile(GOLDEN / "t1_sekai.safetensors", golden_subset(folder) / "t1.safetensors"),
     "the modality of its actions"),
    (lambda folder: folder.rmdir(), "is not a folder"),
])
def test_a_folder_without_golden_vectors_is_an_error(tmp_path: Path, prepare, sentence: str,
                                                     capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    prepare(folder)
    assert cli.main(["weights", "verify", "--golden", str(folder)]) == 2
    assert sentence in capsys.readouterr().err


def test_golden_data_stays_small() -> None:
    files = [path for path in GOLDEN.parent.rglob("*") if path.is_file()]
    assert INDEX in {path.name for path in files} and sum(path.stat().st_size for path in files) < 9_000_000
