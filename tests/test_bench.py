"""The speed figures: what is counted, what is left out, and that the table and the JSON say the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_published import make_tiny_published
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play import bench, bench_published, bench_record
from astra_play.cli import main as cli_main
from astra_play.config import ScenarioConfig, load_world_config
from astra_play.errors import AstraPlayError
from astra_play.model.checkpoint import save_config
from astra_play.model.import_world import published_config
from astra_play.model.loading import LoadOptions, load_world


class TickingClock:
    """Each look at the clock finds it one millisecond later."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> float:
        self.looks += 1
        return self.looks / 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_world(tmp_path / "world")


def test_stages_are_timed_apart_and_the_commit_belongs_to_generation(folder: Path) -> None:
    player, timings = bench.Player(load_world(folder, device="cpu"), TickingClock()), bench.Timings()
    player.start()
    player.chunk(timings)
    # four looks at the clock: before, generated, decoded, committed
    assert timings.generate_ms == pytest.approx([2.0]) and timings.decode_ms == pytest.approx([1.0])
    assert timings.whole_ms == pytest.approx([3.0])


def test_warm_up_is_not_measured_and_the_window_is_full(folder: Path) -> None:
    world = load_world(folder, device="cpu")
    player = bench.Player(world, TickingClock())
    figures = bench.measure(player, seconds=0.02)
    window = world.config.stream.sink_chunks + world.config.stream.ring_chunks
    assert figures["chunks"] < player.num_chunks - window
    assert figures["chunk_ms"] == pytest.approx({"p50": 3.0, "p95": 3.0, "p99": 3.0})
    assert figures["fps"] == pytest.approx(1000 / 3)


def test_passes_are_counted_not_assumed(folder: Path) -> None:
    world = load_world(folder, device="cpu")
    passes = {}
    for name, (scale, steps) in bench.variants(world).items():
        world.guidance_scale, world.num_denoise_steps = scale, steps
        passes[name] = bench.measure(bench.Player(world, TickingClock()), seconds=0.02)["passes_per_chunk"]
    assert passes == {"default": 1.0, "guidance 2": 2.0, "2 steps": 2.0}


def test_flop_of_attention_is_that_of_its_two_products() -> None:
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    with bench.flop_counter() as fused, torch.inference_mode():
        torch.nn.functional.scaled_dot_product_attention(query, key, value)
    with bench.flop_counter() as plain:
        (query @ key.mT).softmax(-1) @ value
    assert fused.get_total_flops() == plain.get_total_flops() == 2 * 2 * 2 * 3 * 5 * 7 * 8


def test_flop_of_a_chunk_covers_the_matrices_of_target_and_commit(folder: Path) -> None:
    world = load_world(folder, device="cpu")
    player = bench.Player(world, TickingClock())
    player.start()
    flop = player.flop()
    m = world.config.model
    per_token = m.num_layers * (3 * m.dim**2 + m.dim**2 + m.dim**2 + 2 * m.dim * m.ffn_dim)  # qkv, out, adapter, MLP
    matrices = 2 * per_token * 2 * m.tokens_per_latent_frame  # the new chunk and the committed one share a pass
    assert matrices < flop["transformer"] < 2 * matrices
    assert flop["total"] == flop["transformer"] + flop["decode"] and flop["decode"] > 0


def test_share_of_the_floor_is_floor_over_measured() -> None:
    figures = {"flop_per_chunk": {"transformer": 4e8, "decode": 1e8, "total": 5e8},
               "generate_ms": {"p50": 8.0}, "decode_ms": {"p50": 2.0}, "chunk_ms": {"p50": 10.0}}
    compared = bench.against_floor(figures, gemm_gflop_s=100.0)
    assert compared["floor_ms"] == pytest.approx({"transformer": 4.0, "decode": 1.0, "total": 5.0})
    assert compared["share_of_floor_rate"] == pytest.approx({"transformer": 0.5, "decode": 0.5, "total": 0.5})


