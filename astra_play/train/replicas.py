"""Data-parallel training: the same loop in several processes started by torchrun, gradients averaged after each step.

Every replica draws its own clips and noise and holds the same weights; the first one alone writes files. On a CPU two
replicas of one thread each beat one replica of two threads, because they meet once a step and not after every operator.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Replicas:
    """Which replica this process is; alone by default."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this replica writes logs, strips and weights."""
        return self.rank == 0

    def average_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its mean over the replicas; a missing one counts as zero."""
        if self.count == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        for parameter, piece in zip(model.parameters(), flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = piece.view_as(parameter)

    def first(self, value: float) -> float:
        """Return the value of the first replica: what all must agree on though each would measure another."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.broadcast(shared, 0)
        return shared.item()

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all replicas in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


ALONE = Replicas()


def join_replicas() -> Replicas:
    """Join the processes that torchrun started; alone where it did not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    return Replicas(dist.get_rank(), count)
