"""Narrow things of a place turn to whoever looks: never a row of pales, wherever around the start they are planted."""

from __future__ import annotations

import math

import pytest
import torch
from naive_place import naive_billboards, naive_components
from test_place import CONTROLS, FOCAL_PX, HEIGHT, REACH_M, ROAD_CONTROLS, WIDTH, eyes, redness, with_post

from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig
from astra_play.model.billboards import ALIKE, components
from astra_play.model.eyes import Eyes
from astra_play.model.place import Place
from astra_play.model.tiling import Tiling


def place_of(picture: torch.Tensor, distances: Distances, controls: ControlsConfig = CONTROLS) -> Place:
    return Place(picture, distances, controls, REACH_M)


def both(*each: tuple[torch.Tensor, Distances]) -> tuple[torch.Tensor, Distances]:
    """What stands in several pictures, in one: the nearest of it where they overlap."""
    distances = [torch.where(own.stands > 0, own.distance_m, torch.inf) for _, own in each]
    nearest = torch.stack(distances).min(dim=0)
    picture = torch.stack([own for own, _ in each]).gather(0, nearest.indices[None].expand(1, -1, 3, -1, -1))[0]
    stands = torch.stack([own.stands for _, own in each]).amax(dim=0)
    return picture, Distances(stands, nearest.values.nan_to_num(posinf=30.0), torch.zeros(1))


def many() -> tuple[torch.Tensor, Distances]:
    return both(with_post(20, 2, 6.0), with_post(40, 1, 10.0, top=16), with_post(48, 2, 14.0, top=20),
                with_post(10, 3, 9.0, top=12))


def things_of(place: Place) -> list[list[tuple[float, float, float]]]:
    """Of each of the batch: azimuth, width and distance of its narrow things, read off their labels."""
    panorama, result = place.panorama, []
    for labels, front_m in zip(place.billboards.labels, panorama.front_m, strict=True):
        result.append([])
        for label in labels[labels >= 0].unique().tolist():
            cells = (labels == label).nonzero()
            first, last = int(cells[:, 1].min()), int(cells[:, 1].max())
            away = math.exp(float(front_m[labels == label].log().mean()))
            width = (last - first + 1) * 2 * panorama.half_rad / panorama.columns * away
            result[-1].append((float(panorama.azimuth[first] + panorama.azimuth[last]) / 2, width, away))
    return result


@pytest.mark.parametrize(("right", "ahead", "yaw"), [(0.0, 0.0, 0.0), (6.0, 6.0, math.pi / 2), (-3.0, 9.0, -2.4),
                                                     (0.0, 11.0, math.pi), (4.0, 2.0, 0.8)])
