"""A critic of single latent frames: it learns to tell true ones from predicted ones and says how to look truer.

Squared error alone makes the network answer "what comes into view?" with the mean of all answers, a blur. The critic
sees no action and no past, only whether a latent frame looks like one of the simulator's; the squared error keeps the
prediction where it belongs. Relativistic pairs and a gradient penalty on both sides as in R3GAN (arXiv 2501.05441);
the penalty is estimated by a small disturbance (arXiv 2501.08316, section 3.3), which needs no second derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .losses import Predictions
from .replicas import Replicas

LOUDNESS_DECAY = 0.95  # of the running mean over steps of the loss's own gradient, a few scenarios and rollouts long
DISTURBANCE = 0.1  # standard deviation; network latents are of order 1


class Critic(nn.Module):
    """Network latents (N, C, H, W) -> how true each cell looks, (N, 1, H, W); only differences mean anything."""

    def __init__(self, channels: int, height: int, width: int, hidden: int, num_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, hidden, 1)
        self.place = nn.Parameter(torch.zeros(hidden, height, width))  # sky is above, the ground is below
        self.blocks = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(num_blocks))
        self.head = nn.Conv2d(hidden, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.stem(latents) + self.place
        for block in self.blocks:
            x = x + block(F.silu(x))
        return self.head(F.silu(x))


def critic_loss(critic: Callable[[Tensor], Tensor], true: Tensor, fake: Tensor, penalty: float, disturbance: float,
                generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the loss of a critic (N, ...) -> verdicts that is shown as many true things as fake ones, and its margin.

    `penalty` weighs how steep the verdicts are, both sides' alike, and `disturbance` is how far it looks to find out.
    """
    both = torch.cat([true, fake])
    disturbed = both + disturbance * torch.randn(both.shape, generator=generator, device=both.device)
    verdicts, moved = critic(torch.cat([both, disturbed])).chunk(2)
    steepness = ((moved - verdicts) / disturbance).square().mean()
    margin = verdicts[:len(true)] - verdicts[len(true):]
    return F.softplus(-margin).mean() + penalty * steepness, margin.mean()


class Adversary:
    """The critic, its optimizer, and the push it gives to predictions that started from pure noise."""

    def __init__(self, config: ModelConfig, device: torch.device, seed: int, lr: float, penalty: float,
                 hidden: int = 96, num_blocks: int = 5) -> None:
        with torch.random.fork_rng():  # a world that is trained with a critic draws the same weights as one without
            torch.manual_seed(seed)
            self.critic = Critic(config.latent_channels, config.grid_height, config.grid_width, hidden,
                                 num_blocks).to(device)
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr, betas=(0.0, 0.99), weight_decay=0.0)
        self.penalty = penalty
        self._noise = torch.Generator(device).manual_seed(seed)
        self._loudness = 0.0  # 0: nothing heard yet

    def judge(self, predictions: Predictions, max_frames: int, replicas: Replicas) -> tuple[Tensor, dict[str, float]]:
        """Train the critic once and return the gradient (B, S, P, C, H, W) that makes predictions look truer.

        At most `max_frames` predictions that started from pure noise are judged; the gradient of the others is 0.
        With none to judge nothing was measured, either.
        """
        which = predictions.from_noise[:, None].expand(predictions.clean.shape[:3]).nonzero()
        which = which[torch.randperm(len(which), generator=self._noise, device=which.device)[:max_frames]]
        push = torch.zeros(predictions.clean.shape, device=predictions.clean.device)
        if not len(which):
            self._take_step(replicas)  # of the other replicas, which have something to judge
            return push, {}
        b, s, p = which.unbind(dim=1)
        fake, true = predictions.clean.detach()[b, s, p].float(), predictions.target[b, p].float()
        loss, margin = critic_loss(self.critic, true, fake, self.penalty, DISTURBANCE, self._noise)
        loss.backward()
        self._take_step(replicas)
        fake.requires_grad_(True)
        doubt = F.softplus(self.critic(true).detach() - self.critic(fake)).mean()
        push[b, s, p] = torch.autograd.grad(doubt, fake)[0]
        return push, {"critic": loss.item(), "critic_margin": margin.item()}

    def _take_step(self, replicas: Replicas) -> None:
        """Move the critic by the gradients of all replicas, unless predictions made them what is not a number."""
        replicas.average_gradients(self.critic)
        gradients = [p.grad for p in self.critic.parameters() if p.grad is not None]
        if gradients and all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def average_loudness(self, norm: float) -> float:
        """Take the norm of the loss's own gradient at this step and return its running mean."""
        decay = LOUDNESS_DECAY if self._loudness else 0.0
        if math.isfinite(norm):
            self._loudness = decay * self._loudness + (1 - decay) * norm
        return self._loudness

    def state(self) -> dict:
        """Everything that resuming needs."""
        return {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict(), **self.own_state()}

    def own_state(self) -> dict:
        """The part of `state` that is another one in every replica."""
        return {"noise": self._noise.get_state(), "loudness": self._loudness}

    def restore(self, state: dict) -> None:
        """Go on from `state`."""
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.restore_own(state)

    def restore_own(self, state: dict) -> None:
        """Go on from `own_state`."""
        self._noise.set_state(state["noise"])
        self._loudness = state["loudness"]
