"""Distances set upright: what agrees best with the guess, the neighbours and the ground is found, and posts stand."""

from __future__ import annotations

import math

import pytest
import torch
from naive_place import naive_upright, naive_without_kerbs, naive_without_shreds

from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig
from astra_play.model import upright as upright_module
from astra_play.model.billboards import ALIKE
from astra_play.model.upright import (
    ALIKE_DOWN,
    HANGS_M,
    LOW_M,
    NARROW_M,
    _log_of_foot,
    upright,
    without_kerbs,
    without_shreds,
)

CONTROLS = ControlsConfig(vertical_fov_deg=45.0, eye_height_m=1.6)
CAR_CONTROLS = ControlsConfig(vertical_fov_deg=45.0, eye_height_m=1.6, bonnet=(0.3, 0.9))
HEIGHT, WIDTH = 48, 64
FOCAL_PX = HEIGHT / 2 / math.tan(math.radians(22.5))


def rough(seed: int, height: int = 9, width: int = 7) -> Distances:
    generator = torch.Generator().manual_seed(seed)
    stands = (torch.rand(2, 1, height, width, generator=generator) > 0.3).float()
    logs = 1.5 + 0.3 * torch.rand(2, 1, height, width, generator=generator)
    return Distances(stands, logs.exp(), torch.tensor([0.0, -0.1]))


@pytest.mark.parametrize("controls", [CONTROLS, CAR_CONTROLS])
@pytest.mark.parametrize("seed", range(4))
def test_the_least_squares_problem_is_solved(seed: int, controls: ControlsConfig, monkeypatch) -> None:
    monkeypatch.setattr(upright_module, "NUM_STEPS", 300)
    distances = rough(seed)
    ours = upright(distances, controls).distance_m.log()
    foot = _log_of_foot(distances, controls)
    limits = {name.lower(): getattr(upright_module, name)
              for name in ("BELIEVED", "GUESS", "FOOT", "ALIKE_DOWN", "ALIKE_ACROSS", "DOWN", "ACROSS")}
    for index in range(2):
        naive = naive_upright(distances.stands[index, 0] > 0.5, distances.distance_m[index, 0].log(), foot[index, 0],
                              limits, controls)
        assert (ours[index, 0] - naive).abs().max() < 1e-3
    assert (ours - distances.distance_m.log()).abs().max() > 0.05


def post(away_m: float, guess: torch.Tensor) -> Distances:
    """A post straight ahead, to whose rows the guess (HEIGHT,) gives distances."""
    stands = torch.zeros(1, 1, HEIGHT, WIDTH)
    stands[:, :, 10:round(HEIGHT / 2 + FOCAL_PX * 1.6 / away_m), 30:34] = 1
    return Distances(stands, guess[:, None].expand_as(stands).clone(), torch.zeros(1))


def test_a_post_that_leans_in_the_guess_stands_where_it_meets_the_ground() -> None:
    leaning = post(6.0, torch.linspace(7.2, 5.6, HEIGHT))
    own = upright(leaning, CONTROLS).distance_m[leaning.stands > 0]
    assert own.max() / own.min() < 1.06  # was 1.2
    assert float(own.median()) == pytest.approx(6.0, rel=0.05)


def test_what_does_not_stand_keeps_its_guess_and_so_does_what_hangs_in_mid_air() -> None:
    """A crown beside its trunk has no ground under it, and the ground that is seen below it is far behind."""
    hanging = post(6.0, torch.full((HEIGHT,), 6.0))
    hanging.stands[:, :, 26:] = 0
    ours = upright(hanging, CONTROLS)
    assert torch.allclose(ours.distance_m, hanging.distance_m, rtol=1e-3)
    assert torch.equal(ours.stands, hanging.stands) and torch.equal(ours.pitch_rad, hanging.pitch_rad)


def test_what_a_bonnet_cuts_off_has_no_foot_there() -> None:
    """A wall that is guessed a little too far away stays there: its lowest row in view is no foot."""
    wall = Distances(torch.ones(1, 1, HEIGHT, WIDTH), torch.full((1, 1, HEIGHT, WIDTH), 4.0), torch.zeros(1))
    y = (torch.arange(HEIGHT) + 0.5) / HEIGHT * 2 - 1
    wall.stands[:, :, y > 1 - 2 * 0.05] = 0
    for bonnet, is_believed in ((0.05, True), (0.0, False)):
        controls = ControlsConfig(vertical_fov_deg=45.0, eye_height_m=1.6, bonnet=(bonnet, 1e3))
        ours = upright(wall, controls).distance_m
        assert ((ours[:, :, :40] - 4.0).abs().max() < 0.05) == is_believed


def test_two_things_at_two_distances_stay_apart() -> None:
    near = post(4.0, torch.full((HEIGHT,), 4.0))
    stands, metres = near.stands.clone(), near.distance_m.clone()
    stands[:, :, 18:27, 34:40], metres[:, :, 18:27, 34:40] = 1, 12.0
    ours = upright(Distances(stands, metres, near.pitch_rad), CONTROLS).distance_m
    assert float(ours[0, 0, 20, 33]) == pytest.approx(4.0, rel=0.05)
    assert float(ours[0, 0, 20, 34]) == pytest.approx(12.0, rel=0.05)


