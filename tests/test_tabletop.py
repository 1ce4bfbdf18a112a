"""The tabletop: cut into layers and put together again, blocks grasped in pictures, found, and true."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_hypotheses import small_codec

from astra_play.actions.rows import arm_row
from astra_play.codec.mini import MiniCodec
from astra_play.codec.shadow import CastShadow
from astra_play.codec.tabletop import (
    POINTS_M,
    Tabletop,
)
from astra_play.config import ControlsConfig, load_world_config
from astra_play.model.carried import carried_picture
from astra_play.model.still_camera import StillCamera, TablePicture
from astra_play.model.table_blocks import AWAY_M, BLOCK_HALF_M
from astra_play.model.tabletop_drawing import FADE_M
from astra_play.model.tabletop_picture import (
    TabletopPicture,
    block_middles,
    distinct,
    light_left,
    nearest,
)
from astra_play.paths import weights_folder

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


def cast(share: torch.Tensor, light: tuple[float, ...] = (0.4, 0.5, 0.6)) -> CastShadow:
    """A shadow on a table that fills the picture."""
    return CastShadow(share, torch.ones_like(share), torch.tensor([light]), torch.tensor([[-0.5, 0.2]]))


def restored(pictures: torch.Tensor, hidden: torch.Tensor, dark: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The table of `scene`, as a perfect restorer says it is."""
    differs = (hidden > 0) | (dark > 0)
    return torch.where(differs, torch.full_like(pictures, GREY), pictures), differs


def layered(tabletop: Tabletop, shadow: CastShadow | None = None) -> TabletopPicture:
    motion = StillCamera(small_codec(), torch.linspace(2, 0.5, 8), WIDTH, HEIGHT, CONTROLS, True, hypotheses=3,
                         blocks=2)
    motion._find_hand = lambda pictures: share_of(PALM, LEFT, RIGHT).expand(len(pictures), -1, -1, -1)
    shadow = shadow or CastShadow(*(fact.expand(len(tabletop.blocks), *fact.shape[1:])
                                    for fact in cast(torch.zeros(1, 1, HEIGHT, WIDTH))))
    motion._find_shadow = lambda pictures: shadow
    motion._find_tabletop = lambda pictures: tabletop
    motion._restore_table = restored
    return TabletopPicture(motion, motion.paint, leak=0.0)


def scene(*blocks: tuple[slice, slice]) -> torch.Tensor:
    """A grey table, a white palm, a red left and a blue right finger, green blocks."""
    picture = torch.full((1, 3, HEIGHT, WIDTH), GREY)
    for box, colour in ((PALM, (0.9, 0.9, 0.9)), (LEFT, (0.8, -0.8, -0.8)), (RIGHT, (-0.8, -0.8, 0.8)),
                        *((block, GREEN) for block in blocks)):
        picture[(0, slice(None), *box)] = torch.tensor(colour)[:, None, None]
    return picture


def scene_table() -> torch.Tensor:
    return torch.full((1, 3, HEIGHT, WIDTH), GREY)


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
    for carried in (layered(found(BLOCK)), layered(found(BLOCK), cast(dark)), layered(found())):
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
    """Points of an upright board, each seen by a pinhole before and after, are where its picture was looked up."""
    motion = layered(found())._motion
    sight = motion.sight(torch.tensor([LIFT_RAD]), torch.tensor([EYE_M]))
    away_m, way_m = 0.9, (0.05, -0.06, 0.04)
    places = torch.stack(torch.meshgrid((torch.arange(WIDTH) + 0.5), (torch.arange(HEIGHT) + 0.5), indexing="xy"))
    moved = motion.go_upright(places[None], torch.tensor([[way_m]]), torch.tensor([away_m]), sight.to_camera)[0, 0]
    sin, cos = math.sin(LIFT_RAD), math.cos(LIFT_RAD)

    def seen_at(right: float, away: float, up: float) -> tuple[float, float]:
        down, ahead = -sin * away + cos * (EYE_M - up), cos * away + sin * (EYE_M - up)
        return WIDTH / 2 + FOCAL_PX * right / ahead, HEIGHT / 2 + FOCAL_PX * down / ahead

    for right, up in ((0.0, 0.0), (-0.08, 0.05), (0.07, 0.15), (0.02, 0.2)):
        column, row_ = seen_at(right + way_m[0], away_m + way_m[1], up + way_m[2])
        came_from = moved[:, int(row_), int(column)]
        # A pixel's middle is up to half a pixel from the point, on the one side as on the other.
        expected = torch.tensor(seen_at(right, away_m, up))
        assert (came_from - expected).abs().max() < 0.8


