"""FramePack: the packing by the published index rule, and passes that equal the naive twin's, kept keys included."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from naive_framepack import naive_groups, naive_velocity
from torch import Tensor

from astra_play.config import ModelConfig, StreamConfig
from astra_play.errors import ConfigError
from astra_play.model.framepack import NO_ROW, WINDOW, pack, patches
from astra_play.model.framepack_history import FramePackHistory
from astra_play.model.transformer import Transformer

TINY = ModelConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, latent_channels=3, grid_height=6, grid_width=10,
                   freq_dim=16, text_dim=12, history="framepack", modalities={"camera": 5, "arm": 4}, action_dim=6)
EXACT, KEPT = StreamConfig(), StreamConfig(framepack_cache_sigma=1.0)
TOLERANCE = 5e-6  # the twin rotates and attends in float64


def tiny_model(seed: int = 0, **changes) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(dataclasses.replace(TINY, **changes)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


class Run:
    """A past of T latent frames with its table, a noisy chunk, and both implementations on it."""

    def __init__(self, num_latents: int, num_targets: int = 2, modality: str = "camera", stream: StreamConfig = EXACT,
                 placement: str = "leaving", grid: tuple[int, int] = (6, 10)) -> None:
        self.model, self.modality = tiny_model(), modality
        torch.manual_seed(num_latents)
        self.past = torch.randn(num_latents, 3, *grid)
        self.rows = torch.randn(num_latents + num_targets, TINY.modalities[modality] - 1)
        self.noisy, self.text, self.negative = (torch.randn(num_targets, 3, *grid), torch.randn(1, 7, 12),
                                                torch.randn(1, 4, 12))
        self.history = FramePackHistory(self.model, stream, modality, placement)
        self.history.set_text(self.text, self.negative)
        for start in range(0, num_latents, 7):  # in pieces that do not divide the window
            self.history.push(self.past[None, start:start + 7], self.rows[None, start:min(start + 7, num_latents)])

    def ours(self, sigma: float, noisy: Tensor | None = None, **scales: float) -> Tensor:
        noisy = self.noisy if noisy is None else noisy
        return self.history.velocity(noisy[None], sigma, self.rows[None, len(self.past):], **scales)[0]

    def naive(self, sigma: float, table: Tensor | None = None, negative: bool = False, **options) -> Tensor:
        return naive_velocity(self.model, self.modality, self.past, self.rows if table is None else table,
                              options.pop("noisy", self.noisy), sigma, self.negative if negative else self.text,
                              **options)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("num_targets", [1, 3, 8])
def test_packing_equals_the_index_rule_slot_by_slot(num_targets: int) -> None:
    kinds = {"4x": 4, "2x": 2, "1x": 1, "target": 1}
    for num_latents in range(1, 46):
        forgotten = max(num_latents - WINDOW, 0)
        expected = [(kinds[kind], time - forgotten, NO_ROW if row is None else row)
                    for kind, time, row in naive_groups(num_latents, num_targets)]
        ours = [(g.coarseness, g.time_index, g.row) for g in pack(num_latents, num_targets).groups]
        assert ours == expected, num_latents


def test_rows_after_nine_latent_frames_are_those_of_the_published_code() -> None:
    groups = pack(9, 8).groups
    assert [g.row for g in groups] == [0, 1, 2, 3, 6, 0, 9, *range(9, 17)]
    assert [g.time_index for g in groups] == [11, 12, 13, 14, 17, 11, 19, *range(20, 28)]
    assert [g.row for g in pack(1, 8).groups] == [0, 1, *range(1, 9)]
    # with one frame in the 4x slots, three of its four tokens carry its time and no row
    assert [(g.time_index, g.row) for g in pack(4, 1).groups[:4]] == [(16, 0), (16, NO_ROW), (16, NO_ROW), (16, NO_ROW)]


@pytest.mark.parametrize(("num_latents", "tokens"), [(1, 15600), (2, 15990), (3, 15990), (4, 16406), (20, 16406),
                                                     (97, 16406)])
def test_token_counts_at_832x480_are_the_published_ones(num_latents: int, tokens: int) -> None:
    packing = pack(num_latents, 8)
    assert sum(packing.tokens(60, 104)) == tokens
    assert packing.num_history_tokens(60, 104) == tokens - 8 * 1560


def test_patches_repeat_the_last_value_where_a_grid_does_not_fill_them() -> None:
    latents = torch.arange(3 * 5 * 6.0).reshape(1, 3, 1, 5, 6)
    found = patches(latents, (2, 4, 4))
    assert found.shape == (1, 2 * 2 * 2, 32)
    last = found[0, -1].reshape(2, 4, 4)  # frames 2 and 2 again, row 4 four times, columns 4, 5, 5, 5
    assert torch.equal(last, latents[0, 2, 0, 4, [4, 5, 5, 5]].expand(2, 4, 4))


@pytest.mark.parametrize("num_latents", [1, 2, 3, 4, 5, 6, 9, 17, 19, 20, 21, 25, 43])
def test_velocity_equals_the_naive_twin_however_long_the_past(num_latents: int) -> None:
    run = Run(num_latents)
    assert relative_error(run.ours(0.7), run.naive(0.7)) < TOLERANCE
    assert run.history.num_latents == num_latents


@pytest.mark.parametrize("grid", [(4, 4), (8, 12), (14, 6)])
def test_other_grids_and_modalities_pass_through_the_same_weights(grid: tuple[int, int]) -> None:
    run = Run(8, num_targets=3, modality="arm", grid=grid)
    assert relative_error(run.ours(0.2), run.naive(0.2)) < TOLERANCE


def test_guidance_steers_away_from_the_null_action_and_the_negative_prompt() -> None:
    run = Run(5)
    both, null = run.naive(0.5), run.naive(0.5, null_action=True)
    assert relative_error(run.ours(0.5, guidance_scale=3.0), null + 3 * (both - null)) < TOLERANCE
    negative = run.naive(0.5, negative=True)
    assert relative_error(run.ours(0.5, text_guidance_scale=4.0), negative + 4 * (both - negative)) < TOLERANCE
    nothing = run.naive(0.5, null_action=True, negative=True)
    acted = nothing + 2 * (both - nothing)
    ours = run.ours(0.5, guidance_scale=2.0, text_guidance_scale=4.0)
    assert relative_error(ours, negative + 4 * (acted - negative)) < TOLERANCE
    assert run.history.num_passes == 2 + 2 + 3


def test_a_prompt_may_change_between_chunks_and_must_be_given_once() -> None:
    run = Run(3)
    run.history.set_text(run.negative)
    assert relative_error(run.ours(0.5), run.naive(0.5, negative=True)) < TOLERANCE
    with pytest.raises(ConfigError, match="negative prompt"):
        run.ours(0.5, text_guidance_scale=2.0)
    silent = FramePackHistory(run.model, EXACT, "camera")
    silent.push(run.past[None], run.rows[None, :3])
    with pytest.raises(ConfigError, match="reads text"):
        silent.velocity(run.noisy[None], 0.5, run.rows[None, 3:])


@pytest.mark.parametrize("num_latents", [1, 7, 20, 26])
def test_entering_rows_move_to_the_frame_that_the_motion_left(num_latents: int) -> None:
    run = Run(num_latents, placement="entering")
    table = torch.cat([run.rows[1:num_latents + 1], run.rows[num_latents:]])
    assert relative_error(run.ours(0.6), run.naive(0.6, table=table)) < TOLERANCE


@pytest.mark.parametrize("placement", ["leaving", "entering"])
def test_the_newest_control_is_seen_by_the_chunk_that_is_being_made(placement: str) -> None:
    run = Run(12, placement=placement)
    before = run.ours(0.6)
    run.rows[12] += 1.0  # the row of the first target, which enters it
    assert relative_error(run.ours(0.6), before) > 1e-3


@pytest.mark.parametrize("stream", [EXACT, KEPT])
def test_reset_forgets_the_past_and_only_the_window_is_kept(stream: StreamConfig) -> None:
    run, other = Run(30, stream=stream), Run(30, stream=stream)
    run.history.reset()
    run.history.push(run.past[None, 10:], run.rows[None, 10:30])
    assert run.history.num_latents == 20 and other.history.num_latents == 30
    assert torch.equal(run.ours(1.0), other.ours(1.0))


def test_kept_keys_equal_full_passes_with_the_first_pass_keys() -> None:
    run, keys = Run(9, stream=KEPT), ({}, {})
    for sigma in (1.0, 0.8, 0.3):
        noisy = torch.randn_like(run.noisy)
        ours = run.ours(sigma, noisy, guidance_scale=2.0)
        velocity = run.naive(sigma, noisy=noisy, first_keys=keys[0])
        null = run.naive(sigma, noisy=noisy, first_keys=keys[1], null_action=True)
        assert relative_error(ours, null + 2 * (velocity - null)) < TOLERANCE
        exact = run.naive(sigma, noisy=noisy) - run.naive(sigma, noisy=noisy, null_action=True)
        assert sigma == 1.0 or relative_error(velocity - null, exact) > 1e-5  # it is an approximation


def test_keys_are_made_anew_for_every_chunk_and_above_the_sigma_asked_for() -> None:
    run = Run(9, stream=StreamConfig(framepack_cache_sigma=0.8))
    assert relative_error(run.ours(1.0), run.naive(1.0)) < TOLERANCE
    assert relative_error(run.ours(0.8), run.naive(0.8)) < TOLERANCE  # made here
    assert relative_error(run.ours(0.5), run.naive(0.5)) > TOLERANCE
    assert relative_error(run.ours(1.0), run.naive(1.0)) < TOLERANCE  # another chunk: sigma rose again
    assert relative_error(run.ours(0.8), run.naive(0.8)) < TOLERANCE
    run.history.push(run.noisy[None], run.rows[None, 9:])
    run.past, run.rows = torch.cat([run.past, run.noisy]), torch.cat([run.rows, torch.randn(2, 4)])
    assert relative_error(run.ours(0.5), run.naive(0.5)) < TOLERANCE


def test_kept_keys_leave_only_the_targets_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = Run(9, stream=KEPT), []
    trunk = run.model.trunk
    monkeypatch.setattr(run.model, "trunk", lambda x, *rest: seen.append(x.shape[2]) or trunk(x, *rest))
    for sigma in (1.0, 0.7, 0.4):
        run.ours(sigma)
    packing = pack(9, 2)
    assert seen == [sum(packing.tokens(6, 10)), 30, 30]


def test_a_network_with_a_kv_cache_is_refused() -> None:
    with pytest.raises(ConfigError, match="kv_cache"):
        FramePackHistory(Transformer(dataclasses.replace(TINY, history="kv_cache")), EXACT, "camera")
