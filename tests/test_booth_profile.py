"""Profiles: strict and complete; texts, check, QR codes, hotkeys that may be missing, the command line around them."""

from __future__ import annotations

import datetime
import plistlib
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_world import TINY_WORLD

from astra_play import cli
from astra_play.booth.check import findings
from astra_play.booth.daylog import DayLog, day_file, read_day
from astra_play.booth.hotkeys import REPEAT_S, Hotkeys, OperatorCommands
from astra_play.booth.profile import (
    EXAMPLE,
    AttractPlan,
    OperatorKeys,
    Profile,
    SavePlan,
    clips_in,
    load_profile,
    parse_profile,
)
from astra_play.booth.qr import address_of, qr_squares
from astra_play.booth.report import report_lines, summarise
from astra_play.booth.service import service_text
from astra_play.booth.texts import GERMAN, Texts
from astra_play.errors import ConfigError, DataError
from astra_play.model.checkpoint import save_config

DAY = datetime.date(2026, 11, 24)


def profile_of(text: str) -> Profile:
    return parse_profile(text, "booth.toml", Path("fair"))


def test_printed_example_is_the_profile_without_a_file() -> None:
    assert profile_of(EXAMPLE) == profile_of("")


def test_printed_example_names_every_setting() -> None:
    tables = tomllib.loads(EXAMPLE)
    own = {name for name, value in vars(Profile()).items() if not hasattr(value, "__dataclass_fields__")} - {"base"}
    assert own <= tables.keys()
    for name, value in vars(Profile()).items():
        if hasattr(value, "__dataclass_fields__"):
            assert tables[name].keys() == value.__dataclass_fields__.keys(), name


@pytest.mark.parametrize(("text", "words"), [
    ("wolrds = []", "no setting 'wolrds'; did you mean 'worlds'?"),
    ("[times]\nidle = 3.0", "no setting 'idle'; did you mean 'idle_s'?"),
    ("worlds = []", "offer at least one world"),
    ("[times]\nidle_s = 0", "idle_s is 0; it must be above 0"),
    ("[times]\nidle_s = nan", "idle_s is nan"),
    ("[supervisor]\nhang_s = 0.5", "hang_s is 0.5; a busy machine may stand still for a second, so give at least 2"),
    ("[times]\nsession_s = 15.0", "last_s is 20, longer than a whole session"),
    ("[times]\ntour_s = \"long\"", "must be of type float"),
    ("threads = 3000000000", "threads is 3000000000"),
    ("language = \"fr\"", "language is 'fr'"),
    ("[save]\nwhat = \"file\"", "save.folder is empty"),
    ("[save]\nwhat = \"qr\"\nfolder = \"f\"\nurl = \"https://example.org\"", "must hold {file}"),
    ("[operator]\nchord = \"ctrl\"", "join at least two"),
    ("[operator]\nchord = \"ctrl+super\"", "join at least two"),
    ("[operator]\nskip = \"m\"", "four different letters"),
    ("[texts]\ninvitatoin = \"Hi\"", "no text 'invitatoin'; did you mean 'invitation'?"),
    ("[texts]\nkeep_file = \"{name}\"", "fills in {name}, which this text has no value for; it may use: {file}"),
    ("[texts]\nthanks = \"{\"", "cannot be read"),
    ("[texts]\nlast_seconds = \"{seconds:.1s}\"", "cannot be filled in"),
    ("[texts]\nlast_seconds = \"{seconds!z}\"", "cannot be filled in"),
    ("[texts]\nlast_seconds = \"{seconds:{width}}\"", "cannot be filled in"),
    ("[texts]\nkeep_file = \"{file:d}\"", "cannot be filled in"),
    ("[titles]\n\"mini/explor\" = \"Park\"", "which is not offered; did you mean 'mini/explore'?"),
    ("base = \"x\"", "no setting 'base'"),
    ("worlds = [", "is not valid TOML"),
])
def test_mistake_in_a_profile_is_one_clear_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        profile_of(text)
    assert words in str(raised.value) and str(raised.value).startswith("booth.toml")


def test_paths_are_taken_from_the_folder_of_the_profile(tmp_path: Path) -> None:
    (tmp_path / "booth.toml").write_text('logo = "logo.png"\n', encoding="utf-8")
    profile = load_profile(tmp_path / "booth.toml")
    assert profile.path(profile.logo) == tmp_path / "logo.png" and profile.path("") is None


