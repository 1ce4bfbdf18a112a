"""The carried picture of a place: set up in the last given picture, always the same place, painted over but not for
good."""

from __future__ import annotations

import math

import pytest
import torch

from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.codec.distances import DistanceFinder
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig
from astra_play.model.anchor import camera_poses
from astra_play.model.eyes import Eyes
from astra_play.model.footing import BODY_M
from astra_play.model.place_picture import PlaceMotion, PlacePicture

WIDTH, HEIGHT = 64, 48
CONTROLS = ControlsConfig(vertical_fov_deg=45.0, max_turn_deg_per_frame=20.0)
TURN, STEP, STAND = camera_row(0.0, 0.0, 0.2), camera_row(0.19, 0.0, 0.0), camera_row(0.0, 0.0, 0.0)


class Finder(DistanceFinder):
    """One that counts how often it looks, and sees things on the left alone."""

    looked = 0

    def forward(self, pictures: torch.Tensor):
        self.looked += 1
        found = super().forward(pictures)
        stands = torch.zeros_like(found.stands)
        stands[..., 10:38, 5:20] = 1  # down to the ground
        return found._replace(stands=stands, distance_m=torch.full_like(stands, 7.0))


def motion_of(finder: DistanceFinder, controls: ControlsConfig = CONTROLS) -> PlaceMotion:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    fit_linear(codec, torch.rand(50, 3, HEIGHT, WIDTH) * 2 - 1)
    codec.distances = finder.eval()
    return PlaceMotion(codec, torch.ones(8), WIDTH, HEIGHT, controls, 30.0, coverage=True)


@pytest.fixture
def finder() -> Finder:
    torch.manual_seed(1)
    return Finder(8)


@pytest.fixture
def motion(finder: Finder) -> PlaceMotion:
    return motion_of(finder)


@pytest.fixture
def carried(motion: PlaceMotion) -> PlacePicture:
    return PlacePicture(motion, motion.paint, 0.0)


def smooth(seed: int, batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=False).clamp(-1, 1)


def rows(*each, batch: int = 1) -> torch.Tensor:
    return torch.stack([torch.from_numpy(row).float() for row in each]).expand(batch, -1, -1)


def play(carried: PlacePicture, *each, wrong: float = 0.0) -> torch.Tensor:
    """Frame by frame; the network paints what was expected, and `wrong` beside it. Returns the last picture."""
    for row in each:
        anchor = carried.expect(rows(row))
        pictures, _ = carried.paint_over(anchor[:, :, :8] + wrong)
    return pictures[:, -1]


def test_who_comes_back_finds_the_place_whatever_was_painted(carried: PlacePicture) -> None:
    carried.show(smooth(1))
    first = play(carried, STAND)
    there = [TURN] * 4 + [STEP] * 5
    back = [camera_row(-0.19, 0.0, 0.0)] * 5 + [camera_row(0.0, 0.0, -0.2)] * 4
    away = play(carried, *there, wrong=0.3)
    again = play(carried, *back, STAND, wrong=0.3)
    assert (away - first).abs().mean() > 0.05
    assert (again - first).abs().mean() < 1e-3


def test_what_the_network_paints_counts_where_one_walks_and_where_nobody_looked(carried: PlacePicture) -> None:
    carried.show(smooth(2))
    assert (play(carried, STAND) - play(carried, STAND, wrong=0.5)).abs().max() == 0
    eyes, clean = carried.snapshot(), play(carried, STEP)
    carried.restore(eyes)
    assert (clean - play(carried, STEP, wrong=0.5)).abs().mean() > 0.01
    carried.restore(eyes)
    clean = play(carried, TURN)
    carried.restore(eyes)
    changed = (play(carried, TURN, wrong=0.5) - clean).abs().mean(dim=(0, 1, 2))
    # A turn to the left brings what nobody saw in from the left.
    assert changed[2:8].mean() > 0.01 and changed[-20:-3].max() < 1e-5


