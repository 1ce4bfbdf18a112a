"""The network by itself: sizes by configuration, signs, the identity of the adapter, experts and guidance,
schedules."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types

import pytest
import torch
from test_kv_cache import TINY, relative_error, tiny_model

from astra_play.config import ModelConfig, StreamConfig
from astra_play.errors import ConfigError
from astra_play.model import layers
from astra_play.model.experts import ActionEncoder, ActionExperts, load_balance_loss
from astra_play.model.layers import MaskedAttention
from astra_play.model.rope import rotary_table
from astra_play.model.sampler import add_noise, euler, guide, schedule_for, sigma_schedule
from astra_play.model.transformer import Transformer

ASTRA_1_3B = ModelConfig(
    dim=1536, ffn_dim=8960, num_heads=12, num_layers=30, latent_channels=16, grid_height=60, grid_width=104,
    text_dim=4096, history="framepack", modalities={"camera": 13, "vehicle": 8, "arm": 13}, num_experts=3)


def full_pass(model: Transformer, noisy: torch.Tensor, sigma: float, rows: torch.Tensor, text=None) -> torch.Tensor:
    batch, frames = noisy.shape[:2]
    config, levels = model.config, torch.full((batch, frames), sigma)
    table = rotary_table(torch.arange(frames), config.grid_height // 2, config.grid_width // 2, config.head_dim)
    embedding, noise_level = model.embed_sigma(levels)
    x = model.trunk(model.embed(noisy, torch.zeros_like(noisy)), noise_level, model.actions(rows, "camera"),
                    model.embed_text(text), MaskedAttention(table))
    return model.velocity(x, embedding, noisy, levels, torch.zeros_like(noisy))


def test_the_1_3b_astra_is_the_same_class_with_other_numbers() -> None:
    with torch.device("meta"):
        model = Transformer(ASTRA_1_3B)
    wan = 1_418_996_800
    adapters = 30 * (1536 * 1536 + 1536)
    experts = 30 * 3 * (25 * 1536 + 1536)
    projectors = 2 * (13 * 25 + 25) + (8 * 25 + 25)
    embedder = 1536 * (16 * 4 + 16 * 32 + 16 * 256) + 3 * 1536
    assert sum(p.numel() for p in model.parameters()) == wan + adapters + experts + projectors + embedder
    assert ASTRA_1_3B.tokens_per_latent_frame == 1560


@torch.no_grad()
def test_text_is_read_where_the_config_asks_for_it() -> None:
    model = tiny_model(text_dim=12, anchor="none", prediction="velocity")
    noisy, rows = torch.randn(1, 2, 3, 4, 4), torch.randn(1, 2, 5)
    one, other = (full_pass(model, noisy, 0.5, rows, torch.randn(1, 7, 12)) for _ in range(2))
    assert one.shape == noisy.shape and relative_error(one, other) > 1e-3
    assert tiny_model().text_embedding is None


def test_a_fresh_adapter_is_the_identity_and_a_fresh_head_predicts_the_anchor() -> None:
    model = Transformer(TINY)
    x = torch.randn(2, 3, 48)
    assert torch.equal(model.blocks[0].adapter(x), x)
    tokens, anchor = torch.randn(1, 1, 4, 48), torch.randn(1, 1, 3, 4, 4)
    assert torch.equal(model.clean(tokens, torch.randn(1, 1, 48), anchor, 4, 4)[0], anchor)


@torch.no_grad()
def test_patches_keep_every_value_in_its_place() -> None:
    model = Transformer(TINY)
    latents = torch.randn(2, 3, 3, 4, 4)
    tokens = model.patchify(latents)
    assert tokens.shape == (2, 3, 4, 12)
    token = tokens[1, 2, 3].reshape(3, 2, 2)  # the last patch: rows 2..3, columns 2..3
    assert torch.equal(token, latents[1, 2, :, 2:, 2:])
    head_order = tokens.unflatten(-1, (3, 4)).transpose(-1, -2).flatten(-2)
    assert torch.equal(model.unpatchify(head_order, 4, 4), latents)


@torch.no_grad()
def test_velocity_points_from_clean_to_noise() -> None:
    clean, noise = torch.randn(1, 1, 3, 4, 4), torch.randn(1, 1, 3, 4, 4)
    for sigma in (1.0, 0.3):
        noisy = add_noise(clean, noise, sigma)
        model = Transformer(dataclasses.replace(TINY, anchor="previous"))  # a fresh head predicts exactly the anchor
        tokens, embedding = torch.randn(1, 1, 4, 48), torch.randn(1, 1, 48)
        velocity = model.velocity(tokens, embedding, noisy, torch.tensor([[sigma]]), clean)
        assert relative_error(velocity, noise - clean) < 1e-5
    result = euler(lambda noisy, sigma: noise - clean, noise, (1.0, 0.7, 0.2, 0.0))
    assert relative_error(result, clean) < 1e-5


def test_schedules_descend_from_one_to_zero_and_bend_with_shift() -> None:
    for steps in (1, 2, 7, 50):
        sigmas = sigma_schedule(steps, shift=5.0)
        assert len(sigmas) == steps + 1 and sigmas[0] == 1.0 and sigmas[-1] == 0.0
        assert all(a > b for a, b in zip(sigmas, sigmas[1:], strict=False))
    published = sigma_schedule(50, shift=5.0)
    assert [round(s, 6) for s in published[1:5]] == [0.995935, 0.991736, 0.987395, 0.982906]
    assert [round(s, 6) for s in published[-3:-1]] == [0.172414, 0.092593]
    stream = StreamConfig(sigmas=(1.0, 0.0), step_sigmas={"2": [1.0, 0.4, 0.0]})
    assert schedule_for(stream, 2) == (1.0, 0.4, 0.0) and schedule_for(stream, None) == (1.0, 0.0)
    assert schedule_for(stream, 3) == sigma_schedule(3)
    with pytest.raises(ConfigError, match="1 to 100, but is 0"):
        schedule_for(stream, 0)


def test_guidance_scale_one_is_the_conditional_velocity() -> None:
    null, conditional = torch.zeros(3), torch.ones(3)
    assert torch.equal(guide(null, conditional, 1.0), conditional)
    assert torch.equal(guide(null, conditional, 3.0), 3 * conditional)


@torch.no_grad()
def test_routing_takes_the_top_k_and_experts_are_their_weighted_sum() -> None:
    torch.manual_seed(0)
    encoder, experts = ActionEncoder(TINY), ActionExperts(TINY)
    actions = encoder(torch.randn(2, 3, 5), "camera")
    assert actions.routing.shape == (2, 3, 1, 3)
    assert (actions.routing > 0).sum(-1).eq(2).all() and torch.allclose(actions.routing.sum(-1), torch.ones(2, 3, 1))
    features, routing = actions.features[1, 2, 0], actions.routing[1, 2, 0]
    expected = torch.zeros(48)
    for e in range(3):
        hidden = torch.nn.functional.silu(features @ experts.weight[e] + experts.bias[e])
        expected += routing[e] * (hidden @ experts.out_weight[e] + experts.out_bias[e])
    assert relative_error(experts(actions)[1, 2, 0], expected) < 1e-5


@torch.no_grad()
def test_fixed_routing_follows_the_table_and_null_rows_are_zeros() -> None:
    config = dataclasses.replace(TINY, router="fixed", modalities={"camera": 5, "arm": 4}, expert_hidden=0)
    encoder = ActionEncoder(config)
    assert encoder(torch.randn(1, 1, 5), "camera").routing[0, 0, 0].tolist() == [1, 0, 0]
    assert encoder(torch.randn(1, 1, 4), "arm").routing[0, 0, 0].tolist() == [0, 0, 1]
    hidden = encoder(torch.randn(1, 1, 5), "camera", torch.tensor([[True]]))
    assert torch.equal(hidden.features, encoder(torch.zeros(1, 1, 5), "camera").features)


@torch.no_grad()
def test_flash_attention_is_used_where_it_is_installed_and_takes_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def flash_attn_func(query, key, value):  # (B, N, heads, head_dim), as the real one has it
        calls.append(query.shape)
        return torch.einsum("bhqk,bkhd->bqhd", torch.einsum("bqhd,bkhd->bhqk", query, key)
                            .div(query.shape[-1] ** 0.5).softmax(-1), value)

    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    plain = layers.scaled_attention(query, key, value)
    monkeypatch.setitem(sys.modules, "flash_attn", types.SimpleNamespace(flash_attn_func=flash_attn_func))
    monkeypatch.setattr(layers, "_flash_takes", lambda query: True)
    layers._flash_attention.cache_clear()
    assert relative_error(layers.scaled_attention(query, key, value), plain) < 1e-6 and calls == [(2, 5, 3, 8)]
    layers.scaled_attention(query, key, value, torch.ones(5, 7, dtype=torch.bool))  # it knows no masks
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # an import that fails
    layers._flash_attention.cache_clear()
    assert torch.equal(layers.scaled_attention(query, key, value), plain) and len(calls) == 1
    layers._flash_attention.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None,
                    reason="needs a GPU and flash-attn")
def test_flash_attention_is_as_near_to_the_truth_as_torchs_own_on_a_gpu() -> None:
    torch.manual_seed(0)
    for queries, keys in ((390, 390), (1560, 4680)):
        query, key, value = (torch.randn(1, 12, count, 128, device="cuda", dtype=torch.bfloat16)
                             for count in (queries, keys, keys))
        truth = torch.nn.functional.scaled_dot_product_attention(query.double(), key.double(), value.double())
        own = torch.nn.functional.scaled_dot_product_attention(query, key, value).double()
        flash = layers.scaled_attention(query, key, value).double()
        noise, error = ((x - truth).norm() / truth.norm() for x in (own, flash))
        assert 0 < error < 2 * noise and (flash - own).norm() / own.norm() < 3 * noise


def test_flash_attention_is_for_half_precision_on_a_gpu() -> None:
    assert not layers._flash_takes(torch.zeros(1)) and not layers._flash_takes(torch.zeros(1).half())
    on_gpu = types.SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert layers._flash_takes(on_gpu)
    assert not layers._flash_takes(types.SimpleNamespace(is_cuda=True, dtype=torch.float32))


def test_balance_loss_is_one_when_balanced_and_the_expert_count_when_not() -> None:
    assert load_balance_loss(torch.full((4, 7, 1, 3), 1 / 3)).item() == pytest.approx(1.0)
    assert load_balance_loss(torch.eye(3)[[0, 0, 0]]).item() == pytest.approx(3.0)