def test_missing_profile_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--print-profile"):
        load_profile(tmp_path / "none.toml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_profile_is_read_as_whatever_editor_wrote_it(tmp_path: Path, encoding: str) -> None:
    text = 'language = "de"\n[texts]\nthanks = "Schöne Grüße"\n'
    (tmp_path / "booth.toml").write_text(text, encoding=encoding)
    assert load_profile(tmp_path / "booth.toml").words.thanks == "Schöne Grüße"


def test_profile_that_is_no_text_is_named(tmp_path: Path) -> None:
    for data in (b"\xff\xfea", b"worlds = [\xff]"):
        (tmp_path / "booth.toml").write_bytes(data)
        with pytest.raises(ConfigError, match="cannot be read"):
            load_profile(tmp_path / "booth.toml")


def test_texts_of_a_profile_stand_over_those_of_its_language() -> None:
    words = profile_of('language = "de"\n[texts]\nthanks = "Servus"\n').words
    assert words.thanks == "Servus" and words.choose == GERMAN.choose != Texts().choose


def test_every_text_is_translated_and_fills_in_the_same_values() -> None:
    for name, english in vars(Texts()).items():
        values = dict(file="f", seconds=1, minutes=1)
        assert english.format(**values) and getattr(GERMAN, name).format(**values)
        assert english.count("{") == getattr(GERMAN, name).count("{")
    assert sum(text != getattr(GERMAN, name) for name, text in vars(Texts()).items()) > 15


# --- check, QR, hotkeys ---------------------------------------------------------------------------------------------

def test_check_finds_what_would_fail_at_the_fair(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_text("no picture")
    (tmp_path / "file").write_text("")
    profile = parse_profile('worlds = ["mini/explore", "nowhere"]\nlogo = "logo.png"\n[save]\nwhat = "file"\n'
                            'folder = "file/below"\n[attract]\nclips = "none"\n[log]\nfolder = "log"\n', "p", tmp_path)
    found = {finding.what: finding for finding in findings(profile)}
    assert {what for what, finding in found.items() if finding.is_bad} == {"world nowhere", "logo", "saves"}
    assert "tours alone" in found["clips"].sentence and "pynput" in found and "free" in found["daily log"].sentence


def test_check_refuses_the_worlds_that_a_booth_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    for folder in (weights / "whole", weights / "half", tmp_path / "elsewhere"):
        save_config(TINY_WORLD, folder)
        for name in ("model.safetensors", "codec.safetensors"):
            (folder / name).touch()
    (weights / "half" / "model.safetensors").unlink()
    monkeypatch.setattr("astra_play.paths.weights_folder", lambda: weights)
    names = ("whole", "half", str(tmp_path / "elsewhere"), str(weights / "whole"))
    found = {finding.what.removeprefix("world "): finding for finding in findings(Profile(worlds=names))}
    assert [found[name].is_bad for name in names] == [False, True, True, True]
    for name, words in zip(names[1:], ("lacks model.safetensors", "lies outside of", "write 'whole'"), strict=True):
        assert words in found[name].sentence


def test_hidden_files_are_no_clips(tmp_path: Path) -> None:
    for name in ("._walk.mp4", "b.mp4", "a.mp4", "a.astra"):
        (tmp_path / name).touch()
    assert [path.name for path in clips_in(tmp_path)] == ["a.mp4", "b.mp4"] and clips_in(tmp_path / "none") == []
    found = {finding.what: finding for finding in findings(Profile(attract=AttractPlan(clips=str(tmp_path))))}
    assert found["clips"].sentence.startswith("2 in")


def test_check_refuses_an_address_that_no_qr_code_holds(tmp_path: Path) -> None:
    pytest.importorskip("segno")
    for length, is_bad in ((100, False), (2400, True)):
        plan = SavePlan("qr", str(tmp_path), f"https://example.org/{'a' * length}/{{file}}")
        found = {finding.what: finding for finding in findings(Profile(save=plan))}
        assert found["address"].is_bad is is_bad
    assert "give a shorter save.url" in found["address"].sentence


def test_qr_code_is_square_and_has_its_three_marks() -> None:
    pytest.importorskip("segno")
    squares = qr_squares(address_of("https://example.org/{file}", "visit 1.mp4"))
    side = len(squares)
    assert all(len(row) == side for row in squares) and (side - 21) % 4 == 0
    for top, left in ((0, 0), (0, side - 7), (side - 7, 0)):
        ring = [squares[top][left + i] for i in range(7)] + [squares[top + 6][left + i] for i in range(7)]
        assert all(ring) and not squares[top + 1][left + 1] and squares[top + 3][left + 3]


def test_address_quotes_the_name_of_the_file() -> None:
    assert address_of("https://example.org/{file}?a=1", "visit 1.mp4") == "https://example.org/visit%201.mp4?a=1"


class FakeListener:
    def __init__(self, bindings: dict) -> None:
        self.bindings, self.is_on = bindings, False

    def start(self) -> None:
        self.is_on = True

    def stop(self) -> None:
        self.is_on = False


def test_global_hotkeys_give_the_operators_commands() -> None:
    given: list[str] = []
    hotkeys = Hotkeys(OperatorKeys(), given.append, lambda: SimpleNamespace(GlobalHotKeys=FakeListener), {})
    listener = hotkeys._listener
    assert listener.is_on and not hotkeys.missing
    listener.bindings["<ctrl>+<alt>+<shift>+q"]()
    assert given == ["stop"]
    hotkeys.close()
    assert not listener.is_on


def failing(error: Exception):
    def load() -> object:
        raise error

    return load


@pytest.mark.parametrize(("load", "environment", "words"), [
    (failing(ModuleNotFoundError("No module named 'pynput'")), {}, "not installed"),
    (failing(ImportError("this platform is not supported: no X server\nmore")), {}, "(this platform is not supported"),
    (lambda: SimpleNamespace(GlobalHotKeys=FakeListener), {"WAYLAND_DISPLAY": "wayland-0"}, "Wayland"),
    (lambda: SimpleNamespace(GlobalHotKeys=FakeListener), {"XDG_SESSION_TYPE": "wayland"}, "Wayland"),
])
def test_missing_hotkeys_are_said_and_end_nothing(load, environment: dict[str, str], words: str) -> None:
    hotkeys = Hotkeys(OperatorKeys(), lambda command: None, load, environment)
    assert words in hotkeys.missing and "\n" not in hotkeys.missing
    hotkeys.close()


def test_a_press_that_reaches_window_and_hotkeys_counts_once() -> None:
    commands = OperatorCommands()
    commands.give("skip")
    commands.give("skip")
    assert commands.take(10.0) == ["skip"]
    commands.give("skip")
    assert commands.take(10.0 + REPEAT_S / 2) == []
    commands.give("skip")
    assert commands.take(10.0 + 2 * REPEAT_S) == ["skip"]


# --- daily log ------------------------------------------------------------------------------------------------------

class Wall:
    """The time on the wall, which tests move."""

    def __init__(self) -> None:
        self.now = datetime.datetime(2026, 11, 24, 23, 59, 0, tzinfo=datetime.UTC)

    def __call__(self) -> datetime.datetime:
        return self.now


def test_each_day_has_its_file_and_old_ones_are_deleted(tmp_path: Path) -> None:
    wall = Wall()
    day_log = DayLog(tmp_path, wall, keep_days=3)
    (tmp_path / "kiosk-mine.jsonl").write_text("somebody's own")
    for _ in range(5):
        day_log.add("visit", world="card")
        wall.now += datetime.timedelta(days=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == \
        [*(f"kiosk-2026-11-{day}.jsonl" for day in (26, 27, 28)), "kiosk-mine.jsonl"]


def test_a_full_day_counts_what_it_does_not_write(tmp_path: Path) -> None:
    day_log = DayLog(tmp_path, Wall(), max_mb=0.001)
    for index in range(50):
        day_log.add("figures", fps=index)
    assert day_file(tmp_path, DAY).stat().st_size <= 1000 and day_log.num_unwritten == 50 - len(read_day(tmp_path, DAY))


def test_a_disk_that_takes_nothing_ends_no_booth(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    day_log = DayLog(tmp_path / "file" / "log", Wall())
    day_log.add("visit")
    assert day_log.num_unwritten == 1


def test_a_folder_that_is_cleared_away_is_made_again(tmp_path: Path) -> None:
    day_log = DayLog(tmp_path / "log", Wall())
    day_log.add("visit", world="first")
    shutil.rmtree(tmp_path / "log")
    day_log.add("visit", world="second")
    assert [entry["world"] for entry in read_day(tmp_path / "log", DAY)] == ["second"] and day_log.num_unwritten == 0


def test_lines_cut_short_are_left_out_of_a_day(tmp_path: Path) -> None:
    DayLog(tmp_path, Wall()).add("visit", world="card")
    with day_file(tmp_path, DAY).open("a") as file:
        file.write('{"kind": "vis\n[1]\n{"no": "kind"}\n')
    assert [entry["world"] for entry in read_day(tmp_path, DAY)] == ["card"]


def test_day_without_a_log_names_the_days_that_have_one(tmp_path: Path) -> None:
    DayLog(tmp_path, Wall()).add("start")
    with pytest.raises(DataError, match="there are logs of 2026-11-24"):
        read_day(tmp_path, datetime.date(2026, 1, 1))


def test_report_adds_up_a_day() -> None:
    entries = [
        {"t": "2026-11-24T09:00:00", "kind": "start"},
        {"t": "2026-11-24T09:01:00", "kind": "figures", "fps": 15.0},
        {"kind": "visit", "world": "a", "reason": "time up", "played_s": 180.0, "fps": 16.0, "underruns": 2,
         "latency_p50_ms": 60.0, "latency_p95_ms": 90.0, "latency_p99_ms": 120.0},
        {"kind": "visit", "world": "a", "reason": "idle", "played_s": 60.0, "fps": 14.0, "underruns": 1,
         "latency_p50_ms": 80.0, "latency_p95_ms": 100.0, "latency_p99_ms": None},
        {"kind": "visit", "world": "b", "reason": "failed", "played_s": 0.0},
        {"kind": "save", "file": "visit.mp4"}, {"kind": "save", "file": None, "reason": "disk full"},
        {"t": "2026-11-24T10:11:12.000+01:00", "kind": "restart", "reason": "signal SIGKILL", "down_s": 0.7},
    ]
    figures = summarise(entries)
    assert (figures["visits"], figures["played_s"], figures["median_visit_s"]) == (3, 240.0, 120.0)
    assert figures["worlds"] == {"a": 2, "b": 1} and figures["ends"] == {"time up": 1, "idle": 1, "failed": 1}
    assert (figures["fps_median"], figures["fps_least"], figures["underruns"]) == (15.0, 14.0, 3)
    assert (figures["latency_p95_ms"], figures["latency_p99_worst_ms"]) == (95.0, 120.0)
    assert (figures["saves"], figures["failed_saves"]) == (1, 1)
    text = "\n".join(report_lines(DAY, entries))
    assert "10:11:12  signal SIGKILL" in text and "1 in 1 starts" in text


def test_report_leaves_out_numbers_that_are_none(tmp_path: Path) -> None:
    wrong = ("Infinity", "-Infinity", "NaN", "1e300", "9" * 400, "true", '"many"')
    lines = [f'{{"kind": "visit", "played_s": {value}, "underruns": {value}, "fps": {value}}}' for value in wrong]
    day_file(tmp_path, DAY).write_text("\n".join([*lines, "[" * 100_000, '{"kind": "visit", "played_s": 60.0}']))
    entries = read_day(tmp_path, DAY)
    figures = summarise(entries)
    assert (figures["visits"], figures["played_s"], figures["underruns"]) == (len(wrong) + 1, 60.0, 0)
    assert "1 min played" in "\n".join(report_lines(DAY, entries))


def test_report_of_an_empty_day_has_dashes_and_no_error() -> None:
    assert any("-" in line for line in report_lines(DAY, []))


# --- command line ---------------------------------------------------------------------------------------------------

def test_print_profile_can_be_read_back(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert cli.main(["kiosk", "--print-profile"]) == 0
    path = tmp_path / "booth.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_profile(path).worlds == Profile().worlds


def test_check_ends_with_the_number_of_what_must_be_mended(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path = tmp_path / "booth.toml"
    path.write_text('worlds = ["nowhere"]\n[log]\nfolder = "log"\n')
    assert cli.main(["kiosk", "--check", "--profile", str(path)]) == 2
    assert "1 of" in capsys.readouterr().out
    path.write_text('[log]\nfolder = "log"\n')
    assert cli.main(["kiosk", "--check", "--profile", str(path)]) == 0


def test_report_of_a_wrong_date_says_how_to_write_one(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert cli.main(["kiosk", "--report", "yesterday"]) == 2
    assert "write it as 2026-11-24" in capsys.readouterr().err
    assert cli.main(["kiosk", "--report", ""]) == 2  # a script's empty variable must not start a booth
    assert "write it as 2026-11-24" in capsys.readouterr().err


def test_service_starts_the_booth_as_it_was_asked_for(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["kiosk", "--print-service", "--windowed"]) == 0
    assert "--windowed" in capsys.readouterr().out


def test_systemd_reads_a_path_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "20% off"
    folder.mkdir()
    monkeypatch.chdir(folder)
    lines = service_text(folder / 'a "b" $c.toml', "linux", "/usr/bin/python").splitlines()
    command = next(line for line in lines if line.startswith("ExecStart="))
    assert command.endswith(f'--profile "{tmp_path}/20%% off/a \\"b\\" $$c.toml"')
    assert f"WorkingDirectory={tmp_path}/20%% off" in lines


@pytest.mark.parametrize(("platform", "words"), [
    ("linux", ("Type=notify", "Restart=on-failure", "WatchdogSec=", "-m astra_play kiosk --profile")),
    ("darwin", ("SuccessfulExit", "<string>--profile</string>")),
    ("win32", ("Task Scheduler", "kiosk --profile"))])
def test_service_keeps_the_supervisor_alive(tmp_path: Path, platform: str, words: tuple[str, ...]) -> None:
    text = service_text(tmp_path / "my booth.toml", platform, "python")
    assert all(word in text for word in words) and str(tmp_path / "my booth.toml") in text
    if platform == "darwin":
        assert plistlib.loads(text.encode())["ProgramArguments"][-1] == str(tmp_path / "my booth.toml")