def test_the_place_is_set_up_once_and_in_the_picture_given_last(carried: PlacePicture, finder: Finder) -> None:
    for seed in (1, 2, 3):
        carried.expect(rows(STAND)) if seed == 3 else None
        carried.show(smooth(seed))
    assert finder.looked == 1  # for the one view that was asked for
    shown = play(carried, STAND, STAND, STEP, camera_row(-0.19, 0.0, 0.0))
    assert finder.looked == 2
    inside = (..., slice(2, -2), slice(3, -3))
    assert (shown - smooth(3))[inside].abs().mean() < 0.06 < (shown - smooth(2))[inside].abs().mean()


def test_one_picture_given_several_times_is_set_up_once(carried: PlacePicture, finder: Finder) -> None:
    for _ in range(4):
        carried.show(smooth(7))
        first = play(carried, STEP, TURN)
    assert finder.looked == 1
    carried.show(smooth(7))
    assert torch.equal(play(carried, STEP, TURN), first)  # from its start again


def test_a_chunk_of_several_frames_moves_step_by_step(carried: PlacePicture) -> None:
    carried.show(smooth(4))
    before = carried.snapshot()
    carried.expect(rows(TURN, STEP, TURN))
    together, _ = carried.paint_over(carried._anchors[:, :, :8])
    carried.restore(before)
    one_by_one = [play(carried, row) for row in (TURN, STEP, TURN)]
    # What is painted counts as much as the briskest frame of its chunk so far; here nothing is painted.
    for index, own in enumerate(one_by_one):
        assert torch.allclose(together[:, index], own, atol=1e-4)


def test_play_goes_on_from_a_snapshot_as_it_went_on(carried: PlacePicture) -> None:
    carried.show(smooth(5))
    early = carried.snapshot()  # nothing is set up yet
    play(carried, TURN, STEP)
    middle, first = carried.snapshot(), play(carried, STEP, TURN, wrong=0.1)
    play(carried, TURN, TURN, STEP)
    carried.restore(middle)
    assert torch.equal(play(carried, STEP, TURN, wrong=0.1), first)
    carried.restore(early)
    play(carried, TURN, STEP)
    assert torch.equal(play(carried, STEP, TURN, wrong=0.1), first)
    carried.reset()
    assert carried.picture is None


def test_things_stop_who_walks_into_them_in_play(carried: PlacePicture) -> None:
    """Seven metres to the left of straight ahead, and all across for the camera that has turned there."""
    carried.show(smooth(8))
    play(carried, camera_row(0.0, 0.0, 0.33), *[STEP] * 60)
    away_m = math.hypot(float(carried._eyes.right_m), float(carried._eyes.ahead_m))
    assert away_m == pytest.approx(7.0 - BODY_M, abs=0.25)


