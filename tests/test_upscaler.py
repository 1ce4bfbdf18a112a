"""The upscaler: what it is before it has learned, what leaves the world through it and what does not, how it learns."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_filter import naive_bicubic, naive_twice_as_large, naive_upscale
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row
from astra_play.chunks import ActionChunk, ActionSample
from astra_play.cli import main
from astra_play.codec import pixels
from astra_play.codec.mini import MiniCodec
from astra_play.codec.upscaler import FACTOR, Upscaler, interpolated
from astra_play.config import load_world_config
from astra_play.errors import ConfigError
from astra_play.model.checkpoint import CODEC_FILE, MODEL_FILE, load_codec, save_module
from astra_play.model.loading import load_world
from astra_play.record.reader import read_head
from astra_play.train import codec_loop, upscaler_loop
from astra_play.train.upscaler_loop import Pairs, draw_pairs, fit, mean_psnr_db, varied, worn

LARGE = dataclasses.replace(TINY_WORLD.codec, upscaler_width=4)


def learned() -> Upscaler:
    """An upscaler that adds something."""
    torch.manual_seed(0)
    upscaler = Upscaler(4)
    with torch.no_grad():
        for parameter in upscaler.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return upscaler.eval().requires_grad_(False)


def some_pictures(count: int, seed: int = 0, size: tuple[int, int] = (12, 16)) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def test_untrained_upscaler_interpolates() -> None:
    pictures = some_pictures(2)
    shown = Upscaler(8)(pictures)
    assert shown.shape == (2, 3, 24, 32)
    for own, picture in zip(shown, pictures, strict=True):
        assert torch.allclose(own, naive_twice_as_large(picture), atol=1e-6)


def test_upscaler_is_its_naive_twin() -> None:
    upscaler, pictures = learned(), some_pictures(3)
    shown = upscaler(pictures)
    for own, picture in zip(shown, pictures, strict=True):
        assert torch.allclose(own, naive_upscale(upscaler, picture), atol=1e-5)
        assert (own - naive_twice_as_large(picture)).abs().max() > 0.05


def test_frames_leave_large_and_the_world_goes_on_as_without(tmp_path: Path) -> None:
    """Latents and carried pictures are those of the same weights without an upscaler, frame by frame."""
    plain, large = load_pair(tmp_path)
    start = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    shown = [world.prefill(start) for world in (plain, large)]
    assert np.array_equal(shown[0], start) and shown[1].shape == (2, 64, 64, 3)
    for index in range(5):
        frames = [world.step(ActionChunk(ActionSample(), camera_row(0.2, 0.0, 0.1)[None], "camera", index))
                  for world in (plain, large)]
        assert np.array_equal(plain.last_latents, large.last_latents)
        assert torch.equal(plain._run.carried.picture, large._run.carried.picture)
        expected = large._codec.upscaler(plain._run.carried.picture)
        assert frames[0].shape == (1, 32, 32, 3) and np.array_equal(frames[1], pixels.to_uint8(expected).numpy())


def test_interpolation_is_its_naive_twin() -> None:
    pictures = some_pictures(2).sign()  # steep edges between the brightest and the darkest, which it overshoots
    for own, picture in zip(interpolated(pictures), pictures, strict=True):
        assert torch.allclose(own, naive_bicubic(picture), atol=1e-5)


def test_a_world_that_does_not_draw_finely_interpolates_what_it_carries_and_goes_on_alike(tmp_path: Path) -> None:
    fine, coarse = load_pair(tmp_path)[1], load_world(tmp_path / "large", "cpu")
    assert fine.draws_finely and coarse.draws_finely
    coarse.draws_finely = False
    start = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    shown = coarse.prefill(start)
    assert shown.shape == fine.prefill(start).shape == (1, 64, 64, 3)
    twin = pixels.to_uint8(naive_bicubic(pixels.to_float(torch.from_numpy(start))[0])[None]).numpy()
    assert np.abs(shown.astype(int) - twin.astype(int)).max() <= 1, "but for a rounding"
    for index in range(5):
        coarse.draws_finely = index == 3  # and back, which nothing that is remembered notices
        frames = [world.step(ActionChunk(ActionSample(), camera_row(0.2, 0.0, 0.1)[None], "camera", index))
                  for world in (fine, coarse)]
        assert np.array_equal(fine.last_latents, coarse.last_latents)
        assert torch.equal(fine._run.carried.picture, coarse._run.carried.picture)
        assert frames[0].shape == frames[1].shape and np.array_equal(*frames) == coarse.draws_finely
        if not coarse.draws_finely:
            assert np.array_equal(frames[1], pixels.to_uint8(interpolated(coarse._run.carried.picture)).numpy())


def test_a_world_without_an_upscaler_never_draws_finely(tmp_path: Path) -> None:
    plain = load_pair(tmp_path)[0]
    assert not plain.draws_finely
    plain.draws_finely = True
    assert not plain.draws_finely and plain.prefill(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32, 32, 3)


def load_pair(folder: Path) -> list:
    """The same tiny world without and with an upscaler that adds something."""
    make_tiny_world(folder / "plain")
    codec = load_codec(folder / "plain", load_world_config(folder / "plain"))
    codec.upscaler = learned()
    large = make_tiny_world(folder / "large", codec=LARGE)
    save_module(codec, large / CODEC_FILE)
    shutil.copyfile(folder / "plain" / MODEL_FILE, large / MODEL_FILE)
    return [load_world(folder / name, "cpu") for name in ("plain", "large")]


def test_a_world_with_an_upscaler_is_rendered_and_recorded_as_large_as_it_is_shown(tmp_path: Path) -> None:
    from PIL import Image

    world = make_tiny_world(tmp_path / "world", codec=LARGE)
    picture = tmp_path / "start.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(picture)
    script = tmp_path / "walk.jsonl"
    script.write_text(json.dumps({"t": 0.1, "key": "w", "down": True}) + "\n")
    frames = tmp_path / "frames"
    assert main(["play", "--headless", "--world", str(world), "--image", str(picture), "--script", str(script),
                 "--seconds", "1.5", "--record", str(tmp_path / "clip.mp4"), "--frames-dir", str(frames),
                 "--stats-json", str(tmp_path / "s.json"), "--threads", "1"]) == 0
    figures = json.loads((tmp_path / "s.json").read_text())
    assert figures["frame_size"] == [64, 64] and figures["draws_finely"]
    with Image.open(sorted(frames.glob("*.png"))[-1]) as frame:
        assert frame.size == (64, 64)
    head = read_head(tmp_path / "clip.astra")
    assert (head.width, head.height) == (64, 64)


@pytest.mark.parametrize(("changes", "names"), [
    ({"codec": dataclasses.replace(LARGE, upscaler_width=-1)}, "upscaler_width is -1"),
    ({"codec": LARGE, "model": dataclasses.replace(TINY_WORLD.model, anchor="none")}, "the anchor \"moved\"")])
def test_contradictions_are_named(tmp_path: Path, changes: dict, names: str) -> None:
    make_tiny_world(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for part, value in changes.items():
        config[part] = dataclasses.asdict(value)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=names):
        load_world_config(tmp_path)


def test_pairs_show_the_same_moments_in_both_sizes() -> None:
    pytest.importorskip("mujoco")
    pairs = draw_pairs("explore", 5, 1, 64, 48)
    assert pairs.small.shape == (8, 48, 64, 3) and pairs.large.shape == (8, 96, 128, 3)
    shrunk = pairs.large.reshape(8, 48, 2, 64, 2, 3).mean(axis=(2, 4))
    apart = [[np.abs(small - other).mean() for other in shrunk] for small in pairs.small.astype(float)]
    assert all(row[i] < 4 for i, row in enumerate(apart))
    assert all(row[i] == min(row) for i, row in enumerate(apart)) and np.max(apart) > 12


def test_small_pictures_are_worn_by_moving_and_painting() -> None:
    codec, pictures = tiny_codec(), some_pictures(4, size=(32, 32))
    assert not torch.equal(worn(pictures, codec, torch.Generator().manual_seed(0)), pictures)

    def sharpness(x: torch.Tensor) -> float:
        return x.diff(dim=-1).abs().mean().item()

    moved = [upscaler_loop._moved_and_back(pictures, torch.Generator().manual_seed(seed)) for seed in range(4)]
    for own in moved:  # blurred, but in its place: no shift to either side fits better
        errors = {shift: (own.roll(shift, -1) - pictures).abs()[..., 4:-4].mean().item() for shift in (-1, 0, 1)}
        assert sharpness(own) < 0.9 * sharpness(pictures) and errors[0] < 0.6 * min(errors[-1], errors[1])


def tiny_codec() -> MiniCodec:
    torch.manual_seed(0)
    return MiniCodec(TINY_WORLD.codec).eval()


def test_small_and_large_are_cut_and_mirrored_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler_loop, "WORN_SHARE", 0.0)
    monkeypatch.setattr(upscaler_loop, "CROP", 16)
    small = some_pictures(6, size=(32, 40))
    large = small.repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)
    generator, corners = torch.Generator().manual_seed(0), set()
    for _ in range(8):
        cut, cut_large = varied(small, large, tiny_codec(), generator)
        assert cut.shape == (6, 3, 16, 16)
        assert torch.equal(cut_large, cut.repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2))
        corners.add(cut[0, 0, 0, 0].item())
    assert len(corners) > 4


def slanted_edges(count: int, seed: int) -> Pairs:
    """Two colours on either side of a line, with smooth edges in both sizes: 32 and 64 pixels wide."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:192, :192] + 0.5) / 6
    fine = []
    for _ in range(count):
        turn, off = rng.uniform(0, 2 * np.pi), rng.uniform(-8, 8)
        side = np.cos(turn) * (x - 16) + np.sin(turn) * (y - 16) > off
        fine.append(np.where(side[..., None], rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)))
    fine = np.stack(fine)

    def shrunk(times: int) -> np.ndarray:
        side = 192 // times
        return fine.reshape(count, side, times, side, times, 3).mean(axis=(2, 4)).round().astype(np.uint8)

    return Pairs(shrunk(6), shrunk(3))


