"""What a recipe of a loop filter says: every number of a training run, read from a file in train/recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FilterRecipe:
    """A whole training run of a loop filter."""

    width: int = 32
    critic_width: int = 24
    streams: int = 8  # that run freely at once, of each scenario
    clip_frames: int = 120  # of an episode, whose actions and true pictures a run has first
    go_on_prob: float = 0.6  # of running on under other actions when those of a clip are over
    max_frames: int = 960  # after which a run is given up; in the beginning of training sooner,
    first_max_frames: int = 32  # rising from here over the first half of it
    shares: dict[str, float] = field(default_factory=dict)  # of the steps, by scenario; 1 where nothing is said
    frames_per_step: int = 2  # made by every stream of one scenario for each training step; the last one is kept
    young_frames: int = 16  # of a run that are all kept, in a pool of their own
    young_share: float = 0.25  # of a batch that comes from there
    pool: int = 384  # examples of each scenario, and of each one's young runs
    batch: int = 16
    num_steps: int = 5600
    minutes: float = 0.0  # positive: a time budget, as in a world's recipe
    warmup_steps: int = 50
    decay_steps: int = 1700
    lr: float = 2e-4  # slower than the critic, which has to be ahead of what runs in a loop
    critic_lr: float = 3e-4
    critic_penalty: float = 2.0
    critic_disturbance: float = 0.01
    critic_weight: float = 1.0
    keep_weight: float = 4.0  # of the mean absolute change of what was seen before
    truth_weight: float = 40.0  # of the mean absolute error against the truth when a run begins
    truth_frames: float = 10.0  # after which that counts 1 / e
    ema_decay: float = 0.995  # of the filter that runs are made with, and that is shipped
    # Stream settings of scenarios that change with the filter, which does some of what a hold of contrast is for.
    play_stream: dict[str, dict[str, Any]] = field(default_factory=dict)
    # `filter_strength` of the finished world by scenario. Runs are filtered at full strength, so that the filter meets
    # what it does; at play less of it keeps more of what was there.
    play_strength: dict[str, float] = field(default_factory=dict)
    precision: str = "auto"
    seed: int = 0
    log_every: int = 20
    save_every: int = 100
    sample_every: int = 800
