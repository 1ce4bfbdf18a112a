"""Replays: what was recorded comes again to the bit, from anywhere, and what differs is found and said."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_published import make_tiny_published, shorten_chunks
from tiny_recording import record_offline, restless_samples, some_entries, write_recording
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play import cli
from astra_play.actions.row_makers import make_row_maker
from astra_play.chunks import ActionChunk, FrameChunk
from astra_play.config import ControlsConfig
from astra_play.display import settings
from astra_play.errors import RecordingError
from astra_play.model.loading import LoadOptions, load_world
from astra_play.model.world import World
from astra_play.record import replay as replay_module
from astra_play.record.branch import continuation
from astra_play.record.facts import make_head
from astra_play.record.format import Chunk, Mark, Setting, Start, Still, from_line
from astra_play.record.match import check_weights, differences, find_recorded_world, world_name
from astra_play.record.reader import Recording, read_recording
from astra_play.record.replay import Replay, recorded_chunks, thin
from astra_play.record.replayed import ReplayControl, ReplayedWorld
from astra_play.record.verify import Verdict, native, psnr_db, verify
from astra_play.replay_cli import recording_path

CHECKPOINT_EVERY = 32  # chunks of the tiny world, 16 a second


def start(seed: int, reset_count: int = 0, height: int = 32, width: int = 32) -> Start:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Start(reset_count, seed, (frame,))


def make_recording(folder: Path, num_chunks: int = 30, **changes) -> Recording:
    """Record a restless walk with a reset, a pause and changed settings on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    world = load_world(make_tiny_world(folder / "tiny", **changes), "cpu")
    walk = restless_samples(world.config, num_chunks)
    third = num_chunks // 3
    plan = [start(3), *walk[:third], Still(), *walk[third:third + 3], Setting("guidance_scale", 1.5),
            Setting("num_denoise_steps", 2), *walk[third + 3:2 * third], start(4, 1), *walk[2 * third:]]
    return read_recording(record_offline(folder / "walk.astra", world, plan, str(folder / "tiny")))


def world_of(recording: Recording):
    return load_world(recording.head.world, "cpu", LoadOptions(live=True))


@pytest.mark.parametrize("changes", [
    {}, {"model": dataclasses.replace(TINY_WORLD.model, anchor="none", prediction="velocity")},
    {"model": dataclasses.replace(TINY_WORLD.model, modalities={"vehicle": 8}),
     "controls": ControlsConfig("vehicle", buttons=("accelerate", "brake", "steer_left", "steer_right"))},
    {"model": dataclasses.replace(TINY_WORLD.model, hypotheses=3, hypothesis_blocks=2, modalities={"arm": 8}),
     "controls": ControlsConfig("arm", buttons=("forward", "back", "left", "right", "up", "down", "grip", "release"))},
], ids=["camera", "no anchor", "vehicle", "arm"])
def test_every_chunk_comes_again_to_the_bit(tmp_path: Path, changes: dict) -> None:
    recording = make_recording(tmp_path, **changes)
    verdict = verify(Replay(recording, world_of(recording)))
    assert verdict.is_same and verdict.num_chunks == 30 and verdict.num_unknown == 0
    assert verdict.sentences() == ["all 30 chunks are bit-identical, latents and frames"]


def test_a_published_world_comes_again_to_the_bit_with_its_prompts(tmp_path: Path) -> None:
    own = shorten_chunks(make_tiny_published(tmp_path / "published"))
    world = load_world(own, "cpu", LoadOptions(live=True, prompt="a pond"))
    world.num_denoise_steps = 2
    walk = restless_samples(world.config, 2)
    plan = [start(1, 0, 64, 96), walk[0], Setting("prompt", "a desert"), walk[1]]
    recording = read_recording(record_offline(tmp_path / "pond.astra", world, plan, str(own), prompt="a pond"))
    replay = Replay(recording, load_world(own, "cpu", LoadOptions(live=True, prompt="a pond")))
    assert verify(replay).is_same
    replay.go_to(0)  # without a checkpoint: back to the first prompt too
    assert verify(replay).is_same


