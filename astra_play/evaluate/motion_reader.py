"""Frames -> the motion between each two of them, read by a small network trained on the simulator's own frames only.

The network does not look at pictures but at how well they match: every block of a frame is compared with the next frame
shifted by a few pixels each way, at three scales. What matches where says how the camera moved, whatever the scene is
made of, so a few hundred walks suffice and frames of another look are read as well. Each pair of frames is read alone
first, then in the light of the pairs before and after it, since nobody moves without inertia: like the inverse dynamics
model of Baker et al. ("Video PreTraining", 2022), the reader may look ahead, as a player's model may not.
`fit_motion_reader` makes the weights; every evaluation measures their error on true frames anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from ..codec import pixels
from ..errors import ConfigError, WeightsError
from ..model.checkpoint import load_strict, read_tensors
from .metrics import LUMINANCE
from .motions import motions_of

CELL_PX = 16  # a motion is read from cells of this size at every scale
WIDTH = 64
LOCAL_MEAN = 9  # pixels; what is brighter or darker as a whole is not motion
GREY = torch.from_numpy(LUMINANCE)[:, None, None]
FAINT = 0.02  # mismatch of two flat blocks, below which a best match means nothing
BATCH_FRAMES = 5  # larger batches leave the processor's cache and take twice as long


class Scale(NamedTuple):
    """Pictures made `shrink` times smaller are compared at shifts up to `reach_x` and `reach_y` of their pixels."""

    shrink: int
    reach_x: int
    reach_y: int
    is_grey: bool


# The finest scale measures, the coarsest finds: 12 degrees a frame shift the edge of a picture by 24 pixels.
SCALES = (Scale(1, 4, 2, True), Scale(2, 6, 2, True), Scale(4, 9, 2, False))


@torch.no_grad()
def match_costs(frames: Tensor) -> Tensor:
    """Return how badly successive frames match: (F, H, W, 3) uint8 -> (F - 1, costs, H / 16, W / 16), per cell."""
    pictures = pixels.to_float(frames)
    costs = []
    for scale in SCALES:
        small = (pictures * GREY).sum(dim=1, keepdim=True) if scale.is_grey else pictures
        small = F.avg_pool2d(small, scale.shrink)
        small = small - F.avg_pool2d(small, LOCAL_MEAN, 1, LOCAL_MEAN // 2, count_include_pad=False)
        costs.append(_costs_at(small[:-1], small[1:], scale))
    return torch.cat(costs, dim=1)


def _costs_at(first: Tensor, second: Tensor, scale: Scale) -> Tensor:
    number, colours, height, width = first.shape
    x, y, block = scale.reach_x, scale.reach_y, CELL_PX // scale.shrink
    second = F.pad(second, (x, x, y, y), mode="replicate")
    shifts = [(dy, dx) for dy in range(2 * y + 1) for dx in range(2 * x + 1)]
    costs = first.new_empty(number, len(shifts), height // block, width // block)
    for index, (dy, dx) in enumerate(shifts):
        difference = (first - second[:, :, dy:dy + height, dx:dx + width]).abs_()
        costs[:, index] = difference.view(number, colours, height // block, block, width // block, block).sum((1, 3, 5))
    costs /= block * block * colours
    mean = costs.mean(dim=1, keepdim=True)
    # which shift matches best, whatever the block's contrast, and how much contrast there was to go by
    return torch.cat([(costs - costs.amin(dim=1, keepdim=True)) / (mean + FAINT), mean.log1p()], dim=1)


def mirrored_order() -> Tensor:
    """Return the order in which a mirrored pair of frames would have the costs: left and right shifts swapped."""
    order, base = [], 0
    for scale in SCALES:
        across, down = 2 * scale.reach_x + 1, 2 * scale.reach_y + 1
        order += [base + dy * across + dx for dy in range(down) for dx in reversed(range(across))]
        order.append(base + down * across)  # the block's contrast
        base += down * across + 1
    return torch.tensor(order)


def shipped_reader(scenario: str) -> Path:
    """Return the file of the weights that read a scenario's motions."""
    return Path(__file__).with_name(f"motion_reader_{scenario}.safetensors")


