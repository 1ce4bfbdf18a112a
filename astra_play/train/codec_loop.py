"""`train codec`: a data set -> the autoencoder of a world folder.

The encoder is fitted first, in seconds (principal components), and saved at once, so that a world can start training on
its latents. Then the decoder learns, with the encoder frozen, what a linear map cannot know. Latents are noised
while it learns, because at play they come from a network and not from a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..codec import pixels
from ..codec.hand import HandFinder
from ..codec.mini import MiniCodec, fit_linear
from ..config import CodecConfig, ModelConfig, WorldConfig, load_world_config
from ..errors import ConfigError, DataError
from ..model.checkpoint import CODEC_FILE, load_strict, read_tensors, save_config, save_module
from .codec_parts import TAUGHT_LATER
from .dataset import Dataset, check_alike, read_episodes
from .hand_loop import teach
from .loop import (
    TrainingLog,
    load_checkpoint,
    psnr_db,
    save_checkpoint,
    save_strip,
    schedule_position,
)
from .only_writer import only_writer
from .optim import EMA, Stepper, autocast_to, learning_rate_factor, working_dtype
from .run_options import add_run_options, recipe_of


@dataclass(frozen=True)
class CodecRecipe:
    """A whole training run of the autoencoder."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    scale_exponent: float = 0.5  # network latents = codec latents / std^exponent: loud channels stay louder, less so
    fit_frames: int = 3000
    hand_worlds: int = 300  # of the arm, drawn to teach the hand finder; only if `codec.hand_width` asks for one
    hand_steps: int = 1200
    batch: int = 16
    num_steps: int = 3000
    minutes: float = 0.0  # positive: a time budget, as in a world's recipe
    warmup_steps: int = 50
    decay_steps: int = 1000
    lr: float = 1e-3
    ema_decay: float = 0.998
    gradient_weight: float = 0.5
    noise_max: float = 0.15  # of network latents; half of the batches see none
    precision: str = "auto"
    seed: int = 0
    log_every: int = 20
    save_every: int = 200
    sample_every: int = 500


