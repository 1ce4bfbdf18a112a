"""Trimming: exactly the frames of the range, without encoding where that can be, and a log that says what it was."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from recordings import FPS, SIZE, checked_line, make_log, make_recording, make_video, number_of, picture_of, shown_by
from tiny_recording import some_entries, write_recording

from astra_play.cli import main as cli_main
from astra_play.errors import RecordingError
from astra_play.record.format import Mark
from astra_play.record.frames import NEAR_S, frames, read_facts
from astra_play.record.library import read_line
from astra_play.record.reader import read_recording
from astra_play.record.replay import first_video_index
from astra_play.record.trim import trim


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(("first", "last"), [(0, 48), (16, 48), (16, 30), (16, 17), (32, 45), (5, 29), (47, 48)])
def test_trim_holds_exactly_the_frames_of_the_range(tmp_path, b_frames, first, last) -> None:
    source = make_video(tmp_path / "source.mp4", b_frames=b_frames, fragmented=b_frames == 0)
    made = trim(source, tmp_path / "out.mp4", first / FPS, last / FPS)
    shown = shown_by(made.path)
    assert [number for _, number in shown] == list(range(first, last))
    assert [time for time, _ in shown] == pytest.approx(range(last - first), abs=0.01)
    assert made.length_s == pytest.approx((last - first) / FPS, abs=0.01)
    if b_frames == 0:
        assert made.copied == (first % 16 == 0)


def test_a_moment_between_frames_means_the_nearest_beginning(tmp_path) -> None:
    source = make_video(tmp_path / "source.mp4")
    made = trim(source, tmp_path / "out.mp4", 16.4 / FPS, 20.6 / FPS)
    assert made.copied and [number for _, number in shown_by(made.path)] == [16, 17, 18, 19, 20]


def test_gaps_of_dropped_frames_stay_gaps(tmp_path) -> None:
    source = make_video(tmp_path / "source.mp4", ticks=[0, 1, 2, 8, 9, 10, 11, 20, 21])
    made = trim(source, tmp_path / "out.mp4", 2 / FPS, 21 / FPS)
    assert not made.copied
    assert [time for time, _ in shown_by(made.path)] == pytest.approx([0, 6, 7, 8, 9, 18], abs=0.01)


@pytest.mark.parametrize("part", [0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("from_s", [0.0, 0.1])
def test_trim_of_a_video_that_a_kill_cut_off_keeps_what_is_whole(tmp_path, part, from_s) -> None:
    whole = make_video(tmp_path / "whole.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[:int(part * len(whole))])
    made = trim(cut, tmp_path / "out.mp4", from_s)
    numbers = [number for _, number in shown_by(made.path)]
    first = round(from_s * FPS)
    assert numbers == list(range(first, first + len(numbers))) and numbers and made.copied == (from_s == 0.0)


def test_metadata_is_kept_with_a_note(tmp_path) -> None:
    source = make_video(tmp_path / "source.mp4", metadata={"world": "mini/drive", "seed": "7"})
    for number, first in enumerate((0, 3)):
        made = trim(source, tmp_path / f"out{number}.mp4", first / FPS, 2.0)
        told = read_facts(made.path).metadata
        assert told["world"] == "mini/drive" and told["seed"] == "7"
        assert told["trimmed"].startswith("source.mp4 from ")


def entries(path: Path) -> list[dict]:
    return [read_line(line) for line in path.read_bytes().splitlines(keepends=True)]


def test_log_is_copied_whole_with_a_note_before_its_end(tmp_path) -> None:
    source = make_recording(tmp_path)
    made = trim(source, tmp_path / "out.mp4", 1.0, 2.0)
    old, new = entries(source.with_suffix(".astra")), entries(made.log)
    assert made.log == tmp_path / "out.astra" and [one for one in new if one not in old] == [new[-2]]
    assert new[-2]["kind"] == "mark" and new[-1]["kind"] == "end"
    assert new[-2]["text"] == f"video starts at chunk 16; trimmed from {source.name}, 1.000 s to 2.000 s"


def test_trim_of_a_trim_counts_on_from_where_its_video_begins(tmp_path) -> None:
    first = trim(make_recording(tmp_path), tmp_path / "first.mp4", 1.0, 3.0)
    second = trim(first.path, tmp_path / "second.mp4", 0.5, 1.0)
    marks = [one["text"] for one in entries(second.log) if one["kind"] == "mark"]
    assert marks[-1].startswith("video starts at chunk 24;")


def test_verify_holds_no_frames_against_a_trimmed_video(tmp_path) -> None:
    marks = [Mark(0.0, "video starts at chunk 0"),
             Mark(0.1, "video starts at chunk 2; trimmed from a.mp4, 0.125 s to 0.250 s")]
    start, setting, _, *rest = some_entries()
    whole = write_recording(tmp_path / "whole.astra", [start, setting, marks[0], *rest])
    trimmed = write_recording(tmp_path / "trimmed.astra", [start, setting, marks[0], *rest[:-1], marks[1], rest[-1]])
    assert first_video_index(read_recording(whole)) == 0
    assert first_video_index(read_recording(trimmed)) is None


def test_damaged_log_is_copied_up_to_the_damage(tmp_path) -> None:
    source = make_video(tmp_path / "source.mp4")
    log = make_log(tmp_path / "source.astra")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:10], lines[10].replace(b"chunk", b"chonk"), *lines[11:]]))
    made = trim(source, tmp_path / "out.mp4", 1.0, 2.0)
    assert [one["kind"] for one in entries(made.log)] == ["head", "start", *["chunk"] * 8, "mark"]


def test_log_that_is_none_is_left_behind(tmp_path) -> None:
    source = make_video(tmp_path / "source.mp4")
    (tmp_path / "source.astra").write_text("scribbles\n")
    made = trim(source, tmp_path / "out.mp4", 1.0, 2.0)
    assert made.log is None and not (tmp_path / "out.astra").exists()


@pytest.mark.parametrize("fps", [None, 0, "fast", float("inf"), float("nan")])
def test_log_that_does_not_say_how_long_a_chunk_is_is_left_behind(tmp_path, fps) -> None:
    source = make_video(tmp_path / "source.mp4")
    head = {"kind": "head", "frames_per_chunk": 1, **({} if fps is None else {"fps": fps})}
    (tmp_path / "source.astra").write_bytes(checked_line(head))
    made = trim(source, tmp_path / "out.mp4", 1.0, 2.0)
    assert made.log is None and made.length_s == pytest.approx(1.0, abs=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "source.astra", "source.mp4"]


def test_trim_of_a_video_whose_index_leads_past_the_moment_is_exact_too(tmp_path) -> None:
    with av.open(str(tmp_path / "source.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"g": "16", "bf": "2"})
        stream.height, stream.width = SIZE
        stream.bit_rate = 5_000_000
        for number in range(48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture_of(number), format="rgb24")))
        container.mux(stream.encode(None))
    source = tmp_path / "source.avi"
    whole = [(time_s, number_of(frame)) for time_s, frame in frames(source)]
    assert [number for _, number in whole] == list(range(48))
    for from_s in (0.5, 1.0, 1.2, 2.9):
        shown = [number_of(frame) for _, frame in frames(source, from_s)]
        assert shown == [number for time_s, number in whole if time_s > from_s - 1 / FPS + NEAR_S], from_s
    made = trim(source, tmp_path / "out.mp4", 1.0, 2.0)
    assert made.length_s == pytest.approx(1.0, abs=0.01) and len(shown_by(made.path)) == 16


def test_trim_refuses_what_it_would_write_over_and_other_kinds(tmp_path) -> None:
    source = make_recording(tmp_path)
    (tmp_path / "taken.astra").write_text("precious")
    for out, sentence in ((source, "exists already"), (tmp_path / "taken.mp4", "taken.astra exists already"),
                          (tmp_path / "out.gif", "does not end in .mp4")):
        with pytest.raises(RecordingError, match=sentence):
            trim(source, out, 1.0, 2.0)
    assert (tmp_path / "taken.astra").read_text() == "precious" and not (tmp_path / "taken.mp4").exists()


def test_command_line_trims_and_says_how(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(tmp_path))
    source = make_recording(tmp_path)
    assert cli_main(["clips", "trim", source.stem, "--from", "1", "--to", "2", "--out", str(tmp_path / "a.mp4")]) == 0
    assert "1.00 s, copied without encoding" in capsys.readouterr().out
    assert cli_main(["clips", "trim", str(source), "--from", "0.3", "--out", str(tmp_path / "b.mp4")]) == 0
    assert "encoded again" in capsys.readouterr().out
