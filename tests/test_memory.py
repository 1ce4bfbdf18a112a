"""Memory by arithmetic: the formulas agree with a count of what is made, and a plan is chosen by what is free."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_world import make_tiny_world
from wan_codecs import SMALL_TAEHV, SMALL_VAE, clip, random_latents, small_vae

from astra_play import cli
from astra_play.codec.live_bytes import LiveBytes
from astra_play.codec.parked import ParkedCodec
from astra_play.config import ModelConfig, StreamConfig, WorldConfig
from astra_play.errors import AstraPlayError
from astra_play.model import framepack_history, memory
from astra_play.model.framepack_history import FramePackHistory
from astra_play.model.import_world import PUBLISHED_MODEL, published_config, world_config
from astra_play.model.memory import GB, choose_plan, codec_bytes, kept_bytes, memory_plan, network_bytes, pass_bytes
from astra_play.model.precision import set_precision
from astra_play.model.transformer import Transformer

PRECISIONS = {"float32": 4, "bfloat16": 2, "reference_bf16": 2}
SMALL = dataclasses.replace(PUBLISHED_MODEL, dim=128, num_heads=1, ffn_dim=512, num_layers=2, grid_height=16,
                            grid_width=24, text_dim=12)


@pytest.fixture
def config() -> WorldConfig:
    """A published world of small codecs."""
    return dataclasses.replace(world_config(SMALL, 192, 128), codec=SMALL_VAE, preview_codec=SMALL_TAEHV)


def counted_pass(config: ModelConfig, num_targets: int, precision: str, cache_sigma: float,
                 monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Run one pass over a full past on tensors without content, attention as a kernel that holds no scores; returns the
    bytes at the peak and those that are left."""
    monkeypatch.setattr(framepack_history, "scaled_attention", lambda query, key, value: torch.empty_like(query))
    with torch.device("meta"), torch.inference_mode():
        model = set_precision(Transformer(config).requires_grad_(False), precision)
        history = FramePackHistory(model, StreamConfig(framepack_cache_sigma=cache_sigma), "camera")
        history.set_text(torch.empty(1, 512, config.text_dim))
        history.push(torch.empty(1, 25, 16, config.grid_height, config.grid_width), torch.empty(1, 25, 12))
        noisy = torch.empty(1, num_targets, 16, config.grid_height, config.grid_width)
        with LiveBytes() as live:
            history.velocity(noisy, 1.0, torch.empty(1, num_targets, 12))
            return live.peak, live.now


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("num_targets", [2, 8])
def test_formula_of_a_published_pass_is_what_is_counted(num_targets: int, precision: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(PUBLISHED_MODEL, num_layers=2)
    counted = counted_pass(config, num_targets, precision, 0.0, monkeypatch)[0]
    formula = pass_bytes(config, num_targets, PRECISIONS[precision])
    assert counted <= formula * 1.02 and formula <= counted * 1.02


@pytest.mark.parametrize("ffn_dim", [128, 8960])
def test_formula_covers_networks_whose_attention_is_wider_than_their_mlp(ffn_dim: int,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(PUBLISHED_MODEL, num_layers=2, ffn_dim=ffn_dim)
    for precision, width in PRECISIONS.items():
        counted = counted_pass(config, 8, precision, 0.0, monkeypatch)[0]
        assert counted * 0.98 <= pass_bytes(config, 8, width) <= counted * 1.02, precision


def test_kept_keys_and_values_are_what_a_cached_pass_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [counted_pass(SMALL, 2, "bfloat16", sigma, monkeypatch)[1] for sigma in (0.0, 1.0)]
    keys = kept_bytes(SMALL, 2, True, False) - kept_bytes(SMALL, 2, False, False)
    assert left[1] - left[0] == keys > 0
    assert kept_bytes(SMALL, 2, True, True) - kept_bytes(SMALL, 2, True, False) == keys


def test_network_of_the_published_checkpoint_has_its_published_size() -> None:
    """1,501,242,923 numbers in the file, less the unused router and camera encoders."""
    used = 1_501_242_923 - (3 * 25 + 3) - 30 * (13 * 1536 + 1536)
    sizes = {precision: network_bytes(PUBLISHED_MODEL, precision) for precision in PRECISIONS}
    assert (sizes["float32"], sizes["bfloat16"]) == (4 * used, 2 * used)
    assert sizes["bfloat16"] < sizes["reference_bf16"] < sizes["bfloat16"] * 1.1


def test_codec_is_counted_whole() -> None:
    vae = small_vae()
    figures = codec_bytes(SMALL_VAE, (8, 12), torch.float32)
    with torch.inference_mode():
        _, kept = vae.decode_chunk(random_latents(1, 8, 12))
        _, kept = vae.decode_chunk(random_latents(1, 8, 12), kept)
    # no more than it remembers, but for what the last layer's cut copies
    assert figures.stream == sum(tensor.nbytes for tensor in kept.values())
    assert figures.weights == sum(p.nbytes for p in vae.parameters())
    assert figures.decoding > 2 * figures.stream and figures.encoding > 0


# --- plans ----------------------------------------------------------------------------------------------------------

def test_published_world_fits_the_gpus_that_its_modes_are_named_for() -> None:
    config = published_config()
    for live in (False, True):
        for mode in ("8", "16", "24"):
            assert memory_plan(config, mode, live).fits(int(mode) * GB), (mode, live)
    assert not memory_plan(config, "16", live=False).fits(8 * GB)
    assert not memory_plan(config, "24", live=False).fits(15 * GB)


def test_roomier_mode_takes_no_less(config: WorldConfig) -> None:
    for live in (False, True):
        totals = [memory_plan(config, mode, live).total for mode in ("8", "16", "24", "full")]
        assert totals == sorted(totals)


def test_total_counts_passes_and_coding_as_taking_turns(config: WorldConfig) -> None:
    plan = memory_plan(config, "16", live=False)
    assert plan.total == plan.network + plan.kept + plan.codec + plan.stream + max(plan.passes, plan.coding)
    assert dataclasses.replace(plan, reader=10**12).total == 10**12
    assert dataclasses.replace(plan, passes=10**12).total == plan.total - max(plan.passes, plan.coding) + 10**12


def test_a_cpu_reads_text_and_codes_pictures_in_full_precision_in_every_mode(config: WorldConfig) -> None:
    for mode in ("8", "16", "24", "full"):
        plan = memory_plan(config, mode, False, "float32", on_gpu=False)
        assert (plan.codec_dtype, plan.preview_dtype, plan.reads_on_device) == (torch.float32, torch.float32, False)


@pytest.mark.parametrize(("free", "mode"), [(80.0, "full"), (14.0, "16"), (6.0, "8")])
def test_auto_takes_the_roomiest_mode_that_fits(free: float, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free * GB)
    plan = choose_plan(published_config(), "auto", False, "bfloat16", False, torch.device("cuda"))
    assert plan.mode == mode


@pytest.mark.parametrize(("mode", "precision", "free", "words"), [
    ("auto", "bfloat16", 4.0, "needs 4.6 GB on cuda in the memory mode 8 (3.0 of them the network in bfloat16), but "
                              "4.0 GB are free; close other programs"),
    ("24", "bfloat16", 12.0, "needs 14.4 GB on cuda in the memory mode 24 (3.0 of them the network in bfloat16), but "
                             "12.0 GB are free; try --memory 8, which needs 4.6 GB"),
    ("8", "float32", 6.0, "6.0 GB are free; try --precision bfloat16"),
])
def test_too_little_memory_is_said_with_the_numbers(mode: str, precision: str, free: float, words: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free * GB)
    with pytest.raises(AstraPlayError) as error:
        choose_plan(published_config(), mode, False, precision, False, torch.device("cuda"))
    assert words in str(error.value)


def test_named_mode_may_do_without_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    config = published_config()
    free = memory_plan(config, "16", False).total + 1
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    chosen = [choose_plan(config, mode, False, "bfloat16", False, torch.device("cuda")).mode for mode in ("16", "auto")]
    assert chosen == ["16", "8"]


# --- parking --------------------------------------------------------------------------------------------------------

def test_parked_codec_is_on_its_device_only_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    parked, places = ParkedCodec(vae).to("meta"), []
    monkeypatch.setattr(vae, "to", lambda device: places.append(str(device)) or vae)
    pictures, latents = clip(5), random_latents(3)
    assert torch.equal(parked.encode(pictures), vae.encode(pictures))
    assert torch.equal(parked.decode(latents), vae.decode(latents))
    first, kept = parked.decode_chunk(latents[:, :1])
    assert torch.equal(torch.cat([first, parked.decode_chunk(latents[:, 1:], kept)[0]], dim=1), vae.decode(latents))
    assert places == ["meta", "cpu"] * 4


def test_parked_codec_leaves_its_device_when_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    parked, places = ParkedCodec(vae), []
    monkeypatch.setattr(vae, "to", lambda device: places.append(str(device)) or vae)
    with pytest.raises(RuntimeError):
        parked.decode(torch.zeros(1, 1, 3, 2, 2))
    assert places == ["cpu", "cpu"]


# --- the command ------------------------------------------------------------------------------------------------------

def test_table_needs_no_weights_and_says_which_gpus_do(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "memory"]) == 0
    title, heading, *lines = capsys.readouterr().out.splitlines()
    assert title == "astra, 832x480, network in bfloat16; GB of GPU memory"
    assert heading.split()[:2] == ["mode", "for"] and heading.endswith("8 GB  16 GB  24 GB")
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in lines}
    assert len(rows) == 8 and rows["8", "render"][-3:] == ["fits"] * 3
    assert rows["24", "render"][-3:] == ["-", "-", "fits"] or rows["24", "render"][-3:] == ["-", "fits", "fits"]
    assert float(rows["16", "render"][-4]) == round(memory_plan(published_config(), "16", False).total / GB, 2)


def test_table_of_a_world_of_our_own_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "memory", str(make_tiny_world(tmp_path / "world"))]) == 2
    assert "is small and knows no memory modes" in capsys.readouterr().err
