"""`train world`: data sets + codec + recipe -> a folder of weights that the player can open.

One step: choose a scenario, draw clips, perhaps let the network play them itself, one two-stream pass, one optimizer
step, EMA. Everything that a killed run needs to go on to the same losses is in one checkpoint: weights, optimizers,
EMA, step, random state.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from ..codec import pixels
from ..codec.mini import MiniCodec
from ..config import StreamConfig, WorldConfig, from_dict, load_world_config, to_dict, written_world_config
from ..contradictions import first_contradiction
from ..errors import ConfigError
from ..model.checkpoint import (
    CODEC_FILE,
    MODEL_FILE,
    copy_weights,
    files_of,
    load_codec,
    load_strict,
    read_tensors,
    save_config,
    save_module,
)
from ..model.loading import choose_device
from ..model.transformer import Transformer
from ..model.two_stream import TwoStream
from .adversary import Adversary
from .dataset import check_alike
from .latents import Clips
from .loop import (
    FlopCount,
    TrainingLog,
    load_checkpoint,
    matmul_flop_s,
    psnr_db,
    save_checkpoint,
    save_strip,
    schedule_position,
)
from .losses import Past, Predictions, own_past, true_past, world_loss
from .only_writer import only_writer
from .optim import EMA, Stepper, autocast_to, learning_rate_factor, make_optimizers, working_dtype
from .replicas import ALONE, Replicas, join_replicas
from .run_options import add_run_options, recipe_of
from .world_data import Part, check_data, parts_of, read_data, with_controls, world_config
from .world_recipe import WorldRecipe, critic_share

STRIP_FRAMES = 33  # of a sample strip, where episodes are that long


class WorldTraining:
    """State of a run. `step_once` is the whole recipe; everything around it is bookkeeping."""

    def __init__(self, recipe: WorldRecipe, parts: dict[str, Part], config: WorldConfig,
                 replicas: Replicas = ALONE) -> None:
        torch.manual_seed(recipe.seed)
        self.replicas = replicas
        self.recipe, self.parts, self.config = recipe, parts, config
        needed = (recipe.stream.sink_chunks + recipe.stream.ring_chunks + 1) * recipe.stream.latent_frames_per_chunk
        if recipe.clip_frames < needed:
            raise ConfigError(f"clip_frames is {recipe.clip_frames}, but the context window and one chunk hold "
                              f"{needed} latent frames; a shorter clip would leave time indices untrained")
        self.device = choose_device()
        self.model = Transformer(config.model).to(self.device)
        self.dtype = working_dtype(recipe.precision, self.device)
        self.optimizers = make_optimizers(self.model, recipe.lr, recipe.lr_other, recipe.weight_decay, self.dtype)
        self.stepper = Stepper(self.model, self.optimizers)
        self.ema = EMA(self.model, recipe.ema_decay)
        # Alike in all replicas at first; how much it draws and what it hears is each replica's own from there on.
        self.adversary = Adversary(config.model, self.device, recipe.seed, recipe.critic_lr, recipe.critic_penalty)
        self.two_streams = {samples: TwoStream(self.model, recipe.clip_frames, recipe.stream.latent_frames_per_chunk,
                                               self.device, samples) for samples in (1, 2)}
        self.generator = torch.Generator().manual_seed(recipe.seed + replicas.rank)
        self.step = 0
        self.minutes = 0.0
        self.frames_seen = 0
        self.began_with: dict = {}  # provenance of the world whose weights it began with
        self.flop_done = 0  # of forward, rollouts and backward of this replica since this process began
        self._flop: dict[tuple[bool, str, int, bool], int] = {}  # of one step, by what it does

    def precision(self) -> torch.autocast:
        """Autocast to bfloat16 where that is faster."""
        return autocast_to(self.dtype, self.device)

    @property
    def position(self) -> int:
        """Where the run is in the recipe's schedule, in the recipe's steps; at `num_steps` it is done."""
        return schedule_position(self.step, self.recipe.num_steps, self.minutes, self.recipe.minutes)

    def step_once(self) -> dict[str, float]:
        """Run one training step and return what it measured."""
        recipe, position = self.recipe, self.position
        self._set_learning_rates()
        chances = self._chances()
        own = position >= recipe.rollout_from_step and chances[0] < recipe.rollout_prob
        name, part = self._choose(chances[1])
        num_samples, judges = 2 if position >= recipe.energy_from_step else 1, position >= recipe.critic_from_step
        kind = own, name, num_samples, judges
        with nullcontext() if kind in self._flop else FlopCount() as count:
            measured = self._learn(part, own, num_samples, judges)
        if count is not None:
            self._flop[kind] = count.total
        self.flop_done += self._flop[kind]
        self.replicas.average_gradients(self.model)
        norm = self.stepper.take(self.step)
        if math.isfinite(norm):
            self.ema.update(self.model, self.step)
        self.step += 1
        self.frames_seen += self.frames_per_step
        measured["gradient_norm"] = norm
        suffix = ("_own" if own else "") + (f"_{name}" if name else "")
        return {f"{k}{suffix}" if k.startswith("mse") else k: v for k, v in measured.items()}

    def _learn(self, part: Part, own: bool, num_samples: int, judges: bool) -> dict[str, float]:
        """Leave the gradients of one batch in the model."""
        with self.precision():
            clips, past = self._own_past(part) if own else self._true_past(part)
            loss, measured, predictions = world_loss(self.two_streams[num_samples], clips, past, self.recipe.noise,
                                                     part.modality, self.generator)
        if judges:
            loss, judged = self._with_critic(loss, predictions)
            measured |= judged
        loss.backward()
        return measured

    def _choose(self, chance: float) -> tuple[str, Part]:
        """Return the scenario of a step, each by its share."""
        ends = list(accumulate(part.share for part in self.parts.values()))
        return list(self.parts.items())[bisect_right(ends, chance * ends[-1])]

    def _with_critic(self, loss: Tensor, predictions: Predictions) -> tuple[Tensor, dict[str, float]]:
        """Add the critic's push to the loss, scaled to a share of the loss's own gradient.

        That gradient is averaged over steps: in rollouts that have strayed from the truth it is nearly nothing, and
        there the critic is the only one who can say what looks wrong.
        """
        recipe = self.recipe
        own = torch.autograd.grad(loss, predictions.clean, retain_graph=True)[0]
        push, judged = self.adversary.judge(predictions, recipe.critic_frames, self.replicas)
        if not judged:
            return loss, judged
        heard = (push != 0).flatten(3).any(dim=3)[..., None, None, None]
        loudness = self.adversary.average_loudness(float((own * heard).norm()))
        scale = critic_share(recipe, self.position) * loudness / push.norm().clamp_min(1e-12)
        return loss + (predictions.clean * (scale * push)).sum(), judged

    def _set_learning_rates(self) -> None:
        recipe = self.recipe
        factor = learning_rate_factor(self.position, recipe.num_steps, recipe.warmup_steps, recipe.decay_steps)
        for optimizer, rate in zip(self.optimizers, (recipe.lr, recipe.lr_other), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate

    def _draw(self, part: Part, num_frames: int) -> Clips:
        recipe = self.recipe
        return part.data.sample(recipe.batch, num_frames, recipe.noise.gap_prob, self.generator).to(self.device)

    def _true_past(self, part: Part) -> tuple[Clips, Past]:
        clips = self._draw(part, self.recipe.clip_frames)
        return clips, true_past(clips, self.recipe.stream.latent_frames_per_chunk, part.motion)

    def _own_past(self, part: Part) -> tuple[Clips, Past]:
        """Let the network play a clip that may be longer than the window, and keep its sink and its newest chunks."""
        recipe, chunk = self.recipe, self.recipe.stream.latent_frames_per_chunk
        extra = chunk * self._integer(0, recipe.rollout_extra_frames // chunk)
        num_true = self._integer(2, max(2, recipe.rollout_true_frames))
        clips = self._draw(part, recipe.clip_frames + extra)
        past = own_past(self.model, recipe.stream, clips, num_true, part.modality, self.generator, part.motion)
        if extra == 0:
            return clips, past
        kept = [*range(chunk), *range(extra + chunk, extra + recipe.clip_frames)]
        clips = Clips(clips.latents[:, kept], clips.rows[:, kept], torch.ones_like(clips.is_gap))
        errors = None if past.block_errors is None else past.block_errors[:, kept]
        return clips, Past(past.latents[:, kept], past.anchors[:, kept], errors)

    def _integer(self, least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (), generator=self.generator))

    def _chances(self) -> list[float]:
        """Numbers of this step that all replicas draw alike: a rollout on one would keep the others waiting."""
        return torch.rand(2, generator=torch.Generator().manual_seed((self.recipe.seed << 32) + self.step)).tolist()

    @property
    def frames_per_step(self) -> int:
        """Latent frames that all replicas together see in one step."""
        return self.recipe.batch * self.recipe.clip_frames * self.replicas.count

    def state(self) -> dict:
        """Everything that resuming needs."""
        return {"model": self.model.state_dict(), "ema": self.ema.shadow, "step": self.step, "minutes": self.minutes,
                "frames_seen": self.frames_seen, "began_with": self.began_with,
                "optimizers": [o.state_dict() for o in self.optimizers], "adversary": self.adversary.state(),
                "generators": self.replicas.gather(self.generator.get_state()),
                "critics": self.replicas.gather(self.adversary.own_state())}

    def restore(self, state: dict) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ema.shadow = {k: v.to(self.device) for k, v in state["ema"].items()}
        self.adversary.restore(state["adversary"])
        if len(state["generators"]) == self.replicas.count:
            self.generator.set_state(state["generators"][self.replicas.rank])
            if "critics" in state:  # older checkpoints hold the first replica's alone
                self.adversary.restore_own(state["critics"][self.replicas.rank])
        else:  # another number of replicas cannot draw the same numbers; it must not draw old ones again
            self.generator.manual_seed(self.recipe.seed + self.replicas.rank + (state["step"] << 16))
        self.step, self.minutes, self.frames_seen = state["step"], state["minutes"], state["frames_seen"]
        self.began_with = state["began_with"]

    def averaged_model(self) -> Transformer:
        """A copy of the network with the averaged weights."""
        model = Transformer(self.config.model).to(self.device).eval().requires_grad_(False)
        self.ema.copy_to(model)
        return model


@torch.no_grad()
def sample_strip(training: WorldTraining, part: Part, codec: MiniCodec, path: Path,
                 num_frames: int = STRIP_FRAMES) -> dict:
    """Let the averaged network play held-out clips from two true frames, as far as episodes go; write truth above
    dream, return PSNRs in dB."""
    chunk = training.recipe.stream.latent_frames_per_chunk
    num_frames = min(num_frames, part.data.longest_clip) // chunk * chunk
    generator = torch.Generator().manual_seed(1234)
    model = training.averaged_model()
    # Strips run longer than training clips: the window slides over its own output, which is where drift shows.
    clips = part.data.sample(8, num_frames, 0.0, generator).to(training.device)
    past = own_past(model, training.recipe.stream, clips, 2, part.modality, generator, part.motion).latents
    scale = torch.tensor(training.config.latent_scale)[:, None, None]
    truth, dream = (codec.decode(latents.cpu() * scale).clamp(-1, 1) for latents in (clips.latents, past))
    repeat = truth[:, 1:2].expand_as(truth)
    picks = list(range(1, num_frames, 3))
    rows = [pixels.to_uint8(v[i, picks]).numpy() for i in range(4) for v in (truth, dream)]
    save_strip(path, rows)
    scores = {}
    for name, frame in (("1f", 2), ("0.5s", 9), ("1s", 17), ("2s", 32)):
        if frame < num_frames:
            scores[f"psnr_{name}_db"] = psnr_db((dream[:, frame] - truth[:, frame]).square().mean().item())
            scores[f"repeat_{name}_db"] = psnr_db((repeat[:, frame] - truth[:, frame]).square().mean().item())
    return scores


def train(recipe: WorldRecipe, data_folders: Sequence[Path], codec_folder: Path, out: Path,
          held_out_folders: Sequence[Path] = (), init_folder: Path | None = None) -> None:
    """Run or resume a recipe; weights, config, log, strips and checkpoint go to `out`.

    `held_out_folders`: data of held-out seeds for the strips; none takes the training data. `init_folder`: a world
    whose weights a new run begins with; None begins with random ones.
    """
    codec_config = load_world_config(codec_folder)
    check_alike([*data_folders, *held_out_folders], codec_config.codec.spatial_compression)
    codec = load_codec(codec_folder, codec_config).to(choose_device())
    scale = torch.tensor(codec_config.latent_scale)
    data = read_data(recipe, data_folders, codec, scale)
    held_out = read_data(recipe, held_out_folders, codec, scale) if held_out_folders else data
    check_data(recipe, data, held_out)
    state = load_checkpoint(out / "checkpoint.pt")
    config = written_world_config(out) if state else world_config(recipe, codec_folder, data)
    if init_folder and not state:  # rows must mean to the weights what they meant when these were trained
        learned = load_world_config(init_folder).model
        config = dataclasses.replace(config, model=dataclasses.replace(
            config.model, action_mean=config.model.action_mean | learned.action_mean,
            action_std=config.model.action_std | learned.action_std))
    wanted = dataclasses.replace(recipe.model, action_mean=config.model.action_mean, action_std=config.model.action_std)
    if config.model != wanted:
        raise ConfigError(f"the run in {out} trains another model than the recipe; give another --out "
                          "or the old recipe")
    config = dataclasses.replace(config, stream=recipe.stream)
    config = with_controls(config, recipe, data)
    as_played(config, recipe)  # a wrong name is found before the training, not after it
    replicas = join_replicas()
    training = WorldTraining(recipe, parts_of(recipe, config, data, codec), config, replicas)
    if state:
        training.restore(state)
    elif init_folder:
        begin_with(training.model, init_folder)
        training.ema = EMA(training.model, recipe.ema_decay)
        training.began_with = load_world_config(init_folder).provenance
    log = TrainingLog(out) if replicas.writes else None
    if log:
        if not state:  # a resumed run's is there, with its origin and what it is played with
            save_config(as_played(config, recipe), out)
        log.write(event="start", step=training.step, frames=sum(own.num_frames for own in data.values()),
                  precision=str(training.dtype), replicas=replicas.count,
                  parameters=sum(p.numel() for p in training.model.parameters()))
    _run(training, log, parts_of(recipe, config, held_out, codec), codec_folder, out)


def begin_with(model: Transformer, folder: Path) -> None:
    """Copy a world's weights into a model that may know more modalities or hypotheses; what is new stays random.

    Everything else must match, or WeightsError lists what does not.
    """
    learned = load_world_config(folder).model
    prefixes = [f"actions.projectors.{name}." for name in model.config.modalities if name not in learned.modalities]
    prefixes += ["share_head."] if learned.hypotheses < model.config.hypotheses else []
    new = {name: p.detach().clone() for name, p in model.named_parameters() if name.startswith(tuple(prefixes))}
    tensors = read_tensors(folder / MODEL_FILE)
    if learned.hypotheses and learned.hypothesis_blocks == model.config.hypothesis_blocks:
        patch = math.prod(model.config.patch_size)
        for name in ("share_head.weight", "share_head.bias"):  # rows in the order (place in patch, hypothesis, block)
            old = tensors[name].float().unflatten(0, (patch, learned.hypotheses, -1))
            if name in new:
                new[name].unflatten(0, (patch, model.config.hypotheses, -1))[:, :learned.hypotheses] = old
    load_strict(model, tensors | new, folder / MODEL_FILE)


def save_world(training: WorldTraining, codec_folder: Path, out: Path) -> None:
    """Write a folder that the player can open: averaged weights, the codec as it is now, config with its origin."""
    recipe, data = training.recipe, {name: part.data for name, part in training.parts.items()}
    codec_config = load_world_config(codec_folder)
    provenance = {
        **codec_config.provenance,
        "command": "train world", "recipe": dataclasses.asdict(recipe), "steps": training.step,
        "minutes": round(training.minutes, 1), "device": str(training.device), "precision": str(training.dtype),
        "frames_seen": training.frames_seen, "replicas": training.replicas.count,
        "data_frames": sum(own.num_frames for own in data.values()),
        "data_sha256": {own.dataset.manifest["scenario"]: own.dataset.manifest["sha256_of_all"]
                        for own in data.values()},
    }
    if training.began_with:
        provenance["began_with"] = training.began_with
    provenance["recipe"].pop("model")  # written out whole as the config's own
    copy_weights(codec_folder / CODEC_FILE, out)
    save_module(training.averaged_model(), out / MODEL_FILE)
    save_config(dataclasses.replace(as_played(training.config, recipe), provenance=provenance), out)


def is_saved(training: WorldTraining, out: Path) -> bool:
    """Say whether the world in `out` is that of the run as it stands."""
    return bool(files_of(out / MODEL_FILE)) and written_world_config(out).provenance.get("steps") == training.step


def as_played(config: WorldConfig, recipe: WorldRecipe) -> WorldConfig:
    """Return the config with the recipe's settings of play; ConfigError for one that there is not or that cannot be."""
    stream = from_dict(StreamConfig, to_dict(config.stream) | recipe.play_stream, where="play_stream")
    scenarios = {name: dataclasses.replace(own, stream=recipe.scenarios[name].play_stream)
                 for name, own in config.scenarios.items()}
    played = dataclasses.replace(config, stream=stream, scenarios=scenarios)
    for scenario in ("", *scenarios):
        if sentence := first_contradiction(played.playing(scenario)):
            raise ConfigError(f"the recipe's play_stream{' of ' * bool(scenario)}{scenario}: {sentence}")
    return played


