"""Rollouts that have strayed from the truth: what was seen is left be, and the critic is heard as loud as elsewhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fake_training import FakeData, parts, tiny_motion, tiny_recipe
from tiny_world import TINY_WORLD

from astra_play.model.anchor import mix
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream
from astra_play.train import world_loop
from astra_play.train.adversary import Adversary
from astra_play.train.losses import NoiseOptions, Past, resemblance, world_loss

QUIET = NoiseOptions(action_dropout=0.0, full_noise_prob=1.0, history_clean_prob=1.0, gap_prob=0.0)


def loss_of(keep_weight: float, past: Past, coverage: float = 1.0) -> tuple[float, float, torch.Tensor]:
    """Loss, the part that keeps, and the same part by hand."""
    torch.manual_seed(5)
    model = Transformer(dataclasses.replace(TINY_WORLD.model, anchor="moved", anchor_coverage=True, prediction="clean"))
    torch.nn.init.normal_(model.head.weight, std=0.1)
    clips = FakeData().sample(2, 5, 0.0, torch.Generator().manual_seed(3))
    anchors = torch.cat([past.anchors, torch.full_like(past.anchors[:, :, :1], coverage)], dim=2)
    options = dataclasses.replace(QUIET, keep_weight=keep_weight)
    loss, measured, predictions = world_loss(
        TwoStream(model, 5, 1, torch.device("cpu")), clips, Past(past.latents, anchors), options, "camera",
        torch.Generator().manual_seed(0))
    clean = predictions.clean[:, 0]
    expected = mix(anchors[:, 1:], None, clean.shape[2])
    alive = resemblance(past.latents, clips.latents, 1, options.own_tolerance)
    by_hand = torch.stack([(1 - alive[b, t]) * coverage * (clean[b, t] - expected[b, t]).square().mean()
                           for b in range(2) for t in range(4)]).mean()
    return loss.item(), measured.get("changed", 0.0), by_hand.detach()


def test_what_was_seen_is_left_be_where_the_past_has_strayed() -> None:
    true = FakeData().sample(2, 5, 0.0, torch.Generator().manual_seed(3)).latents
    strayed = Past(true + 3.0, true.clone())
    without, _, _ = loss_of(0.0, strayed)
    loss, changed, by_hand = loss_of(0.5, strayed)
    assert changed == pytest.approx(by_hand.item(), rel=1e-4) and changed > 0.01
    assert loss - without == pytest.approx(0.5 * changed, rel=1e-3)


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_nothing_is_kept_on_a_true_past_or_where_nothing_was_seen(coverage: float) -> None:
    true = FakeData().sample(2, 5, 0.0, torch.Generator().manual_seed(3)).latents
    past = Past(true if coverage else true + 3.0, true.clone())
    assert loss_of(0.5, past, coverage)[1] == pytest.approx(0.0, abs=1e-6)


def test_loudness_is_a_running_mean_that_a_resumed_run_goes_on_with() -> None:
    adversary = Adversary(TINY_WORLD.model, torch.device("cpu"), 0, lr=2e-3, penalty=0.01, hidden=16, num_blocks=1)
    assert adversary.average_loudness(2.0) == pytest.approx(2.0)
    assert adversary.average_loudness(0.0) == pytest.approx(1.9)
    other = Adversary(TINY_WORLD.model, torch.device("cpu"), 1, lr=2e-3, penalty=0.01, hidden=16, num_blocks=1)
    other.restore(adversary.state())
    assert other.average_loudness(1.0) == pytest.approx(adversary.average_loudness(1.0)) == pytest.approx(1.855)


def test_the_critic_pushes_a_strayed_batch_as_hard_as_a_true_one(monkeypatch) -> None:
    """The error's own gradient of a strayed batch is nothing; a critic scaled by that alone would be silent there."""
    training = world_loop.WorldTraining(tiny_recipe(critic_from_step=0, critic_warmup_steps=1, critic_share=1.0,
                                                    critic_late_share=1.0, rollout_from_step=10**9),
                                        parts(FakeData(), tiny_motion()), TINY_WORLD)
    training.step = 4
    pushes = []

    def record(loss, predictions):
        pushed, judged = original(loss, predictions)
        gradient = torch.autograd.grad(pushed - loss, predictions.clean, retain_graph=True)[0]
        pushes.append(float(gradient.norm()))
        return pushed, judged

    original = training._with_critic
    monkeypatch.setattr(training, "_with_critic", record)
    training.step_once()
    monkeypatch.setattr(world_loop, "true_past", lambda clips, frames, motion: strayed(clips, frames, motion))
    from astra_play.train.losses import true_past

    def strayed(clips, frames, motion):
        past = true_past(clips, frames, motion)
        return Past(past.latents + 100.0, past.anchors, past.block_errors)

    training.step_once()
    assert pushes[1] == pytest.approx(0.95 * pushes[0], rel=0.05)