def test_bench_prints_a_table_and_writes_every_figure_of_the_scenario_asked_for(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk = ScenarioConfig("A walk", "", TINY_WORLD.controls)
    drive = ScenarioConfig("A drive", "", TINY_WORLD.controls)
    folder = make_tiny_world(tmp_path / "world", scenarios={"walk": walk, "drive": drive}, scenario="walk")
    out = tmp_path / "bench.json"
    threads = torch.get_num_threads()
    try:
        assert cli_main(["bench", "--world", str(folder / "drive"), "--seconds", "0.2", "--threads", "1",
                         "--json", str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(out.read_text())
    assert {"world", "machine", "threads", "gemm_gflop_s", "conv_gflop_s", "floor_ms", "flop_per_chunk", "fps",
            "passes_per_chunk", "generate_ms", "decode_ms", "chunk_ms", "share_of_floor_rate", "peak_rss_mb", "start",
            "variants"} <= result.keys()
    assert result["threads"] == 1 and result["passes_per_chunk"] == 1.0
    assert result["variants"].keys() == {"guidance 2", "2 steps"}
    assert result["chunk_ms"]["p50"] <= result["chunk_ms"]["p95"] <= result["chunk_ms"]["p99"]
    assert {"import_s", "load_s", "probe_and_warm_up_s", "first_chunk_ms", "peak_rss_mb"} <= result["start"].keys()
    assert 50 < result["peak_rss_mb"] < 2000
    printed = capsys.readouterr().out
    assert f"{result['fps']:.1f}" in printed and "guidance 2" in printed and "A drive (tiny/drive)" in printed
    for command in (["bench", "--world"], ["weights", "verify"]):
        assert cli_main([*command, str(folder / "swim")]) == 2
        assert "has no scenario 'swim'" in capsys.readouterr().err


def test_process_that_starts_a_world_to_measure_it_is_told_which_one_and_says_what_is_wrong(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command[-1])
        return SimpleNamespace(returncode=-9, stderr="", stdout="")

    commands: list[str] = []
    monkeypatch.setattr(bench.subprocess, "run", run)
    with pytest.raises(AstraPlayError, match="could not be started to be measured: exit code -9"):
        bench.fresh_process(tmp_path, "drive", 1, TickingClock())
    assert repr(str(tmp_path / "drive")) in commands[0]


def test_damaged_world_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    assert cli_main(["bench", "--world", str(folder), "--seconds", "0.2", "--threads", "1"]) == 2
    said = capsys.readouterr().err
    assert "(0 bytes) is not a whole safetensors file" in said and said.count("\n") == 1


# --- published worlds -----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_published(tmp_path_factory.mktemp("bench") / "astra")


def test_published_world_is_counted_and_where_it_is_small_timed(published: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert cli_main(["bench", "--world", str(published), "--seconds", "0.5", "--tflops", "2", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    live, measured = result["counts"]["live"], result["measured"]
    assert (live["latents"], live["frames"], live["passes"], live["kept_passes"]) == (2, 8, 6, 5)
    assert live["floor_s"] == pytest.approx(live["flop_per_chunk"]["total"] / 2e12)
    assert live["share"] == pytest.approx(live["floor_s"] / 0.4)
    assert result["counts"]["render"]["passes"] == 50 and result["counts"]["render"]["decoder"] == "wan_vae"
    assert set(result["counts"]["live_by_latents"]) == {"1", "2", "4", "8"}
    assert measured["passes_per_chunk"] == 6.0 and measured["flop_per_chunk"] == live["flop_per_chunk"]
    printed = capsys.readouterr().out
    assert "by arithmetic" in printed and f"{measured['fps']:.1f} fps" in printed


def test_arithmetic_of_a_published_world_is_what_torch_counts_in_play(published: Path) -> None:
    world = load_world(published, device="cpu", options=LoadOptions(live=True))
    player = bench.Player(world, TickingClock())
    player.start()
    counted = player.flop()
    assert counted == bench_published.count(load_world_config(published))["live"]["flop_per_chunk"]


def test_full_size_is_counted_without_weights_and_not_timed_on_a_slow_machine(tmp_path: Path,
                                                                              capsys: pytest.CaptureFixture[str],
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    save_config(published_config(), tmp_path)
    monkeypatch.setattr(bench, "choose_device", lambda: torch.device("cpu"))
    assert cli_main(["bench", "--world", str(tmp_path), "--seconds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "15600 / 15990 / 16406 for chunks of 8" in printed and "24 % of 989 TFLOP/s" in printed
    assert "it was not timed" in printed


def test_mini_and_published_worlds_fill_their_windows(published: Path, folder: Path) -> None:
    assert bench.chunks_to_fill(load_world_config(folder)) == 4
    assert bench.chunks_to_fill(load_world_config(published).played_live()) == 10


# --- the cost of recording ------------------------------------------------------------------------------------------

def test_recording_is_compared_with_the_neighbouring_block_of_the_same_turn() -> None:
    base = [[10.0, 10.0, 90.0], [20.0, 20.0, 20.0], [40.0, 40.0, 40.0]]  # a machine that becomes slower and slower
    cost = bench_record.cost_percent([[10.1, 10.1, 10.1], [20.4, 20.4, 99.0], [41.2, 41.2, 41.2]], base)
    assert cost["median"] == pytest.approx(2.0) and cost["quartiles"] == pytest.approx([1.5, 2.5])


def test_bench_record_prints_the_cost_and_leaves_nothing_behind(folder: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_record, "BLOCK_S", 0.2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = tmp_path / "bench.json"
    threads = torch.get_num_threads()
    try:
        assert cli_main(["bench", "--world", str(folder), "--seconds", "0.5", "--record", "--json", str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(out.read_text())
    turns, block = result["turns"], result["chunks_per_block"]
    assert turns == bench_record.MIN_TURNS and result["recorded_chunks"] == (turns + 1) * block
    assert result["threads"] == 1 and result["video_mb"] > 0 and result["buffer_mb"] > 0
    assert {"clock", "own"} == result["arms"][bench_record.RECORDING]["cost_percent"].keys()
    assert f"recorded {result['recorded_chunks']} chunks" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["bench.json"]
