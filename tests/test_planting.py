"""Beyond the start picture narrow things are no mirror images: each copy has its own place, where there is room."""

from __future__ import annotations

import math

import pytest
import torch
from naive_place import naive_mirrored, planted_in
from test_billboards import both, many, place_of, things_of
from test_footing import STEP_M, walk
from test_place import CONTROLS, FOCAL_PX, HEIGHT, REACH_M, ROAD_CONTROLS, WIDTH, eyes, redness, with_post

from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig
from astra_play.model.footing import Footing
from astra_play.model.place import Place
from astra_play.model.planting import ALIKE, GAP_M, NEARER, SCATTER_M, TWIN_M

Stand = tuple[int, float, float, int]


def with_a_wall(posts: tuple[torch.Tensor, Distances]) -> tuple[torch.Tensor, Distances]:
    """Posts, a wall behind some of them, which the edge of the picture cuts, and a path among them."""
    picture, distances = both(posts, with_post(column=58, half_px=12, away_m=12.0, top=14))
    is_ground = (distances.stands == 0) & (torch.arange(HEIGHT)[:, None] >= HEIGHT // 2)
    on_path = (torch.arange(WIDTH) - 24).abs() < 5
    return torch.where(is_ground & on_path, torch.tensor(0.9), picture), distances


def ground_of(place: Place, index: int, x: float, z: float) -> torch.Tensor:
    """The colour of the ground about a point: under it and so far to each side of it, (5, 3)."""
    part, colours = place.panorama.part(index), []
    for off_x, off_z in ((0, 0), (0.7, 0), (-0.7, 0), (0, 0.7), (0, -0.7)):
        azimuth, away, _ = place.tiling.find_ground(*(torch.tensor([[[own]]]) for own in (x + off_x, z + off_z)))
        azimuth, down, _ = part.ground(azimuth, away)
        colours.append(part.look_up(part.behind, azimuth, down)[0, :3, 0, 0])
    return torch.stack(colours)


def sources(place: Place, index: int) -> list[tuple[Stand, Stand | None]]:
    """Where mirrors show the things of one of the batch, and what is planted of each; whatever is not there was left
    out. A copy is known by its number, its side, and by being the nearest such to where the mirror has it."""
    things, first = things_of(place)[index], sum(len(own) for own in things_of(place)[:index])
    stands = planted_in(place, index)
    pairs = []
    for number, x, z, side in naive_mirrored(place, things):
        own = [stand for stand in stands if stand[0] == first + number and stand[3] == side]
        nearest = min(own, key=lambda stand: math.dist(stand[1:3], (x, z)), default=None)
        is_there = nearest is not None and math.dist(nearest[1:3], (x, z)) < SCATTER_M + 0.01
        pairs.append(((first + number, x, z, side), nearest if is_there else None))
    return pairs


@pytest.mark.parametrize("controls", [CONTROLS, ROAD_CONTROLS], ids=["park", "road"])
def test_what_is_planted_keeps_the_rules(controls: ControlsConfig) -> None:
    picture, distances = with_a_wall(many())
    twice = Distances(*(torch.cat([own, own.flip(-1) if own.dim() > 1 else own]) for own in distances))
    place = place_of(torch.cat([picture, picture.flip(-1)]), twice, controls)
    walls = Footing(place.walls.panorama, place.tiling, CONTROLS.eye_height_m)
    num_moved = num_copies = 0
    for index in range(2):
        things, first = things_of(place)[index], index * len(things_of(place)[0])
        stands = planted_in(place, index)
        mirrored = naive_mirrored(place, things)
        for label, x, z, side in stands:
            azimuth, width, away = things[label - first]
            if abs(math.atan2(x, z) - azimuth) < 1e-3:
                assert side == 1 and math.hypot(x, z) == pytest.approx(away, rel=1e-3)  # in the start picture
                continue
            num_copies += 1
            own = [(x2, z2) for number, x2, z2, side2 in mirrored if number == label - first and side2 == side]
            moved = [place2 for place2 in own if math.dist(place2, (x, z)) < SCATTER_M + 0.01]
            assert moved
            if min(math.dist(place2, (x, z)) for place2 in moved) < 0.05:
                continue  # where the mirror has it
            num_moved += 1
            assert max(abs(x), abs(z)) + (width + TWIN_M) / 2 < 30.0 and math.hypot(x, z) > NEARER * away - 0.01
            assert abs(math.atan2(x, z)) - math.atan(width / 2 / math.hypot(x, z)) > place.panorama.half_rad - 1e-3
            assert float(walls.clearance_m(torch.tensor([[x, z], [x, z]]))[index]) > width / 2 + GAP_M - 0.01
            soil = ground_of(place, index, x, z)
            assert any((soil - ground_of(place, index, *place2).mean(dim=0)).abs().max() < ALIKE + 0.05
                       for place2 in moved)
            for other, x2, z2, _ in stands:
                if (x2, z2) != (x, z):
                    assert math.dist((x, z), (x2, z2)) > (width + things[other - first][1]) / 2 + GAP_M - 0.01
    assert num_moved > 0.5 * num_copies > 12


def test_a_thing_and_its_mirror_image_never_stand_side_by_side() -> None:
    """A post near the edge of the picture: at a mirror there are two of it a metre apart, which is one too many."""
    place = place_of(*with_post(column=WIDTH - 5, half_px=2, away_m=6.0))
    (_, width, away), = things_of(place)[0]
    mirrored = naive_mirrored(place, things_of(place)[0])
    near = [(one, other) for one in mirrored for other in mirrored if one < other and math.dist(
        one[1:3], other[1:3]) < width + TWIN_M]
    assert near  # so mirrors would have it
    stands = planted_in(place, 0)
    assert all(math.dist(one[1:3], other[1:3]) > width + TWIN_M for one in stands for other in stands if one < other)
    own = math.atan((WIDTH / 2 - 5) / FOCAL_PX)
    assert any(math.atan2(x, z) == pytest.approx(own, abs=0.02) for _, x, z, _ in stands)


def test_none_is_planted_beside_its_mirror_image_in_the_next_tile() -> None:
    posts = (with_post(column, 1, away, top=18) for column, away in ((16, 22.0), (30, 25.0), (46, 24.0)))
    place = place_of(*both(*posts))
    widths = [width for _, width, _ in things_of(place)[0]]
    moved = [there for mirror, there in sources(place, 0) if there and math.dist(there[1:3], mirror[1:3]) > 0.5]
    assert len(moved) > 5
    assert all(REACH_M - max(abs(x), abs(z)) > (widths[label] + TWIN_M) / 2 for label, x, z, _ in moved)


def test_where_no_ground_is_like_its_own_a_copy_stays_or_is_left_out() -> None:
    """On a chessboard of two colours finer than a foot."""
    picture, distances = with_post(column=WIDTH - 5, half_px=2, away_m=6.0)
    generator = torch.Generator().manual_seed(0)
    noise = (torch.rand(1, 1, HEIGHT, WIDTH, generator=generator) > 0.5).float() * 2 - 1
    is_ground = (torch.arange(HEIGHT)[:, None] >= HEIGHT // 2) & (distances.stands == 0)
    place = place_of(torch.where(is_ground, noise, picture), distances)
    pairs = sources(place, 0)
    assert all(math.dist(there[1:3], mirror[1:3]) < 0.05 for mirror, there in pairs if there)
    assert 0 < sum(there is None for _, there in pairs) < len(pairs)


def test_what_rises_from_a_hedge_stays_with_it() -> None:
    """Its foot is in the hedge, which goes on as in a mirror: elsewhere its crown would hang in mid-air."""
    away = 8.0
    hedge = with_post(half_px=30, away_m=away, top=round(HEIGHT / 2 + FOCAL_PX * (1.6 - 1.0) / away))
    place = place_of(*both(hedge, with_post(18, 3, away, top=10), with_post(44, 2, away, top=14)))
    pairs = sources(place, 0)
    assert len(things_of(place)[0]) == 2 and len(pairs) > 10
    assert all(there and math.dist(there[1:3], mirror[1:3]) < 0.05 for mirror, there in pairs)


def test_feet_meet_what_is_planted_and_nothing_else() -> None:
    """What is seen is in the way, where a mirror alone would have it is nothing."""
    place = place_of(*with_post(half_px=3))
    pairs = [(mirror, there) for mirror, there in sources(place, 0) if there and math.dist(
        mirror[1:3], there[1:3]) > 3.0]
    assert pairs
    for mirror, there in pairs:
        assert float(place.footing.clearance_m(torch.tensor([there[1:3]]))) < 0.05
        assert float(place.footing.clearance_m(torch.tensor([mirror[1:3]]))) > 1.0
        x, z = there[1:3]
        yaw = math.atan2(-x, z)
        at = walk(place, eyes(x - 2.5 * math.sin(-yaw), z - 2.5 * math.cos(yaw), yaw), ahead_m=STEP_M, times=40)
        assert float(place.footing.clearance_m(torch.stack([at.right_m, at.ahead_m], dim=-1))) > 0.9
        view, _ = place.view(eyes(x - 2.5 * math.sin(-yaw), z - 2.5 * math.cos(yaw), yaw))
        assert redness(view)[:, WIDTH // 2 - 1:WIDTH // 2 + 1].sum() > 5


def test_the_same_picture_is_planted_in_the_same_way() -> None:
    one, other = (place_of(*many()) for _ in range(2))
    assert planted_in(one, 0) == planted_in(other, 0) and len(planted_in(one, 0)) > 8
