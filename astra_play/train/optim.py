"""Optimizers of the training loops: Muon for matrices inside blocks, AdamW for everything else, and the EMA of weights.

Muon (Jordan et al., 2024): the momentum of a matrix is replaced by its nearest semi-orthogonal matrix, found by five
Newton-Schulz iterations. The update is scaled by 0.2 sqrt(max(rows, columns)) so that its root mean square matches
AdamW's (arXiv 2502.16982, section 2.2), and one learning-rate scale serves both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import AstraPlayError

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives singular values into about [0.7, 1.2]
NUM_ITERATIONS = 5
MAX_GRADIENT_NORM = 1.0  # above which gradients are scaled down: a few bad clips must not undo hours
RESUME = "the weights before are kept: go on from the checkpoint with a lower lr"
START_AGAIN = "nothing was written; run it again, with other numbers of worlds or steps if need be"
MAX_LOST_STEPS = 5  # in a row; one batch that overflows is passed over, a run that has diverged is ended


def orthogonalise(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the approximate U V^T of matrices (..., rows, columns), computed in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(dtype)
    transpose = x.shape[-2] > x.shape[-1]
    if transpose:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if transpose else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per matrix. `splits`: how many stacked matrices a fused weight holds (3 for
    query/key/value)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0,
                 compute_dtype: torch.dtype = torch.float32, splits: dict[int, int] | None = None) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.compute_dtype = compute_dtype
        self.splits = splits or {}

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(state["momentum"], group["momentum"])
                pieces = direction.chunk(self.splits.get(id(parameter), 1), dim=0)
                update = torch.cat([orthogonalise(p, self.compute_dtype) for p in pieces])
                scale = 0.2 * max(pieces[0].shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


def make_optimizers(model: nn.Module, lr: float, lr_other: float, weight_decay: float,
                    compute_dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Muon for the 2-D weights of `model.blocks`, AdamW for embeddings, head, experts, norms and biases."""
    matrices, others, splits = [], [], {}
    for name, parameter in model.named_parameters():
        if name.startswith("blocks.") and parameter.ndim == 2 and "modulation" not in name and "bias" not in name:
            matrices.append(parameter)
            splits[id(parameter)] = 3 if name.endswith("qkv.weight") else 1
        else:
            others.append(parameter)
    return [Muon(matrices, lr, weight_decay=weight_decay, compute_dtype=compute_dtype, splits=splits),
            torch.optim.AdamW(others, lr_other, betas=(0.9, 0.95), weight_decay=weight_decay)]


class Stepper:
    """The steps of a module's optimizers, less those whose gradients are not numbers: one would undo the run."""

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer],
                 max_norm: float = MAX_GRADIENT_NORM, advice: str = RESUME) -> None:
        """`advice`: what to do when a run has diverged."""
        self._module, self._optimizers, self._max_norm, self._advice = module, optimizers, max_norm, advice
        self._lost_in_a_row = 0

    def take(self, step: int) -> float:
        """Move the weights by their gradients, shortened to the largest norm, in training step `step`.

        Returns the norm that they had; if it is not finite the weights are as before. AstraPlayError after
        MAX_LOST_STEPS of these in a row.
        """
        norm = float(nn.utils.clip_grad_norm_(self._module.parameters(), self._max_norm))
        is_finite = math.isfinite(norm)
        self._lost_in_a_row = 0 if is_finite else self._lost_in_a_row + 1
        if self._lost_in_a_row == MAX_LOST_STEPS:
            raise AstraPlayError(f"the gradient was not a number {MAX_LOST_STEPS} times in a row, at last in step "
                                 f"{step}; {self._advice}")
        for optimizer in self._optimizers:
            if is_finite:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm


class EMA:
    """Exponential moving average of a model's parameters; decay rises from 0 so that the first steps do not linger."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model's parameters after training step `step` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            self.shadow[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's parameters with the average."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.shadow[name])


def learning_rate_factor(step: int, num_steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Rise linearly over `warmup_steps`, stay at 1, fall linearly to 0 over the last `decay_steps`."""
    return max(0.0, min(1.0, (step + 1) / max(1, warmup_steps), (num_steps - step) / max(1, decay_steps)))


def working_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return what a recipe's precision means: "bf16", "fp32", or "auto" for what is faster on this device."""
    return {"bf16": torch.bfloat16, "fp32": torch.float32}.get(precision) or fast_dtype(device)


def autocast_to(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Run what is inside in bfloat16 if that is the dtype; weights stay in float32 either way."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where its matrix products are clearly faster than float32's on this device, else float32.

    Processors differ fivefold either way (with and without bfloat16 units), so it is measured, for about 50 ms.
    """
    def best_s(dtype: torch.dtype) -> float:
        a = torch.ones(512, 512, device=device, dtype=dtype)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            float((a @ a)[0, 0])
            times.append(time.perf_counter() - start)
        return min(times)

    return torch.bfloat16 if best_s(torch.bfloat16) < 0.7 * best_s(torch.float32) else torch.float32
