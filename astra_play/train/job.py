"""`train job`: one file -> data, codec, world and weights ready to travel, in a given time and with nobody watching.

A job is for machines that are rented by the minute: it makes its data there, trains codec, world and perhaps a loop
filter, the finders of a table's layers and of distances in park and road, and an upscaler with what is left of its
time, and cuts the weights into shards. Every phase is a command of its own, so what a person could type is what runs,
and each goes on where it was when the job was killed. `--detach` leaves it running; `--wait` looks in on it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .. import paths
from ..errors import AstraPlayError, ConfigError
from .dataset import HELD_OUT_SEED_BASE, TRAIN_SEED_BASE
from .loop import load_recipe
from .only_writer import only_writer

STATE_FILE, LOG_FILE, PID_FILE = "job.json", "job.log", "job.pid"
MIB = 1 << 20
POLL_S = 0.2
END_S = 40.0  # torchrun gives its replicas half a minute to end before it kills them
# What `train hand` finds in which scenario, in this order; the codec has the hand.
FINDERS = {"arm": ("shadow", "tabletop", "table", "arm"), "explore": ("distances",), "drive": ("distances",)}
Clock = Callable[[], float]


@dataclass(frozen=True)
class DataOrder:
    """Episodes of one scenario."""

    episodes: int
    held_out: int = 16
    frames: int = 240
    width: int = 128
    height: int = 96


@dataclass(frozen=True)
class JobRecipe:
    """A whole job; `codec`, `world` and `filter` name recipes beside it."""

    minutes: float  # for everything, from the first start on; the world gets what the rest leaves
    data_minutes: float  # no episode is begun after so long
    codec_minutes: float
    codec: str
    world: str
    data: dict[str, DataOrder] = field(default_factory=dict)
    filter: str = ""  # trained after the world; "": it has none
    filter_minutes: float = 0.0
    filter_data: tuple[str, ...] = ()  # scenarios whose free runs are filtered; none named: all
    finder_worlds: int = 0  # drawn for each finder of the arm's layers, and of distances; 0: the hand alone
    finder_steps: int = 1200
    finder_minutes: float = 0.0  # left for drawing and training them
    upscaler_worlds: int = 0  # of each scenario, drawn to learn from; 0: the world shows its pictures as they are
    upscaler_minutes: float = 0.0  # of training, after all else
    upscaler_drawing_minutes: float = 0.0  # left for drawing before it
    codec_beside: bool = False  # train the decoder while the world trains, where the machine has room for both
    ship_minutes: float = 1.0  # left for cutting the weights, and for what starts slowly
    workers: int = 0  # processes that make data; 0: one for each core
    replicas: int = 0  # of the world's training; 0: one for each accelerator, else for each core
    init: str = ""  # world whose weights codec and world begin with; "": random ones
    shard_mib: int = 16  # no file of the finished weights is larger


class Job:
    """The phases of a job in their order. `state`: what is done, and the times at which it was."""

    def __init__(self, recipe: JobRecipe, folder: Path, recipes: Path, out: Path, now: Clock = time.time) -> None:
        self.recipe, self._folder, self._recipes, self._now = recipe, folder, recipes, now
        self.out = out
        self._processes: list[subprocess.Popen] = []
        self.state: dict[str, Any] = {"phase": "begin", "began": now(), "done": {}}
        if (self._folder / STATE_FILE).is_file():
            self.state = json.loads((self._folder / STATE_FILE).read_text(encoding="utf-8"))

    def run(self) -> None:
        """Run what is left. Whatever ends the job ends the processes that it started, too."""
        try:
            self._run_phases()
        finally:
            for process in self._processes:
                _end(process)

    def _run_phases(self) -> None:
        self._once("data", self._make_data)
        codec: subprocess.Popen | None = None
        if self.recipe.codec_beside and "codec" not in self.state["done"]:
            codec = self._start("codec", self._codec_command())
            self._await_encoder(codec)
        else:
            self._once("codec", lambda: self._finish(self._start("codec", self._codec_command())))
        self._once("world", self._train_world)
        if codec is not None:
            self._once("codec", lambda: self._finish(codec))
        if self.recipe.filter:
            self._once("filter", self._train_filter)
        if self.recipe.finder_worlds:
            self._once("finders", self._train_finders)
        if self.recipe.upscaler_worlds:
            self._once("upscaler", self._train_upscaler)
        self._once("ship", self._ship)
        self._note("finished")

    def _once(self, phase: str, work: Callable[[], None]) -> None:
        if phase in self.state["done"]:
            return
        self._note(phase)
        begin = self._now()
        work()
        self.state["done"][phase] = round((self._now() - begin) / 60, 2)
        self._note(phase)

    def _note(self, phase: str) -> None:
        self.state["phase"] = phase
        _write(self._folder / STATE_FILE, json.dumps(self.state, indent=1))

    def _make_data(self) -> None:
        """Training episodes of every scenario in turn, each with its share of the time, after the few held-out ones."""
        deadline = self._now() + 60 * self.recipe.data_minutes
        for name, order in self.recipe.data.items():
            self._make(name, self._data(name, True), order, order.held_out, HELD_OUT_SEED_BASE, 0.0)
        left = list(self.recipe.data.items())
        while left:
            name, order = left.pop(0)
            minutes = max(0.01, (deadline - self._now()) / 60)
            frames, others = order.episodes * order.frames, sum(other.episodes * other.frames for _, other in left)
            share = minutes * frames / (frames + others)
            self._make(name, self._data(name), order, order.episodes, TRAIN_SEED_BASE, share)

    def _make(self, scenario: str, folder: Path, order: DataOrder, count: int, first_seed: int, minutes: float) -> None:
        command = ["data", "make", str(folder), "--scenario", scenario, "--episodes", str(count), "--frames",
                   str(order.frames), "--first-seed", str(first_seed), "--width", str(order.width), "--height",
                   str(order.height), "--workers", str(self._workers)]
        if minutes:
            command += ["--minutes", f"{minutes:.3f}"]
        self._finish(self._start("data", _own(command)))

    def _codec_command(self) -> list[str]:
        folders = [str(self._data(name)) for name in self.recipe.data]
        held_out = [str(self._data(name, True)) for name in self.recipe.data]
        return _own(["train", "codec", "--recipe", str(self._recipes / self.recipe.codec), "--data", *folders,
                     "--held-out", *held_out, "--out", str(self._folder / "codec"), "--minutes",
                     str(self.recipe.codec_minutes), *self._init()])

    def _train_world(self) -> None:
        if "world_minutes" not in self.state:
            spent = (self._now() - self.state["began"]) / 60
            recipe = self.recipe
            left = recipe.minutes - spent - recipe.ship_minutes - recipe.filter_minutes - recipe.finder_minutes - (
                recipe.upscaler_drawing_minutes + recipe.upscaler_minutes)
            if left <= 0:
                raise AstraPlayError(f"{spent:.1f} of the job's {self.recipe.minutes:g} minutes are over before the "
                                     "world could train; give it more, or its data less")
            self.state["world_minutes"] = round(left, 3)  # kept: a job that is killed goes on with the same schedule
            self._note("world")
        command = ["train", "world", "--recipe", str(self._recipes / self.recipe.world), "--data",
                   *(str(self._data(name)) for name in self.recipe.data), "--held-out",
                   *(str(self._data(name, True)) for name in self.recipe.data), "--codec", str(self._folder / "codec"),
                   "--out", str(self._folder / "world"), "--minutes", str(self.state["world_minutes"]), *self._init()]
        self._replicate("world", command)

    def _train_filter(self) -> None:
        self._take_decoder()
        scenarios = self.recipe.filter_data or tuple(self.recipe.data)
        command = ["train", "filter", "--recipe", str(self._recipes / self.recipe.filter), "--world",
                   str(self._folder / "world"), "--data", *(str(self._data(name)) for name in scenarios), "--held-out",
                   *(str(self._data(name, True)) for name in scenarios), "--out", str(self._folder / "filter"),
                   "--minutes", str(self.recipe.filter_minutes)]
        self._replicate("filter", command)

    def _train_finders(self) -> None:
        if not self.recipe.filter:  # else the filter's world has it
            self._take_decoder()
        world, out = self._folder / self._phases_before("finders")[-1], self._folder / "finders"
        for find in dict.fromkeys(own for name, finders in FINDERS.items() if name in self.recipe.data
                                  for own in finders):
            self._finish(self._start("finders", _own(
                ["train", "hand", "--find", find, "--codec", str(world), "--out", str(out), "--worlds",
                 str(self.recipe.finder_worlds), "--steps", str(self.recipe.finder_steps)])))
            world = out

    def _train_upscaler(self) -> None:
        before = self._phases_before("upscaler")[-1]
        if before == "world":  # else whatever came after it has it
            self._take_decoder()
        self._finish(self._start("upscaler", _own(
            ["train", "upscaler", "--world", str(self._folder / before), "--out", str(self._folder / "upscaler"),
             "--worlds", str(self.recipe.upscaler_worlds), "--minutes", str(self.recipe.upscaler_minutes), "--workers",
             str(self._workers)])))

    @property
    def _phases(self) -> list[str]:
        """Those that leave a codec or a world in a folder of their name."""
        recipe = self.recipe
        return ["codec", "world", *["filter"] * bool(recipe.filter), *["finders"] * bool(recipe.finder_worlds),
                *["upscaler"] * bool(recipe.upscaler_worlds)]

    def _phases_before(self, phase: str) -> list[str]:
        return self._phases[:self._phases.index(phase)]

    @property
    def _workers(self) -> int:
        return self.recipe.workers or os.cpu_count() or 1

    def _replicate(self, phase: str, command: list[str]) -> None:
        """Run a command to its end, in as many replicas as the recipe says."""
        if (replicas := self._num_replicas) == 1:
            self._finish(self._start(phase, _own(command)))
            return
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(replicas), "--master-addr", "127.0.0.1",
                    "--master-port", str(_free_port()), "-m", "astra_play"]
        self._finish(self._start(phase, [sys.executable, *launcher, *command]))

    @property
    def _num_replicas(self) -> int:
        return self.recipe.replicas or _num_devices()

    def _take_decoder(self) -> None:
        """Give the world the codec as it is now: the decoder may have learned on after the world was last saved."""
        from ..model.checkpoint import CODEC_FILE
        if self.recipe.codec_beside:
            shutil.copyfile(self._folder / "codec" / CODEC_FILE, self._folder / "world" / CODEC_FILE)

    def _ship(self) -> None:
        """Write the finished world, shard by shard, and what tells how it was trained, to `out`."""
        from ..model.checkpoint import CODEC_FILE, CONFIG_FILE, MODEL_FILE, write_shards
        if self._phases[-1] == "world":  # else whatever came after it has it
            self._take_decoder()
        finished = self._folder / self._phases[-1]
        self.out.mkdir(parents=True, exist_ok=True)
        for name in (MODEL_FILE, CODEC_FILE):
            write_shards(finished / name, self.out, self.recipe.shard_mib * MIB)
        shutil.copyfile(finished / CONFIG_FILE, self.out / CONFIG_FILE)
        for phase in self._phases:
            if phase not in ("finders", "upscaler"):  # whose scores are in the config
                shutil.copyfile(self._folder / phase / "log.jsonl", self.out / f"{phase}_log.jsonl")

    def _data(self, scenario: str, held_out: bool = False) -> Path:
        return self._folder / "data" / (f"{scenario}_held_out" if held_out else scenario)

    def _init(self) -> list[str]:
        return ["--init", str(paths.find_world(self.recipe.init)[0])] if self.recipe.init else []

    def _start(self, phase: str, command: list[str]) -> subprocess.Popen:
        with (self._folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(f"\n== {phase}: {' '.join(command[1:])}\n")
            log.flush()
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])}
            if phase in ("world", "filter") and self._num_replicas > 1:
                environment |= {"OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._processes.append(process)
        return process

    def _finish(self, process: subprocess.Popen) -> None:
        if status := process.wait():
            raise AstraPlayError(f"a phase of the job ended with status {status}; {self._folder / LOG_FILE} says why, "
                                 "and the same command goes on from there")

    def _await_encoder(self, codec: subprocess.Popen) -> None:
        """Wait until the codec has fitted its encoder, which is all that a world needs to begin."""
        from ..model.checkpoint import CODEC_FILE
        while not (self._folder / "codec" / CODEC_FILE).is_file():
            if codec.poll() is not None:
                self._finish(codec)
                return
            time.sleep(POLL_S)


def _end(process: subprocess.Popen) -> None:
    """End a process, and be back when it has ended: its folder is then free for whoever goes on."""
    process.terminate()  # does nothing to one that has ended
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _own(command: list[str]) -> list[str]:
    return [sys.executable, "-m", "astra_play", *command]


def _num_devices() -> int:
    import torch
    return torch.cuda.device_count() or os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train job`."""
    parser.add_argument("--recipe", type=Path, required=True, help="TOML file, see astra_play/train/recipes")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where it works; resumed if there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="finished weights in shards (DIR/ship)")
    parser.add_argument("--detach", action="store_true", help="return at once and leave the job running")
    parser.add_argument("--wait", type=float, metavar="S",
                        help="start nothing: wait so long for a running job, and tell")


