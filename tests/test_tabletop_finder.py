"""The tabletop finder: it learns, lies in the codec's file, and the simulator's own is what it learns from."""

from __future__ import annotations

import argparse
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.codec.hand_points import POINTS_M
from astra_play.codec.mini import MiniCodec
from astra_play.codec.tabletop import (
    FACTS,
    MAX_SPREADS,
    Tabletop,
    TabletopFinder,
    in_spreads,
    in_units,
    mean_places,
)
from astra_play.config import load_world_config
from astra_play.errors import ConfigError
from astra_play.model.checkpoint import load_codec, read_tensors, save_config, save_module
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import codec_loop, hand_loop, tabletop_loop
from astra_play.train.dataset import HELD_OUT_SEED_BASE
from astra_play.train.tabletop_loop import Tabletops, fit, scores, spots, varied


def hands(count: int, seed: int) -> Tabletops:
    """Two prongs under a bar and a square on noise; the nearer, the brighter; opening by the gap."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0.0, 0.05, (count, 3, 32, 48))
    shapes = np.zeros((count, 5, 32, 48))
    points, facts = np.zeros((count, len(POINTS_M), 2)), np.tile([middle for middle, _ in FACTS], (count, 1))
    for index, picture in enumerate(pictures):
        top, left, gap = rng.integers(2, 10), rng.integers(2, 16), rng.integers(8, 20)
        row, column, near = rng.integers(22, 25), rng.integers(2, 36), rng.uniform(-1, 1)
        shapes[index, 0, top + 4:top + 12, left:left + 3] = 1
        shapes[index, 1, top + 4:top + 12, left + gap:left + gap + 3] = 1
        shapes[index, 2, row:row + 7, column:column + 7] = 1
        shapes[index, 3, row + 2:row + 7, column + 7:column + 11] = 1
        shapes[index, 4, row + 3, column + 3] = 1
        picture[:, top:top + 4, left:left + gap + 3] = 0.8 + 0.2 * near
        picture -= 0.8 * shapes[index, :2].sum(axis=0) + 0.3 * shapes[index, 3]
        picture[1] += 0.8 * shapes[index, 2]
        ends = np.array([[left + gap / 2 + 1.5, top + 12], [left, top + 6], [left + gap + 3, top + 6], [left, top + 4],
                         [left + gap + 3, top + 4]])
        points[index] = ends / [24, 16] - 1
        facts[index, 0] = 0.05 * gap / 20
        facts[index, 1] -= near * FACTS[1][1]
    fields = (torch.from_numpy(field).float() for field in (
        shapes[:, :2], shapes[:, 2:3], shapes[:, 3:4], shapes[:, 4:], points, *facts.T))
    return Tabletops(torch.from_numpy(pictures).float(), Tabletop(*fields))


def test_finder_learns_shapes_points_and_facts() -> None:
    torch.manual_seed(1)
    finder, held_out = TabletopFinder(8), hands(20, seed=1)
    before = scores(finder, held_out)
    losses = fit(finder, hands(200, seed=0), num_steps=400)
    after = scores(finder, held_out)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    assert after["finger_overlap"] > max(0.6, before["finger_overlap"])
    assert min(after["block_overlap"], after["shadow_overlap"]) > max(0.5, before["block_overlap"])
    assert after["point_error"] < 0.4 * before["point_error"]
    assert after["opening_error"] < 0.7 * before["opening_error"]


def test_mean_places_and_spots_undo_each_other() -> None:
    places = torch.tensor([[[0.1, -0.3], [-0.52, 0.4], [1.4, 0.0]]])
    like = torch.zeros(1, 3, 24, 32)
    spot = spots(places, like)
    assert spot.shape == (1, 3, 24 * 32) and spot.sum(dim=2)[0].tolist() == pytest.approx([1.0, 1.0, 0.0])
    again = mean_places(spot.clamp_min(1e-12).log().unflatten(2, (24, 32)))
    assert torch.allclose(again[0, :2], places[0, :2], atol=1e-3)


def test_facts_in_spreads_come_back_in_units_and_have_bounds() -> None:
    facts = torch.tensor([[0.02, 0.95, 0.66, 0.72], [0.05, 1.1, 0.6, 0.66]])
    assert torch.allclose(in_units(in_spreads(facts)), facts, atol=1e-6)
    low, high = in_units(torch.tensor([[-99.0] * 4, [99.0] * 4])).unbind()
    for value, sign in ((low, -1), (high, 1)):
        assert value.tolist() == pytest.approx([middle + sign * MAX_SPREADS * spread for middle, spread in FACTS])


def test_mirrored_hands_change_sides_and_facts_stay() -> None:
    one = hands(1, seed=3)
    batch = varied(one, torch.zeros(32, dtype=torch.long), torch.Generator().manual_seed(0))
    mirrored = (batch.truth.fingers != one.truth.fingers).flatten(1).any(dim=1)
    assert 4 < mirrored.sum() < 28
    columns = torch.arange(48) + 0.5
    for index in range(32):
        left, right = ((finger.sum(0) * columns).sum() / finger.sum() for finger in batch.truth.fingers[index])
        _, first, second, third, fourth = (batch.truth.points[index, :, 0] + 1) * 24
        assert first == third < left < right < second == fourth  # as seen, whichever way round
        block = (batch.truth.blocks[index, 0].sum(0) * columns).sum() / batch.truth.blocks[index].sum()
        true = (one.truth.blocks[0, 0].sum(0) * columns).sum() / one.truth.blocks.sum()
        assert block.item() == pytest.approx(48 - true.item() if mirrored[index] else true.item())
    assert all(torch.equal(fact, true.expand(32)) for fact, true in zip(batch.truth[5:], one.truth[5:], strict=True))


def test_codec_keeps_its_finder_on_disk_and_old_ones_have_none(tmp_path: Path) -> None:
    config = load_world_config(weights_folder() / "mini")
    small = dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, hand_width=0, shadow_width=0,
                                tabletop_width=4, table_width=0, arm_width=0, loop_filter_width=0,
                                upscaler_width=0)
    codec = MiniCodec(small)
    save_module(codec, tmp_path / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=small), tmp_path)
    picture = torch.rand(1, 3, 32, 32)
    kept, again = codec.tabletop(picture), load_codec(tmp_path, load_world_config(tmp_path)).tabletop(picture)
    assert all(torch.allclose(one, other, atol=1e-2) for one, other in zip(again, kept, strict=True))
    assert MiniCodec(dataclasses.replace(small, tabletop_width=0)).tabletop is None
    with pytest.raises(ConfigError, match="--find tabletop"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=small, minutes=1.0), MiniCodec(small), None, None)


def test_command_adds_the_finder_and_leaves_the_rest_of_the_codec_alone(tmp_path: Path, monkeypatch) -> None:
    folder, out = make_tiny_world(tmp_path / "world"), tmp_path / "out"
    drawn = []

    def draw(first_seed: int, num_worlds: int, width: int, height: int) -> Tabletops:
        drawn.append((first_seed, num_worlds))
        return hands(20, seed=first_seed)

    monkeypatch.setattr(tabletop_loop, "draw_tabletops", draw)
    parser = argparse.ArgumentParser()
    hand_loop.add_arguments(parser)
    options = ["--codec", str(folder), "--out", str(out), "--find", "tabletop", "--worlds", "5", "--steps", "3"]
    assert hand_loop.main(parser.parse_args(options)) == 0
    assert drawn == [(0, 5), (HELD_OUT_SEED_BASE, hand_loop.NUM_HELD_OUT_WORLDS)]
    before, after = (read_tensors(path / CODEC_FILE) for path in (folder, out))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"tabletop"}
    config = load_world_config(out)
    assert config.codec.tabletop_width == tabletop_loop.WIDTH
    assert set(config.provenance["tabletop_finder"]) >= {"command", "block_overlap", "depth_error", "opening_error"}
    more = tmp_path / "more"
    options = ["--codec", str(out), "--out", str(more), "--find", "tabletop", "--worlds", "5", "--steps", "0", "--more"]
    assert hand_loop.main(parser.parse_args(options)) == 0
    assert all(torch.allclose(own, after[name], atol=1e-6) for name, own in read_tensors(more / CODEC_FILE).items())
    assert load_world_config(more).provenance["tabletop_finder"]["began_with"] == config.provenance["tabletop_finder"]


def test_worlds_that_are_given_the_finder_learn_how_far_fingers_go() -> None:
    from astra_play.train.scenarios.arm import FINGER_STEP_M, FINGER_STROKE_M

    config = load_world_config(weights_folder() / "mini")
    arm = config.scenarios["arm"]
    without = dataclasses.replace(config, scenarios={**config.scenarios, "arm": dataclasses.replace(
        arm, controls=dataclasses.replace(arm.controls, finger_stroke_m=0.0, finger_m_per_frame=1.0))})
    filled = hand_loop.with_fingers(without)
    assert filled.scenarios["arm"].controls.finger_stroke_m == FINGER_STROKE_M
    assert filled.scenarios["arm"].controls.finger_m_per_frame == FINGER_STEP_M
    assert filled.scenarios["explore"] == config.scenarios["explore"] and filled.controls == config.controls
    own = dataclasses.replace(config.controls, modality="arm", finger_stroke_m=0.03)
    assert hand_loop.with_fingers(dataclasses.replace(config, controls=own)).controls == own


@pytest.mark.parametrize("fields", [{"finger_stroke_m": -0.01}, {"finger_stroke_m": 0.05, "finger_m_per_frame": 0.0}])
def test_fingers_that_cannot_be_are_refused(tmp_path: Path, fields: dict[str, float]) -> None:
    folder = make_tiny_world(tmp_path, controls=dataclasses.replace(TINY_WORLD.controls, **fields))
    with pytest.raises(ConfigError, match="finger_stroke_m"):
        load_world_config(folder)


def test_the_simulator_does_not_wait_for_torch() -> None:
    told = subprocess.run([sys.executable, "-c", "import sys, astra_play.train.scenarios as s; s.controls('arm'); "
                                                 "print('torch' in sys.modules)"], capture_output=True, text=True,
                          check=True)
    assert told.stdout.strip() == "False"


def test_finder_is_small() -> None:
    assert sum(parameter.numel() for parameter in TabletopFinder(tabletop_loop.WIDTH).parameters()) < 340_000


# --- what the simulator says ----------------------------------------------------------------------------------------

def columns_of(share: np.ndarray) -> float:
    return float(np.nonzero(share)[1].mean())


@pytest.mark.parametrize("seed", [5, 11])
def test_true_fingers_are_part_of_the_robot_left_and_right_and_draw_together(arm, seed: int) -> None:
    from astra_play.train.scenarios.arm import FINGER_STROKE_M, ArmControl

    arm.reset(seed)
    before = arm.tabletop()
    assert before.fingers.shape == (2, 96, 128) and (before.fingers.sum(axis=(1, 2)) > 8).all()
    assert not (before.fingers[0] & before.fingers[1]).any()
    assert not (before.fingers.any(axis=0) & ~arm.outline()).any() and not (before.blocks[0] & arm.outline()).any()
    assert before.opening_m == pytest.approx(FINGER_STROKE_M, abs=1e-3)
    for _ in range(6):
        arm.step(ArmControl(close=1.0))
    after = arm.tabletop()
    left, right, closed_left, closed_right = (columns_of(f) for f in (*before.fingers, *after.fingers))
    assert left < closed_left < closed_right < right
    px_per_m = 48 / math.tan(math.radians(15)) / before.depth_m
    assert right - left - (closed_right - closed_left) == pytest.approx(2 * 0.05 * px_per_m, abs=2.0)
    assert after.opening_m == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("seed", [2, 3, 7])
def test_true_points_and_middles_are_on_the_things_they_mark(arm, seed: int) -> None:
    arm.reset(seed)
    truth = arm.tabletop()
    (x, y), (left, _), (right, _), *_ = (truth.points + 1) / 2 * [128, 96]
    rows = np.nonzero(truth.fingers.any(axis=0))[0]
    assert rows.min() < y < rows.max() + 2
    assert columns_of(truth.fingers[0]) < x < columns_of(truth.fingers[1])
    assert right - left == pytest.approx(0.12 * 48 / math.tan(math.radians(15)) / truth.depth_m, rel=0.05)
    peak = np.unravel_index(truth.middles[0].argmax(), truth.middles[0].shape)
    assert truth.middles.max() > 0.9 and truth.blocks[0][peak[0] - 1:peak[0] + 2, peak[1] - 1:peak[1] + 2].any()


def test_true_block_shadows_are_dark(arm) -> None:
    dark, lit = [], []
    for seed in (2, 3, 7):
        frame = arm.reset(seed).astype(float).mean(axis=-1)
        truth = arm.tabletop()
        clear = ~(arm.shadow().share | arm.outline() | truth.blocks[0])
        near = np.zeros_like(clear)
        for y, x in np.argwhere(truth.shadows[0]):
            near[max(y - 3, 0):y + 4, max(x - 3, 0):x + 4] = True
        dark.append(np.median(frame[truth.shadows[0] & clear]))
        lit.append(np.median(frame[near & ~truth.shadows[0] & clear]))
    assert (np.array(dark) < 0.85 * np.array(lit)).all()
