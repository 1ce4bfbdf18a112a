"""GIF, WebP and mp4 of a stretch of a video: which frames, how long each, and what is said when it cannot be."""

from __future__ import annotations

import errno
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from naive_export import begins_ms, frames_at
from PIL import Image
from recordings import FPS, make_video, number_of, shown_by

from astra_play.cli import main as cli_main
from astra_play.errors import RecordingError
from astra_play.record import export as export_module
from astra_play.record.export import ExportStopped, durations_ms, export
from astra_play.record.frames import at_rate, frames, read_facts
from astra_play.record.mp4 import Mp4File


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "source.mp4")


def animation(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Return the pictures of an animation and how long each stays in ms."""
    pictures, times_ms = [], []
    with Image.open(path) as file:
        for index in range(file.n_frames):
            file.seek(index)
            file.load()
            times_ms.append(file.info["duration"])
            pictures.append(np.asarray(file.convert("RGB")))
    return pictures, times_ms


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# --- frames by time -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ticks", [None, [0, 1, 2, 9, 10, 17, 30]])
@pytest.mark.parametrize("fps", [5.0, 16.0, 24.0, 60.0])
@pytest.mark.parametrize(("from_s", "to_s"), [(0.0, 1.5), (0.55, 1.3), (1.0, 1.8)])
def test_frames_at_any_rate_are_those_on_screen_at_each_moment(tmp_path, ticks, fps, from_s, to_s) -> None:
    path = make_video(tmp_path / "source.mp4", ticks=ticks, keyframe_every=6)
    count = round((to_s - from_s) * fps)
    got = list(at_rate(frames(path, from_s, to_s), fps, from_s, count))
    expected = frames_at(path, [from_s + index / fps for index in range(count)])
    assert [number_of(frame) for frame in got] == [number_of(frame) for frame in expected]


def test_facts_of_a_video_cut_off_by_a_kill_are_those_of_what_is_there(video, tmp_path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:-video.stat().st_size // 4])
    facts = read_facts(cut)
    assert (facts.width, facts.height, facts.fps) == (48, 32, FPS)
    readable_s = len(list(frames(cut))) / FPS
    assert 1.0 < readable_s <= facts.length_s <= readable_s + 1.0  # the last second is announced and cut through


# --- timing ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tick_ms", [1, 10])
@pytest.mark.parametrize("fps", [7, 16, 24, 30, 50])
def test_durations_begin_every_frame_at_the_nearest_tick_and_never_drift(fps, tick_ms) -> None:
    durations = durations_ms(1000, fps, tick_ms)
    begins = np.cumsum([0, *durations])[:-1]
    assert begins.tolist() == begins_ms(1000, fps, tick_ms)
    assert all(duration % tick_ms == 0 for duration in durations)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animation_holds_every_frame_of_the_stretch_for_its_time(video, tmp_path, kind) -> None:
    made = export(video, tmp_path / f"out.{kind}", from_s=0.5, to_s=2.5)
    pictures, times_ms = animation(made.path)
    assert made.num_frames == len(pictures) == 32 and sum(times_ms) == 2000
    assert times_ms == durations_ms(32, FPS, 10 if kind == "gif" else 1)
    assert [number_of(picture) for picture in pictures] == list(range(8, 40))


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_picture_that_stands_still_keeps_its_time(tmp_path, kind) -> None:
    source = make_video(tmp_path / "source.mp4", ticks=[0, 1, 2, 17, 18])
    made = export(source, tmp_path / f"out.{kind}", fps=32)
    pictures, times_ms = animation(made.path)
    begins_ms = np.cumsum([0, *times_ms])[:-1]
    assert made.num_frames == 38 and sum(times_ms) == pytest.approx(1000 * 38 / 32, abs=5)
    at_500_ms = [number_of(picture) for picture, begin in zip(pictures, begins_ms, strict=True) if begin <= 500][-1]
    assert at_500_ms == 2


def test_gif_keeps_colours_of_a_smooth_picture(tmp_path) -> None:
    yy, xx = np.mgrid[0:96, 0:128]
    frame = np.stack([xx * 2, yy * 2, 255 - xx], axis=-1).astype(np.uint8)
    source = tmp_path / "smooth.mp4"
    with Mp4File(source, Fraction(FPS), Fraction(1, FPS)) as file:
        for index in range(8):
            file.write(np.roll(frame, 4 * index, axis=1), index)
    export(source, tmp_path / "out.gif")
    pictures, _ = animation(tmp_path / "out.gif")
    for picture, (_, truth) in zip(pictures, frames(source), strict=True):
        error = np.square(picture.astype(float) - truth).mean()
        assert 10 * np.log10(255**2 / error) > 30.0


def test_palette_is_chosen_from_few_and_small_pictures(video, tmp_path, monkeypatch) -> None:
    sheets = []
    quantize = Image.Image.quantize

    def watched(picture, *args, **options):
        if options.get("palette") is None:
            sheets.append(picture.size)
        return quantize(picture, *args, **options)

    monkeypatch.setattr(Image.Image, "quantize", watched)
    export(video, tmp_path / "out.gif", to_s=1.9, width=480)  # 30 frames: more than are looked at, less than twice
    assert sheets == [(128, 15 * 85)]


def test_width_and_rate_are_as_asked_and_the_shape_stays(video, tmp_path) -> None:
    made = export(video, tmp_path / "out.webp", width=24, fps=8)
    assert (made.width, made.height, made.num_frames) == (24, 16, 24)
    odd = export(video, tmp_path / "out.mp4", width=25)
    assert (odd.width, odd.height) == (26, 18)  # H.264 takes even sizes
    assert [number for _, number in shown_by(odd.path)] == list(range(48))


def test_progress_counts_every_frame_once(video, tmp_path) -> None:
    told: list[tuple[int, int]] = []
    export(video, tmp_path / "out.gif", progress=lambda done, total: told.append((done, total)))
    assert told == [(index + 1, 48) for index in range(48)]


# --- what cannot be -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("options", "sentence"), [
    ({"from_s": 2.0, "to_s": 2.0}, "is 3.00 s long and has nothing between 2 s and 2 s"),
    ({"from_s": 2.0, "to_s": 1.0}, "nothing between 2 s and 1 s"),
    ({"from_s": 99.0}, "nothing between 99 s and its end"),
    ({"width": 5}, "a width of 5 pixels is not within 16 and 3840"),
    ({"fps": 1000.0}, "1000 frames per second is not within"),
    ({"fps": 60.0}, "a GIF of 60 fps would be slowed down by browsers; give --fps 50 or less"),
])
def test_meaningless_wishes_are_refused_with_what_there_is(video, tmp_path, options, sentence) -> None:
    with pytest.raises(RecordingError, match=sentence):
        export(video, tmp_path / "out.gif", **options)
    assert not (tmp_path / "out.gif").exists() and not leftovers(tmp_path)


def test_animation_too_large_is_refused_before_it_is_made(video, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "MAX_ANIMATION_PIXELS", 48 * 32 * 47)
    with pytest.raises(RecordingError, match="million pixels.*shorter, smaller with --width"):
        export(video, tmp_path / "out.gif")
    export(video, tmp_path / "out.mp4")


def test_files_that_are_no_video_are_named(tmp_path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    picture = tmp_path / "still.png"
    Image.new("RGB", (20, 20)).save(picture)
    for source, sentence in ((text, "cannot be read as a video"), (picture, "holds no moving picture"),
                             (tmp_path, "is a folder"), (tmp_path / "none.mp4", "does not exist")):
        with pytest.raises(RecordingError, match=sentence):
            export(source, tmp_path / "out.gif")


def test_existing_file_missing_folder_and_unknown_ending_are_refused(video, tmp_path) -> None:
    (tmp_path / "there.gif").write_text("precious")
    for out, sentence in ((tmp_path / "there.gif", "exists already"), (tmp_path / "no" / "out.gif", "does not exist"),
                          (tmp_path / "out.avi", "ends in '.avi'; give a file that ends in .gif, .webp, .mp4")):
        with pytest.raises(RecordingError, match=sentence):
            export(video, out)
    assert (tmp_path / "there.gif").read_text() == "precious"


@pytest.mark.parametrize("kind", ["gif", "webp", "mp4"])
@pytest.mark.parametrize(("number", "sentence"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission")])
def test_a_failing_disk_is_said_and_leaves_nothing(video, tmp_path, monkeypatch, kind, number, sentence) -> None:
    def fail(part, wanted, pictures):
        part.write_bytes(b"half")
        raise OSError(number, "no")

    monkeypatch.setitem(export_module._WRITERS, f".{kind}", fail)
    with pytest.raises(RecordingError, match=sentence):
        export(video, tmp_path / f"out.{kind}")
    assert not (tmp_path / f"out.{kind}").exists() and not leftovers(tmp_path)


@pytest.mark.parametrize("kind", ["gif", "webp", "mp4"])
def test_stopped_export_leaves_nothing(video, tmp_path, kind) -> None:
    stop = threading.Event()
    with pytest.raises(ExportStopped):
        export(video, tmp_path / f"out.{kind}", stop=stop,
               progress=lambda done, total: stop.set() if done == 20 else None)
    assert not (tmp_path / f"out.{kind}").exists() and not leftovers(tmp_path)


def test_command_line_exports_a_stretch(video, tmp_path, capsys) -> None:
    assert cli_main(["clips", "export", str(video), "--from", "0:01", "--to", "2", "--width", "24", "--fps", "8",
                     "--out", str(tmp_path / "out.gif")]) == 0
    assert "8 frames of 24 x 16" in capsys.readouterr().out
    assert cli_main(["clips", "export", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "b.gif")]) == 2
    assert "there is no recording" in capsys.readouterr().err
