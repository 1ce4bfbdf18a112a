"""A visitor's last 30 seconds: the file and its name, the folder that stays bounded, failures that end nothing."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pygame
import pytest
from booth_visitor import PROFILE, Visitor, booths

from astra_play.booth.profile import SavePlan
from astra_play.display.booth_pages import ThanksScreen
from astra_play.display.visit_save import VisitSave, forget_oldest
from astra_play.errors import RecordingError
from astra_play.record.recorder import Notice, Target

NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)


class FakeRecorder:
    """Writes when it is told to, or fails."""

    def __init__(self, error: str = "") -> None:
        self.target: Target | None = None
        self.error, self.may_end, self.closed = error, True, False

    def save_last(self, target: Target) -> None:
        self.target = target

    def notice(self) -> Notice | None:
        if self.target is None or not self.may_end:
            return None
        if self.error:
            return Notice(self.error, RecordingError(self.error))
        (self.target.folder / f"{self.target.name}.mp4").write_bytes(b"video")
        return Notice("saved")

    def close(self) -> None:
        self.may_end = self.closed = True


class Log:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def __call__(self, kind: str, **fields: Any) -> None:
        self.entries.append({"kind": kind, **fields})


def plan(what: str = "file", keep_files: int = 0) -> SavePlan:
    return SavePlan(what, "folder", "https://example.org/{file}", keep_files)


def test_saved_file_is_named_and_written_down(tmp_path: Path) -> None:
    recorder, log = FakeRecorder(), Log()
    recorder.may_end = False
    save = VisitSave(recorder, plan(), tmp_path / "new", NOW, log)
    save.tick()
    assert save.state == "saving"
    recorder.may_end = True
    save.tick()
    assert save.state == "saved" and (tmp_path / "new" / save.file_name).exists() and save.squares is None
    assert save.file_name.startswith("visit-20261124-120000-") and log.entries == [{"kind": "save",
                                                                                    "file": save.file_name}]


def test_two_visitors_of_one_second_have_names_that_nobody_guesses(tmp_path: Path) -> None:
    names = {VisitSave(FakeRecorder(), plan(), tmp_path, NOW, Log()).file_name for _ in range(20)}
    assert len(names) == 20 and all(len(name) == len("visit-20261124-120000-0123456789.mp4") for name in names)


def test_qr_code_holds_the_address_of_the_file(tmp_path: Path) -> None:
    segno = pytest.importorskip("segno")
    save = VisitSave(FakeRecorder(), plan("qr"), tmp_path, NOW, Log())
    save.tick()
    wanted = segno.make(f"https://example.org/{save.file_name}", error="m", micro=False)
    assert save.squares == [[bool(square) for square in row] for row in wanted.matrix]


def test_a_disk_that_is_full_is_said_and_written_down(tmp_path: Path) -> None:
    log = Log()
    save = VisitSave(FakeRecorder("the disk is full"), plan(), tmp_path, NOW, log)
    save.tick()
    assert save.state == "failed" and log.entries == [{"kind": "save", "file": None, "reason": "the disk is full"}]


def test_a_folder_that_cannot_be_made_fails_the_save_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder, log = FakeRecorder(), Log()
    save = VisitSave(recorder, plan(), tmp_path / "file" / "below", NOW, log)
    assert save.state == "failed" and recorder.target is None and len(log.entries) == 1


def test_a_save_that_outlives_its_page_is_finished_and_written_down(tmp_path: Path) -> None:
    recorder, log = FakeRecorder(), Log()
    recorder.may_end = False
    save = VisitSave(recorder, plan(), tmp_path, NOW, log)
    save.close(wait_s=5.0)
    assert recorder.closed and save.state == "saved" and len(log.entries) == 1
    save.close()  # closing twice is harmless


def test_folder_keeps_the_newest_visits_and_whatever_else_lies_there(tmp_path: Path) -> None:
    for age, name in enumerate(["visit-a.mp4", "visit-b.mp4", "visit-c.mp4", "holiday.mp4"]):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "visit-a.astra").write_bytes(b"")
    forget_oldest(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 5
    forget_oldest(tmp_path, 3)  # room for one more
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.mp4", "visit-b.mp4", "visit-c.mp4"]


@pytest.fixture
def make_visitor() -> Iterator[Callable[..., Visitor]]:
    with booths() as make:
        yield make


def test_a_visit_that_is_thanked_for_leaves_a_video_that_plays(make_visitor, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    visitor = make_visitor(f'{PROFILE}[save]\nwhat = "file"\nfolder = "{tmp_path.as_posix()}"\n')
    visitor.enter()
    visitor.key(pygame.K_w, True)
    visitor.frames(25)
    visitor.app.visitor_done()
    visitor.steps(2)
    assert isinstance(visitor.top, ThanksScreen)
    visitor.until(lambda: visitor.top._save.state != "saving", "the file")
    assert visitor.link.of("save") == [{"kind": "save", "file": visitor.top._save.file_name}]
    with av.open(str(tmp_path / visitor.top._save.file_name)) as file:
        assert sum(1 for _ in file.decode(video=0)) >= 25


def test_an_idle_visit_is_not_saved(make_visitor, tmp_path: Path) -> None:
    visitor = make_visitor(f'{PROFILE}[save]\nwhat = "file"\nfolder = "{tmp_path.as_posix()}"\n')
    visitor.enter()
    visitor.pass_time(31.0)
    assert not list(tmp_path.glob("visit-*")) and not visitor.link.of("save")
