"""A person's own clips: videos and logs of three kinds become episodes whose rows say what the pictures show."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from astra_play.actions import rows as action_rows
from astra_play.cli import main as cli_main
from astra_play.errors import DataError
from astra_play.render import Mp4Writer
from astra_play.train import clips
from astra_play.train.clips import ImportOptions, import_clips, read_video
from astra_play.train.dataset import HELD_OUT_SEED_BASE, Dataset, read_episode

SMALL = ImportOptions(width=32, height=24, fps=16, frames_per_episode=24, held_out_every=3)


def video(path: Path, num_frames: int, fps: int = 16, size: tuple[int, int] = (48, 64)) -> Path:
    """A video whose frame i is grey of brightness 4 i: which one was taken can be read from it."""
    with Mp4Writer(path, fps) as writer:
        for index in range(num_frames):
            writer.write(np.full((*size, 3), 4 * index % 250, np.uint8))
    return path


def numbers(frames: np.ndarray) -> np.ndarray:
    return (frames.mean(axis=(1, 2, 3)) / 4).round().astype(int)


@pytest.mark.parametrize(("fps", "expected"), [(16, range(20)), (32, range(0, 40, 2)), (8, np.arange(20) // 2)])
def test_frames_are_taken_at_the_rate_of_the_world(tmp_path: Path, fps: int, expected) -> None:
    frames, length_s = read_video(video(tmp_path / "a.mp4", 20 * fps // 16, fps), SMALL)
    assert frames.shape == (20, 24, 32, 3) and length_s == pytest.approx(1.25)
    assert numbers(frames).tolist() == list(expected)


def test_motions_of_another_rate_add_up_between_the_frames_of_the_world(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 40, 32)
    turns = np.linspace(-0.02, 0.03, 40)
    path.with_suffix(".csv").write_text("forward_m,right_m,yaw_left_rad,pitch_up_rad\n" + "".join(
        f"0.1,0,{turn},0\n" for turn in turns))
    (frames, motions), = clips.clip_pieces(path, path.with_suffix(".csv"), SMALL)
    assert motions.shape == (20, 4) and not motions[0].any()
    assert np.allclose(motions[1:, 0], 0.2)
    assert np.allclose(motions[1:, 2], turns[1:39:2] + turns[2:40:2])


def test_a_gripper_is_a_state_and_a_hand_may_be_told_by_its_place(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 16)
    lines = [f"{i / 16},{0.01 * i},0,{-0.02 * i},{int(i >= 8)}\n" for i in range(16)]
    path.with_suffix(".csv").write_text("t, at_right_m, at_away_m, at_up_m, close\n" + "".join(lines))
    options = ImportOptions("arm", 32, 24, 16)
    (_, motions), = clips.clip_pieces(path, path.with_suffix(".csv"), options)
    assert np.allclose(motions[1:, :3], [0.01, 0.0, -0.02]) and motions[:, 3].tolist() == [0.0] * 8 + [1.0] * 8


@pytest.mark.parametrize("scenario", ["drive", "explore"])
def test_ego_poses_become_the_motion_that_leads_from_one_to_the_next(tmp_path: Path, scenario: str) -> None:
    """A car on a circle to the left, 10 m in radius, a radian in two seconds; poses at 20 a second from anywhere."""
    path = video(tmp_path / "a.mp4", 32)
    entries = []
    for i in range(41):
        angle = 0.7 + i / 40  # heading when it sets out: 0.7 rad
        entries.append({"timestamp": 1_700_000_000_000_000 + 50_000 * i, "token": "x",
                        "translation": [100 + 10 * math.sin(angle), -10 * math.cos(angle), 0.4],
                        "rotation": [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]})
    path.with_suffix(".json").write_text(json.dumps(entries[::-1]))
    options = ImportOptions(scenario, 32, 24, 16)
    (_, motions), = clips.clip_pieces(path, path.with_suffix(".json"), options)
    turn = motions[1:, 2]
    assert np.allclose(turn, 1 / 32, atol=1e-6)
    assert np.allclose(motions[1:, 0], 10 / 32, rtol=0.02)
    side = motions[1:, 1] if scenario == "drive" else -motions[1:, 1]
    assert (side > 0).all() and np.allclose(side, 10 / 32 * math.sin(1 / 64), atol=4e-3)


def test_input_events_become_the_rows_that_play_would_make(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 16)
    path.with_suffix(".jsonl").write_text('{"t": 0.26, "key": "w", "down": true}\n{"t": 0.6, "mouse": [10, 0]}\n')
    dataset, _ = import_clips(tmp_path, tmp_path / "out", None, SMALL)
    episode = read_episode(dataset.episodes[0])
    forward, turn = zip(*((action_rows.camera_motion(row)[0], action_rows.camera_motion(row)[2])
                          for row in episode.rows), strict=True)
    assert forward[:5] == pytest.approx([0.0] * 5) and np.allclose(forward[6:], 3.0 / 16, atol=1e-5)
    assert sum(turn) == pytest.approx(-math.radians(10 * SMALL.controls.mouse_deg_per_px), abs=1e-4)
    assert np.allclose(episode.controls[:, 0], forward, atol=1e-6)


def test_long_clips_are_cut_and_some_pieces_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, length in (("a", 60), ("b", 28), ("c", 5)):  # three pieces, one and a bit, none
        (tmp_path / "in").mkdir(exist_ok=True)
        path = video(tmp_path / "in" / f"{name}.mp4", length)
        path.with_suffix(".jsonl").write_text("")
    assert cli_main(["data", "import", str(tmp_path / "in"), str(tmp_path / "out"), "--held-out",
                     str(tmp_path / "apart"), "--width", "32", "--height", "24", "--frames-per-episode", "24"]) == 0
    assert "4 episodes" in capsys.readouterr().out and len(Dataset(tmp_path / "apart")) == 0
    dataset, apart = import_clips(tmp_path / "in", tmp_path / "out2", tmp_path / "apart2", SMALL)
    assert len(dataset) == 3 and apart == 1
    held_out = read_episode(Dataset(tmp_path / "apart2").episodes[0])
    assert held_out.seed == HELD_OUT_SEED_BASE + 2 and numbers(held_out.frames).tolist() == list(range(48, 60))
    dataset.verify()


CAMERA = "forward_m,right_m,yaw_left_rad,pitch_up_rad\n"
T_CAMERA = "t," + CAMERA


def pose(at_s: float, x_m: float) -> dict:
    return {"timestamp": round(1e6 * at_s), "translation": [x_m, 0, 0], "rotation": [1, 0, 0, 0]}


@pytest.mark.parametrize(("log", "content", "sentence"), [
    ("a.csv", "forward_m,right_m\n0,0\n", "need forward_m, right_m, yaw_left_rad, pitch_up_rad"),
    ("a.csv", "forward_m,right_m,yaw_left_rad,pitch_up_rad\n0,0,x,0\n0,0,0,0\n", "not a number"),
    ("a.csv", "forward_m,right_m,yaw_left_rad,pitch_up_rad\n0,0,0,0\n", "at least two lines"),
    ("a.csv", "t,forward_m,right_m,yaw_left_rad,pitch_up_rad\n1,0,0,0,0\n1,0,0,0,0\n", "t must grow"),
    ("a.json", '[{"timestamp": 1}]', "not a list of ego poses"),
    ("a.json", "[]", "not a list of ego poses"),
    ("a.csv", CAMERA + "0" * 200_000, "cannot be read as comma-separated text"),
    ("a.csv", T_CAMERA + "".join(f"{1.7e9 + i / 16},0.1,0,0,0\n" for i in range(10)), "from 1700000000 s to 17000"),
    ("a.csv", T_CAMERA + "".join(f"{62.5 * i},0.1,0,0,0\n" for i in range(10)), "to 562.5 s, but the video"),
    ("a.csv", T_CAMERA + "0,0.1,0,0,0\nnan,0.1,0,0,0\n0.5,0.1,0,0,0\n", "t must grow"),
    ("a.json", json.dumps([pose(0.0, 0.0), pose(0.3, math.nan), pose(0.6, 2.0)]), "not finite"),
    ("a.json", json.dumps([pose(0.0, 0.0), pose(2.0, 1.0), pose(4.0, 2.0)]), "goes from 0 s to 4 s"),
    ("b.csv", "", "has no action log beside it"),
])
def test_what_is_wrong_with_a_clip_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str,
                                                   content: str, sentence: str) -> None:
    video(tmp_path / "a.mp4", 10)
    (tmp_path / log).write_text(content)
    assert cli_main(["data", "import", str(tmp_path), str(tmp_path / "out")]) != 0
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told


@pytest.mark.parametrize("content", [(CAMERA + "0,0,0,0\n").encode("utf-16"), b"caf\xe9," + CAMERA.encode()])
def test_a_log_in_another_encoding_is_named(tmp_path: Path, content: bytes) -> None:
    path = video(tmp_path / "a.mp4", 10)
    path.with_suffix(".csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv cannot be read as comma-separated text in UTF-8"):
        import_clips(tmp_path, tmp_path / "out", None, SMALL)


def test_a_log_that_covers_half_of_its_video_is_refused_and_a_slow_one_is_not(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 64)
    path.with_suffix(".csv").write_text(T_CAMERA + "".join(f"{i / 16},0.1,0,0,0\n" for i in range(32)))
    with pytest.raises(DataError, match="goes from 0 s to 1.9375 s, but the video from 0 to 4 s"):
        import_clips(tmp_path, tmp_path / "out", None, SMALL)
    path.with_suffix(".csv").write_text(T_CAMERA + "0,0.1,0,0,0\n2,0.1,0,0,0\n")  # each true for two seconds
    assert len(import_clips(tmp_path, tmp_path / "out", None, SMALL)[0]) == 3


def test_clips_imported_again_are_all_that_the_folders_hold(tmp_path: Path) -> None:
    """The second time with some held out, the third with one gone: no clip stays on the side where it was."""
    source, out, apart = (tmp_path / name for name in ("in", "out", "apart"))
    source.mkdir()
    for number in range(7):
        video(source / f"{number}.mp4", 10 + number).with_suffix(".jsonl").write_text("")

    def lengths(folder: Path) -> list[int]:
        return [len(read_episode(path).rows) for path in Dataset(folder).episodes]

    import_clips(source, out, None, SMALL)
    assert lengths(out) == [10, 11, 12, 13, 14, 15, 16]
    import_clips(source, out, apart, SMALL)
    assert lengths(out) == [10, 11, 13, 14, 16] and lengths(apart) == [12, 15]
    for number in (0, 1, 2):
        (source / f"{number}.mp4").unlink()
    import_clips(source, out, apart, SMALL)
    assert lengths(out) == [13, 14, 16] and lengths(apart) == [15]
    Dataset(out).verify()


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no video"):
        import_clips(tmp_path, tmp_path / "out", None, SMALL)
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(DataError, match=r"a\.mp4 cannot be read as a video"):
        import_clips(tmp_path, tmp_path / "out", None, SMALL)
