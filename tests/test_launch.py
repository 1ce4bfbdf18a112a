"""launch.py on a made-up checkout: its .venv is a folder whose Python is a script that writes down how it is called."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

from astra_play import cli
from astra_play.errors import own_command

SOURCE = Path(__file__).resolve().parents[1] / "launch.py"
DiskUsage = namedtuple("DiskUsage", "total used free")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for Python is a shell script")

FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
if [ "$3" = install ]; then {pip_does}; fi
"""


def load_launch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """launch.py as a module whose checkout is a temporary folder, in no active environment, with hand_over recorded."""
    module = load_launch()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "constraints.txt").write_text("numpy==2.0.0\n")
    shutil.copy(SOURCE.with_name("pyproject.toml"), tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, path in {"ROOT": tmp_path, "VENV": tmp_path / ".venv", "STAMP": tmp_path / ".venv" / "astra-play.json",
                       "MARKER": tmp_path / ".venv" / "astra-play-installing"}.items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, "active_python", lambda extras: None)
    monkeypatch.setattr(module, "answer_without_installing", lambda argv: None)
    monkeypatch.setenv(module.COMMAND_VARIABLE, "python3 launch.py")
    module.handed_over = []
    monkeypatch.setattr(module, "hand_over", lambda command: module.handed_over.append(command) or 0)
    return module


def make_fake_venv(launch: ModuleType, pip_does: str = "exit 0") -> Path:
    """Write a .venv with a stand-in for Python; return the file that its calls are written to."""
    log = launch.ROOT / "calls.txt"
    launch.venv_python().parent.mkdir(parents=True)
    launch.venv_python().write_text(FAKE_PYTHON.format(log=log, pip_does=pip_does))
    launch.venv_python().chmod(0o755)
    (launch.VENV / "pyvenv.cfg").write_text("version = 3.11.7\n")
    log.touch()
    return log


def num_pip_installs(log: Path) -> int:
    return sum("pip install" in line for line in log.read_text().splitlines())


# --- old Pythons ----------------------------------------------------------------------------------------------------

def test_source_parses_with_the_grammar_of_python_3_6() -> None:
    ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_version_check_comes_before_anything_an_old_python_cannot_run() -> None:
    body = ast.parse(SOURCE.read_text(encoding="utf-8")).body
    check = next(index for index, node in enumerate(body)
                 if isinstance(node, ast.If) and "OLDEST_PYTHON" in ast.dump(node.test))
    for node in body[:check]:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert {alias.name for alias in node.names} <= {"os", "sys"}
        elif isinstance(node, ast.FunctionDef):
            assert node.returns is None and not any(arg.annotation for arg in node.args.args)


def test_old_python_is_told_which_newer_one_is_there(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name if name == "python3.12" else None)
    sentence = launch.old_python_sentence()
    assert "needs Python 3.11 or later, this is 3.9" in sentence and "fix: python3.12 launch.py" in sentence


def test_source_imports_the_standard_library_only() -> None:
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
            [node.module] if isinstance(node, ast.ImportFrom) else [])
        assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


# --- what needs no installation -------------------------------------------------------------------------------------

