"""The moved anchor: a ray by ray twin, signs of turning and walking, and the picture that is carried along."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from astra_play.actions.rows import arm_row, camera_row, vehicle_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig
from astra_play.model.anchor import CameraMotion, blur_across, camera_poses, resample
from astra_play.model.carried_picture import CarriedPicture
from astra_play.model.still_camera import StillCamera, TablePicture
from astra_play.train.latents import Clips
from astra_play.train.losses import true_past


def mover_codec() -> MiniCodec:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    fit_linear(codec, torch.rand(50, 3, 24, 32) * 2 - 1)
    return codec


@pytest.fixture(scope="module")
def mover() -> CameraMotion:
    return CameraMotion(mover_codec(), torch.linspace(2, 0.5, 8), width=32, height=24,
                       controls=ControlsConfig(scene_depth_m=5.0))


def pose(yaw_deg: float, pitch_deg: float = 0.0, forward_m: float = 0.0, right_m: float = 0.0) -> torch.Tensor:
    row = camera_row(forward_m, right_m, math.radians(yaw_deg), math.radians(pitch_deg))
    return torch.from_numpy(row).reshape(3, 4)


def test_a_row_that_does_not_move_changes_nothing(mover: CameraMotion) -> None:
    pictures = torch.rand(2, 3, 24, 32) * 2 - 1
    moved, _, anchors = mover.expect(pictures, torch.from_numpy(camera_row()).expand(2, 3, 12))
    assert torch.allclose(moved, pictures[:, None].expand(-1, 3, -1, -1, -1), atol=1e-4)
    assert torch.allclose(anchors[:, 2], mover.encode(pictures), atol=1e-4)


def test_encoding_what_latents_paint_gives_them_back(mover: CameraMotion) -> None:
    latents = torch.randn(2, 8, 3, 4)
    assert torch.allclose(mover.encode(mover.paint(latents)), latents, atol=1e-4)


def test_turning_left_moves_the_picture_right_and_looking_up_moves_it_down(mover: CameraMotion) -> None:
    picture = torch.zeros(1, 3, 24, 32)
    picture[..., 12, 16] = 1.0
    left = mover.move(picture, pose(5.0)[None])[0, 0]
    up = mover.move(picture, pose(0.0, 5.0)[None])[0, 0]
    column, row = (left.sum(0) * torch.arange(32)).sum() / left.sum(), (up.sum(1) * torch.arange(24)).sum() / up.sum()
    focal_px = 12 / math.tan(math.radians(30))
    assert column.item() == pytest.approx(16 + focal_px * math.tan(math.radians(5)), abs=0.3)
    assert row.item() == pytest.approx(12 + focal_px * math.tan(math.radians(5)), abs=0.3)


def test_walking_ahead_spreads_the_picture_and_a_step_right_moves_it_left(mover: CameraMotion) -> None:
    columns, rows = torch.arange(32) + 0.5, torch.arange(24) + 0.5
    # A soft spot above the horizon and right of the middle, so 5 m away when the step is done.
    picture = torch.exp(-((rows[:, None] - 8.5) ** 2 + (columns - 23.5) ** 2) / 3).expand(1, 3, 24, 32)
    ahead, aside = (mover.move(picture, p[None])[0, 0] for p in (pose(0, forward_m=1.0), pose(0, right_m=0.5)))
    assert ((ahead.sum(0) * columns).sum() / ahead.sum()).item() == pytest.approx(16 + 7.5 * 6 / 5, abs=0.2)
    assert ((ahead.sum(1) * rows).sum() / ahead.sum()).item() == pytest.approx(12 - 3.5 * 6 / 5, abs=0.2)
    focal_px = 12 / math.tan(math.radians(30))
    assert ((aside.sum(0) * columns).sum() / aside.sum()).item() == pytest.approx(23.5 - focal_px * 0.5 / 5, abs=0.2)


def cubic(values: list[torch.Tensor], fraction: float) -> torch.Tensor:
    """Interpolate between the middle two of four values with Keys' kernel, a = -0.75 (the one of torch)."""
    a, weights = -0.75, []
    for d in (1 + fraction, fraction, 1 - fraction, 2 - fraction):
        near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
        weights.append(near if d <= 1 else far)
    return sum(w * v for w, v in zip(weights, values, strict=True))


