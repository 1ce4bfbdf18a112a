"""What the world learns from: targets behind noise, a past that is lightly noised or the network's own, actions
sometimes hidden."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import StreamConfig
from ..model.anchor import Anchor, repeat_last
from ..model.experts import load_balance_loss
from ..model.history import CausalHistory
from ..model.sampler import add_noise, euler
from ..model.transformer import Transformer
from ..model.two_stream import TwoStream, TwoStreamBatch
from .latents import Clips


@dataclass(frozen=True)
class NoiseOptions:
    """Probabilities and levels of everything that training disturbs."""

    full_noise_prob: float = 0.5  # targets at sigma 1, where a one-pass world spends its life
    history_sigma_max: float = 0.25
    history_clean_prob: float = 0.4  # per clip
    action_dropout: float = 0.1  # per clip: all target actions hidden
    gap_prob: float = 0.3
    balance_weight: float = 0.01  # of the router's load-balance term
    own_tolerance: float = 0.3  # mean squared distance of the own past from the true one at which a target counts 1 / e


def draw_sigmas(batch: int, frames: int, options: NoiseOptions, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return target sigmas and history sigmas, both (B, T), drawn independently of each other."""
    target = torch.rand(batch, frames, generator=generator).clamp_min(0.02)
    full = torch.rand(batch, frames, generator=generator) < options.full_noise_prob
    history = torch.rand(batch, frames, generator=generator) * options.history_sigma_max
    clean = torch.rand(batch, 1, generator=generator) < options.history_clean_prob
    return target.masked_fill(full, 1.0), history.masked_fill(clean, 0.0)


def energy_score(samples: Tensor, target: Tensor, spread: Tensor, patch: tuple[int, int]) -> Tensor:
    """Return the energy score of two samples per target, (B, P): low when samples are spread as the truth is.

    `samples` (B, 2, P, C, H, W), `target` (B, P, C, H, W), `spread` (B, P) how much of the repulsion counts. Score =
    mean |sample - target| - 1/2 |sample - sample'| with root-mean-square distances, once over the whole latent frame
    and once over each token's patch. A proper scoring rule (Gneiting and Raftery 2007, section 4.3; for denoisers
    arXiv 2502.02483): the mean of all possible pictures, which is a blur, scores worse than one of them.
    """
    def distances(a: Tensor, b: Tensor) -> Tensor:
        squared = (a - b).square().mean(dim=-3)  # (..., H, W)
        patches = squared.unflatten(-1, (-1, patch[1])).unflatten(-3, (-1, patch[0])).mean(dim=(-3, -1))
        return 0.5 * ((patches + 1e-6).sqrt().mean(dim=(-2, -1)) + (squared.mean(dim=(-2, -1)) + 1e-6).sqrt())

    truth = 0.5 * (distances(samples[:, 0], target) + distances(samples[:, 1], target))
    return truth - 0.5 * spread * distances(samples[:, 0], samples[:, 1])


