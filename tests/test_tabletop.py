"""The tabletop: cut into layers and put together again, blocks grasped in pictures, found, and true."""

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
from test_hypotheses import small_codec
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import arm_row
from astra_play.codec.mini import MiniCodec
from astra_play.codec.shadow import CastShadow
from astra_play.codec.tabletop import (
    FACTS,
    MAX_SPREADS,
    POINTS_M,
    Tabletop,
    TabletopFinder,
    in_spreads,
    in_units,
    mean_places,
)
from astra_play.config import ControlsConfig, load_world_config
from astra_play.errors import ConfigError
from astra_play.model.carried import carried_picture
from astra_play.model.checkpoint import load_codec, read_tensors, save_config, save_module
from astra_play.model.still_camera import StillCamera, TablePicture
from astra_play.model.table_blocks import AWAY_M, BLOCK_HALF_M
from astra_play.model.tabletop_picture import TabletopPicture, block_middles, light_across_rim, nearest
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import codec_loop, hand_loop, tabletop_loop
from astra_play.train.dataset import HELD_OUT_SEED_BASE
from astra_play.train.tabletop_loop import Tabletops, fit, scores, spots, varied

WIDTH, HEIGHT = 128, 96
LIFT_RAD, EYE_M, HAND_UP_M = math.radians(35), 0.7, 0.03
DEPTH_M = (EYE_M - HAND_UP_M) / math.sin(LIFT_RAD)  # of what is in the picture's middle, as high as the hand
FOCAL_PX = HEIGHT / 2 / math.tan(math.radians(15))
PX_M = DEPTH_M / FOCAL_PX  # metres across a pixel there
CONTROLS = ControlsConfig(modality="arm", vertical_fov_deg=30.0, scene_depth_m=1.0, camera_lift_deg=30.0,
                          eye_height_m=0.8, finger_stroke_m=0.05, finger_m_per_frame=0.0125)
GREEN, GREY = (-0.6, 0.8, -0.6), -0.2
BLOCK = slice(44, 53), slice(60, 69)  # rows, columns; between the fingers
PALM = slice(30, 40), slice(54, 75)
LEFT, RIGHT = (slice(40, 52), slice(54, 57)), (slice(40, 52), slice(72, 75))


def share_of(*boxes: tuple[slice, slice]) -> torch.Tensor:
    share = torch.zeros(1, 1, HEIGHT, WIDTH)
    for box in boxes:
        share[(0, 0, *box)] = 1.0
    return share


def found(*blocks: tuple[slice, slice], depth_m: float = DEPTH_M, opening_m: float = 0.05) -> Tabletop:
    """What a perfect finder finds in `scene`."""
    marks = torch.zeros(1, 1, HEIGHT, WIDTH)
    for rows, columns in blocks:
        marks[0, 0, (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2] = 1.0
    facts = (torch.tensor([fact]) for fact in (opening_m, depth_m, LIFT_RAD, EYE_M))
    return Tabletop(torch.cat([share_of(LEFT), share_of(RIGHT)], dim=1), share_of(*blocks), torch.zeros_like(marks),
                    marks, torch.zeros(1, len(POINTS_M), 2), *facts)


def layered(tabletop: Tabletop, shadow: CastShadow | None = None) -> TabletopPicture:
    motion = StillCamera(small_codec(), torch.linspace(2, 0.5, 8), WIDTH, HEIGHT, CONTROLS, True, hypotheses=3,
                         blocks=2)
    motion._find_hand = lambda pictures: share_of(PALM, LEFT, RIGHT).expand(len(pictures), -1, -1, -1)
    motion._find_shadow = None if shadow is None else lambda pictures: shadow
    motion._find_tabletop = lambda pictures: tabletop
    return TabletopPicture(motion, motion.paint, leak=0.0)


def scene(*blocks: tuple[slice, slice]) -> torch.Tensor:
    """A grey table, a white palm, a red left and a blue right finger, green blocks."""
    picture = torch.full((1, 3, HEIGHT, WIDTH), GREY)
    for box, colour in ((PALM, (0.9, 0.9, 0.9)), (LEFT, (0.8, -0.8, -0.8)), (RIGHT, (-0.8, -0.8, 0.8)),
                        *((block, GREEN) for block in blocks)):
        picture[(0, slice(None), *box)] = torch.tensor(colour)[:, None, None]
    return picture


def row(right_m: float = 0.0, away_m: float = 0.0, up_m: float = 0.0, close: float = 0.0) -> np.ndarray:
    return arm_row(right_m, away_m, up_m, close)


def rows_of(*rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows))[None]


