"""Slow, obvious twins of the multistep solvers, straight from their papers in float64, and a flow with known ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Flow = Callable[[np.ndarray, float], np.ndarray]


class GaussianFlow:
    """Clean data is normal with the given mean and deviation per value; velocity and every path are known exactly."""

    def __init__(self, size: int = 512, deviation: float = 1.0) -> None:
        random = np.random.default_rng(5)
        self.mean, self.deviation = random.normal(size=size), deviation
        self.noise = random.normal(size=size)
        self.num_calls = 0

    def velocity(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        """E[noise - clean | noisy] for noisy = (1 - sigma) clean + sigma noise."""
        self.num_calls += 1
        variance = (1 - sigma) ** 2 * self.deviation**2 + sigma**2
        rest = noisy - (1 - sigma) * self.mean
        return (sigma - (1 - sigma) * self.deviation**2) / variance * rest - self.mean

    @property
    def end(self) -> np.ndarray:
        """Where the path that begins at `noise` ends."""
        return self.mean + self.deviation * self.noise

    def error(self, found: np.ndarray) -> float:
        return float(np.linalg.norm(found - self.end) / np.linalg.norm(self.end))


def lambdas(sigmas: Sequence[float]) -> list[float]:
    """log(alpha / sigma) at every sigma; pure noise is put where a prediction straight in sigma has its slope."""
    values = [math.log((1 - s) / s) if 0 < s < 1 else math.inf for s in sigmas]
    return [values[1] - 1 / sigmas[1], *values[1:]] if sigmas[0] == 1 and len(sigmas) > 2 else values


def naive_dpmpp(velocity: Flow, noise: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """x_t = (t / s) x_s - alpha_t (e^-h - 1) D with D = (1 + 1 / 2r) clean - 1 / 2r clean before."""
    x, lam, cleans = noise, lambdas(sigmas), []
    for i in range(len(sigmas) - 1):
        s, t = sigmas[i], sigmas[i + 1]
        cleans.append(x - s * velocity(x, s))
        if i == 0 or t == 0:  # first order, where alpha_t (1 - e^-h) is 1 - t / s
            x = t / s * x + (1 - t / s) * cleans[i]
            continue
        h, h_before = lam[i + 1] - lam[i], lam[i] - lam[i - 1]
        r = h_before / h
        d = (1 + 1 / (2 * r)) * cleans[i] - 1 / (2 * r) * cleans[i - 1]
        x = t / s * x - (1 - t) * (math.exp(-h) - 1) * d
    return x


def naive_unipc(velocity: Flow, noise: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Predict with order 2, evaluate, correct with order 2: the paper's linear system is solved as it stands."""
    lam, cleans = lambdas(sigmas), []
    corrected = predicted = noise
    for i in range(len(sigmas) - 1):
        cleans.append(predicted - sigmas[i] * velocity(predicted, sigmas[i]))
        if i > 0:
            corrected = _unipc_step(corrected, cleans, sigmas, lam, i - 1, correct=True)
        predicted = _unipc_step(corrected, cleans, sigmas, lam, i, correct=False)
    return predicted


def _unipc_step(x: np.ndarray, cleans: list[np.ndarray], sigmas: Sequence[float], lam: list[float], i: int,
                correct: bool) -> np.ndarray:
    """One step over interval i from its corrected beginning; `correct` uses the clean latents at its end as well."""
    s, t = sigmas[i], sigmas[i + 1]
    step = t / s * x + (1 - t / s) * cleans[i]
    h = math.inf if s == 1 else lam[i + 1] - lam[i]
    b_h = math.exp(-h) - 1
    points, changes = [], []  # places of known clean latents in units of the interval, and the changes from its begin
    if i > 0 and t > 0:
        points.append((lam[i - 1] - lam[i]) / h)
        changes.append((cleans[i - 1] - cleans[i]) / points[-1])
    if correct:
        points.append(1.0)
        changes.append(cleans[i + 1] - cleans[i])
    if len(points) < 2:
        weights = [0.5] * len(points)  # the paper's choice where one weight alone keeps the order
    else:
        phi, right = (math.exp(-h) - 1) / -h, []
        for k, factorial in ((1, 1), (2, 2)):
            phi = phi - 1 if k == 1 else phi / -h - 0.5
            right.append(phi * factorial / b_h)
        weights = np.linalg.solve(np.array([[1.0, 1.0], points]), np.array(right))
    return step - (1 - t) * b_h * sum((w * c for w, c in zip(weights, changes, strict=True)), np.zeros_like(x))
