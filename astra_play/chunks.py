"""The values that cross seams between stages; every one is frozen, none holds behaviour.

Tensor letters used everywhere: `B` batch, `T` latent frames, `C` channels, `H W` grid, `N` tokens, `A` action
tokens, `D` width, `F` frames. Counts are `num_`, positions `_index`, and units ride in names (`_s`, `_ms`, `_px`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class InputEvent:
    """One thing that happened to a physical control, in the words of the keymap.

    `kind`: "button" (`control` such as "w", "left shift", "mouse left", "pad a", and `down`), "motion" (`motion_px`:
    relative mouse motion, right and down positive), "axis" (`control` such as "pad left x", `value` in [-1, 1]) or
    "focus_lost" (every control is released). `time_s` is the event's own time on the session clock.
    """

    kind: Literal["button", "motion", "axis", "focus_lost"]
    control: str = ""
    down: bool = False
    motion_px: tuple[float, float] = (0.0, 0.0)
    value: float = 0.0
    time_s: float = 0.0


@dataclass(frozen=True)
class ActionSample:
    """One reading of the controls: what the player asked for since the reading before.

    `buttons` are the names held or tapped (see `actions.buttons`), opposite pairs already settled.
    `mouse_px` is the summed relative motion (right, down) in pixels; `axes` holds (button, strength in (0, 1]) for
    every button that a pad stick pushes.
    `event_times_s` are the times of the input events this sample is the first to carry, for latency accounting.
    """

    buttons: frozenset[str] = frozenset()
    mouse_px: tuple[float, float] = (0.0, 0.0)
    axes: tuple[tuple[str, float], ...] = ()
    taken_at_s: float = 0.0
    event_times_s: tuple[float, ...] = ()


IDLE = ActionSample()


@dataclass(frozen=True)
class ActionChunk:
    """The controls of one chunk: the sample they came from and the action rows the network eats.

    `rows`: (T, A) float32 without the mask column, row t being the motion that leads into latent frame t.
    `modality` names the projector and the row layout ("camera", "vehicle" or "arm").
    """

    sample: ActionSample
    rows: np.ndarray
    modality: str
    chunk_index: int = 0
    reset_count: int = 0


@dataclass(frozen=True)
class LatentChunk:
    """The clean latents of one chunk, (T, C, H, W)."""

    latents: torch.Tensor
    chunk_index: int
    reset_count: int


@dataclass(frozen=True)
class FrameChunk:
    """The pictures of one chunk: (F, H, W, 3) uint8 RGB, with what it took to make them.

    `latents`: the clean latents (T, C, h, w) float32 that the frames were decoded from, for hashes; None: not kept.
    """

    frames: np.ndarray
    chunk_index: int
    reset_count: int
    action: ActionChunk
    generate_ms: float = 0.0
    latents: np.ndarray | None = None
    counters: dict[str, float] = field(default_factory=dict)
