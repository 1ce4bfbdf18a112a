"""The carried picture of a place: set up in the last given picture, always the same place, painted over but not for
good."""

from __future__ import annotations

import math

import pytest
import torch

from astra_play.actions.rows import camera_row
from astra_play.codec.distances import DistanceFinder
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig
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
        stands[..., 10:30, 5:20] = 1
        return found._replace(stands=stands, distance_m=torch.full_like(stands, 7.0))


def motion_of(finder: DistanceFinder) -> PlaceMotion:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    fit_linear(codec, torch.rand(50, 3, HEIGHT, WIDTH) * 2 - 1)
    codec.distances = finder.eval()
    return PlaceMotion(codec, torch.ones(8), WIDTH, HEIGHT, CONTROLS, 30.0, coverage=True)


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
