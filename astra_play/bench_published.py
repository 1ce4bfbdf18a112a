"""`bench` of a published world: what it costs by arithmetic, what that predicts for a GPU, and the machine at hand.

The counts need no weights, only the config. Chunks are timed by `bench` itself, where the machine at hand is fast
enough that somebody would wait for it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .config import WorldConfig
from .model.cost import H200_FLOP_S, chunk_cost, decode_flop, pass_cost

CHUNKS = (1, 2, 4, 8)  # latent frames of a chunk that a player may choose
PASTS = (1, 2, 4)  # latent frames since the start at which a pass becomes larger for the last times


def count(config: WorldConfig, gpu_flop_s: float = H200_FLOP_S) -> dict[str, Any]:
    """Return tokens, FLOP and predicted seconds of a "framepack" world, rendered and played live.

    `gpu_flop_s`: what the predictions are for, in FLOP a second of matrix products; no kernel reaches what is stated.
    """
    live = config.played_live()
    played = {m: _chunk(live, m, gpu_flop_s) for m in sorted({live.stream.latent_frames_per_chunk, *CHUNKS})}
    return {
        "gpu_tflop_s": gpu_flop_s / 1e12,
        "tokens": {m: [pass_cost(config.model, past, m).num_tokens for past in PASTS]
                   for m in sorted({live.stream.latent_frames_per_chunk, config.stream.latent_frames_per_chunk})},
        "live": played[live.stream.latent_frames_per_chunk],
        "live_by_latents": played,
        "live_exact": _chunk(_with_stream(live, framepack_cache_sigma=0.0), live.stream.latent_frames_per_chunk,
                             gpu_flop_s),
        "render": _chunk(config, config.stream.latent_frames_per_chunk, gpu_flop_s, is_live=False),
    }


def _with_stream(config: WorldConfig, **changes: Any) -> WorldConfig:
    return dataclasses.replace(config, stream=dataclasses.replace(config.stream, **changes))


def _chunk(config: WorldConfig, num_latents: int, gpu_flop_s: float, is_live: bool = True) -> dict[str, Any]:
    """Return the figures of one chunk in mid-stream, without guidance, which would add its passes once more."""
    config = _with_stream(config, latent_frames_per_chunk=num_latents)
    model = config.model
    cost = chunk_cost(model, config.stream)
    codec = (config.preview_codec or config.codec) if is_live else config.codec
    decode = decode_flop(codec, model.grid_height, model.grid_width, num_latents)
    total = cost.flop + decode
    return {
        "latents": num_latents, "frames": config.frames_per_chunk, "shown_s": config.chunk_s,
        "passes": cost.num_full + cost.num_kept, "kept_passes": cost.num_kept,
        "tokens": cost.full.num_tokens, "tokens_of_kept_pass": cost.kept.num_tokens,
        "flop_of_pass": cost.full.flop, "flop_of_kept_pass": cost.kept.flop,
        "flop_per_chunk": {"transformer": cost.flop, "decode": decode, "total": total},
        "decoder": codec.kind, "floor_s": total / gpu_flop_s, "share": total / gpu_flop_s / config.chunk_s,
    }


def table(config: WorldConfig, result: dict[str, Any]) -> str:
    """Return the counts, and what was measured, as lines of text."""
    counts = result["counts"]
    live, render, exact = counts["live"], counts["render"], counts["live_exact"]
    gpu = f"{counts['gpu_tflop_s']:.0f} TFLOP/s"
    tokens = "; ".join(f"{' / '.join(map(str, sizes))} for chunks of {m}" for m, sizes in counts["tokens"].items())
    lines = [
        f"{config.title} ({config.name}): {config.width}x{config.height} at {config.fps} fps, by arithmetic",
        f"tokens of a pass after {', '.join(map(str, PASTS))} and more latent frames: {tokens}", "",
        f"one chunk                                                                 at {gpu}",
        "latents  passes    TFLOP of a pass   TFLOP of    of its     shown s  floor s  share",
        "         new+kept  new     kept      all passes  decoding"]
    for row in counts["live_by_latents"].values():
        lines.append(_row(row) + ("   live" if row["latents"] == live["latents"] else ""))
    lines += [
        _row(exact) + "   live, nothing kept", _row(render) + "   rendered", "",
        f"live: {live['frames']} frames a chunk take {live['flop_per_chunk']['total'] / 1e12:.1f} TFLOP, "
        f"{live['flop_per_chunk']['total'] / live['shown_s'] / 1e12:.0f} TFLOP/s at {config.fps} fps: "
        f"{100 * live['share']:.0f} % of {gpu}, or {live['floor_s']:.2f} s a chunk if all of it were reached; guidance "
        "doubles the transformer's part",
        _here(result)]
    return "\n".join(lines)


def _here(result: dict[str, Any]) -> str:
    """Return the line about the machine at hand."""
    here = f"here: matrix product {result['gemm_gflop_s'] / 1e3:.3g} TFLOP/s on {result['device']}"
    floor = f"a live chunk takes at least {result['floor_s']:.3g} s"
    measured = result["measured"]
    if measured is None:
        return f"{here}, at which {floor}; it was not timed, since filling the window first would take too long"
    whole_s, generate_s, decode_s = (measured[name]["p50"] / 1e3 for name in ("chunk_ms", "generate_ms", "decode_ms"))
    return (f"{here}, at which {floor}; measured {whole_s:.3g} s (transformer {generate_s:.3g}, decoder "
            f"{decode_s:.3g}), {measured['fps']:.1f} fps")


def _row(row: dict[str, Any]) -> str:
    flop = row["flop_per_chunk"]
    passes = f"{row['passes'] - row['kept_passes']}+{row['kept_passes']}"
    kept = f"{row['flop_of_kept_pass'] / 1e12:.3g}" if row["kept_passes"] else "-"
    return (f"{row['latents']:<9}{passes:<10}{row['flop_of_pass'] / 1e12:<8.3g}{kept:<10}"
            f"{flop['transformer'] / 1e12:<12.4g}{flop['decode'] / 1e12:<11.3g}{row['shown_s']:<9.2g}"
            f"{row['floor_s']:<9.3g}{100 * row['share']:.0f} %")