class FramePairs:
    """All frames of data sets in memory as uint8; batches are neighbouring frames, for the decoder's memory."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for folder in folders for path in Dataset(folder).episodes]
        self.frames = [torch.from_numpy(episode.frames) for episode in read_episodes(paths, "reading")
                       if len(episode.frames) > 1]
        if not self.frames:
            raise DataError(f"{', '.join(map(str, folders))}: no episode has two frames, which is what a decoder "
                            "learns from; make longer ones")

    def sample(self, batch: int, generator: torch.Generator) -> Tensor:
        """Return (batch, 2, 3, H, W) pictures in [-1, 1]."""
        pairs = []
        for _ in range(batch):
            episode = self.frames[int(torch.randint(len(self.frames), (), generator=generator))]
            start = int(torch.randint(len(episode) - 1, (), generator=generator))
            pairs.append(episode[start:start + 2])
        return pixels.to_float(torch.stack(pairs))

    def spread(self, count: int) -> Tensor:
        """Return about `count` frames (N, 3, H, W), evenly taken from all episodes."""
        per_episode = max(1, count // len(self.frames))
        return torch.cat([pixels.to_float(e[torch.linspace(0, len(e) - 1, per_episode).long()]) for e in self.frames])


def picture_loss(ours: Tensor, truth: Tensor, gradient_weight: float) -> Tensor:
    """Root-mean-square error of each picture (B, 3, H, W) plus that of its finite differences, averaged.

    The root weighs a picture's last decibel like its first; the differences ask for edges where they belong.
    """
    error = ours - truth
    rmse = (error.square().mean(dim=(1, 2, 3)) + 1e-6).sqrt()
    across = (error[..., 1:] - error[..., :-1]).square().mean(dim=(1, 2, 3))
    down = (error[..., 1:, :] - error[..., :-1, :]).square().mean(dim=(1, 2, 3))
    return (rmse + gradient_weight * (across + down + 1e-6).sqrt()).mean()


class CodecTraining:
    """State of a codec run."""

    def __init__(self, recipe: CodecRecipe, codec: MiniCodec, scale: Tensor, data: FramePairs) -> None:
        self.recipe, self.codec, self.scale, self.data = recipe, codec, scale[:, None, None], data
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        codec.to(self.device).to(memory_format=torch.channels_last)
        codec.encoder.requires_grad_(False)
        if codec.hand is not None:
            codec.hand.requires_grad_(False)  # it has learned all that it will before the decoder begins
        learned = [p for p in codec.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, recipe.lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.stepper = Stepper(codec, [self.optimizer])
        self.ema = EMA(codec, recipe.ema_decay)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.dtype = working_dtype(recipe.precision, self.device)
        self.step = 0
        self.minutes = 0.0

    @property
    def position(self) -> int:
        """Where the run is in the recipe's schedule, in the recipe's steps; at `num_steps` it is done."""
        return schedule_position(self.step, self.recipe.num_steps, self.minutes, self.recipe.minutes)

    def step_once(self) -> dict[str, float]:
        """Decode the second picture of each pair from noised latents; return the losses."""
        recipe = self.recipe
        factor = learning_rate_factor(self.position, recipe.num_steps, recipe.warmup_steps, recipe.decay_steps)
        self.optimizer.param_groups[0]["lr"] = recipe.lr * factor
        pictures = self.data.sample(recipe.batch, self.generator).to(self.device)
        level = torch.rand(recipe.batch, 1, 1, 1, 1, generator=self.generator)
        level = (2 * level - 1).clamp_min(0) * recipe.noise_max
        with torch.no_grad():
            latents = self.codec.encode(pictures)
            noise = torch.randn(latents.shape, generator=self.generator)
            latents = latents + self.scale.to(self.device) * (level * noise).to(self.device)
        with autocast_to(self.dtype, self.device):
            ours = self.codec.decode(latents[:, 1:], latents[:, :1])
        loss = picture_loss(ours[:, 0].float(), pictures[:, 1], recipe.gradient_weight)
        loss.backward()
        if math.isfinite(self.stepper.take(self.step)):
            self.ema.update(self.codec, self.step)
        self.step += 1
        with torch.no_grad():
            quiet = (level.flatten() == 0)
            mse = (ours[:, 0].float() - pictures[:, 1]).square().mean(dim=(1, 2, 3))
        mse_quiet = (mse * quiet.to(self.device)).sum().item() / max(1, int(quiet.sum()))
        return {"loss": loss.item(), "mse_noiseless": mse_quiet}

    def state(self) -> dict:
        """Everything that resuming needs."""
        return {"codec": self.codec.state_dict(), "ema": self.ema.shadow, "optimizer": self.optimizer.state_dict(),
                "step": self.step, "minutes": self.minutes, "generator": self.generator.get_state(),
                "scale": self.scale.flatten()}

    def restore(self, state: dict) -> None:
        """Go on from `state`."""
        self.codec.load_state_dict(state["codec"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.shadow = {k: v.to(self.device) for k, v in state["ema"].items()}
        self.generator.set_state(state["generator"])
        self.step, self.minutes = state["step"], state.get("minutes", 0.0)

    def averaged(self) -> MiniCodec:
        """A copy with the averaged weights."""
        codec = MiniCodec(self.recipe.codec).eval().requires_grad_(False).to(self.device)
        self.ema.copy_to(codec)
        return codec


def codec_world(recipe: CodecRecipe, datasets: Sequence[Dataset], scale: Tensor,
                init_folder: Path | None = None) -> WorldConfig:
    """A world config that is complete as far as a codec goes; `train world` fills in the rest."""
    provenance = {"codec_recipe": dataclasses.asdict(recipe), "codec_data_sha256": {
        own.manifest["scenario"]: own.manifest["sha256_of_all"] for own in datasets}}
    if init_folder is not None:
        earlier = load_world_config(init_folder).provenance
        provenance["codec_began_with"] = {key: value for key, value in earlier.items() if key.startswith("codec")}
    manifest, codec = datasets[0].manifest, recipe.codec
    model = ModelConfig(dim=64, ffn_dim=64, num_heads=1, num_layers=0, latent_channels=codec.latent_channels,
                        grid_height=manifest["height"] // codec.spatial_compression,
                        grid_width=manifest["width"] // codec.spatial_compression)
    return WorldConfig(name="codec", title="Autoencoder", description="An autoencoder without a world.", model=model,
                       width=manifest["width"], height=manifest["height"], fps=manifest["fps"], codec=codec,
                       latent_scale=tuple(float(f"{s:.6g}") for s in scale.tolist()),
                       provenance=provenance)


@torch.no_grad()
def evaluate_codec(codec: MiniCodec, frames: Tensor) -> dict[str, float]:
    """PSNR in dB of frames (N, 3, H, W) through the whole codec, and through its linear part alone."""
    frames = frames.to(codec.encoder.weight.device)
    latents = codec.encode(frames[:, None])
    whole = torch.cat([codec.decode(piece) for piece in latents.split(32)]).clamp(-1, 1)[:, 0]
    linear = codec.linear_decoder(latents[:, 0]).clamp(-1, 1)
    return {"held_out_db": psnr_db((whole - frames).square().mean().item()),
            "linear_db": psnr_db((linear - frames).square().mean().item())}


def begin(recipe: CodecRecipe, codec: MiniCodec, data: FramePairs, init_folder: Path | None) -> Tensor:
    """Give a new codec its first weights and return the scale (C,) of its latents.

    `init_folder`: a world whose codec is learned further. Its encoder and its scale stay, so worlds that were trained
    on its latents keep their meaning; only the decoder learns to draw what it had not seen.
    """
    for part, how in TAUGHT_LATER.items():
        if getattr(recipe.codec, f"{part}_width"):
            raise ConfigError(f"the {part.replace('_', ' ')} of a codec is taught later, by {how}; leave "
                              f"{part}_width out of the recipe's [codec] section")
    finder, codec.hand = codec.hand, None
    if init_folder is None:
        scale = fit_linear(codec, data.spread(recipe.fit_frames))**recipe.scale_exponent
    else:
        scale = _begin_with(recipe, codec, init_folder)
    if finder is not None and codec.hand is None:
        teach(finder, recipe.hand_worlds, recipe.hand_steps, (data.frames[0].shape[2], data.frames[0].shape[1]))
        codec.hand = finder
    return scale


def _begin_with(recipe: CodecRecipe, codec: MiniCodec, folder: Path) -> Tensor:
    """Take over another world's codec, its hand finder too if it has the one that is asked for; what was taught after
    the codec stays behind."""
    learned = load_world_config(folder)
    none_later = {f"{part}_width": 0 for part in TAUGHT_LATER}
    if dataclasses.replace(learned.codec, hand_width=recipe.codec.hand_width, **none_later) != recipe.codec:
        raise ConfigError(f"the codec of {folder} has another shape than the recipe's; use its [codec] section")
    tensors = {name: tensor for name, tensor in read_tensors(folder / CODEC_FILE).items()
               if name.split(".")[0] not in TAUGHT_LATER}
    if recipe.codec.hand_width and learned.codec.hand_width == recipe.codec.hand_width:
        codec.hand = HandFinder(recipe.codec.hand_width)
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("hand.")}
    load_strict(codec, tensors, folder / CODEC_FILE)
    return torch.tensor(learned.latent_scale)


def train(recipe: CodecRecipe, data_folders: Sequence[Path], held_out_folders: Sequence[Path], out: Path,
          init_folder: Path | None = None) -> None:
    """Run or resume a codec recipe on the frames of one data set or several; `init_folder` as in `begin`."""
    check_alike([*data_folders, *held_out_folders], recipe.codec.spatial_compression)
    data, held_out = FramePairs(data_folders), FramePairs(held_out_folders).spread(120)
    codec = MiniCodec(recipe.codec)
    torch.manual_seed(recipe.seed)
    state = load_checkpoint(out / "codec_checkpoint.pt")
    if state:
        scale = state["scale"]
    else:
        scale = begin(recipe, codec, data, init_folder)
        save_config(codec_world(recipe, [Dataset(folder) for folder in data_folders], scale, init_folder), out)
        save_module(codec, out / CODEC_FILE)
    training = CodecTraining(recipe, codec, scale, data)
    if state:
        training.restore(state)
    if not (out / CODEC_FILE).is_file():
        save_module(training.averaged(), out / CODEC_FILE)
    log = TrainingLog(out)
    log.write(event="start", step=training.step, parameters=sum(p.numel() for p in codec.parameters()),
              precision=str(training.dtype), **evaluate_codec(training.averaged(), held_out))
    _run(training, log, held_out, out)


def _run(training: CodecTraining, log: TrainingLog, held_out: Tensor, out: Path) -> None:
    recipe, sums = training.recipe, {}
    mark, marked_step, tick = time.perf_counter(), training.step, time.perf_counter()
    while training.position < recipe.num_steps:
        for name, value in training.step_once().items():
            sums.setdefault(name, []).append(value)
        now = time.perf_counter()
        training.minutes, tick = training.minutes + (now - tick) / 60, now
        done = training.position >= recipe.num_steps
        if training.step % recipe.log_every == 0 or done:
            seconds = time.perf_counter() - mark
            means = {k: sum(v) / len(v) for k, v in sums.items()}
            log.write(step=training.step, loss=means["loss"], train_db=psnr_db(means["mse_noiseless"]),
                      frames_per_s=(training.step - marked_step) * recipe.batch / seconds)
            sums, mark, marked_step = {}, time.perf_counter(), training.step
        if training.step % recipe.sample_every == 0 or done:
            codec = training.averaged()
            log.write(step=training.step, **evaluate_codec(codec, held_out))
            some = held_out[:: max(1, len(held_out) // 10)][:10]
            with torch.no_grad():
                ours = codec.decode(codec.encode(some[:, None].to(training.device)))[:, 0].cpu()
            save_strip(out / "strips" / f"codec_{training.step:06d}.png",
                       [pixels.to_uint8(v).numpy() for v in (some, ours)])
        if training.step % recipe.save_every == 0 or done:
            save_module(training.averaged(), out / CODEC_FILE)
            save_checkpoint(out / "codec_checkpoint.pt", training.state())  # last: with it the run counts as done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train codec`."""
    add_run_options(parser, held_out="scores and strips")
    parser.add_argument("--init", type=Path, metavar="WORLD",
                        help="world whose codec a new run begins with; its encoder stays as it is")


def main(args: argparse.Namespace) -> int:
    """Run `train codec`."""
    with only_writer(args.out):
        train(recipe_of(args, CodecRecipe), args.data, args.held_out, args.out, args.init)
    return 0