def test_the_first_view_is_the_given_picture_and_its_rest_fades_on_the_way(carried: PlacePicture) -> None:
    fine = (torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.8
    carried.show(fine)  # finer than a place can be
    assert torch.allclose(play(carried, STAND), fine, atol=1e-4)
    unexplained, inside = carried._unexplained, (..., slice(2, -2), slice(4, -4))
    assert unexplained[inside].abs().mean() > 0.02
    turned = play(carried, camera_row(0.0, 0.0, 0.05))
    plain = carried._place.view(carried._eyes)[0]
    shift = 0.05 / math.radians(45) * HEIGHT  # to the left, what was seen goes to the right
    assert 2 < shift < 4
    moved = unexplained.roll(round(shift), dims=-1)
    likeness = torch.corrcoef(torch.stack([own[inside].flatten() for own in (turned - plain, moved)]))[0, 1]
    assert likeness > 0.6
    left = []
    for _ in range(10):
        shown = play(carried, STEP)
        left.append(float((shown - carried._place.view(carried._eyes)[0])[inside].abs().mean()))
    assert all(late <= early for early, late in zip(left, left[1:], strict=False)) and left[0] > 0.01 > left[-1]
    assert left[-1] == 0


def test_eyes_know_how_the_camera_has_turned() -> None:
    """Turns and nods in any order, motion by motion, against the product of all its rotations: a turn is about the
    vertical, so it is undone from a nod first."""
    start = Eyes(*(torch.tensor([value]) for value in (0.3, -0.2, 0.4, 0.1)))
    eyes, yaw, pitch = start, 0.4, 0.1
    for turn, nod in ((0.2, 0.0), (0.0, 0.15), (-0.5, 0.0), (0.0, -0.3)):
        eyes = eyes.moved(camera_poses(rows(camera_row(0.1, 0.0, turn, nod)))[:, 0])
        yaw, pitch = yaw + turn, pitch + nod
    point = torch.tensor([0.3, -0.2, 2.0])  # of the start's camera: right, down, ahead

    def seen(own_yaw: float, own_pitch: float, level: torch.Tensor) -> torch.Tensor:
        """A direction right, down, ahead of nobody's heading -> of the camera's, in plain trigonometry."""
        right, down, ahead = level.tolist()
        right, ahead = (right * math.cos(own_yaw) + ahead * math.sin(own_yaw),
                        ahead * math.cos(own_yaw) - right * math.sin(own_yaw))
        return torch.tensor([right, down * math.cos(own_pitch) + ahead * math.sin(own_pitch),
                             ahead * math.cos(own_pitch) - down * math.sin(own_pitch)])

    basis = torch.stack([seen(0.4, 0.1, axis) for axis in torch.eye(3)], dim=1)
    level = torch.linalg.solve(basis, point)
    assert torch.allclose(eyes.turned_from(start)[0] @ point, seen(yaw, pitch, level), atol=1e-5)
    assert float(eyes.way_m(start)) == pytest.approx(
        math.hypot(float(eyes.right_m) - 0.3, float(eyes.ahead_m) + 0.2), abs=1e-6)


def test_a_bonnet_stays_and_is_no_part_of_the_place() -> None:
    torch.manual_seed(1)
    controls = ControlsConfig(modality="vehicle", vertical_fov_deg=45.0, eye_height_m=1.2, bonnet=(0.1, 0.8))

    class SeesAWall(DistanceFinder):
        """All across, down to the lower edge."""
        def forward(self, pictures: torch.Tensor):
            found = super().forward(pictures)
            stands = torch.zeros_like(found.stands)
            stands[..., 10:, :] = 1
            return found._replace(stands=stands, distance_m=torch.full_like(stands, 6.0),
                                  pitch_rad=torch.zeros_like(found.pitch_rad))

    motion = motion_of(SeesAWall(8), controls)
    carried, picture = PlacePicture(motion, motion.paint, 0.0), smooth(9) * 0.3
    on_bonnet = motion.on_bonnet
    assert 0.02 < on_bonnet.float().mean() < 0.1
    picture = torch.where(on_bonnet, torch.tensor([0.9, -0.9, -0.9])[:, None, None], picture)
    carried.show(picture)
    ahead, left = vehicle_row(0.4, 0.0, 0.0), vehicle_row(0.4, 0.0, 0.1)
    for _ in range(3):
        shown = play(carried, ahead, left, wrong=0.2)
        assert torch.equal(shown[..., on_bonnet], picture[..., on_bonnet])
        red = (shown[0, 0] - shown[0, 1])[~on_bonnet]
        assert red.max() < 0.9  # of a bonnet it is 1.8: none lies about
    play(carried, *[ahead] * 20)
    assert float(carried._eyes.ahead_m) < 6.0 - BODY_M + 0.1


def test_eyes_begin_as_the_start_picture_looks() -> None:
    """A finder that sees it look up: level eyes are a nod down away."""
    class LooksUp(DistanceFinder):
        def forward(self, pictures: torch.Tensor):
            found = super().forward(pictures)
            return found._replace(stands=torch.zeros_like(found.stands),
                                  pitch_rad=torch.full_like(found.pitch_rad, 0.15))

    motion = motion_of(LooksUp(8))
    carried, picture = PlacePicture(motion, motion.paint, 0.0), smooth(6)
    carried.show(picture)
    inside = (..., slice(2, -2), slice(3, -3))
    assert (play(carried, STAND) - picture)[inside].abs().mean() < 0.02
    level = play(carried, camera_row(0.0, 0.0, 0.0, -0.15))
    shift = HEIGHT / 2 / math.tan(math.radians(22.5)) * math.tan(0.15)
    assert 0 < shift < HEIGHT / 2
    # Straight ahead at the height of the eyes, the picture shows its own middle moved down.
    below = picture[0, :, HEIGHT // 2 + round(shift), WIDTH // 2]
    assert (level[0, :, HEIGHT // 2, WIDTH // 2] - below).abs().max() < 0.1
