"""Recordings in trouble: what is slow never holds up the play or loses an action, what fails is told and kept."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from fakes_display import card_config
from full_disk import FullDisk
from naive_boxes import boxes, pictures
from recorded_play import FPS, PATIENCE_S, RecordedPlay, recorded_plays

from astra_play.record import recorder as recorders
from astra_play.record import recording as recordings
from astra_play.record.facts import make_head
from astra_play.record.reader import read_recording


@pytest.fixture
def make_play(tmp_path: Path) -> Iterator[Callable[..., RecordedPlay]]:
    with recorded_plays(tmp_path / "recordings") as make:
        yield make


# --- never in the way -----------------------------------------------------------------------------------------------

def test_a_thread_that_is_behind_loses_frames_counted_and_never_actions(make_play, monkeypatch) -> None:
    monkeypatch.setattr(recorders, "MAX_WAITING_BYTES", 10 * 24 * 32 * 3)
    may_work = threading.Event()
    config = card_config(FPS)

    def slow_head():
        may_work.wait(PATIENCE_S)
        return make_head(config, "card")

    play = make_play(make_head=slow_head)
    play.recorder.begin(play.target())
    play.start()
    play.chunk(60, settle=False)
    assert play.recorder._queue.qsize() >= 60
    may_work.set()
    play.settle()
    play.chunk(20)
    play.close()
    read = play.check()
    assert len(read.chunks) == 80
    without = [chunk for chunk in read.chunks if not chunk.video]
    assert read.end.num_dropped_frames == len(without) >= 50
    assert all(chunk.frames == chunk.latents == "" for chunk in without)


def test_an_encoder_that_is_behind_loses_frames_and_keeps_their_hashes(make_play, monkeypatch) -> None:
    monkeypatch.setattr(recordings, "MAX_WAITING_S", 0.1)
    may_encode = threading.Event()
    encode = recordings.VideoWriter.write

    def slow(writer, frame, number):
        may_encode.wait(PATIENCE_S)
        encode(writer, frame, number)

    monkeypatch.setattr(recordings.VideoWriter, "write", slow)
    play = make_play()
    play.recorder.begin(play.target())
    play.start()
    play.chunk(1)
    play.until(play.recorder._queue.empty)
    play.chunk(60, settle=False)
    may_encode.set()
    play.close()
    read = play.check()
    without = [chunk for chunk in read.chunks if not chunk.video]
    assert len(read.chunks) == 61 and read.end.num_dropped_frames == len(without) >= 50
    assert all(chunk.frames and chunk.latents for chunk in without)


def test_telling_the_recorder_takes_no_time_while_the_disk_stands_still(make_play) -> None:
    may_write = threading.Event()

    def open_file(path: Path):
        may_write.wait(PATIENCE_S)
        return recordings.create_file(path)

    play = make_play(open_file=open_file)
    play.recorder.begin(play.target())
    play.start()
    begin_s = time.monotonic()
    play.chunk(200, settle=False)
    assert time.monotonic() - begin_s < 2.0 < PATIENCE_S
    may_write.set()
    play.close()
    assert len(play.check().chunks) == 200


def test_closing_joins_the_thread_and_hears_nothing_more(make_play) -> None:
    play = make_play()
    play.start()
    play.chunk(20)
    play.close()
    play.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "astra-recorder"]
    play.chunk(20, settle=False)
    assert play.recorder._queue.empty()


@pytest.mark.parametrize("is_stuck", [False, True])
def test_closing_waits_as_long_as_something_is_written_and_no_longer(make_play, monkeypatch, caplog, is_stuck) -> None:
    monkeypatch.setattr(recorders, "STUCK_AFTER_S", 0.25)
    encode, may_encode = recordings.VideoWriter.write, threading.Event()

    def slow(writer, frame, number):
        may_encode.wait(PATIENCE_S if is_stuck else 0.02)
        encode(writer, frame, number)

    monkeypatch.setattr(recordings.VideoWriter, "write", slow)
    play = make_play()
    play.start()
    play.chunk(40)
    play.recorder.save_last(play.target())
    begin_s = time.monotonic()
    play.close()
    if is_stuck:
        assert time.monotonic() - begin_s < PATIENCE_S and "nothing was written" in caplog.text
        may_encode.set()
    else:
        assert play.check().end.reason == "saved"


# --- what can go wrong ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("num_bytes", [10, 700, 3_000, 8_000, 12_000, 20_000, 30_000])
def test_a_full_disk_is_told_once_and_what_was_recorded_is_kept_and_closed(make_play, num_bytes: int) -> None:
    disk = FullDisk(num_bytes)
    play = make_play(open_file=disk.open_file)
    play.recorder.begin(play.target())
    play.start()
    play.chunk(150)
    play.settle()
    play.until(lambda: not play.recorder.is_recording)
    play.chunk(20)  # the play goes on
    assert play.recorder.status is None
    bad = [notice for notice in play.close() if notice.error is not None]
    assert len(bad) == 1 and "no space left" in bad[0].sentence and "Free some space" in bad[0].sentence
    if not (play.folder / "clip.astra").exists():
        assert "could not be started" in bad[0].sentence and not (play.folder / "clip.mp4").exists()
        return
    read = read_recording(play.folder / "clip.astra")
    assert read.loss is None and [chunk.number for chunk in read.chunks] == list(range(len(read.chunks)))
    video = play.folder / "clip.mp4"
    if video.exists():
        data = video.read_bytes()
        assert sum(length for _, length in boxes(data)) == len(data)
        if b"mdat" in data:
            times_s = list(pictures(video))
            assert times_s == [Fraction(number, FPS) for number in range(len(times_s))]
            if "stopped" in bad[0].sentence:
                assert f"{len(times_s) / FPS:.1f} s of its video are kept" in bad[0].sentence
            # cutting the video makes room for the last line, unless nothing was cut off
            assert read.end is None or read.end.reason == "disk full"


def test_after_a_failure_the_player_can_record_again(make_play) -> None:
    disk = FullDisk(9_000)
    play = make_play(open_file=disk.open_file)
    play.recorder.begin(play.target("first"))
    play.start()
    play.chunk(60)
    play.until(lambda: not play.recorder.is_recording)
    disk.free = 10_000_000
    play.recorder.begin(play.target("second"))
    assert play.recorder.is_recording
    play.chunk(40)
    play.close()
    assert play.check("second", video_from=60).end.reason == "session ended"


def test_no_permission_is_told_with_what_to_do(make_play) -> None:
    def open_file(path: Path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    play = make_play(open_file=open_file)
    play.start()
    play.recorder.begin(play.target())
    play.recorder.save_last(play.target())
    play.chunk(40)
    play.recorder.save_last(play.target())
    told = [notice.sentence for notice in play.close() if notice.error is not None]
    assert len(told) == 2 and "permission denied. Choose another recordings folder" in told[0]
    assert "could not be started" in told[0] and "could not be saved" in told[1]
    assert not list(play.folder.glob("*"))


def test_a_folder_that_cannot_be_made_is_told(make_play, tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file where the folder should be")
    play = make_play()
    play.start()
    play.recorder.begin(play.target())
    play.chunk(20)
    (told,) = play.close()
    assert "could not be started" in told.sentence and told.error is not None


@pytest.mark.skipif(os.name == "nt", reason="a folder with open files cannot be removed there")
def test_a_removed_folder_ends_the_recording_and_the_last_seconds_can_still_be_saved(make_play) -> None:
    play = make_play()
    play.recorder.begin(play.target())
    play.start()
    play.chunk(20)
    play.settle()
    shutil.rmtree(play.folder)
    play.chunk(20)
    play.until(lambda: not play.recorder.is_recording)
    play.recorder.save_last(play.target("rescued"))
    told = play.close()
    assert ["nothing of it is left" in notice.sentence for notice in told if notice.error is not None] == [True]
    assert len(play.check("rescued").chunks) == 40


def test_a_failure_while_saving_leaves_the_recording_alone(make_play) -> None:
    def open_file(path: Path):
        if path.name.startswith("last"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return recordings.create_file(path)

    play = make_play(open_file=open_file)
    play.recorder.begin(play.target("whole"))
    play.start()
    play.chunk(20)
    play.recorder.save_last(play.target("last"))
    play.chunk(20)
    assert play.recorder.is_recording
    told = play.close()
    assert ["could not be saved" in notice.sentence for notice in told if notice.error is not None] == [True]
    assert len(play.check("whole").chunks) == 40


def test_a_broken_recorder_says_so_when_it_is_wanted_and_holds_no_frames(make_play) -> None:
    def broken_head():
        raise RuntimeError("the weights went away")

    play = make_play(make_head=broken_head)
    play.start()
    play.chunk(20, settle=False)
    play.recorder.begin(play.target())
    play.settle()
    play.recorder.save_last(play.target())
    play.settle()
    told = [notice.sentence for notice in play.close()]
    assert len(told) == 2 and all("the weights went away" in sentence for sentence in told)


def test_a_video_library_that_cannot_be_loaded_is_said_to_every_wish(make_play, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "astra_play.record.writer", None)
    play = make_play()
    play.start()
    play.chunk(3)
    play.recorder.begin(play.target())
    play.settle()
    assert not play.recorder.is_recording
    play.recorder.save_last(play.target())
    told = play.close()
    assert len(told) == 2 and all("Nothing can be recorded here" in notice.sentence and notice.error for notice in told)