def play(carried: TabletopPicture, *rows: np.ndarray) -> torch.Tensor:
    """Go on frame by frame, a network painting nothing; returns the last picture, (3, H, W)."""
    for each in rows:
        carried.expect(rows_of(each))
        carried.carry_on(carried._moved[:, -1])
    return carried.picture[0]


def middle_of(picture: torch.Tensor, colour: int) -> tuple[float, float]:
    """Mean row and column of the pixels in which one colour (0 red, 1 green, 2 blue) stands out."""
    others = [other for other in range(3) if other != colour]
    places = torch.nonzero(picture[colour] > picture[others].amax(dim=0) + 0.7).double()
    return tuple(places.mean(dim=0).tolist())


def test_before_anything_moves_the_layers_make_the_picture_again() -> None:
    torch.manual_seed(0)
    noise = (scene(BLOCK) + 0.2 * torch.randn(1, 3, HEIGHT, WIDTH)).clamp(-1, 1)
    dark = torch.zeros(1, 1, HEIGHT, WIDTH)
    dark[..., 50:70, 40:60] = 0.8
    shadow = CastShadow(dark, torch.ones_like(dark), torch.tensor([[0.4, 0.5, 0.6]]), torch.tensor([[-0.5, 0.2]]))
    for carried in (layered(found(BLOCK)), layered(found(BLOCK), shadow), layered(found())):
        carried.show(noise)
        assert torch.allclose(play(carried, row()), noise[0], atol=0.02)
        assert (play(carried, row()) - noise[0]).abs().mean() < 1e-3


def test_fingers_close_and_open_again() -> None:
    carried = layered(found())
    carried.show(scene())
    shut = play(carried, *[row(close=1.0)] * 4)
    way = 0.05 / PX_M
    assert middle_of(shut, 0)[1] == pytest.approx(55 + way, abs=0.6)
    assert middle_of(shut, 2)[1] == pytest.approx(73 - way, abs=0.6)
    assert torch.allclose(play(carried, *[row()] * 5), scene()[0], atol=0.02)


def test_a_chunk_of_several_frames_goes_as_single_frames_do() -> None:
    steps = [row(close=1.0), row(close=1.0), row(0.01, 0.02, 0.02, 1.0), row(0.01, 0.0, 0.02, 1.0), row(up_m=0.01)]
    one, many = layered(found(BLOCK)), layered(found(BLOCK))
    for carried in (one, many):
        carried.show(scene(BLOCK))
    many.expect(rows_of(*steps))
    for frame, each in enumerate(steps):
        assert torch.allclose(play(one, each), many._moved[0, frame], atol=1e-4)
    many.carry_on(many._moved[:, -1])
    assert torch.allclose(one._now.blocks.places_m, many._now.blocks.places_m)


def test_a_grasped_block_goes_up_with_the_hand_leaves_the_table_bare_and_falls_when_let_go() -> None:
    carried = layered(found(BLOCK))
    carried.show(scene(BLOCK))
    before = middle_of(scene(BLOCK)[0], 1)
    play(carried, *[row(close=1.0)] * 4)
    lifted = play(carried, *[row(up_m=0.02, close=1.0)] * 4)
    px = 0.08 * math.cos(LIFT_RAD) / PX_M
    assert middle_of(lifted, 1)[0] == pytest.approx(before[0] - px, abs=1.5)
    assert middle_of(lifted, 1)[1] == pytest.approx(before[1], abs=0.6)
    assert (lifted[:, 52:, 60:69] - GREY).abs().max() < 0.05
    aside = play(carried, *[row(right_m=0.02, close=1.0)] * 3)
    assert middle_of(aside, 1)[1] == pytest.approx(before[1] + 0.06 / PX_M, abs=1.0)
    fallen = play(carried, *[row()] * 8)
    assert middle_of(fallen, 1) == pytest.approx((before[0], before[1] + 0.06 / PX_M), abs=1.0)


