"""Published autoencoder files are imported exactly, in every layout, or refused by the name of what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from wan_codecs import FULL_VAE, SMALL_TAEHV, SMALL_VAE, small_taehv, small_vae

from astra_play.codec.wan_vae import WanVAE
from astra_play.errors import WeightsError
from astra_play.model.golden import drawn_taehv_weights
from astra_play.model.import_codecs import diffusers_name, import_taehv, import_wan_vae, original_name

# MD5 of the sorted keys and shapes of the published Wan2.1_VAE.pth, "key:d0_d1" and "key" for every tensor
PUBLISHED_VAE_KEYS = "ccc42284ea13e1ad04693284c7a09be6"


def vae_tensors(name) -> dict[str, Tensor]:
    return {name(own): p.detach().clone() for own, p in small_vae().named_parameters()}


def taehv_tensors() -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in small_taehv().named_parameters()}


def check_vae(path: Path) -> None:
    stored = load_file(path)
    for name, parameter in small_vae().named_parameters():
        assert torch.equal(stored.pop(name), parameter), name
    assert not stored


def test_original_names_and_shapes_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        shapes = {original_name(name): p.shape for name, p in WanVAE(FULL_VAE).named_parameters()}
    words = [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()] + list(shapes)
    assert hashlib.md5(",".join(sorted(words)).encode()).hexdigest() == PUBLISHED_VAE_KEYS


def test_diffusers_names_are_those_of_the_library() -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    with torch.device("meta"):
        ours = {diffusers_name(name): p.shape for name, p in WanVAE(FULL_VAE).named_parameters()}
        assert ours == {name: tensor.shape for name, tensor in AutoencoderKLWan().state_dict().items()}


@pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"model_state": tensors}])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_original_file_is_read_flat_and_wrapped_old_and_new(tmp_path, wrap, zipped: bool) -> None:
    torch.save(wrap(vae_tensors(original_name)), tmp_path / "Wan2.1_VAE.pth", _use_new_zipfile_serialization=zipped)
    assert import_wan_vae(tmp_path, tmp_path / "out" / "codec.safetensors", SMALL_VAE) == SMALL_VAE
    check_vae(tmp_path / "out" / "codec.safetensors")
    assert not list(tmp_path.glob("out/*.tmp"))


def test_a_folder_in_the_diffusers_layout_is_searched(tmp_path) -> None:
    (tmp_path / "vae").mkdir()
    save_file(vae_tensors(diffusers_name), tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    save_file({"blocks.0.attn1.to_q.weight": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    import_wan_vae(tmp_path, tmp_path / "codec.safetensors", SMALL_VAE)
    check_vae(tmp_path / "codec.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_taehv_is_read_in_half_precision_and_stays_so(tmp_path, suffix: str) -> None:
    tensors = {name: tensor.half() for name, tensor in taehv_tensors().items()}
    path = tmp_path / f"taew2_1{suffix}"
    torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    import_taehv(tmp_path, tmp_path / "preview.safetensors", SMALL_TAEHV)
    stored = load_file(tmp_path / "preview.safetensors")
    assert stored.keys() == tensors.keys() and all(torch.equal(stored[name], tensors[name]) for name in tensors)


def test_layers_stored_for_more_steps_keep_their_last_channels(tmp_path) -> None:
    tensors = taehv_tensors()
    whole = tensors["decoder.7.conv.weight"]
    tensors["decoder.7.conv.weight"] = torch.cat([torch.full_like(whole, 9.0), whole])
    torch.save(tensors, tmp_path / "taew2_1.pth")
    import_taehv(tmp_path / "taew2_1.pth", tmp_path / "out.safetensors", SMALL_TAEHV)
    assert torch.equal(load_file(tmp_path / "out.safetensors")["decoder.7.conv.weight"], whole)


def test_published_taehv_widths_are_the_default(tmp_path) -> None:
    save_file(drawn_taehv_weights(), tmp_path / "taew2_1.safetensors")
    config = import_taehv(tmp_path, tmp_path / "out.safetensors")
    assert config.kind == "taehv" and config.base_width == 0


def lightning(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "pytorch-lightning_version": "2.1", "epoch": 3}, path)


WRONG_FILES = {
    "lightning.ckpt": (lightning, "is a Lightning training checkpoint, not a plain file of weights"),
    "dit.safetensors": (lambda path: save_file({"blocks.0.self_attn.q.weight": torch.zeros(1)}, path),
                        "is a Wan diffusion transformer, not a"),
    "t5.pth": (lambda path: torch.save({"token_embedding.weight": torch.zeros(1)}, path),
               "is a UMT5 text encoder, not a"),
    "vae22.pth": (lambda path: torch.save({"encoder.downsamples.0.downsamples.0.residual.0.gamma": torch.ones(1)},
                                          path), "is the VAE of Wan 2.2, which makes other latents, not a"),
    "list.pth": (lambda path: torch.save([1, 2], path), "holds no named tensors but a list"),
    "more.pth": (lambda path: torch.save({"a": torch.zeros(1), "epoch": 1}, path),
                 r"holds more than tensors \(epoch\)"),
    "cut.pth": (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "is not a whole torch file"),
    "empty.pth": (lambda path: path.write_bytes(b""), "is not a whole torch file"),
    "cut.safetensors": (lambda path: path.write_bytes(b"\x10"), "is not a whole safetensors file"),
    "folder": (lambda path: path.mkdir(), "holds none of"),
    "none.pth": (lambda path: None, "does not exist"),
    "other.pth": (lambda path: torch.save({"a": torch.zeros(1)}, path), "as published: tensors .*1 not known .a."),
}


@pytest.mark.parametrize("name", WRONG_FILES)
@pytest.mark.parametrize("importer", [import_wan_vae, import_taehv])
def test_wrong_files_are_refused_by_name(tmp_path, importer, name: str) -> None:
    make, sentence = WRONG_FILES[name]
    make(tmp_path / name)
    with pytest.raises(WeightsError, match=sentence):
        importer(tmp_path / name, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_each_autoencoder_is_told_from_the_other(tmp_path) -> None:
    torch.save(taehv_tensors(), tmp_path / "taehv.pth")
    torch.save(vae_tensors(original_name), tmp_path / "vae.pth")
    save_file(vae_tensors(diffusers_name), tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match="taehv.pth is a TAEHV, not a Wan 2.1 VAE; give the published file"):
        import_wan_vae(tmp_path / "taehv.pth", tmp_path / "out", SMALL_VAE)
    for name in ("vae.pth", "vae.safetensors"):
        with pytest.raises(WeightsError, match=f"{name} is a Wan 2.1 VAE.*, not a TAEHV"):
            import_taehv(tmp_path / name, tmp_path / "out", SMALL_TAEHV)


@pytest.mark.parametrize(("damage", "sentence"), [
    (lambda t: t.pop("decoder.head.2.bias"), r"1 missing \(decoder.head.2.bias\)"),
    (lambda t: t.update(extra=torch.zeros(2)), r"1 not known \(extra\)"),
    (lambda t: t.update({"conv2.bias": torch.zeros(3)}), r"conv2.bias is \[3\], not \[16\]"),
    (lambda t: t.update({"conv2.bias": torch.full((16,), float("nan"))}), "not numbers in conv2.bias"),
])
def test_a_partial_or_damaged_file_is_refused_by_its_own_names(tmp_path, damage, sentence: str) -> None:
    tensors = vae_tensors(original_name)
    damage(tensors)
    torch.save(tensors, tmp_path / "vae.pth")
    (tmp_path / "codec.safetensors").write_bytes(b"the one before")
    with pytest.raises(WeightsError, match=sentence):
        import_wan_vae(tmp_path / "vae.pth", tmp_path / "codec.safetensors", SMALL_VAE)
    assert (tmp_path / "codec.safetensors").read_bytes() == b"the one before"


def test_a_file_that_would_run_code_is_not_opened(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"a": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="nothing but weights"):
        import_wan_vae(tmp_path / "trap.pth", tmp_path / "out")
    assert not (tmp_path / "sprung").exists()
