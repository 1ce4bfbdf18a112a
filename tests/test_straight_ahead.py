"""What is straight ahead of who goes there: no edge may stand in the middle of the picture and split it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from naive import naive_blur_ahead
from test_anchor import mover_codec

from astra_play.actions.rows import arm_row, camera_row, vehicle_row
from astra_play.config import ControlsConfig
from astra_play.model.anchor import AHEAD_BLUR, AHEAD_PX, STAYS_PX, CameraMotion, blur_across
from astra_play.model.carried_picture import CarriedPicture
from astra_play.model.still_camera import StillCamera

WIDTH, HEIGHT, DEPTH_M, FOV_DEG = 64, 48, 12.0, 60.0
CONTROLS = ControlsConfig(scene_depth_m=DEPTH_M, vertical_fov_deg=FOV_DEG)
FOCAL_PX = HEIGHT / 2 / math.tan(math.radians(FOV_DEG / 2))


def mover(depth_m: float = DEPTH_M, kind: type[CameraMotion] = CameraMotion) -> CameraMotion:
    return kind(mover_codec(), torch.linspace(2, 0.5, 8), WIDTH, HEIGHT,
                dataclasses.replace(CONTROLS, scene_depth_m=depth_m))


def rows_of(*rows) -> torch.Tensor:
    return torch.stack([torch.from_numpy(row) for row in rows])[None]


def halves() -> torch.Tensor:
    picture = torch.full((1, 3, HEIGHT, WIDTH), -0.5)
    picture[..., WIDTH // 2:] = 0.5
    return picture


def test_columns_are_blurred_about_the_place_that_one_goes_to() -> None:
    motion = mover()
    for forward_m, right_m, yaw_deg in ((0.2, 0.0, 0.0), (0.1, 0.03, 0.0), (0.2, 0.0, 0.4), (0.9, -0.1, 0.0)):
        share = motion.straight_ahead(rows_of(camera_row(forward_m, right_m, math.radians(yaw_deg))))[0, 0]
        assert share.shape == (WIDTH,)
        # Steps are taken in the axes of before the turn, and told in those of after it.
        yaw = math.radians(yaw_deg)
        ahead = forward_m * math.cos(yaw) - right_m * math.sin(yaw)
        aside = forward_m * math.sin(yaw) + right_m * math.cos(yaw)
        turned_px = FOCAL_PX * math.sin(yaw)
        most = min(1.0, AHEAD_BLUR * ahead / DEPTH_M) * math.exp(-(turned_px / STAYS_PX) ** 2)
        for column in range(WIDTH):
            off_px = column + 0.5 - WIDTH / 2 - FOCAL_PX * aside / ahead
            assert share[column].item() == pytest.approx(most * math.exp(-off_px**2 / (2 * AHEAD_PX**2)), abs=2e-3)


def test_frames_of_a_chunk_are_blurred_for_all_of_their_way() -> None:
    motion, step = mover(), camera_row(0.1)
    share = motion.straight_ahead(rows_of(step, step))[0]
    assert torch.allclose(share[1], 2 * share[0], atol=1e-5)


def test_nothing_is_blurred_where_nobody_goes_ahead() -> None:
    for row in (camera_row(), camera_row(-0.2), camera_row(0.0, 0.2), camera_row(0, 0, 0.1), vehicle_row(0.0, 0.0)):
        assert mover().straight_ahead(rows_of(row)) is None
    assert mover().straight_ahead(rows_of(vehicle_row(0.5, 0.0))).max() > 0.5
    assert mover(0.0).straight_ahead(rows_of(camera_row(0.2))).max() < 1e-4  # all of it is endlessly far away
    assert mover(kind=StillCamera).straight_ahead(rows_of(arm_row(0.0, 0.2, 0.0, 0.0))) is None


def test_blur_is_a_quarter_from_either_side_pixel_by_pixel() -> None:
    motion = mover()
    pictures, rows = torch.randn(2, 3, HEIGHT, WIDTH), rows_of(camera_row(0.2, 0.03), camera_row(0.5, 0.0, 0.003))
    blurred = blur_across(pictures, motion.straight_ahead(rows.movedim(0, 1))[:, 0])
    for index in range(2):
        assert torch.allclose(blurred[index], naive_blur_ahead(pictures[index], rows[0, index], CONTROLS), atol=1e-4)


@pytest.mark.parametrize("turn_deg", [0.0, 3.0])
def test_an_edge_straight_ahead_is_drawn_apart_and_one_that_is_turned_past_is_not(turn_deg: float) -> None:
    """The worst step between two neighbours in the middle, after two seconds of walking at it."""
    motion = mover()
    carried = CarriedPicture(motion, motion.paint, leak=0.0)
    carried.show(halves())
    for index in range(32):
        yaw = math.radians(turn_deg) * (-1) ** index
        anchors = carried.expect(rows_of(camera_row(0.19, 0.0, yaw)))
        carried.paint_over(anchors[:, :, :8])
    steps = carried.picture[0, 0, HEIGHT // 2].diff()[20:44].abs()
    if turn_deg:
        assert steps.max() > 0.4
    else:
        assert steps.max() < 0.25
        assert carried.picture[0, 0, :, :8].mean().item() == pytest.approx(-0.5, abs=0.02)  # and it stays an edge
        assert carried.picture[0, 0, :, -8:].mean().item() == pytest.approx(0.5, abs=0.02)
