"""Two frames -> the motion between them: a small network trained on the simulator's own frames, used on generated ones.

It is made where it is needed (two minutes, once) and kept in the user's cache under a name that hashes everything it depends on:
this file and the simulator's. Its worlds are neither the training worlds nor the held-out ones.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..codec import pixels
from ..train import dataset, scenarios
from . import truth
from .truth import MOTIONS, Simulator, motion_between

log = logging.getLogger(__name__)

FIRST_SEED = 900_000  # training worlds count up from 0, held-out worlds from 1_000_000
NUM_WORLDS, FRAMES_PER_WORLD = 64, 72
NUM_STEPS, BATCH = 1800, 64
LEARNING_RATE, WARMUP_STEPS = 2e-3, 100
MAX_GAIN, MAX_LIFT = 0.15, 0.08  # brightness and offset that training varies, the same for both frames
BLUR_PROB = 0.4  # generated frames are softer than real ones; a reader that never saw blur would measure that
ERASE_PROB = 0.3  # of hiding one block of the second frame: no single spot may decide
READ_BATCH = 256


class MotionReader(nn.Module):
    """Half-size frame pairs (N, 6, h, w) in [-1, 1] -> MOTIONS (N, 4) in units of `spread`."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.size = (height // 2, width // 2)
        self.features = nn.Sequential(
            nn.Conv2d(6, 32, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1), nn.ReLU(), nn.Flatten())
        num_features = self.features(torch.zeros(1, 6, *self.size)).shape[1]
        self.head = nn.Sequential(nn.Linear(num_features, 128), nn.ReLU(), nn.Linear(128, len(MOTIONS)))
        self.register_buffer("spread", torch.ones(len(MOTIONS)))

    def forward(self, pairs: Tensor) -> Tensor:
        return self.head(self.features(pairs))

    @torch.inference_mode()
    def read(self, frames: np.ndarray) -> np.ndarray:
        """Return the MOTIONS (B, F - 1, 4) between successive frames (B, F, H, W, 3) uint8, in metres and radians."""
        small = [shrink(clip, self.size) for clip in frames]
        pairs = torch.cat([torch.cat([s[:-1], s[1:]], dim=1) for s in small])
        motions = torch.cat([self(p) for p in pairs.split(READ_BATCH)]) * self.spread
        return motions.double().numpy().reshape(len(frames), -1, len(MOTIONS))


def shrink(frames: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return (N, 3, h, w) float pictures in [-1, 1], averaged down to `size`."""
    return F.interpolate(pixels.to_float(torch.from_numpy(np.ascontiguousarray(frames))), size, mode="area")


def motion_reader(simulator: Simulator, width: int, height: int, cache: Path) -> MotionReader:
    """Return the reader for frames of one size: from the cache, or trained now and cached."""
    reader = MotionReader(width, height).eval().requires_grad_(False)
    path = cache / f"motion_reader_{width}x{height}_{_fingerprint()}.safetensors"
    if path.is_file():
        reader.load_state_dict(load_file(path))
        return reader
    log.info("training the motion reader on %d worlds, once; it is kept in %s", NUM_WORLDS, path)
    small, poses = _record(simulator, reader.size)
    reader = train_reader(reader, small, poses)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(reader.state_dict(), temporary)
    os.replace(temporary, path)
    return reader


def train_reader(reader: MotionReader, small: Tensor, poses: np.ndarray, num_steps: int = NUM_STEPS,
                 seed: int = 0) -> MotionReader:
    """Fit a reader to walks: `small` (W, F, 3, h, w) pictures, `poses` (W, F, 5). Pairs are played forwards and backwards."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in reader.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    before, after = poses[:, :-1].reshape(-1, 5), poses[:, 1:].reshape(-1, 5)
    targets = np.concatenate([motion_between(before, after), motion_between(after, before)])
    targets = torch.from_numpy(targets).float()
    reader.spread.copy_(targets.std(dim=0).clamp_min(1e-6))
    first, second = small[:, :-1].flatten(0, 1), small[:, 1:].flatten(0, 1)
    pairs = torch.cat([torch.cat([first, second], dim=1), torch.cat([second, first], dim=1)])
    reader.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(reader.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / WARMUP_STEPS,
                                                                             (num_steps - step) / num_steps))
    for _ in range(num_steps):
        index = torch.randint(len(pairs), (BATCH,), generator=generator)
        inputs, wanted = _augment(pairs[index], targets[index] / reader.spread, generator)
        loss = F.smooth_l1_loss(reader(inputs), wanted, beta=0.3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader.eval().requires_grad_(False)


def _record(simulator: Simulator, size: tuple[int, int]) -> tuple[Tensor, np.ndarray]:
    walks = (simulator.walk(FIRST_SEED + index, FRAMES_PER_WORLD) for index in range(NUM_WORLDS))
    small, poses = zip(*((shrink(walk.frames, size), walk.poses) for walk in walks), strict=True)
    return torch.stack(small), np.stack(poses)


def _augment(pairs: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Vary what must not matter, per pair: light, softness, a hidden block; and mirror half of them, motion and all."""
    num, _, height, width = pairs.shape

    def chance(probability: float) -> Tensor:
        return (torch.rand(num, 1, 1, 1, generator=generator) < probability)

    def within(limit: float) -> Tensor:
        return (torch.rand(num, 1, 1, 1, generator=generator) * 2 - 1) * limit

    soft = F.avg_pool2d(pairs, 3, stride=1, padding=1, count_include_pad=False)
    pairs = torch.where(chance(BLUR_PROB), soft, pairs) * (1 + within(MAX_GAIN)) + within(MAX_LIFT)
    top, left = (int(torch.randint(side * 2 // 3, (), generator=generator)) for side in (height, width))
    hidden = torch.zeros(1, 6, height, width, dtype=torch.bool)
    hidden[:, 3:, top:top + height // 3, left:left + width // 3] = True
    pairs = pairs.masked_fill(hidden & chance(ERASE_PROB), 0.0)
    mirror = chance(0.5)
    sign = torch.where(mirror[:, :, 0, 0], torch.tensor([1.0, -1.0, -1.0, 1.0]), 1.0)  # right and yaw change sides
    return torch.where(mirror, pairs.flip(-1), pairs), targets * sign


def _fingerprint() -> str:
    """Hash of the code that decides what the reader learns."""
    files = [Path(__file__), Path(truth.__file__), *sorted(Path(scenarios.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


assert FIRST_SEED + NUM_WORLDS < dataset.HELD_OUT_SEED_BASE