def test_the_ground_is_as_far_away_as_it_is_seen_down() -> None:
    looking_up = 0.1
    level = _log_of_foot(Distances(torch.zeros(1, 1, HEIGHT, WIDTH), torch.ones(1, 1, HEIGHT, WIDTH),
                                   torch.tensor([looking_up])), CONTROLS)
    row = 40
    angle = math.atan((row + 1 - HEIGHT / 2) / FOCAL_PX) - looking_up
    middle = level[0, 0, row, WIDTH // 2 - 1:WIDTH // 2 + 1].mean().exp()
    assert float(middle) == pytest.approx(1.6 / math.tan(angle), rel=0.01)
    assert torch.isinf(level[0, 0, :24]).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_low_and_goes_on_no_higher_is_none_that_stands(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(2, 2, 6, 8, generator=generator)
    stands, near = torch.nn.functional.interpolate(small, (24, 32), mode="bilinear").split(1, dim=1)
    distances = Distances((stands > 0.45).float(), 2 + 12 * near, torch.tensor([0.0, -0.1]))
    ours = without_kerbs(distances, CONTROLS)
    for index in range(2):
        naive = torch.tensor(naive_without_kerbs(distances, CONTROLS, LOW_M, ALIKE_DOWN, index))
        assert ((ours.stands[index, 0] > 0.5) == naive).float().mean() > 0.99
    assert 0.02 < (ours.stands != distances.stands).float().mean() < 0.5
    assert torch.equal(ours.distance_m, distances.distance_m)


@pytest.mark.parametrize(("high_m", "stays"), [(0.12, False), (0.25, False), (0.5, True), (3.0, True)])
@pytest.mark.parametrize("away_m", [4.0, 7.0])
def test_kerbs_lie_and_walls_and_the_feet_of_posts_stand(high_m: float, stays: bool, away_m: float) -> None:
    stands = torch.zeros(1, 1, HEIGHT, WIDTH)
    foot = HEIGHT / 2 + FOCAL_PX * 1.6 / away_m
    stands[:, :, round(foot - FOCAL_PX * high_m / away_m):round(foot), 30:34] = 1
    thing = Distances(stands, torch.full_like(stands, away_m), torch.zeros(1))
    assert stands.sum() > 0
    left = without_kerbs(thing, CONTROLS).stands
    assert torch.equal(left, stands) if stays else left.sum() == 0


@pytest.mark.parametrize("controls", [CONTROLS, CAR_CONTROLS], ids=["feet", "car"])
@pytest.mark.parametrize("seed", range(4))
def test_what_hangs_in_mid_air_and_is_narrow_is_none_that_stands(seed: int, controls: ControlsConfig) -> None:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(2, 2, 12, 16, generator=generator)
    stands, near = torch.nn.functional.interpolate(small, (24, 32), mode="bilinear").split(1, dim=1)
    # Terraces, between which things end.
    distances = Distances((stands > 0.62).float(), 3.0 * 1.2 ** (near * 6).round(), torch.tensor([0.0, -0.1]))
    ours = without_shreds(distances, controls)
    limits = {"alike": ALIKE, "hangs_m": HANGS_M, "narrow_m": NARROW_M}
    for index in range(2):
        naive = torch.tensor(naive_without_shreds(distances, controls, limits, index))
        assert torch.equal(ours.stands[index, 0] > 0.5, naive)
    assert 0.002 < (ours.stands != distances.stands).float().mean() < 0.5
    assert torch.equal(ours.distance_m, distances.distance_m)


def test_bits_of_a_post_go_with_their_rims_and_posts_crowns_and_roofs_stay() -> None:
    """A post down to the ground, a bit of one, a wide roof, a crown over a hedge, and what the picture's edge cuts."""
    metres = torch.full((1, 1, HEIGHT, WIDTH), 6.0)
    stands = torch.zeros_like(metres)
    whole = ((slice(8, 46), slice(4, 6)), (slice(6, 12), slice(28, 62)), (slice(14, 20), slice(40, 46)),
             (slice(20, 46), slice(36, 60)), (slice(0, 6), slice(10, 12)))
    for place in whole:
        stands[(0, 0, *place)] = 1
    metres[:, :, 20:46, 36:60] = 3.0  # the hedge
    kept = stands.clone()
    stands[0, 0, 10:18, 20:22], stands[0, 0, 10:18, 22] = 1, 0.4
    ours = without_shreds(Distances(stands, metres, torch.zeros(1)), CONTROLS).stands
    assert torch.equal(ours, kept)
    nothing = Distances(torch.zeros_like(stands), metres, torch.zeros(1))
    assert without_shreds(nothing, CONTROLS) is nothing
