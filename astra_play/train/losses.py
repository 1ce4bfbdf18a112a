"""What the world learns from: targets behind noise, a past that is lightly noised or the network's own, actions
sometimes hidden."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import StreamConfig
from ..model.anchor import CameraMotion, mix
from ..model.carried import carry
from ..model.experts import load_balance_loss
from ..model.free_run import FreeRun
from ..model.place_picture import PlaceMotion
from ..model.sampler import add_noise
from ..model.still_camera import StillCamera
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
    share_weight: float = 0.0  # of how wrong, in pixels, each block is where the network sends it (share_error)
    # Of leaving be what was truly seen where the own past has strayed: the truth says nothing there, and a critic alone
    # would repaint every frame.
    keep_weight: float = 0.0
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


@dataclass(frozen=True)
class Past:
    """What the history stream shows, (B, T, C, H, W), and what was expected of each frame (model/anchor.py).

    The clips' own latents (teacher forcing), or a rollout of the network under the same actions (self-forcing).
    """

    latents: Tensor
    anchors: Tensor
    block_errors: Tensor | None = None  # of the anchor and its hypotheses, (B, T, 1 + K, blocks, H, W); 0 if unknown


@dataclass(frozen=True)
class Predictions:
    """What the network made of the targets: (B, S, P, C, H, W) predicted and (B, P, C, H, W) true clean latents.

    `from_noise` (B, P) is 1 for targets that started from pure noise.
    """

    clean: Tensor
    target: Tensor
    from_noise: Tensor


def world_loss(two_stream: TwoStream, clips: Clips, past: Past, options: NoiseOptions, modality: str,
               generator: torch.Generator) -> tuple[Tensor, dict[str, float], Predictions]:
    """Return the loss of one batch, its parts, and the predictions that it judged.

    The targets are always the true latents. With one sample per target the loss is the mean squared error of the
    predicted clean latents, which at sigma 1 is the velocity's own error. With two it is their energy score, whose
    repulsion counts where a target starts from pure noise.
    """
    batch, frames = past.latents.shape[:2]
    first, num_samples = two_stream.frames_per_chunk, two_stream.num_samples
    # Drawn on the CPU whatever the device, so that a resumed run draws what the killed one would have drawn.
    device = past.latents.device
    sigma, history_sigma = (s.to(device) for s in draw_sigmas(batch, frames, options, generator))
    channels, coverage = past.latents.shape[2], two_stream.model.config.anchor_coverage
    history, anchors = (add_noise(x, torch.randn(x.shape, generator=generator).to(device), s[:, :, None, None, None])
                        for x, s in ((past.latents, history_sigma),
                                     (past.anchors[:, :, :channels], noise_before(history_sigma, first))))
    # Coverage is a fact, and hypotheses are shown to nobody: no noise hides them.
    anchors = torch.cat([anchors, past.anchors[:, :, channels:]], dim=2)
    target, sigma = clips.latents[:, first:], sigma[:, first:]
    noise = torch.randn((batch, num_samples, *target.shape[1:]), generator=generator).to(device)
    noisy = add_noise(target[:, None], noise, sigma[:, None, :, None, None, None]).flatten(1, 2)
    null = (torch.rand(batch, 1, generator=generator) < options.action_dropout).to(device)
    null = null.expand(-1, frames - first)
    # A target without its action does not know that the camera turned, so its anchor is left where it was.
    still = alike(still_anchors(history, first, coverage), anchors)
    target_anchor = torch.where(null[:, :, None, None, None], still[:, first:], anchors[:, first:])
    result = two_stream(TwoStreamBatch(
        history, history_sigma, noisy, sigma.repeat(1, num_samples), clips.rows, modality, anchors,
        target_anchor.repeat(1, num_samples, 1, 1, 1), null.repeat(1, num_samples)))
    clean = result.clean.float().unflatten(1, (num_samples, -1))
    error = (clean - target[:, None]).square().mean(dim=(1, 3, 4, 5))
    follows = torch.ones_like(error)
    follows[:, :first] = (~clips.is_gap).float()[:, None]  # at play no target follows across a gap
    alive = resemblance(past.latents, clips.latents, first, options.own_tolerance)
    follows = follows * alive
    full = (sigma == 1.0).float()
    loss = error
    parts = {"mse": _mean(error, follows), "mse_sigma1": _mean(error, follows * full)}
    if num_samples == 2:
        loss = energy_score(clean, target, full, two_stream.model.config.patch_size[1:])
        spread = (clean[:, 0] - clean[:, 1]).square().mean(dim=(2, 3, 4)) / 2
        parts |= {"score": _mean(loss, follows), "spread": _mean(spread, follows * full)}
    balance = load_balance_loss(result.routing)
    loss = _mean(loss, follows) + options.balance_weight * balance
    parts["balance"] = balance
    if options.share_weight and past.block_errors is not None and result.shares is not None:
        wrong = share_error(result.shares.unflatten(1, (num_samples, -1)), past.block_errors[:, first:])
        parts["share_error"] = _mean(wrong, follows * ~null)
        loss = loss + options.share_weight * parts["share_error"]
    if options.keep_weight and coverage:
        expected = mix(target_anchor, None if result.shares is None else result.shares[:, :frames - first], channels)
        changed = (clean[:, 0] - expected.detach()).square().mean(dim=2)
        parts["changed"] = ((1 - alive)[:, :, None, None] * target_anchor[:, :, channels] * changed).mean()
        loss = loss + options.keep_weight * parts["changed"]
    parts = {name: value.item() for name, value in parts.items()}
    return loss, parts, Predictions(clean, target, full)


def share_error(shares: Tensor, block_errors: Tensor) -> Tensor:
    """Mean error in pixels that shares (B, S, P, K, blocks, H, W) of the hypotheses choose, (B, P).

    `block_errors` (B, P, 1 + K, blocks, H, W). The error of a mixture would be least for a blur; this is the mixture of
    the errors, which is least where every block is given wholly to the hypothesis that is right there.
    """
    whole = torch.cat([1 - shares.sum(dim=3, keepdim=True), shares], dim=3)
    return (whole * block_errors[:, None]).sum(dim=3).mean(dim=(1, 3, 4, 5))


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


def noise_before(history_sigma: Tensor, frames_per_chunk: int) -> Tensor:
    """Noise levels of anchors, (B, T): that of the latent frame before the chunk, from which the anchor is made."""
    c = frames_per_chunk
    before = torch.cat([history_sigma[:, :1], history_sigma[:, c - 1:-1:c]], dim=1)
    return before.repeat_interleave(c, dim=1)


def still_anchors(history: Tensor, frames_per_chunk: int, coverage: bool = False) -> Tensor:
    """The frame before each chunk as the anchor of every frame of it, (B, T, C or C + 1, H, W).

    The first chunk gets its own first frame.
    """
    c = frames_per_chunk
    last = torch.cat([history[:, :1], history[:, c - 1:-1:c]], dim=1).repeat_interleave(c, dim=1)
    return torch.cat([last, torch.ones_like(last[:, :, :1])], dim=2) if coverage else last


def alike(anchors: Tensor, example: Tensor) -> Tensor:
    """Anchors (B, T, K, H, W) with as many channels as the example: hypotheses that change nothing."""
    missing = example.shape[2] - anchors.shape[2]
    return torch.nn.functional.pad(anchors, (0, 0, 0, 0, 0, missing)) if missing else anchors


@torch.no_grad()
def true_past(clips: Clips, frames_per_chunk: int, motion: CameraMotion | None) -> Past:
    """The clips' own latents, and what was to be expected of each chunk after its true predecessor."""
    c, batch = frames_per_chunk, len(clips.latents)
    still = still_anchors(clips.latents, c, motion is not None and motion.coverage)
    if motion is None:
        return Past(clips.latents, still)
    if isinstance(motion, StillCamera | PlaceMotion):
        return _carried_past(clips, c, motion, still)
    # All chunks after the first as one long batch: they move independently of each other.
    pictures = clips.pictures_before(slice(c, None, c)).flatten(0, 1)
    rows = clips.rows[:, c:].unflatten(1, (-1, c)).flatten(0, 1)
    moved, _, anchors = motion.expect(pictures, rows)
    others = motion.other_pictures(pictures, rows)
    anchors = motion.offer(anchors, moved, others).flatten(0, 1).unflatten(0, (batch, -1))
    errors = None
    if others is not None:
        moved, others = (x.flatten(0, 1).unflatten(0, (batch, -1)) for x in (moved, others))
        truth = clips.pictures_before(slice(c + 1, None))
        errors = _with_ends(motion.block_errors(moved[:, :-1], others[:, :-1], truth), c)
    return Past(clips.latents, torch.cat([alike(still[:, :c], anchors), anchors], dim=1), errors)