@pytest.mark.parametrize("light", [(0.4, 0.5, 0.6), (0.7, 0.7, 0.7)])
def test_light_is_what_a_shadow_leaves_of_the_table(light) -> None:
    table = torch.full((1, 3, HEIGHT, WIDTH), 0.3)
    table[..., 40:] *= -1.5  # a mat begins in the middle of the shadow
    dark = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    dark[..., 30:60, 25:60] = True
    shaded = (table + 1) * (1 - dark * (1 - torch.tensor(light)[None, :, None, None])) - 1
    guess = torch.tensor([[0.9, 0.1, 0.9]])
    assert light_left(shaded, table, dark, guess)[0].tolist() == pytest.approx(light, abs=1e-4)
    assert torch.equal(light_left(shaded, table, torch.zeros_like(dark), guess), guess)


def test_what_looks_as_the_table_is_the_tables_at_the_rim_of_a_thing_and_its_own_inside() -> None:
    table = torch.full((1, 3, HEIGHT, WIDTH), GREY)
    picture, share = table.clone(), share_of((slice(20, 40), slice(30, 60)))
    picture[..., 21:40, 30:60] = 0.9  # the first of its rows is none
    picture[..., 30, 45] = GREY
    left = distinct(share, picture, table)
    assert torch.equal(left, share_of((slice(21, 40), slice(30, 60))))


def test_what_is_darker_beside_the_table_does_not_go_along_with_the_shadow() -> None:
    """Books that stand in the shadow are black there; the shadow that goes over the table takes nothing of that along.
    """
    place, books = (slice(60, 70), slice(60, 80)), (slice(60, 70), slice(80, 90))
    dark, light = share_of((slice(60, 70), slice(60, 90))), (0.5, 0.5, 0.5)
    picture = scene()
    picture[(0, slice(None), *place)] = (GREY + 1) * 0.5 - 1
    picture[(0, slice(None), *books)] = -1.0
    off_table = 1 - share_of(books)
    carried = layered(found(), cast(dark, light)._replace(table=off_table))
    carried.show(picture)
    assert torch.allclose(play(carried, row()), picture[0], atol=0.02)
    gone = play(carried, *[row(right_m=-0.03)] * 4)
    assert gone[:, 56:76].min().item() == pytest.approx((GREY + 1) * 0.5 - 1, abs=0.06)


def test_what_no_layer_explains_fades_as_the_hand_goes() -> None:
    """A shadow on the wall, of which the restorer knows that it does not belong there, but which no finder finds."""
    strange = slice(4, 10), slice(8, 20)
    picture = scene()
    picture[(0, slice(None), *strange)] -= 0.5
    carried = layered(found())
    differs = (picture != scene_table()).any(dim=1, keepdim=True)
    carried._motion._restore_table = lambda *given: (scene_table(), differs)
    carried.show(picture)
    still = play(carried, row())
    assert torch.allclose(still, picture[0], atol=0.02)
    gone = play(carried, row(right_m=FADE_M))[(0, *strange)]
    assert torch.allclose(gone - GREY, torch.full_like(gone, -0.5 / math.e), atol=0.02)
    assert torch.allclose(play(carried, row(right_m=2 * FADE_M))[(0, *strange)], torch.tensor(GREY), atol=0.01)


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
                                tabletop_width=4, table_width=4)
    assert isinstance(carried_picture(config, MiniCodec(small)), TabletopPicture)
    without = dataclasses.replace(small, table_width=0)
    assert type(carried_picture(config, MiniCodec(without))) is TablePicture
