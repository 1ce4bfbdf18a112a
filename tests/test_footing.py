"""Walking in a place: one slides along what stands between knee and eye, wherever it is seen, and through nothing."""

from __future__ import annotations

import math

import pytest
import torch
from naive_place import naive_clearance_m
from test_place import (
    CONTROLS,
    HEIGHT,
    REACH_M,
    ROAD_CONTROLS,
    WIDTH,
    eyes,
    nothing_stands,
    redness,
    rough_place,
    smooth,
    with_post,
)

from astra_play.actions.rows import camera_row
from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig
from astra_play.model.anchor import camera_poses
from astra_play.model.eyes import Eyes
from astra_play.model.footing import BODY_M, SLIP_M
from astra_play.model.place import Place

STEP_M = 0.19


def walk(place: Place, at: Eyes, ahead_m: float = 0.0, right_m: float = 0.0, left_rad: float = 0.0,
         times: int = 1) -> Eyes:
    row = torch.from_numpy(camera_row(ahead_m, right_m, left_rad)).float()
    for _ in range(times):
        at = place.footing.walk(at, camera_poses(row.expand(len(at.yaw_rad), -1)))
    return at


def wall(away_m: float) -> Place:
    """All across the picture, and flat."""
    return Place(*with_post(WIDTH // 2, WIDTH // 2, away_m, top=0), CONTROLS, REACH_M)


def test_on_free_ground_one_goes_where_the_row_leads() -> None:
    picture = smooth(1)
    place, at = Place(picture, nothing_stands(picture), CONTROLS, REACH_M), eyes(yaw=0.4)
    pose = camera_poses(torch.from_numpy(camera_row(STEP_M, 0.1, 0.05)).float()[None])
    for _ in range(40):
        expected = at.moved(pose)
        at = place.footing.walk(at, pose)
        assert torch.equal(torch.stack(at), torch.stack(expected))


@pytest.mark.parametrize("away", [3.0, 6.0])
def test_a_wall_stops_one_a_body_before_it(away: float) -> None:
    at = walk(wall(away), eyes(), ahead_m=STEP_M, times=60)
    assert float(at.ahead_m) == pytest.approx(away - BODY_M, abs=0.06) and abs(float(at.right_m)) < 0.2


def test_along_a_wall_one_slides() -> None:
    place = wall(4.0)
    begin = walk(place, eyes(), ahead_m=STEP_M, times=30)
    slid = walk(place, begin, ahead_m=STEP_M, right_m=0.1, times=8)
    assert float(slid.right_m - begin.right_m) == pytest.approx(0.8, abs=0.15)
    assert float(slid.ahead_m) == pytest.approx(4.0 - BODY_M, abs=0.06)


@pytest.mark.parametrize("half_angle", [20, 45])
def test_a_corner_is_no_way_through(half_angle: int) -> None:
    """Two walls that meet 8 m ahead; who walks into it for long is held where both leave no room."""
    across = ((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * math.tan(math.radians(22.5)) * WIDTH / HEIGHT
    # On a wall x = (8 - z) tan(half angle); seen at x = z across.
    ahead_m = 8.0 / (1 + across.abs() / math.tan(math.radians(half_angle)))
    picture, distances = with_post(WIDTH // 2, WIDTH // 2, 8.0, top=0)
    away_m = (ahead_m * (1 + across.square()).sqrt()).expand_as(distances.stands)
    stands = torch.ones_like(distances.stands)
    place, at = Place(picture, Distances(stands, away_m, torch.zeros(1)), CONTROLS, REACH_M), eyes(right=0.1, ahead=0.5)
    for _ in range(100):
        at = walk(place, at, ahead_m=STEP_M, right_m=0.05)
        clear_m = float(place.footing.clearance_m(torch.stack([at.right_m, at.ahead_m], dim=-1)))
        assert clear_m > BODY_M - SLIP_M - 0.01
    assert 2.0 < float(at.ahead_m) < 8.0


def test_a_wall_beside_the_way_has_no_gaps_where_it_is_far() -> None:
    """3 m to the right, seen ever more from aside; its columns are metres apart in the end."""
    across = ((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * math.tan(math.radians(22.5)) * WIDTH / HEIGHT
    ahead_m = 3.0 / across.clamp_min(1e-3)
    picture, distances = with_post(WIDTH // 2, WIDTH // 2, 8.0, top=0)
    stands = (ahead_m < 25.0).float().expand_as(distances.stands)
    away_m = (ahead_m * (1 + across.square()).sqrt()).clamp(max=30.0).expand_as(stands)
    place = Place(picture, Distances(stands, away_m, torch.zeros(1)), CONTROLS, REACH_M)
    assert place.billboards.labels.max() == -1  # narrow to the eye, and twenty metres deep
    for ahead in (8.0, 11.0, 14.0, 17.0):
        at = walk(place, eyes(ahead=ahead), right_m=STEP_M, times=40)
        assert float(at.right_m) < 3.0


def test_from_behind_one_comes_as_near_as_a_wall_is_thick() -> None:
    place = wall(12.0)
    solid_m = place.panorama.solid_front_m
    thick_m = float((place.panorama.back_m - solid_m)[solid_m.isfinite()].min())
    at = walk(place, eyes(ahead=20.0), ahead_m=-STEP_M, times=80)
    assert float(at.ahead_m) == pytest.approx(12.0 + thick_m + BODY_M, abs=0.1)
    assert redness(place.view(at._replace(yaw_rad=at.yaw_rad + math.pi))[0]).mean() > 0.8


def test_who_is_in_the_midst_of_something_gets_out() -> None:
    at = eyes(ahead=6.3)
    place = wall(6.0)
    assert place.footing.clearance_m(torch.tensor([[0.0, 6.3]])) < 0.05
    assert float(walk(place, at, ahead_m=STEP_M, times=12).ahead_m) > 7.0


def test_about_a_post_one_slides_and_gets_past() -> None:
    place, at = Place(*with_post(half_px=2), CONTROLS, REACH_M), eyes(right=0.25)
    nearest = []
    for _ in range(60):
        at = walk(place, at, ahead_m=STEP_M)
        nearest.append(float(place.footing.clearance_m(torch.stack([at.right_m, at.ahead_m], dim=-1))))
    assert min(nearest) == pytest.approx(BODY_M, abs=0.06)
    assert float(at.ahead_m) > 8.0 and float(at.right_m) > 0.5


def test_who_begins_before_a_wall_may_leave_but_not_come_nearer() -> None:
    place = wall(0.4 + 1.0)
    near = eyes(ahead=1.0)  # 0.4 m
    assert float(walk(place, near, ahead_m=STEP_M, times=5).ahead_m) == pytest.approx(1.0, abs=0.06)
    assert float(walk(place, near, left_rad=0.3).yaw_rad) == pytest.approx(0.3, abs=1e-6)
    assert float(walk(place, near, ahead_m=-STEP_M, times=4).ahead_m) == pytest.approx(1.0 - 4 * STEP_M, abs=1e-5)


@pytest.mark.parametrize(("top", "bottom"), [(2, 18), (38, 39)])
def test_over_ones_head_and_below_ones_knee_is_nothing_in_the_way(top: int, bottom: int) -> None:
    picture, distances = with_post(half_px=6, top=0)
    rows = torch.arange(HEIGHT)[:, None]
    stands = distances.stands * ((rows >= top) & (rows < bottom))
    place = Place(picture, Distances(stands, distances.distance_m, distances.pitch_rad), CONTROLS, REACH_M)
    assert place.panorama.solid_front_m.isfinite().any()
    assert float(walk(place, eyes(), ahead_m=STEP_M, times=50).ahead_m) == pytest.approx(50 * STEP_M, abs=1e-4)


def test_the_mirror_of_a_thing_is_in_the_way_too() -> None:
    """Beyond the edge of the first tile there is another, the other way round."""
    place = Place(*with_post(half_px=4), CONTROLS, REACH_M)
    ours = walk(place, eyes(ahead=2 * REACH_M - 2.0), ahead_m=-STEP_M, times=60)
    assert float(ours.ahead_m) == pytest.approx(2 * REACH_M - 6.0 + BODY_M, abs=0.06)


def test_one_is_stopped_and_the_other_is_not() -> None:
    picture, distances = with_post(half_px=4)
    both = Distances(torch.cat([distances.stands, torch.zeros_like(distances.stands)]),
                     distances.distance_m.expand(2, -1, -1, -1), torch.zeros(2))
    place = Place(picture.expand(2, -1, -1, -1), both, CONTROLS, REACH_M)
    at = walk(place, Eyes(*torch.zeros(4, 2)), ahead_m=STEP_M, times=60)
    assert float(at.ahead_m[0]) == pytest.approx(6.0 - BODY_M, abs=0.06)
    assert float(at.ahead_m[1]) == pytest.approx(60 * STEP_M, abs=1e-4)


@pytest.mark.parametrize("controls", [CONTROLS, ROAD_CONTROLS], ids=["park", "road"])
def test_the_clearance_is_that_to_the_nearest_of_all_mirrored_things(controls: ControlsConfig) -> None:
    """Where a mirror turns within what is known, what it leaves out counts as well: one is stopped rather early."""
    place = rough_place(controls=controls)
    generator = torch.Generator().manual_seed(4)
    ahead = 0
    for number in range(16):
        azimuth, away = (torch.rand(2, generator=generator) * 2 - 1).tolist()
        azimuth *= 0.98 * place.panorama.half_rad if number % 2 else math.pi
        point = (24 * abs(away) * math.sin(azimuth), 24 * abs(away) * math.cos(azimuth))
        for index in range(2):
            ours = float(place.footing.clearance_m(torch.tensor([point, point]))[index])
            naive = naive_clearance_m(place, point, index)
            assert ours < naive + 1e-3
            if number % 2:
                assert ours == pytest.approx(naive, abs=1e-3)
                ahead += naive < 3
    assert ahead > 3