def test_going_back_to_the_start_forgets_a_prompt_that_came_later(tmp_path: Path) -> None:
    own = shorten_chunks(make_tiny_published(tmp_path / "published"))
    world = load_world(own, "cpu", LoadOptions(live=True))
    walk = restless_samples(world.config, 2)
    plan = [start(1, 0, 64, 96), walk[0], Setting("prompt", "a desert"), walk[1]]
    replay = Replay(read_recording(record_offline(tmp_path / "none.astra", world, plan, str(own))), world)
    replay.go_to(2)
    replay.go_to(0)
    assert verify(replay).is_same


def test_the_first_difference_is_found_and_what_it_is(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    entries = list(recording.entries)
    wrong = next(place for place, entry in enumerate(entries) if isinstance(entry, Chunk) and entry.number == 17)
    entries[wrong] = dataclasses.replace(entries[wrong], frames="0" * 32)
    verdict = verify(Replay(dataclasses.replace(recording, entries=tuple(entries)), world_of(recording)))
    assert (verdict.first.what, verdict.first.chunk, verdict.first.time_s) == ("frames", 17, 17 / 16)
    assert (verdict.num_latents_differ, verdict.num_frames_differ) == (0, 1)
    assert "the frames of chunk 17, at 1.06 s, are the first to differ" in verdict.sentences()[0]
    moved = next(place for place, entry in enumerate(entries) if isinstance(entry, Chunk) and entry.number == 12)
    rows = entries[moved].rows + np.float32(0.001)
    entries[moved] = dataclasses.replace(entries[moved], rows=rows)
    verdict = verify(Replay(dataclasses.replace(recording, entries=tuple(entries)), world_of(recording)))
    assert (verdict.first.what, verdict.first.chunk) == ("latents", 12)
    assert 1 <= verdict.num_latents_differ <= 8  # with the start at chunk 20 begins a walk that was left alone


def test_chunks_that_lost_their_hashes_are_counted_not_accused(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    entries = [dataclasses.replace(entry, frames="", latents="") if isinstance(entry, Chunk) and entry.number == 5
               else entry for entry in recording.entries]
    verdict = verify(Replay(dataclasses.replace(recording, entries=tuple(entries)), world_of(recording)))
    assert verdict.is_same and verdict.num_unknown == 1
    assert verdict.sentences()[0] == "all 29 chunks that have a hash are bit-identical, latents and frames"


def test_a_log_without_any_hash_is_not_called_the_same(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    entries = tuple(dataclasses.replace(entry, frames="", latents="") if isinstance(entry, Chunk) else entry
                    for entry in recording.entries)
    with pytest.raises(RecordingError, match="holds no hash of any chunk"):
        verify(Replay(dataclasses.replace(recording, entries=entries), world_of(recording)))
    assert not Verdict(num_chunks=3, num_unknown=3).is_same


def test_a_replay_in_the_window_runs_on_the_threads_that_its_world_was_given(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)

    def threads_after_a_reset(given: int) -> int:
        def load() -> World:
            world = world_of(recording)
            world.num_threads = given
            return world

        replayed = ReplayedWorld(ReplayControl(recording), load)
        replayed.reset(0)
        return replayed.num_threads

    before = torch.get_num_threads()
    try:
        assert [threads_after_a_reset(given) for given in (2, 3)] == [2, 3]
        assert recording.head.num_threads not in (2, 3)
    finally:
        torch.set_num_threads(before)


def test_going_anywhere_gives_what_a_walk_from_the_beginning_gives(tmp_path: Path) -> None:
    recording = make_recording(tmp_path, 100)
    dull = Replay(recording, world_of(recording), keeps_checkpoints=False)
    frames = [dull.step().frames.tobytes() for _ in range(100)]
    replay = Replay(recording, world_of(recording))
    rng = np.random.default_rng(0)
    for place in [99, 0, 33, 32, 31, *rng.integers(0, 100, 5)]:
        assert replay.go_to(int(place)) and replay.index == place
        assert replay.step().frames.tobytes() == frames[place], place
    assert replay.checkpoint_indices == [32, 64, 96]
    before = replay.num_generated
    replay.go_to(98)
    replay.go_to(70)
    assert replay.num_generated - before <= (98 - 64) + (70 - 64)


def test_the_row_maker_follows_so_that_play_can_go_on_from_anywhere(tmp_path: Path) -> None:
    recording = make_recording(tmp_path, 100)
    replay = Replay(recording, world_of(recording))
    replay.go_to(90)
    for place in (70, 40, 13):
        replay.go_to(place)
        recorded = replay.recorded[place]
        for entry in recorded.before:
            assert not isinstance(entry, Start)
        assert np.array_equal(replay.row_maker.rows(recorded.chunk.sample), recorded.chunk.rows)


def test_checkpoints_stay_within_their_bytes_and_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = make_recording(tmp_path, 300)
    replay = Replay(recording, world_of(recording))
    replay.go_to(33)
    monkeypatch.setattr(replay_module, "MAX_CHECKPOINT_BYTES", int(4.5 * replay.checkpoint_bytes))
    replay.go_to(299)
    assert 3 <= len(replay.checkpoint_indices) <= 4
    assert replay.checkpoint_indices[-1] == 288 and replay.checkpoint_indices[0] <= 160


def test_thinning_keeps_the_newest_and_what_is_near() -> None:
    kept = list(range(0, 640, 32))
    while len(kept) > 6:
        del kept[kept.index(thin(kept, 640))]
    gaps = [after - before for before, after in zip(kept, kept[1:], strict=False)]
    assert kept[-1] == 608 and kept[0] <= 192 and gaps[0] >= gaps[-1] and max(gaps) <= 192


def test_a_replay_can_be_given_up_on_the_way(tmp_path: Path) -> None:
    replay = Replay(recording := make_recording(tmp_path), world_of(recording))
    asked = iter([True, True, False])
    assert not replay.go_to(20, lambda: next(asked)) and replay.index == 2


# --- what cannot be replayed ----------------------------------------------------------------------------------------

def test_a_cut_log_replays_up_to_the_cut(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    data = recording.path.read_bytes()
    recording.path.write_bytes(data[:len(data) * 2 // 3])
    cut = read_recording(recording.path)
    verdict = verify(Replay(cut, world_of(recording)))
    assert 0 < verdict.num_chunks < 30 and verdict.is_same and "breaks off" in verdict.loss


def test_a_world_that_is_not_here_is_one_sentence(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    gone = dataclasses.replace(recording, head=dataclasses.replace(recording.head, world="atlantis"))
    with pytest.raises(RecordingError, match="'atlantis', which is not here"):
        find_recorded_world(gone)
    assert find_recorded_world(gone, recording.head.world) == Path(recording.head.world)
    driven = dataclasses.replace(recording, head=dataclasses.replace(recording.head, scenario="drive"))
    with pytest.raises(RecordingError, match="played in 'drive', but --world mini/explore is 'explore'"):
        find_recorded_world(driven, "mini/explore")


def test_other_weights_are_one_sentence_with_both_hashes(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    folder = make_tiny_world(tmp_path / "other", seed=1)
    with pytest.raises(RecordingError, match=r"made with weights [0-9a-f]{8} \(model.*are [0-9a-f]{8}"):
        check_weights(recording, folder, TINY_WORLD)
    (folder / "codec.safetensors").unlink()
    (folder / "model.safetensors").write_bytes((Path(recording.head.world) / "model.safetensors").read_bytes())
    with pytest.raises(RecordingError, match="codec.safetensors, which is not in"):
        check_weights(recording, folder, TINY_WORLD)


def test_a_world_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    odd = dataclasses.replace(recording, head=dataclasses.replace(recording.head, width=64))
    with pytest.raises(RecordingError, match="width 64, but 'tiny' has 32"):
        Replay(odd, world_of(recording))


def test_a_log_without_chunks_or_without_its_start_cannot_be_replayed(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    with pytest.raises(RecordingError, match="no chunk"):
        recorded_chunks(dataclasses.replace(recording, entries=recording.entries[:1]))
    with pytest.raises(RecordingError, match="does not reach back"):
        recorded_chunks(dataclasses.replace(recording, entries=recording.entries[1:]))


def test_what_differs_here_is_said_before_it_starts(tmp_path: Path) -> None:
    recording = make_recording(tmp_path)
    head = dataclasses.replace(recording.head, machine={**recording.head.machine, "torch": "1.0"}, device="cuda")
    said = differences(dataclasses.replace(recording, head=head), TINY_WORLD, "cpu", "float32")
    assert "device cuda there, cpu here" in said and any(half.startswith("torch 1.0 there") for half in said)
    assert differences(recording, world_of(recording).config, "cpu", "float32") == []


def test_the_name_of_a_world_keeps_the_recorded_scenario(tmp_path: Path) -> None:
    head = dataclasses.replace(make_recording(tmp_path).head, world="mini", scenario="drive")
    assert world_name(head) == "mini/drive"
    assert world_name(head, "other") == world_name(head, "other/drive") == "other/drive"


def test_a_world_given_by_a_relative_path_is_found_from_another_folder(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = load_world(make_tiny_world(tmp_path / "tiny"), "cpu").config
    monkeypatch.chdir(tmp_path)
    head = make_head(config, "tiny")
    monkeypatch.chdir(elsewhere)
    assert Path(world_name(head)) == tmp_path / "tiny" and load_world(world_name(head), "cpu").config == config
    assert make_head(dataclasses.replace(config, scenario="drive"), "mini/drive").world == "mini"  # found by its name


# --- taking over ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("index", [1, 13, 24])
def test_a_branch_replays_by_itself_to_the_bit(tmp_path: Path, index: int) -> None:
    recording = make_recording(tmp_path)
    replay = Replay(recording, world_of(recording))
    replay.go_to(28)
    replay.go_to(index)
    before = continuation(recording, replay.recorded, index)
    entries = [from_line(line) for line in before.lines]
    for number, sample in enumerate(restless_samples(replay.config, 8, seed=9), start=before.num_chunks):
        action = ActionChunk(sample, replay.row_maker.rows(sample), "camera", number, 0)
        frames = replay.world.step(action)
        made = FrameChunk(frames, number, 0, action, 0.0, replay.world.last_latents)
        replay.world.commit()
        entries.append(Chunk.of(made, number, number / 16, made.latents))
    values = {name: value for name, value in before.values.items()}
    head = dataclasses.replace(recording.head, branch_of=before.branch, **values)
    branch = read_recording(write_recording(tmp_path / "branch.astra", entries, head))
    assert branch.loss is None and branch.head.branch_of.sha256 == recording.sha256
    assert (branch.head.branch_of.file, branch.head.branch_of.chunk) == ("walk.astra", index)
    assert any(isinstance(entry, Mark) and entry.text == f"taken over from walk.astra at chunk {index}"
               for entry in branch.entries)
    assert verify(Replay(branch, world_of(branch))).is_same
    samples = [one.chunk.sample for one in recorded_chunks(branch)]
    maker = make_row_maker(replay.config)  # the hands of the whole branch, from its start on, give its rows
    for one, sample in zip(recorded_chunks(branch), samples, strict=True):
        if any(isinstance(entry, Still) for entry in one.before):
            maker.stop_turning()
        assert np.array_equal(maker.rows(sample), one.chunk.rows)


# --- the command line -----------------------------------------------------------------------------------------------

def test_verify_says_and_exits_by_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = make_recording(tmp_path)
    out = tmp_path / "verdict.json"
    assert cli.main(["replay", str(recording.path), "--verify", "--json", str(out)]) == 0
    assert "all 30 chunks are bit-identical" in capsys.readouterr().out
    verdict = json.loads(out.read_text())
    assert verdict["identical"] and verdict["num_chunks"] == 30 and verdict["times_live"] > 0
    entries = [dataclasses.replace(entry, latents="0" * 32) if isinstance(entry, Chunk) else entry
               for entry in recording.entries]
    write_recording(recording.path, entries, recording.head)
    assert cli.main(["replay", str(recording.path), "--verify", "--json", str(out)]) == 1
    assert "the latents of chunk 0" in capsys.readouterr().out and not json.loads(out.read_text())["identical"]


def test_verdict_is_said_before_a_full_disk_takes_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def write_text(path: Path, text: str, encoding: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    recording = make_recording(tmp_path)
    monkeypatch.setattr(Path, "write_text", write_text)
    assert cli.main(["replay", str(recording.path), "--verify", "--json", str(tmp_path / "verdict.json")]) == 2
    said = capsys.readouterr()
    assert "all 30 chunks are bit-identical" in said.out and "No space left on device" in said.err


def test_errors_of_replay_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = make_recording(tmp_path)
    video = recording.path.with_suffix(".mp4")
    video.write_bytes(b"an hour's play")
    for arguments, complaint in ([[str(tmp_path / "none.astra"), "--verify"], "does not exist"],
                                 [[str(recording.path), "--steps", "2"], "--steps is for --render"],
                                 [[str(recording.path), "--verify", "--world", "atlantis"], "atlantis"],
                                 [[str(recording.path), "--verify", "--world", "minii"], "did you mean 'mini'?"],
                                 [[str(recording.path), "--world", "minii"], "there is no world 'minii'; did you mean"],
                                 [[str(recording.path), "--verify", "--json", str(tmp_path / "no" / "v")], "make "],
                                 [[str(recording.path), "--render", str(tmp_path / "a.avi")], "--render "],
                                 [[str(recording.path), "--render", str(video)], "is the video of a recording"]):
        assert cli.main(["replay", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("astra-play: ") and error.count("\n") == 1 and complaint in error
    assert video.read_bytes() == b"an hour's play"


def test_a_recording_is_named_by_path_or_by_either_file_of_the_recordings_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_recording(tmp_path / "walk 10.20.30.astra", some_entries())
    monkeypatch.setenv("ASTRA_PLAY_RECORDINGS", str(tmp_path))
    for given in (str(log), log.name, log.stem, "walk 10.20.30.mp4"):
        assert recording_path(given) == log
    assert recording_path(str(tmp_path / "none.astra")) == tmp_path / "none.astra"


def test_command_line_looks_where_the_settings_let_the_player_record(tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    log = write_recording(tmp_path / "walk 10.20.30.astra", some_entries())
    settings.save(settings.PlayerSettings(recordings_folder=str(tmp_path)), settings.default_path())
    assert recording_path("walk 10.20.30") == log
    assert cli.main(["clips", "list"]) == 0 and log.stem in capsys.readouterr().out
    assert cli.main(["clips", "export", log.stem, "--out", str(tmp_path / "a.gif")]) == 2
    assert "has no video, only its action log" in capsys.readouterr().err
    assert cli.main(["clips", "delete", log.stem, "--yes", "--for-good"]) == 0 and not log.exists()


def test_rendering_anew_gives_the_recorded_frames_and_says_when_it_is_another_world(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = make_recording(tmp_path)
    assert cli.main(["replay", str(recording.path), "--render", str(tmp_path / "frames")]) == 0
    said = capsys.readouterr().out
    assert "30 frames" in said and "30 of 30 chunks have the recorded latents" in said and "another world" not in said
    assert len(list((tmp_path / "frames").iterdir())) == 30
    assert cli.main(["replay", str(recording.path), "--render", str(tmp_path / "fine.mp4"), "--steps", "2",
                     "--controls"]) == 0
    said = capsys.readouterr().out
    assert "another world" in said and "30 of 30" not in said and (tmp_path / "fine.mp4").is_file()


# --- against the video ----------------------------------------------------------------------------------------------

def test_psnr_of_known_pictures() -> None:
    black = np.zeros((4, 6, 3), np.uint8)
    assert psnr_db(black, black) == 100.0
    assert psnr_db(black, black + np.uint8(255)) == 0.0
    assert psnr_db(black, black + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_a_videos_frame_is_brought_back_to_the_worlds_size() -> None:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    large = np.pad(small.repeat(3, 0).repeat(3, 1), ((0, 1), (0, 1), (0, 0)))  # sides made even
    assert np.array_equal(native(large, 5, 7), small)
    assert native(small, 10, 7) is None and native(large, 5, 3) is None
