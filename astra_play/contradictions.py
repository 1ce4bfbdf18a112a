"""A world's config -> the first of its settings that contradicts another, as a sentence.

What a single type can say is checked where files are read (config.py); what holds between settings stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import WorldConfig

WAN_LATENTS = (16, 8, 4)  # latent_channels, spatial_compression and frames_per_latent of the Wan 2.1 family


def first_contradiction(config: WorldConfig) -> str:
    """Return the sentence about the first setting that contradicts another, or "" if all of them fit together."""
    return next((sentence for holds, sentence in _contradictions(config) if not holds), "")


def _contradictions(config: WorldConfig) -> Iterator[tuple[bool, str]]:
    """Yield (whether it holds, the sentence if it does not) for everything that no single type can say.

    A generator, so that a later rule may rely on the earlier ones.
    """
    model, codec, stream, controls = config.model, config.codec, config.stream, config.controls
    _, ph, pw = model.patch_size
    sizes = {"width": config.width, "height": config.height, "fps": config.fps, "model.dim": model.dim,
             "model.num_heads": model.num_heads, "patch_size": min(model.patch_size),
             "model.num_experts": model.num_experts,
             "codec.spatial_compression": codec.spatial_compression, "codec.frames_per_latent": codec.frames_per_latent,
             "stream.latent_frames_per_chunk": stream.latent_frames_per_chunk, "stream.ring_chunks": stream.ring_chunks}
    for name, size in sizes.items():
        yield size >= 1, f"{name} is {size}, but must be at least 1"
    s = codec.spatial_compression
    grid = (model.grid_height, model.grid_width)
    yield (grid[0] * s, grid[1] * s) == (config.height, config.width), (
        f"pictures of {config.width} x {config.height} at compression {s} do not make the latent grid "
        f"{grid[1]} x {grid[0]} of the model")
    yield grid[0] % ph == 0 and grid[1] % pw == 0, (
        f"the latent grid {grid[1]} x {grid[0]} cannot be cut into patches {pw} x {ph}")
    yield model.dim % (2 * model.num_heads) == 0, (
        f"model.dim {model.dim} cannot be split into {model.num_heads} even heads")
    yield 1 <= model.router_top_k <= model.num_experts, (
        f"router_top_k is {model.router_top_k}, but there are {model.num_experts} experts")
    yield model.latent_channels == codec.latent_channels, (
        f"the model reads {model.latent_channels} latent channels, but the codec makes {codec.latent_channels}")
    yield codec.kind != "mini" or codec.frames_per_latent == 1, (
        f"frames_per_latent is {codec.frames_per_latent}, but the mini codec makes one frame per latent")
    for name, own in (("codec", codec), ("preview_codec", config.preview_codec or codec)):
        factors = own.latent_channels, own.spatial_compression, own.frames_per_latent
        yield own.kind == "mini" or factors == WAN_LATENTS, (
            f"{name}.latent_channels, spatial_compression and frames_per_latent are {', '.join(map(str, factors))}, "
            f"but the latents of {own.kind} have {', '.join(map(str, WAN_LATENTS))}")
        yield own.base_width >= 0, (
            f"{name}.base_width is {own.base_width}, but must be positive, or 0 for the published width")
    yield config.preview_codec is None or "mini" not in (codec.kind, config.preview_codec.kind), (
        "preview_codec is for worlds of Wan latents: both codecs must be \"wan_vae\" or \"taehv\"")
    yield codec.kind == "mini" or model.anchor != "moved", (
        f"model.anchor is \"moved\", which needs the mini codec's patches, but the codec is {codec.kind!r}")
    yield codec.kind == "mini" or not config.latent_scale, (
        f"latent_scale must be empty, since the latents of {codec.kind} are normalised already")
    yield len(config.latent_scale) in (0, codec.latent_channels) and all(v > 0 for v in config.latent_scale), (
        f"latent_scale must hold {codec.latent_channels} positive numbers or none")
    schedules = {"sigmas": stream.sigmas, **{f"step_sigmas.{n}": tuple(v) for n, v in stream.step_sigmas.items()}}
    for name, sigmas in schedules.items():
        descends = all(a > b for a, b in zip(sigmas, sigmas[1:], strict=False))
        yield len(sigmas) >= 2 and descends and sigmas[-1] == 0 and sigmas[0] <= 1, (
            f"stream.{name} must descend from at most 1 to 0, but is {list(sigmas)}")
    for steps, sigmas in stream.step_sigmas.items():
        yield str(len(sigmas) - 1) == steps, f"stream.step_sigmas.{steps} holds {len(sigmas) - 1} steps"
    yield stream.share_power > 0, f"stream.share_power is {stream.share_power}, but must be positive"
    yield stream.max_guidance == 0 or stream.max_guidance >= max(stream.guidance_scale, 1), (
        f"stream.max_guidance is {stream.max_guidance}, but must be 0 or at least 1 and the world's own guidance_scale")
    yield stream.correction_gate >= 0, f"stream.correction_gate is {stream.correction_gate}, but cannot be negative"
    for name in ("colour_hold", "contrast_hold", "detail_leak", "filter_strength"):
        share = getattr(stream, name)
        yield 0 <= share <= 1, f"stream.{name} must be in [0, 1], but is {share}"
    for name in ("hand_width", "shadow_width", "tabletop_width", "table_width", "arm_width", "distances_width"):
        yield getattr(codec, name) >= 0, f"codec.{name} is {getattr(codec, name)}, but cannot be negative"
    yield not codec.table_width or (codec.hand_width and codec.shadow_width and codec.tabletop_width), (
        f"codec.table_width is {codec.table_width}, but a table is restored behind what is found, and the codec needs "
        "hand_width, shadow_width and tabletop_width too")
    yield not codec.arm_width or bool(codec.table_width), (
        f"codec.arm_width is {codec.arm_width}, but an arm is drawn where all layers are known, and the codec needs "
        "table_width too")
    yield codec.loop_filter_width == 0 or (
        codec.loop_filter_width > 0 and model.anchor == "moved" and config.width % 16 == config.height % 16 == 0), (
        f"codec.loop_filter_width is {codec.loop_filter_width}, but must be 0, or positive in a world with the anchor "
        "\"moved\" whose pictures are multiples of 16 wide and high")
    yield codec.distances_width == 0 or (model.anchor == "moved" and config.width % 16 == config.height % 16 == 0), (
        f"codec.distances_width is {codec.distances_width}, but must be 0 unless the anchor is \"moved\" and pictures "
        "are multiples of 16 wide and high")
    yield stream.place_reach_m == 0 or config.controls.modality == "arm" or (
        stream.place_reach_m >= 5 and bool(codec.distances_width)), (
        f"stream.place_reach_m is {stream.place_reach_m}, but must be 0, or 5 metres or more in a world whose codec "
        "has distances_width")
    yield codec.upscaler_width == 0 or (
        codec.upscaler_width > 0 and model.anchor == "moved" and config.width % 2 == config.height % 2 == 0), (
        f"codec.upscaler_width is {codec.upscaler_width}, but must be 0, or positive in a world with the anchor "
        "\"moved\" whose pictures are even numbers of pixels wide and high")
    yield not model.anchor_coverage or model.anchor == "moved", (
        f"model.anchor_coverage needs the anchor \"moved\", but the anchor is {model.anchor!r}")
    yield model.hypotheses == 0 or (model.hypotheses > 0 and model.anchor == "moved"), (
        f"model.hypotheses is {model.hypotheses}, but must be 0, or positive in a world with the anchor \"moved\"")
    yield model.hypothesis_blocks > 0 and (
        model.hypotheses == 0 or codec.spatial_compression % model.hypothesis_blocks == 0), (
        f"model.hypothesis_blocks is {model.hypothesis_blocks}, but must divide a latent cell of "
        f"{codec.spatial_compression} pixels")
    yield stream.memory_fade_m == 0 or (stream.memory_fade_m > 0 and model.anchor_coverage), (
        f"stream.memory_fade_m is {stream.memory_fade_m}, but must be 0, or positive with model.anchor_coverage")
    yield 0 <= stream.framepack_cache_sigma <= 1, (
        f"stream.framepack_cache_sigma is {stream.framepack_cache_sigma}, but must be in [0, 1]")
    published = (model.anchor, model.prediction, model.adapter, model.patch_size[0]) == ("none", "velocity", "act", 1)
    yield model.history == "kv_cache" or published, (
        "the history \"framepack\" needs the anchor \"none\", the prediction \"velocity\", the adapter \"act\" and "
        "patches of one latent frame")
    yield 0 <= stream.context_sigma < 1 and stream.sink_chunks >= 0, (
        "stream.context_sigma must be in [0, 1) and stream.sink_chunks not negative")
    for own in [controls, *(s.controls for s in config.scenarios.values())]:
        yield own.modality in model.modalities, f"the model knows no {own.modality!r} actions"
        reach_m = own.reach_m
        yield not reach_m or (len(reach_m) == 6 and all(reach_m[axis] < reach_m[axis + 3] for axis in range(3))), (
            f"controls.reach_m must hold the least and the greatest (right, away, up) of a box, but is {list(reach_m)}")
        yield own.finger_stroke_m >= 0 and own.finger_m_per_frame > 0, (
            f"controls.finger_stroke_m is {own.finger_stroke_m} and controls.finger_m_per_frame "
            f"{own.finger_m_per_frame}, but neither can be negative, nor fingers that never get anywhere")
    yield not config.scenarios or config.scenario in config.scenarios, (
        f"scenario is {config.scenario!r}, but must be one of: {', '.join(config.scenarios)}")
    for name in model.action_std:
        widths = {len(model.action_std[name]), len(model.action_mean.get(name, [])), model.modalities.get(name)}
        yield len(widths) == 1 and min(model.action_std[name]) > 0, (
            f"action_mean and action_std of {name!r} must hold as many numbers as its rows, the deviations positive")
