"""`train upscaler`: simulated pictures of two sizes -> the upscaler of a world's codec (codec/upscaler.py).

The same moments of the same worlds are drawn twice, as large as the world's pictures and as large as the shown ones. At
play the small picture is no drawing of a simulator, but one that was moved many times and painted over, so the network
sees its small pictures worn in the same ways. It lies in the codec's file; everything else there stays as it is.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import pixels
from ..codec.mini import MiniCodec, paint_patches, project_patches
from ..codec.upscaler import FACTOR, Upscaler, interpolated
from ..config import written_world_config
from ..errors import ConfigError
from ..model.anchor import resample
from ..model.checkpoint import load_codec
from ..model.loading import choose_device
from ..paths import CODEC_FILE, world_folder
from . import scenarios
from .codec_loop import picture_loss
from .codec_parts import save_with_part
from .dataset import HELD_OUT_SEED_BASE, TRAIN_SEED_BASE
from .loop import psnr_db, schedule_position
from .only_writer import only_writer
from .optim import EMA, START_AGAIN, Stepper, autocast_to, learning_rate_factor, working_dtype
from .scenarios.interface import Seen

FRAMES_BETWEEN = 8  # two pictures of one world; in between there is something else to see
PICTURES_PER_WORLD = 8
NUM_HELD_OUT_WORLDS = 10  # of each scenario
WIDTH, BATCH, CROP, LR, WARMUP_STEPS, EMA_DECAY = 48, 16, 64, 1e-3, 50, 0.998
GRADIENT_WEIGHT = 0.5
MOST_MOVES = 3  # of a small picture there and back again, by fractions of a pixel
MOST_PAINT = 0.3  # share of the encoder's and its mirror's idea of it
WORN_SHARE = 0.6  # of the small pictures; the others are as the simulator drew them


@dataclass(frozen=True)
class Pairs:
    """Pictures of the same moments: `small` (N, H, W, 3) and `large` (N, FACTOR H, FACTOR W, 3), uint8."""

    small: np.ndarray
    large: np.ndarray

    def __len__(self) -> int:
        return len(self.small)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return small and large pictures (B, 3, ., .) in [-1, 1]."""
        at = index.numpy()
        return pixels.to_float(torch.from_numpy(self.small[at])), pixels.to_float(torch.from_numpy(self.large[at]))


def draw_pairs(scenario: str, first_seed: int, num_worlds: int, width: int, height: int) -> Pairs:
    """Play a scenario's behaviour policy in worlds from `first_seed` on, in pictures of both sizes at once."""
    sizes = [scenarios.make(scenario, width * factor, height * factor) for factor in (1, FACTOR)]
    kept: list[tuple[np.ndarray, ...]] = []
    try:
        for seed in range(first_seed, first_seed + num_worlds):
            player = scenarios.player(scenario, np.random.default_rng([seed, 2]), sizes[0])
            frames, seen = [simulator.reset(seed) for simulator in sizes], None
            for step in range(1 + (PICTURES_PER_WORLD - 1) * FRAMES_BETWEEN):
                if step:
                    control = player.send(seen)
                    frames = [simulator.step(control) for simulator in sizes]
                    seen = Seen(sizes[0].blocked, sizes[0].pose)
                if step % FRAMES_BETWEEN == 0:
                    kept.append(tuple(frames))
    finally:
        for simulator in sizes:
            simulator.close()
    return Pairs(*(np.stack(own) for own in zip(*kept, strict=True)))


