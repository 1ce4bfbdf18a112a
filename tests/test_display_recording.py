"""Recording in the window: R, F9, the pause menu, the red dot, --record, and what happens when the session ends."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pygame
import pytest
from fakes_display import CardCatalogue, card_config
from hands import PATIENCE_S, Player, seats
from naive_boxes import boxes, pictures

from astra_play.actions.keymap import parse_keymap
from astra_play.display import theme
from astra_play.display.app import App, PlayOptions, run_play
from astra_play.display.prompt import PromptScreen
from astra_play.display.recording import line_about, recording_name
from astra_play.display.screens import PLAYER_KEYS, SettingsScreen
from astra_play.errors import RecordingError
from astra_play.record import video
from astra_play.record.reader import read_recording
from astra_play.record.recorder import Written

FPS = 50
START_WITHIN_S = 60.0  # of a process on a busy machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(tmp_path / "recordings"))
    return tmp_path / "recordings"


@pytest.fixture
def make_player(tmp_path: Path, folder: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "settings.json", world="card", seed=7) as seat:
        def make(catalogue: CardCatalogue | None = None, waits: bool = True, **options: object) -> Player:
            player = seat(catalogue or CardCatalogue(fps=FPS), **options)
            if waits:
                player.until(lambda: player.play.playing, "the first frame")
            return player

        yield make


@pytest.fixture
def playing(make_player) -> Player:
    return make_player()


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.glob(f"*.{ending}"))


def toasted(player: Player, words: str) -> None:
    player.until(lambda: words in player.app.toasts.message, f"a toast with {words!r}")


def dot_is_drawn(player: Player) -> bool:
    surface = player.app.window.surface
    corner = surface.subsurface((surface.get_width() - 200, 0, 200, 70))
    return any(corner.get_at((x, y))[:3] == theme.RECORDING for x in range(200) for y in range(0, 70, 3))


def test_r_records_until_r_and_a_red_dot_says_so(playing: Player, folder: Path) -> None:
    assert not dot_is_drawn(playing)
    playing.press(pygame.K_r)
    toasted(playing, "Recording to card")
    playing.frames(5)
    assert dot_is_drawn(playing)
    playing.press(pygame.K_r)
    toasted(playing, "Recorded")
    playing.frames(2)
    assert not dot_is_drawn(playing)
    (log,), (clip,) = files(folder, "astra"), files(folder, "mp4")
    read = read_recording(log)
    assert read.end.reason == "stopped" and read.entries[0].seed == 7 and log.stem == clip.stem
    assert len(pictures(clip)) == sum(chunk.video for chunk in read.chunks) >= 4


def test_f9_saves_what_was_seen_before_it_was_pressed(playing: Player, folder: Path) -> None:
    playing.frames(20)
    playing.press(pygame.K_F9)
    toasted(playing, "Saved")
    read = read_recording(files(folder, "astra")[0])
    assert read.end.reason == "saved" and read.chunks[0].number == 0
    assert len(pictures(files(folder, "mp4")[0])) == len(read.chunks) >= 20


def test_the_pause_menu_does_both_and_says_which(playing: Player, folder: Path) -> None:
    def choose(label: str) -> None:
        playing.press(pygame.K_ESCAPE)
        labels = [line.label for line in playing.top.panel.lines]
        playing.top.panel.focus_index = labels.index(label)
        playing.press(pygame.K_RETURN)
        assert playing.top is playing.play

    choose("Record")
    toasted(playing, "Recording to")
    playing.frames(3)
    choose("Save the last 30 s")
    toasted(playing, "Saved")
    choose("Stop recording")
    toasted(playing, "Recorded")
    assert len(files(folder, "mp4")) == len(files(folder, "astra")) == 2


def test_a_pause_leaves_no_gap_in_the_video(playing: Player, folder: Path) -> None:
    playing.press(pygame.K_r)
    playing.frames(5)
    playing.press(pygame.K_ESCAPE)
    playing.steps(40)
    playing.press(pygame.K_ESCAPE)
    playing.frames(5)
    playing.press(pygame.K_r)
    toasted(playing, "Recorded")
    times_s = list(pictures(files(folder, "mp4")[0]))
    assert [later - earlier for earlier, later in zip(times_s, times_s[1:], strict=False)] == [
        pytest.approx(1 / FPS)] * (len(times_s) - 1)


def test_saving_says_how_much_there_is(playing: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing.play.recording._recorder, "save_last", lambda target: None)
    for num_shown, words in ((10, "the last second"), (10 * FPS + 5, "the last 10 s"), (99 * FPS, "the last 30 s")):
        playing.play.num_shown = num_shown
        playing.press(pygame.K_F9)
        assert playing.app.toasts.message == f"Saving {words}"


def test_keys_pressed_while_the_world_is_loading_are_answered(make_player, folder: Path) -> None:
    catalogue = CardCatalogue(fps=FPS)
    catalogue.may_load.clear()
    player = make_player(catalogue, waits=False)
    player.press(pygame.K_r)
    assert player.app.toasts.message == "Recording begins with the first frame."
    player.press(pygame.K_r)
    assert player.app.toasts.message == "Nothing will be recorded."
    for key in (pygame.K_p, pygame.K_t, pygame.K_EQUALS, pygame.K_LEFTBRACKET):
        player.app.toasts.clear()
        player.press(key)
        assert "Test card is still loading" in player.app.toasts.message
    player.press(pygame.K_r)
    catalogue.may_load.set()
    player.until(lambda: player.play.playing, "the first frame")
    player.frames(5)
    assert dot_is_drawn(player)
    player.press(pygame.K_r)
    toasted(player, "Recorded")
    assert len(files(folder, "mp4")) == 1


def test_keys_that_the_world_binds_are_the_worlds(make_player, folder: Path) -> None:
    player = make_player()
    player.play.keymap = parse_keymap('[keys]\n"r" = "forward"\n"f9" = "back"\n', "test")
    player.press(pygame.K_r)
    player.press(pygame.K_F9)
    player.frames(5)
    assert not player.play.recording.is_recording and not files(folder, "mp4")
    player.press(pygame.K_ESCAPE)
    assert "Record" in [line.label for line in player.top.panel.lines]


def test_both_keys_are_on_the_page_of_keys() -> None:
    assert {"R", "F9"} <= {key for key, _ in PLAYER_KEYS}


@pytest.mark.parametrize("leave", ["menu", "failure", "window"])
def test_a_recording_ends_properly_with_its_session(make_player, folder: Path, leave: str) -> None:
    player = make_player(CardCatalogue(fps=FPS, fail_at_chunk=30 if leave == "failure" else None))
    player.press(pygame.K_r)
    if leave == "failure":
        player.until(lambda: player.app._failure is not None, "the failure")
    else:
        player.frames(10)
        player.app.to_menu() if leave == "menu" else player.app.close()
    if leave != "window":
        toasted(player, "Recorded")
    read = read_recording(files(folder, "astra")[0])
    assert read.loss is None and read.end.reason == "session ended"
    assert len(pictures(files(folder, "mp4")[0])) == sum(chunk.video for chunk in read.chunks) > 0


class SlowDisk:
    """Creates files only when it is told to."""

    def __init__(self) -> None:
        self.may_write = threading.Event()

    def create_file(self, path: Path) -> BinaryIO:
        self.may_write.wait(3 * PATIENCE_S)
        return open(path, "xb", buffering=0)


@pytest.mark.parametrize("then", ["menu", "window"])
def test_leaving_for_the_menu_waits_for_no_disk_and_loses_nothing(make_player, folder: Path, then: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk()
    monkeypatch.setattr(video, "create_file", disk.create_file)
    player = make_player()
    player.frames(20)
    player.press(pygame.K_F9)
    begin_s = time.monotonic()
    player.app.to_menu()
    player.steps(2)
    assert time.monotonic() - begin_s < PATIENCE_S and not files(folder, "mp4")
    if then == "menu":
        disk.may_write.set()
        toasted(player, "Saved")
        player.until(lambda: not player.app._finishing, "a recorder that is gone")
    else:
        threading.Timer(0.3, disk.may_write.set).start()
        player.app.close()
    read = read_recording(files(folder, "astra")[0])
    assert read.end.reason == "saved" and len(pictures(files(folder, "mp4")[0])) == len(read.chunks) >= 20


def test_what_cannot_be_written_is_said_and_play_goes_on(playing: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_file(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(video, "create_file", open_file)
    playing.app.close()
    player = Player(playing.app, playing.catalogue)
    player.app.open()
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_r)
    toasted(player, "could not be started")
    player.frames(10)
    assert not player.play.recording.is_recording and not dot_is_drawn(player)


def test_the_folder_can_be_chosen_in_the_settings_and_is_remembered(playing: Player, tmp_path: Path,
                                                                    folder: Path) -> None:
    own = tmp_path / "my clips"

    def write_folder(text: str) -> None:
        playing.app.push(SettingsScreen(playing.app))
        labels = [line.label for line in playing.top.panel.lines]
        playing.top.panel.focus_index = labels.index("Recordings")
        playing.press(pygame.K_RETURN)
        assert isinstance(playing.top, PromptScreen)
        playing.top.line.text, playing.top.line.cursor = "", 0
        playing.write(text)
        playing.steps(1)
        playing.press(pygame.K_RETURN)
        playing.app.pop()

    for no_path in ("clips", "~unheard-of/clips"):
        playing.app.toasts.clear()
        write_folder(no_path)
        assert f"{no_path} is no whole path" in playing.app.toasts.message
        assert playing.app.settings.recordings_folder == ""
    write_folder(str(own))
    assert json.loads((tmp_path / "settings.json").read_text())["recordings_folder"] == str(own)
    playing.press(pygame.K_F9)
    toasted(playing, "Saved")
    assert files(own, "mp4") and not files(folder, "mp4")
    write_folder("")
    assert playing.app.settings.recordings_folder == ""


def test_names_say_world_scenario_and_time_and_fit_every_file_system() -> None:
    when = datetime(2026, 3, 4, 15, 6, 7)
    assert recording_name(card_config(), when) == "card 2026-03-04 15.06.07"
    assert recording_name(card_config(name="a/b:c*"), when) == "a-b-c- 2026-03-04 15.06.07"


# --- --record -------------------------------------------------------------------------------------------------------

def options(tmp_path: Path, **changes: object) -> PlayOptions:
    return PlayOptions(**{"world": "card", "headless": True, "catalogue": CardCatalogue(), "seconds": 0.6,
                          "record": tmp_path / "clip.mp4", **changes})


def test_record_option_keeps_everything_from_the_first_chunk_on(tmp_path: Path) -> None:
    assert run_play(options(tmp_path, seed=5)) == 0
    read = read_recording(tmp_path / "clip.astra")
    assert read.entries[0].seed == 5 and read.chunks[0].number == 0 and read.end.reason == "session ended"
    assert len(pictures(tmp_path / "clip.mp4")) == len(read.chunks) > 10


def test_an_unattended_run_ends_with_a_line_about_what_it_recorded(tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    run_play(options(tmp_path))
    num_chunks = len(read_recording(tmp_path / "clip.astra").chunks)
    assert capsys.readouterr().out == (f"recorded {num_chunks} chunks, {num_chunks / FPS:.1f} s -> "
                                       f"{tmp_path / 'clip.mp4'}, {tmp_path / 'clip.astra'}\n")


def test_line_about_a_recording_counts_what_was_dropped() -> None:
    written = Written(Path("a.mp4"), Path("a.astra"), num_chunks=320, seconds=20.0, num_dropped_frames=3)
    assert line_about(written) == "recorded 320 chunks, 20.0 s, 3 frames dropped -> a.mp4, a.astra"


def test_a_run_that_records_nothing_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_play(options(tmp_path, record=None))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "words"), [("clip.avi", "does not end in .mp4"), ("no/clip.mp4", "does not exist"),
                                             ("taken.mp4", "exists already"), ("log.mp4", "exists already")])
def test_a_file_that_cannot_be_recorded_to_is_refused_before_anything_loads(tmp_path: Path, name: str,
                                                                            words: str) -> None:
    (tmp_path / "taken.mp4").touch()
    (tmp_path / "log.astra").touch()
    with pytest.raises(RecordingError, match=words):
        App(options(tmp_path, record=tmp_path / name))


def test_an_unattended_run_ends_with_the_failure_of_its_recording(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def open_file(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(video, "create_file", open_file)
    with pytest.raises(RecordingError, match="no space left"):
        run_play(options(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9 there")
def test_after_kill_9_the_video_plays_and_the_log_is_whole_to_that_moment(tmp_path: Path, checkout: Path) -> None:
    clip = tmp_path / "clip.mp4"
    program = ("from pathlib import Path; from fakes_display import CardCatalogue\n"
               "from astra_play.display.app import PlayOptions, run_play\n"
               f"run_play(PlayOptions(world='card', headless=True, catalogue=CardCatalogue(fps=50), seconds=600.0, "
               f"record=Path({str(clip)!r})))")
    paths = os.pathsep.join([str(checkout), str(checkout / "tests")])
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    try:
        end_s = time.monotonic() + START_WITHIN_S
        while not (clip.exists() and clip.read_bytes().count(b"moof") >= 2):  # two seconds of video are on the disk
            assert time.monotonic() < end_s and process.poll() is None, "it never recorded"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(START_WITHIN_S)
    read = read_recording(clip.with_suffix(".astra"))
    assert read.end is None and read.loss is None and len(read.chunks) >= 100
    kinds = [kind for kind, _ in boxes(clip.read_bytes())]
    assert b"moof" in kinds, "it was never finished"
    times_s = [round(float(time_s), 6) for time_s in pictures(clip)]
    shown = [round(chunk.number / 50, 6) for chunk in read.chunks if chunk.video]
    assert times_s == shown[:len(times_s)] and len(times_s) >= 100
