"""Bad input from the command line inwards: one clear sentence on stderr and status 2, whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_world import make_tiny_world

from astra_play import cli


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def rename_setting(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tilte"] = config.pop("title")
    path.write_text(json.dumps(config), encoding="utf-8")


def sentence_of(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    """Run a command line that must fail, and return its one sentence."""
    assert cli.main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("astra-play: ")]
    assert len(lines) == 1
    return lines[0]


DAMAGED_WORLDS = {
    "missing weights": (lambda world: (world / "model.safetensors").unlink(), "model.safetensors does not exist"),
    "truncated weights": (lambda world: (world / "model.safetensors").write_bytes(
        (world / "model.safetensors").read_bytes()[:1000]), "(1000 bytes) is not a whole safetensors file"),
    "empty weights": (lambda world: (world / "codec.safetensors").write_bytes(b""), "(0 bytes) is not a whole"),
    "another shape": (lambda world: change_tensors(world / "model.safetensors", lambda t: t.update(
        {"head.bias": torch.zeros(3)})), "head.bias is [3]"),
    "extra keys": (lambda world: change_tensors(world / "codec.safetensors", lambda t: t.update(
        {"surplus": torch.zeros(3)})), "1 not known (surplus)"),
    "misspelt setting": (lambda world: rename_setting(world / "config.json"), "'tilte'; did you mean 'title'?"),
    "no config": (lambda world: (world / "config.json").unlink(), "holds no config.json"),
}


@pytest.mark.parametrize("case", DAMAGED_WORLDS)
@pytest.mark.parametrize("command", ["play", "render"])
def test_damaged_world_is_named_with_what_is_wrong(command: str, case: str, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture) -> None:
    damage, words = DAMAGED_WORLDS[case]
    world = make_tiny_world(tmp_path / "world")
    damage(world)
    options = {"play": ["--headless", "--seconds", "0.1"], "render": ["--frames", "1", "--out", str(tmp_path / "out")]}
    assert words in sentence_of([command, "--world", str(world), *options[command]], capsys)
    assert not (tmp_path / "out").exists()


def cut_picture(path: Path) -> None:
    Image.effect_noise((64, 48), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])


PICTURES = {
    "text.png": lambda path: path.write_text("no picture"),
    "dot.png": lambda path: Image.new("RGB", (1, 1)).save(path),
    "none.png": lambda path: None,
    "cut.png": cut_picture,
    "large.png": lambda path: Image.new("1", (16_000, 13_000)).save(path),
}


@pytest.mark.parametrize(("name", "words"), [
    ("text.png", "is not a picture that can be read"), ("dot.png", "is 1 x 1 pixels"), ("none.png", "does not exist"),
    ("cut.png", "cannot be read as a picture"), ("large.png", "million pixels"),
])
@pytest.mark.parametrize("command", ["play", "render"])
def test_start_picture_that_cannot_be_used_is_named(command: str, name: str, words: str, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture) -> None:
    world = make_tiny_world(tmp_path / "world")
    PICTURES[name](tmp_path / name)
    options = {"play": ["--headless", "--seconds", "0.1"], "render": ["--frames", "1", "--out", str(tmp_path / "out")]}
    sentence = sentence_of([command, "--world", str(world), "--image", str(tmp_path / name), *options[command]], capsys)
    assert name in sentence and words in sentence


@pytest.mark.parametrize("line", ["walk!", "[1, 2]", '{"t": 0.5, "key": "w"}', '{"t": -1, "press": "w"}',
                                  '{"t": 0, "press": "wasd"}', '{"t": 0, "mouse": [1e999, 0]}'])
def test_nonsense_in_a_script_is_named_with_its_line(line: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "walk.jsonl"
    path.write_text('{"t": 0, "press": "w"}\n' + line + "\n", encoding="utf-8")
    assert "walk.jsonl, line 2: " in sentence_of(["play", "--headless", "--script", str(path)], capsys)


@pytest.mark.parametrize("command", ["bench", "evaluate"])
def test_folder_missing_for_the_figures_is_said_before_minutes_of_measuring(
        command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("astra_play.paths.find_world", lambda name: pytest.fail("it began to measure"))
    sentence = sentence_of([command, "--json", str(tmp_path / "missing" / "figures.json")], capsys)
    assert "--json" in sentence and f"make {tmp_path / 'missing'} first" in sentence


def test_unknown_key_in_the_players_keymap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "keymap.toml"
    path.write_text('[keys]\n"spcae" = "forward"\n', encoding="utf-8")
    monkeypatch.setattr("astra_play.actions.keymap.user_keymap_path", lambda: path)
    sentence = sentence_of(["play"], capsys)
    assert "keymap.toml [keys] \"spcae\" is not the name of a key; did you mean 'space'?" in sentence


def test_no_display_is_said_with_a_way_to_play_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    sentence = sentence_of(["play", "--world", str(make_tiny_world(tmp_path / "world"))], capsys)
    assert "no window can be opened here" in sentence and "play --headless" in sentence
