"""Unattended runs: the same window loop, fed by a script, with figures and frames as files."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from fakes_display import CardCatalogue
from PIL import Image

from astra_play.display import unattended
from astra_play.display.app import PlayOptions, run_play
from astra_play.errors import AstraPlayError, DisplayError, ScriptError, WeightsError

NAMED_FIELDS = {"fps", "generator_fps", "frames", "underruns", "dropped", "input_to_flip_ms", "first_frame_s",
                "rss_mb", "passes_per_chunk", "seed"}


def options(**changes) -> PlayOptions:
    return PlayOptions(**{"world": "card", "headless": True, "catalogue": CardCatalogue(), "seconds": 0.6, **changes})


def script(tmp_path, *events: dict) -> object:
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(json.dumps(event) for event in events))
    return path


def test_stats_hold_every_named_field_and_no_frame_is_unaccounted(tmp_path):
    stats_json, frames_dir = tmp_path / "out" / "stats.json", tmp_path / "frames"
    walk = script(tmp_path, {"t": 0.1, "key": "w", "down": True}, {"t": 0.2, "mouse": [12, 0]},
                  {"t": 0.35, "key": "w", "down": False})
    assert run_play(options(script=walk, stats_json=stats_json, frames_dir=frames_dir, seed=5)) == 0
    stats = json.loads(stats_json.read_text())
    assert NAMED_FIELDS <= stats.keys()
    assert {"p50", "p95", "p99"} <= stats["input_to_flip_ms"].keys()
    assert stats["input_to_flip_ms"]["count"] == stats["script_events"] == 3
    assert stats["published"] == stats["frames"] + stats["dropped"] + stats["waiting"]
    assert stats["frames"] == stats["frames_written"] == len(list(frames_dir.iterdir()))
    assert stats["seed"] == 5 and stats["fps"] > 0


def test_script_moves_the_world_and_frames_show_it_at_native_size(tmp_path):
    catalogue = CardCatalogue()
    walk = script(tmp_path, {"t": 0.0, "key": "w", "down": True}, {"t": 0.0, "mouse": [-50, 0]})
    run_play(options(script=walk, frames_dir=tmp_path / "frames", catalogue=catalogue))
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").iterdir())]
    assert frames[0].shape == (24, 32, 3)
    assert frames[0][0, 0, 0] == 255  # nobody has walked yet
    assert any(frame[0, 0, 0] != 255 for frame in frames)
    assert catalogue.loaded[0].walked_steps > 3
    assert catalogue.loaded[0].yaw_deg == pytest.approx(50 * 0.12, rel=1e-3)


def test_script_can_pause_and_resume_through_the_menu(tmp_path):
    catalogue = CardCatalogue()
    keys = script(tmp_path, {"t": 0.1, "press": "escape"}, {"t": 0.3, "press": "escape"})
    stats_json = tmp_path / "stats.json"
    run_play(options(script=keys, stats_json=stats_json, catalogue=catalogue))
    stats = json.loads(stats_json.read_text())
    assert 0 < stats["frames"] < 0.9 * 0.6 * 50  # the 0.2 s in the menu show none
    assert stats["published"] == stats["frames"] + stats["dropped"] + stats["waiting"]


def test_run_without_a_length_ends_after_its_script(tmp_path, monkeypatch):
    monkeypatch.setattr(unattended, "AFTER_SCRIPT_S", 0.1)
    stats_json = tmp_path / "stats.json"
    tap = script(tmp_path, {"t": 0.1, "press": "w"})
    run_play(options(script=tap, seconds=None, stats_json=stats_json))
    assert json.loads(stats_json.read_text())["script_events"] == 2


def test_failure_of_the_world_ends_the_run_with_its_sentence(tmp_path):
    with pytest.raises(WeightsError, match="break at a chosen chunk"):
        run_play(options(catalogue=CardCatalogue(fail_at_chunk=3), stats_json=tmp_path / "stats.json"))
    assert not (tmp_path / "stats.json").exists()


def test_nonsense_in_the_script_is_found_before_anything_is_loaded(tmp_path):
    catalogue = CardCatalogue()
    with pytest.raises(ScriptError, match="line 1"):
        run_play(options(script=script(tmp_path, {"t": 0.1, "kee": "w"}), catalogue=catalogue))
    assert catalogue.loaded == []


def test_stats_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "stats.json").mkdir()
    with pytest.raises(AstraPlayError, match="figures could not be written"):
        run_play(options(seconds=0.1, stats_json=tmp_path / "stats.json"))


def test_frames_folder_that_cannot_be_made_is_found_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DisplayError, match="cannot be made"):
        run_play(options(frames_dir=tmp_path / "file" / "frames"))


def test_disk_that_fills_up_is_reported_with_the_number_of_frames(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DisplayError, match="after 0 frames.*No space left"):
        run_play(options(seconds=0.2, frames_dir=tmp_path / "frames"))


def test_figures_that_do_not_fit_on_the_disk_leave_no_half_a_file(tmp_path, monkeypatch) -> None:
    def write_half(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[:10].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    run = unattended.UnattendedRun(options(stats_json=tmp_path / "stats.json"))
    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(AstraPlayError, match="No space left on device"):
        run.finish({"fps": 16.0})
    assert list(tmp_path.iterdir()) == []
