"""Videos as they are written: exact times, sharp pixels, playable whatever happens to the process or the disk."""

from __future__ import annotations

import errno
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from full_disk import FullDisk
from naive_boxes import boxes, pictures

from astra_play.errors import RecordingError
from astra_play.record import encoder as encoders
from astra_play.record.encoder import ENCODERS, choose_encoder
from astra_play.record.video import MIN_HEIGHT_PX, VideoWriter, create_file, enlargement
from astra_play.record.whole_boxes import whole_bytes

FPS = 16


def frame_of(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    """A frame that says its number (below 256) in the brightness of its left quarters; the right half is busy."""
    frame = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    frame[:height // 2, :width // 2] = 16 + 14 * (number // 16)
    frame[height // 2:, :width // 2] = 16 + 14 * (number % 16)
    return frame


def write(path: Path, numbers: list[int], open_file=create_file, size: tuple[int, int] = (24, 32)) -> VideoWriter:
    writer = VideoWriter(path, size[1], size[0], FPS, "Test card", {"seed": 3}, open_file)
    for number in numbers:
        writer.write(frame_of(number, *size), number)
    return writer


def numbers_shown(path: Path) -> list[int]:
    """Read the numbers from the pictures, and check that each appears at its own time."""
    shown = []
    for time_s, picture in pictures(path).items():
        height, width, _ = picture.shape
        quarters = picture[:height // 3, :width // 4], picture[-height // 3:, :width // 4]
        high, low = (round((float(quarter.mean()) - 16) / 14) for quarter in quarters)
        number = 16 * high + low
        assert time_s == Fraction(number, FPS)
        shown.append(number)
    return shown


def test_every_frame_is_at_its_own_time_and_a_missing_one_shifts_nothing(tmp_path: Path) -> None:
    numbers = [*range(10), *range(13, 30), 40, *range(60, 75)]
    write(tmp_path / "v.mp4", numbers).close()
    assert numbers_shown(tmp_path / "v.mp4") == numbers


def test_a_closed_file_is_a_common_mp4_that_knows_its_length_and_world(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", list(range(40))).close()
    kinds = [kind for kind, _ in boxes((tmp_path / "v.mp4").read_bytes())]
    assert kinds.count(b"mdat") == kinds.count(b"moov") == 1 and b"moof" not in kinds
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.codec_context.pix_fmt) == (40, FPS, "yuv420p")
        assert container.duration == 40 * 1_000_000 // FPS
        assert container.metadata["title"] == "Test card" and json.loads(container.metadata["comment"]) == {"seed": 3}


def test_pixels_of_a_small_world_are_sharp_squares(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 2, (24, 32, 1), np.uint8).repeat(3, axis=2) * 200 + 20
    writer = VideoWriter(tmp_path / "v.mp4", 32, 24, FPS, "", {})
    writer.write(frame, 0)
    writer.close()
    (picture,) = pictures(tmp_path / "v.mp4").values()
    assert picture.shape == (480, 640, 3)
    assert np.abs(picture.astype(int) - frame.repeat(20, axis=0).repeat(20, axis=1)).mean() < 3


@pytest.mark.parametrize(("size", "stored"), [
    ((96, 128), (480, 640)), ((480, 832), (480, 832)), ((97, 129), (486, 646)), ((481, 833), (482, 834)),
    ((6, 8), (480, 640))])
def test_every_size_is_stored_whole_and_at_least_480_lines(tmp_path: Path, size: tuple[int, int],
                                                           stored: tuple[int, int]) -> None:
    write(tmp_path / "v.mp4", [0, 1], size=size).close()
    (first, _) = pictures(tmp_path / "v.mp4").values()
    assert first.shape[:2] == stored
    factor = enlargement(size[0])
    original = frame_of(0, *size).repeat(factor, axis=0).repeat(factor, axis=1)
    corner = slice(0, original.shape[0] // 3), slice(0, original.shape[1] // 3)
    assert np.abs(first[corner].astype(int) - original[corner]).max() < 12


def test_enlargement_is_the_least_whole_factor() -> None:
    for height in range(1, 1000):
        factor = enlargement(height)
        assert height * factor >= MIN_HEIGHT_PX and (factor == 1 or height * (factor - 1) < MIN_HEIGHT_PX)


def test_a_frame_drawn_on_at_its_stored_size_is_stored_as_it_is(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "v.mp4", 32, 24, FPS, "", {})
    large = writer.enlarge(np.full((24, 32, 3), 90, np.uint8))
    large[200:260, 300:400] = 230
    writer.write(large, 0)
    writer.close()
    (picture,) = pictures(tmp_path / "v.mp4").values()
    assert np.abs(picture.astype(int) - large).mean() < 2


# --- killed at any moment -------------------------------------------------------------------------------------------

class Snapshots:
    """Keeps what would lie on the disk after every write, had the process been killed there."""

    def __init__(self) -> None:
        self.states: list[bytes] = []

    def open_file(self, path: Path):
        states, file = self.states, open(path, "xb+", buffering=0)

        class File:
            def __getattr__(self, name: str) -> object:
                return getattr(file, name)

            def write(self, data: bytes) -> int:
                count = file.write(data)
                states.append(path.read_bytes())
                return count

        return File()


def test_after_every_write_the_file_is_whole_boxes_that_a_strict_reader_plays(tmp_path: Path) -> None:
    snapshots = Snapshots()
    write(tmp_path / "v.mp4", list(range(60)), snapshots.open_file).close()
    assert len(snapshots.states) >= 5
    most = -1
    for index, data in enumerate(snapshots.states):
        assert sum(length for _, length in boxes(data)) == len(data)
        if b"moov" not in [kind for kind, _ in boxes(data)]:
            assert index == 0  # the very first box alone
            continue
        path = tmp_path / f"killed{index}.mp4"
        path.write_bytes(data)
        shown = numbers_shown(path) if b"mdat" in data else []
        assert shown == list(range(len(shown))) and len(shown) >= most
        most = len(shown)
    assert most == 60


def test_a_second_of_play_is_on_the_disk_soon_after_it_was_given(tmp_path: Path) -> None:
    writer = write(tmp_path / "v.mp4", list(range(5 * FPS)))
    (tmp_path / "killed.mp4").write_bytes((tmp_path / "v.mp4").read_bytes())
    writer.close()
    # at most the fragment under way and what the encoder looks ahead
    assert len(numbers_shown(tmp_path / "killed.mp4")) >= 5 * FPS - FPS - 9


def test_whole_bytes_are_those_of_the_slow_reader() -> None:
    data = b""
    for kind, size in ((b"ftyp", 20), (b"moov", 700), (b"moof", 90), (b"mdat", 333), (b"moof", 90), (b"mdat", 8)):
        data += (8 + size).to_bytes(4, "big") + kind + bytes(size)
    for end in range(len(data) + 1):
        whole = place = 0
        for kind, length in boxes(data[:end]):
            place += length
            whole = place if place <= end and kind != b"moof" else whole
        assert whole_bytes(data[:end]) == whole


# --- full disks -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("num_bytes", [900, 5_000, 40_000, 100_000, 150_000, 200_000])
def test_on_a_full_disk_the_frames_so_far_stay_playable_and_the_caller_is_told(tmp_path: Path, num_bytes: int) -> None:
    disk = FullDisk(num_bytes)
    writer = VideoWriter(tmp_path / "v.mp4", 32, 24, FPS, "", {}, disk.open_file)
    with pytest.raises(OSError) as failure:
        for number in range(200):
            writer.write(frame_of(number), number)
    assert failure.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        writer.close()
    data = (tmp_path / "v.mp4").read_bytes()
    assert sum(length for _, length in boxes(data)) == len(data) <= num_bytes
    if b"mdat" in data:
        shown = numbers_shown(tmp_path / "v.mp4")
        assert shown == list(range(len(shown))) != []
    else:
        assert num_bytes <= 40_000  # less than the first second takes


def test_a_disk_that_fills_at_the_very_end_keeps_every_fragment(tmp_path: Path) -> None:
    writer = write(tmp_path / "whole.mp4", list(range(40)))
    writer.close()
    disk = FullDisk((tmp_path / "whole.mp4").stat().st_size - 100)  # all but a part of the index
    writer = write(tmp_path / "v.mp4", list(range(40)), disk.open_file)
    with pytest.raises(OSError):
        writer.close()
    assert numbers_shown(tmp_path / "v.mp4") == list(range(40))


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        write(tmp_path / "v.mp4", [])
    assert (tmp_path / "v.mp4").read_bytes() == b"somebody's"


# --- encoders -------------------------------------------------------------------------------------------------------

@pytest.fixture
def fresh_choice():
    choose_encoder.cache_clear()
    yield
    choose_encoder.cache_clear()


def test_the_best_encoder_that_works_is_taken(monkeypatch: pytest.MonkeyPatch, fresh_choice: None) -> None:
    assert choose_encoder().name == "libx264"
    choose_encoder.cache_clear()
    monkeypatch.setattr(encoders, "works", lambda encoder: encoder.name in ("mpeg4", "libopenh264"))
    assert choose_encoder().name == "libopenh264"
    choose_encoder.cache_clear()
    monkeypatch.setattr(encoders, "works", lambda encoder: False)
    with pytest.raises(RecordingError, match="no video encoder works here"):
        choose_encoder()


@pytest.mark.parametrize("name", [encoder.name for encoder in ENCODERS if encoders.works(encoder)])
def test_every_encoder_that_works_here_makes_a_video_of_exact_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                    fresh_choice: None, name: str) -> None:
    monkeypatch.setattr(encoders, "ENCODERS", tuple(encoder for encoder in ENCODERS if encoder.name == name))
    writer = write(tmp_path / "v.mp4", [0, 1, 2, 5, 6])
    assert writer.encoder.name == name
    writer.close()
    assert numbers_shown(tmp_path / "v.mp4") == [0, 1, 2, 5, 6]


def test_an_encoder_that_is_not_there_does_not_work() -> None:
    assert not encoders.works(encoders.Encoder("no-such-encoder"))