def test_moving_equals_a_walk_over_all_pixels(mover: CameraMotion) -> None:
    picture, motion = torch.rand(1, 3, 24, 32), pose(4.0, -3.0, 0.3, -0.1)
    ours = mover.move(picture, motion[None])[0]
    tangent = math.tan(math.radians(30))
    for y in range(0, 24, 5):
        for x in range(0, 32, 5):
            ray = torch.tensor([((x + 0.5) / 16 - 1) * tangent * 32 / 24, ((y + 0.5) / 12 - 1) * tangent, 1.0])
            depth_m = min(5.0, 1.6 / ray[1].item()) if ray[1] > 0 else 5.0
            before = motion[:, :3].T @ (ray * depth_m - motion[:, 3])
            column = (before[0] / before[2] / (tangent * 32 / 24) + 1) * 16 - 0.5
            row = (before[1] / before[2] / tangent + 1) * 12 - 0.5
            column, row = column.item(), row.item()
            if not (1 < column < 30 and 1 < row < 22):
                continue  # the edge is the next test's
            lines = [cubic([picture[0, :, int(row) + j, int(column) + i] for i in (-1, 0, 1, 2)], column - int(column))
                     for j in (-1, 0, 1, 2)]
            expected = cubic(lines, row - int(row))
            assert torch.allclose(ours[:, y, x], expected, atol=1e-4), (x, y)


def test_beyond_the_edge_the_edge_repeats(mover: CameraMotion) -> None:
    picture = torch.arange(32.0).expand(1, 3, 24, 32)
    left = mover.move(picture, pose(12.0)[None])[0, 0]
    assert left[12, :3].abs().max() < 0.5 < left[12, 12]


def some_rows(frames: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(camera_row(0.1, 0.05 * t, 0.03 - 0.02 * t)) for t in range(frames)])


def test_frames_of_a_chunk_are_moved_by_all_motions_before_them(mover: CameraMotion) -> None:
    picture, rows = torch.rand(1, 3, 24, 32), some_rows(2)[None]
    first, second = (torch.cat([r.reshape(3, 4), torch.tensor([[0.0, 0, 0, 1]])]) for r in rows[0])
    both = (second @ first)[:3].reshape(1, 1, 12)
    assert torch.allclose(mover.expect(picture, rows)[0][:, 1:], mover.expect(picture, both)[0], atol=1e-4)


@pytest.mark.parametrize("leak", [0.0, 0.25, 1.0])
def test_carried_picture_is_what_latents_say_and_moved_detail(mover: CameraMotion, leak: float) -> None:
    picture, rows = torch.rand(1, 3, 24, 32) - 0.5, some_rows(3)
    carried = CarriedPicture(mover, mover.paint, leak)
    carried.show(picture)
    for row in rows:
        moved = mover.move(picture, row.reshape(1, 3, 4))
        anchor = carried.expect(row[None, None])
        assert torch.allclose(anchor[0], mover.encode(moved), atol=1e-4)
        latents = anchor + 0.1 * torch.randn(anchor.shape)
        ahead = mover.straight_ahead(row[None, None])
        detail = blur_across(moved, ahead[0]) - mover.paint(mover.encode(moved))
        picture = (mover.paint(latents[0]) + (1 - leak) * detail).clamp(-1, 1)
        pictures, shown = carried.paint_over(latents)
        assert torch.allclose(pictures[0], picture, atol=1e-4)
        assert torch.allclose(shown[0], mover.encode(picture), atol=1e-4)


def test_carried_picture_of_a_chunk_goes_on_from_its_last_frame(mover: CameraMotion) -> None:
    """Latents as expected and no leak: two chunks of two frames are the moves of one picture, one after another."""
    carried = CarriedPicture(mover, mover.paint, leak=0.0)
    carried.show(torch.rand(2, 3, 24, 32) - 0.5)
    rows, first = some_rows(4).expand(2, -1, -1), carried._picture
    for start in (0, 2):
        begin = carried._picture
        pictures, _ = carried.paint_over(carried.expect(rows[:, start:start + 2]))
        own = rows[:, start:start + 2]
        moved = blur_across(mover.expect(begin, own)[0].flatten(0, 1), mover.straight_ahead(own).flatten(0, 1))
        assert torch.allclose(pictures.flatten(0, 1), moved.clamp(-1, 1), atol=1e-4)
    assert not torch.allclose(carried._picture, first, atol=0.05)


