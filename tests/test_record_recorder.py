"""Recordings as a session makes them: whole, from the seed, without ever holding up the play or losing an action."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fakes_display import CardWorld, card_config
from full_disk import FullDisk
from naive_boxes import boxes, pictures

from astra_play.chunks import ActionChunk, ActionSample, FrameChunk
from astra_play.record import recorder as recorders
from astra_play.record import recording as recordings
from astra_play.record.facts import make_head
from astra_play.record.format import Chunk, End, Mark, Setting, Start, Still, array_hash
from astra_play.record.reader import Recording as ReadRecording
from astra_play.record.reader import read_recording
from astra_play.record.recorder import Recorder, Target
from astra_play.runtime.journal import Changed, Journal

FPS = 50
PATIENCE_S = 20.0
WHEN = datetime(2026, 3, 4, 5, 6, 7)


class Play:
    """A card world played by hand on the test's thread: each `chunk` tells the recorder as the generator would."""

    def __init__(self, folder: Path, **recorder: object) -> None:
        self.folder = folder
        self.config = card_config(FPS)
        self.recorder = Recorder(self.config, **{"make_head": lambda: make_head(self.config, "card"), **recorder})
        self.journal = Journal()
        self.journal.subscribe(self.recorder)
        self.made: list[FrameChunk] = []
        self._chunk_index = self._reset_count = 0
        for name, value in (("guidance_scale", 1.0), ("num_denoise_steps", 1), ("num_threads", 2)):
            self.journal.changed(name, value)

    def start(self, seed: int = 7, reset_count: int = 0) -> None:
        self.world = CardWorld(self.config)
        self.world.reset(seed)
        self._chunk_index, self._reset_count = 0, reset_count
        self.journal.started(seed, reset_count, np.full((1, 24, 32, 3), seed, np.uint8))

    def chunk(self, count: int = 1, settle: bool = True) -> None:
        for _ in range(count):
            number = len(self.made)
            rows = np.zeros((1, 12), np.float32)
            rows[0, [0, 5, 10]] = 1.0
            rows[0, 11] = -0.01 * (number % 5)
            sample = ActionSample(frozenset({"forward"}), (float(number), 0.0), (), taken_at_s=100.0 + number / FPS)
            action = ActionChunk(sample, rows, "camera", self._chunk_index, self._reset_count)
            frames = self.world.step(action)
            self.made.append(FrameChunk(frames, self._chunk_index, self._reset_count, action, 1.0,
                                        self.world.last_latents))
            self._chunk_index += 1
            self.journal.made(self.made[-1])
            if settle and number % 20 == 19:
                self.settle()

    def settle(self) -> None:
        """Wait until everything that was heard is written."""
        self.until(lambda: self.recorder.is_idle)

    def until(self, come_true: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not come_true():
            assert time.monotonic() < end_s, "waited in vain"
            time.sleep(0.001)

    def target(self, name: str = "clip", **changes: object) -> Target:
        return Target(self.folder, name, WHEN, **changes)

    def close(self) -> list[recorders.Notice]:
        self.recorder.close()
        return self.notices()

    def notices(self) -> list[recorders.Notice]:
        found = []
        while (notice := self.recorder.notice()) is not None:
            found.append(notice)
        return found

    def check(self, name: str = "clip", video_from: int = 0, log_from: int = 0) -> ReadRecording:
        """Check that log and video hold what was made, chunk by chunk; return the log."""
        read = read_recording(self.folder / f"{name}.astra")
        assert read.loss is None
        for chunk in read.chunks:
            made = self.made[chunk.number]
            assert (chunk.chunk_index, chunk.reset_count) == (made.chunk_index, made.reset_count)
            assert np.array_equal(chunk.action("camera").rows, made.action.rows)
            assert chunk.action("camera").sample.mouse_px == made.action.sample.mouse_px
            assert chunk.latents in ("", array_hash(made.latents)) and chunk.frames in ("", array_hash(made.frames))
        assert [chunk.number for chunk in read.chunks] == list(range(log_from, log_from + len(read.chunks)))
        shown = [chunk.number for chunk in read.chunks if chunk.video]
        video = self.folder / f"{name}.mp4"
        times_s = list(pictures(video)) if video.exists() else []
        assert times_s == [Fraction(number - video_from, FPS) for number in shown]
        return read


@pytest.fixture
def make_play(tmp_path: Path) -> Iterator[Callable[..., Play]]:
    plays: list[Play] = []

    def make(**recorder: object) -> Play:
        plays.append(Play(tmp_path / "recordings", **recorder))
        return plays[-1]

    yield make
    for play in plays:
        play.recorder.close()


def kinds(read: ReadRecording) -> list[type]:
    return [type(entry) for entry in read.entries if not isinstance(entry, Chunk)]


# --- what is in a recording -----------------------------------------------------------------------------------------

def test_a_recording_from_the_start_holds_every_chunk_and_frame(make_play) -> None:
    play = make_play()
    play.recorder.begin(play.target())
    play.start()
    play.chunk(60)
    play.recorder.end()
    told = [notice.sentence for notice in play.close()]
    assert told == ["Recording to clip.mp4", f"Recorded 1.2 s to {play.folder / 'clip.mp4'}"]
    read = play.check()
    assert (read.end.num_chunks, read.end.num_dropped_frames, read.end.reason) == (60, 0, "stopped")
    assert all(chunk.video for chunk in read.chunks) and kinds(read)[0] is Start
    assert read.head.created == WHEN.isoformat() and read.head.num_threads == 2
    assert [entry.text for entry in read.entries if isinstance(entry, Mark)] == ["video starts at chunk 0",
                                                                                "video ends"]


def test_a_recording_begun_in_mid_play_starts_its_log_at_the_last_start(make_play) -> None:
    play = make_play()
    play.start(seed=1)
    play.chunk(20)
    play.start(seed=2, reset_count=1)
    play.chunk(20)
    play.journal.changed("guidance_scale", 3.0)
    play.journal.stilled()
    play.chunk(20)
    play.recorder.begin(play.target())
    play.chunk(40)
    play.recorder.end()
    play.close()
    read = play.check(video_from=60, log_from=20)
    start = read.entries[0]
    assert isinstance(start, Start) and (start.seed, start.reset_count) == (2, 1)
    assert np.array_equal(start.prompt_frames(), np.full((1, 24, 32, 3), 2, np.uint8))
    assert [chunk.number for chunk in read.chunks if chunk.video] == list(range(60, 100))
    assert kinds(read) == [Start, Setting, Still, Mark, Mark, End]
    assert read.head.guidance_scale == 1.0, "as it was when the log begins; the line in it changes it"
    mark = read.entries.index(Mark(read.chunks[40].time_s, "video starts at chunk 60"))
    assert read.entries[mark + 1] is read.chunks[40]


def test_resets_within_a_recording_go_on_in_the_same_files(make_play) -> None:
    play = make_play()
    play.recorder.begin(play.target())
    play.start(seed=1)
    play.chunk(20)
    play.start(seed=2, reset_count=1)
    play.chunk(20)
    play.close()
    read = play.check()
    assert [entry.seed for entry in read.entries if isinstance(entry, Start)] == [1, 2]
    assert read.end.reason == "session ended" and len(read.chunks) == 40


def test_two_recordings_of_the_same_second_are_numbered_and_replace_nothing(make_play) -> None:
    play = make_play()
    play.folder.mkdir()
    (play.folder / "clip.mp4").write_bytes(b"somebody's")
    play.start()
    for _ in range(2):
        play.recorder.begin(play.target())
        play.chunk(20)
        play.recorder.end()
    play.close()
    assert (play.folder / "clip.mp4").read_bytes() == b"somebody's" and not (play.folder / "clip.astra").exists()
    play.check("clip 2")
    play.check("clip 3", video_from=20)


def test_controls_are_burnt_into_the_video_only_if_wanted(make_play) -> None:
    play = make_play()
    play.start()
    for name, with_controls in (("plain", False), ("drawn", True)):
        play.recorder.begin(play.target(name, with_controls=with_controls))
        play.chunk(20)
        play.recorder.end()
    play.close()
    plain, drawn = (np.stack(list(pictures(play.folder / f"{name}.mp4").values()))[:, -100:].astype(int)
                    for name in ("plain", "drawn"))
    assert np.ptp(plain) < 12 and drawn.max() > 200  # the card is grey down there, a lit cap is white
    play.check("drawn", video_from=20)  # times and hashes are the world's all the same


def test_nothing_is_left_of_a_recording_without_a_frame(make_play) -> None:
    play = make_play()
    play.start()
    play.chunk(20)
    play.recorder.begin(play.target())
    play.recorder.end()
    assert "Nothing was recorded: no frame was made meanwhile." in [notice.sentence for notice in play.close()]
    assert not (play.folder / "clip.mp4").exists()


# --- the last seconds -----------------------------------------------------------------------------------------------

def test_the_last_seconds_are_saved_after_the_fact_and_replay_from_the_seed(make_play) -> None:
    play = make_play()
    play.start(seed=4)
    play.chunk(1600)  # 32 s: two more than are kept
    play.settle()
    play.recorder.save_last(play.target())
    play.chunk(20)
    play.close()
    read = play.check(video_from=100)
    assert (read.entries[0].seed, len(read.chunks), read.end.reason) == (4, 1600, "saved")
    assert [chunk.number for chunk in read.chunks if chunk.video] == list(range(100, 1600))
    mark = next(entry for entry in read.entries if isinstance(entry, Mark))
    assert mark.text == "video starts at chunk 100"
    assert read.entries[read.entries.index(mark) + 1].number == 100


def test_seconds_from_before_a_reset_bring_their_own_start(make_play) -> None:
    play = make_play()
    for reset_count in range(3):
        play.start(seed=10 + reset_count, reset_count=reset_count)
        play.chunk(20)
    play.settle()
    play.recorder.save_last(play.target())
    play.close()
    read = play.check()
    assert [entry.seed for entry in read.entries if isinstance(entry, Start)] == [10, 11, 12]
    assert read.end.num_chunks == 60


def test_saving_goes_on_beside_a_recording(make_play) -> None:
    play = make_play()
    play.start()
    play.chunk(40)
    play.recorder.begin(play.target("whole"))
    play.chunk(40)
    play.settle()
    play.recorder.save_last(play.target("last"))
    play.chunk(40)
    play.close()
    assert len(play.check("whole", video_from=40).chunks) == 120
    assert len(play.check("last").chunks) == 80


def test_a_save_asked_for_again_and_again_is_made_twice_and_then_refused(make_play) -> None:
    may_work = threading.Event()
    play = make_play(make_head=lambda: may_work.wait(PATIENCE_S) and make_head(card_config(FPS), "card"))
    play.start()
    play.chunk(10, settle=False)
    for _ in range(4):
        play.recorder.save_last(play.target())
    may_work.set()
    told = [notice.sentence for notice in play.close()]
    assert len(list(play.folder.glob("*.mp4"))) == 2
    assert sum("still being saved" in sentence for sentence in told) == 2


def test_before_the_first_frame_there_is_nothing_to_save(make_play) -> None:
    play = make_play()
    play.start()
    play.recorder.save_last(play.target())
    assert [notice.sentence for notice in play.close()] == ["There is nothing to save yet."]


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


def test_a_play_too_long_to_be_kept_can_still_be_recorded_and_the_player_is_told(make_play, monkeypatch) -> None:
    monkeypatch.setattr("astra_play.record.past.MAX_BYTES", 5_000)
    play = make_play()
    play.start()
    play.chunk(60)
    play.settle()
    play.recorder.begin(play.target())
    play.chunk(20)
    told = [notice.sentence for notice in play.close()]
    assert "can be watched but not replayed" in told[0]
    read = play.check(video_from=60, log_from=60)
    assert len(read.chunks) == 20 and Start not in kinds(read)


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


def test_a_setting_told_while_recording_is_in_the_log(make_play) -> None:
    play = make_play()
    play.recorder.begin(play.target())
    play.start()
    play.chunk(5)
    play.recorder.hear(Changed("prompt", "a pond \u2028 at dusk"))
    play.chunk(5)
    play.close()
    read = play.check()
    assert [entry.value for entry in read.entries if isinstance(entry, Setting)] == ["a pond \u2028 at dusk"]