def _run(training: WorldTraining, log: TrainingLog | None, held_out: dict[str, Part], codec_folder: Path,
         out: Path) -> None:
    """Train to the end of the recipe; `log` is None in replicas that write nothing."""
    recipe = training.recipe
    if log and training.position >= recipe.num_steps and not is_saved(training, out):
        save_world(training, codec_folder, out)
    rate = matmul_flop_s(training.device, training.dtype)
    if log:
        log.write(event="machine", matmul_tflop_per_s=rate / 1e12, threads=torch.get_num_threads())
    sums: dict[str, list[float]] = {}
    mark, marked_frames, marked_flop, tick = time.perf_counter(), training.frames_seen, 0, time.perf_counter()
    while training.position < recipe.num_steps:
        for name, value in training.step_once().items():
            sums.setdefault(name, []).append(value)
        now = time.perf_counter()
        minutes, tick = training.minutes + (now - tick) / 60, now
        training.minutes = training.replicas.first(minutes) if recipe.minutes else minutes
        done = training.position >= recipe.num_steps
        if training.step % recipe.log_every == 0 or done:
            seconds = time.perf_counter() - mark
            if log:
                log.write(step=training.step, minutes=training.minutes,
                          frames_per_s=(training.frames_seen - marked_frames) / seconds,
                          matmul_share=(training.flop_done - marked_flop) / seconds / rate,
                          **{k: sum(v) / len(v) for k, v in sums.items()})
            sums, mark = {}, time.perf_counter()
            marked_frames, marked_flop = training.frames_seen, training.flop_done
        if training.step % recipe.save_every == 0 or done:
            checkpoint = training.state()
            if log:
                save_world(training, codec_folder, out)
                save_checkpoint(out / "checkpoint.pt", checkpoint)  # last: with it the run counts as done
        if log and (training.step % recipe.sample_every == 0 or done):
            codec = load_codec(codec_folder, load_world_config(codec_folder))  # anew: it may be training next door
            for name, part in held_out.items():
                file = out / "strips" / f"{training.step:06d}{'_' * bool(name)}{name}.png"
                scores = sample_strip(training, part, codec, file)
                log.write(step=training.step, **({"scenario": name} if name else {}), **scores)
            tick = time.perf_counter()  # strips are not training, and no budget counts them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train world`."""
    add_run_options(parser)
    parser.add_argument("--codec", type=Path, required=True, help="folder made by `train codec`")
    parser.add_argument("--init", type=Path, help="world whose weights a new run begins with")


def main(args: argparse.Namespace) -> int:
    """Run `train world`."""
    with only_writer(args.out):
        train(recipe_of(args, WorldRecipe), args.data, args.codec, args.out, args.held_out, args.init)
    return 0
