"""The Wan VAE: streams equal whole clips, whole clips equal their naive twin and the diffusers library's network."""

from __future__ import annotations

import pytest
import torch
from naive_codec import naive_vae_decode, naive_vae_encode
from safetensors.torch import save_file
from wan_codecs import FULL_VAE, SMALL_VAE, clip, error, random_latents, shaken, small_vae

from astra_play.codec.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE
from astra_play.config import CodecConfig
from astra_play.model.checkpoint import load_strict, read_tensors
from astra_play.model.import_codecs import diffusers_name, import_wan_vae

TOLERANCE = 1e-5  # relative, float32: the order of the sums differs


def test_whole_clips_equal_the_naive_network() -> None:
    vae = small_vae()
    pictures, latents = clip(13), random_latents(4)
    assert error(vae.encode(pictures), naive_vae_encode(vae, pictures)) < TOLERANCE
    expected = naive_vae_decode(vae, latents)
    assert (expected.abs() < 1).float().mean() > 0.5  # most of it is not clamped, so that errors show
    assert error(vae.decode(latents), expected.clamp(-1, 1)) < TOLERANCE


def test_naive_network_agrees_to_the_last_digits_in_double_precision() -> None:
    vae = small_vae().double()
    pictures, latents = clip(9).double(), random_latents(3).double()
    assert error(vae.encode(pictures), naive_vae_encode(vae, pictures)) < 1e-13
    assert error(vae.decode(latents), naive_vae_decode(vae, latents).clamp(-1, 1)) < 1e-13


@pytest.mark.parametrize("sizes", [(1,) * 6, (2, 1, 3), (5, 1), (6,)])
def test_decoding_by_chunks_equals_the_whole_clip_to_the_bit(sizes: tuple[int, ...]) -> None:
    vae, latents, memory = small_vae(), random_latents(6), None
    parts = []
    for own in latents.split(list(sizes), dim=1):
        part, memory = vae.decode_chunk(own, memory)
        parts.append(part)
    assert parts[0].shape[1] == 4 * sizes[0] - 3 and all(p.shape[1] % 4 == 0 for p in parts[1:])
    assert torch.equal(torch.cat(parts, dim=1), vae.decode(latents))


@pytest.mark.parametrize("sizes", [(1, 4, 4, 4), (5, 8), (9, 4), (13,)])
def test_encoding_by_chunks_equals_the_whole_clip_to_the_bit(sizes: tuple[int, ...]) -> None:
    vae, pictures, memory = small_vae(), clip(13), None
    parts = []
    for own in pictures.split(list(sizes), dim=1):
        part, memory = vae.encode_chunk(own, memory)
        parts.append(part)
    assert torch.equal(torch.cat(parts, dim=1), vae.encode(pictures))


def test_a_stream_may_go_on_twice_from_the_same_memory() -> None:
    vae, latents = small_vae(), random_latents(3)
    _, memory = vae.decode_chunk(latents[:, :2])
    once, _ = vae.decode_chunk(latents[:, 2:], memory)
    vae.decode_chunk(latents[:, :1] * 2, memory)
    again, _ = vae.decode_chunk(latents[:, 2:], memory)
    assert torch.equal(once, again)


def test_memory_does_not_grow_and_holds_nothing_but_itself() -> None:
    vae, memory, sizes = small_vae(), None, []
    for _ in range(4):
        _, memory = vae.decode_chunk(random_latents(2), memory)
        sizes.append(sum(kept.nbytes for kept in memory.values()))
        assert all(kept.untyped_storage().nbytes() == kept.nbytes for kept in memory.values())
    assert len(set(sizes)) == 1


def test_pictures_that_fill_no_latent_are_left_out() -> None:
    vae, pictures = small_vae(), clip(12)
    assert torch.equal(vae.encode(pictures), vae.encode(pictures[:, :9]))
    assert vae.encode(pictures[:, :3]).shape == (1, 1, 16, 2, 3)
    assert vae.decode(vae.encode(pictures)).shape == (1, 9, 3, 16, 24)


