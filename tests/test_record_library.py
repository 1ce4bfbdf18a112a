"""The recordings folder: what is listed of whole, half and damaged recordings, thumbnails, and deleting."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from recordings import CREATED, checked_line, make_log, make_recording, make_video, number_of

from astra_play.cli import main as cli_main
from astra_play.errors import RecordingError
from astra_play.record import library as library_module
from astra_play.record.library import Library, recordings_folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "recordings", tmp_path / "cache")


def test_folder_is_the_users_videos_unless_told_otherwise(tmp_path, monkeypatch, own_home) -> None:
    assert recordings_folder() == own_home / "Astra Play"
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(tmp_path))
    assert recordings_folder() == tmp_path


def test_folder_that_is_not_there_holds_nothing_and_is_not_made(library) -> None:
    assert library.clips() == [] and not library.folder.exists()


def test_whole_recording_tells_everything(library) -> None:
    video = make_recording(library.folder)
    one, = library.clips()
    assert (one.name, one.world, one.title, one.seed, one.length_s) == (video.stem, "mini/drive", "Drive", 7, 3.0)
    assert (one.width, one.height, one.damage) == (48, 32, "") and one.created.isoformat() == CREATED
    assert one.size_bytes == sum(path.stat().st_size for path in one.files)
    assert one.files == [video, video.with_suffix(".astra")]


def test_log_alone_tells_its_length_and_video_alone_what_it_was_given(library) -> None:
    library.folder.mkdir()
    make_log(library.folder / "mini-arm 2026.astra", num_chunks=24)
    make_video(library.folder / "mini-explore 2026.mp4",
               metadata={"comment": json.dumps({"world": "mini", "scenario": "explore", "seed": 5})})
    make_video(library.folder / "holiday.mp4", num_frames=16)
    by_name = {one.name: one for one in library.clips()}
    log, told, bare = by_name["mini-arm 2026"], by_name["mini-explore 2026"], by_name["holiday"]
    assert (log.length_s, log.video, log.damage) == (1.5, None, "")
    assert (told.world, told.seed, told.log) == ("mini/explore", 5, None)
    assert (bare.world, bare.seed, bare.length_s) == ("holiday", None, 1.0)


def test_damage_is_told_and_the_rest_is_kept(library) -> None:
    for name in ("cut", "bent", "headless", "video"):
        make_recording(library.folder, name)
    folder = library.folder
    cut = (folder / "cut.astra").read_bytes()
    (folder / "cut.astra").write_bytes(cut[:-200])
    (folder / "bent.astra").write_bytes(cut[:-200] + b"#" + cut[-199:])
    (folder / "headless.astra").write_bytes(b"#" + cut[1:])
    (folder / "video.mp4").write_bytes(b"nothing of a video")
    by_name = {one.name: one for one in library.clips()}
    assert "damaged" in by_name["cut"].damage and by_name["cut"].length_s == 3.0
    assert "damaged" in by_name["bent"].damage and by_name["bent"].seed == 7
    assert by_name["headless"].damage == "The action log cannot be read." and by_name["headless"].length_s == 3.0
    assert by_name["video"].damage == "The video cannot be read." and by_name["video"].length_s == 3.0


def test_recording_of_a_killed_player_is_told_to_be_cut_off(library, monkeypatch) -> None:
    library.folder.mkdir()
    make_log(library.folder / "killed.astra", num_chunks=10, ended=False)
    one, = library.clips()
    assert one.damage == "The recording is still being written." and one.length_s == 10 / 16
    later = time.time() + 60
    monkeypatch.setattr(library_module.time, "time", lambda: later)
    assert library.find(one.name).damage.startswith("The recording was cut off")


def test_log_that_goes_away_while_it_is_read_spoils_no_list(library, monkeypatch) -> None:
    make_recording(library.folder, "stays")
    make_log(library.folder / "goes.astra")
    first_entries = library_module._first_entries

    def read_and_lose(path: Path) -> list[dict]:
        entries = first_entries(path)
        if path.stem == "goes":
            path.unlink()
        return entries

    monkeypatch.setattr(library_module, "_first_entries", read_and_lose)
    assert {one.name for one in library.clips()} == {"stays", "goes"}
    assert [one.name for one in library.clips()] == ["stays"]


def test_newest_comes_first_and_hidden_and_other_files_are_left_out(library) -> None:
    for name in ("a", "b"):
        make_video(make_recording(library.folder, name).with_name(f".{name}.mp4"))
        (library.folder / f"{name}.gif").write_text("an export")
    for name, modified_s in (("old", 1e9), ("new", 4e9)):
        os.utime(make_video(library.folder / f"{name}.mp4"), (modified_s, modified_s))
    assert [one.name for one in library.clips()] == ["new", "b", "a", "old"]


def test_files_are_read_again_only_when_they_change(library, monkeypatch) -> None:
    video = make_recording(library.folder)
    reads: list[Path] = []
    read = library_module._read
    monkeypatch.setattr(library_module, "_read", lambda *given: reads.append(given[1]) or read(*given))
    library.clips()
    library.clips()
    assert reads == [video]
    make_video(video, num_frames=16)
    assert library.clips()[0].length_s == 1.0


def test_thumbnail_is_a_frame_of_the_video_and_kept_outside_the_folder(library, monkeypatch) -> None:
    make_recording(library.folder)
    one, = library.clips()
    before = set(library.folder.iterdir())
    assert number_of(library.thumbnail(one)) == 16
    assert set(library.folder.iterdir()) == before and len(list(library.cache_folder.iterdir())) == 1
    monkeypatch.setattr(library_module, "_picture", lambda one: pytest.fail("the kept one was not used"))
    assert number_of(library.thumbnail(one)) == 16


def test_thumbnail_of_a_log_is_what_it_starts_from_and_a_wreck_has_none(library) -> None:
    library.folder.mkdir()
    make_log(library.folder / "log.astra")
    (library.folder / "wreck.mp4").write_text("nothing")
    log, wreck = sorted(library.clips(), key=lambda one: one.name)
    assert library.thumbnail(log)[0, 0].tolist() == [200, 20, 20]
    assert library.thumbnail(wreck) is None


def test_thumbnails_that_cannot_be_kept_are_shown_anyway(library) -> None:
    make_recording(library.folder)
    library.cache_folder.write_text("a file where the folder should be")
    assert library.thumbnail(library.clips()[0]) is not None


def test_thumbnails_are_bounded(library, monkeypatch) -> None:
    monkeypatch.setattr(library_module, "MAX_THUMBNAILS", 2)
    for name in "abcd":
        make_recording(library.folder, name, num_frames=4)
    for one in library.clips():
        library.thumbnail(one)
    assert len(list(library.cache_folder.iterdir())) == 2


def test_delete_moves_both_files_to_the_trash(library, own_home) -> None:
    video = make_recording(library.folder)
    library.delete(library.clips()[0])
    assert library.clips() == []
    if (own_home / "Trash").exists():  # where Linux desktops keep it
        assert {path.name for path in (own_home / "Trash" / "files").iterdir()} == {
            video.name, video.with_suffix(".astra").name}


def test_trash_that_refuses_is_said_and_deleting_for_good_works(library, monkeypatch) -> None:
    make_recording(library.folder)
    one, = library.clips()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("send2trash.send2trash", refuse)
    with pytest.raises(RecordingError, match="could not be moved to the trash.*can only be deleted for good"):
        library.delete(one)
    assert library.clips() == [one]
    library.delete(one, for_good=True)
    assert library.clips() == [] and list(library.folder.iterdir()) == []


def test_find_takes_a_path_or_a_name_with_or_without_ending(library) -> None:
    video = make_recording(library.folder)
    for given in (str(video), video.stem, video.name, str(video.with_suffix(".astra")), str(video.with_suffix(""))):
        assert library.find(given).name == video.stem
    for given in ("other", "", ".", "..", "a/b", "a\0b"):
        with pytest.raises(RecordingError, match="there is no recording"):
            library.find(given)
    letter = library.folder / "letter.txt"
    letter.touch()
    with pytest.raises(RecordingError, match="letter.txt is not a recording; give a file that ends in .mp4 or .astra"):
        library.find(str(letter))


def test_command_line_lists_and_deletes_after_a_question(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(tmp_path / "r"))
    assert cli_main(["clips", "list"]) == 0
    assert "no recording lies in" in capsys.readouterr().out
    video = make_recording(tmp_path / "r")
    assert cli_main(["clips", "list"]) == 0
    assert "mini/drive" in capsys.readouterr().out
    assert cli_main(["clips", "list", "--json"]) == 0
    listed, = json.loads(capsys.readouterr().out)
    assert listed["seed"] == 7 and listed["video"] == str(video)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    assert cli_main(["clips", "delete", video.stem]) == 1 and video.exists()
    answers = iter(["yes", "no", "yes", "yes"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert cli_main(["clips", "delete", video.stem, "--for-good"]) == 1 and video.exists()
    assert cli_main(["clips", "delete", video.stem, "--for-good"]) == 0 and not video.exists()
    assert cli_main(["clips", "delete", video.stem, "--yes"]) == 2


@pytest.mark.parametrize("changes", [{"created": "0001-01-01T00:00:00+14:00"}, {"created": "9999-12-31T23:59:59-12:00"},
                                     {"fps": 0}, {"fps": float("nan")}, {"frames_per_chunk": 10**400}])
def test_a_log_of_nonsense_with_the_right_check_sums_is_listed(library, changes, monkeypatch, capsys) -> None:
    library.folder.mkdir()
    head = {"kind": "head", "format_version": 1, "world": "mini", "fps": 16, "frames_per_chunk": 1, "created": CREATED}
    lines = [{**head, **changes}, {"kind": "start", "seed": float("inf")}, {"kind": "chunk", "number": "one"},
             {"kind": "end", "num_chunks": 4}]
    for number, kept in enumerate((lines, lines[:-1])):
        (library.folder / f"{number}.astra").write_bytes(b"".join(map(checked_line, kept)))
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(library.folder))
    for more in ([], ["--json"]):
        assert cli_main(["clips", "list", *more]) == 0
    assert [one.seed for one in library.clips()] == [None, None] and '"name": "0"' in capsys.readouterr().out
