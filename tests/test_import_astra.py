"""Import of the published network: every name and shape counts, other files are called by their names, memory is
bounded, and what is finished is not written again."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published_files import SMALL, in_diffusers_names, plain_wan, published
from safetensors.torch import load_file, save_file

from astra_play import cli
from astra_play.config import load_world_config
from astra_play.errors import AstraPlayError, WeightsError
from astra_play.model import streamed_file
from astra_play.model.checkpoint import load_model
from astra_play.model.import_astra import convert_network, read_network
from astra_play.model.import_world import MANIFEST_FILE, Part, import_world

TESTS = Path(__file__).parent
CHECKPOINT = "diffusion_pytorch_model.ckpt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(published(), tmp_path / CHECKPOINT)
    return tmp_path / CHECKPOINT


def saved(folder: Path, content: object, name: str = CHECKPOINT) -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def without(tensors: dict, *names: str) -> dict:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_a_published_network_becomes_a_world_in_the_precision_of_its_file(tmp_path: Path, checkpoint: Path) -> None:
    lines = import_world(checkpoint, tmp_path / "world", width=96, height=64)
    assert [line.split(":")[0] for line in lines] == ["model.safetensors", "config.json"]
    config = load_world_config(tmp_path / "world")
    assert config.model == SMALL
    assert (config.width, config.height, config.fps, config.codec.frames_per_latent) == (96, 64, 20, 4)
    assert len(config.stream.sigmas) == 51 and config.stream.latent_frames_per_chunk == 8
    source, ours = published(), load_file(tmp_path / "world" / "model.safetensors")
    assert ours["blocks.1.attention.qkv.weight"].dtype == torch.bfloat16
    assert ours["blocks.1.adapter.weight"].dtype == ours["blocks.1.experts.weight"].dtype == torch.float32
    fused = torch.cat([source[f"blocks.1.self_attn.{name}.weight"] for name in "qkv"])
    assert torch.equal(ours["blocks.1.attention.qkv.weight"], fused)
    assert torch.equal(ours["blocks.0.experts.weight"][2], source["blocks.0.moe.experts.2.0.weight"].t())
    assert torch.equal(ours["history_embedder.layers.4.weight"],
                       source["clean_x_embedder.proj_4x.weight"].flatten(1))
    load_model(tmp_path / "world", config)
    assert [load_world_config(tmp_path / "world", name).controls.modality for name in ("walk", "drive", "arm")] == [
        "camera", "vehicle", "arm"]


@pytest.mark.parametrize("num_experts", [3, 4, 6])
@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_dead_tensors_and_further_experts_are_dropped(tmp_path: Path, num_experts: int, ending: str) -> None:
    path = saved(tmp_path, published(num_experts=num_experts), "astra" + ending)
    network = read_network(path)
    assert network.num_experts_found == num_experts and network.config.num_experts == 3
    convert_network(path, tmp_path / "ours.safetensors")
    assert not any("router" in name or "cam_encoder" in name for name in load_file(tmp_path / "ours.safetensors"))


def test_the_diffusers_layout_makes_the_same_file(tmp_path: Path, checkpoint: Path) -> None:
    renamed = in_diffusers_names(published())
    assert {"scale_shift_table", "blocks.0.attn1.to_q.weight", "blocks.1.norm2.bias", "blocks.1.scale_shift_table",
            "blocks.0.ffn.net.0.proj.weight", "blocks.0.projector.weight", "blocks.0.attn2.to_out.0.bias",
            "condition_embedder.time_proj.weight", "proj_out.bias"} <= renamed.keys()
    convert_network(checkpoint, tmp_path / "one")
    convert_network(saved(tmp_path, renamed, "renamed.safetensors"), tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with pytest.raises(WeightsError, match=r"1 missing \(blocks.0.self_attn.q.weight\)"):
        read_network(saved(tmp_path, without(renamed, "blocks.0.attn1.to_q.weight"), "lacking.safetensors"))


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda t: t.pop("blocks.1.moe.experts.2.0.bias"), r"1 missing \(blocks.1.moe.experts.2.0.bias\)"),
    (lambda t: t.pop("clean_x_embedder.proj_4x.weight"), r"1 missing \(clean_x_embedder.proj_4x.weight\)"),
    (lambda t: t.pop("sekai_processor.projector.0.weight"), "lacks the tensor sekai_processor.projector.0.weight"),
    (lambda t: t.update({"blocks.0.extra": torch.zeros(2)}), r"1 not known \(blocks.0.extra\)"),
    (lambda t: t.update({"blocks.0.norm3.bias": torch.zeros(64)}), r"blocks.0.norm3.bias is \[64\], not \[128\]"),
    (lambda t: t.update({"head.head.bias": torch.zeros(64, dtype=torch.int8)}), r"precision \(head.head.bias is i"),
    (lambda t: t.update({"patch_embedding.weight": torch.zeros(128, 64)}), "must have 5 axes"),
])
def test_a_tensor_that_is_wrong_is_named(tmp_path: Path, change, sentence: str) -> None:
    tensors = published()
    change(tensors)
    with pytest.raises(WeightsError, match=sentence):
        read_network(saved(tmp_path, tensors))


def test_a_value_that_is_not_a_number_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    tensors = published()
    tensors["blocks.1.ffn.2.bias"][3] = float("inf")
    with pytest.raises(WeightsError, match="blocks.1.mlp.down.bias .* not numbers"):
        import_world(saved(tmp_path, tensors), tmp_path / "world", width=96, height=64)
    assert list((tmp_path / "world").iterdir()) == []


FOREIGN = {
    "Lightning checkpoint (its tensors lie under": {"state_dict": {"pipe.dit.x": torch.zeros(1)}, "epoch": 3},
    "Lightning checkpoint (its tensors carry": {f"pipe.dit.{name}": t for name, t in published().items()},
    "plain Wan network": plain_wan(published()),
    "a LoRA": {"blocks.0.self_attn.q.lora_A.default.weight": torch.zeros(2, 2)},
    "UMT5 text encoder": {"token_embedding.weight": torch.zeros(2, 2), "blocks.0.attn.q.weight": torch.zeros(2, 2)},
    "the VAE of Wan": {"encoder.conv1.weight": torch.zeros(1), "decoder.conv1.weight": torch.zeros(1)},
    "a tiny autoencoder": {"encoder.0.weight": torch.zeros(1), "decoder.1.weight": torch.zeros(1)},
    "image-to-video": plain_wan(published()) | {"img_emb.proj.0.weight": torch.zeros(1)},
    "Stable Diffusion or ComfyUI": {"model.diffusion_model.x": torch.zeros(1)},
    "Self-Forcing family": {"generator_ema": {"model.x": torch.zeros(1)}},
    "a training state": {"x": torch.zeros(1), "optimizer": {"lr": 1.0}},
    "a world of this player already": {"blocks.0.attention.qkv.weight": torch.zeros(1)},
    "does not know (its tensors begin with decoder.0, encoder.0)": {"encoder.0": torch.zeros(1),
                                                                   "decoder.0": torch.zeros(1)},
    "no dictionary of tensors but Tensor": torch.zeros(3),
    "no dictionary of tensors but dict": {},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_file_is_refused_by_its_name_in_one_sentence(tmp_path: Path, name: str,
                                                             capsys: pytest.CaptureFixture) -> None:
    path = saved(tmp_path, FOREIGN[name])
    assert cli.main(["weights", "import", "astra", "--checkpoint", str(path), "--out", str(tmp_path / "world")]) == 2
    said = capsys.readouterr().err
    assert name in said and said.count("\n") == 1 and str(path) in said
    assert not (tmp_path / "world").exists()


def test_the_plain_wan_network_in_diffusers_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a plain Wan network"):
        read_network(saved(tmp_path, in_diffusers_names(plain_wan(published())), "wan.safetensors"))


class Harmful:
    def __reduce__(self) -> tuple:
        return os.system, ("echo harm",)


@pytest.mark.parametrize(("write", "sentence"), [
    (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    (lambda path: path.write_bytes(b"<!DOCTYPE html><html></html>"), "a web page"),
    (lambda path: path.write_bytes(b"GGUF" + bytes(60)), "GGUF"),
    (lambda path: path.write_bytes(bytes(100)), r"\(100 bytes\) is neither"),
    (lambda path: path.write_bytes(b""), r"\(0 bytes\) is neither"),
    (lambda path: torch.save({"x": Harmful()}, path), "would run its code"),
    (lambda path: torch.save(published(), path, _use_new_zipfile_serialization=False), "a pickle of an old kind"),
    (lambda path: torch.save(published(), path) or path.write_bytes(path.read_bytes()[:200_000]), "not a whole checkp"),
    (lambda path: save_file(published(), path) or path.write_bytes(path.read_bytes()[:200_000]), "not a whole safe"),
    (lambda path: None, "does not exist"),
    (lambda path: path.mkdir(), r"holds 0 \(none\)"),
])
def test_a_broken_file_is_an_error_that_says_what_it_is(tmp_path: Path, write, sentence: str) -> None:
    write(tmp_path / CHECKPOINT)
    with pytest.raises(WeightsError, match=sentence):
        read_network(tmp_path / CHECKPOINT)


def test_heads_come_from_the_config_beside_the_file_or_from_the_width(tmp_path: Path, checkpoint: Path) -> None:
    assert read_network(checkpoint).config.num_heads == 1
    for told, heads in (({"num_heads": 4}, 4), ({"heads": 2}, 2), ({"num_attention_heads": 8}, 8), ({"dim": 128}, 1)):
        (tmp_path / "config.json").write_text(json.dumps(told))
        assert read_network(checkpoint).config.num_heads == heads
    (tmp_path / "config.json").write_text('{"heads": 5}')
    with pytest.raises(AstraPlayError, match="gives 5 heads, into which a width of 128"):
        read_network(checkpoint)
    (tmp_path / "config.json").unlink()
    odd = {name: t for name, t in published().items() if name != "patch_embedding.weight"}
    odd["patch_embedding.weight"] = torch.zeros(160, 16, 1, 2, 2)
    with pytest.raises(WeightsError, match="is 160 wide, which does not tell"):
        read_network(saved(tmp_path, odd))


def test_a_picture_size_that_the_network_cannot_cut_is_refused_before_anything_is_written(tmp_path: Path,
                                                                                         checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="100x64: .*give another --width"):
        import_world(checkpoint, tmp_path / "world", width=100, height=64)
    assert not (tmp_path / "world").exists()


def test_a_full_disk_is_seen_beforehand(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(streamed_file.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(WeightsError, match="but its disk has 0.00 GB free"):
        convert_network(checkpoint, tmp_path / "model.safetensors")


# --- resuming -------------------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from astra_play.model import streamed_file
from astra_play.model.import_world import import_world
whole = streamed_file._blocks
def cut(header, pieces, path):
    for number, block in enumerate(whole(header, pieces, path)):
        if number == 20:
            os._exit(9)  # as if killed: nothing is cleaned up
        yield block
streamed_file._blocks = cut
import_world(Path(sys.argv[1]), Path(sys.argv[2]), width=96, height=64)
"""


