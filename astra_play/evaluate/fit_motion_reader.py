"""`python -m astra_play.evaluate.fit_motion_reader`: data sets of real frames -> the weights that read their motions.

The shipped weights were made by this command from the training worlds of `data make`, one file for each scenario; each
tells of how many episodes and steps. First it learns to read pairs of frames, then, that being settled, what the pairs
before and after say of each; `--begin` takes the first from another reader. It takes some minutes; the same data give
the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import DataError
from ..train.dataset import HELD_OUT_SEED_BASE, Dataset, check_alike, read_episode
from ..train.optim import learning_rate_factor
from .motion_reader import MotionReader, costs_of_clip, load_reader, mirrored_order, shipped_reader
from .motions import Motions, motions_of

LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.05
BATCH = 64
STRETCH = 32  # successive pairs of frames that are kept together
STRETCHES = 16  # in a batch of them
NEIGHBOURS_LEARNING_RATE, NEIGHBOURS_STEPS = 1e-3, 9000
BLUR_PROB = 0.3  # generated frames are softer than real ones; a reader that never saw blur would measure that instead


def record(dataset: Dataset, kind: Motions, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the match costs (S, STRETCH, costs, h, w) float16 and motions (S, STRETCH, M) of stretches of frames."""
    generator = torch.Generator().manual_seed(seed)
    costs, motions = [], []
    for path in tqdm(dataset.episodes, desc="matching", unit="episode", leave=False):
        episode = read_episode(path)
        if episode.seed >= HELD_OUT_SEED_BASE:
            raise DataError(f"{path} is a held-out world, on which the reader is tested; train it on others")
        for start in range(0, len(episode.frames) - STRETCH, STRETCH):
            own = torch.from_numpy(episode.frames[start:start + STRETCH + 1])
            if float(torch.rand((), generator=generator)) < BLUR_PROB:
                own = soften(own)
            costs.append(torch.cat(costs_of_clip(own.numpy())).half())
            poses = episode.poses[start:start + STRETCH + 1]
            motions.append(kind.between(poses[:-1], poses[1:]))
    if not costs:
        raise DataError(f"the episodes of {dataset.folder} are shorter than {STRETCH + 1} frames, the least that is "
                        "needed here; make longer ones")
    return torch.stack(costs), torch.from_numpy(np.stack(motions)).float()


def soften(frames: Tensor) -> Tensor:
    """Blur (F, H, W, 3) uint8 by a 3x3 mean."""
    blurred = F.avg_pool2d(frames.movedim(-1, 1).float(), 3, 1, 1, count_include_pad=False)
    return blurred.round().byte().movedim(1, -1).contiguous()


