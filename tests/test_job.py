"""A job: phases in order, time shared out, killed and resumed, watched from outside; and a rehearsal of all of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from astra_play.cli import main as cli_main
from astra_play.config import load_world_config
from astra_play.errors import AstraPlayError, ConfigError
from astra_play.model.loading import load_world
from astra_play.train import codec_loop, filter_loop, world_loop
from astra_play.train import job as module
from astra_play.train.filter_recipe import FilterRecipe
from astra_play.train.job import DataOrder, Job, JobRecipe
from astra_play.train.loop import load_recipe
from astra_play.train.only_writer import only_writer

RECIPES = Path(module.__file__).parent / "recipes"


class FakeJob(Job):
    """Runs no commands: notes them, lets time pass, and fails where it is told to."""

    def __init__(self, *args, fail_at: str = "", **kwargs) -> None:
        self.clock, self.commands, self.fail_at = 0.0, [], fail_at
        super().__init__(*args, now=lambda: self.clock, **kwargs)

    def _start(self, phase: str, command: list[str]) -> list[str]:
        self.commands.append((phase, command))
        return [phase]

    def _finish(self, process: list[str]) -> None:
        if process[0] == self.fail_at:
            raise AstraPlayError("told to fail")
        self.clock += {"data": 30.0, "codec": 120.0, "world": 600.0, "filter": 180.0, "finders": 40.0,
                       "upscaler": 90.0}[process[0]]

    def _ship(self) -> None:
        self.commands.append(("ship", []))


RECIPE = JobRecipe(minutes=20.0, data_minutes=4.0, codec_minutes=2.0, codec="c.toml", world="w.toml", replicas=1,
                   data={"explore": DataOrder(300), "drive": DataOrder(100)}, workers=3)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_phases_follow_each_other_and_the_world_gets_the_time_that_is_left(tmp_path: Path) -> None:
    job = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship")
    job.run()
    assert [phase for phase, _ in job.commands] == ["data"] * 4 + ["codec", "world", "ship"]
    # 4 data sets of half a minute, the codec's two minutes, one minute to ship
    assert float(option(job.commands[5][1], "--minutes")) == pytest.approx(20 - 2 - 2 - 1)
    assert option(job.commands[4][1], "--recipe") == str(RECIPES / "c.toml")
    assert job.state["phase"] == "finished" and job.state["done"].keys() == {"data", "codec", "world", "ship"}


def test_filter_comes_last_in_time_that_was_kept_for_it(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, filter="f.toml", filter_minutes=3.0, filter_data=("drive",))
    job = FakeJob(recipe, tmp_path, RECIPES, tmp_path / "ship")
    job.run()
    assert [phase for phase, _ in job.commands][4:] == ["codec", "world", "filter", "ship"]
    assert float(option(job.commands[5][1], "--minutes")) == pytest.approx(20 - 2 - 2 - 1 - 3)
    command = job.commands[6][1]
    assert option(command, "--world") == str(tmp_path / "world") and option(command, "--recipe").endswith("f.toml")
    assert option(command, "--minutes") == "3.0"
    assert command[command.index("--data") + 1:command.index("--held-out")] == [str(tmp_path / "data" / "drive")]


@pytest.mark.parametrize("filter_recipe", ["f.toml", ""])
def test_upscaler_comes_after_all_else_in_time_that_was_kept_for_it(tmp_path: Path, filter_recipe: str) -> None:
    (tmp_path / "codec").mkdir()
    (tmp_path / "world").mkdir()
    (tmp_path / "codec" / "codec.safetensors").write_text("decoder of the end")
    recipe = dataclasses.replace(RECIPE, filter=filter_recipe, filter_minutes=3.0 * bool(filter_recipe),
                                 codec_beside=not filter_recipe, upscaler_worlds=40, upscaler_minutes=1.5,
                                 upscaler_drawing_minutes=0.5)
    if recipe.codec_beside:
        (tmp_path / "codec" / "config.json").write_text("{}")
    job = FakeJob(recipe, tmp_path, RECIPES, tmp_path / "ship")
    job.state["done"]["codec"] = 0.0
    job.run()
    phases = [phase for phase, _ in job.commands]
    assert phases[4:] == ["world", *["filter"] * bool(filter_recipe), "upscaler", "ship"]
    kept = 2 + 1 + recipe.filter_minutes + 2  # data, shipping, filter, upscaler
    assert float(option(job.commands[4][1], "--minutes")) == pytest.approx(20 - kept)
    command = job.commands[-2][1]
    assert option(command, "--world") == str(tmp_path / ("filter" if filter_recipe else "world"))
    assert option(command, "--worlds") == "40" and option(command, "--minutes") == "1.5"
    if not filter_recipe:  # the decoder learned on beside the world
        assert (tmp_path / "world" / "codec.safetensors").read_text() == "decoder of the end"


ARMS_FINDERS = ["shadow", "tabletop", "table", "arm"]


@pytest.mark.parametrize(("scenarios", "finds"), [(["explore", "arm"], [*ARMS_FINDERS, "distances"]),
                                                  (["explore", "drive"], ["distances"]), (["arm"], ARMS_FINDERS),
                                                  (["drive"], ["distances"])])
@pytest.mark.parametrize("filter_recipe", ["f.toml", ""])
def test_finders_follow_each_other_into_one_world_which_the_upscaler_goes_on_with(
        tmp_path: Path, filter_recipe: str, scenarios: list[str], finds: list[str]) -> None:
    """Those of the scenarios that there are."""
    orders = {name: DataOrder(4, held_out=1) for name in scenarios}
    recipe = dataclasses.replace(RECIPE, data=orders, filter=filter_recipe, filter_minutes=3.0 * bool(filter_recipe),
                                 finder_worlds=30, finder_steps=70, finder_minutes=2.0, upscaler_worlds=40,
                                 upscaler_minutes=1.5)
    job = FakeJob(recipe, tmp_path, RECIPES, tmp_path / "ship")
    job.run()
    phases = [phase for phase, _ in job.commands]
    begin = phases.index("world")
    assert phases[begin:] == ["world", *["filter"] * bool(filter_recipe), *["finders"] * len(finds), "upscaler", "ship"]
    assert float(option(job.commands[begin][1], "--minutes")) == pytest.approx(
        20 - len(scenarios) - 2 - 1 - recipe.filter_minutes - 2 - 1.5)
    finders = [command for phase, command in job.commands if phase == "finders"]
    out, before = str(tmp_path / "finders"), str(tmp_path / ("filter" if filter_recipe else "world"))
    assert [option(command, "--find") for command in finders] == finds
    assert [option(command, "--codec") for command in finders] == [before, *[out] * (len(finds) - 1)]
    assert {option(command, "--out") for command in finders} == {out}
    assert {(option(command, "--worlds"), option(command, "--steps")) for command in finders} == {("30", "70")}
    assert option(job.commands[-2][1], "--world") == out


def test_data_share_their_time_by_their_frames_after_the_held_out_ones(tmp_path: Path) -> None:
    job = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship")
    job.run()
    held_out, training = job.commands[:2], job.commands[2:4]
    assert all("--minutes" not in command and option(command, "--first-seed") == "1000000" for _, command in held_out)
    minutes = [float(option(command, "--minutes")) for _, command in training]
    # a minute went into the held-out sets; the first has three of four frames, the other gets all that is then left
    assert minutes == pytest.approx([3.0 * 0.75, 2.5], abs=0.001)
    assert all(option(command, "--workers") == "3" for _, command in held_out + training)


def test_killed_job_goes_on_with_what_is_left_and_the_same_schedule(tmp_path: Path) -> None:
    first = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship", fail_at="world")
    with pytest.raises(AstraPlayError, match="told to fail"):
        first.run()
    again = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship")
    again.clock = 9000.0  # long after its time: a schedule that has begun is finished all the same
    again.run()
    assert [phase for phase, _ in again.commands] == ["world", "ship"]
    assert option(again.commands[0][1], "--minutes") == option(first.commands[-1][1], "--minutes")
    last = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship")
    last.run()
    assert last.commands == []


def test_job_whose_time_is_over_before_the_world_says_so(tmp_path: Path) -> None:
    job = FakeJob(RECIPE, tmp_path, RECIPES, tmp_path / "ship")
    job.state["began"] = -3600.0
    with pytest.raises(AstraPlayError, match="of the job's 20 minutes are over"):
        job.run()


def test_several_replicas_are_started_by_torchrun(tmp_path: Path) -> None:
    recipe = JobRecipe(**{**vars(RECIPE), "replicas": 2})
    job = FakeJob(recipe, tmp_path, RECIPES, tmp_path / "ship")
    job.run()
    command = job.commands[5][1]
    assert "torch.distributed.run" in command and option(command, "--nproc-per-node") == "2"


@pytest.mark.parametrize("name", ["cpu.toml", "h200.toml"])
def test_shipped_jobs_name_recipes_that_are_there_and_leave_the_world_most_of_the_time(name: str) -> None:
    from astra_play.train.codec_loop import CodecRecipe
    from astra_play.train.world_recipe import WorldRecipe
    recipe = load_recipe(JobRecipe, RECIPES / name)
    if recipe.filter:
        assert load_recipe(FilterRecipe, RECIPES / recipe.filter).play_strength.keys() == recipe.data.keys()
    world = load_recipe(WorldRecipe, RECIPES / recipe.world)
    assert load_recipe(CodecRecipe, RECIPES / recipe.codec).codec.latent_channels == world.model.latent_channels
    assert recipe.data.keys() == world.scenarios.keys()
    codec_minutes = 0.0 if recipe.codec_beside else recipe.codec_minutes
    others = recipe.data_minutes + codec_minutes + recipe.ship_minutes + recipe.filter_minutes + (
        recipe.finder_minutes + recipe.upscaler_drawing_minutes + recipe.upscaler_minutes)
    assert recipe.minutes - others > 0.5 * recipe.minutes
    assert not recipe.filter or recipe.filter_data == ("explore", "drive")


def test_finders_of_a_world_that_carries_no_picture_are_refused_at_once(tmp_path: Path, capsys) -> None:
    world = (RECIPES / "explore_world.toml").read_text()
    assert 'anchor = "moved"' in world
    (tmp_path / "plain.toml").write_text(world.replace('anchor = "moved"', 'anchor = "previous"'))
    recipe = tmp_path / "job.toml"
    recipe.write_text('minutes = 9.0\ndata_minutes = 1.0\ncodec_minutes = 1.0\ncodec = "c.toml"\nworld = "plain.toml"\n'
                      'finder_worlds = 3\nfinder_minutes = 1.0\n[data.drive]\nepisodes = 1\n')
    assert cli_main(["train", "job", "--recipe", str(recipe), "--folder", str(tmp_path / "job")]) != 0
    assert "has the anchor 'previous'" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()


def test_looking_in_on_a_job_tells_its_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look = ["train", "job", "--recipe", str(RECIPES / "cpu.toml"), "--folder", str(tmp_path), "--wait", "0"]
    assert cli_main(look) != 0
    assert "there is no job in" in capsys.readouterr().err
    (tmp_path / module.STATE_FILE).write_text(json.dumps({"phase": "codec", "done": {"data": 3.2}}))
    (tmp_path / module.LOG_FILE).write_text("loss 5\rloss 4\nloss 3\n")
    assert cli_main(look) == 1
    assert "codec, ended before it was done" in (told := capsys.readouterr().out) and "loss 3" in told
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "job"]) as alive:
        (tmp_path / module.PID_FILE).write_text(str(alive.pid))
        begin = time.monotonic()
        assert module.wait(tmp_path, 0.3, poll_s=0.1) == 3
        assert 0.25 < time.monotonic() - begin < 30
        assert "codec, running" in capsys.readouterr().out
        assert cli_main([*look[:-2]]) != 0  # two jobs in one folder would undo each other
        assert "is running in" in capsys.readouterr().err
        alive.kill()
    (tmp_path / module.STATE_FILE).write_text(json.dumps({"phase": "finished", "done": {}}))
    assert cli_main(look) == 0


LONG_PHASE = """
import sys
from astra_play.train import job
job._own = lambda command: [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(120)"]
from astra_play.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")
def test_a_job_that_is_told_to_end_takes_its_phase_along(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB_TOML.format(ship=1.0, beside="false", replicas=1))
    command = ["train", "job", "--recipe", str(tmp_path / "job.toml"), "--folder", str(tmp_path)]
    log = tmp_path / module.LOG_FILE
    with subprocess.Popen([sys.executable, "-c", LONG_PHASE, *command]) as job:
        while not (words := log.read_text().split() if log.is_file() else []) or not words[-1].isdigit():
            assert job.poll() is None
            time.sleep(0.05)
        phase = psutil.Process(int(words[-1]))
        job.terminate()
        assert job.wait(30) == 128 + signal.SIGTERM and not phase.is_running()


@pytest.mark.skipif(os.name != "posix", reason="folders are not held on Windows")
def test_a_folder_that_a_trainer_writes_is_held_against_another(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job left running when it was killed the hard way; a replica that writes nothing may pass."""
    holder = ("import sys, time\nfrom pathlib import Path\nfrom astra_play.train.only_writer import only_writer\n"
              "with only_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(120)")
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        for name, module_of in (("world", world_loop), ("codec", codec_loop), ("filter", filter_loop)):
            monkeypatch.setattr(module_of, "recipe_of", lambda *_: None)
            monkeypatch.setattr(module_of, "train", lambda *_: pytest.fail("two trainers in one folder"))
            with pytest.raises(ConfigError, match="another process is writing"):
                module_of.main(argparse.Namespace(out=tmp_path, world="mini", data=[], held_out=[], codec="", init=""))
            assert name in module_of.__name__
        with monkeypatch.context() as replica:
            replica.setenv("RANK", "1")
            with only_writer(tmp_path):
                pass
        other.kill()
        other.wait()
    with only_writer(tmp_path):
        pass


CODEC_TOML = """
batch = 2
num_steps = 6
warmup_steps = 1
fit_frames = 40
[codec]
latent_channels = 6
spatial_compression = 16
decoder_width = 16
decoder_blocks = 1
"""
WORLD_TOML = """
name = "toy"
title = "Toy"
description = "A rehearsal."
clip_frames = 5
batch = 2
num_steps = 6
warmup_steps = 1
decay_steps = 2
rollout_from_step = 2
rollout_true_frames = 2
rollout_extra_frames = 1
critic_from_step = 3
log_every = 1
sample_every = 100
[scenarios.explore]
title = "Park"
description = "."
[scenarios.arm]
title = "Arm"
description = "."
[model]
dim = 32
ffn_dim = 64
num_heads = 2
num_layers = 2
latent_channels = 6
grid_height = 2
grid_width = 4
anchor = "moved"
anchor_coverage = true
hypotheses = 2
hypothesis_blocks = 2
prediction = "clean"
modalities = { camera = 13, arm = 8 }
num_experts = 2
router = "learned"
expert_hidden = 8
[stream]
sink_chunks = 1
ring_chunks = 3
"""
FILTER_TOML = """
width = 4
critic_width = 4
streams = 2
clip_frames = 12
pool = 8
batch = 2
num_steps = 4
sample_every = 100
[play_strength]
arm = 0.0
"""
JOB_TOML = """
minutes = 3.0
data_minutes = 1.0
codec_minutes = 0.02
ship_minutes = {ship}
codec = "codec.toml"
world = "world.toml"
filter = "filter.toml"
filter_minutes = 0.02
filter_data = ["explore"]
codec_beside = {beside}
workers = 1
replicas = {replicas}
shard_mib = 1
[data.explore]
episodes = 1
held_out = 1
frames = 40
width = 64
height = 32
[data.arm]
episodes = 1
held_out = 1
frames = 40
width = 64
height = 32
"""


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    from astra_play.train import scenarios
    try:
        probe = scenarios.make("arm", 32, 32)
        probe.reset(0)
        probe.close()
    except Exception as error:  # GL libraries fail with errors of their own kind
        pytest.skip(f"the arm cannot be drawn here: {error}")


def test_whole_job_detached_from_simulators_to_a_world_that_plays(drawing: None, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    """The way of h200.toml at toy size, every command for real; the world trains for a second."""
    (tmp_path / "codec.toml").write_text(CODEC_TOML)
    (tmp_path / "world.toml").write_text(WORLD_TOML)
    (tmp_path / "filter.toml").write_text(FILTER_TOML)
    recipe, folder = tmp_path / "job.toml", tmp_path / "work"
    recipe.write_text(JOB_TOML.format(ship=1.0, beside="true", replicas=1))
    folder.mkdir()
    (folder / module.STATE_FILE).write_text(json.dumps(
        {"phase": "begin", "began": time.time(), "done": {}, "world_minutes": 0.03}))
    base = ["train", "job", "--recipe", str(recipe), "--folder", str(folder), "--out", str(tmp_path / "toy")]
    assert cli_main([*base, "--detach"]) == 0
    assert cli_main([*base, "--wait", "240"]) == 0, capsys.readouterr().out
    config = load_world_config(tmp_path / "toy")
    assert config.provenance["recipe"]["minutes"] == 0.03 and config.scenarios.keys() == {"explore", "arm"}
    assert config.provenance["loop_filter"]["steps"] > 0 and (tmp_path / "toy/filter_log.jsonl").is_file()
    log = [json.loads(line) for line in (tmp_path / "toy/world_log.jsonl").read_text().splitlines()]
    assert any(line.get("matmul_share", 0) > 0 for line in log)
    assert any(line.get("event") == "machine" and line["matmul_tflop_per_s"] > 0 for line in log)
    for scenario in ("explore", "arm"):
        world = load_world(f"{tmp_path / 'toy'}/{scenario}", device="cpu")
        assert (world._run.carried._filter is not None) == (scenario == "explore")
        world.warm_up()
        world.close()


def test_a_phase_that_fails_is_told_with_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "job.toml"
    recipe.write_text(JOB_TOML.format(ship=1.0, beside="false", replicas=1).replace("data.explore", "data.nowhere"))
    assert cli_main(["train", "job", "--recipe", str(recipe), "--folder", str(tmp_path / "work")]) != 0
    assert "job.log says why" in capsys.readouterr().err
    assert "nowhere" in (tmp_path / "work" / module.LOG_FILE).read_text()
    assert not module.running(tmp_path / "work")
