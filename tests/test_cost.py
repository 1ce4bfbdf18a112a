"""Cost by arithmetic: the published token counts, and FLOP as torch itself counts them while a network runs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_framepack import TINY, tiny_model
from wan_codecs import FULL_TAEHV, FULL_VAE

from astra_play.bench import flop_counter
from astra_play.config import ModelConfig, StreamConfig
from astra_play.model.cost import chunk_cost, decode_flop, pass_cost
from astra_play.model.framepack_history import FramePackHistory
from astra_play.model.import_world import PUBLISHED_MODEL, published_config
from astra_play.model.sampler import sigma_schedule
from astra_play.model.solvers import SOLVERS


@pytest.mark.parametrize(("num_latents", "tokens"), [(1, 15600), (2, 15990), (4, 16406), (40, 16406)])
def test_tokens_of_a_rendered_chunk_are_the_published_ones(num_latents: int, tokens: int) -> None:
    cost = pass_cost(PUBLISHED_MODEL, num_latents, 8)
    assert cost.num_tokens == cost.num_keys == tokens
    assert pass_cost(PUBLISHED_MODEL, num_latents, 8, is_kept=True).num_tokens == 8 * 1560


def counted(model: ModelConfig, stream: StreamConfig, num_latents: int, modality: str) -> int:
    """FLOP of one chunk, by torch's counter; the text is embedded before."""
    network = tiny_model(**{f.name: getattr(model, f.name) for f in dataclasses.fields(model)})
    history = FramePackHistory(network, stream, modality)
    history.set_text(torch.randn(1, 7, model.text_dim))
    rows = torch.randn(1, num_latents + stream.latent_frames_per_chunk, model.modalities[modality] - 1)
    shape = model.latent_channels, model.grid_height, model.grid_width
    history.push(torch.randn(1, num_latents, *shape), rows[:, :num_latents])
    noise = torch.randn(1, stream.latent_frames_per_chunk, *shape)
    with flop_counter() as counter, torch.inference_mode():
        SOLVERS[stream.solver](lambda noisy, sigma: history.velocity(noisy, sigma, rows[:, num_latents:]), noise,
                               stream.sigmas)
    return counter.get_total_flops()


@pytest.mark.parametrize("num_latents", [1, 2, 4, 19, 20, 27])
@pytest.mark.parametrize(("chunk", "cache_sigma"), [(2, 0.0), (2, 0.9), (2, 1.0), (5, 1.0)])
def test_flop_of_a_chunk_are_those_that_torch_counts(num_latents: int, chunk: int, cache_sigma: float) -> None:
    stream = StreamConfig(latent_frames_per_chunk=chunk, sigmas=sigma_schedule(4, 5.0), solver="unipc",
                          framepack_cache_sigma=cache_sigma)
    for model, modality in ((TINY, "camera"), (dataclasses.replace(TINY, expert_hidden=8, num_experts=4), "arm")):
        assert chunk_cost(model, stream, num_latents, modality, text_tokens=7).flop == counted(
            model, stream, num_latents, modality)


def test_kept_steps_begin_at_the_first_pass_below_the_level() -> None:
    stream = StreamConfig(latent_frames_per_chunk=2, sigmas=sigma_schedule(4, 5.0))
    passes = {}
    for level in (0.0, 0.7, 0.95, 1.0):
        cost = chunk_cost(TINY, dataclasses.replace(stream, framepack_cache_sigma=level))
        passes[level] = cost.num_full, cost.num_kept
    assert stream.sigmas == pytest.approx((1.0, 0.9375, 0.8333333, 0.625, 0.0))
    assert passes == {0.0: (4, 0), 0.7: (4, 0), 0.95: (2, 2), 1.0: (1, 3)}


def test_live_play_needs_a_quarter_of_an_h200_and_rendering_three_of_them() -> None:
    """FLOP a second at 20 fps over the stated 989 TFLOP/s, guidance off: the chunk and its live decoding; the passes of
    a rendered one."""
    config = published_config()
    live = config.played_live()
    decode = decode_flop(config.preview_codec, 60, 104, live.stream.latent_frames_per_chunk)
    assert decode / 1e9 == pytest.approx(2 * 544, rel=0.01)
    share = chunk_cost(config.model, live.stream).flop_s(live.chunk_s, decode) / 989e12
    assert share == pytest.approx(0.2360, abs=0.0005)
    rendered = chunk_cost(config.model, config.stream)
    assert rendered.num_full == 50 and rendered.flop_s(config.chunk_s) / 989e12 == pytest.approx(2.991, abs=0.005)


def test_exact_decoder_costs_twenty_five_times_the_live_one() -> None:
    cost = {codec.kind: decode_flop(codec, 60, 104, 1) / 1e9 for codec in (FULL_VAE, FULL_TAEHV)}
    assert cost == pytest.approx({"wan_vae": 13_550, "taehv": 544}, rel=0.01)
