"""`render` of published weights, through the command line: the reference's run made by hand gives the same frames, and
what means nothing is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_published import HEIGHT, WIDTH, make_tiny_published, shorten_chunks
from tiny_world import make_tiny_world

from astra_play import cli
from astra_play.actions import presets
from astra_play.actions.keymap import default_keymap
from astra_play.actions.rows import camera_motion
from astra_play.actions.script import parse_script
from astra_play.actions.sources import ScriptedSource
from astra_play.codec import pixels
from astra_play.config import load_world_config
from astra_play.model import memory
from astra_play.model.checkpoint import load_codec, load_model
from astra_play.model.framepack_history import FramePackHistory
from astra_play.model.sampler import sigma_schedule
from astra_play.model.text import text_states
from astra_play.render_options import RenderOptions
from astra_play.render_published import motion_of, script_motion

PROMPT = "walk through the garden"


@pytest.fixture(scope="module")
def astra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shorten_chunks(make_tiny_published(tmp_path_factory.mktemp("worlds") / "astra"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def frames_of(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def rendered(world: Path | str, image: Path, out: Path, *options: str) -> np.ndarray:
    """Render to PNGs by the command line and return the frames."""
    assert cli.main(["render", "--world", str(world), "--image", str(image), "--out", str(out), "--steps", "2",
                     *options]) == 0
    return frames_of(out)


def by_hand(world: Path, image: Path, table: np.ndarray, seed: int, scale: float) -> np.ndarray:
    """The reference's run without World: the table anew for each chunk, Euler steps, everything decoded at the end."""
    config = load_world_config(world)
    model, codec = load_model(world, config), load_codec(world, config)
    history = FramePackHistory(model, config.stream, config.controls.modality)
    history.set_text(text_states([PROMPT], world / "text")[0])
    start = pixels.to_float(torch.tensor(pixels.load_start_image(image, config.width, config.height)))[None, None]
    rows = torch.tensor(table)[None]
    generator, sigmas = torch.Generator().manual_seed(seed), sigma_schedule(2, 5.0)
    with torch.inference_mode():
        clip = codec.encode(start)
        history.push(clip, rows[:, :1])
        while clip.shape[1] < rows.shape[1]:
            done = clip.shape[1]
            own = rows[:, done:done + config.stream.latent_frames_per_chunk]
            x = torch.randn(1, own.shape[1], *clip.shape[2:], generator=generator)
            for sigma, lower in zip(sigmas, sigmas[1:], strict=False):
                x = x + history.velocity(x, sigma, own, scale) * (lower - sigma)
            history.push(x, own)
            clip = torch.cat([clip, x], dim=1)
        return pixels.to_uint8(codec.decode(clip)[0]).numpy()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_frames_are_those_of_the_run_made_by_hand(astra: Path, picture: Path, tmp_path: Path, scale: float) -> None:
    """An S curve of three chunks, the last one shorter."""
    table = presets.preset_rows("s-curve", num_history=1, num_generated=5)
    expected = by_hand(astra, picture, table, seed=3, scale=scale)
    frames = rendered(astra, picture, tmp_path / "out", "--preset", "6", "--latents", "5", "--seed", "3",
                      "--prompt", PROMPT, "--guidance", str(scale))
    assert frames.shape == expected.shape == (21, HEIGHT, WIDTH, 3)
    assert np.abs(frames.astype(int) - expected).max() <= 1  # a float's last digit may fall on the other side of a half


def test_guidance_prompt_solver_and_decoder_each_change_the_frames(astra: Path, picture: Path, tmp_path: Path) -> None:
    variants = {"plain": (), "prompt": ("--prompt", PROMPT), "solver": ("--solver", "unipc"),
                "preview": ("--decoder", "preview"), "preset": ("--preset", "left"), "seed": ("--seed", "1"),
                "guided": ("--prompt", PROMPT, "--text-guidance", "3", "--negative-prompt", "fog"),
                "rounded": ("--precision", "bfloat16")}
    made = {name: rendered(astra, picture, tmp_path / name, "--latents", "2", *options)
            for name, options in variants.items()}
    assert all(frames.shape == (9, HEIGHT, WIDTH, 3) for frames in made.values())
    assert len({frames.tobytes() for frames in made.values()}) == len(variants)