def test_the_first_latent_of_a_clip_is_that_of_its_first_picture_alone() -> None:
    vae, pictures = small_vae(), clip(9)
    assert torch.equal(vae.encode(pictures)[:, :1], vae.encode(pictures[:, :1]))


def test_every_latent_reaches_its_own_pictures_and_none_before() -> None:
    vae, latents = small_vae(), random_latents(4)
    changed = latents.clone()
    changed[:, 2] += 1
    same = (vae.decode(latents) == vae.decode(changed)).flatten(2).all(dim=2)[0]
    assert same.tolist() == [True] * 5 + [False] * 8  # latent 2 is pictures 5..8, and is remembered in those after


def diffusers_vae(base_width: int):
    """Build the library's network with random weights, seen to differ wherever ours could be wired wrongly."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(0)
    return shaken(AutoencoderKLWan(base_dim=base_width))


def check_against_diffusers(theirs, vae: WanVAE, pictures: torch.Tensor, latents: torch.Tensor) -> None:
    mean, std = (torch.tensor(values)[:, None, None] for values in (LATENT_MEAN, LATENT_STD))
    assert torch.equal(mean, torch.tensor(theirs.config.latents_mean)[:, None, None])
    assert torch.equal(std, torch.tensor(theirs.config.latents_std)[:, None, None])
    with torch.inference_mode():
        mu = theirs.encode(pictures.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
        ours = vae.encode(pictures)
        assert error(ours * std + mean, mu) < TOLERANCE
        assert error(ours, (mu - mean) / std) < TOLERANCE
        expected = theirs.decode((latents * std + mean).transpose(1, 2)).sample.transpose(1, 2)
        assert (expected.abs() < 1).float().mean() > 0.5
        assert error(vae.decode(latents), expected) < TOLERANCE


def test_equals_the_diffusers_network_through_the_import_of_its_file(tmp_path) -> None:
    theirs = diffusers_vae(SMALL_VAE.base_width)
    save_file(theirs.state_dict(), tmp_path / "diffusion_pytorch_model.safetensors")
    config = import_wan_vae(tmp_path, tmp_path / "codec.safetensors", SMALL_VAE)
    vae = WanVAE(config).eval().requires_grad_(False)
    load_strict(vae, read_tensors(tmp_path / "codec.safetensors"), tmp_path)
    check_against_diffusers(theirs, vae, clip(13, 32, 40), random_latents(4, 4, 5))


def test_equals_the_diffusers_network_at_the_published_widths(tmp_path) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    with torch.device("meta"):  # the constructors' own draws would take most of this test's time
        theirs, vae = AutoencoderKLWan(), WanVAE(FULL_VAE)
    theirs, vae = (network.to_empty(device="cpu").eval().requires_grad_(False) for network in (theirs, vae))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in theirs.named_parameters():
        fan_in = parameter[0].numel()
        parameter.normal_(1 if "gamma" in name else 0, 0.8 / fan_in ** 0.5 if fan_in > 1 else 0.1, generator=generator)
    for name, values in (("mean", LATENT_MEAN), ("std", LATENT_STD)):
        getattr(vae, name).copy_(torch.tensor(values)[:, None, None])
    tensors = theirs.state_dict()
    load_strict(vae, {name: tensors[diffusers_name(name)] for name, _ in vae.named_parameters()}, tmp_path)
    assert sum(p.numel() for p in vae.parameters()) == 126_892_531
    check_against_diffusers(theirs, vae, clip(5), random_latents(2))


def test_half_precision_stays_near() -> None:
    vae, latents, pictures = small_vae(), random_latents(3), clip(9)
    whole, encoded = vae.decode(latents), vae.encode(pictures)
    half = small_vae().bfloat16()
    assert error(half.decode(latents).float(), whole) < 0.05 and error(half.encode(pictures).float(), encoded) < 0.05


def test_published_width_is_the_default() -> None:
    with torch.device("meta"):
        assert WanVAE(CodecConfig(kind="wan_vae", latent_channels=16)).encoder.conv_in.weight.shape[0] == 96
