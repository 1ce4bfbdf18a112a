"""Tiles: equal to their naive twin, equal to the untiled codec where that looks at nothing around, and smaller."""

from __future__ import annotations

import pytest
import torch
from naive_codec import naive_tiled
from wan_codecs import FULL_VAE, clip, error, random_latents, small_taehv, small_vae

from astra_play.codec.live_bytes import LiveBytes
from astra_play.codec.mini import MiniCodec
from astra_play.codec.tiled import STRIDE, TILE, TiledCodec, spans
from astra_play.codec.wan_vae import WanVAE
from astra_play.config import CodecConfig

GRIDS = [(1, 1), (3, 5), (6, 9), (7, 4), (11, 12)]


def blind_codec() -> MiniCodec:
    """A codec whose cells know nothing of each other: each is a patch of pixels of its own."""
    torch.manual_seed(0)
    config = CodecConfig(latent_channels=6, spatial_compression=8, decoder_width=16, decoder_blocks=1)
    return MiniCodec(config).eval().requires_grad_(False)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_codec_of_independent_cells_is_the_same_in_tiles(grid: tuple[int, int]) -> None:
    codec = blind_codec()
    tiled = TiledCodec(codec, tile=(4, 5), stride=(2, 3))
    latents = torch.randn(2, 3, 6, *grid)
    pictures = codec.decode(latents)
    assert torch.allclose(tiled.decode(latents), pictures, atol=1e-5)
    assert torch.allclose(tiled.encode(pictures), codec.encode(pictures), atol=1e-5)


@pytest.mark.parametrize(("tile", "stride"), [((4, 4), (2, 2)), ((4, 5), (1, 3)), ((3, 3), (3, 3)), ((4, 4), (3, 1))])
def test_tiles_equal_the_naive_ones(tile: tuple[int, int], stride: tuple[int, int]) -> None:
    vae = small_vae()
    tiled, latents, pictures = TiledCodec(vae, tile, stride), random_latents(2, 7, 6), clip(5, 56, 48)
    assert error(tiled.decode(latents), naive_tiled(vae.decode, latents, tile, stride, 1, 8)) < 1e-5
    assert error(tiled.encode(pictures), naive_tiled(vae.encode, pictures, tile, stride, 8, 1)) < 1e-5


@pytest.mark.parametrize("grid", [*GRIDS, (60, 104)])
@pytest.mark.parametrize(("tile", "stride"), [(TILE, STRIDE), ((4, 5), (2, 3)), ((5, 5), (1, 5))])
def test_weights_of_overlapping_tiles_add_up_to_one(grid, tile, stride) -> None:
    tiled = TiledCodec(blind_codec(), tile, stride)
    for scale in (1, 8):
        total = torch.zeros(grid[0] * scale, grid[1] * scale)
        weights = list(tiled.weights(*grid, scale, torch.device("cpu")))
        for (down, across), weight in zip(tiled.tiles(*grid), weights, strict=True):
            assert weight.min() > 0
            total[down.start * scale:down.stop * scale, across.start * scale:across.stop * scale] += weight
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_tiles_of_the_published_size_lie_where_the_published_system_has_them() -> None:
    assert [span.start for span in spans(60, TILE[0], STRIDE[0])] == [0, 18, 36]
    assert [span.start for span in spans(104, TILE[1], STRIDE[1])] == [0, 16, 32, 48, 64, 80]
    assert len(TiledCodec(blind_codec()).tiles(60, 104)) == 18


def test_a_view_that_fits_one_tile_is_not_changed() -> None:
    vae, latents = small_vae(), random_latents(3, 4, 4)
    assert torch.equal(TiledCodec(vae, tile=(4, 5), stride=(2, 2)).decode(latents), vae.decode(latents))


@pytest.mark.parametrize(("codec", "latents"), [
    (small_vae(), torch.ones(1, 1, 16, 18, 18)),  # under random weights its attention makes more of any other view
    (small_taehv(), torch.nn.functional.interpolate(random_latents(1)[0], size=(18, 18), mode="bicubic")[None]),
], ids=["wan_vae", "taehv"])
def test_overlap_makes_tiles_differ_little_from_the_whole_view(codec, latents: torch.Tensor) -> None:
    """Smooth latents: mean difference under 5 % of the pictures' deviation, a third of that of tiles side by side."""
    whole = codec.decode(latents)
    blended, joined = ((TiledCodec(codec, (12, 12), stride).decode(latents) - whole).abs().mean() / whole.std()
                       for stride in ((6, 6), (12, 12)))
    assert 0 < blended < 0.05 and blended < joined / 3


@pytest.mark.parametrize("park", [None, "cpu"])
def test_tiles_stream_with_a_memory_each(park: str | None) -> None:
    tiled = TiledCodec(small_vae(), tile=(3, 3), stride=(2, 1), park=park)
    latents, pictures = random_latents(5, 4, 4), clip(13, 32, 32)
    whole, memory, parts = tiled.decode(latents), None, []
    for own in latents.split([1, 2, 2], dim=1):
        part, memory = tiled.decode_chunk(own, memory)
        parts.append(part)
    assert len(memory) == len(tiled.tiles(4, 4)) == 4
    assert torch.equal(torch.cat(parts, dim=1), whole)
    whole, memory, parts = tiled.encode(pictures), None, []
    for own in pictures.split([5, 8], dim=1):
        part, memory = tiled.encode_chunk(own, memory)
        parts.append(part)
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_published_tiles_need_a_fraction_of_the_memory_of_the_whole_view() -> None:
    """Counted on tensors without content, at the published widths and 480x832."""
    with torch.device("meta"):
        vae, latents = WanVAE(FULL_VAE).requires_grad_(False), torch.empty(1, 2, 16, 60, 104)
        peaks = []
        for codec in (vae, TiledCodec(vae)):
            with LiveBytes() as live:
                codec.decode(latents)
            peaks.append(live.peak)
    assert peaks[1] < peaks[0] / 3
