"""Videos on the screen: every frame at its time, once in the attract loop and again and again on the clips page."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest
from recordings import FPS, make_video, number_of

from astra_play.display.videoplayer import VideoPlayer
from astra_play.display.videopreview import DELAY_S, VideoPreview
from astra_play.errors import DisplayError

# --- once -----------------------------------------------------------------------------------------------------------

def test_player_shows_each_frame_at_its_time_and_ends(tmp_path: Path) -> None:
    player, shown = VideoPlayer(make_video(tmp_path / "a.mp4", num_frames=10)), []
    for tick in range(14):
        if player.tick(100.0 + (tick + 0.5 * (tick > 0)) / FPS):
            shown.append(number_of(player.frame))
    player.close()
    assert shown == list(range(10)) and player.is_over


@pytest.mark.skipif(os.name == "nt", reason="no file of Windows has a colon in its name")
def test_a_name_that_looks_like_an_address_is_a_file_all_the_same(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "a.mp4", num_frames=2).rename(tmp_path / "t: 02.mp4")
    monkeypatch.chdir(tmp_path)
    player = VideoPlayer(Path("t: 02.mp4"))
    assert player.tick(0.0) and number_of(player.frame) == 0
    player.close()


def test_late_ticks_leave_frames_out_and_never_run_ahead(tmp_path: Path) -> None:
    player = VideoPlayer(make_video(tmp_path / "a.mp4", num_frames=10))
    player.tick(0.0)
    assert number_of(player.frame) == 0
    player.tick(4.5 / FPS)
    assert number_of(player.frame) == 4
    player.close()


def test_video_that_is_too_slow_for_its_machine_is_shown_slower(tmp_path: Path) -> None:
    player = VideoPlayer(make_video(tmp_path / "a.mp4", num_frames=24), catch_up_frames=3)
    for now_s, number in ((0.0, 0), (1.0, 3), (1.0 + 0.5 / FPS, 4), (1.0 + 1.5 / FPS, 5)):
        player.tick(now_s)
        assert number_of(player.frame) == number
    player.close()


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_file_that_is_no_video_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.mp4").write_bytes(content)
    with pytest.raises(DisplayError, match="broken.mp4"):
        VideoPlayer(tmp_path / "broken.mp4")


def test_a_video_of_a_kind_that_cannot_be_decoded_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    player = VideoPlayer(make_video(tmp_path / "odd.mp4", num_frames=8))

    def refuse(_: object) -> None:
        raise av.error.PatchWelcomeError(1, "Not yet implemented in FFmpeg")

    monkeypatch.setattr(player, "_frames", map(refuse, [0]))
    with pytest.raises(DisplayError, match=r"odd\.mp4 cannot be shown"):
        player.tick(0.0)
    player.close()


# --- again and again ------------------------------------------------------------------------------------------------

def test_preview_shows_the_frame_of_each_moment_and_begins_again(tmp_path) -> None:
    video = make_video(tmp_path / "a.mp4", num_frames=24)
    preview = VideoPreview()
    preview.tick(video, 10.0)
    assert preview.frame is None
    for number in (0, 3, 4, 10, 17, 23):
        preview.tick(video, 10.0 + DELAY_S + number / 16 + 0.01)
        assert number_of(preview.frame) == number
    ended_s = 10.0 + DELAY_S + 23 / 16 + 0.01
    preview.tick(video, ended_s + DELAY_S + 2 / 16 + 0.01)
    assert number_of(preview.frame) == 2
    preview.tick(None, 30.0)
    assert preview.frame is None


def test_preview_goes_on_where_it_was_after_a_long_wait(tmp_path) -> None:
    video = make_video(tmp_path / "a.mp4", num_frames=48)
    preview = VideoPreview()
    preview.tick(video, 0.0)
    preview.tick(video, DELAY_S + 0.01)
    preview.tick(video, 60.0)
    assert number_of(preview.frame) == 1


def test_preview_of_a_wreck_shows_nothing_and_does_not_try_again(tmp_path, monkeypatch) -> None:
    wreck = tmp_path / "wreck.mp4"
    wreck.write_text("nothing")
    preview = VideoPreview()
    preview.tick(wreck, 0.0)
    assert not preview.tick(wreck, 1.0)
    monkeypatch.setattr("astra_play.display.videopreview.VideoPlayer", lambda *_: pytest.fail("tried again"))
    assert not preview.tick(wreck, 2.0) and preview.frame is None


def test_preview_of_a_video_that_breaks_off_begins_again(tmp_path, monkeypatch) -> None:
    video = make_video(tmp_path / "a.mp4", num_frames=24)
    preview = VideoPreview()
    preview.tick(video, 0.0)
    preview.tick(video, DELAY_S + 2 / FPS + 0.01)

    def refuse(_: object) -> None:
        raise av.error.InvalidDataError(1, "Invalid data found when processing input")

    monkeypatch.setattr(preview._player, "_frames", map(refuse, [0]))
    assert not preview.tick(video, DELAY_S + 3 / FPS + 0.01) and number_of(preview.frame) == 2
    preview.tick(video, 2 * DELAY_S + 7 / FPS + 0.02)
    assert number_of(preview.frame) == 4
    preview.close()
