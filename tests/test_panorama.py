"""The colours that a place is drawn with are finer than the picture's pixels, and their edges as narrow as they are."""

from __future__ import annotations

import pytest
import torch
from naive_place import naive_crisp
from test_place import CONTROLS, HEIGHT, REACH_M, WIDTH, eyes, redness, with_post

from astra_play.codec.distances import Distances
from astra_play.model.panorama import BENDS, CRISP_TIMES, DRAWN_FINER, EDGE, crisp
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
    assert place.panorama.drawn_things.shape[-1] == DRAWN_FINER * place.panorama.columns

    def half_way(shown: torch.Tensor) -> int:
        """Pixels of the stripe's edges, neither red nor black."""
        red = shown[0, 0, HEIGHT // 2]
        return int(((red > -0.6) & (red < 0.6)).sum())

    crisp_view = place.view(eyes(ahead=15.0))[0]
    place.panorama.drawn_things, place.panorama.drawn_behind = place.panorama.things, place.panorama.behind
    soft_view = place.view(eyes(ahead=15.0))[0]
    assert redness(crisp_view)[HEIGHT // 2].sum() == pytest.approx(float(redness(soft_view)[HEIGHT // 2].sum()), abs=2)
    assert half_way(crisp_view) < 2 and half_way(soft_view) >= 4


def test_each_of_a_batch_is_drawn_with_its_own() -> None:
    one, other = with_post(20, 2, 4.0), with_post(44, 3, 7.0)
    pictures = torch.cat([one[0], -other[0]])
    distances = Distances(*(torch.cat(both) for both in zip(one[1], other[1], strict=True)))
    panorama = Place(pictures, distances, CONTROLS, REACH_M).panorama
    for index in range(2):
        part = panorama.part(index)
        assert torch.equal(part.drawn_things, panorama.drawn_things[index:index + 1])
        assert torch.equal(part.drawn_behind, panorama.drawn_behind[index:index + 1])
    assert not torch.equal(panorama.drawn_things[0], panorama.drawn_things[1])