@pytest.mark.parametrize("mode", ["8", "16", "24", "full"])
def test_memory_modes_give_the_same_frames_where_they_only_move_things(astra: Path, picture: Path, tmp_path: Path,
                                                                      mode: str) -> None:
    plain = rendered(astra, picture, tmp_path / "plain", "--latents", "3")
    moved = rendered(astra, picture, tmp_path / "moved", "--latents", "3", "--memory", mode)
    assert np.abs(plain.astype(int) - moved).max() <= 1


def test_length_is_24_latents_or_as_many_frames_as_asked_for(astra: Path, picture: Path, tmp_path: Path) -> None:
    config = load_world_config(astra)
    for options, latents in (({}, 24), ({"num_latents": 7}, 7), ({"num_frames": 1}, 0), ({"num_frames": 6}, 2)):
        assert motion_of(RenderOptions(tmp_path, **options), config).num_latents == latents
    assert len(rendered(astra, picture, tmp_path / "six", "--frames", "6")) == 6


def test_key_caps_are_drawn_into_the_corners_only(astra: Path, picture: Path, tmp_path: Path) -> None:
    plain, drawn = (rendered(astra, picture, tmp_path / name, "--latents", "1", *options)
                    for name, options in (("plain", ()), ("drawn", ("--overlay",))))
    changed = (plain != drawn).any(axis=(0, 3))
    assert changed[HEIGHT // 2:].any() and not changed[:HEIGHT // 2].any()


# --- what moves -----------------------------------------------------------------------------------------------------

def test_other_scenarios_play_the_motion_of_the_published_demos(astra: Path, tmp_path: Path) -> None:
    drive, arm = (motion_of(RenderOptions(tmp_path, num_latents=4), load_world_config(astra, scenario))
                  for scenario in ("drive", "arm"))
    assert np.array_equal(drive.rows, presets.arc_rows(5)) and np.array_equal(arm.rows, presets.arm_motion_rows(5))


def test_scripted_key_moves_the_latent_frame_during_which_it_is_held(astra: Path) -> None:
    """Held from 0.2 s to 0.6 s at five latent frames a second: led into by the frames 1 and 2, left by 0 and 1."""
    events = parse_script('{"t": 0.2, "key": "w", "down": true}\n{"t": 0.6, "key": "w", "down": false}')
    motion = script_motion(ScriptedSource(events, default_keymap()), load_world_config(astra), 6)
    walked = [round(camera_motion(row)[0], 4) for row in motion.rows]
    assert walked == [0.0, 0.03, 0.03, 0.0, 0.0, 0.0]
    assert [camera_motion(row)[0] > 0 for row in motion.shown] == [False, False, True, True, False, False]


def test_poses_become_rows_between_them(astra: Path, tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 2, 3] = -0.01 * np.arange(9)
    (tmp_path / "walk.json").write_text(json.dumps(poses.tolist()))
    options = RenderOptions(tmp_path, num_latents=3, poses=tmp_path / "walk.json")
    for scenario in ("walk", "arm"):
        rows = motion_of(options, load_world_config(astra, scenario)).rows
        assert [round(camera_motion(row)[0], 4) for row in rows] == [0.04, 0.04, 0.0, 0.0]
    keyframes = {"translations": [[0, 0, 0], [1, 2, 3]], "quaternions": [[1, 0, 0, 0], [0, 0, 0, 1]]}
    (tmp_path / "walk.json").write_text(json.dumps(keyframes))
    rows = motion_of(options, load_world_config(astra, "drive")).rows
    assert rows.tolist() == [[0, 0, 0, 1, 0, 0, 0], [1, 2, 3, 0, 0, 0, 1]] + [[0, 0, 0, 1, 0, 0, 0]] * 2


# --- input that works, and input that does not ------------------------------------------------------------------------

def test_transparent_picture_is_laid_on_black_and_a_long_prompt_is_cut(astra: Path, tmp_path: Path,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "black.png")
    prompt = ("--prompt", "garden path " * 834, "--latents", "1")
    assert len(prompt[1]) > 10_000
    clear, black = (rendered(astra, tmp_path / f"{name}.png", tmp_path / name, *prompt) for name in ("clear", "black"))
    assert np.array_equal(clear, black)
    assert "the first 511 are used and the rest is cut off" in caplog.text


def sentence_of(capsys: pytest.CaptureFixture, *argv: str) -> str:
    assert cli.main(["render", *argv]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("astra-play: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(("scenario", "options", "words"), [
    ("", ["--preset", "8"], "there is no preset '8'; presets are 1 forward"),
    ("", ["--preset", "forwrad"], "there is no preset 'forwrad'; did you mean 'forward'?"),
    ("", ["--preset", "1", "--script", "x.jsonl"], "--preset and --script each say how to move; give one of them"),
    ("", ["--script", "x.jsonl"], "the script x.jsonl does not exist"),
    ("", ["--poses", "x.json"], "x.json does not exist"),
    ("", ["--latents", "3", "--frames", "9"], "--latents and --frames both give a length"),
    ("", ["--negative-prompt", "fog"], "--negative-prompt is read only with text guidance"),
    ("", ["--steps", "101"], "must be 1 to 100, but is 101"),
    ("/drive", ["--preset", "1"], "--preset moves a camera, but 'drive' follows poses"),
    ("/arm", ["--script", "x.jsonl"], "--script moves a camera, but 'arm' follows poses"),
    ("/arm", ["--overlay"], "--overlay draws the keys of a walk, and 'arm' has none"),
    ("/fly", [], "has no scenario 'fly'"),
])
def test_bad_option_is_named_before_anything_is_loaded(
        astra: Path, picture: Path, tmp_path: Path, scenario: str, options: list[str], words: str,
        capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astra_play.model.loading.load_world", lambda *args: pytest.fail("loaded"))
    assert words in sentence_of(capsys, "--world", f"{astra}{scenario}", "--image", str(picture), "--out",
                                str(tmp_path / "out"), *options)


@pytest.mark.parametrize(("content", "words"), [
    ("{", "is not valid JSON"), ("[]", "holds no poses"), ('["a"]', "does not hold lists of numbers"),
    ("[[1, 2], [3]]", "does not hold lists of numbers"), ("[[1, 2]]", "must be finite matrices of shape (F, 4, 4)"),
    (json.dumps(np.zeros((9, 4, 4)).tolist()), "cannot be inverted"),
])
def test_nonsense_in_a_file_of_poses_is_named(astra: Path, picture: Path, tmp_path: Path, content: str, words: str,
                                              capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "poses.json").write_text(content)
    assert words in sentence_of(capsys, "--world", str(astra), "--image", str(picture), "--out", str(tmp_path / "out"),
                                "--poses", str(tmp_path / "poses.json"))


@pytest.mark.parametrize(("options", "words"), [
    (["--preset", "1", "--prompt", "a garden"], "does not take --preset, --prompt, since only worlds of published"),
    (["--overlay"], "does not take --overlay"), (["--memory", "8"], "does not take --memory"),
    ([], "required: --frames N"),
])
def test_worlds_of_our_own_refuse_what_they_would_ignore(tmp_path: Path, options: list[str], words: str,
                                                         capsys: pytest.CaptureFixture) -> None:
    world = make_tiny_world(tmp_path / "world")
    frames = ["--frames", "1"] if options else []
    assert words in sentence_of(capsys, "--world", str(world), "--out", str(tmp_path / "out"), *frames, *options)


def test_missing_start_picture_is_asked_for(astra: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "give one with --image" in sentence_of(capsys, "--world", str(astra), "--out", str(tmp_path / "out"))


def test_too_little_memory_is_said_with_the_numbers(astra: Path, picture: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    sentence = sentence_of(capsys, "--world", str(astra), "--image", str(picture), "--out", str(tmp_path / "out"))
    assert "needs 0.0 GB on cpu in the memory mode 8" in sentence and "but 0.0 GB are free" in sentence
    assert not (tmp_path / "out").exists()