@pytest.mark.parametrize("chunk", [1, 2])
def test_true_past_expects_what_follows_from_the_picture_before(mover: CameraMotion, chunk: int) -> None:
    before = torch.randint(0, 256, (2, 6, 24, 32, 3), dtype=torch.uint8)
    clips = Clips(torch.randn(2, 6, 8, 3, 4), some_rows(6).expand(2, -1, -1), torch.zeros(2).bool(), before)
    past = true_past(clips, chunk, mover)
    assert past.latents is clips.latents
    assert torch.equal(past.anchors[:, :chunk], clips.latents[:, :1].expand(-1, chunk, -1, -1, -1))
    for t in range(chunk, 6, chunk):
        own = slice(t, t + chunk)
        expected = mover.expect(clips.pictures_before(t), clips.rows[:, own])[2]
        assert torch.allclose(past.anchors[:, own], expected, atol=1e-5)
    still = true_past(clips, chunk, None).anchors
    for t in range(chunk, 6):
        assert torch.equal(still[:, t], clips.latents[:, t // chunk * chunk - 1])


def test_a_vehicle_row_moves_the_camera_as_the_car_moves() -> None:
    vehicle = torch.from_numpy(vehicle_row(forward_m=0.8, left_m=-0.1, yaw_left_rad=0.2))
    camera = torch.from_numpy(camera_row(forward_m=0.8, right_m=0.1, yaw_left_rad=0.2)).reshape(3, 4)
    assert torch.allclose(camera_poses(vehicle.expand(2, 3, 7))[1, 2], camera, atol=1e-6)


def test_an_arm_row_leaves_the_camera_where_it_is(mover: CameraMotion) -> None:
    still = StillCamera(mover_codec(), torch.linspace(2, 0.5, 8), 32, 24, ControlsConfig(modality="arm"), coverage=True)
    pictures = torch.rand(2, 3, 24, 32) - 0.5
    carried = TablePicture(still, still.paint, leak=0.0)
    carried.show(pictures)
    anchors = carried.expect(torch.from_numpy(arm_row(0.1, 0.1, 0.1, 1.0)).expand(2, 2, 7))
    assert torch.equal(carried._moved[:, 1], pictures) and torch.equal(anchors[:, 1, :8], still.encode(pictures))
    assert anchors.shape[2] == 9 and (anchors[:, :, 8] == 1).all()


BONNET = (0.25, 0.6)  # a quarter of the picture high, as wide at its foot as 0.6 of it


@pytest.fixture(scope="module")
def car() -> CameraMotion:
    return CameraMotion(mover_codec(), torch.linspace(2, 0.5, 8), width=32, height=24,
                        controls=ControlsConfig(scene_depth_m=5.0, bonnet=BONNET), coverage=True)


def hidden(x: float, y: float) -> bool:
    """Whether a place of the picture, x and y in [-1, 1] from its middle, lies on the bonnet."""
    top = 1 - 2 * BONNET[0] * (1 - (x / BONNET[1]) ** 2)
    return y > top


def test_the_bonnet_stays_and_what_it_hid_was_not_seen(car: CameraMotion, mover: CameraMotion) -> None:
    """Pixel by pixel: a bonnet's pixel stays, another is what the bare motion says unless the bonnet hid its source."""
    motion = pose(8.0, forward_m=0.4)[None]
    places, around = mover.places_before(motion)[0], car.around_bonnet(car.places_before(motion))[0]
    own = lifted = 0
    for row in range(24):
        for column in range(32):
            x, y = (column + 0.5) / 16 - 1, (row + 0.5) / 12 - 1
            px, py = places[row, column].tolist()
            got = around[row, column].tolist()
            if hidden(x, y):
                own += 1
                assert got == pytest.approx([x, y], abs=1e-6)
            elif hidden(px, py):
                lifted += 1
                assert got[0] == px and not hidden(*got) and hidden(got[0], got[1] + 2.01 / 24)
            else:
                assert got == [px, py]
    assert own > 20 and lifted > 5


def test_coverage_counts_what_the_bonnet_hid_as_unseen(car: CameraMotion) -> None:
    picture = torch.rand(1, 3, 24, 32) * 2 - 1
    row = torch.from_numpy(camera_row(0.4, 0.0, math.radians(8)))[None, None]
    moved, _, anchor = car.expect(picture, row)
    assert torch.allclose(moved[0, 0][:, car.on_bonnet], picture[0][:, car.on_bonnet], atol=1e-4)
    places = car.places_before(camera_poses(row)[0])[0]
    seen = torch.tensor([[hidden((c + 0.5) / 16 - 1, (r + 0.5) / 12 - 1)
                          or (max(map(abs, places[r, c].tolist())) <= 1 and not hidden(*places[r, c].tolist()))
                          for c in range(32)] for r in range(24)]).float()
    assert torch.allclose(anchor[0, 0, 8], seen.unflatten(0, (3, 8)).unflatten(2, (4, 8)).mean(dim=(1, 3)), atol=1e-6)


def test_without_a_bonnet_nothing_is_hidden(mover: CameraMotion) -> None:
    places = mover.places_before(pose(8.0)[None])
    assert not mover.on_bonnet.any() and torch.equal(mover.around_bonnet(places), places)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("count", "height"), [(1, 24), (1, 23), (3, 24)])
def test_a_picture_in_bands_is_the_picture_in_one_piece(monkeypatch, threads: int, count: int, height: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    pictures, places = torch.rand(count, 3, 24, 32), 2.4 * torch.rand(count, height, 32, 2) - 1.2
    whole = F.grid_sample(pictures, places, mode="bicubic", padding_mode="border", align_corners=False)
    assert torch.equal(resample(pictures, places), whole)
