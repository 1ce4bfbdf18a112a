"""Multistep solvers: fewer network calls for the same picture, where `sampler.euler` would need more steps.

Every solver takes (velocity function, noise, sigmas) like `sampler.euler` and calls the network once per interval. Both
work on the clean latents that a velocity implies, clean = noisy - sigma velocity, and remember the ones before. With
alpha = 1 - sigma and lambda = log(alpha / sigma), the exact solution over an interval from s to t is

    x_t = (t / s) x_s + t * integral of e^lambda clean(lambda) d lambda,

of which "clean stays as it is" gives Euler's step, and what is added here is the change of clean along lambda.

DPM-Solver++ 2M: Lu et al. 2022, arXiv 2211.01095, algorithm 2. UniPC of order 2 with B(h) = e^h - 1: Zhao et al. 2023,
arXiv 2302.04867, section 3. Both are of second order; the last interval, down to sigma 0, is one of Euler's steps,
because lambda has no end there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from .sampler import euler

Velocity = Callable[[Tensor, float], Tensor]
Solver = Callable[[Velocity, Tensor, Sequence[float]], Tensor]


def dpmpp(predict_velocity: Velocity, noise: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Walk from noise to clean latents by DPM-Solver++ 2M: clean latents are extrapolated from the last two."""
    noisy, last_clean = noise, None
    for i, (sigma, sigma_next) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        clean = noisy - sigma * predict_velocity(noisy, sigma)
        expected = clean
        if last_clean is not None and sigma_next > 0:
            ratio = _length_before(sigmas, i) / _length(sigma, sigma_next)
            expected = clean + (clean - last_clean) / (2 * ratio)
        noisy = _hold(noisy, expected, sigma, sigma_next)
        last_clean = clean
    return noisy


def unipc(predict_velocity: Velocity, noise: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Walk from noise to clean latents by UniPC: each network call also corrects the step that led to it."""
    noisy = before = noise  # `before`: the corrected latents at the beginning of the step just made
    cleans: list[Tensor] = []  # at most the last two
    for i, (sigma, sigma_next) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        clean = noisy - sigma * predict_velocity(noisy, sigma)
        if cleans:
            noisy = _corrected(before, cleans, clean, sigmas, i - 1)
        before = noisy
        noisy = _hold(before, clean, sigma, sigma_next)
        if cleans and sigma_next > 0:
            length = _length(sigma, sigma_next)
            slope = (clean - cleans[-1]) / (_length_before(sigmas, i) / length)
            noisy = noisy - (1 - sigma_next) * math.expm1(-length) * 0.5 * slope
        cleans = [*cleans[-1:], clean]
    return noisy


SOLVERS: dict[str, Solver] = {"euler": euler, "dpmpp": dpmpp, "unipc": unipc}


def _corrected(before: Tensor, cleans: list[Tensor], reached: Tensor, sigmas: Sequence[float], i: int) -> Tensor:
    """Return the end of interval i again, now that the clean latents there (`reached`) are known.

    `cleans` ends with the clean latents at the beginning of the interval.
    """
    sigma, sigma_next = sigmas[i], sigmas[i + 1]
    length = _length(sigma, sigma_next)
    scale = math.expm1(-length)  # -1 where the interval begins in pure noise and has no length
    change = 0.5 * (reached - cleans[-1])
    if len(cleans) > 1:
        # the two conditions of order for the weights of the change before and the change in this interval
        first = (scale / -length - 1) / scale
        second = 2 * ((scale / -length - 1) / -length - 0.5) / scale
        ratio = _length_before(sigmas, i) / length
        past_weight = (first - second) / (1 + ratio)
        change = past_weight / ratio * (cleans[-1] - cleans[-2]) + (first - past_weight) * (reached - cleans[-1])
    return _hold(before, cleans[-1], sigma, sigma_next) - (1 - sigma_next) * scale * change


def _hold(noisy: Tensor, clean: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Take one step while clean latents stay as they are."""
    return sigma_next / sigma * noisy + (1 - sigma_next / sigma) * clean


def _length(sigma: float, sigma_next: float) -> float:
    """Return how far lambda moves over an interval; infinite from pure noise."""
    return math.log((1 - sigma_next) / sigma_next) - math.log((1 - sigma) / sigma) if sigma < 1 else math.inf


def _length_before(sigmas: Sequence[float], i: int) -> float:
    """Return the length of the interval before interval i, which slopes are divided by.

    An interval that begins in pure noise has no length on lambda, but the clean latents have a slope: near sigma 1
    they run straight in sigma, and d lambda = -d sigma / (sigma (1 - sigma)) makes their slope at its end sigma times
    their change. A slope of zero, which an infinite length would give, costs the second step its order.
    """
    return _length(sigmas[i - 1], sigmas[i]) if sigmas[i - 1] < 1 else 1 / sigmas[i]