def test_a_killed_import_leaves_no_world_and_the_next_one_finishes_it(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "world"
    done = subprocess.run([sys.executable, "-c", KILLED, str(checkpoint), str(out)], cwd=TESTS.parent)
    assert done.returncode == 9
    assert [path.name for path in out.iterdir()] == ["model.safetensors.part"]
    import_world(checkpoint, out, width=96, height=64)
    convert_network(checkpoint, tmp_path / "straight")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "straight").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["config.json", MANIFEST_FILE, "model.safetensors"]


def test_a_finished_part_is_written_once_unless_file_or_source_changed(tmp_path: Path, checkpoint: Path) -> None:
    out, calls = tmp_path / "world", []

    def copy(source: Path, output: Path) -> None:
        calls.append(source.name)
        output.write_bytes(source.read_bytes())

    def broken(source: Path, output: Path) -> None:
        raise WeightsError("the second part is broken")

    second = tmp_path / "vae.pth"
    second.write_bytes(b"weights of a codec")
    with pytest.raises(WeightsError, match="second part"):
        import_world(checkpoint, out, [Part("codec.safetensors", second, broken)], width=96, height=64)
    assert not (out / "config.json").exists()  # no world yet
    written = (out / "model.safetensors").stat().st_mtime_ns
    parts = [Part("codec.safetensors", second, copy)]
    lines = import_world(checkpoint, out, parts, width=96, height=64)
    assert "finished by an earlier run" in lines[0] and (out / "model.safetensors").stat().st_mtime_ns == written
    import_world(checkpoint, out, parts, width=96, height=64)
    assert calls == ["vae.pth"]
    (out / "codec.safetensors").write_bytes(b"Weights of a codec")  # damaged since
    import_world(checkpoint, out, parts, width=96, height=64)
    second.write_bytes(b"other weights")
    import_world(checkpoint, out, parts, width=96, height=64)
    assert calls == ["vae.pth"] * 3 and (out / "codec.safetensors").read_bytes() == b"other weights"
    (out / MANIFEST_FILE).write_text("{")  # cut short by a crash
    import_world(checkpoint, out, parts, width=96, height=64)
    assert calls == ["vae.pth"] * 4
    torch.save(published(seed=1), checkpoint)  # another network under the same name
    assert "from " in import_world(checkpoint, out, parts, width=96, height=64)[0]


# --- memory ---------------------------------------------------------------------------------------------------------

WATCHED = """
import sys
from pathlib import Path
from astra_play.model import streamed_file
from astra_play.model.import_astra import convert_network
def own_mb():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 1024
before, peak, whole = own_mb(), [0.0], streamed_file._blocks
def watched(*args):
    for block in whole(*args):
        peak[0] = max(peak[0], own_mb())
        yield block
streamed_file._blocks = watched
convert_network(Path(sys.argv[1]), Path(sys.argv[2]))
print(peak[0] - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_memory_holds_a_few_tensors_and_never_the_file(tmp_path: Path, ending: str) -> None:
    config = dataclasses.replace(SMALL, dim=512, num_heads=4, ffn_dim=2048, num_layers=6)
    path = saved(tmp_path, published(config), "astra" + ending)
    size_mb, largest_mb = path.stat().st_size / 2**20, 512 * 16 * 4 * 64 * 4 / 2**20
    assert size_mb > 50
    done = subprocess.run([sys.executable, "-c", WATCHED, str(path), str(tmp_path / "out")], cwd=TESTS.parent,
                          capture_output=True, text=True, check=True)
    assert float(done.stdout) < largest_mb + 16 < size_mb / 2
