"""A place in three dimensions: seen from anywhere as geometry says, always the same, without end."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from naive_place import naive_first_met, naive_ground, naive_shown, naive_tiled

from astra_play.actions.rows import camera_row
from astra_play.codec.distances import FARTHEST_M, Distances
from astra_play.config import ControlsConfig
from astra_play.model import panorama as panorama_module
from astra_play.model.eyes import Eyes
from astra_play.model.footing import BODY_M
from astra_play.model.place import Place
from astra_play.model.tiling import Tiling, tiled
from astra_play.model.walls import Walls

WIDTH, HEIGHT, REACH_M = 64, 48, 30.0
CONTROLS = ControlsConfig(vertical_fov_deg=45.0, eye_height_m=1.6)
ROAD_CONTROLS = dataclasses.replace(CONTROLS, modality="vehicle")
TANGENT = math.tan(math.radians(22.5))
FOCAL_PX = HEIGHT / 2 / TANGENT


def eyes(right: float = 0.0, ahead: float = 0.0, yaw: float = 0.0, pitch: float = 0.0) -> Eyes:
    return Eyes(*(torch.tensor([value]) for value in (right, ahead, yaw, pitch)))


def smooth(seed: int, batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.6
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=False).clamp(-1, 1)


def nothing_stands(pictures: torch.Tensor, pitch_rad: float = 0.0) -> Distances:
    zero = torch.zeros_like(pictures[:, :1])
    return Distances(zero, zero + FARTHEST_M, torch.full((len(pictures),), pitch_rad))


def with_post(column: int = 32, half_px: int = 1, away_m: float = 6.0, top: int = 8) -> tuple[torch.Tensor, Distances]:
    """A green field under a blue sky, and a red post on it `away_m` from the eye."""
    picture = torch.zeros(1, 3, HEIGHT, WIDTH)
    picture[:, 2, :HEIGHT // 2], picture[:, 1, HEIGHT // 2:] = 0.8, 0.5
    foot = round(HEIGHT / 2 + FOCAL_PX * CONTROLS.eye_height_m / away_m)
    stands = torch.zeros(1, 1, HEIGHT, WIDTH)
    stands[:, :, top:foot, column - half_px:column + half_px] = 1
    picture = torch.where(stands > 0, torch.tensor([1.0, -1.0, -1.0])[:, None, None], picture)
    across = ((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT
    # A flat thing that faces the eye: further along the ground the more it is aside.
    distance = (away_m * (1 + across.square()).sqrt()).expand_as(stands)
    return picture, Distances(stands, distance, torch.zeros(1))


def redness(picture: torch.Tensor) -> torch.Tensor:
    """Where (H, W) a picture (1, 3, H, W) is red."""
    return ((picture[0, 0] - picture[0, 1]) / 2).clamp(0, 1) * (picture[0, 0] > 0)


def rough_place(seed: int = 0, batch: int = 2, controls: ControlsConfig = CONTROLS) -> Place:
    """Things of random shapes and distances."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(batch, 2, 6, 8, generator=generator)
    stands, near = torch.nn.functional.interpolate(small, (12, 16), mode="bilinear").split(1, dim=1)
    distances = Distances((stands > 0.55).float(), 2 + 25 * near, torch.tensor([0.0, 0.1])[:batch])
    return Place(torch.rand(batch, 3, 12, 16, generator=generator) * 2 - 1, distances, controls, REACH_M)


@pytest.mark.parametrize("controls", [CONTROLS, ROAD_CONTROLS], ids=["park", "road"])
@pytest.mark.parametrize("eye", [(0.0, 0.0, 0.0), (1.5, 4.0, 0.7), (-3.0, -9.0, 2.6), (70.0, -50.0, 1.0)])
def test_rays_meet_what_every_sample_of_them_would_find(eye: tuple[float, float, float], controls: ControlsConfig
                                                        ) -> None:
    place = rough_place(controls=controls)
    both = Eyes(*(torch.tensor([value, 0.5 * value]) for value in (*eye, 0.0)))
    seen = []
    place.walls._where_met = lambda *args: seen.append(Walls._where_met(place.walls, *args)) or seen[0]
    place.view(both)
    num_met = 0
    for index, scale in enumerate((1.0, 0.5)):
        naive = torch.tensor(naive_first_met(place, tuple(scale * value for value in eye), index))
        ours = seen[0][index]
        # A sample that lies on the border of two places may fall either way.
        same = (ours == naive) | ((ours - naive).abs() < 1e-3)
        assert same.float().mean() > 0.99
        num_met += int(naive.isfinite().sum())
    assert 0.05 * ours.numel() < num_met < 2 * ours.numel()


