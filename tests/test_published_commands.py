"""Published files end to end on a CPU, in small: weights import, verify, list, render of every kind, and play."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_published import HEIGHT, WIDTH, PublishedFiles, make_published_files, make_tiny_published, shorten_chunks

from astra_play import cli, paths
from astra_play.config import load_world_config
from astra_play.model.checkpoint import load_model, verify_folder
from astra_play.model.import_world import published_config
from astra_play.model.precision import set_precision

SIZE = ["--width", str(WIDTH), "--height", str(HEIGHT)]


@pytest.fixture
def files(tmp_path: Path) -> PublishedFiles:
    return make_published_files(tmp_path / "files")


def import_astra(files: PublishedFiles, out: Path, *options: str) -> int:
    return cli.main(["weights", "import", "astra", "--checkpoint", str(files.checkpoint), "--out", str(out), *SIZE,
                     *options])


def test_from_the_published_files_to_clips_and_live_play(files: PublishedFiles, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture) -> None:
    world = tmp_path / "weights" / "astra"
    monkeypatch.setattr(paths, "weights_folder", lambda: world.parent)
    monkeypatch.setattr("astra_play.weights_cli.weights_folder", lambda: world.parent)
    assert import_astra(files, world, "--wan", str(files.wan), "--taehv", str(files.taehv)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"the world {world} is complete"
    assert cli.main(["weights", "verify", "astra"]) == 0
    verified = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip() for line in verified] == [
        "config.json", "model.safetensors", "codec.safetensors", "preview.safetensors", "text"]
    assert cli.main(["weights", "list"]) == 0
    assert capsys.readouterr().out.startswith(f"astra        {WIDTH}x{HEIGHT} at 20 fps, ")

    shorten_chunks(world)
    picture, script = tmp_path / "start.png", tmp_path / "walk.jsonl"
    Image.effect_noise((120, 70), 60).save(picture)
    script.write_text('{"t": 0, "key": "w", "down": true}\n{"t": 0.3, "mouse": [40, -10]}\n')
    clips = {"preset": ["astra", "--preset", "4", "--prompt", "the garden"], "drive": ["astra/drive"],
             "arm": ["astra/arm"], "script": ["astra", "--script", str(script)]}
    for name, (own, *options) in clips.items():
        assert cli.main(["render", "--world", own, "--image", str(picture), "--out", str(tmp_path / name),
                         "--latents", "3", "--steps", "1", *options]) == 0
        assert "13 frames at 20 fps" in capsys.readouterr().out, name
    shown = [np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).iterdir())]) for name in clips]
    assert all(frames.shape == (13, HEIGHT, WIDTH, 3) for frames in shown)
    assert all((frames[0] == shown[0][0]).all() for frames in shown)  # the start picture's frame
    assert len({frames.tobytes() for frames in shown}) == len(clips)

    stats = tmp_path / "stats.json"
    assert cli.main(["play", "--world", "astra", "--image", str(picture), "--prompt", "the garden", "--headless",
                     "--seconds", "2", "--stats-json", str(stats)]) == 0
    assert json.loads(stats.read_text())["frames"] > 0


def test_play_takes_a_memory_mode_that_worlds_without_any_refuse(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    world, picture = make_tiny_published(tmp_path / "astra"), tmp_path / "start.png"
    shorten_chunks(world)
    Image.effect_noise((120, 70), 60).convert("RGB").save(picture)
    played = ["play", "--headless", "--seconds", "0.2", "--memory", "8"]
    assert cli.main([*played, "--world", str(world), "--image", str(picture)]) == 0
    assert cli.main([*played, "--world", "mini"]) == 2
    assert "knows no memory modes" in capsys.readouterr().err


def test_network_alone_is_imported_and_the_rest_is_asked_for(files: PublishedFiles, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture) -> None:
    world = tmp_path / "astra"
    assert import_astra(files, world) == 0
    assert "is not complete: it lacks codec.safetensors, text/; run weights import again with --wan DIR" in (
        capsys.readouterr().out.splitlines()[-1])
    written = (world / "model.safetensors").stat().st_mtime_ns
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "start.png")
    for command in (["weights", "verify", str(world)],
                    ["render", "--world", str(world), "--image", str(tmp_path / "start.png"), "--out",
                     str(tmp_path / "out")]):
        assert cli.main(command) != 0
        assert "it lacks codec.safetensors, text/" in capsys.readouterr().err
    assert import_astra(files, world, "--wan", str(files.wan)) == 0
    said = capsys.readouterr().out
    assert "model.safetensors: 2.3 MB, finished by an earlier run" in said and said.endswith("is complete\n")
    assert (world / "model.safetensors").stat().st_mtime_ns == written
    assert import_astra(files, world, "--taehv", str(files.taehv)) == 0  # what is there already stays a part of it
    assert capsys.readouterr().out.endswith("is complete\n")
    config = load_world_config(world)
    assert (config.codec.base_width, config.preview_codec.kind) == (8, "taehv")
    assert len(verify_folder(world)) == 5


def test_listing_names_what_an_unfinished_world_lacks(files: PublishedFiles, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(paths, "weights_folder", lambda: tmp_path / "weights")
    import_astra(files, tmp_path / "weights" / "astra")
    capsys.readouterr()
    assert cli.main(["weights", "list"]) == 0
    assert "it lacks codec.safetensors, text/" in capsys.readouterr().out


@pytest.mark.parametrize(("damage", "words"), [
    (lambda files: (files.wan / "Wan2.1_VAE.pth").write_bytes(b"PK cut"), "is not a whole torch file"),
    (lambda files: (files.wan / "Wan2.1_VAE.pth").unlink(), "holds none of Wan2.1_VAE.pth"),
    (lambda files: (files.wan / "models_t5_umt5-xxl-enc-bf16.pth").unlink(), "holds no text encoder"),
    (lambda files: files.taehv.unlink(), "taew2_1"),
    (lambda files: torch.save({"lora_A": torch.zeros(1)}, files.checkpoint), "is a LoRA"),
])
def test_wrong_or_missing_file_is_one_sentence(files: PublishedFiles, tmp_path: Path, damage, words: str,
                                               capsys: pytest.CaptureFixture) -> None:
    damage(files)
    assert import_astra(files, tmp_path / "astra", "--wan", str(files.wan), "--taehv", str(files.taehv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("astra-play: ")]
    assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "astra" / "config.json").exists()


def test_walk_has_the_published_controls_and_live_play_short_chunks(tmp_path: Path) -> None:
    config = load_world_config(make_tiny_published(tmp_path / "astra"))
    assert config.controls.move_axes == "after_turn" and config.controls.move_m_s == pytest.approx(0.15)
    live = config.played_live().stream
    assert (live.latent_frames_per_chunk, len(live.sigmas) - 1, live.solver) == (2, 6, "unipc")
    assert (live.shift, live.framepack_cache_sigma) == (3.0, 1.0)
    assert config.stream.framepack_cache_sigma == 0 and len(config.stream.sigmas) == 51
    published = published_config()
    assert (published.stream, published.live) == (config.stream, config.live)


# --- loading large networks -------------------------------------------------------------------------------------------

def test_published_network_is_loaded_without_drawing_random_weights(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_tiny_published(tmp_path / "astra")
    config, stored = load_world_config(world), load_file(world / "model.safetensors")

    def refuse(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        assert tensor.is_meta, "random weights were drawn"
        return tensor

    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", refuse)
    whole, mapped = load_model(world, config), load_model(world, config, None)
    for name, parameter in whole.named_parameters():
        assert parameter.dtype == torch.float32 and torch.equal(parameter, stored[name].float()), name
    for name, parameter in mapped.named_parameters():
        assert parameter.dtype == stored[name].dtype and torch.equal(parameter, stored[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "reference_bf16"])
def test_precision_of_a_network_as_published_is_that_of_one_read_in_float32(tmp_path: Path, precision: str) -> None:
    world = make_tiny_published(tmp_path / "astra")
    config = load_world_config(world)
    one, other = (set_precision(load_model(world, config, dtype), precision) for dtype in (torch.float32, None))
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), name