def test_a_post_looks_as_wide_from_everywhere(right: float, ahead: float, yaw: float) -> None:
    picture, distances = with_post(half_px=3)
    place = place_of(picture, distances)
    assert place.billboards.labels.max() == 0
    view, known = place.view(eyes(right, ahead, yaw))
    red = redness(view) * torch.nn.functional.max_pool2d(known, 3, stride=1, padding=1)[0, 0]  # and none of its copies
    off_x, off_z = -right, 6.0 - ahead
    along, off = (off_z * math.cos(yaw) - off_x * math.sin(yaw), off_x * math.cos(yaw) + off_z * math.sin(yaw))
    column, width_px = WIDTH / 2 + FOCAL_PX * off / along, 6 * 6.0 / math.hypot(off_x, off_z)
    row = red[HEIGHT // 2]
    assert float(row.sum()) == pytest.approx(width_px, rel=0.2)
    middle = float((row * (torch.arange(WIDTH) + 0.5)).sum() / row.sum())
    assert middle == pytest.approx(column, abs=1.0)
    solid = (row > 0.5).nonzero()[:, 0]
    assert len(solid) == solid[-1] - solid[0] + 1  # no pales


def test_what_is_wide_or_cut_or_hangs_in_the_air_is_none() -> None:
    wide, cut = with_post(half_px=26, away_m=8.0), with_post(column=WIDTH - 2, half_px=2)
    small = with_post(half_px=3)
    rows = torch.arange(HEIGHT)[:, None]
    hangs = small[0], small[1]._replace(stands=small[1].stands * (rows < 11))
    for picture, distances in (wide, cut, hangs):
        place = place_of(picture, distances)
        assert place.panorama.front_m.isfinite().any() and place.billboards.labels.max() == -1
        assert torch.equal(place.walls.panorama.front_m, place.panorama.front_m)


def test_what_rises_from_a_hedge_is_told_from_it() -> None:
    away = 8.0
    hedge_top = round(HEIGHT / 2 + FOCAL_PX * (1.6 - 1.0) / away)
    hedge = with_post(half_px=30, away_m=away, top=hedge_top)
    place = place_of(*both(hedge, with_post(18, 3, away, top=10), with_post(44, 2, away, top=14)))
    labels = place.billboards.labels[0]
    assert labels.max() == 1
    columns = [place.panorama.azimuth[(labels == label).any(dim=0)].mean() for label in (0, 1)]
    expected = sorted(math.atan((column - WIDTH / 2) / FOCAL_PX) for column in (18, 44))
    assert sorted(float(c) for c in columns) == pytest.approx(expected, abs=0.02)
    assert place.walls.panorama.front_m.isfinite().any()  # the hedge stays


def test_what_hangs_together_is_what_a_flood_would_reach() -> None:
    generator = torch.Generator().manual_seed(2)
    logs = torch.nn.functional.interpolate(torch.rand(2, 1, 7, 9, generator=generator), (40, 50), mode="bilinear")[:, 0]
    front_m = torch.exp(2 * logs + 0.3 * (torch.rand(2, 40, 50, generator=generator) < 0.05))
    front_m[torch.rand(2, 40, 50, generator=generator) < 0.3] = torch.inf
    ours = components(front_m)
    num_things = 0
    for index in range(2):
        naive = naive_components(front_m[index], ALIKE)
        assert torch.equal(naive >= 0, ours[index] >= 0)
        pairs = torch.stack([naive[naive >= 0], ours[index][naive >= 0]]).unique(dim=1)
        assert pairs.shape[1] == len(pairs[0].unique()) == len(pairs[1].unique())
        num_things += pairs.shape[1]
    assert num_things > 20
    assert not set(ours[0].unique().tolist()[1:]) & set(ours[1].unique().tolist()[1:])
    assert (components(torch.full((1, 4, 5), torch.inf)) == -1).all()


@pytest.mark.parametrize("is_road", [False, True])
@pytest.mark.parametrize("half_rad", [0.3, 0.5, 1.2, 1.5])
def test_copies_are_where_the_mirrors_show_it(half_rad: float, is_road: bool) -> None:
    tiling = Tiling(REACH_M, half_rad, is_road)
    azimuth = torch.tensor([0.0, 0.11, -0.8 * half_rad])
    copies, which, side = tiling.copies(azimuth)
    for thing in range(3):
        own = copies[which == thing]
        assert (own - azimuth[thing]).abs().min() < 1e-5
        assert torch.allclose(tiling.fold(own), azimuth[thing].expand_as(own), atol=1e-4)
        around = torch.linspace(-math.pi, math.pi, 20001)[:-1]
        near = (tiling.fold(around) - azimuth[thing]).abs() < 2e-4
        assert all(min((own - at).abs().min(), (own - at - 2 * math.pi).abs().min()) < 1e-3 for at in around[near])
        assert len(own) == len(own.round(decimals=3).unique())
    beside = tiling.fold(copies + 1e-3) - azimuth[which]
    assert torch.equal(beside.sign(), side)


@pytest.mark.parametrize("controls", [CONTROLS, ROAD_CONTROLS], ids=["park", "road"])
@pytest.mark.parametrize("eye", [(0.0, 0.0, 0.0), (2.0, 5.0, 0.9), (-9.0, 14.0, -2.5), (54.0, -47.0, -2.69)])
def test_rays_meet_what_every_wall_at_right_angles_would_stop(eye: tuple[float, float, float],
                                                              controls: ControlsConfig) -> None:
    picture, distances = many()
    twice = Distances(*(torch.cat([own, own.flip(-1) if own.dim() > 1 else own]) for own in distances))
    place = place_of(torch.cat([picture, picture.flip(-1)]), twice, controls)
    things = things_of(place)
    assert [len(own) for own in things] == [4, 4]
    at = Eyes(*(torch.tensor([value, -0.5 * value]) for value in (*eye, 0.0)))
    seen = []
    meet = place.billboards.meet
    place.billboards.meet = lambda *args: seen.append(meet(*args)) or seen[0]
    place.view(at)
    num_met = 0
    for index, scale in enumerate((1.0, -0.5)):
        own_eye = tuple(scale * value for value in eye)
        naive = torch.tensor(naive_billboards(place, own_eye, things[index], index, index * 4, eye != (0.0, 0.0, 0.0)))
        ours = seen[0].along_m[index]
        same = (ours == naive) | ((ours - naive).abs() < 2e-3)  # on the border of two cells it may fall either way
        assert (~same).sum() <= 0.03 * naive.isfinite().sum()
        num_met += int(naive.isfinite().sum())
    assert num_met > 100


def test_beyond_the_first_tile_a_thing_is_the_wrong_way_round() -> None:
    picture, distances = with_post(half_px=3)
    stripes = torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand(3, HEIGHT, 3)
    picture[0, ..., 32:35] = torch.where(distances.stands[0, :, :, 32:35] > 0, stripes, picture[0, ..., 32:35])
    place = place_of(picture, distances)

    def greener_on_the_right(view: torch.Tensor) -> bool:
        stands = (view[0, 2, HEIGHT // 2 - 2] < -0.6).nonzero()[:, 0]
        green = view[0, 1, HEIGHT // 2 - 2, stands]
        return bool(green[-1] > green[0])

    assert greener_on_the_right(place.view(eyes(ahead=1.0))[0])
    view, known = place.view(eyes(ahead=2 * REACH_M - 1.0, yaw=math.pi))  # the post is at 2 * REACH - 6
    assert not greener_on_the_right(view)  # as in a mirror that stands across the way
    assert known[..., HEIGHT // 2 - 2, WIDTH // 2].max() == 0
    view, _ = place.view(eyes(right=2 * REACH_M, ahead=1.0))
    assert not greener_on_the_right(view)