def test_learning_draws_edges_sharper_than_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler_loop, "WORN_SHARE", 0.0)  # a random codec paints nothing that one could learn from
    torch.manual_seed(0)
    upscaler, held_out = Upscaler(16), slanted_edges(16, 1)
    interpolated_db = mean_psnr_db(upscaler, held_out)
    losses = fit(upscaler, tiny_codec(), slanted_edges(64, 0), num_steps=200)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert mean_psnr_db(upscaler, held_out) > interpolated_db + 1.0


def test_command_gives_a_world_its_upscaler_and_leaves_the_rest_alone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = []

    def draw(names: list[str], first_seed: int, num_worlds: int, width: int, height: int, workers: int) -> Pairs:
        drawn.append((tuple(names), first_seed, num_worlds, width, height))
        return slanted_edges(8, first_seed)

    monkeypatch.setattr(upscaler_loop, "draw_all", draw)
    monkeypatch.setattr(upscaler_loop, "WIDTH", 4)
    world, out = make_tiny_world(tmp_path / "world"), tmp_path / "out"
    assert main(["train", "upscaler", "--world", str(world), "--out", str(out), "--worlds", "7", "--steps", "5",
                 "--threads", "1"]) == 0
    assert drawn == [(("explore",), 0, 7, 32, 32), (("explore",), 1_000_000, 10, 32, 32)]
    assert "explore: " in (told := capsys.readouterr().out) and "PSNR at 64x64" in told
    config = load_world_config(out)
    assert (config.shown_width, config.shown_height, config.width) == (64, 64, 32)
    scores = config.provenance["upscaler"]
    assert scores["command"] == "train upscaler --worlds 7 --steps 5" and scores["psnr"]["explore"]["bicubic_db"] > 10
    before, after = (load_codec(folder, load_world_config(folder)).state_dict() for folder in (world, out))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()) and len(after) > len(before)
    assert (out / "model.safetensors").read_bytes() == (world / "model.safetensors").read_bytes()


@pytest.mark.parametrize("part", ["shadow", "loop_filter", "upscaler"])
def test_a_codec_that_learns_on_leaves_behind_what_is_taught_after_it(tmp_path: Path, part: str) -> None:
    own = dataclasses.replace(TINY_WORLD.codec, **{f"{part}_width": 4})
    folder = make_tiny_world(tmp_path, codec=own)
    codec = MiniCodec(TINY_WORLD.codec)
    codec_loop.begin(codec_loop.CodecRecipe(codec=TINY_WORLD.codec, minutes=1.0), codec, None, folder)
    learned = load_codec(folder, load_world_config(folder))
    assert getattr(codec, part) is None and getattr(learned, part) is not None
    assert torch.equal(codec.head.weight, learned.head.weight)
    with pytest.raises(ConfigError, match=f"is taught later, by `train .*leave {part}_width out"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=own, minutes=1.0), MiniCodec(own), None, None)


def test_a_world_that_carries_no_picture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_tiny_world(tmp_path, model=dataclasses.replace(TINY_WORLD.model, anchor="none"))
    assert main(["train", "upscaler", "--world", str(world), "--out", str(tmp_path / "out")]) != 0
    assert "carries no picture along" in capsys.readouterr().err
