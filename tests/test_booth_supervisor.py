"""The supervisor: its judgements by the clock alone, and its deeds with small real processes that crash and hang."""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import FakeClock

from astra_play.booth import supervisor as supervisor_module
from astra_play.booth.child import Child
from astra_play.booth.daylog import DayLog, read_day
from astra_play.booth.profile import WatchLimits
from astra_play.booth.service import SYSTEMD
from astra_play.booth.supervisor import Supervisor
from astra_play.booth.watch import FIRST_WAIT_S, LONGEST_WAIT_S, SETTLED_S, Backoff, Beat, Watch
from astra_play.runtime.clock import MonotonicClock, local_time

PLAYER = Path(__file__).with_name("booth_player.py")
CHECKOUT = PLAYER.parents[1]
LIMITS = WatchLimits(start_s=30.0, hang_s=2.0)  # a busy machine may stop a process for a second
PATIENCE_S = 60.0
READY = Beat(ready=True, loop_age_s=0.0)


# --- judgements -----------------------------------------------------------------------------------------------------

def verdict_after(beats: dict[float, Beat], until_s: float, step_s: float = 0.1) -> tuple[str, float]:
    """Return the first verdict and its time; beats come at their times, the watch is asked every step."""
    watch, limits = Watch(WatchLimits(start_s=20.0, hang_s=4.0), 0.0), sorted(beats)
    for tick in range(1, round(until_s / step_s) + 1):
        now_s = tick * step_s
        while limits and limits[0] <= now_s:
            watch.beat(beats[limits[0]], limits.pop(0))
        verdict = watch.verdict(now_s)
        if verdict:
            return verdict, now_s
    return "", until_s


def every(seconds: float, until_s: float, beat: Beat) -> dict[float, Beat]:
    return {index * seconds: beat for index in range(1, round(until_s / seconds) + 1)}


def test_a_slow_start_has_its_own_longer_limit() -> None:
    silent = every(0.5, 30.0, Beat(ready=False, loop_age_s=0.0))
    assert verdict_after({}, 19.9) == ("", 19.9) and verdict_after(silent, 19.9)[0] == ""
    reason, at_s = verdict_after(silent, 30.0)
    assert reason.startswith("slow start") and at_s == pytest.approx(20.1)


@pytest.mark.parametrize(("beats", "word", "at_s"), [
    (every(0.5, 10.0, READY), "no heartbeat", 14.1),
    ({**every(0.5, 30.0, READY), **{10.0 + 0.5 * index: Beat(True, 0.5 * index) for index in range(30)}},
     "window", 14.0),
    ({**every(0.5, 30.0, READY), **{10.0 + 0.5 * index: Beat(True, 0.0, 0.5 * index) for index in range(30)}},
     "world stood still", 14.0),
    (every(0.5, 60.0, Beat(True, 0.0, loading_s=20.5)), "loading", 0.5),
])
def test_each_kind_of_hang_is_told_apart(beats: dict[float, Beat], word: str, at_s: float) -> None:
    reason, told_s = verdict_after(beats, 40.0)
    assert reason.startswith("hang: ") and word in reason and told_s == pytest.approx(at_s, abs=0.2)


def test_a_player_that_beats_is_left_alone() -> None:
    assert verdict_after(every(0.5, 3600.0, Beat(True, 0.02, 0.1)), 3600.0)[0] == ""


def test_a_machine_that_slept_takes_nobody_for_hanging() -> None:
    watch = Watch(WatchLimits(start_s=20.0, hang_s=4.0), 0.0)
    watch.beat(READY, 1.0)
    assert watch.verdict(1.1) == ""
    assert watch.verdict(3600.0) == ""  # the lid was closed for an hour
    watch.beat(READY, 3600.5)
    assert watch.verdict(3601.0) == ""


def test_restarts_come_at_once_and_then_ever_later_until_a_player_settles() -> None:
    backoff = Backoff()
    waits = [backoff.wait_s(5.0) for _ in range(10)]
    assert waits[0] == FIRST_WAIT_S and waits[-1] == LONGEST_WAIT_S
    assert all(later >= 2 * earlier for earlier, later in zip(waits[:6], waits[1:7], strict=True))
    assert sum(wait <= 10.0 for wait in waits) == 5
    assert backoff.wait_s(SETTLED_S) == FIRST_WAIT_S


