"""The autoencoder: streamed equals whole clip, the linear start is the best linear map, pictures keep their values."""

from __future__ import annotations

import numpy as np
import torch

from astra_play.codec import pixels
from astra_play.codec.mini import MiniCodec, fit_linear, paint_patches, project_patches
from astra_play.codec.streaming import StreamingDecoder
from astra_play.config import CodecConfig

SMALL = CodecConfig(latent_channels=6, spatial_compression=8, decoder_width=16, decoder_blocks=1)


def small_codec() -> MiniCodec:
    torch.manual_seed(0)
    codec = MiniCodec(SMALL).eval().requires_grad_(False)
    for parameter in codec.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return codec


def test_streamed_decoding_equals_the_whole_clip() -> None:
    codec, latents = small_codec(), torch.randn(9, 6, 4, 4)
    whole = pixels.to_uint8(codec.decode(latents[None])[0])
    decoder = StreamingDecoder(codec)
    for chunks in ((1,) * 9, (2, 3, 1, 3), (9,)):
        decoder.reset()
        streamed = torch.cat([decoder.decode(piece) for piece in latents.split(list(chunks))])
        assert (streamed.int() - whole.int()).abs().max() <= 1, chunks
        assert (streamed != whole).float().mean() < 1e-3, chunks  # rounding at a half may differ, values may not


def test_memory_of_the_previous_latent_is_used() -> None:
    codec, latents = small_codec(), torch.randn(2, 6, 4, 4)
    alone = codec.decode(latents[None, 1:])
    after = codec.decode(latents[None])[:, 1:]
    assert (alone - after).abs().max() > 1e-3


def test_linear_fit_is_the_best_of_its_rank() -> None:
    torch.manual_seed(0)
    mixing = torch.randn(3 * 64, 192) * torch.linspace(2, 0.01, 192)  # patches with a spectrum, zero mean by symmetry
    patches = torch.randn(500, 192) @ mixing.T
    patches = torch.cat([patches, -patches])
    pictures = patches.reshape(1000, 3, 8, 8) / patches.abs().max()
    codec = MiniCodec(SMALL).requires_grad_(False)
    std = fit_linear(codec, pictures)
    latents = codec.encode(pictures[:, None])
    error = (codec.linear_decoder(latents[:, 0]) - pictures).flatten(1).square().sum(1).mean().item()
    _, singular, _ = torch.linalg.svd(pictures.flatten(1).double(), full_matrices=False)
    best = (singular[6:].square().sum() / 1000).item()
    assert abs(error - best) < 1e-3 * best
    assert torch.allclose(latents.flatten(0, 1).std(dim=(0, 2, 3), unbiased=False), std, rtol=1e-3)


def test_projecting_patches_is_a_strided_convolution() -> None:
    pictures, weight, bias = torch.randn(2, 3, 24, 32), torch.randn(5, 3, 8, 8), torch.randn(5)
    expected = torch.nn.functional.conv2d(pictures, weight, bias, stride=8)
    assert torch.allclose(project_patches(pictures, weight, bias), expected, atol=1e-4)
    expected = torch.nn.functional.conv_transpose2d(latents := torch.randn(2, 5, 3, 4), weight, stride=8)
    assert torch.allclose(paint_patches(latents, weight), expected, atol=1e-4)


def test_pictures_survive_the_round_trip_exactly() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    assert torch.equal(pixels.to_uint8(pixels.to_float(frames)), frames)
    assert pixels.to_uint8(torch.tensor([[[[-9.0]], [[9.0]], [[0.0]]]])).flatten().tolist() == [0, 255, 128]
    assert np.asarray(pixels.to_float(frames)).min() == -1.0
