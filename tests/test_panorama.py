"""Who comes near sees colours finer than the picture's pixels, with edges as narrow as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from naive_place import naive_crisp
from test_place import CONTROLS, FOCAL_PX, HEIGHT, REACH_M, WIDTH, eyes, redness, with_post

from astra_play.codec.distances import Distances
from astra_play.model.panorama import BENDS, CRISP_FROM, CRISP_TIMES, EDGE, NEAR_FINER, SOFT_UP_TO, crisp
from astra_play.model.place import Place


def test_edges_are_narrowed_as_every_pixel_alone_would_be() -> None:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(2, 3, 4, 5, generator=generator) * 2 - 1
    pictures = torch.nn.functional.interpolate(coarse, (14, 17), mode="bicubic", align_corners=False)
    ours = crisp(pictures)
    for index in range(2):
        naive = naive_crisp(pictures[index], CRISP_TIMES, EDGE, BENDS)
        assert torch.allclose(ours[index], naive, atol=1e-5)
    assert (ours - pictures).abs().mean() > 0.02


def test_a_soft_edge_becomes_narrow_where_it_was_and_a_slope_stays() -> None:
    soft = 0.8 * torch.tanh(torch.linspace(-12.1, 12, 48))
    narrow = crisp(soft.expand(1, 3, 12, -1))[0, 0, 6]
    assert int(((narrow > -0.7) & (narrow < 0.7)).sum()) <= 2 < 4 < int(((soft > -0.7) & (soft < 0.7)).sum())
    assert float((narrow > 0).float().sum()) == pytest.approx(float((soft > 0).float().sum()), abs=1)
    slope = torch.linspace(-1, 1, 60).expand(1, 3, 12, -1)  # as a sky's
    assert torch.equal(crisp(slope), slope)


def test_no_edge_brings_forth_a_colour_that_was_on_neither_side() -> None:
    """Channel by channel a red and a blue would meet in a green."""
    red, blue = torch.tensor([0.9, -0.6, -0.9]), torch.tensor([-0.6, 0.2, 0.9])
    share = torch.cat([torch.zeros(10), torch.linspace(0, 1, 6), torch.ones(10)])
    picture = torch.lerp(red[:, None], blue[:, None], share)[None, :, None].expand(-1, -1, 8, -1)
    found = crisp(picture)[0, :, 4]
    assert (found - picture[0, :, 4]).abs().max() > 0.1
    nearest = ((found - red[:, None]) * (blue - red)[:, None]).sum(dim=0) / (blue - red).square().sum()
    assert (found - torch.lerp(red[:, None], blue[:, None], nearest)).abs().max() < 1e-5


def test_what_one_comes_near_to_has_narrow_edges() -> None:
    """A wall with a black stripe 20 m away, looked at from 5 m before it: a pixel of the picture is four there."""
    picture, distances = with_post(half_px=WIDTH // 2, away_m=20.0, top=18)
    picture[..., WIDTH // 2 - 2:WIDTH // 2 + 2] = torch.where(
        distances.stands[..., WIDTH // 2 - 2:WIDTH // 2 + 2] > 0, -1.0, picture[..., WIDTH // 2 - 2:WIDTH // 2 + 2])
    place = Place(picture, distances, CONTROLS, REACH_M)
    assert place.panorama._near_things.shape[-1] == NEAR_FINER * place.panorama.columns

    def half_way(shown: torch.Tensor) -> int:
        """Pixels of the stripe's edges, neither red nor black."""
        red = shown[0, 0, HEIGHT // 2]
        return int(((red > -0.6) & (red < 0.6)).sum())

    crisp_view = place.view(eyes(ahead=15.0))[0]
    place.panorama._near_things, place.panorama._near_behind = place.panorama.things, place.panorama.behind
    soft_view = place.view(eyes(ahead=15.0))[0]
    assert redness(crisp_view)[HEIGHT // 2].sum() == pytest.approx(float(redness(soft_view)[HEIGHT // 2].sum()), abs=2)
    assert half_way(crisp_view) < 2 and half_way(soft_view) >= 4


@pytest.mark.parametrize(("at", "half_px"), [(WIDTH // 2, 2), (12, 2), (WIDTH // 2, WIDTH // 2)],
                         ids=["billboard", "billboard aside", "wall"])
def test_how_much_larger_a_thing_is_seen_says_which_colours_are_drawn(at: int, half_px: int) -> None:
    """A thing 6 m away, seen from the start, from 4 m before it and from further back, and the ground at one's feet."""
    place = Place(*with_post(at, half_px, away_m=6.0), CONTROLS, REACH_M)
    aside_m = 6 * (at - WIDTH / 2) / FOCAL_PX
    asked = {}

    def spied(name: str, seen: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda azimuth, down, magnified: asked.update({name: magnified[0]}) or seen(azimuth, down, magnified)

    for name in ("things_at", "behind_at"):
        setattr(place.panorama, name, spied(name, getattr(place.panorama, name)))
    for ahead in (0.0, 1.0, -3.0):
        place.view(eyes(ahead=ahead))
        column = round(WIDTH / 2 + FOCAL_PX * aside_m / (6 - ahead))
        assert float(asked["things_at"][HEIGHT // 2, column]) == pytest.approx(
            math.hypot(aside_m, 6) / math.hypot(aside_m, 6 - ahead), rel=0.03)
        ground_m = CONTROLS.eye_height_m / float(place._down[-6])
        off_m, edge_m = ahead + ground_m, float(place.panorama._nearest_m)
        shown_m = off_m if off_m > edge_m else 2 * edge_m - off_m  # below the picture's edge is the mirror of above
        assert float(asked["behind_at"][-6, WIDTH // 2]) == pytest.approx(shown_m / ground_m, rel=0.03)
        assert float(asked["behind_at"][2, WIDTH // 2]) == 1.0  # the sky


def test_as_large_as_in_the_picture_colours_are_those_of_the_picture() -> None:
    panorama = Place(*with_post(half_px=6), CONTROLS, REACH_M).panorama
    azimuth, down = (0.4 * torch.rand(1, 9, 11, generator=torch.Generator().manual_seed(1)) - 0.2 for _ in range(2))
    for seen, layer, near in ((panorama.things_at, panorama.things, panorama._near_things),
                              (panorama.behind_at, panorama.behind, panorama._near_behind)):
        soft, crisp_one = (panorama.look_up(own, azimuth, down) for own in (layer, near))
        assert torch.equal(seen(azimuth, down, torch.full_like(azimuth, SOFT_UP_TO)), soft)
        assert torch.allclose(seen(azimuth, down, torch.full_like(azimuth, CRISP_FROM)), crisp_one, atol=1e-6)
        half = seen(azimuth, down, torch.full_like(azimuth, (SOFT_UP_TO + CRISP_FROM) / 2))
        assert torch.allclose(half, (soft + crisp_one) / 2, atol=1e-5) and not torch.equal(soft, crisp_one)


def test_each_of_a_batch_is_drawn_with_its_own() -> None:
    one, other = with_post(20, 2, 4.0), with_post(44, 3, 7.0)
    pictures = torch.cat([one[0], -other[0]])
    distances = Distances(*(torch.cat(both) for both in zip(one[1], other[1], strict=True)))
    panorama = Place(pictures, distances, CONTROLS, REACH_M).panorama
    for index in range(2):
        part = panorama.part(index)
        assert torch.equal(part._near_things, panorama._near_things[index:index + 1])
        assert torch.equal(part._near_behind, panorama._near_behind[index:index + 1])
    assert not torch.equal(panorama._near_things[0], panorama._near_things[1])