def draw_all(names: list[str], first_seed: int, num_worlds: int, width: int, height: int, workers: int) -> Pairs:
    """Return the pairs of `num_worlds` of each scenario, drawn in so many processes."""
    from tqdm import tqdm

    parts, orders = [], [(name, seed) for name in names for seed in range(first_seed, first_seed + num_worlds)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = [pool.submit(draw_pairs, name, seed, 1, width, height) for name, seed in orders]
        for one in tqdm(drawn, "drawing", unit="world", leave=False):
            parts.append(one.result())
    return Pairs(np.concatenate([part.small for part in parts]), np.concatenate([part.large for part in parts]))


def worn(small: Tensor, codec: MiniCodec, generator: torch.Generator) -> Tensor:
    """Return (B, 3, H, W) pictures of which most look as if they had been carried along for a while.

    Moved there and back by fractions of a pixel, which blurs as moving along with a camera does, and blended with what
    the codec's linear half makes of them, as fresh parts of a generated picture are.
    """
    for _ in range(int(torch.randint(MOST_MOVES + 1, (), generator=generator))):
        small = _moved_and_back(small, generator)
    painted = paint_patches(project_patches(small, codec.encoder.weight, codec.encoder.bias),
                            codec.linear_decoder.weight) + codec.linear_decoder.bias[:, None, None]
    share = MOST_PAINT * torch.rand(len(small), 1, 1, 1, generator=generator)
    return torch.lerp(small, painted, share).clamp(-1, 1)


def _moved_and_back(pictures: Tensor, generator: torch.Generator) -> Tensor:
    height, width = pictures.shape[-2:]
    way = torch.rand(len(pictures), 2, generator=generator) - 0.5
    step = way * 2 / torch.tensor([width, height])
    for own in (step, -step):
        turn = torch.eye(2).expand(len(pictures), 2, 2)
        places = F.affine_grid(torch.cat([turn, own[:, :, None]], dim=2), list(pictures.shape), align_corners=False)
        pictures = resample(pictures, places)
    return pictures


def varied(small: Tensor, large: Tensor, codec: MiniCodec, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return crops of a batch at one place, half of it mirrored, WORN_SHARE of the small pictures worn."""
    is_worn = torch.rand(len(small), 1, 1, 1, generator=generator) < WORN_SHARE
    small = torch.where(is_worn, worn(small, codec, generator), small)
    mirrored = torch.rand(len(small), 1, 1, 1, generator=generator) < 0.5
    small, large = (torch.where(mirrored, x.flip(-1), x) for x in (small, large))
    size = [min(CROP, side) for side in small.shape[-2:]]
    top, left = (2 * int(torch.randint((whole - own) // 2 + 1, (), generator=generator))
                 for whole, own in zip(small.shape[-2:], size, strict=True))
    rows, columns = (slice(start, start + own) for start, own in ((top, size[0]), (left, size[1])))
    fine_rows, fine_columns = (slice(FACTOR * own.start, FACTOR * own.stop) for own in (rows, columns))
    return small[:, :, rows, columns], large[:, :, fine_rows, fine_columns]


def fit(upscaler: Upscaler, codec: MiniCodec, pairs: Pairs, num_steps: int, minutes: float = 0.0) -> list[float]:
    """Train the upscaler in place, which ends as the average of its last weights; return the losses.

    Positive `minutes` are the time that the schedule of `num_steps` is stretched or shrunk to.
    """
    from tqdm import tqdm

    device = choose_device()
    dtype = working_dtype("auto", device)
    upscaler.to(device)
    optimizer = torch.optim.AdamW(upscaler.parameters(), LR, weight_decay=1e-4)
    stepper = Stepper(upscaler, [optimizer], advice=START_AGAIN)
    ema, losses, at, begin = EMA(upscaler, EMA_DECAY), [], 0, time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    with tqdm(total=num_steps, desc="training", unit="step", leave=False) as bar:
        while at < num_steps:
            factor = learning_rate_factor(at, num_steps, WARMUP_STEPS, num_steps // 2)
            optimizer.param_groups[0]["lr"] = LR * factor
            with torch.no_grad():
                index = torch.randint(len(pairs), (BATCH,), generator=generator)
                small, large = (x.to(device) for x in varied(*pairs.batch(index), codec, generator))
            with autocast_to(dtype, device):
                made = upscaler(small)
            loss = picture_loss(made.float(), large, GRADIENT_WEIGHT)
            loss.backward()
            if math.isfinite(stepper.take(len(losses))):
                ema.update(upscaler, len(losses))
            losses.append(loss.item())
            at = schedule_position(len(losses), num_steps, (time.perf_counter() - begin) / 60, minutes)
            bar.set_postfix(loss=f"{sum(losses[-100:]) / len(losses[-100:]):.4f}", refresh=False)
            bar.update(min(at, num_steps) - bar.n)
    ema.copy_to(upscaler)
    upscaler.cpu()
    return losses


@torch.no_grad()
def mean_psnr_db(upscaler: Upscaler | None, pairs: Pairs) -> float:
    """Return the mean PSNR of large pictures made from small ones; None is bicubic interpolation."""
    scores = []
    for index in torch.arange(len(pairs)).split(BATCH):
        small, large = pairs.batch(index)
        made = interpolated(small) if upscaler is None else upscaler(small)
        scores += [psnr_db(mse) for mse in (made - large).square().mean(dim=(1, 2, 3)).tolist()]
    return sum(scores) / len(scores)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--world", required=True, metavar="WORLD", help="the world whose codec gets the upscaler")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the world is written")
    parser.add_argument("--worlds", type=int, default=100, metavar="N", help="of each scenario to learn from (100)")
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="training steps (5000)")
    parser.add_argument("--minutes", type=float, default=0.0, help="time budget of training (its steps)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="processes that draw (one for each core)")
    parser.add_argument("--threads", type=int, metavar="N", help="compute threads (torch's own choice)")


def main(args: argparse.Namespace) -> int:
    if args.threads:
        torch.set_num_threads(args.threads)
    with only_writer(args.out):
        return _teach(args)


def _teach(args: argparse.Namespace) -> int:
    folder = world_folder(args.world)
    config = written_world_config(folder)
    if config.codec.kind != "mini" or config.model.anchor != "moved":
        raise ConfigError(f"the world {config.name!r} carries no picture along; an upscaler is for worlds whose anchor "
                          "is \"moved\"")
    codec = load_codec(folder, config)
    names = list(config.scenarios) or ["explore"]
    size = config.width, config.height
    torch.manual_seed(0)
    codec.upscaler = Upscaler(WIDTH)
    pairs = draw_all(names, TRAIN_SEED_BASE, args.worlds, *size, args.workers)
    num_steps = len(fit(codec.upscaler, codec, pairs, args.steps, args.minutes))
    codec.upscaler.eval()
    scores = {}
    for name in names:
        held_out = draw_all([name], HELD_OUT_SEED_BASE, NUM_HELD_OUT_WORLDS, *size, args.workers)
        scores[name] = {"bicubic_db": round(mean_psnr_db(None, held_out), 2),
                        "upscaler_db": round(mean_psnr_db(codec.upscaler, held_out), 2)}
    told = {"command": f"train upscaler --worlds {args.worlds} --steps {num_steps}", "psnr": scores}
    save_with_part(codec, config, {"upscaler_width": WIDTH}, {"upscaler": told}, folder, args.out)
    for name, own in scores.items():
        print(f"{name}: {own['upscaler_db']:.2f} dB PSNR at {FACTOR * config.width}x{FACTOR * config.height}, bicubic "
              f"interpolation {own['bicubic_db']:.2f}, in {NUM_HELD_OUT_WORLDS} held-out worlds")
    print(f"upscaler -> {args.out / CODEC_FILE}")
    return 0