def test_beats_that_cannot_be_read_are_refused() -> None:
    assert Beat.of({"ready": True, "loop_age_s": 1, "chunk_age_s": None}) == Beat(True, 1.0)
    for wrong in ({}, {"ready": True}, {"ready": True, "loop_age_s": "soon"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Beat.of(wrong)


# --- deeds ----------------------------------------------------------------------------------------------------------

class Booth:
    """A supervisor on a thread of its own, and what its players leave in a folder."""

    def __init__(self, folder: Path, mode: str, limits: WatchLimits = LIMITS, missing: int | None = None) -> None:
        """`missing`: the restart at which the player's program is not there."""
        self.folder = folder
        self.stop = threading.Event()
        self.day_log = DayLog(folder / "log", local_time)
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}

        def command(restarts: int) -> list[str]:
            program = sys.executable if restarts != missing else str(folder / "nowhere")
            return [program, str(PLAYER), mode, str(restarts), str(folder)]

        self.supervisor = Supervisor(command, limits, self.day_log, MonotonicClock(), environment)
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run(self.stop)

    def until(self, come_true: Callable[[], bool], what: str) -> None:
        until(come_true, what)

    def until_on(self, restarts: int) -> None:
        self.until((self.folder / f"on-{restarts}").exists, f"player {restarts} is on")

    def end(self) -> int:
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.code

    def join(self) -> int:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.code

    def entries(self, kind: str) -> list[dict]:
        return [entry for entry in read_day(self.folder / "log", local_time().date()) if entry["kind"] == kind]

    def restarts(self) -> list[dict]:
        return self.entries("restart")


@pytest.fixture
def make_booth() -> Iterator[Callable[..., Booth]]:
    booths: list[Booth] = []

    def make(*arguments: Any) -> Booth:
        booths.append(Booth(*arguments))
        return booths[-1]

    yield make
    for booth in booths:
        booth.end()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(come_true: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not come_true():
        assert time.monotonic() < ends_s, f"never came true: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize(("mode", "reason", "trace"), [
    ("crash", "exit code 1", "RuntimeError: the tests break this player on purpose"),
    ("fault", "signal SIGSEGV", "Fatal Python error"),
])
def test_a_player_that_crashes_is_restarted_and_the_log_says_why(make_booth, tmp_path: Path, mode: str,
                                                                 reason: str, trace: str) -> None:
    if mode == "fault" and os.name == "nt":
        pytest.skip("Windows names faults otherwise")
    booth = make_booth(tmp_path, mode)
    booth.until_on(1)
    assert booth.end() == 0
    (entry,) = booth.restarts()
    assert entry["reason"] == reason and entry["down_s"] < 10.0
    assert any(trace in line for line in entry["last_lines"])


def test_a_player_that_cannot_be_started_once_is_tried_again(make_booth, tmp_path: Path) -> None:
    booth = make_booth(tmp_path, "crash", LIMITS, 1)
    booth.until_on(2)
    assert booth.end() == 0
    assert [entry["reason"].partition(" (")[0] for entry in booth.restarts()] == ["exit code 1",
                                                                                 "the player cannot be started"]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no process groups to end")
def test_what_a_crashed_player_had_started_ends_with_it_and_holds_nothing_up(make_booth, tmp_path: Path) -> None:
    booth = make_booth(tmp_path, "leave a child")
    booth.until_on(1)
    child = int((tmp_path / "child").read_text())
    booth.until(lambda: not is_running(child), "the child has ended")
    assert booth.end() == 0
    assert [entry["reason"] for entry in booth.restarts()] == ["exit code 1"]