def main(args: argparse.Namespace) -> int:
    """Run `train job`."""
    out = args.out or args.folder / "ship"
    if args.wait is not None:
        return wait(args.folder, args.wait)
    recipe = load_recipe(JobRecipe, args.recipe)
    if bool(recipe.filter) != (recipe.filter_minutes > 0):
        raise ConfigError(f"recipe {args.recipe} needs both filter and filter_minutes, or neither")
    if bool(recipe.finder_worlds) != (recipe.finder_minutes > 0):
        raise ConfigError(f"recipe {args.recipe} needs both finder_worlds and finder_minutes, or neither")
    if recipe.finder_worlds:  # found now, and not after the hours in which the world trains
        from .world_recipe import WorldRecipe
        anchor = load_recipe(WorldRecipe, args.recipe.parent / recipe.world).model.anchor
        if anchor != "moved":
            raise ConfigError(f"recipe {args.recipe} orders finders, which are for worlds with the anchor \"moved\"; "
                              f"that of {recipe.world} has the anchor {anchor!r}")
    if not recipe.data:
        raise ConfigError(f"recipe {args.recipe} orders no data; it needs a table like [data.explore]")
    args.folder.mkdir(parents=True, exist_ok=True)
    if running(args.folder):
        raise ConfigError(f"a job is running in {args.folder} already; look in on it with --wait 0")
    if args.detach:
        command = _own(["train", "job", "--recipe", str(args.recipe.resolve()), "--folder", str(args.folder.resolve()),
                        "--out", str(out.resolve())])
        with (args.folder / LOG_FILE).open("a") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True, cwd=Path(__file__).parents[2])
        _write(args.folder / PID_FILE, str(process.pid))
        print(f"job {process.pid} runs in {args.folder}; look in on it with --wait S")
        return 0
    with only_writer(args.folder):
        _write(args.folder / PID_FILE, str(os.getpid()))
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            Job(recipe, args.folder, args.recipe.parent, out).run()
        finally:
            signal.signal(signal.SIGTERM, before)
    print(f"weights: {out}")
    return 0


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Leave as after any error: what the job started must not outlive it."""
    sys.exit(128 + number)


def running(folder: Path) -> bool:
    """Say whether the process that last worked on a job is alive, and is not another one with its number."""
    import psutil
    try:
        process = psutil.Process(int((folder / PID_FILE).read_text()))
        return process.pid != os.getpid() and process.is_running() and process.status() != psutil.STATUS_ZOMBIE and any(
            "job" in word for word in process.cmdline())
    except (OSError, ValueError, psutil.Error):
        return False


def wait(folder: Path, seconds: float, poll_s: float = 1.0) -> int:
    """Wait for a job's end, `seconds` at most; print its phase and the last lines of its log.

    Returns 0 when it has finished, 3 while it runs, 1 when it ended without finishing.
    """
    if not (folder / STATE_FILE).is_file() and not running(folder):
        raise ConfigError(f"there is no job in {folder}")
    end = time.monotonic() + seconds
    while running(folder) and time.monotonic() < end:
        time.sleep(min(poll_s, max(0.0, end - time.monotonic())))
    alive = running(folder)
    state = json.loads((folder / STATE_FILE).read_text()) if (folder / STATE_FILE).is_file() else {"phase": "begin"}
    finished = state["phase"] == "finished"
    log = (folder / LOG_FILE).read_text(errors="replace").replace("\r", "\n").splitlines() if (
        folder / LOG_FILE).is_file() else []
    print(f"{'finished' if finished else state['phase'] + (', running' if alive else ', ended before it was done')}; "
          f"done, in minutes: {state.get('done', {})}")
    print("\n".join(line for line in log if line.strip())[-2000:])
    return 0 if finished else 3 if alive else 1