@pytest.mark.parametrize("pitch", [0.0, 0.12, -0.2])
def test_who_has_not_moved_sees_the_start_picture(pitch: float) -> None:
    picture = smooth(1)
    shown, known = Place(picture, nothing_stands(picture, pitch), CONTROLS, REACH_M).view(eyes(pitch=pitch))
    inside = (..., slice(2, -2), slice(3, -3))
    assert (shown - picture)[inside].abs().mean() < 0.02
    assert known.mean() > 0.9


def test_what_stands_is_seen_where_the_start_picture_has_it() -> None:
    picture, distances = with_post()
    shown, _ = Place(picture, distances, CONTROLS, REACH_M).view(eyes())
    assert (redness(shown) - redness(picture)).abs().mean() < 0.006
    assert (shown - picture).abs().mean() < 0.02


def test_a_picture_drawn_larger_makes_the_same_place_with_more_in_it() -> None:
    picture, distances = with_post()
    larger = torch.nn.functional.interpolate(picture, scale_factor=2)
    plain, fine = (Place(own, distances, CONTROLS, REACH_M).view(eyes(0.5, 3.0, 0.1))[0] for own in (picture, larger))
    assert plain.shape == fine.shape and (plain - fine).abs().mean() < 0.02
    stripes = torch.ones(1, 3, 2 * HEIGHT, 2 * WIDTH)
    stripes[..., ::2] = -1  # finer than a pixel
    near = Place(stripes, nothing_stands(picture), CONTROLS, REACH_M).panorama.behind
    assert near.std() > 0.5


@pytest.mark.parametrize(("aside", "right", "yaw"), [
    (-1.2, 5.0, 0.9), (-1.2, 5.0, 1.4), (-0.7, 2.5, 0.9), (-0.7, 2.5, 1.4), (-0.7, 5.0, 1.4)])
