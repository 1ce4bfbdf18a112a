"""`render` with a world whose pictures show what it was told, so that order, time and input can be read back."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import FakeWorld, fake_config
from PIL import Image
from recordings import make_video

from astra_play import render
from astra_play.actions.keymap import default_keymap
from astra_play.actions.rows import camera_motion
from astra_play.actions.script import parse_script
from astra_play.actions.sources import ScriptedSource
from astra_play.cli import main
from astra_play.errors import ConfigError

FORWARD_FROM_1_S = '{"t": 1.0, "key": "w", "down": true}'


class PaintingWorld(FakeWorld):
    """Paints seed, chunk and forward motion, so that different input gives different pictures."""

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.seed = seed

    def step(self, action) -> np.ndarray:
        frames = super().step(action)
        frames[..., 1] = self.seed
        frames[..., 2] = int(camera_motion(action.rows[0])[0] * 100) % 256
        return frames


def source(script: str = "") -> ScriptedSource:
    return ScriptedSource(parse_script(script), default_keymap())


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[PaintingWorld]:
    """The worlds that `render` loads, newest last; they have one start picture."""
    loaded: list[PaintingWorld] = []
    picture = tmp_path_factory.mktemp("starts") / "grey.png"
    Image.new("RGB", (32, 24), (90, 90, 90)).save(picture)
    monkeypatch.setattr(render, "start_pictures", lambda name, scenario: [picture])

    def load_world(name: str, device: str) -> PaintingWorld:
        loaded.append(PaintingWorld(fake_config(fps=10)))
        return loaded[-1]

    monkeypatch.setattr("astra_play.model.loading.load_world", load_world)
    return loaded


def test_script_time_is_counted_in_frames() -> None:
    world = FakeWorld(fake_config(fps=10))
    list(render.rollout(world, source(FORWARD_FROM_1_S), num_frames=20))
    walked = [camera_motion(action.rows[0])[0] > 0 for action in world.actions]
    assert walked == [False] * 10 + [True] * 10


def test_frames_of_the_last_chunk_are_cut_to_the_number_asked_for() -> None:
    world = FakeWorld(fake_config(fps=10, frames_per_latent=4))
    assert len(list(render.rollout(world, source(), num_frames=10))) == 10
    assert world.calls == ["step", "commit"] * 3


def test_same_seed_and_script_give_the_same_frames(worlds, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    script = tmp_path / "walk.jsonl"
    script.write_text(FORWARD_FROM_1_S)
    hashes = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert main(["render", "--script", str(script), "--frames", "15", "--seed", str(seed),
                     "--out", str(tmp_path / name)]) == 0
        hashes.append(capsys.readouterr().out.split("sha256 ")[1].split()[0])
    assert hashes[0] == hashes[1] != hashes[2]
    assert [world.calls[-1] for world in worlds] == ["close"] * 3


def test_another_script_gives_other_frames() -> None:
    def pictures(script: str) -> np.ndarray:
        world = PaintingWorld(fake_config(fps=10))
        world.reset(0)
        return np.stack(list(render.rollout(world, source(script), 15)))

    assert np.array_equal(pictures(""), pictures(""))
    assert not np.array_equal(pictures(""), pictures(FORWARD_FROM_1_S))


def test_folder_holds_numbered_pictures_of_the_frames(worlds, tmp_path: Path) -> None:
    assert main(["render", "--frames", "3", "--out", str(tmp_path / "out")]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["frame_000000.png", "frame_000001.png", "frame_000002.png"]
    assert np.asarray(Image.open(tmp_path / "out" / names[2]))[0, 0, 0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_video_has_every_frame_at_the_worlds_exact_rate(worlds, tmp_path: Path) -> None:
    out = tmp_path / "walk.mp4"
    assert main(["render", "--frames", "25", "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10 and (stream.width, stream.height) == (8, 6)
        times_s = sorted(float(frame.pts * frame.time_base) for frame in container.decode(stream))
    assert np.allclose(times_s, np.arange(25) / 10)


@pytest.mark.parametrize("name", ["walk.mp4", "walk.webp", "out"])
def test_failure_leaves_neither_half_a_file_nor_a_loaded_world(worlds, tmp_path: Path, name: str,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_after_a_frame(world, source, num_frames, hand_m):
        yield np.zeros((6, 8, 3), np.uint8)
        raise ConfigError("broken")

    monkeypatch.setattr(render, "rollout", fail_after_a_frame)
    assert main(["render", "--frames", "5", "--out", str(tmp_path / name)]) == 2
    assert list(tmp_path.iterdir()) == []
    assert worlds[0].calls[-1] == "close"


def test_image_becomes_the_prompt_frame(worlds, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (10, 200, 30)).save(tmp_path / "green.png")
    main(["render", "--frames", "1", "--image", str(tmp_path / "green.png"), "--out", str(tmp_path / "out")])
    prompt = worlds[0].prompts[0]
    assert prompt.shape == (1, 6, 8, 3) and (prompt == (10, 200, 30)).all()
    assert worlds[0].calls[:2] == ["reset", "prefill"]


def test_without_an_image_the_first_start_picture_is_taken(worlds, monkeypatch: pytest.MonkeyPatch,
                                                           tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, red in zip(pictures, (10, 20), strict=True):
        Image.new("RGB", (32, 24), (red, 0, 0)).save(path)
    monkeypatch.setattr(render, "start_pictures", lambda name, scenario: pictures)
    for seed in (0, 1):
        main(["render", "--frames", "1", "--seed", str(seed), "--out", str(tmp_path / str(seed))])
        assert worlds[-1].prompts[0][0, 0, 0, 0] == 10, seed  # play starts there too, whatever the seed


def test_world_without_start_pictures_asks_for_one(worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(render, "start_pictures", lambda name, scenario: [])
    assert main(["render", "--frames", "1", "--out", str(tmp_path / "out")]) == 2
    assert "'fake' has no start picture of its own; give one with --image" in capsys.readouterr().err
    assert worlds[0].calls[-1] == "close"


def test_guidance_and_steps_are_set_only_when_asked_for(worlds, tmp_path: Path) -> None:
    main(["render", "--frames", "1", "--out", str(tmp_path / "a")])
    main(["render", "--frames", "1", "--out", str(tmp_path / "b"), "--guidance", "2.5", "--steps", "4"])
    assert [(w.guidance_scale, w.num_denoise_steps) for w in worlds] == [(1.0, 2), (2.5, 4)]


@pytest.mark.parametrize(("out", "words"), [
    ("walk.avi", "ends in '.avi'"), ("missing/walk.mp4", "does not exist"), ("full", "not an empty folder"),
    ("folder.mp4", "is a folder"),
    ("recording.mp4", "is the video of a recording")])
def test_output_that_cannot_be_written_is_refused_before_the_world_is_loaded(
        worlds, tmp_path: Path, out: str, words: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "folder.mp4").mkdir()
    for name in ("recording.mp4", "recording.astra"):
        (tmp_path / name).touch()
    assert main(["render", "--frames", "1", "--out", str(tmp_path / out)]) == 2
    assert words in capsys.readouterr().err
    assert worlds == []


def test_a_recordings_video_is_never_replaced_even_when_its_log_is_gone(worlds, tmp_path: Path,
                                                                        capsys: pytest.CaptureFixture) -> None:
    video, other = tmp_path / "walk.mp4", tmp_path / "other.mp4"
    make_video(video, 4, metadata={"comment": json.dumps({"action_log": "walk.astra"})})
    make_video(other, 4, metadata={"comment": "of my holidays"})
    before = video.read_bytes()
    assert main(["render", "--frames", "1", "--out", str(video)]) == 2
    assert "is the video of a recording" in capsys.readouterr().err and video.read_bytes() == before
    assert main(["render", "--frames", "1", "--out", str(other)]) == 0


def test_bad_script_is_refused_before_the_world_is_loaded(worlds, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "bad.jsonl").write_text("walk!")
    assert main(["render", "--frames", "1", "--script", str(tmp_path / "bad.jsonl"), "--out", str(tmp_path / "o")]) == 2
    assert "line 1" in capsys.readouterr().err
    assert worlds == []


def test_webp_holds_every_frame_at_the_rate_of_the_world(tmp_path: Path) -> None:
    frames = [np.full((24, 32, 3), 12 * index, np.uint8) for index in range(20)]
    with render.WebpWriter(tmp_path / "a.webp", 16) as writer:
        for frame in frames:
            writer.write(frame)
    with Image.open(tmp_path / "a.webp") as clip:
        durations = []
        for index in range(clip.n_frames):
            clip.seek(index)
            assert abs(np.asarray(clip.convert("RGB")).mean() - 12 * index) < 3
            durations.append(clip.info["duration"])
    assert len(durations) == 20 and sum(durations) == 1250 and set(durations) == {62, 63}
    assert [path.name for path in tmp_path.iterdir()] == ["a.webp"]
