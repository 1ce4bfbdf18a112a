"""README.md against the program: every command parses, the Python block runs, every linked file is there."""

from __future__ import annotations

import re
import shlex
import types
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeWorld

import astra_play
from astra_play import cli
from astra_play.actions.script import parse_script
from astra_play.train import clips

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_opens_with_the_two_commands() -> None:
    assert [shlex.split(line, comments=True) for line in blocks("sh")[0].splitlines()] == [
        ["python3", "launch.py"], ["python3", "launch.py", "test"]]
    assert README.index("launch.py test") < README.index("screenshot.png") < README.index("## Controls")


@pytest.mark.parametrize("line", commands())
def test_command_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[:2] == ["python3", "launch.py"], "README commands go through launch.py"
    if words[2:3] != ["test"]:
        assert callable(cli.parse(words[2:] or ["play"]).run)


def test_script_lines_are_events() -> None:
    events = parse_script(blocks("json")[0])
    assert [event.kind for event in events] == ["button", "motion", "button"]


def test_python_block_runs_on_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    monkeypatch.setattr(astra_play, "load_world", lambda name, device: world, raising=False)
    block = blocks("python")[0]
    exec(compile(block, "README.md", "exec"), {})
    assert len(block.strip().splitlines()) <= 14
    assert world.calls == ["reset"] + ["step"] * 30 + ["close"]


def test_table_of_a_robot_becomes_motions_that_lead_into_their_frames() -> None:
    """Such a table's action leads from its frame to the next one; a line of our CSV leads into its own."""
    action, written = np.zeros((6, 7)), {}
    action[2] = [0.03, -0.02, 0.01, 0, 0, 0, 1]
    pandas = types.SimpleNamespace(
        read_parquet=lambda path: {"timestamp": np.arange(6) / 10, "action": list(action)},
        DataFrame=lambda columns: types.SimpleNamespace(to_csv=lambda path, index: written.update(columns)))
    exec(compile(blocks("py")[0], "README.md", "exec"), {"pandas": pandas, "numpy": np})
    assert written.keys() == {"t", *clips.MOTION_COLUMNS["arm"]} and (written["t"] == np.arange(6) / 10).all()
    lines = np.stack([written[name] for name in clips.MOTION_COLUMNS["arm"]], axis=1)
    assert lines[3].tolist() == [-0.02, -0.03, 0.01, 1] and not lines[[0, 1, 2, 4, 5]].any()


def test_linked_files_exist(checkout: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (checkout / target).is_file(), target


def test_recipes_named_in_commands_exist(checkout: Path) -> None:
    recipes = re.findall(r"--recipe (\S+)", README)
    assert recipes and all((checkout / recipe).is_file() for recipe in recipes)