def test_a_wall_that_is_looked_along_is_whole_from_beside_it(aside: float, right: float, yaw: float) -> None:
    """Seen from the start its columns are metres apart, and a ray from elsewhere passes many of them at a time."""
    begin, end, high = 2.5, 24.0, 2.2
    across = (((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT).expand(HEIGHT, -1)
    down = (((torch.arange(HEIGHT) + 0.5) / HEIGHT * 2 - 1) * TANGENT)[:, None].expand(-1, WIDTH)

    def wall(x: float, z: float, to_right: torch.Tensor, to_ahead: torch.Tensor, rim: float) -> torch.Tensor:
        """Where rays from a place see the wall, but for its rim."""
        along = (aside - x) / to_right
        height, where = CONTROLS.eye_height_m - down * along, z + along * to_ahead
        return (along > 0) & (where > begin + rim) & (where < end - rim) & (height > rim) & (height < high - rim)

    stands = wall(0.0, 0.0, across, torch.ones_like(across), 0.0)
    picture = torch.where(stands, torch.tensor([1.0, -1.0, -1.0])[:, None, None], torch.tensor(0.3))[None]
    distances = Distances(stands[None, None].float(), (aside / across * (1 + across.square()).sqrt())[None, None],
                          torch.zeros(1))
    place = Place(picture, distances, CONTROLS, REACH_M)
    cos, sin = math.cos(yaw), math.sin(yaw)
    met = []
    place.walls._where_met = lambda *args: met.append(Walls._where_met(place.walls, *args)) or met[0]
    shown, _ = place.view(eyes(right, 6.0, yaw))
    inside = wall(right, 6.0, across * cos - sin, across * sin + cos, 0.4)
    assert inside.float().mean() > 0.2
    assert (redness(shown)[inside] > 0.5).float().mean() > 0.98
    off = (met[0][0] / ((aside - right) / (across * cos - sin)) - 1)[inside].abs()
    assert off.nanmedian() < 0.004 and off.nan_to_num(posinf=1.0).quantile(0.9) < 0.0095


def test_rims_of_things_have_the_colours_of_things_alone() -> None:
    """A pixel of a rim shows some of what is behind; what is too narrow to have other pixels keeps its colour."""
    dark, red, own = torch.full((3,), -0.8), torch.tensor([1.0, -1.0, -1.0]), torch.tensor([0.2, 0.6, 0.2])
    picture, stands = dark[:, None, None].repeat(1, HEIGHT, WIDTH)[None], torch.zeros(1, 1, HEIGHT, WIDTH)
    for columns, share, colour in ((slice(30, 40), 1.0, red), ([29, 40], 0.6, torch.lerp(dark, red, 0.6)),
                                   ([52], 0.6, own)):
        stands[..., 8:36, columns], picture[..., 8:36, columns] = share, colour[:, None, None]
    distances = Distances(stands, torch.full_like(stands, 8.0), torch.zeros(1))
    panorama = Place(picture, distances, CONTROLS, REACH_M).panorama
    row = int(panorama.row_of(torch.tensor(0.0)))

    def colours(column: int) -> torch.Tensor:
        across = ((column + 0.5) / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT
        return panorama.things[0, :3, row, int(panorama.column_of(torch.tensor(math.atan(across))))]

    for column in (29, 30, 39, 40):
        assert (colours(column) - red).abs().max() < 0.2
    assert (colours(52) - own).abs().max() < 0.2


@pytest.mark.parametrize(("right", "ahead", "yaw"), [(0.8, 0.0, 0.0), (-0.5, 2.0, 0.1), (0.0, -2.0, 0.0)])
def test_a_post_moves_as_geometry_says(right: float, ahead: float, yaw: float) -> None:
    away = 6.0
    picture, distances = with_post(away_m=away)
    shown, _ = Place(picture, distances, CONTROLS, REACH_M).view(eyes(right, ahead, yaw))
    red = redness(shown)
    column = float((red.sum(dim=0) * (torch.arange(WIDTH) + 0.5)).sum() / red.sum())
    x, z = -right, away - ahead  # of the post from the eye, before it turns
    x, z = x * math.cos(yaw) + z * math.sin(yaw), z * math.cos(yaw) - x * math.sin(yaw)
    assert column == pytest.approx(WIDTH / 2 + FOCAL_PX * x / z, abs=0.8)
    rows = (red.sum(dim=1) > 0.5).nonzero()[:, 0]
    assert int(rows.max()) + 1 == pytest.approx(HEIGHT / 2 + FOCAL_PX * CONTROLS.eye_height_m / z, abs=1.5)
    width = float(red[HEIGHT // 2].sum())
    assert width == pytest.approx(2 * away / z, rel=0.3)


def test_ground_and_sky_show_where_a_thing_was() -> None:
    picture, distances = with_post()
    shown, _ = Place(picture, distances, CONTROLS, REACH_M).view(eyes(right=1.5))
    behind = shown[0, :, :, WIDTH // 2]
    assert float(behind[0].max()) < 0.1  # no red is left where the post stood
    assert float(behind[2, 4]) > 0.6 and float(behind[1, -4]) > 0.3


def test_a_picture_that_looks_up_is_set_up_level() -> None:
    """Its horizon is below its middle; level eyes see it in the middle."""
    picture = torch.full((1, 3, HEIGHT, WIDTH), -0.5)
    horizon = round(HEIGHT / 2 + FOCAL_PX * math.tan(0.15))
    picture[:, :, :horizon] = 0.5
    shown, _ = Place(picture, nothing_stands(picture, 0.15), CONTROLS, REACH_M).view(eyes())
    assert (shown[0, 0, :HEIGHT // 2 - 1] > 0.3).all() and (shown[0, 0, HEIGHT // 2 + 1:] < -0.3).all()


def test_walking_and_turning_back_find_the_place_as_it_was() -> None:
    """However far: nothing is forgotten, for nothing is carried along."""
    place = rough_place(3, 1)
    here = eyes()
    for row in [camera_row(0.19, 0.05, 0.1)] * 400:
        here = here.moved(torch.from_numpy(row).float().view(1, 3, 4))
    assert torch.isfinite(place.view(here)[0]).all()
    at = eyes(1.0, 2.0, 0.3)
    first = place.view(at)[0]
    assert torch.equal(first, place.view(eyes(1.0, 2.0, 0.3))[0])
    round_about = place.view(eyes(1.0, 2.0, 0.3 + 2 * math.pi))[0]
    assert ((first - round_about).abs() > 1e-3).float().mean() < 0.01


def test_eyes_move_as_rows_say() -> None:
    """First the step, then the turn; a nod changes the direction of neither."""
    here = eyes(yaw=0.5, pitch=0.2).moved(torch.from_numpy(camera_row(1.0, 0.0, 0.3, 0.1)).float().view(1, 3, 4))
    assert float(here.right_m) == pytest.approx(-math.sin(0.5), abs=1e-5)
    assert float(here.ahead_m) == pytest.approx(math.cos(0.5), abs=1e-5)
    assert float(here.yaw_rad) == pytest.approx(0.8, abs=1e-5) and float(here.pitch_rad) == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize("pitches", [(0.0, 0.0), (0.2, -0.1)])
def test_each_of_a_batch_is_as_it_is_alone(pitches: tuple[float, float]) -> None:
    pictures, one = torch.cat([with_post()[0], with_post(20, 2, 4.0)[0]]), with_post(20, 2, 4.0)
    distances = Distances(*(torch.cat(both) for both in zip(with_post()[1], one[1], strict=True)))
    places = Eyes(*(torch.tensor(both) for both in ((0.5, -0.6), (1.0, 1.2), (0.2, 0.1), pitches)))
    together = Place(pictures, distances, CONTROLS, REACH_M).view(places)[0]
    alone = Place(*one, CONTROLS, REACH_M).view(Eyes(*(own[1:] for own in places)))[0]
    assert torch.allclose(together[1:], alone, atol=1e-5) and redness(alone).sum() > 50


def test_tiles_meet_and_mirror_each_other() -> None:
    metres = torch.linspace(-4 * REACH_M, 4 * REACH_M, 1001)
    ours = tiled(metres, REACH_M)
    assert ours.tolist() == pytest.approx([naive_tiled(float(m), REACH_M) for m in metres], abs=1e-3)
    assert ours.abs().max() <= REACH_M + 1e-4
    assert ours.diff().abs().max() <= metres.diff().max() + 1e-3  # no jump


@pytest.mark.parametrize("half_rad", [0.3, 0.5, 0.9, 1.5])
def test_beside_and_behind_a_road_are_mirrors_without_seams(half_rad: float) -> None:
    azimuth = torch.linspace(-7, 7, 2000)
    tiling = Tiling(REACH_M, half_rad, is_road=True)
    ours = tiling.fold(azimuth)
    assert ours.tolist() == pytest.approx([naive_shown(float(a), tiling) for a in azimuth], abs=1e-4)
    assert ours.diff().abs().max() <= azimuth.diff().max() + 1e-4  # nowhere a jump, behind neither
    shown, away, is_copy = tiling.find(*(12.0 * f(azimuth) for f in (torch.sin, torch.cos)))
    assert torch.allclose(shown, ours, atol=1e-4) and torch.allclose(away, torch.tensor(12.0))
    around = azimuth - 2 * math.pi * torch.round(azimuth / (2 * math.pi))
    assert torch.equal(is_copy, around.abs() > half_rad)


@pytest.mark.parametrize("half_rad", [0.3, 0.5, 0.9])
def test_ground_beside_a_road_is_laid_out_as_in_mirrors(half_rad: float) -> None:
    tiling = Tiling(REACH_M, half_rad, is_road=True)
    x, z = (each.flatten() for each in torch.meshgrid(torch.linspace(-28, 28, 23), torch.linspace(-29, 29, 34),
                                                      indexing="ij"))
    azimuth, away, is_copy = tiling.find_ground(x, z)
    naive = torch.tensor([naive_ground((x, abs(z)), tiling) for x, z in zip(x.tolist(), z.tolist(), strict=True)])
    off = (torch.stack([azimuth, away], dim=-1) - naive).abs().amax(dim=-1)
    assert (off < 0.02).float().mean() > 0.99  # but for borders, where either may be
    assert torch.equal(is_copy, torch.atan2(x, z).abs() > half_rad)
    beyond = tiling.find_ground(x + 4 * REACH_M, z + 8 * REACH_M)  # two tiles on, four tiles on
    assert torch.allclose(beyond[0], azimuth, atol=1e-3) and beyond[2].all()
    plain = Tiling(REACH_M, half_rad)
    assert all(torch.equal(*both) for both in zip(plain.find_ground(x, z), plain.find(x, z), strict=True))


def test_a_road_goes_on_behind_and_is_as_wide_all_along() -> None:
    """Lines at both sides of who stands in the middle: from nowhere do they bend or fork."""
    down = ((torch.arange(HEIGHT) + 0.5) / HEIGHT * 2 - 1) * TANGENT
    across = ((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT
    on_road = (across * CONTROLS.eye_height_m / down[:, None].clamp_min(1e-6)).abs() < 3
    picture = torch.where(on_road, torch.tensor([0.8, 0.8, -0.8])[:, None, None],
                          torch.tensor([-0.8, 0.5, -0.8])[:, None, None])[None]
    place = Place(picture, nothing_stands(picture), ROAD_CONTROLS, REACH_M)
    row = int(HEIGHT / 2 + FOCAL_PX * CONTROLS.eye_height_m / 8.0)
    across_m = 8 * across.abs()
    for ahead in (0.0, 7.0, 22.0, 40.0, 61.0, -13.0):
        for yaw in (0.0, math.pi):
            view = place.view(eyes(ahead=ahead, yaw=yaw))[0][0, 0, row]
            assert (view[across_m < 2.5] > 0.4).all() and (view[(across_m > 3.6)] < -0.3).all(), (ahead, yaw)


def test_ground_behind_a_wall_over_the_bonnet_has_none_of_its_colour() -> None:
    """The wall comes down to a red bonnet all across it: the ground behind is that beside the wall, and green."""
    controls = dataclasses.replace(ROAD_CONTROLS, bonnet=(0.15, 0.6))
    picture, distances = with_post(half_px=24, away_m=3.0)
    picture[:, 0, HEIGHT // 2:] = -0.5
    y, x = torch.meshgrid(*((torch.arange(size) + 0.5) / size * 2 - 1 for size in (HEIGHT, WIDTH)), indexing="ij")
    on_bonnet = y > 1 - 2 * 0.15 * (1 - (x / 0.6)**2)
    assert bool((distances.stands[0, 0, :-1][on_bonnet[1:] & ~on_bonnet[:-1]] > 0).any())
    picture[0, :, on_bonnet] = torch.tensor([1.0, -1.0, -1.0])[:, None]
    distances.stands[:, :, on_bonnet] = 0  # as a finder sees it
    behind = Place(picture, distances, controls, REACH_M).panorama.behind
    assert redness(behind).max() < 0.1  # an edge between two colours is overshot a little
    assert redness(Place(picture, distances, ROAD_CONTROLS, REACH_M).panorama.behind).max() > 0.5


def test_nothing_stands_under_the_ground_below_the_picture() -> None:
    """A wall so near that its foot is out of view goes on down to it, and no further."""
    picture, distances = with_post(half_px=WIDTH // 2, away_m=2.5, top=0)
    distances.stands[:] = 1
    panorama = Place(picture, distances, CONTROLS, REACH_M).panorama
    height_m = CONTROLS.eye_height_m - panorama.down[:, None] * 2.5 / panorama.azimuth.cos()
    stands = panorama.front_m[0].isfinite()
    bottom = TANGENT * panorama.azimuth.cos()
    assert stands[(height_m > 0.1) & (height_m < 3)].all() and not stands[height_m < -0.1].any()
    assert bool((stands & (panorama.down[:, None] > bottom)).any())


def test_there_is_always_something_ahead() -> None:
    """A post at the start is met again and again by who walks on for minutes."""
    picture, distances = with_post(half_px=4)
    place = Place(picture, distances, CONTROLS, REACH_M)
    reds = [float(redness(place.view(eyes(ahead=float(ahead)))[0]).sum()) for ahead in range(0, 500, 5)]
    beyond = reds[int(REACH_M) // 5 + 1:]
    assert sum(red > 3 for red in beyond) > len(beyond) / 3


def test_across_the_border_of_a_tile_stands_the_mirror_of_what_is_before_it() -> None:
    """Eyes at the border that look back, and ahead, see the same, left and right exchanged."""
    picture, distances = with_post(column=24, half_px=2, away_m=20.0)
    place = Place(picture, distances, CONTROLS, REACH_M)
    ahead = place.view(eyes(ahead=REACH_M))[0]
    back = place.view(eyes(ahead=REACH_M, yaw=math.pi))[0]
    assert redness(back).sum() > 3
    assert (redness(ahead) - redness(back).flip(-1)).abs().mean() < 0.004
    near, far = (place.view(eyes(ahead=REACH_M + off))[0] for off in (-0.01, 0.01))
    assert (near - far).abs().mean() < 0.01  # no seam where one walks across


@pytest.mark.parametrize("away", [4.0, 8.0, 12.0, 16.0, 20.0])
def test_a_thin_thing_does_not_flicker_with_distance(away: float) -> None:
    """A post that is seen from the side, from many places close to each other."""
    picture, distances = with_post(half_px=2)
    place = Place(picture, distances, CONTROLS, REACH_M)
    seen = [float(redness(place.view(eyes(right=away + 0.05 * step, ahead=6.3, yaw=math.pi / 2))[0]).sum())
            for step in range(12)]
    assert min(seen) > 0.35 * max(seen) > 5


def test_what_is_met_from_behind_is_where_its_back_is() -> None:
    picture, distances = with_post(half_px=26)
    place, met = Place(picture, distances, CONTROLS, REACH_M), []
    place.walls._where_met = lambda *args: met.append(Walls._where_met(place.walls, *args)) or met[-1]
    for ahead in (9.0, 10.0, 11.0):
        place.view(eyes(ahead=ahead, yaw=math.pi))
        assert float(met[-1][0, HEIGHT // 2, WIDTH // 2]) == pytest.approx(ahead - 6.6, abs=0.1)


@pytest.mark.parametrize("away", [1.0, 1.2, 1.6])
def test_a_wall_before_ones_nose_is_seen_from_as_near_as_one_comes(away: float) -> None:
    picture, distances = with_post(column=16, half_px=16, away_m=away, top=0)
    place = Place(picture, distances, CONTROLS, REACH_M)
    for ahead in (0.0, away - BODY_M):
        assert (redness(place.view(eyes(ahead=ahead))[0])[:, 3:28] > 0.5).float().mean() > 0.97


def test_what_is_above_or_below_the_start_picture_is_not_known() -> None:
    picture = smooth(2)
    place = Place(picture, nothing_stands(picture), CONTROLS, REACH_M)
    _, known = place.view(eyes(pitch=-0.45))
    below = HEIGHT - FOCAL_PX * math.tan(0.45)  # about the row in which the start picture's lower edge is seen
    assert known[0, 0, :round(below) - 6, 8:-8].mean() > 0.9
    assert known[0, 0, round(below) + 4:].max() == 0


@pytest.mark.parametrize("pitch", [1.0, 1.4, -2.0])
def test_eyes_that_look_straight_up_or_down_cost_no_more_than_others(pitch: float) -> None:
    picture = smooth(3)
    shown, _ = Place(picture, nothing_stands(picture), CONTROLS, REACH_M).view(eyes(pitch=pitch))
    assert shown.shape == picture.shape and torch.isfinite(shown).all()


def test_what_the_upper_edge_cuts_goes_on_and_the_horizon_does_not_hang_in_the_sky() -> None:
    """The panorama mirrors the picture above its edge."""
    picture, distances = with_post(top=0, away_m=4.0)
    low = with_post(50, 2, 20.0, top=22)
    stands = torch.maximum(distances.stands, low[1].stands)
    distance = torch.where(low[1].stands > 0, low[1].distance_m, distances.distance_m)
    panorama = Place(picture, Distances(stands, distance, torch.zeros(1)), CONTROLS, REACH_M).panorama
    edge = int(panorama.row_of(torch.tensor(-TANGENT)))
    above = panorama.front_m[0, :edge - 2].isfinite()
    middle = panorama.columns // 2
    assert above[edge - 12:, middle - 2:middle + 2].all()
    aside = int(panorama.column_of(torch.tensor(math.atan((50 - WIDTH / 2) / FOCAL_PX))))
    assert not above[:, aside - 4:aside + 4].any()
    # Above the panorama nothing is known to stand, however far one steps back.
    place, met = Place(*with_post(WIDTH // 2, WIDTH // 2, 4.0, top=0), CONTROLS, REACH_M), []
    place.walls._where_met = lambda *args: met.append(Walls._where_met(place.walls, *args)) or met[-1]
    place.view(eyes(ahead=-20.0))
    height_m = -place._down[:, None] * met[0][0]
    highest_m = panorama_module.UP * place.panorama.back_m.max()
    assert 2 < height_m[met[0][0].isfinite()].max() < highest_m < -place._down[0] * 20


def test_all_around_there_is_a_mirror_of_what_is_known() -> None:
    picture = smooth(4)
    place = Place(picture, nothing_stands(picture), CONTROLS, REACH_M)
    half = place.panorama.half_rad
    for turn in (0.8, 2.0, 3.0):
        shown, known = place.view(eyes(yaw=-turn))
        azimuth = turn + math.atan((10.5 / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT)
        source = naive_shown(azimuth, place.tiling)
        column = WIDTH / 2 + FOCAL_PX * math.tan(source)
        # At the height of the eyes, where all directions are level.
        expected = picture[0, :, HEIGHT // 2, min(int(column), WIDTH - 1)]
        assert (shown[0, :, HEIGHT // 2, 10] - expected).abs().max() < 0.2
        assert known[0, 0, :, 10].max() == (abs(azimuth) < half)


def test_a_share_without_a_thing_nearby_is_none() -> None:
    """Faint shares, far from anything that has a distance of its own."""
    picture, distances = with_post()
    place = Place(picture, distances._replace(stands=distances.stands.clamp_min(0.2)), CONTROLS, REACH_M)
    assert torch.isfinite(place.panorama.back_m).all()
    shown, _ = place.view(eyes(0.3, 1.0))
    assert torch.isfinite(shown).all()
    plain, _ = Place(picture, distances, CONTROLS, REACH_M).view(eyes(0.3, 1.0))
    assert (shown - plain).abs().mean() < 0.06


@pytest.mark.parametrize("pitch", [0.0, 0.1])
def test_a_path_is_as_wide_at_ones_feet_as_before_them(pitch: float) -> None:
    """No picture shows the ground at one's feet; who has walked on and looks back sees it."""
    down = ((torch.arange(HEIGHT) + 0.5) / HEIGHT * 2 - 1) * TANGENT
    across = ((torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1) * TANGENT * WIDTH / HEIGHT
    ahead = math.cos(pitch) + down[:, None] * math.sin(pitch)
    ground_m = CONTROLS.eye_height_m / ((down[:, None] * math.cos(pitch) - math.sin(pitch)) / ahead).clamp_min(1e-6)
    on_path = (across / ahead * ground_m).abs() < 0.9
    picture = torch.where(on_path, torch.tensor([0.8, 0.8, -0.8])[:, None, None],
                          torch.tensor([-0.8, 0.5, -0.8])[:, None, None])[None]
    place = Place(picture, nothing_stands(picture, pitch), CONTROLS, REACH_M)
    nearest_m = float(ground_m[-1, 0])
    across_m = 6 * across.abs()
    for at_m in (0.65 * nearest_m, nearest_m - 0.2, nearest_m + 0.4):
        view, known = place.view(eyes(ahead=at_m + 6.0, yaw=math.pi))
        row = int(HEIGHT / 2 + FOCAL_PX * CONTROLS.eye_height_m / 6.0)
        assert (view[0, 0, row, across_m < 0.7] > 0.4).all()
        assert (view[0, 0, row, (across_m > 1.05) & (across_m < 1.2)] < -0.4).all()
        assert bool(known[0, 0, row, WIDTH // 2]) == (at_m > nearest_m)
