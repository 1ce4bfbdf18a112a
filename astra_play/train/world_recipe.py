"""What a recipe of a world says: every number of a training run, read from a file in train/recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..config import ModelConfig, StreamConfig
from .losses import NoiseOptions


@dataclass(frozen=True)
class ScenarioRecipe:
    """One of several scenarios that share the weights; its controls are those of the simulator."""

    title: str
    description: str
    share: float = 1.0  # of the training steps, relative to the others'
    play_stream: dict[str, Any] = field(default_factory=dict)  # over the recipe's own, when it is played


@dataclass(frozen=True)
class WorldRecipe:
    """A whole training run of the world; the file that made shipped weights is in train/recipes."""

    name: str
    title: str
    description: str
    model: ModelConfig
    stream: StreamConfig
    controls: dict[str, Any] = field(default_factory=dict)  # settings over those of the data's one scenario
    scenarios: dict[str, ScenarioRecipe] = field(default_factory=dict)  # none: one data set, with the controls above
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    clip_frames: int = 17
    batch: int = 8
    num_steps: int = 4000
    # Positive: stop after so many minutes of training, with every number of steps in this recipe stretched or shrunk to
    # them. How many steps that makes is the machine's affair, so a resumed run is not the same to the last digit.
    minutes: float = 0.0
    warmup_steps: int = 100
    decay_steps: int = 1000
    lr: float = 4e-3
    lr_other: float = 1e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    rollout_from_step: int = 1500
    rollout_prob: float = 0.5
    rollout_true_frames: int = 4  # at most this many true frames before the network plays by itself
    rollout_extra_frames: int = 16  # at most this many more frames are played before the clip that is trained on
    # From this step on two samples are drawn per target and scored by their spread too, so that the network learns to
    # draw one possible picture from the noise instead of the blurred mean of all (losses.energy_score).
    energy_from_step: int = 10**9
    # From this step on a critic pushes predictions towards what looks true (adversary.py). Its push has a share of the
    # squared error's gradient: from 0 to `critic_share` over `critic_warmup_steps`, and on to `critic_late_share`
    # between two steps. Early it teaches to make things up at all; late, that they should be where the truth has them.
    critic_from_step: int = 10**9
    critic_warmup_steps: int = 200
    critic_share: float = 0.5
    critic_late_share: float = 0.5
    critic_late_steps: tuple[int, int] = (0, 1)
    critic_lr: float = 5e-4
    critic_penalty: float = 1.0
    critic_frames: int = 48  # judged per step and replica
    # Settings of `stream` that the finished world is played with where they differ from those of training, such as a
    # stronger palette hold: what adds up for a minute at play adds up for two seconds in training.
    play_stream: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"  # "auto", "bf16" or "fp32"
    seed: int = 0
    log_every: int = 20
    save_every: int = 100
    sample_every: int = 400

    @property
    def longest_clip(self) -> int:
        """Frames of the longest clip that a step may draw."""
        return self.clip_frames + (self.rollout_extra_frames if self.rollout_prob > 0 else 0)


def critic_share(recipe: WorldRecipe, step: int) -> float:
    """Return the share of the squared error's gradient that the critic's push has at a step."""
    begin, end = recipe.critic_late_steps
    late = min(1.0, max(0.0, (step - begin) / (end - begin)))
    share = recipe.critic_share + late * (recipe.critic_late_share - recipe.critic_share)
    return share * min(1.0, max(0.0, (step - recipe.critic_from_step) / recipe.critic_warmup_steps))
