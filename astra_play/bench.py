"""`bench`: how fast a world runs on this machine, how fast arithmetic alone would allow, and what is counted in that.

A chunk is timed in the steady state (context window full, warm-up left out), from its action rows to its uint8 frames.
The floor is the chunk's counted FLOP at the rate of this machine's own matrix product on as many threads. Start-up and
memory are measured in a fresh process, since this one has loaded more than a player does. A published world is counted
first (bench_published.py), and timed where that would not take all day.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from . import bench_published, paths
from .actions.row_makers import make_row_maker
from .argument_types import thread_count
from .chunks import ActionChunk, ActionSample
from .config import WorldConfig, load_world_config
from .errors import AstraPlayError, ConfigError
from .model.checkpoint import CODEC_FILE, MODEL_FILE, read_tensors
from .model.cost import H200_FLOP_S
from .model.framepack import WINDOW
from .model.loading import LoadOptions, choose_device, load_world, precision_for
from .model.world import World
from .runtime.clock import MonotonicClock
from .runtime.interfaces import Clock
from .runtime.threads import choose_num_threads

GEMM_SIZES = {"cpu": (256, 512, 768, 1024), "cuda": (4096, 8192)}
GEMM_REPEATS = 8
CONV_CHANNELS, CONV_GRID = 64, (48, 64)
PATIENCE = 20.0  # times the seconds to measure for: what filling the context window of a published world may take
EXTRA_CHUNKS = 8  # after the window is full, before timing starts
VARIANT_SHARE = 0.3  # of the default's time, for each other setting
GUIDED_SCALE = 2.0
MORE_STEPS = 2
CHILD_CHUNKS = 48
BYTES_PER_MB = 1e6
QUANTILES = (50, 95, 99)
WALK = ActionSample(buttons=frozenset({"forward", "turn_left"}))


@dataclass
class Timings:
    """Milliseconds of each chunk, by stage: `generate` is the transformer with sampling and commit, `whole` is all."""

    generate_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)


class Player:
    """Plays one walking chunk after another on a world, stage by stage."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.rows = make_row_maker(world.config).rows(WALK)
        self.num_chunks = 0

    def start(self) -> None:
        """Fill the context window, and let every kernel run a few times."""
        config = self.world.config
        self.world.reset(0)
        self.world.prefill(self.world.trial_frames())
        for _ in range(chunks_to_fill(config) + EXTRA_CHUNKS):
            self.chunk(Timings())

    def chunk(self, timings: Timings) -> None:
        """Make one chunk and note how long its stages took."""
        now = self.clock.now
        action = ActionChunk(WALK, self.rows, self.world.config.controls.modality, self.num_chunks)
        begin_s = now()
        latents = self.world.generate(action)
        if self.world.device.type == "cuda":
            torch.cuda.synchronize()  # or its time would count as the decoder's
        generated_s = now()
        self.world.decode(latents)
        decoded_s = now()
        self.world.commit()
        end_s = now()
        timings.generate_ms.append(1000.0 * (generated_s - begin_s + end_s - decoded_s))
        timings.decode_ms.append(1000.0 * (decoded_s - generated_s))
        timings.whole_ms.append(1000.0 * (end_s - begin_s))
        self.num_chunks += 1

    def flop(self) -> dict[str, int]:
        """Count the floating-point operations of one steady chunk: a multiplication and an addition are two."""
        action = ActionChunk(WALK, self.rows, self.world.config.controls.modality, self.num_chunks)
        with flop_counter() as generating:
            latents = self.world.generate(action)
        with flop_counter() as decoding:
            self.world.decode(latents)
        self.world.commit()
        counts = {"transformer": generating.get_total_flops(), "decode": decoding.get_total_flops()}
        return {**counts, "total": sum(counts.values())}


