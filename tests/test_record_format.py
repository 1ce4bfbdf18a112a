"""Lines of a recording: what is written is read back, and whatever happens to the file, what lies before it stays."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from tiny_recording import HEAD, some_entries, write_recording

from astra_play.chunks import IDLE
from astra_play.errors import RecordingError
from astra_play.record.format import (
    FORMAT_VERSION,
    Branch,
    Chunk,
    End,
    Mark,
    Start,
    array_hash,
    from_line,
    line_fields,
    to_line,
)
from astra_play.record.migrations import MIGRATIONS
from astra_play.record.reader import read_head, read_recording

# As a player of format 0 wrote it: the network's hash alone, the command line's words for settings, rows as lists.
VERSION_0 = (
    {"kind": "head", "format_version": 0, "player_version": "0.0.9", "world": "mini", "scenario": "explore",
     "title": "Ä walk", "weights": "3f2a", "config_sha256": "91bc", "fps": 16, "width": 128, "height": 96,
     "frames_per_chunk": 1, "latent_frames_per_chunk": 1, "modality": "camera", "guidance": 1.25, "steps": 2,
     "num_threads": 1, "precision": "float32", "device": "cpu", "created": "2026-01-02T03:04:05+00:00"},
    {"kind": "start", "reset_count": 0, "seed": 3},
    {"kind": "setting", "name": "steps", "value": 4},
    {"kind": "setting", "name": "prompt", "value": "a pond"},
    {"kind": "chunk", "number": 0, "chunk_index": 0, "reset_count": 0, "time_s": 0.0,
     "sample": {"buttons": ["forward"], "mouse_px": [0, 0], "axes": {}}, "rows": [[0.5, -0.25, 1.0]],
     "latents": "00", "frames": "11"},
)


def raw_line(fields: dict) -> bytes:
    text = json.dumps(fields, ensure_ascii=False).encode("utf-8")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def same(one: object, other: object) -> bool:
    """Whether two entries hold the same values, arrays included."""
    ours, theirs = vars(one), vars(other)
    return type(one) is type(other) and ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], theirs[name]) if name in ("rows", "frames") else ours[name] == theirs[name]
        for name in ours)


def test_every_kind_of_line_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    head = dataclasses.replace(HEAD, title="Teich im Mondlicht 月", branch_of=Branch("parent.astra", "ab" * 32, 17),
                               machine={"torch": "2.13.0"})
    entries = [*some_entries()[:-1], Start(1, 8, (), (0.1, -0.2, 0.3)), Mark(1.5, "taken over"), End(5, 2, "disk full")]
    recording = read_recording(write_recording(tmp_path / "a.astra", entries, head))
    assert recording.head == head == read_head(recording.path)
    assert len(recording.entries) == len(entries) and all(map(same, recording.entries, entries))
    assert recording.loss is None and recording.end == End(5, 2, "disk full")


def test_rows_and_pictures_come_back_to_the_bit() -> None:
    rows = np.array([[np.pi, -0.0, 1e-40, np.finfo(np.float32).max]], np.float32)
    chunk = from_line(to_line(Chunk(0, 0, 0, 0.0, IDLE, rows, "", "")))
    assert chunk.rows.tobytes() == rows.tobytes() and chunk.rows.dtype == np.float32
    frame = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(from_line(to_line(Start(0, 1, (frame,)))).prompt_frames(), frame[None])


def test_a_file_cut_anywhere_keeps_every_whole_line(tmp_path: Path) -> None:
    entries = some_entries(3)
    lines = [to_line(value).encode("utf-8") for value in [HEAD, *entries]]
    whole = b"".join(lines)
    ends = np.cumsum([len(line) for line in lines])
    for length in range(len(lines[0]), len(whole)):
        path = tmp_path / "cut.astra"
        path.write_bytes(whole[:length])
        recording = read_recording(path)
        num_whole = int(np.searchsorted(ends, length, side="right")) - 1  # the head is no entry
        assert len(recording.entries) == num_whole
        assert (recording.loss is None) == (length in ends)


def test_any_flipped_byte_ends_what_can_be_replayed_and_the_rest_is_counted(tmp_path: Path) -> None:
    entries = some_entries(4)
    lines = [to_line(value).encode("utf-8") for value in [HEAD, *entries]]
    damaged_at = 6  # among the chunks
    for place in (0, 8, 9, len(lines[damaged_at]) // 2, len(lines[damaged_at]) - 1):
        broken = bytearray(lines[damaged_at])
        broken[place] ^= 0x41
        path = tmp_path / "broken.astra"
        path.write_bytes(b"".join([*lines[:damaged_at], bytes(broken), *lines[damaged_at + 1:]]))
        recording = read_recording(path)
        assert len(recording.entries) == damaged_at - 1
        assert recording.loss.line == damaged_at + 1
        num_after = sum(isinstance(entry, Chunk) for entry in entries[damaged_at:])
        # a broken line break joins the line to the next one, which is lost with it
        assert recording.loss.num_after in (num_after, num_after - (place == len(lines[damaged_at]) - 1))
        assert f"line {damaged_at + 1} is damaged" in str(recording.loss)


def test_a_missing_line_is_seen_though_every_other_one_is_whole(tmp_path: Path) -> None:
    entries = some_entries(5)
    third = next(index for index, entry in enumerate(entries) if isinstance(entry, Chunk) and entry.number == 2)
    recording = read_recording(write_recording(tmp_path / "gap.astra", entries[:third] + entries[third + 1:]))
    assert len(recording.chunks) == 2 and "chunk 3 where chunk 2" in recording.loss.reason
    assert recording.loss.num_after == 1


def test_chunks_without_their_start_can_be_read(tmp_path: Path) -> None:
    chunks = [entry for entry in some_entries(6) if isinstance(entry, Chunk)][3:]
    recording = read_recording(write_recording(tmp_path / "late.astra", chunks))
    assert [chunk.number for chunk in recording.chunks] == [3, 4, 5] and recording.loss is None


def test_version_0_is_migrated_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "old.astra"
    path.write_bytes(b"".join(map(raw_line, VERSION_0)))
    recording = read_recording(path)
    assert recording.loss is None and recording.format_version == 0
    head = recording.head
    assert head.format_version == FORMAT_VERSION and head.weights_sha256 == {"model.safetensors": "3f2a"}
    assert (head.guidance_scale, head.num_denoise_steps, head.title) == (1.25, 2, "Ä walk")
    start, steps, prompt, chunk = recording.entries
    assert start.seed == 3 and (steps.name, steps.value) == ("num_denoise_steps", 4) and prompt.name == "prompt"
    assert chunk.rows.tolist() == [[0.5, -0.25, 1.0]] and chunk.action("camera").sample.buttons == {"forward"}


def test_there_is_one_migration_from_every_old_version() -> None:
    assert sorted(MIGRATIONS) == list(range(FORMAT_VERSION))


def test_an_old_line_that_its_version_never_wrote_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "odd.astra"
    chunk = {name: value for name, value in VERSION_0[-1].items() if name != "rows"}
    path.write_bytes(b"".join(map(raw_line, [*VERSION_0[:-1], chunk])))
    assert "format 0" in read_recording(path).loss.reason


def test_a_newer_format_is_refused_by_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "new.astra"
    path.write_bytes(raw_line({"kind": "head", "format_version": FORMAT_VERSION + 1, "anything": 1}))
    with pytest.raises(RecordingError, match=f"format {FORMAT_VERSION + 1}.*update the player"):
        read_recording(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"hello\n", to_line(End(0, 0, "")).encode(),
                                     to_line(HEAD).encode()[:-1], raw_line({"kind": "head"}),
                                     raw_line({"kind": "head", "format_version": FORMAT_VERSION})])
def test_what_is_no_recording_is_refused_by_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.astra"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"odd\.astra"):
        read_recording(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="does not exist"):
        read_recording(tmp_path / "none.astra")
    with pytest.raises(RecordingError, match="cannot be read"):
        read_recording(tmp_path)


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"rows": "%%%"}, "base64"), ({"rows_shape": [2, 3]}, "bytes"), ({"rows_shape": [0, 0]}, "bytes"),
    ({"sample": 3}, "sample"), ({"numbr": 3}, "numbr"), ({"time_s": "soon"}, "time_s"),
])
def test_a_checked_line_with_a_senseless_value_is_damage(tmp_path: Path, changes: dict, complaint: str) -> None:
    entries = some_entries(1)
    chunk = next(entry for entry in entries if isinstance(entry, Chunk))
    fields = json.loads(to_line(chunk).split(" ", 1)[1]) | changes
    path = write_recording(tmp_path / "a.astra", [entries[0]])
    path.write_bytes(path.read_bytes() + raw_line(fields))
    assert complaint in read_recording(path).loss.reason


@pytest.mark.parametrize(("name", "value"), [
    ("fps", 0), ("fps", 10**400), ("frames_per_chunk", -1), ("num_threads", 0), ("num_threads", 3_000_000_000),
    ("num_denoise_steps", 0), ("guidance_scale", float("nan"))])
def test_a_head_with_a_number_that_no_player_writes_is_refused_by_one_sentence(tmp_path: Path, name: str,
                                                                               value: float) -> None:
    fields = line_fields(to_line(HEAD).encode("utf-8"))
    (tmp_path / "a.astra").write_bytes(raw_line({**fields, name: value}))
    with pytest.raises(RecordingError, match=f"makes no sense .its {name} is "):
        read_recording(tmp_path / "a.astra")


@pytest.mark.parametrize(("name", "value"), [
    ("num_threads", 0), ("num_threads", True), ("num_threads", "two"), ("guidance_scale", "much"),
    ("guidance_scale", float("inf")), ("num_denoise_steps", 1.5), ("draws_finely", 1), ("prompt", None)])
def test_a_setting_that_no_player_writes_is_damage(tmp_path: Path, name: str, value: object) -> None:
    line = raw_line({"kind": "setting", "name": name, "value": value})
    (tmp_path / "a.astra").write_bytes(to_line(HEAD).encode("utf-8") + line)
    assert f"its {name} is" in read_recording(tmp_path / "a.astra").loss.reason


def test_hashes_tell_values_apart_and_know_no_memory_layout() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert array_hash(array) == array_hash(np.asfortranarray(array)) and len(array_hash(array)) == 32
    changed = array.copy()
    changed[1, 2, 3] = np.nextafter(changed[1, 2, 3], 0)
    assert array_hash(changed) != array_hash(array)