class Neighbours(nn.Module):
    """Features of successive pairs of frames (B, T, 2 WIDTH) -> what is to be added to the motions that each pair alone
    tells of, (B, T, M) in units of `spread`; up to 4 pairs before and after have a say."""

    def __init__(self, num_motions: int) -> None:
        super().__init__()
        self.hear = nn.Sequential(nn.Dropout(0.2), nn.Conv1d(2 * WIDTH, 2 * WIDTH, 5, padding=2), nn.ReLU())
        self.more = nn.Sequential(nn.Conv1d(2 * WIDTH, 2 * WIDTH, 5, padding=2), nn.ReLU())
        self.tell = nn.Conv1d(2 * WIDTH, num_motions, 1)
        for parameter in self.tell.parameters():  # as long as nothing is learned, a pair alone counts
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        heard = self.hear(features.movedim(1, 2))
        return self.tell(heard + self.more(heard)).movedim(1, 2)


class MotionReader(nn.Module):
    """Costs of T successive pairs of frames (T, costs, H / 16, W / 16) -> the scenario's M motions (T, M) in units of
    `spread`."""

    def __init__(self, width: int, height: int, num_motions: int) -> None:
        super().__init__()
        num_costs, cells = len(mirrored_order()), (height // CELL_PX) * (width // CELL_PX)
        self.layers = nn.Sequential(
            nn.Conv2d(num_costs, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(WIDTH * cells, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, num_motions))
        self.neighbours = Neighbours(num_motions)
        self.spread = nn.Parameter(torch.ones(num_motions), requires_grad=False)

    def forward(self, costs: Tensor) -> Tensor:
        return self.told(self.features(costs)[None])[0]

    def of_pairs(self, costs: Tensor) -> Tensor:
        """The same of pairs (N, costs, H / 16, W / 16) that have nothing to do with each other."""
        return self.layers(costs)

    def features(self, costs: Tensor) -> Tensor:
        """What is seen in each pair alone: (N, costs, H / 16, W / 16) -> (N, 2 WIDTH)."""
        return self.layers[:-1](costs)

    def told(self, features: Tensor) -> Tensor:
        """Motions (B, T, M) that the features (B, T, 2 WIDTH) of successive pairs tell of, in units of `spread`."""
        return self.layers[-1](features) + self.neighbours(features)

    @torch.inference_mode()
    def read(self, frames: np.ndarray) -> np.ndarray:
        """Return the motions (B, F - 1, M) between successive frames (B, F, H, W, 3) uint8, in metres and radians."""
        features = torch.stack([torch.cat([self.features(costs) for costs in costs_of_clip(clip)]) for clip in frames])
        return (self.told(features) * self.spread).double().numpy()


def costs_of_clip(frames: np.ndarray, batch_frames: int = BATCH_FRAMES) -> list[Tensor]:
    """Return the match costs of a clip (F, H, W, 3) in small batches."""
    frames = torch.from_numpy(np.ascontiguousarray(frames))
    return [match_costs(frames[start:start + batch_frames]) for start in range(0, len(frames) - 1, batch_frames - 1)]


def load_reader(path: Path, scenario: str, width: int, height: int, pairs_alone: bool = False) -> MotionReader:
    """Read the weights of a scenario's reader; ConfigError if it was trained for another one, or for frames of another
    size. `pairs_alone`: only what reads each pair, the rest random."""
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if not {"scenario", "width", "height"} <= metadata.keys():
        raise WeightsError(f"{path} does not say which frames it reads, of which scenario; make it "
                           "again with python -m astra_play.evaluate.fit_motion_reader")
    size = int(metadata["width"]), int(metadata["height"])
    if size != (width, height):
        raise ConfigError(f"the motion reader {path} reads frames of {size[0]}x{size[1]} pixels, but this world makes "
                          f"{width}x{height}; make one with: python -m astra_play.evaluate.fit_motion_reader "
                          "--data DIR --out FILE, and give it with --reader FILE")
    if metadata["scenario"] != scenario:
        raise ConfigError(f"the motion reader {path} reads motions of {metadata['scenario']!r}, but this world plays "
                          f"{scenario!r}; leave --reader out, or evaluate one scenario at a time")
    reader = MotionReader(width, height, len(motions_of(scenario).names))
    if pairs_alone:
        tensors |= {f"neighbours.{name}": own for name, own in reader.neighbours.state_dict().items()}
    elif not any(name.startswith("neighbours.") for name in tensors):
        raise WeightsError(f"{path} reads pairs of frames alone, as readers once did; teach it to hear the pairs "
                           "beside them with python -m astra_play.evaluate.fit_motion_reader --begin "
                           f"{path} --data DIR")
    load_strict(reader, tensors, path)
    return reader.eval().requires_grad_(False)