def test_a_block_beside_the_fingers_stays_and_is_pushed() -> None:
    aside = BLOCK[0], slice(90, 99)
    carried = layered(found(aside))
    carried.show(scene(aside))
    before = middle_of(scene(aside)[0], 1)
    still = play(carried, *[row(close=1.0)] * 4, *[row(up_m=0.02, close=1.0)] * 3, *[row(up_m=-0.02)] * 3)
    assert middle_of(still, 1) == pytest.approx(before, abs=0.3)
    pushed = play(carried, *[row(right_m=0.02)] * 7)
    right_m = carried._now.grip.place_m[0, 0].item() + 0.05 + 0.014 + BLOCK_HALF_M
    assert middle_of(pushed, 1)[1] == pytest.approx(WIDTH / 2 + right_m / PX_M, abs=1.5)


def test_things_are_where_a_pinhole_sees_them() -> None:
    away_m = DEPTH_M * math.cos(LIFT_RAD)
    carried = layered(found(BLOCK, (BLOCK[0], slice(90, 99))))
    carried.show(scene(BLOCK, (BLOCK[0], slice(90, 99))))
    now = carried._now
    assert now.grip.place_m[0].tolist() == pytest.approx([0.0, away_m, HAND_UP_M], abs=1e-5)
    half_px_m = 0.5 * PX_M / math.sin(LIFT_RAD)  # of the table, looking down on it
    assert now.blocks.places_m[0, 0].tolist() == pytest.approx([0.0, away_m, BLOCK_HALF_M], abs=half_px_m + 1e-3)
    assert now.blocks.places_m[0, 1].tolist() == pytest.approx([30 * PX_M, away_m, BLOCK_HALF_M], abs=1e-2)


def test_a_nearer_hand_goes_further() -> None:
    columns = []
    for depth_m in (DEPTH_M, DEPTH_M / 2):
        carried = layered(found(depth_m=depth_m))
        carried.show(scene())
        columns.append(middle_of(play(carried, row(right_m=0.03)), 0)[1] - 55)
    assert columns[0] == pytest.approx(0.03 / PX_M, abs=0.6)
    assert columns[1] == pytest.approx(2 * 0.03 / PX_M, abs=0.6)


def test_what_stands_upright_goes_as_its_points_do() -> None:
    """Points of an upright board, each seen by a pinhole before and after, are where the board's picture was looked up;
    a flat picture of it would be off by pixels where the board is high."""
    motion = layered(found())._motion
    lift, sight = torch.tensor([LIFT_RAD]), motion.sight(torch.tensor([DEPTH_M]), torch.tensor([LIFT_RAD]),
                                                         torch.tensor([EYE_M]))
    away_m, way_m = 0.9, (0.05, -0.06, 0.04)
    places = torch.stack(torch.meshgrid((torch.arange(WIDTH) + 0.5), (torch.arange(HEIGHT) + 0.5), indexing="xy"))
    moved = motion.go_upright(places[None], torch.tensor([[way_m]]), torch.tensor([away_m]), sight)[0, 0]
    sin, cos = math.sin(lift.item()), math.cos(lift.item())

    def seen_at(right: float, away: float, up: float) -> tuple[float, float]:
        down, ahead = -sin * away + cos * (EYE_M - up), cos * away + sin * (EYE_M - up)
        return WIDTH / 2 + FOCAL_PX * right / ahead, HEIGHT / 2 + FOCAL_PX * down / ahead

    for right, up in ((0.0, 0.0), (-0.08, 0.05), (0.07, 0.15), (0.02, 0.2)):
        column, row_ = seen_at(right + way_m[0], away_m + way_m[1], up + way_m[2])
        came_from = moved[:, int(row_), int(column)]
        # A pixel's middle is up to half a pixel from the point, on the one side as on the other.
        expected = torch.tensor(seen_at(right, away_m, up))
        assert (came_from - expected).abs().max() < 0.8
    flat = motion.go_along(places[None], torch.tensor([[way_m]]), sight)[0, 0]
    assert (flat - moved)[:, 10, 64].abs().max() > 1.5


