"""Recordings as a session makes them: whole and from the seed, from the beginning, in mid-play or after the fact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes_display import card_config
from naive_boxes import pictures
from recorded_play import FPS, PATIENCE_S, WHEN, RecordedPlay, kinds, recorded_plays

from astra_play.record.facts import make_head
from astra_play.record.format import End, Mark, Setting, Start, Still
from astra_play.runtime.journal import Changed


@pytest.fixture
def make_play(tmp_path: Path) -> Iterator[Callable[..., RecordedPlay]]:
    with recorded_plays(tmp_path / "recordings") as make:
        yield make


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
    assert list(play.folder.iterdir()) == []


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