def chunks_to_fill(config: WorldConfig) -> int:
    """Return after how many chunks the context window of a world is full."""
    stream = config.stream
    if config.model.history == "framepack":
        return -(-WINDOW // stream.latent_frames_per_chunk)
    return stream.sink_chunks + stream.ring_chunks


def flop_counter() -> FlopCounterMode:
    """torch counts products and convolutions; it knows attention on CUDA, but not the CPU's kernel."""
    return FlopCounterMode(display=False, custom_mapping={
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop})


def _attention_flop(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def measure(player: Player, seconds: float) -> dict[str, Any]:
    """Time chunks for `seconds` at the world's current guidance and steps; GEMM and FLOP are the caller's."""
    player.start()
    flop = player.flop()
    passes_before, timings = player.world.num_passes, Timings()
    end_s = player.clock.now() + seconds
    while not timings.whole_ms or player.clock.now() < end_s:
        player.chunk(timings)
    chunks = len(timings.whole_ms)
    median_ms = float(np.median(timings.whole_ms))
    return {
        "denoise_steps": player.world.num_denoise_steps, "guidance_scale": player.world.guidance_scale,
        "passes_per_chunk": (player.world.num_passes - passes_before) / chunks, "flop_per_chunk": flop,
        "fps": 1000.0 * player.world.config.frames_per_chunk / median_ms, "chunks": chunks,
        "generate_ms": _percentiles(timings.generate_ms), "decode_ms": _percentiles(timings.decode_ms),
        "chunk_ms": _percentiles(timings.whole_ms),
    }


def against_floor(figures: dict[str, Any], gemm_gflop_s: float) -> dict[str, Any]:
    """Add the arithmetic floor of a chunk and the share of its rate that the median chunk reaches, by stage."""
    flop = figures["flop_per_chunk"]
    floor_ms = {stage: count / gemm_gflop_s / 1e6 for stage, count in flop.items()}
    measured = {"transformer": "generate_ms", "decode": "decode_ms", "total": "chunk_ms"}
    return {**figures, "floor_ms": floor_ms,
            "share_of_floor_rate": {stage: floor_ms[stage] / figures[name]["p50"] for stage, name in measured.items()}}


def gemm_gflop_s(clock: Clock, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> float:
    """Return the best rate of a square matrix product over several sizes, on the processor at the current threads or
    on another device."""
    device, best = device or torch.device("cpu"), 0.0
    for size in GEMM_SIZES[device.type]:
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        for _ in range(GEMM_REPEATS):
            begin_s = clock.now()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * size**3 / 1e9 / (clock.now() - begin_s))
    return best


def conv_gflop_s(clock: Clock) -> float:
    """Return the rate of a 3x3 convolution of the decoder's kind; on some processors it is twice the matrix product's.

    It does not enter the floor, which is defined by the matrix product, but says how honest that floor is.
    """
    layer = torch.nn.Conv2d(CONV_CHANNELS, CONV_CHANNELS, 3, padding=1).to(memory_format=torch.channels_last)
    picture = torch.randn(1, CONV_CHANNELS, *CONV_GRID).contiguous(memory_format=torch.channels_last)
    flop, best = 2 * 9 * CONV_CHANNELS**2 * CONV_GRID[0] * CONV_GRID[1], 0.0
    with torch.inference_mode():
        for _ in range(GEMM_REPEATS):
            begin_s = clock.now()
            layer(picture)
            best = max(best, flop / 1e9 / (clock.now() - begin_s))
    return best


def bench(folder: Path, scenario: str, seconds: float, threads: int | None, clock: Clock) -> dict[str, Any]:
    """Run every measurement of a world folder's scenario ("": its first)."""
    start = fresh_process(folder, scenario, threads, clock)
    world = load_world(folder / scenario, device="cpu")
    torch.set_num_threads(threads or choose_num_threads(world.run_probe_pass, clock))
    player = Player(world, clock)
    rates, conv_rates = [gemm_gflop_s(clock)], [conv_gflop_s(clock)]
    figures = {}
    for name, change in variants(world).items():
        world.guidance_scale, world.num_denoise_steps = change
        figures[name] = measure(player, seconds if not figures else seconds * VARIANT_SHARE)
        rates.append(gemm_gflop_s(clock))  # again, since a neighbour may have slowed the first
        conv_rates.append(conv_gflop_s(clock))
    rows = {name: against_floor(row, max(rates)) for name, row in figures.items()}
    config, flop = world.config, rows["default"]["flop_per_chunk"]
    return {
        "world": {"name": config.name, "scenario": config.scenario, "title": config.title,
                  "width": config.width, "height": config.height, "shown_width": config.shown_width,
                  "shown_height": config.shown_height, "fps": config.fps, "frames_per_chunk": config.frames_per_chunk,
                  "model_parameters": num_parameters(folder / MODEL_FILE),
                  "codec_parameters": num_parameters(folder / CODEC_FILE)},
        "machine": machine(), "threads": torch.get_num_threads(), "threads_chosen_by": "user" if threads else "probe",
        "gemm_gflop_s": max(rates), "conv_gflop_s": max(conv_rates),
        "floor_with_conv_rate_ms": flop["transformer"] / max(rates) / 1e6 + flop["decode"] / max(conv_rates) / 1e6,
        "start": start, "peak_rss_mb": start["peak_rss_mb"],
        **rows["default"], "variants": {name: row for name, row in rows.items() if name != "default"},
    }


def bench_published_world(place: Path, config: WorldConfig, seconds: float, gpu_flop_s: float, clock: Clock
                          ) -> dict[str, Any]:
    """Count what a published world costs; time live chunks of it too, if this machine is fast enough for that.

    `place`: its folder, with "/SCENARIO" after it for another scenario than the first.
    """
    counts = bench_published.count(config, gpu_flop_s)
    device = choose_device()
    dtype = torch.bfloat16 if precision_for(config, device, "auto") == "bfloat16" else torch.float32
    rate = gemm_gflop_s(clock, device, dtype)
    flop, live = counts["live"]["flop_per_chunk"], config.played_live()
    floor_s = flop["total"] / rate / 1e9
    result = {"world": {"name": config.name, "title": config.title, "width": config.width, "height": config.height,
                        "fps": config.fps, "frames_per_chunk": live.frames_per_chunk},
              "machine": machine(), "device": str(device), "threads": torch.get_num_threads(), "gemm_gflop_s": rate,
              "floor_s": floor_s, "counts": counts, "measured": None}
    if floor_s * (chunks_to_fill(live) + EXTRA_CHUNKS) > PATIENCE * seconds:
        return result
    world = load_world(place, device=str(device), options=LoadOptions(live=True))
    measured = {**measure(Player(world, clock), seconds), "flop_per_chunk": flop}
    return {**result, "measured": against_floor(measured, rate)}


def variants(world: World) -> dict[str, tuple[float, int]]:
    """Return the (guidance scale, denoise steps) to measure; the world's own come first."""
    scale, steps = world.guidance_scale, world.num_denoise_steps
    return {"default": (scale, steps), f"guidance {GUIDED_SCALE:g}": (GUIDED_SCALE, steps),
            f"{MORE_STEPS} steps": (scale, MORE_STEPS)}


def num_parameters(weights: Path) -> int:
    """Return how many numbers a weights file holds."""
    return sum(tensor.numel() for tensor in read_tensors(weights).values())


def fresh_process(folder: Path, scenario: str, threads: int | None, clock: Clock) -> dict[str, float]:
    """Start the world in a process of its own: seconds of each stage of starting, and peak memory while playing.

    AstraPlayError says why the world did not play there.
    """
    world = str(folder.resolve() / scenario)
    program = f"from astra_play.bench import child; child({world!r}, {threads!r})"
    begin_s = clock.now()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=paths.checkout_folder())
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise AstraPlayError(f"the world could not be started to be measured: {reason}")
    return {**json.loads(done.stdout), "process_s": clock.now() - begin_s}


def child(name: str, threads: int | None) -> None:
    """What `fresh_process` runs; prints its figures as JSON, or ends with the sentence about a world that is damaged.
    """
    clock = MonotonicClock()
    imported_s = time.time() - psutil.Process().create_time()  # the system dates the start of a process by wall clock
    begin_s = clock.now()
    try:
        world = load_world(name, device="cpu")
    except AstraPlayError as error:
        sys.exit(str(error))
    loaded_s = clock.now()
    torch.set_num_threads(threads or choose_num_threads(world.run_probe_pass, clock))
    world.warm_up()
    ready_s = clock.now()
    player, timings = Player(world, clock), Timings()
    world.prefill(world.trial_frames())
    for _ in range(CHILD_CHUNKS):
        player.chunk(timings)
    print(json.dumps({"import_s": imported_s, "load_s": loaded_s - begin_s, "probe_and_warm_up_s": ready_s - loaded_s,
                      "first_chunk_ms": timings.whole_ms[0], "peak_rss_mb": peak_rss_mb()}))


def peak_rss_mb() -> float:
    """Return the most resident memory that this process has had, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / BYTES_PER_MB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / BYTES_PER_MB


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {"system": platform.platform(), "processor": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(logical=False), "busy_percent": psutil.cpu_percent(interval=0.2),
            "torch": torch.__version__, "python": platform.python_version()}


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(values, q)) for q in QUANTILES}


def table(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    world, start = result["world"], result["start"]
    name = "/".join(part for part in (world["name"], world["scenario"]) if part)
    lines = [
        f"{world['title']} ({name}): {world['width']}x{world['height']} at {world['fps']} fps, "
        f"{world['model_parameters'] / 1e6:.2f} M + {world['codec_parameters'] / 1e6:.2f} M parameters, float32",
        f"{result['threads']} compute threads (chosen by the {result['threads_chosen_by']}), matrix product "
        f"{result['gemm_gflop_s']:.0f} GFLOP/s, machine {result['machine']['busy_percent']:.0f} % busy before", "",
        "setting        passes  GFLOP   floor ms  chunk p50/p95/p99 ms    generate  decode    fps   of floor's rate"]
    for name, row in {"default": result, **result["variants"]}.items():
        chunk = "/".join(f"{row['chunk_ms'][f'p{q}']:.1f}" for q in QUANTILES)
        lines.append(f"{name:<15}{row['passes_per_chunk']:<8.2f}{row['flop_per_chunk']['total'] / 1e9:<8.3f}"
                     f"{row['floor_ms']['total']:<10.2f}{chunk:<24}{row['generate_ms']['p50']:<10.2f}"
                     f"{row['decode_ms']['p50']:<8.2f}{row['fps']:>5.1f}   "
                     f"{100 * row['share_of_floor_rate']['total']:.0f} %")
    share, flop = result["share_of_floor_rate"], result["flop_per_chunk"]
    return "\n".join([
        *lines, "",
        f"by stage: transformer {flop['transformer'] / 1e9:.3f} GFLOP at {100 * share['transformer']:.0f} % of the "
        f"floor's rate, decoder {flop['decode'] / 1e9:.3f} GFLOP at {100 * share['decode']:.0f} %",
        f"convolutions reach {result['conv_gflop_s']:.0f} GFLOP/s here; a floor that gives the decoder that rate is "
        f"{result['floor_with_conv_rate_ms']:.2f} ms",
        f"start: {start['import_s']:.1f} s to import, {start['load_s']:.2f} s to load, "
        f"{start['probe_and_warm_up_s']:.2f} s probe and warm-up, first chunk {start['first_chunk_ms']:.0f} ms; "
        f"peak memory {result['peak_rss_mb']:.0f} MB"])


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    parse.__name__ = "number"
    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bench`."""
    parser.add_argument("--world", default=paths.DEFAULT_WORLD, metavar="NAME", help="a name in weights/ or a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--seconds", type=_positive(float), default=10.0, metavar="S",
                        help="time to measure the default setting for (%(default)s)")
    parser.add_argument("--tflops", type=_positive(float), default=H200_FLOP_S / 1e12, metavar="X",
                        help="of a published world: predict for a GPU of so many TFLOP/s (%(default)g, an H200)")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="compute threads (chosen by a probe)")
    parser.add_argument("--record", action="store_true",
                        help="measure instead what recording costs the generator, in paired runs on one thread")


def main(args: argparse.Namespace) -> int:
    """Run `bench`."""
    paths.check_out_folder("--json", args.json)
    (folder, scenario), clock = paths.find_world(args.world), MonotonicClock()
    config = load_world_config(folder, scenario)
    if args.record:
        from . import bench_record

        if config.model.history == "framepack":
            raise ConfigError(f"{args.world} is a published world, whose chunks take seconds here; bench --record "
                              "measures worlds that are played in real time")
        result = bench_record.measure_recording(folder / scenario, args.seconds, args.threads, clock)
        print(bench_record.table(result))
    elif config.model.history == "framepack":
        if args.threads:
            torch.set_num_threads(args.threads)
        result = bench_published_world(folder / scenario, config, args.seconds, args.tflops * 1e12, clock)
        print(bench_published.table(config, result))
    else:
        result = bench(folder, scenario, args.seconds, args.threads, clock)
        print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0