class ClosedTerminal(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_player_that_says_much_goes_on_when_nobody_can_read_what_the_booth_writes(monkeypatch: pytest.MonkeyPatch
                                                                                    ) -> None:
    monkeypatch.setattr(sys, "stderr", ClosedTerminal())
    says_much = "import sys; sys.stderr.writelines(f'{n} {chr(46) * 90}\\n' for n in range(3000))"  # pipes hold 64 KiB
    child = Child([sys.executable, "-c", says_much])
    try:
        until(lambda: child.exit_code() is not None, "all was said")
    finally:
        child.kill()
        child.close()
    assert child.exit_code() == 0 and child.last_lines()[-1].startswith("2999 ")


def test_systemd_hears_of_the_supervisor_while_it_waits_to_restart(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told_s = FakeClock(), []
    monkeypatch.setattr(supervisor_module, "_tell_systemd", lambda state: told_s.append(clock.now()))
    supervisor = Supervisor(lambda restarts: [], LIMITS, DayLog(tmp_path, local_time), clock)
    began_s = clock.now()
    supervisor._rest(LONGEST_WAIT_S, threading.Event())
    assert clock.now() - began_s == pytest.approx(LONGEST_WAIT_S)
    patience_s = float(re.search(r"WatchdogSec=(\d+)", SYSTEMD)[1])
    moments = [began_s, *told_s, clock.now()]
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < patience_s / 2


@pytest.mark.parametrize(("mode", "word"), [("hang", "the window stood still"),
                                            ("frozen world", "the world stood still")])
def test_a_player_that_hangs_is_killed_and_restarted_with_its_stack_in_the_log(make_booth, tmp_path: Path,
                                                                               mode: str, word: str) -> None:
    booth = make_booth(tmp_path, mode)
    booth.until_on(1)
    assert booth.end() == 0
    (entry,) = booth.restarts()
    assert word in entry["reason"] and entry["down_s"] < 10.0
    assert any("booth_player.py" in line for line in entry["stack"])


def test_a_stopped_process_is_a_hang_too(make_booth, tmp_path: Path) -> None:
    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("this system cannot stop a process")
    booth = make_booth(tmp_path, "play")
    booth.until_on(0)
    booth.until(lambda: booth.entries("on"), "the supervisor has heard that the player is on")
    os.kill(int((tmp_path / "pid-0").read_text()), signal.SIGSTOP)
    booth.until_on(1)
    assert booth.end() == 0
    (entry,) = booth.restarts()
    assert "no heartbeat" in entry["reason"] and any("booth_player.py" in line for line in entry["stack"])


def test_a_late_start_is_waited_for_and_a_start_without_end_is_not(make_booth, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    late = make_booth(tmp_path / "late", "late start", WatchLimits(start_s=30.0, hang_s=1.0))
    late.until_on(0)
    assert late.end() == 0 and not late.restarts()
    (tmp_path / "never").mkdir()
    never = make_booth(tmp_path / "never", "slow start", WatchLimits(start_s=1.5, hang_s=1.0))
    never.until_on(1)
    assert never.end() == 0
    assert never.restarts()[0]["reason"].startswith("slow start")


def test_a_player_that_ends_by_the_operators_wish_ends_the_booth_and_its_entries_are_kept(make_booth,
                                                                                          tmp_path: Path) -> None:
    booth = make_booth(tmp_path, "stop")
    assert booth.join() == 0
    entries = read_day(tmp_path / "log", local_time().date())
    assert [entry["kind"] for entry in entries] == ["start", "on", "visit", "stop"]
    assert not booth.restarts()


def test_stopping_the_booth_lets_the_player_close_by_itself(make_booth, tmp_path: Path) -> None:
    booth = make_booth(tmp_path, "play")
    booth.until_on(0)
    assert booth.end() == 0
    assert (tmp_path / "stopped-0").exists() and not psutil.pid_exists(int((tmp_path / "pid-0").read_text()))


def test_a_mistake_in_the_settings_ends_the_booth_instead_of_restarting_for_ever(make_booth, tmp_path: Path) -> None:
    booth = make_booth(tmp_path, "mistake!")
    assert booth.join() == 2 and not booth.restarts()


def test_a_player_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    # a hanging player does not either: the thread that holds the lifeline is not the one that hangs
    code = (f"import sys, threading; sys.path.insert(0, {str(CHECKOUT)!r})\n"
            "from pathlib import Path\n"
            "from astra_play.booth.daylog import DayLog\nfrom astra_play.booth.profile import WatchLimits\n"
            "from astra_play.booth.supervisor import Supervisor\n"
            "from astra_play.runtime.clock import MonotonicClock, local_time\n"
            f"folder = Path({str(tmp_path)!r})\n"
            f"command = lambda restarts: [sys.executable, {str(PLAYER)!r}, 'hang!', str(restarts), str(folder)]\n"
            "Supervisor(command, WatchLimits(60.0, 60.0), DayLog(folder / 'log', local_time), MonotonicClock())"
            ".run(threading.Event())\n")
    supervisor = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    try:
        until((tmp_path / "on-0").exists, "the player is on")
        player = psutil.Process(int((tmp_path / "pid-0").read_text()))
    finally:
        supervisor.kill()
        supervisor.wait()
    killed_s = time.monotonic()
    until(lambda: not player.is_running() or player.status() == psutil.STATUS_ZOMBIE, "the player has ended")
    assert time.monotonic() - killed_s < 20.0


def test_the_supervisor_loads_neither_torch_nor_pygame() -> None:
    code = ("import astra_play.booth.supervisor, astra_play.kiosk_cli, sys\n"
            "print(sorted({'torch', 'pygame', 'numpy', 'av'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no systemd here")
def test_systemd_is_told_that_the_supervisor_lives(make_booth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "n"))
        notify.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        booth = make_booth(tmp_path, "play")
        heard = [notify.recv(100) for _ in range(3)]
        booth.end()
    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_the_command_starts_a_booth_and_ends_it_with_its_player(tmp_path: Path) -> None:
    (tmp_path / "booth.toml").write_text('[log]\nfolder = "log"\n')
    done = subprocess.run([sys.executable, "-m", "astra_play", "kiosk", "--profile", str(tmp_path / "booth.toml"),
                           "--headless", "--seconds", "2"], cwd=CHECKOUT, capture_output=True, text=True,
                          timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    kinds = [entry["kind"] for entry in read_day(tmp_path / "log", local_time().date())]
    assert kinds[0] == "start" and kinds[-1] == "stop" and "restart" not in kinds


def test_the_command_says_what_is_wrong_with_a_world_and_does_not_try_again(tmp_path: Path) -> None:
    (tmp_path / "booth.toml").write_text('worlds = ["nowhere"]\n[log]\nfolder = "log"\n')
    done = subprocess.run([sys.executable, "-m", "astra_play", "kiosk", "--profile", str(tmp_path / "booth.toml"),
                           "--headless"], cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "there is no world 'nowhere'" in done.stderr
    assert "restart" not in [entry["kind"] for entry in read_day(tmp_path / "log", local_time().date())]