@pytest.mark.parametrize("light", [(0.4, 0.5, 0.6), (0.7, 0.7, 0.7)])
def test_light_is_measured_across_the_rim_of_a_shadow_on_a_mat_and_beside_it(light) -> None:
    table = torch.full((1, 3, HEIGHT, WIDTH), 0.3)
    table[..., 40:] *= -1.5  # a mat begins in the middle of the shadow
    dark = torch.zeros(1, 1, HEIGHT, WIDTH)
    dark[..., 30:60, 25:60] = 1.0
    shaded = (table + 1) * (1 - dark * (1 - torch.tensor(light)[None, :, None, None])) - 1
    guess, everywhere = torch.tensor([[0.9, 0.1, 0.9]]), torch.ones_like(dark, dtype=torch.bool)
    measured = light_across_rim(shaded, dark, everywhere, guess)
    assert measured[0].tolist() == pytest.approx(light, abs=0.03)
    wide = torch.nn.functional.max_pool2d(dark, 3, stride=1, padding=1)  # found a pixel too wide
    assert light_across_rim(shaded, wide, everywhere, guess)[0].tolist() == pytest.approx(light, abs=0.03)
    unseen = everywhere & (dark < 0.5)
    assert torch.equal(light_across_rim(shaded, dark, unseen, guess), guess)


def test_a_block_between_half_shut_fingers_over_the_table_is_in_the_hand() -> None:
    """Fingertips 0.15 m over the table; the block seen between them is not one that lies behind them."""
    depth_m = (EYE_M - 0.15) / math.sin(LIFT_RAD)
    carried = layered(found(BLOCK, depth_m=depth_m, opening_m=0.032))
    carried.show(scene(BLOCK))
    assert carried._now.blocks.held.tolist() == [[True]]
    assert carried._now.blocks.places_m[0, 0, 2].item() == pytest.approx(0.15, abs=0.01)
    behind = layered(found(BLOCK, depth_m=depth_m, opening_m=0.05))
    behind.show(scene(BLOCK))
    assert not behind._now.blocks.held.any()
    assert behind._now.blocks.places_m[0, 0, 2].item() == pytest.approx(BLOCK_HALF_M)


def test_a_block_before_the_hand_hides_it_and_one_behind_is_hidden() -> None:
    carried = layered(found(BLOCK))
    carried.show(scene(BLOCK))
    play(carried, row(up_m=0.03), row(up_m=0.03), row(up_m=0.03))
    over = play(carried, *[row(away_m=-0.03)] * 4, *[row(up_m=-0.03)] * 3)  # the palm comes before the block
    hidden = int((over[1] > over[[0, 2]].amax(dim=0) + 0.7).sum())
    back = play(carried, *[row(up_m=0.03)] * 3, *[row(away_m=0.03)] * 8, *[row(up_m=-0.03)] * 3)
    assert hidden < 50 and int((back[1] > back[[0, 2]].amax(dim=0) + 0.7).sum()) > 70


def test_nothing_that_is_painted_is_carried_on() -> None:
    carried = layered(found(BLOCK))
    carried.show(scene(BLOCK))
    for _ in range(3):
        carried.expect(rows_of(row(right_m=0.005)))
        carried.carry_on(torch.ones(1, 3, HEIGHT, WIDTH))
    carried.expect(rows_of(row(right_m=-0.015)))
    assert torch.allclose(carried._moved[0, 0], scene(BLOCK)[0], atol=0.02)