def _carried_past(clips: Clips, chunk: int, motion: StillCamera | PlaceMotion, still: Tensor) -> Past:
    """`true_past` of what is made of a clip's first picture and goes on from there, chunk by chunk: of a hand that is
    cut out of it, over a table that remembers, or of a place that is set up in it."""
    carried, anchors, errors = carry(motion, motion.paint, 0.0), [], []
    for t in range(chunk, clips.latents.shape[1], chunk):
        (carried.show if t == chunk else carried.carry_on)(clips.pictures_before(t))
        anchors.append(carried.expect(clips.rows[:, t:t + chunk]))
        if t < clips.latents.shape[1] - chunk:
            errors.append(carried.block_errors(clips.pictures_before(slice(t + 1, t + chunk + 1))))
    made = torch.cat(anchors, dim=1)
    known = errors and errors[0] is not None
    return Past(clips.latents, torch.cat([alike(still[:, :chunk], made), made], dim=1),
                torch.nn.functional.pad(torch.cat(errors, dim=1), (0,) * 8 + (chunk, chunk)) if known else None)


def _with_ends(errors: Tensor, before: int) -> Tensor:
    """Errors (B, T - before - 1, ...) with zeros where they are not known: the first frames and the last, whose own
    picture a clip does not hold."""
    return torch.nn.functional.pad(errors, (0,) * 8 + (before, 1))


