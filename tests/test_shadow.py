"""The hand's shadow: thrown on the table as in its dull twin, taken off it and laid on again, found, and true."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from naive import naive_throw
from test_hypotheses import CONTROLS, rows_of, small_codec
from tiny_world import make_tiny_world

from astra_play.codec.mini import MiniCodec
from astra_play.codec.shadow import CastShadow, ShadowFinder
from astra_play.config import load_world_config
from astra_play.errors import ConfigError
from astra_play.model.checkpoint import load_codec, read_tensors, save_config, save_module
from astra_play.model.still_camera import StillCamera, TablePicture
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import codec_loop, hand_loop, shadow_loop
from astra_play.train.dataset import HELD_OUT_SEED_BASE
from astra_play.train.shadow_loop import Shadows, fit, scores, varied

WIDTH, HEIGHT = 64, 48
OVER_A_TABLE = dataclasses.replace(CONTROLS, eye_height_m=0.7, scene_depth_m=0.9, camera_lift_deg=35.0)
SLANT, LIGHT = (-0.6, 0.25), (0.4, 0.5, 0.6)


def blob(column: float, row: float) -> float:
    """A soft shadow right below the middle of a picture, which resampling hardly changes."""
    return math.exp(-((column - 34) / 7) ** 2 - ((row - 28) / 5) ** 2)


def blobs(way_m: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    return naive_throw(blob, way_m, SLANT, OVER_A_TABLE, WIDTH, HEIGHT)


def cast(table: torch.Tensor | None = None) -> CastShadow:
    return CastShadow(blobs()[None, None], torch.ones(1, 1, HEIGHT, WIDTH) if table is None else table,
                      torch.tensor([LIGHT]), torch.tensor([SLANT]))


def layered(shadow: CastShadow | None, hand: torch.Tensor | None = None) -> TablePicture:
    """What a still camera carries whose finders find this shadow and the hand's share (1, 1, H, W), None being none."""
    motion = StillCamera(small_codec(), torch.linspace(2, 0.5, 8), WIDTH, HEIGHT, OVER_A_TABLE, True, hypotheses=3,
                         blocks=2)
    motion._find_shadow = None if shadow is None else lambda pictures: shadow
    motion._find_hand = None if hand is None else lambda pictures: hand
    return TablePicture(motion, motion.paint, leak=0.0)


def shaded(table: torch.Tensor, thrown: torch.Tensor) -> torch.Tensor:
    """A table (3, H, W) in [-1, 1] in a shadow (H, W), colour by colour."""
    return torch.stack([(colour + 1) * (1 - thrown * (1 - left)) - 1
                        for colour, left in zip(table, LIGHT, strict=True)])


def room() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.avg_pool2d(torch.rand(3, HEIGHT + 4, WIDTH + 4), 5, 1) - 0.5


@pytest.mark.parametrize("way_m", [(0.0, 0.0, 0.0), (0.05, 0.0, 0.0), (0.0, 0.06, 0.0), (0.0, 0.0, 0.08),
                                   (-0.04, -0.03, 0.05)])
def test_shadow_goes_over_the_table_as_in_the_dull_twin(way_m: tuple[float, float, float]) -> None:
    motion = layered(None)._motion
    thrown = motion.throw(cast(), torch.tensor([[way_m, (0.0, 0.0, 0.0)]]))
    assert thrown.shape == (1, 2, 1, HEIGHT, WIDTH)
    assert torch.allclose(thrown[0, 0, 0], blobs(way_m), atol=0.02)
    assert torch.allclose(thrown[0, 1, 0], blobs(), atol=1e-4)


def test_shadow_right_under_the_hand_goes_up_only_with_its_slant() -> None:
    motion = layered(None)._motion
    upright = cast()._replace(slant=torch.zeros(1, 2))
    up, away = (motion.throw(upright, torch.tensor([[way_m]])) for way_m in ((0.0, 0.0, 0.1), (0.0, 0.1, 0.0)))
    assert torch.allclose(up[0, 0, 0], blobs(), atol=1e-4)
    assert (away - up).abs().max() > 0.5


def test_table_comes_out_of_the_shadow_and_goes_into_it() -> None:
    """Steps there and back, each shown as it truly looks: expected is what is about to be seen, within the rounding of
    a resampled shadow, and the table is known without it from the first picture on."""
    carried, table, at = layered(cast()), room(), np.zeros(3)
    carried.show(shaded(table, blobs())[None])
    for step in ((0.03, 0.0, 0.02), (0.0, 0.03, 0.0), (0.02, 0.0, -0.03), (-0.05, -0.03, 0.01)):
        carried.expect(rows_of(step))
        at += step
        truth = shaded(table, blobs(tuple(at)))
        assert torch.allclose(carried._moved[0, 0], truth, atol=0.03)
        assert torch.allclose(carried._others[0, 0, 2], truth, atol=0.03)  # the table without a hand is in it as well
        carried.show(truth[None])
        assert torch.allclose(carried._table[0], table, atol=0.03)
    assert (shaded(table, blobs()) - table).abs().max() > 0.2