def fit(reader: MotionReader, costs: Tensor, motions: Tensor, kind: Motions, num_steps: int,
        seed: int = 0) -> MotionReader:
    """Train a reader on pairs (N, costs, h, w) with motions (N, M), half of the time mirrored; pairs that turn (or move
    the hand) are drawn more often."""
    rare = rare_motions(kind)
    mirror = torch.tensor(kind.mirror, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in reader.layers:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        reader.spread.copy_(motions.std(dim=0).clamp_min(1e-6))
        weights = 1 + (motions[:, rare].abs() / reader.spread[rare]).sum(dim=1)
        optimizer = torch.optim.AdamW(reader.layers.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        order = mirrored_order()
        reader.train()
        reader.layers.requires_grad_(True)
        for step in tqdm(range(num_steps), desc="fitting", unit="step", leave=False):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * learning_rate_factor(step, num_steps, 50, num_steps)
            index = torch.multinomial(weights, BATCH)
            inputs, wanted = costs[index].float(), motions[index] / reader.spread
            if step % 2:
                inputs, wanted = inputs[:, order].flip(-1), wanted * mirror
            loss = F.smooth_l1_loss(reader.of_pairs(inputs), wanted, beta=0.3)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return reader.eval().requires_grad_(False)


def fit_neighbours(reader: MotionReader, costs: Tensor, motions: Tensor, kind: Motions, num_steps: int,
                   seed: int = 0) -> MotionReader:
    """Train what a reader hears from a pair's neighbours, on stretches (S, T, costs, h, w) with motions (S, T, M); how
    it reads pairs stays as it is. Pairs that turn (or move the hand) weigh more."""
    rare, order = rare_motions(kind), mirrored_order()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in reader.neighbours.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        for parameter in reader.neighbours.tell.parameters():
            parameter.zero_()  # begin with what pairs tell alone
        features = [torch.stack([reader.features(own) for own in tqdm(costs, desc=name, unit="stretch", leave=False)])
                    for name, costs in (("reading", map(Tensor.float, costs)),
                                        ("mirrored", (own.float()[:, order].flip(-1) for own in costs)))]
        wanted = [motions / reader.spread, motions / reader.spread * torch.tensor(kind.mirror, dtype=torch.float32)]
        reader.neighbours.train().requires_grad_(True)
        optimizer = torch.optim.AdamW(reader.neighbours.parameters(), NEIGHBOURS_LEARNING_RATE,
                                      weight_decay=WEIGHT_DECAY)
        for step in tqdm(range(num_steps), desc="fitting neighbours", unit="step", leave=False):
            for group in optimizer.param_groups:
                group["lr"] = NEIGHBOURS_LEARNING_RATE * learning_rate_factor(step, num_steps, 50, num_steps)
            index = torch.randint(len(motions), (STRETCHES,))
            own = wanted[step % 2][index]
            with torch.enable_grad():
                off = F.smooth_l1_loss(reader.told(features[step % 2][index]), own, beta=0.3, reduction="none")
                loss = (off * (1 + own[..., rare].abs().sum(dim=-1, keepdim=True))).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            optimizer.step()
    return reader.eval().requires_grad_(False)


def rare_motions(kind: Motions) -> list[int]:
    """The motions of which there is the least in data: turns, or those of a hand."""
    return [kind.index(name) for name in kind.names if name.endswith("_rad")] or [kind.index(n) for n in kind.leads]


def save_reader(reader: MotionReader, path: Path, **metadata: str | int) -> None:
    """Write the weights in half precision with what they were made of, by temp name and rename."""
    temporary = path.with_name(path.name + ".tmp")
    tensors = {name: p.detach().half().contiguous() for name, p in reader.named_parameters()}
    save_file(tensors, temporary, {name: str(value) for name, value in metadata.items()})
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights of the motion reader.")
    parser.add_argument("--data", type=Path, required=True, nargs="+",
                        help="folders made by `data make`, of training worlds of one scenario")
    parser.add_argument("--out", type=Path, help="weights file (that of the data's scenario in this package)")
    parser.add_argument("--steps", type=int, default=6000, help="training steps on pairs of frames (%(default)s)")
    parser.add_argument("--begin", type=Path, metavar="FILE",
                        help="a reader that knows pairs of frames already; only what is beside them is learned")
    args = parser.parse_args()
    check_alike(args.data)
    datasets = [Dataset(folder) for folder in args.data]
    settings, scenario = datasets[0].settings, datasets[0].manifest["scenario"]
    for other in datasets[1:]:
        if other.manifest["scenario"] != scenario:
            raise DataError(f"{other.folder} holds {other.manifest['scenario']}, but {datasets[0].folder} {scenario}; "
                            "a reader reads one scenario")
    kind = motions_of(scenario)
    own = {"episodes": sum(map(len, datasets)),
           "data_hash": " ".join(dataset.manifest["sha256_of_all"] for dataset in datasets)}
    if args.begin:
        reader = load_reader(args.begin, scenario, settings.width, settings.height, pairs_alone=True)
        with safe_open(args.begin, framework="pt") as file:
            pairs = {name: file.metadata().get(name, "unknown") for name in ("steps", *own)}
    else:
        reader = MotionReader(settings.width, settings.height, len(kind.names))
        pairs = {"steps": args.steps, **own}
    costs, motions = map(torch.cat, zip(*(record(dataset, kind) for dataset in datasets), strict=True))
    if not args.begin:
        fit(reader, costs.flatten(0, 1), motions.flatten(0, 1), kind, args.steps)
    fit_neighbours(reader, costs, motions, kind, NEIGHBOURS_STEPS)
    save_reader(reader, args.out or shipped_reader(scenario), scenario=scenario, width=settings.width,
                height=settings.height, **pairs, neighbours_steps=NEIGHBOURS_STEPS,
                **{f"neighbours_{name}": value for name, value in own.items()})


if __name__ == "__main__":
    main()
