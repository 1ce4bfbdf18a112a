"""`train filter`: a world and data sets -> the loop filter of the world's codec (codec/loop_filter.py).

The world, which stays as it is, runs freely under what somebody did in the data, for up to a minute and with the filter
in its loop as at play (filter_streams.py). The filter learns from batches of what it was given there: a critic of
pictures says what looks true, the truth itself counts for the first half second, and what needs no change is best left
alone. Every picture of a free run is judged as it is, so no gradient has to go through the run.

The filter lies in the codec's file; everything else there, and the network, are copied.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import paths
from ..codec import pixels
from ..codec.loop_filter import LoopFilter
from ..codec.mini import MiniCodec
from ..config import WorldConfig, written_world_config
from ..contradictions import first_contradiction
from ..errors import ConfigError, DataError
from ..model.checkpoint import load_codec, load_model
from ..model.loading import choose_device
from ..model.transformer import Transformer
from .adversary import critic_loss
from .codec_parts import save_with_part
from .dataset import Dataset
from .filter_recipe import FilterRecipe
from .filter_streams import Examples, FreeStreams, Pool
from .latents import LatentDataset
from .loop import TrainingLog, load_checkpoint, save_checkpoint, save_strip, schedule_position
from .only_writer import only_writer
from .optim import EMA, Stepper, autocast_to, learning_rate_factor, working_dtype
from .picture_critic import PictureCritic
from .replicas import ALONE, Replicas, join_replicas
from .run_options import add_run_options, recipe_of

STRIP_FRAMES = 8, 16, 32, 64, 96, 128, 176, 224  # of a free run, shown in the sample strips as far as episodes go
STRIP_RUNS = 4


class FilterTraining:
    """State of a run."""

    def __init__(self, recipe: FilterRecipe, config: WorldConfig, model: Transformer, codec: MiniCodec,
                 data: dict[str, LatentDataset], replicas: Replicas = ALONE, begin: LoopFilter | None = None) -> None:
        """`begin`: the filter to begin with; None: a random one."""
        self.recipe, self.replicas = recipe, replicas
        self.device = choose_device()
        torch.manual_seed(recipe.seed)
        self.filter = LoopFilter(recipe.width).to(self.device)
        if begin is not None:
            self.filter.load_state_dict(begin.state_dict())
        self.critic = PictureCritic(recipe.critic_width).to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.filter.parameters(), recipe.lr, betas=(0.0, 0.99))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), recipe.critic_lr, betas=(0.0, 0.99))
        self.stepper = Stepper(self.filter, [self.optimizer])
        self.critic_stepper = Stepper(self.critic, [self.critic_optimizer])
        self.ema = EMA(self.filter, recipe.ema_decay)
        self.average = self.averaged()  # the same as a filter, which the streams run with
        self.generator = torch.Generator().manual_seed(recipe.seed + replicas.rank)
        self.noise = torch.Generator(self.device).manual_seed(recipe.seed + replicas.rank)
        self.dtype = working_dtype(recipe.precision, self.device)
        self.streams = {name: FreeStreams(config.playing(name), model, codec, self.average, own, recipe, self.generator)
                        for name, own in data.items()}
        self.pools, self.young_pools = ({name: Pool(recipe.pool) for name in data} for _ in range(2))
        self.step, self.minutes = 0, 0.0
        self.began_with: dict = {}  # provenance of the filter that it began with

    @property
    def position(self) -> int:
        """Where the run is in the recipe's schedule, in the recipe's steps; at `num_steps` it is done."""
        return schedule_position(self.step, self.recipe.num_steps, self.minutes, self.recipe.minutes)

    def step_once(self) -> dict[str, float]:
        """Let one scenario run on, learn from a batch of its pool, return the losses."""
        name = self._choose()
        self._run_on(name)
        batch = self._draw(name)
        if float(torch.rand((), generator=self.generator)) < 0.5:
            batch = batch.mirrored()
        factor = learning_rate_factor(self.position, self.recipe.num_steps, self.recipe.warmup_steps,
                                      self.recipe.decay_steps)
        self.optimizer.param_groups[0]["lr"] = factor * self.recipe.lr
        self.critic_optimizer.param_groups[0]["lr"] = factor * self.recipe.critic_lr
        parts = self._learn(batch)
        self.ema.copy_to(self.average)
        self.step += 1
        return {f"{key}_{name}": value for key, value in parts.items()}

    def _choose(self) -> str:
        """Return the scenario of a step, each by its share, and of all replicas the same."""
        names = list(self.streams)
        shares = torch.tensor([self.recipe.shares.get(name, 1.0) for name in names])
        generator = torch.Generator().manual_seed((self.recipe.seed << 32) + self.step)
        return names[int(torch.multinomial(shares, 1, generator=generator))]

    def _run_on(self, name: str) -> None:
        """Let the streams of a scenario run on, and keep what the filter was given."""
        streams, recipe = self.streams[name], self.recipe
        risen = min(1.0, 2 * self.position / recipe.num_steps)
        streams.max_age = recipe.first_max_frames + risen * (recipe.max_frames - recipe.first_max_frames)
        streams.refill()
        young = streams.age < recipe.young_frames
        with self._precision():
            examples = streams.advance(1 if young else recipe.frames_per_step)
        (self.young_pools if young else self.pools)[name].add(examples)

    def _draw(self, name: str) -> Examples:
        """Draw a batch from both pools, from one alone while the other is empty."""
        young = round(self.recipe.young_share * self.recipe.batch) if self.pools[name].filled else self.recipe.batch
        parts = [pool[name].draw(count, self.generator) for pool, count in
                 ((self.young_pools, young), (self.pools, self.recipe.batch - young)) if count]
        return Examples(*(torch.cat([getattr(part, own.name) for part in parts])
                          for own in dataclasses.fields(Examples)))

    def _learn(self, batch: Examples) -> dict[str, float]:
        recipe = self.recipe
        with self._precision():
            made = self.filter(batch.pictures, batch.moved, batch.seen, self.filter.style(batch.starts)).float()
        # In single precision: bfloat16 rounds verdicts by more than a small disturbance changes them, and a large one
        # (noise of a tenth) looks so untrue that a critic cannot be indifferent to it.
        critic, margin = critic_loss(
            lambda both: self.critic(both, batch.starts.repeat(len(both) // len(batch), 1, 1, 1)),
            batch.truth, made.detach(), recipe.critic_penalty, recipe.critic_disturbance, self.noise)
        critic.backward()
        self.replicas.average_gradients(self.critic)
        self.critic_stepper.take(self.step)
        with self._precision():
            with torch.no_grad():
                true = self.critic(batch.truth, batch.starts).float()
            self.critic.requires_grad_(False)
            doubt = F.softplus(true - self.critic(made, batch.starts).float()).mean()
            self.critic.requires_grad_(True)
        change = ((made - batch.pictures).abs() * batch.seen).mean()
        wrong = (made - batch.truth).abs().mean(dim=(1, 2, 3))
        young = torch.exp(-batch.ages / recipe.truth_frames)
        loss = (recipe.critic_weight * doubt + recipe.keep_weight * change
                + recipe.truth_weight * (young * wrong).mean())
        loss.backward()
        self.replicas.average_gradients(self.filter)
        if math.isfinite(self.stepper.take(self.step)):
            self.ema.update(self.filter, self.step)
        before = (batch.pictures - batch.truth).abs().mean(dim=(1, 2, 3))
        return {"critic": critic.item(), "margin": margin.item(), "doubt": doubt.item(), "change": change.item(),
                "gain": ((young * (before - wrong)).sum() / young.sum().clamp_min(1e-3)).item(),
                "age": batch.ages.mean().item()}

    def _precision(self) -> torch.autocast:
        return autocast_to(self.dtype, self.device)

    def state(self) -> dict:
        """What resuming needs; free runs begin anew."""
        return {"filter": self.filter.state_dict(), "critic": self.critic.state_dict(), "ema": self.ema.shadow,
                "optimizer": self.optimizer.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict(),
                "step": self.step, "minutes": self.minutes, "began_with": self.began_with}

    def restore(self, state: dict) -> None:
        """Go on from `state`."""
        self.filter.load_state_dict(state["filter"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.ema.shadow = {name: own.to(self.device) for name, own in state["ema"].items()}
        self.ema.copy_to(self.average)
        self.step, self.minutes, self.began_with = state["step"], state["minutes"], state.get("began_with", {})
        for generator in (self.generator, self.noise):  # not the numbers again that were drawn before
            generator.manual_seed(self.recipe.seed + self.replicas.rank + (self.step << 16))

    def averaged(self) -> LoopFilter:
        """A copy of the filter with the averaged weights."""
        loop_filter = LoopFilter(self.recipe.width).eval().requires_grad_(False).to(self.device)
        self.ema.copy_to(loop_filter)
        return loop_filter


@torch.no_grad()
def sample_strip(training: FilterTraining, world: tuple[WorldConfig, Transformer, MiniCodec], data: LatentDataset,
                 path: Path) -> dict[str, float]:
    """Let streams with the averaged filter run freely from start pictures of `data`; write truth above dream.

    Returns how sharp (mean absolute differences of neighbours) and how rich in contrast the dream is, each as a share
    of the truth's, over the frames shown.
    """
    longest = min(STRIP_FRAMES[-1] + 1, data.longest_clip - 1)
    recipe = dataclasses.replace(training.recipe, clip_frames=longest, streams=STRIP_RUNS)
    streams = FreeStreams(*world, training.averaged(), data, recipe, torch.Generator().manual_seed(1234))
    shown, truths = [], []
    streams.begin()
    for frame in STRIP_FRAMES:
        if frame < longest:
            truths.append(streams.advance(frame - streams.age).truth)
            shown.append(streams.picture)
    truth, dream = torch.stack(truths, dim=1), torch.stack(shown, dim=1)
    save_strip(path, [pixels.to_uint8(video[run].cpu()).numpy() for run in range(len(truth))
                      for video in (truth, dream)])
    return {"sharpness": (_sharpness(dream) / _sharpness(truth)).item(),
            "contrast": (dream.std(dim=(-2, -1)).mean() / truth.std(dim=(-2, -1)).mean()).item()}


def _sharpness(pictures: Tensor) -> Tensor:
    return pictures.diff(dim=-1).abs().mean() + pictures.diff(dim=-2).abs().mean()


def train(recipe: FilterRecipe, world_folder: Path, data_folders: Sequence[Path], held_out_folders: Sequence[Path],
          out: Path, more: bool = False) -> None:
    """Run or resume a recipe; the world with its filter, the log, strips and the checkpoint go to `out`.

    With `more` a new run begins with the filter that the world has.
    """
    config = written_world_config(world_folder)
    if config.codec.kind != "mini" or config.model.anchor != "moved":
        raise ConfigError(f"the world {config.name!r} carries no picture along, so there is nothing to filter; a loop "
                          "filter is for worlds whose anchor is \"moved\"")
    if config.stream.latent_frames_per_chunk != 1:
        raise ConfigError(f"the world {config.name!r} makes {config.stream.latent_frames_per_chunk} latent frames at a "
                          "time, but free runs of this training make one")
    for name in recipe.play_strength:
        with_stream(config, name, {})  # a wrong name is found before the training, not after it
    for name, settings in recipe.play_stream.items():
        config = with_stream(config, name, settings)
    device, replicas = choose_device(), join_replicas()
    model = load_model(world_folder, config).to(device).eval().requires_grad_(False)
    codec = load_codec(world_folder, config).to(device).eval().requires_grad_(False)
    begin, codec.loop_filter = codec.loop_filter if more else None, None
    if more and (begin is None or config.codec.loop_filter_width != recipe.width):
        raise ConfigError(f"the filter of {config.name!r} is {config.codec.loop_filter_width} wide (0: it has none), "
                          f"but that of the recipe is {recipe.width}; leave out --more, or give the recipe its width")
    data, held_out = (read_data(config, folders, codec) for folders in (data_folders, held_out_folders))
    for own in data.values():
        own.check_clips(recipe.clip_frames + 1, "a free run of clip_frames")
    for own in held_out.values():
        own.check_clips(STRIP_FRAMES[0] + 2, "a sample strip")
    training = FilterTraining(recipe, config, model, codec, data, replicas, begin)
    state = load_checkpoint(out / "filter_checkpoint.pt")
    if state:
        training.restore(state)
    elif more:
        training.began_with = config.provenance["loop_filter"]
    log = TrainingLog(out) if replicas.writes else None
    if log:
        log.write(event="start", step=training.step, precision=str(training.dtype), replicas=replicas.count,
                  parameters=sum(p.numel() for p in training.filter.parameters()))
    _run(training, log, (config, model, codec), held_out, world_folder, out)


def with_stream(config: WorldConfig, scenario: str, settings: dict[str, Any]) -> WorldConfig:
    """Return a config one of whose scenarios is played with other stream settings.

    ConfigError if it has no such scenario, or no such settings.
    """
    if scenario not in config.scenarios:
        raise ConfigError(f"the recipe has play settings of {scenario!r}, but the world plays "
                          f"{', '.join(config.scenarios) or 'a single scenario'}")
    own = config.scenarios[scenario]
    changed = dataclasses.replace(own, stream={**own.stream, **settings})
    config = dataclasses.replace(config, scenarios={**config.scenarios, scenario: changed})
    if sentence := first_contradiction(config.playing(scenario)):
        raise ConfigError(f"the recipe's play settings of {scenario!r}: {sentence}")
    return config


def read_data(config: WorldConfig, folders: Sequence[Path], codec: MiniCodec) -> dict[str, LatentDataset]:
    """Read one data set for each scenario of a world that folders were given for, with its pictures."""
    scale, data = torch.tensor(config.latent_scale or (1.0,) * config.codec.latent_channels), {}
    for folder in folders:
        scenario = Dataset(folder).manifest["scenario"]
        if config.scenarios and scenario not in config.scenarios:
            raise ConfigError(f"{folder} holds {scenario}, which {config.name!r} does not play")
        name = scenario if config.scenarios else ""
        if config.playing(name).controls.modality == "arm":
            raise ConfigError(f"{folder} holds {scenario}, whose camera never moves, and no filter is applied there; "
                              "leave it out")
        size = Dataset(folder).settings.width, Dataset(folder).settings.height
        if size != (config.width, config.height):
            raise DataError(f"{folder} holds pictures of {size[0]}x{size[1]} pixels, but the world {config.name!r} "
                            f"makes {config.width}x{config.height}; make them in its size")
        if name in data:
            raise ConfigError(f"{folder} is a second data set of one scenario; give one folder for each")
        data[name] = LatentDataset(folder, codec, scale, True, choose_device())
    return data


def save_world(training: FilterTraining, config: WorldConfig, codec: MiniCodec, world_folder: Path, out: Path) -> None:
    """Write the world with its averaged filter, which the player can open."""
    recipe = training.recipe
    for name, strength in recipe.play_strength.items():
        config = with_stream(config, name, {"filter_strength": strength})
    codec.loop_filter = training.averaged()
    save_with_part(codec, config, {"loop_filter_width": recipe.width}, {"loop_filter": {
        "command": "train filter", "recipe": dataclasses.asdict(recipe), "steps": training.step,
        "minutes": round(training.minutes, 1), "replicas": training.replicas.count,
        **({"began_with": training.began_with} if training.began_with else {})}}, world_folder, out)
    codec.loop_filter = None


def _run(training: FilterTraining, log: TrainingLog | None, world: tuple[WorldConfig, Transformer, MiniCodec],
         held_out: dict[str, LatentDataset], world_folder: Path, out: Path) -> None:
    """Train to the end of the recipe; `log` is None in replicas that write nothing."""
    recipe, sums = training.recipe, {}
    mark, marked_step, tick = time.perf_counter(), training.step, time.perf_counter()
    while training.position < recipe.num_steps:
        for name, value in training.step_once().items():
            sums.setdefault(name, []).append(value)
        now = time.perf_counter()
        minutes, tick = training.minutes + (now - tick) / 60, now
        training.minutes = training.replicas.first(minutes) if recipe.minutes else minutes
        done = training.position >= recipe.num_steps
        if log and (training.step % recipe.log_every == 0 or done):
            seconds = time.perf_counter() - mark
            log.write(step=training.step, minutes=training.minutes,
                      pictures_per_s=(training.step - marked_step) * recipe.batch * training.replicas.count / seconds,
                      **{key: sum(own) / len(own) for key, own in sums.items()})
        if training.step % recipe.log_every == 0 or done:
            sums, mark, marked_step = {}, time.perf_counter(), training.step
        if log and (training.step % recipe.save_every == 0 or done):
            save_world(training, world[0], world[2], world_folder, out)
            save_checkpoint(out / "filter_checkpoint.pt", training.state())  # last: with it the run counts as done
        if log and (training.step % recipe.sample_every == 0 or done):
            for name, own in held_out.items():
                file = out / "strips" / f"filter_{training.step:06d}{'_' * bool(name)}{name}.png"
                config = world[0].playing(name) if name else world[0]
                scores = sample_strip(training, (config, *world[1:]), own, file)
                log.write(step=training.step, **({"scenario": name} if name else {}), **scores)
            tick = time.perf_counter()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train filter`."""
    add_run_options(parser)
    parser.add_argument("--world", required=True, metavar="WORLD", help="the world whose free runs are filtered")
    parser.add_argument("--more", action="store_true",
                        help="begin with the filter that the world has, as after a training of its network alone")


def main(args: argparse.Namespace) -> int:
    """Run `train filter`."""
    recipe = recipe_of(args, FilterRecipe)
    with only_writer(args.out):
        train(recipe, paths.world_folder(args.world), args.data, args.held_out, args.out, args.more)
    return 0