def test_a_given_picture_is_cut_anew() -> None:
    carried = layered(found(BLOCK))
    carried.show(scene(BLOCK))
    play(carried, row(right_m=0.03))
    lighter = scene(BLOCK) + 0.1
    carried.show(lighter)
    assert torch.allclose(play(carried, row()), lighter[0], atol=0.02)


def test_a_snapshot_keeps_the_layers_and_where_they_are() -> None:
    carried = layered(found(BLOCK))
    carried.show(scene(BLOCK))
    play(carried, *[row(close=1.0)] * 3)
    kept = carried.snapshot()
    later = carried.expect(rows_of(row(up_m=0.02, close=1.0)))
    carried.reset()
    assert carried._layers is None and carried._now is None
    carried.restore(kept)
    assert torch.equal(carried.expect(rows_of(row(up_m=0.02, close=1.0))), later)


def test_a_batch_may_hold_pictures_with_more_and_fewer_blocks() -> None:
    aside = BLOCK[0], slice(90, 99)
    alone, both = found(BLOCK), found(BLOCK, aside)
    tabletop = Tabletop(*(torch.cat(fields) for fields in zip(alone, both, strict=True)))
    carried = layered(tabletop)
    carried.show(torch.cat([scene(BLOCK), scene(BLOCK, aside)]))
    lone = layered(alone)
    lone.show(scene(BLOCK))
    assert carried._now.blocks.places_m.shape == (2, 2, 3)
    assert carried._now.blocks.places_m[0, 1].tolist() == [AWAY_M] * 3
    for step in ([row(close=1.0)] * 4 + [row(up_m=0.02, close=1.0)] * 3):
        carried.expect(rows_of(step).expand(2, -1, -1))
        carried.carry_on(carried._moved[:, -1])
        assert torch.allclose(carried.picture[0], play(lone, step), atol=1e-4)
    assert carried._now.blocks.held.tolist() == [[True, False], [True, False]]


def test_middles_are_peaks_and_pixels_belong_to_the_nearest() -> None:
    marks = torch.zeros(2, 1, 24, 32)
    marks[0, 0, 5, 6], marks[0, 0, 5, 7], marks[0, 0, 20, 30], marks[0, 0, 12, 2] = 0.9, 0.8, 0.7, 0.3
    marks[1, 0, 3, 3] = 0.6
    middles = block_middles(marks)
    assert middles.shape == (2, 2, 2) and middles[1, 1].isnan().all()
    pixels = [[((x + 1) / 2 * 32).item(), ((y + 1) / 2 * 24).item()] for x, y in middles[0]]
    assert pixels == [pytest.approx([6.5, 5.5]), pytest.approx([30.5, 20.5])]
    owners = nearest(middles, torch.zeros(2, 3, 24, 32))
    for y in range(24):
        for x in range(32):
            first = (x + 0.5 - 6.5) ** 2 + (y + 0.5 - 5.5) ** 2 <= (x + 0.5 - 30.5) ** 2 + (y + 0.5 - 20.5) ** 2
            assert owners[0, :, y, x].tolist() == [float(first), float(not first)]
    assert (owners[1, 0] == 1).all() and (owners[1, 1] == 0).all()
    assert block_middles(torch.zeros(2, 1, 24, 32)).shape == (2, 0, 2)


def test_worlds_whose_codec_finds_tabletops_are_played_so(tmp_path: Path) -> None:
    config = load_world_config(weights_folder() / "mini", "arm")
    small = dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, loop_filter_width=0, upscaler_width=0,
                                tabletop_width=4)
    assert isinstance(carried_picture(config, MiniCodec(small)), TabletopPicture)
    without = dataclasses.replace(small, tabletop_width=0)
    assert type(carried_picture(config, MiniCodec(without))) is TablePicture


# --- how they are found ---------------------------------------------------------------------------------------------

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
                                tabletop_width=4, loop_filter_width=0, upscaler_width=0)
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