def test_shadow_shows_on_the_table_alone_and_under_the_hand() -> None:
    table_share = torch.zeros(1, 1, HEIGHT, WIDTH)
    table_share[..., 20:, :] = 1.0
    hand = torch.zeros(1, 1, HEIGHT, WIDTH)
    hand[..., 30:36, 30:38] = 1.0
    carried, table = layered(cast(table_share), hand), room()
    start = torch.where(hand[0] > 0, torch.tensor(0.9), shaded(table, blobs() * table_share[0, 0]))
    carried.show(start[None])
    carried.expect(rows_of((0.0, 0.0, 0.0)))
    assert torch.allclose(carried._moved[0, 0], start, atol=1e-3)  # whatever is laid under the hand
    carried.expect(rows_of((0.0, 0.1, 0.0)))
    assert torch.allclose(carried._others[0, 0, 2][:, :20], start[:, :20], atol=1e-4)


def test_a_shadow_found_too_wide_leaves_no_bright_line() -> None:
    """A pixel too wide all around, as a finder may see it; the middle of it is taken off the table as it should be."""
    hard = (blobs() > 0.5).float()[None, None]
    wide = torch.nn.functional.max_pool2d(hard, 3, stride=1, padding=1)
    carried = layered(cast()._replace(share=wide))
    carried.show(shaded(torch.zeros(3, HEIGHT, WIDTH), hard[0, 0])[None])
    assert carried._table.max() < 0.01
    assert carried._table[0, :, hard[0, 0] > 0].abs().mean() < 0.1
    assert ((1 / (1 - (wide - hard) * 0.6)) - 1).max() > 0.5  # what it would be there otherwise


def test_table_in_the_shadow_keeps_what_it_had() -> None:
    """A network that paints the shadow over would have it taken off a table without one, ever lighter."""
    carried, table = layered(cast()), torch.zeros(3, HEIGHT, WIDTH)
    carried.show(shaded(table, blobs())[None])
    for _ in range(3):
        carried.expect(rows_of((0.0, 0.0, 0.0)))
        carried.show(table[None] + 0.2)
    assert carried._table.max() < 0.2 + 1e-6
    assert carried._table[0, :, blobs() > 0.2].abs().max() < 0.03 and carried._table[0, :, 0, 0] == pytest.approx(0.2)


def test_a_snapshot_keeps_the_shadow() -> None:
    carried = layered(cast())
    carried.show(shaded(room(), blobs())[None])
    carried.expect(rows_of((0.03, 0.0, 0.02)))
    carried.show(carried._moved[:, 0])
    kept = carried.snapshot()
    later = carried.expect(rows_of((0.0, 0.03, 0.0)))
    carried.reset()
    assert carried._shadow is None
    carried.restore(kept)
    assert torch.equal(carried.expect(rows_of((0.0, 0.03, 0.0))), later)


def scenes(count: int, seed: int) -> Shadows:
    """Grey tables of which the upper part is a wall, with a square's shadow on them; the lower and darker, the more
    it slants."""
    rng = np.random.default_rng(seed)
    pictures, shares, tables = rng.normal(0.2, 0.05, (count, 3, 32, 48)), *np.zeros((2, count, 1, 32, 48))
    light, slant = np.repeat(rng.uniform(0.3, 0.7, (count, 1)), 3, axis=1), np.zeros((count, 2))
    for index, picture in enumerate(pictures):
        wall, top, left = rng.integers(4, 9), rng.integers(2, 20), rng.integers(0, 36)
        tables[index, 0, wall:], shares[index, 0, top:top + 11, left:left + 11] = 1, 1
        picture[2, :wall] += 0.8
        picture += (picture + 1) * (light[index, :, None, None] - 1) * shares[index] * tables[index]
        slant[index] = 0.0, light[index].mean()
    return Shadows(torch.from_numpy(pictures).float(),
                   CastShadow(*(torch.from_numpy(x).float() for x in (shares, tables, light, slant))))


def test_finder_learns_where_the_shadow_is_how_dark_and_how_it_slants() -> None:
    torch.manual_seed(0)
    finder, held_out = ShadowFinder(8), scenes(20, seed=1)
    before = scores(finder, held_out)
    losses = fit(finder, scenes(120, seed=0), num_steps=250)
    after = scores(finder, held_out)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    assert after["overlap"] > max(0.6, before["overlap"]) and after["table_overlap"] > 0.9
    assert after["light_error"] < 0.8 * before["light_error"] and after["slant_error"] < 0.5 * before["slant_error"]


