"""The hand finder: it learns outlines, lies in the codec's file, and the simulator's outline is what it learns from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from astra_play.codec.hand import HandFinder
from astra_play.codec.mini import MiniCodec
from astra_play.config import load_world_config
from astra_play.model.checkpoint import load_codec, save_config, save_module
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train.hand_loop import Outlines, fit, overlap, varied


def squares(count: int, seed: int) -> Outlines:
    """Bright squares, which are the robot, and discs as bright, which are not, on noise."""
    rng = np.random.default_rng(seed)
    pictures, robots = rng.normal(-0.3, 0.1, (count, 3, 32, 48)), np.zeros((count, 1, 32, 48))
    y, x = np.mgrid[:32, :48]
    for picture, robot in zip(pictures, robots, strict=True):
        top, left, row, column = rng.integers(0, 20), rng.integers(0, 12), rng.integers(6, 26), rng.integers(34, 42)
        robot[0, top:top + 12, left:left + 12] = 1
        picture += 0.9 * robot + 0.9 * ((y - row) ** 2 + (x - column) ** 2 < 16)
    return Outlines(torch.from_numpy(pictures).float(), torch.from_numpy(robots).float())


def test_finder_learns_to_tell_the_robot_from_what_is_as_bright() -> None:
    torch.manual_seed(0)
    finder = HandFinder(8)
    before = overlap(finder, squares(20, seed=1))
    losses = fit(finder, squares(80, seed=0), num_steps=200)
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:10])
    assert overlap(finder, squares(20, seed=1)) > max(0.7, before)


def test_overlap_counts_common_pixels_of_all() -> None:
    outlines = squares(3, seed=2)

    class Found(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return outlines.robots.roll(3, -1)

    common = total = 0
    for robot in outlines.robots.numpy():
        moved = np.roll(robot, 3, -1)
        for found, true in zip(moved.ravel(), robot.ravel(), strict=True):
            common += found == true == 1
            total += found == 1 or true == 1
    assert overlap(Found(), outlines) == pytest.approx(common / total)


def test_pictures_and_outlines_are_mirrored_together_and_colours_exchanged() -> None:
    outlines = squares(1, seed=3)
    batch = varied(outlines, torch.zeros(64, dtype=torch.long), torch.Generator().manual_seed(0))
    mirrored = (batch.robots != outlines.robots).flatten(1).any(dim=1)
    assert 10 < mirrored.sum() < 54
    for picture, robot in zip(batch.pictures, batch.robots, strict=True):
        inside = robot[0] > 0
        assert picture[:, inside].mean() > picture[:, ~inside].mean() + 0.2


def test_shares_lie_between_0_and_1_in_pictures_of_any_fitting_size() -> None:
    for height, width in ((96, 128), (16, 32)):
        shares = HandFinder(4)(torch.rand(2, 3, height, width) * 2 - 1).detach()
        assert shares.shape == (2, 1, height, width) and 0 < float(shares.min()) and float(shares.max()) < 1


def test_codec_keeps_its_finder_on_disk(tmp_path: Path) -> None:
    config = load_world_config(weights_folder() / "mini")
    small = dataclasses.replace(config.codec, latent_channels=config.codec.latent_channels, decoder_width=16,
                                decoder_blocks=1, hand_width=4)
    codec = MiniCodec(small)
    save_module(codec, tmp_path / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=small), tmp_path)
    loaded = load_codec(tmp_path, load_world_config(tmp_path))
    picture = torch.rand(1, 3, 32, 32)
    assert torch.allclose(loaded.hand(picture), codec.hand(picture), atol=1e-2)
    assert MiniCodec(dataclasses.replace(small, hand_width=0)).hand is None


def test_outline_is_what_changes_when_the_robot_is_taken_away(arm, without_robot) -> None:
    frame, outline = arm.reset(5).astype(int), arm.outline()
    bare = without_robot(arm).astype(int)
    changed = np.abs(frame - bare).max(axis=-1) > 12
    assert 150 < outline.sum() < 3000
    assert changed[outline].mean() > 0.9
    elsewhere = changed & ~outline  # its shadow, and the edges, which are drawn smooth
    darker = frame.sum(axis=-1) <= bare.sum(axis=-1)
    assert darker[elsewhere].mean() > 0.9