@pytest.fixture
def own_launch(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """launch.py that finds the player beside itself, has nothing installed, and must not begin to."""
    fresh = load_launch()
    monkeypatch.setattr(launch, "ROOT", SOURCE.parent)
    monkeypatch.setattr(launch, "answer_without_installing", fresh.answer_without_installing)
    monkeypatch.setattr(fresh, "VENV", launch.VENV)
    monkeypatch.setattr(launch, "install", lambda extras: pytest.fail("something was installed"))
    return launch


def test_help_lists_the_players_commands(own_launch: ModuleType, capsys: pytest.CaptureFixture) -> None:
    assert own_launch.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "launch.py test" in shown and "PIP_INDEX_URL" in shown
    for name, command in cli.COMMANDS.items():
        assert f"{name} " in shown and command.help in shown


@pytest.mark.parametrize(("argv", "words"), [
    (["paly"], "did you mean 'play'"), (["kiosk", "--profil", "x", "--nope"], "unrecognized arguments: --nope"),
    (["weights", "import", "astra"], "--checkpoint, --out"), (["data", "make"], "DIR")])
def test_command_line_that_is_wrong_installs_nothing(own_launch: ModuleType, capsys: pytest.CaptureFixture,
                                                     argv: list[str], words: str) -> None:
    assert own_launch.main(argv) == 2
    assert words in capsys.readouterr().err and own_launch.handed_over == []


def test_help_of_a_command_installs_nothing(own_launch: ModuleType, capsys: pytest.CaptureFixture) -> None:
    assert own_launch.main(["data", "make", "--help"]) == 0
    assert "--episodes" in capsys.readouterr().out and own_launch.handed_over == []


def test_no_command_is_play_and_is_installed(own_launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = []
    monkeypatch.setattr(own_launch, "install", installed.append)
    assert own_launch.main([]) == 0
    assert installed == [[]] and own_launch.handed_over[-1][-1] == "play"


def test_command_line_that_means_work_or_cannot_be_judged_is_let_through() -> None:
    fresh = load_launch()
    assert fresh.answer_without_installing(["data", "make", "somewhere"]) is None
    fresh.ROOT = Path("/nowhere")
    fresh.PARSE = "import nothing_of_this_name"
    assert fresh.answer_without_installing(["evaluate", "--nope"]) is None


def test_player_calls_itself_as_it_was_started(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_command() == "python3 launch.py"  # as the fixture has it
    monkeypatch.delenv(launch.COMMAND_VARIABLE)
    assert own_command() == "astra-play"
    monkeypatch.setattr(sys, "argv", ["my copies/launch.py"])
    monkeypatch.setattr(launch, "venv_with_project", lambda extras: sys.executable)
    launch.main(["doctor"])
    assert own_command().endswith(" 'my copies/launch.py'")


# --- installing once ------------------------------------------------------------------------------------------------

@needs_posix
def test_second_launch_calls_no_pip_and_is_quick(launch: ModuleType) -> None:
    log = make_fake_venv(launch)
    assert launch.main(["doctor"]) == 0
    assert num_pip_installs(log) == 1
    num_calls = len(log.read_text().splitlines())
    started_s = time.perf_counter()
    assert launch.main(["doctor"]) == 0
    assert time.perf_counter() - started_s < 0.5  # it takes about a millisecond; a pip call would take a second
    assert len(log.read_text().splitlines()) == num_calls


@needs_posix
def test_no_arguments_play_and_commands_are_forwarded(launch: ModuleType) -> None:
    make_fake_venv(launch)
    launch.main([])
    launch.main(["render", "--frames", "3"])
    python = str(launch.venv_python())
    assert launch.handed_over == [[python, "-m", "astra_play", "play"],
                                  [python, "-m", "astra_play", "render", "--frames", "3"]]


@needs_posix
def test_test_command_installs_the_test_tools_and_runs_pytest(launch: ModuleType) -> None:
    log = make_fake_venv(launch)
    launch.main(["play"])
    launch.main(["test", "-k", "cli"])
    assert "-e .[dev]" in log.read_text()
    assert launch.handed_over[-1] == [str(launch.venv_python()), "-m", "pytest", *launch.TEST_OPTIONS, "-k", "cli"]
    assert Path.cwd() == launch.ROOT


@needs_posix
@pytest.mark.parametrize("command", ["data", "train", "evaluate"])
def test_command_that_uses_the_simulator_brings_it(launch: ModuleType, command: str) -> None:
    log = make_fake_venv(launch)
    launch.main(["play"])
    launch.main([command])
    assert "-e .[train]" in log.read_text()


@needs_posix
@pytest.mark.parametrize(("command", "extras"), [
    (["weights", "fetch", "astra"], ["fetch", "text"]), (["weights", "import", "astra"], ["text"]),
    (["weights", "list"], []), (["weights"], [])])
def test_command_of_an_imported_world_brings_the_text_encoders_packages(launch: ModuleType, command: list[str],
                                                                        extras: list[str]) -> None:
    make_fake_venv(launch)
    launch.main(command)
    assert json.loads(launch.STAMP.read_text())["extras"] == extras


@needs_posix
def test_playing_after_testing_installs_nothing_and_keeps_the_test_tools(launch: ModuleType) -> None:
    log = make_fake_venv(launch)
    launch.main(["test"])
    launch.main(["play"])
    assert num_pip_installs(log) == 1
    assert json.loads(launch.STAMP.read_text())["extras"] == ["dev"]


@needs_posix
@pytest.mark.parametrize("path", ["pyproject.toml", ".ci/constraints.txt", ".venv/pyvenv.cfg"])
def test_changed_file_brings_pip_back(launch: ModuleType, path: str) -> None:
    log = make_fake_venv(launch)
    launch.main(["play"])
    (launch.ROOT / path).write_text((launch.ROOT / path).read_text() + "# changed\n")
    launch.main(["play"])
    assert num_pip_installs(log) == 2


@needs_posix
def test_moved_checkout_is_installed_again(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fake_venv(launch)
    launch.main(["play"])
    assert launch.is_ready([])
    monkeypatch.setattr(launch, "ROOT", launch.ROOT / "elsewhere")
    assert not launch.is_ready([])


# --- failures -------------------------------------------------------------------------------------------------------

@needs_posix
def test_interrupted_installation_is_made_again(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fake_venv(launch)
    launch.MARKER.touch()
    (launch.VENV / "half-a-package").mkdir()
    monkeypatch.setattr(launch, "make_venv", lambda: make_fake_venv(launch))
    assert launch.main(["play"]) == 0
    assert not (launch.VENV / "half-a-package").exists() and not launch.MARKER.exists()


@needs_posix
def test_ctrl_c_ends_with_130_and_is_repaired_by_the_next_launch(
        launch: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    make_fake_venv(launch)

    def interrupt(extras: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch, "run_pip", interrupt)
        assert launch.main(["play"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not launch.is_ready([])
    monkeypatch.setattr(launch, "make_venv", lambda: make_fake_venv(launch))
    assert launch.main(["play"]) == 0 and launch.is_ready([])


def test_folder_that_is_no_environment_is_left_alone(launch: ModuleType, capsys: pytest.CaptureFixture) -> None:
    launch.VENV.mkdir()
    (launch.VENV / "thesis.txt").write_text("years of work")
    assert launch.main(["play"]) == 1
    assert (launch.VENV / "thesis.txt").exists()
    assert "not an environment" in capsys.readouterr().err


def test_full_disk_is_found_before_anything_is_made(launch: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(10**10, 10**10, 3 * 10**8))
    assert launch.main(["play"]) == 1
    message = capsys.readouterr().err
    assert "0.3 GB free" in message and "needs 1.5 GB" in message and "free 1.2 GB or more" in message
    assert not launch.VENV.exists()


def test_missing_ensurepip_names_the_package_that_holds_it(launch: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    monkeypatch.setattr(sys, "platform", "linux")
    assert launch.main(["play"]) == 1
    assert f"apt install python3.{sys.version_info.minor}-venv" in capsys.readouterr().err
    assert not launch.VENV.exists()


def test_read_only_folder_is_named(launch: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert launch.main(["play"]) == 1
    message = capsys.readouterr().err
    assert str(launch.ROOT) in message and "read-only" in message


@needs_posix
@pytest.mark.parametrize(("complaint", "fix"), [
    ("ERROR: Could not install packages: [Errno 28] No space left on device", "free some GB"),
    ("WARNING: Retrying after connection broken by NewConnectionError\nERROR: No matching distribution", "network"),
    ("ERROR: Could not find a version that satisfies the requirement torch", "64-bit Python"),
    ("ERROR: [SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
    ("ERROR: [Errno 13] Permission denied", "writable"),
    ("ERROR: something else", "delete"),
])
def test_failure_of_pip_is_explained(launch: ModuleType, capsys: pytest.CaptureFixture, complaint: str,
                                     fix: str) -> None:
    make_fake_venv(launch, pip_does=f"echo '{complaint}' >&2; exit 1")
    assert launch.main(["play"]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert fix in message.split("fix:")[1]
    assert launch.handed_over == []


@needs_posix
def test_environment_survives_an_update_without_network(launch: ModuleType) -> None:
    make_fake_venv(launch)
    launch.main(["play"])
    (launch.VENV / "installed-package").mkdir()
    (launch.ROOT / "pyproject.toml").write_text((launch.ROOT / "pyproject.toml").read_text() + "# changed\n")
    no_network = "if [ $3 = install ]; then echo 'Max retries exceeded' >&2; exit 1; fi"
    launch.venv_python().write_text(f"#!/bin/sh\n{no_network}\n")
    assert launch.main(["play"]) == 1
    assert launch.main(["play"]) == 1
    assert (launch.VENV / "installed-package").exists()


# --- the active environment -----------------------------------------------------------------------------------------

def test_requirements_are_compared_with_what_is_installed(launch: ModuleType,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def version(name: str) -> str:
        if name == "absent":
            raise metadata.PackageNotFoundError(name)
        return "2.13.0+cpu"

    monkeypatch.setattr(metadata, "version", version)
    assert launch.satisfied("torch>=2.7") and launch.satisfied("torch==2.13.0") and launch.satisfied("torch")
    assert not launch.satisfied("torch>=2.14") and not launch.satisfied("torch==2.7.0")
    assert not launch.satisfied("absent>=1.0")


def test_every_requirement_of_the_project_can_be_read(launch: ModuleType) -> None:
    lines = launch.requirements(["dev", "train", "gpu", "hotkeys"])
    assert len(lines) >= 12
    for line in lines:
        assert launch.satisfied(line) in (True, False)


@pytest.mark.parametrize(("prefix", "installed_here", "complete", "used"), [
    ("/env", True, True, True), ("/usr", True, True, False), ("/env", False, True, False),
    ("/env", True, False, False)])
def test_active_environment_is_used_only_if_it_holds_this_checkout(
        monkeypatch: pytest.MonkeyPatch, prefix: str, installed_here: bool, complete: bool, used: bool) -> None:
    module = load_launch()
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(module, "installed_checkout", lambda: module.ROOT if installed_here else None)
    monkeypatch.setattr(module, "satisfied", lambda requirement: complete)
    assert module.active_python([]) == (sys.executable if used else None)