def test_a_mirrored_picture_has_a_mirrored_slant_and_exchanged_colours_their_own_light() -> None:
    one = scenes(1, seed=2)
    one = Shadows(one.pictures, one.cast._replace(slant=torch.tensor([[0.3, 0.2]])))
    batch = varied(one, torch.zeros(64, dtype=torch.long), torch.Generator().manual_seed(1))
    mirrored = (batch.cast.share != one.cast.share).flatten(1).any(dim=1)
    assert 10 < mirrored.sum() < 54
    inside = one.cast.share[0, 0] * one.cast.table[0, 0] > 0
    outside = (one.cast.share[0, 0] == 0) & (one.cast.table[0, 0] > 0)
    for index in range(64):
        assert batch.cast.slant[index].tolist() == pytest.approx([-0.3 if mirrored[index] else 0.3, 0.2])
        lights = batch.pictures[index].flip(-1) + 1 if mirrored[index] else batch.pictures[index] + 1
        ratio = lights[:, inside].mean(dim=1) / lights[:, outside].mean(dim=1)
        assert ratio.tolist() == pytest.approx(batch.cast.light[index].tolist(), abs=0.06)


def test_codec_keeps_its_finder_on_disk_and_old_ones_have_none(tmp_path: Path) -> None:
    config = load_world_config(weights_folder() / "mini")
    small = dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, hand_width=4, shadow_width=4,
                                loop_filter_width=0)
    codec = MiniCodec(small)
    save_module(codec, tmp_path / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=small), tmp_path)
    picture = torch.rand(1, 3, 32, 32)
    found, kept = load_codec(tmp_path, load_world_config(tmp_path)).shadow(picture), codec.shadow(picture)
    assert all(torch.allclose(one, other, atol=1e-2) for one, other in zip(found, kept, strict=True))
    assert MiniCodec(dataclasses.replace(small, shadow_width=0)).shadow is None
    with pytest.raises(ConfigError, match="--find shadow"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=small, minutes=1.0), MiniCodec(small), None, None)


def test_command_adds_the_finder_and_leaves_the_rest_of_the_codec_alone(tmp_path: Path, monkeypatch) -> None:
    folder, out = make_tiny_world(tmp_path / "world", provenance={"steps": 7}), tmp_path / "out"
    drawn = []

    def draw(first_seed: int, num_worlds: int, width: int, height: int) -> Shadows:
        drawn.append((first_seed, num_worlds))
        return scenes(20, seed=first_seed)

    monkeypatch.setattr(shadow_loop, "draw_shadows", draw)
    parser = argparse.ArgumentParser()
    hand_loop.add_arguments(parser)
    options = ["--codec", str(folder), "--out", str(out), "--find", "shadow", "--worlds", "5", "--steps", "3"]
    assert hand_loop.main(parser.parse_args(options)) == 0
    assert drawn == [(0, 5), (HELD_OUT_SEED_BASE, hand_loop.NUM_HELD_OUT_WORLDS)]
    before, after = (read_tensors(path / CODEC_FILE) for path in (folder, out))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"shadow"}
    config, old = load_world_config(out), load_world_config(folder)
    assert config.provenance["steps"] == 7
    assert config.provenance["shadow_finder"]["command"] == "train hand --find shadow --worlds 5 --steps 3"
    assert config.codec == dataclasses.replace(old.codec, shadow_width=shadow_loop.WIDTH)
    again = codec_loop.MiniCodec(old.codec)
    recipe = codec_loop.CodecRecipe(codec=old.codec, minutes=1.0)
    codec_loop.begin(recipe, again, None, out)  # a codec that learns on leaves it behind
    assert again.shadow is None


def test_finder_is_small() -> None:
    assert sum(parameter.numel() for parameter in ShadowFinder(8).parameters()) < 60_000


@pytest.mark.parametrize("seed", [5, 11])
def test_true_shadow_is_what_darkens_when_the_robot_is_there(arm, without_robot, seed: int) -> None:
    frame, outline, truth = arm.reset(seed).astype(float), arm.outline(), arm.shadow()
    bare = without_robot(arm).astype(float)
    darker = (bare - frame).max(axis=-1) > 12
    shows, beside = truth.share & truth.table & ~outline, ~truth.share & ~outline
    assert shows.sum() > 150 and darker[shows].mean() > 0.75  # the rest lies on the sides of blocks
    assert darker[beside].mean() < 0.02
    left = np.median(frame[shows & darker] / bare[shows & darker], axis=0)
    assert left == pytest.approx(truth.light, abs=0.02)


def test_true_shadow_goes_by_its_slant_when_the_hand_goes_up(arm) -> None:
    from astra_play.train.scenarios.arm import ArmControl
    from astra_play.train.scenarios.arm_shadow import places_on_table

    arm.reset(3)
    places = places_on_table(arm.scene, 128, 96)
    before, was_m = arm.shadow(), arm.hand
    for _ in range(3):
        arm.step(ArmControl(up_m=0.012))
    after, is_m = arm.shadow(), arm.hand
    near = before.share & (places[..., 1] < places[before.share][:, 1].min() + 0.1)  # thrown by the hand, not the arm
    way = is_m[:2] - was_m[:2] + (is_m[2] - was_m[2]) * before.slant
    gone = places[near] + way
    nearest = np.abs(gone[:, None] - places.reshape(1, -1, 2)).sum(axis=-1).argmin(axis=1)
    assert np.linalg.norm(way) > 0.008
    assert after.share.ravel()[nearest].mean() > 0.93