def world_loss(two_stream: TwoStream, clips: Clips, past: Tensor, options: NoiseOptions, modality: str,
               generator: torch.Generator, anchor: Anchor = repeat_last) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one batch and its parts.

    `past` (B, T, C, H, W) is what the history stream shows: the clips' own latents (teacher forcing) or a rollout of
    the network under the same actions (self-forcing); the targets are always the true latents. With one sample per
    target the loss is the mean squared error of the predicted clean latents, which at sigma 1 is the velocity's own
    error. With two it is their energy score, whose repulsion counts where a target starts from pure noise.
    """
    batch, frames = past.shape[:2]
    first, num_samples = two_stream.frames_per_chunk, two_stream.num_samples
    # Drawn on the CPU whatever the device, so that a resumed run draws what the killed one would have drawn.
    sigma, history_sigma = (s.to(past.device) for s in draw_sigmas(batch, frames, options, generator))
    noise = torch.randn(past.shape, generator=generator).to(past.device)
    history = add_noise(past, noise, history_sigma[:, :, None, None, None])
    target, sigma = clips.latents[:, first:], sigma[:, first:]
    noise = torch.randn((batch, num_samples, *target.shape[1:]), generator=generator).to(past.device)
    noisy = add_noise(target[:, None], noise, sigma[:, None, :, None, None, None]).flatten(1, 2)
    null = (torch.rand(batch, 1, generator=generator) < options.action_dropout).to(past.device)
    null = null.expand(-1, frames - first)
    turned, still = clip_anchors(history, clips.rows, first, anchor)
    # At play a frame after the sink was anchored by its true predecessor, which a clip with a gap no longer holds; the
    # frame itself comes nearest to that.
    gap = clips.is_gap[:, None, None, None]
    turned = torch.cat([turned[:, :first], torch.where(gap, history[:, first], turned[:, first])[:, None],
                        turned[:, first + 1:]], dim=1)
    target_anchor = torch.where(null[:, :, None, None, None], still[:, first:], turned[:, first:])
    clean, routing = two_stream(TwoStreamBatch(
        history, history_sigma, noisy, sigma.repeat(1, num_samples), clips.rows, modality, turned,
        target_anchor.repeat(1, num_samples, 1, 1, 1), null.repeat(1, num_samples)))
    clean = clean.float().unflatten(1, (num_samples, -1))
    error = (clean - target[:, None]).square().mean(dim=(1, 3, 4, 5))
    follows = torch.ones_like(error)
    follows[:, :first] = (~clips.is_gap).float()[:, None]  # nothing can foretell the frame after a gap
    follows = follows * resemblance(past, clips.latents, first, options.own_tolerance)
    full = (sigma == 1.0).float()
    loss = error
    parts = {"mse": _mean(error, follows), "mse_sigma1": _mean(error, follows * full)}
    if num_samples == 2:
        loss = energy_score(clean, target, full, two_stream.model.config.patch_size[1:])
        spread = (clean[:, 0] - clean[:, 1]).square().mean(dim=(2, 3, 4)) / 2
        parts |= {"score": _mean(loss, follows), "spread": _mean(spread, follows * full)}
    balance = load_balance_loss(routing)
    parts = {name: value.item() for name, value in parts.items()} | {"balance": balance.item()}
    return _mean(loss, follows) + options.balance_weight * balance, parts


def resemblance(past: Tensor, truth: Tensor, frames_per_chunk: int, tolerance: float) -> Tensor:
    """Weight of each target, (B, P): 1 where the past shown is the true one, less the further it has strayed.

    A past that went another way makes the true next frame impossible, and learning it all the same teaches to fade out
    whatever is in view. Small errors keep their weight: putting those right is what rollouts are for.
    """
    c = frames_per_chunk
    strayed = (past - truth)[:, c - 1:-1:c].square().mean(dim=(2, 3, 4))
    return torch.exp(-strayed / tolerance).repeat_interleave(c, dim=1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


@torch.no_grad()
def clip_anchors(history: Tensor, rows: Tensor, frames_per_chunk: int, anchor: Anchor) -> tuple[Tensor, Tensor]:
    """Anchors of every latent frame of clips, both (B, T, C, H, W): under its action, and under no action.

    The frame before a chunk anchors all of its frames; the first chunk is anchored by its own first frame.
    """
    c, batch = frames_per_chunk, len(history)
    last = torch.cat([history[:, :1], history[:, c - 1:-1:c]], dim=1)
    still = last.repeat_interleave(c, dim=1)
    # All chunks after the first as one long batch: they turn independently of each other.
    turned = anchor(last[:, 1:].flatten(0, 1)[:, None], rows[:, c:].unflatten(1, (-1, c)).flatten(0, 1))
    turned = torch.cat([still[:, :c], turned.flatten(0, 1).unflatten(0, (batch, -1))], dim=1)
    return turned, still


@torch.no_grad()
def rollout_past(model: Transformer, stream: StreamConfig, clips: Clips, num_true: int, modality: str,
                 generator: torch.Generator, anchor: Anchor = repeat_last) -> Tensor:
    """Let the network play the clips itself: the first `num_true` latent frames are true, the rest its own.

    Returns (B, T, C, H, W). Each chunk is denoised with the world's own schedule behind the same cache as at play.
    """
    batch, frames = clips.latents.shape[:2]
    c = stream.latent_frames_per_chunk
    history = CausalHistory(model, stream, modality, batch, anchor)
    past = [clips.latents[:, t:t + c] for t in range(0, num_true, c)]
    for t in range(0, frames - c, c):
        history.push(past[t // c], clips.rows[:, t:t + c])
        if len(past) > t // c + 1:  # the next chunk is given
            continue
        following = slice(t + c, t + 2 * c)
        noise = torch.randn(clips.latents[:, following].shape, generator=generator).to(clips.latents.device)
        rows = clips.rows[:, following]
        clean = euler(lambda x, s, rows=rows: history.velocity(x, s, rows).float(), noise, stream.sigmas)
        past.append(history.settle(clean, rows))
    return torch.cat(past, dim=1)
