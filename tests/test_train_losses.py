"""Losses of training: who sees whom, what counts how much, how noisy it is, rollouts and the critic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fake_training import FakeData, parts, tiny_motion, tiny_recipe
from naive import naive_blur_ahead
from test_kv_cache import relative_error
from tiny_world import TINY_WORLD

from astra_play.config import StreamConfig
from astra_play.model.history import CausalHistory
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream, two_stream_mask
from astra_play.train import world_loop
from astra_play.train.adversary import Adversary
from astra_play.train.losses import (
    NoiseOptions,
    Past,
    Predictions,
    draw_sigmas,
    energy_score,
    noise_before,
    own_past,
    resemblance,
    world_loss,
)
from astra_play.train.replicas import ALONE


def test_training_lowers_the_loss_on_what_it_sees() -> None:
    data = FakeData()
    recipe = tiny_recipe(num_steps=60, rollout_from_step=10**9, energy_from_step=10**9, critic_from_step=10**9)
    training = world_loop.WorldTraining(recipe, parts(data, tiny_motion()), TINY_WORLD)
    losses = [training.step_once()["mse"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_mask_shows_each_token_exactly_its_past() -> None:
    frames, per_chunk, tokens = 6, 2, 3
    mask = two_stream_mask(frames, per_chunk, tokens, torch.device("cpu"))
    streams = [("clean", t) for t in range(4)] + [("noisy", t) for t in range(2, 6)]
    for i, (query_stream, query) in enumerate(streams):
        for j, (key_stream, key) in enumerate(streams):
            q, k = query // per_chunk, key // per_chunk
            allowed = (k <= q if query_stream == "clean" else k < q) if key_stream == "clean" else (
                query_stream == "noisy" and k == q)
            block = mask[i * tokens:(i + 1) * tokens, j * tokens:(j + 1) * tokens]
            assert block.all() == allowed and block.any() == allowed, (streams[i], streams[j])


def test_no_target_can_see_itself_or_the_future() -> None:
    torch.manual_seed(1)
    model = Transformer(TINY_WORLD.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    clips = FakeData().sample(1, 5, 0.0, torch.Generator().manual_seed(3))
    history = clips.latents.clone().requires_grad_()
    two_stream = TwoStream(model, 5, 1, torch.device("cpu"))
    options = NoiseOptions(history_sigma_max=0.0, action_dropout=0.0)
    seen = {}
    original = two_stream.__call__

    class Spy:
        frames_per_chunk = num_samples = 1
        model = two_stream.model

        def __call__(self, batch):
            result = original(batch)
            seen["clean"] = result.clean
            return result

    past = Past(history, torch.randn(history.shape))
    world_loss(Spy(), clips, past, options, "camera", torch.Generator().manual_seed(0))
    for target in range(1, 5):
        gradient, = torch.autograd.grad(seen["clean"][:, target - 1].sum(), history, retain_graph=True)
        reaches = gradient.abs().sum(dim=(0, 2, 3, 4)) > 0
        assert reaches.tolist() == [t < target for t in range(5)], target


def test_samples_of_a_target_do_not_see_each_other() -> None:
    mask = two_stream_mask(4, 1, 1, torch.device("cpu"), num_samples=2)
    single = two_stream_mask(4, 1, 1, torch.device("cpu"))
    first, second = list(range(6)), [0, 1, 2, 6, 7, 8]
    for kept in (first, second):
        assert torch.equal(mask[kept][:, kept], single)
    assert not mask[3:6, 6:].any() and not mask[6:, 3:6].any()


def test_energy_score_prefers_a_spread_that_matches_the_truth() -> None:
    """Truth is +1 or -1 everywhere, by chance: the mean (0) must score worse than drawing either."""
    torch.manual_seed(0)
    truth = torch.randn(4000, 1, 1, 1, 1).sign().expand(-1, -1, 2, 2, 2)
    spread = torch.ones(4000, 1)

    def score(samples: torch.Tensor) -> float:
        return energy_score(samples, truth, spread, (2, 2)).mean().item()

    drawn = torch.randn(4000, 2, 1, 1, 1, 1).sign().expand(-1, -1, -1, 2, 2, 2)
    assert score(drawn) == pytest.approx(0.5, abs=0.03)  # E|X-y| = 1, E|X-X'| = 1
    assert score(torch.zeros_like(drawn)) == pytest.approx(1.0, abs=0.01)
    assert score(drawn.abs()) == pytest.approx(1.0, abs=0.03)  # always the same picture is no better


@pytest.mark.parametrize("chunk", [1, 2])
def test_targets_count_by_how_true_the_past_before_their_chunk_is(chunk: int) -> None:
    truth = torch.randn(2, 6, 3, 4, 4)
    past = truth.clone()
    past[1, 3] += 0.5  # mean squared distance 0.25 in frame 3 of the second clip
    weights = resemblance(past, truth, chunk, tolerance=0.25)
    assert weights.shape == (2, 6 - chunk)
    expected = torch.ones(6 - chunk)
    after = {1: [3], 2: [2, 3]}[chunk]  # targets whose chunk follows frame 3
    expected[after] = math.exp(-1.0)
    assert torch.allclose(weights[1], expected) and torch.equal(weights[0], torch.ones(6 - chunk))


def test_noise_levels_of_history_and_target_are_independent_and_as_configured() -> None:
    options = NoiseOptions(full_noise_prob=0.5, history_sigma_max=0.3, history_clean_prob=0.4)
    target, history = draw_sigmas(4000, 4, options, torch.Generator().manual_seed(0))
    assert (target == 1.0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    clean = (history == 0).all(dim=1)
    assert clean.float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert 0 < history[~clean].min() and history.max() <= 0.3 and target.min() >= 0.02
    assert abs(np.corrcoef(target[~clean].flatten(), history[~clean].flatten())[0, 1]) < 0.03


@pytest.mark.parametrize("carries", [False, True])
def test_a_rollout_starts_true_and_goes_on_as_the_player_would(carries: bool) -> None:
    torch.manual_seed(2)
    model = Transformer(TINY_WORLD.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    stream = StreamConfig(sink_chunks=1, ring_chunks=3, sigmas=(1.0, 0.0))
    clips = FakeData().sample(2, 6, 0.0, torch.Generator().manual_seed(0))
    motion = tiny_motion() if carries else None
    past = own_past(model, stream, clips, 2, "camera", torch.Generator().manual_seed(7), motion)
    assert torch.equal(past.latents[:, :2], clips.latents[:, :2]) and past.latents.shape == clips.latents.shape
    noise = torch.Generator().manual_seed(7)
    history = CausalHistory(model, stream, "camera", batch=2)
    picture = clips.pictures_before(2)
    with torch.no_grad():
        for t in range(5):
            history.push(past.latents[:, t:t + 1], clips.rows[:, t:t + 1], past.anchors[:, t:t + 1])
            if t == 0:
                continue
            row, anchor = clips.rows[:, t + 1:t + 2], past.latents[:, t:t + 1]
            if carries:
                moved, _, anchor = motion.expect(picture, row)
            assert relative_error(past.anchors[:, t + 1:t + 2], anchor) < 1e-5
            noisy = torch.randn(2, 1, 4, 4, 4, generator=noise)
            expected = noisy - history.velocity(noisy, 1.0, row, anchor=anchor)
            if carries:
                moved = torch.stack([naive_blur_ahead(one[0], own[0], TINY_WORLD.controls)
                                     for one, own in zip(moved, row, strict=True)])
                detail = moved - motion.paint(anchor[:, 0])
                picture = (motion.paint(expected[:, 0]) + (1 - stream.detail_leak) * detail).clamp(-1, 1)
                expected = motion.encode(picture)[:, None]
            assert relative_error(past.latents[:, t + 1:t + 2], expected) < 1e-4


@pytest.mark.parametrize("chunk", [1, 2])
def test_an_anchor_is_as_noisy_as_the_frame_it_comes_from(chunk: int) -> None:
    sigma = torch.rand(2, 6)
    before = noise_before(sigma, chunk)
    for t in range(6):
        assert torch.equal(before[:, t], sigma[:, max(0, t // chunk * chunk - 1)])


def test_the_critic_pulls_predictions_towards_what_is_true() -> None:
    """Truth is +1 or -1, a prediction their mean: the push leads away from 0, and only where noise was the start."""
    torch.manual_seed(0)
    adversary = Adversary(TINY_WORLD.model, torch.device("cpu"), 0, lr=2e-3, penalty=0.01, hidden=16, num_blocks=1)
    for _ in range(150):
        target = torch.randn(8, 4, 1, 1, 1).sign().expand(-1, -1, 4, 4, 4)
        clean = 0.3 * torch.randn(8, 1, 4, 1, 1, 1).expand(-1, -1, -1, 4, 4, 4)
        from_noise = torch.ones(8, 4)
        from_noise[:, 0] = 0
        push, parts = adversary.judge(Predictions(clean, target, from_noise), 16, ALONE)
    assert parts["critic_margin"] > 0.2
    moved = (push != 0).flatten(3).any(dim=3)[:, 0]
    assert moved.sum() == 16 and not moved[:, 0].any()
    outward = (push[:, 0] * clean[:, 0]).flatten(2).sum(dim=2)[moved]  # a loss falls against its gradient
    assert (outward < 0).float().mean() > 0.8


def test_a_critic_with_nothing_to_judge_pushes_nowhere_and_stays_as_it_is() -> None:
    adversary = Adversary(TINY_WORLD.model, torch.device("cpu"), 0, lr=2e-3, penalty=0.01, hidden=16, num_blocks=1)
    before = [p.detach().clone() for p in adversary.critic.parameters()]
    predictions = Predictions(torch.randn(2, 1, 4, 4, 4, 4), torch.randn(2, 4, 4, 4, 4), torch.zeros(2, 4))
    push, measured = adversary.judge(predictions, 16, ALONE)
    assert push.shape == predictions.clean.shape and not push.any() and measured == {}
    broken = Predictions(predictions.clean * math.nan, predictions.target, torch.ones(2, 4))
    adversary.judge(broken, 16, ALONE)  # a batch that overflowed teaches it nothing
    assert adversary.average_loudness(2.0) == adversary.average_loudness(math.nan)
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.critic.parameters(), strict=True))
