"""The one face of all codecs: frames in any portions, both directions, one stream of latents for the live and the exact
decoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from wan_codecs import FULL_TAEHV, FULL_VAE, random_latents, small_taehv, small_vae

from astra_play.codec import pixels
from astra_play.codec.mini import MiniCodec
from astra_play.codec.streaming import StreamingDecoder, StreamingEncoder, num_whole
from astra_play.codec.taehv import TAEHV
from astra_play.codec.tiled import TiledCodec
from astra_play.codec.wan_vae import WanVAE
from astra_play.config import CodecConfig


def small_mini() -> MiniCodec:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=6, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    for parameter in codec.eval().requires_grad_(False).parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return codec


def small_tiled() -> TiledCodec:
    return TiledCodec(small_vae(), tile=(2, 2), stride=(1, 1))


CODECS = pytest.mark.parametrize("make", [small_mini, small_vae, small_taehv, small_tiled])


def frames_of(num: int, height: int = 16, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (num, height, width, 3), dtype=torch.uint8, generator=generator)


@CODECS
@pytest.mark.parametrize("portions", [(1,) * 14, (3, 1, 7, 3), (0, 2, 0, 12), (14,)])
def test_frames_in_any_portions_make_the_latents_of_the_whole_clip(make, portions: tuple[int, ...]) -> None:
    codec, frames = make(), frames_of(14)
    whole = codec.encode(pixels.to_float(frames)[None])[0]
    encoder, given = StreamingEncoder(codec), 0
    for _ in range(2):
        parts, given = [], 0
        for portion in frames.split(list(portions)):
            parts.append(encoder.encode(portion))
            given += len(portion)
            assert encoder.num_waiting == given - num_whole(given, codec.config.frames_per_latent)
        assert torch.allclose(torch.cat(parts), whole, atol=1e-5)
        encoder.reset()  # and once more from the start


@CODECS
@pytest.mark.parametrize("chunks", [(1,) * 5, (2, 3), (4, 1)])
def test_streamed_pictures_equal_the_whole_clip(make, chunks: tuple[int, ...]) -> None:
    codec = make()
    latents = random_latents(5)[0, :, :codec.config.latent_channels]
    whole = pixels.to_uint8(codec.decode(latents[None])[0])
    decoder = StreamingDecoder(codec)
    for _ in range(2):
        streamed = torch.cat([decoder.decode(own) for own in latents.split(list(chunks))])
        assert streamed.shape == whole.shape == (1 + 4 * codec.config.frames_per_latent, 16, 24, 3)
        assert (streamed.int() - whole.int()).abs().max() <= 1
        decoder.reset()


def test_the_mini_codec_streams_as_its_own_decoder_does() -> None:
    codec, latents = small_mini(), torch.randn(5, 6, 2, 3)
    decoder, previous = StreamingDecoder(codec), None
    for own in latents.split([2, 1, 2]):
        expected = pixels.to_uint8(codec.decode(own[None], previous)[0])
        assert torch.equal(decoder.decode(own), expected)
        previous = own[None, -1:]


def test_live_and_exact_decoder_show_the_same_latents_frame_for_frame() -> None:
    exact, live = StreamingDecoder(small_vae()), StreamingDecoder(small_taehv())
    for latents in random_latents(6)[0].split([1, 2, 3]):
        assert exact.decode(latents).shape == live.decode(latents).shape


def test_latents_of_one_codec_of_the_family_fit_the_other() -> None:
    frames = frames_of(9)
    vae, taehv = StreamingEncoder(small_vae()).encode(frames), StreamingEncoder(small_taehv()).encode(frames)
    assert vae.shape == taehv.shape == (3, 16, 2, 3)


def test_the_live_decoder_costs_a_twenty_fifth_of_the_exact_one() -> None:
    """GFLOP of a latent in mid-stream at 480x832, counted on tensors without content at the published widths."""
    cost = {}
    with torch.device("meta"):
        for codec in (WanVAE(FULL_VAE), TAEHV(FULL_TAEHV)):
            latents = torch.empty(1, 1, 16, 60, 104)
            _, memory = codec.decode_chunk(latents)
            with FlopCounterMode(display=False) as counter:
                codec.decode_chunk(latents, memory)
            cost[codec.config.kind] = round(counter.get_total_flops() / 1e9)
    assert cost == pytest.approx({"wan_vae": 13_550, "taehv": 544}, rel=0.01)


def test_frames_that_fill_no_latent_make_none() -> None:
    encoder = StreamingEncoder(small_vae())
    assert encoder.encode(frames_of(1)).shape == (1, 16, 2, 3)
    assert encoder.encode(frames_of(3)).shape == (0, 16, 2, 3) and encoder.num_waiting == 3
    assert encoder.encode(frames_of(1)).shape == (1, 16, 2, 3) and encoder.num_waiting == 0
