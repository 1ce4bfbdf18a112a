"""Streaming with the KV cache equals a full pass without one, whatever the window, across wrap-around and reset."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from naive import naive_velocity, visible_chunks

from astra_play.config import ModelConfig, StreamConfig
from astra_play.model.history import CausalHistory
from astra_play.model.kv_cache import KVCache
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream, TwoStreamBatch
from astra_play.train.losses import still_anchors

TINY = ModelConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, latent_channels=3, grid_height=4, grid_width=4,
                   freq_dim=16, anchor="previous", prediction="clean", router="learned", num_experts=3, router_top_k=2,
                   expert_hidden=8, modalities={"camera": 5}, action_dim=6)


def tiny_model(seed: int = 0, **changes) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(dataclasses.replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize(("sink", "ring", "frames"), [(0, 2, 1), (1, 3, 1), (2, 2, 1), (0, 3, 2), (1, 1, 2), (3, 4, 1)])
@torch.no_grad()
def test_cached_generation_equals_a_full_pass(sink: int, ring: int, frames: int) -> None:
    model = tiny_model()
    stream = StreamConfig(latent_frames_per_chunk=frames, sink_chunks=sink, ring_chunks=ring, context_sigma=0.1)
    history = CausalHistory(model, stream, "camera")
    for session in range(2):  # the second session runs on buffers that the first one left full
        history.reset()
        clean, rows = [], []
        for _ in range(2 * (sink + ring) + 2):
            clean.append(torch.randn(1, frames, 3, 4, 4))
            rows.append(torch.randn(1, frames, 4))
            history.push(clean[-1], rows[-1])
            noisy, action = torch.randn(1, frames, 3, 4, 4), torch.randn(1, frames, 4)
            for sigma in (1.0, 0.4):  # the first call folds the commit in, the second finds it done
                expected = naive_velocity(model, stream, "camera", clean, rows, noisy, sigma, action)
                ours = history.velocity(noisy, sigma, action)
                assert relative_error(ours, expected) < 1e-5, (session, len(clean), sigma)


@torch.no_grad()
def test_actions_read_by_cross_attention_stream_as_in_a_full_pass_and_matter() -> None:
    model, stream = tiny_model(adapter="cross_attention"), StreamConfig(sink_chunks=1, ring_chunks=2)
    history, clean, rows = CausalHistory(model, stream, "camera"), [], []
    for _ in range(6):
        clean.append(torch.randn(1, 1, 3, 4, 4))
        rows.append(torch.randn(1, 1, 4))
        history.push(clean[-1], rows[-1])
        noisy, action = torch.randn(1, 1, 3, 4, 4), torch.randn(1, 1, 4)
        ours = history.velocity(noisy, 1.0, action)
        assert relative_error(ours, naive_velocity(model, stream, "camera", clean, rows, noisy, 1.0, action)) < 1e-5
        assert relative_error(ours, history.velocity(noisy, 1.0, -action)) > 1e-3


@torch.no_grad()
def test_folding_the_commit_changes_nothing() -> None:
    model, stream = tiny_model(), StreamConfig(sink_chunks=1, ring_chunks=2)
    folded, separate = (CausalHistory(model, stream, "camera") for _ in range(2))
    for _ in range(7):
        chunk, row, noisy = torch.randn(1, 1, 3, 4, 4), torch.randn(1, 1, 4), torch.randn(1, 1, 3, 4, 4)
        folded.push(chunk, row)
        separate.push(chunk, row)
        separate.flush()
        assert relative_error(folded.velocity(noisy, 0.7, row), separate.velocity(noisy, 0.7, row)) < 1e-5
    assert folded.num_passes == 7 and separate.num_passes == 14


@torch.no_grad()
def test_guidance_equals_two_full_passes_and_scale_one_costs_one() -> None:
    model, stream = tiny_model(), StreamConfig(sink_chunks=0, ring_chunks=3)
    history = CausalHistory(model, stream, "camera")
    clean, rows = [], []
    for _ in range(5):
        clean.append(torch.randn(1, 1, 3, 4, 4))
        rows.append(torch.randn(1, 1, 4))
        history.push(clean[-1], rows[-1])
        noisy, action = torch.randn(1, 1, 3, 4, 4), torch.randn(1, 1, 4)
        given = (model, stream, "camera", clean, rows, noisy, 1.0, action)
        conditional, unconditional = naive_velocity(*given), naive_velocity(*given, null=True)
        guided = history.velocity(noisy, 1.0, action, guidance_scale=2.5)
        assert relative_error(guided, unconditional + 2.5 * (conditional - unconditional)) < 1e-5
    assert relative_error(conditional, unconditional) > 1e-3  # hiding the action is visible, or the test shows nothing


@torch.no_grad()
def test_two_stream_training_sees_what_streaming_sees() -> None:
    model, frames = tiny_model(), 6
    stream = StreamConfig(sink_chunks=1, ring_chunks=frames - 2)
    latents, noisy = torch.randn(2, frames, 3, 4, 4), torch.randn(2, frames - 1, 3, 4, 4)
    rows, sigma = torch.randn(2, frames, 4), torch.full((2, frames - 1), 0.8)
    batch = TwoStreamBatch(latents, torch.zeros(2, frames), noisy, sigma, rows, "camera",
                           still_anchors(latents, 1), still_anchors(latents, 1)[:, 1:])
    clean = TwoStream(model, frames, 1, torch.device("cpu"))(batch).clean
    history = CausalHistory(model, stream, "camera", batch=2)
    for t in range(1, frames):
        history.push(latents[:, t - 1:t], rows[:, t - 1:t])
        velocity = history.velocity(noisy[:, t - 1:t], 0.8, rows[:, t:t + 1])
        assert relative_error(noisy[:, t - 1:t] - 0.8 * velocity, clean[:, t - 1:t]) < 1e-5, t


@torch.no_grad()
def test_time_indices_never_leave_the_window_and_buffers_never_move() -> None:
    stream = StreamConfig(sink_chunks=2, ring_chunks=3)
    cache = KVCache(TINY, stream)
    pointers = [t.data_ptr() for t in (cache._keys, cache._rotated, cache._values)]
    for chunk in range(40):
        cache.begin_pass(commit=True, num_targets=1)
        assert cache.num_context == len(visible_chunks(chunk, stream)) <= 5
        for layer in range(TINY.num_layers):
            q, k, v = (torch.randn(1, 2, 2 * cache.chunk_tokens, 24) for _ in range(3))
            cache.attend(layer, q, k, v)
    assert pointers == [t.data_ptr() for t in (cache._keys, cache._rotated, cache._values)]
    assert len(cache._table) == 6  # one index per slot and one for the target, for ever
    with torch.profiler.profile(profile_memory=True) as profile:
        cache.begin_pass(commit=True, num_targets=1)  # a full window: the whole ring turns
    assert "aten::mul" in {event.key for event in profile.key_averages()}  # or nothing was watched
    assert sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages()) == 0


@torch.no_grad()
def test_half_precision_cache_turns_its_ring_like_the_full_one() -> None:
    stream = StreamConfig(sink_chunks=1, ring_chunks=2)
    caches = [KVCache(TINY, stream, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    for _ in range(6):
        q, k, v = (torch.randn(1, 2, caches[0].chunk_tokens, 24) for _ in range(3))
        for cache in caches:
            cache.begin_pass(commit=True, num_targets=0)
            cache.attend(0, *(x.to(cache._keys.dtype) for x in (q, k, v)))
    assert torch.allclose(caches[1]._rotated.float(), caches[0]._rotated, atol=0.05)
