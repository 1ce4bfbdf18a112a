"""TAEHV: equal to the golden vectors and its naive twin, streams equal whole clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from naive_codec import naive_taehv, naive_taehv_decode
from safetensors.torch import load_file
from torch import Tensor
from wan_codecs import FULL_TAEHV, clip, error, random_latents, small_taehv

from astra_play.codec.taehv import TAEHV
from astra_play.model.checkpoint import load_strict
from astra_play.model.golden import drawn_taehv_weights

TOLERANCE = 1e-5  # relative, float32


@pytest.fixture(scope="module")
def published() -> TAEHV:
    codec = TAEHV(FULL_TAEHV)
    weights = drawn_taehv_weights()
    assert sum(w.numel() for w in weights.values()) == 11_315_539
    load_strict(codec, weights, Path("golden"))
    return codec.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(Path(__file__).parent / "golden" / "taehv" / "t3.safetensors")


def test_decoder_equals_the_golden_vectors(published: TAEHV, golden: dict[str, Tensor]) -> None:
    assert error(published.decode_groups(golden["latents"])[0], golden["decoder_raw"]) < TOLERANCE
    assert error(published.decode(golden["latents"]) / 2 + 0.5, golden["frames"]) < TOLERANCE


def test_encoder_equals_the_golden_vectors(published: TAEHV, golden: dict[str, Tensor]) -> None:
    assert error(published.encode_groups(golden["video"])[0], golden["encoded"]) < TOLERANCE


def test_streamed_golden_vectors_are_the_same_to_the_bit(published: TAEHV, golden: dict[str, Tensor]) -> None:
    memory, parts = None, []
    for latent in golden["latents"].split(1, dim=1):
        part, memory = published.decode_groups(latent, memory)
        parts.append(part)
    assert torch.equal(torch.cat(parts, dim=1), published.decode_groups(golden["latents"])[0])


def test_whole_clips_equal_the_naive_network() -> None:
    codec, latents, pictures = small_taehv(), random_latents(4), clip(12) / 2 + 0.5
    expected = naive_taehv(codec.decoder, latents)
    assert expected.std() > 0.01 and expected[:, 4:].std(dim=1).mean() > 1e-3  # pictures that differ in place and time
    assert error(codec.decode_groups(latents)[0], expected) < TOLERANCE
    assert error(codec.decode(latents), naive_taehv_decode(codec, latents)) < TOLERANCE
    assert error(codec.encode_groups(pictures)[0], naive_taehv(codec.encoder, pictures)) < TOLERANCE


@pytest.mark.parametrize("sizes", [(1,) * 6, (2, 1, 3), (5, 1)])
def test_decoding_by_chunks_equals_the_whole_clip_and_drops_three_pictures_once(sizes: tuple[int, ...]) -> None:
    codec, latents, memory, parts = small_taehv(), random_latents(6), None, []
    for own in latents.split(list(sizes), dim=1):
        part, memory = codec.decode_chunk(own, memory)
        parts.append(part)
    assert [p.shape[1] for p in parts] == [4 * sizes[0] - 3, *(4 * size for size in sizes[1:])]
    assert torch.equal(torch.cat(parts, dim=1), codec.decode(latents))


@pytest.mark.parametrize("sizes", [(1, 4, 4, 4), (5, 8), (9, 4)])
def test_encoding_by_chunks_equals_the_whole_clip(sizes: tuple[int, ...]) -> None:
    codec, pictures, memory, parts = small_taehv(), clip(13), None, []
    for own in pictures.split(list(sizes), dim=1):
        part, memory = codec.encode_chunk(own, memory)
        parts.append(part)
    assert torch.equal(torch.cat(parts, dim=1), codec.encode(pictures))


def test_the_first_picture_stands_for_the_three_that_decoding_drops() -> None:
    codec, pictures = small_taehv(), clip(9)
    groups = torch.cat([pictures[:, :1]] * 3 + [pictures], dim=1) / 2 + 0.5
    assert torch.equal(codec.encode(pictures), codec.encode_groups(groups)[0])


def test_a_group_that_is_not_full_repeats_its_last_picture() -> None:
    codec, pictures = small_taehv(), clip(6) / 2 + 0.5
    filled = torch.cat([pictures, pictures[:, -1:], pictures[:, -1:]], dim=1)
    assert torch.equal(codec.encode_groups(pictures)[0], codec.encode_groups(filled)[0])


def test_memory_stays_one_input_per_block() -> None:
    codec, memory, sizes = small_taehv(), None, []
    for _ in range(3):
        _, memory = codec.decode_chunk(random_latents(2), memory)
        sizes.append([tuple(kept.shape[:2]) for kept in memory.values()])
        assert all(kept.untyped_storage().nbytes() == kept.nbytes for kept in memory.values())
    assert sizes[0] == sizes[1] == sizes[2] and len(sizes[0]) == 9 and {steps for _, steps in sizes[0]} == {1}
