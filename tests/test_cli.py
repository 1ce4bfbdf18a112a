"""The command line: what it parses, what it says about mistakes, and that it stays light."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from astra_play import cli
from astra_play.errors import ScriptError

CHECKOUT = Path(__file__).resolve().parents[1]


def exit_status(argv: list[str]) -> int:
    try:
        return cli.main(argv)
    except SystemExit as error:
        return error.code


def heavy_modules_after(code: str) -> set[str]:
    """Run code in a fresh Python and return which heavy packages it has loaded."""
    code += "\nimport json, sys; print(json.dumps([m for m in ('torch', 'pygame', 'numpy', 'av') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def raiser(error: BaseException):
    def run(args: object) -> int:
        raise error

    return run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `doctor` raise what a test gives."""
    def use(error: BaseException) -> None:
        monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command("fails", run=raiser(error)))

    return use


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture) -> None:
    assert exit_status(["rendr"]) == 2
    assert "there is no command 'rendr'; did you mean 'render'?" in capsys.readouterr().err


def test_unknown_command_of_a_group_suggests_the_nearest(capsys: pytest.CaptureFixture) -> None:
    assert exit_status(["weights", "verfy"]) == 2
    assert "did you mean 'verify'?" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["weights"], ["train"], ["data"]])
def test_missing_command_is_an_error_in_one_sentence(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    assert exit_status(argv) == 2
    assert "error: the following arguments are required: COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "words"), [
    (["render", "--out", "x.mp4"], "required: --frames"),
    (["render", "--out", "x.mp4", "--frames", "0"], "0 is not 1 or more"),
    (["render", "--out", "x.mp4", "--frames", "many"], "invalid whole number value: 'many'"),
    (["play", "--seconds", "-1"], "-1 is not a number of seconds above 0"),
    (["play", "--seconds", "nan"], "nan is not a number of seconds above 0"),
    (["play", "--guidance", "99"], "99 is not within 0 and 20"),
    (["play", "--seed", "x"], "invalid whole number value: 'x'"),
    (["play", "--seed", "-1"], "-1 is not within 0 and 2^63 - 2"),
    (["render", "--seed", str(2**63)], f"{2**63} is not within 0 and 2^63 - 2"),
    (["play", "--threads", "3000000000"], "3000000000 is not within 1 and 1024"),
    (["replay", "a.astra", "--threads", "2000"], "2000 is not within 1 and 1024"),
    (["bench", "--threads", "0"], "0 is not within 1 and 1024"),
    (["play", "--fulscreen"], "unrecognized arguments: --fulscreen"),
])
def test_wrong_option_is_named_with_its_value(argv: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    assert exit_status(argv) == 2
    assert words in capsys.readouterr().err


def test_play_options_reach_the_handler_as_typed() -> None:
    args = cli.parse(["play", "--world", "mini", "--seed", "7", "--guidance", "1.5", "--steps", "2", "--headless",
                      "--script", "walk.jsonl", "--seconds", "5", "--stats-json", "out.json", "--frames-dir", "shown",
                      "--threads", "1", "--fullscreen"])
    assert args.run is cli.run_play
    assert (args.world, args.seed, args.guidance, args.steps, args.seconds, args.threads) == ("mini", 7, 1.5, 2, 5.0, 1)
    assert args.headless and args.fullscreen and args.script.name == "walk.jsonl"


def test_every_option_of_play_is_a_field_of_the_player() -> None:
    import dataclasses

    from astra_play.display.options import PlayOptions

    options = vars(cli.parse(["play"])).keys() - {"run", "debug"}
    assert options <= {field.name for field in dataclasses.fields(PlayOptions)}


def test_error_of_a_person_is_one_sentence_and_status_2(failing, capsys: pytest.CaptureFixture) -> None:
    failing(ScriptError("walk.jsonl, line 3: no event"))
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "astra-play: walk.jsonl, line 3: no event\n"


@pytest.mark.parametrize("argv", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_the_traceback(failing, argv: list[str]) -> None:
    failing(ScriptError("line 3"))
    with pytest.raises(ScriptError):
        cli.main(argv)


def test_ctrl_c_is_status_130(failing) -> None:
    failing(KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130


def test_missing_package_says_how_to_find_out_more(failing, capsys: pytest.CaptureFixture) -> None:
    failing(ModuleNotFoundError("No module named 'av'", name="av"))
    assert cli.main(["doctor"]) == 2
    assert "the package av is not installed" in capsys.readouterr().err


def test_file_that_cannot_be_written_is_named(failing, capsys: pytest.CaptureFixture) -> None:
    failing(PermissionError(13, "Permission denied", "/locked/out.json"))
    assert cli.main(["doctor"]) == 2
    assert "/locked/out.json: Permission denied" in capsys.readouterr().err


def test_full_disk_is_one_sentence_though_a_write_does_not_know_its_files_name(failing,
                                                                               capsys: pytest.CaptureFixture) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device"))
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("astra-play: No space left on device, so what was being written")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
def test_output_that_does_not_fit_on_a_full_disk_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "astra_play", "kiosk", "--print-profile"], stdout=full,
                              stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a pipe that was closed in another way")
def test_reader_that_has_read_enough_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as unread:
        done = subprocess.run([sys.executable, "-m", "astra_play", "weights", "list"], stdout=unread,
                              stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert (done.returncode, done.stderr) == (141, "")


def test_error_inside_is_told_apart_from_an_answer_by_its_status() -> None:
    # 1 is what --verify says of a recording that is different
    code = "from astra_play import cli\ncli.main = lambda: 1 // 0\ncli.program()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode == 70 and "ZeroDivisionError" in done.stderr


def test_version_is_the_packages_own(capsys: pytest.CaptureFixture) -> None:
    from astra_play import __version__

    assert exit_status(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_and_parsing_load_nothing_heavy() -> None:
    assert heavy_modules_after("from astra_play import cli\n"
                               "for argv in (['play'], ['render', '--frames', '1', '--out', 'x'], ['doctor'],\n"
                               "             ['weights', 'list'], ['data', 'make', 'x']): cli.parse(argv)\n"
                               "try: cli.main(['--help'])\n"
                               "except SystemExit: pass") == set()


def test_unknown_world_names_the_nearest(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
                                         tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").write_text("{}")
    monkeypatch.setattr("astra_play.paths.weights_folder", lambda: tmp_path)
    assert cli.main(["weights", "verify", "minni"]) == 2
    assert "there is no world 'minni'; did you mean 'mini'?" in capsys.readouterr().err


def test_weights_list_shows_a_damaged_world_with_its_sentence(capsys: pytest.CaptureFixture,
                                                              monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").write_text('{"nmae": "mini"}')
    monkeypatch.setattr("astra_play.paths.weights_folder", lambda: tmp_path)
    monkeypatch.setattr("astra_play.weights_cli.world_folder", lambda name: tmp_path / name)
    assert cli.main(["weights", "list"]) == 0
    assert "did you mean 'name'?" in capsys.readouterr().out


def test_weights_list_says_what_a_world_lacks(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
                                              tmp_path: Path) -> None:
    from tiny_world import make_tiny_world

    (make_tiny_world(tmp_path / "tiny") / "model.safetensors").unlink()
    monkeypatch.setattr("astra_play.paths.weights_folder", lambda: tmp_path)
    monkeypatch.setattr("astra_play.weights_cli.world_folder", lambda name: tmp_path / name)
    assert cli.main(["weights", "list"]) == 0
    assert "lacks model.safetensors; take its folder again" in capsys.readouterr().out


def test_weights_verify_fails_if_one_world_is_damaged(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    from tiny_world import make_tiny_world

    whole = make_tiny_world(tmp_path / "whole")
    assert cli.main(["weights", "verify", str(whole)]) == 0
    model = next(whole.glob("*.safetensors"))
    model.write_bytes(model.read_bytes()[:100])
    assert cli.main(["weights", "verify", str(whole)]) == 1
    assert model.name in capsys.readouterr().err


@pytest.mark.parametrize(("name", "said"), [("astra-generator", "begun\n"), ("somebody-elses", "begun\nended\n")])
def test_process_leaves_with_its_status_while_a_thread_of_the_player_is_in_a_long_call(name: str, said: str) -> None:
    code = (f"import atexit, threading; from astra_play import cli\n"
            f"atexit.register(lambda: print('ended', flush=True))\n"
            f"def main():\n"
            f"    threading.Thread(target=threading.Event().wait, name={name!r}, daemon=True).start()\n"
            f"    print('begun')\n"
            f"    return 2\n"
            f"cli.main = main\n"
            f"cli.program()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, said, "")