@torch.no_grad()
def own_past(model: Transformer, stream: StreamConfig, clips: Clips, num_true: int, modality: str,
             generator: torch.Generator, motion: CameraMotion | None = None) -> Past:
    """Let the network play the clips itself: the first `num_true` latent frames are true, the rest its own.

    Each chunk is denoised with the world's own schedule behind the same cache as at play. Pictures are painted by the
    encoder's mirror instead of the decoder, which would cost more than everything else together.
    """
    batch, frames = clips.latents.shape[:2]
    c = stream.latent_frames_per_chunk
    carried = carry(motion, motion.paint, stream.detail_leak) if motion else None
    run = FreeRun(model, stream, modality, batch, carried)
    latents, anchors, errors = [], [], []
    for t in range(0, frames, c):
        rows = clips.rows[:, t:t + c]
        if t < num_true:
            latents.append(clips.latents[:, t:t + c])
            anchors.append(run.show(latents[-1], rows, clips.pictures_before(t + c) if motion else None, t > 0))
        else:
            noise = torch.randn(clips.latents[:, t:t + c].shape, generator=generator).to(clips.latents.device)
            made = run.generate(noise, rows, stream.sigmas)
            latents.append(run.paint()[1] if motion else made)
            anchors.append(run.anchor)
        if motion and 0 < t < frames - c:
            errors.append(carried.block_errors(clips.pictures_before(slice(t + 1, t + c + 1))))
    known = errors and errors[0] is not None
    return Past(torch.cat(latents, dim=1), torch.cat([alike(own, anchors[-1]) for own in anchors], dim=1),
                torch.nn.functional.pad(torch.cat(errors, dim=1), (0,) * 8 + (c, c)) if known else None)
