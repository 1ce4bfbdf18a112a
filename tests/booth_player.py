"""A player for the supervisor's tests: a small process with the real link, which crashes, hangs or plays as told.

    python booth_player.py MODE RESTARTS FOLDER

It touches FOLDER/<restarts> when it is on; modes act only in the first life unless they end in "!".
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

from astra_play.booth.link import Link
from astra_play.booth.watch import Beat
from astra_play.runtime.clock import MonotonicClock

TURN_S = 0.02


def main(mode: str, restarts: int, folder: Path) -> int:
    always, mode = mode.endswith("!"), mode.rstrip("!")
    mode = mode if restarts == 0 or always else "play"
    if mode == "mistake":
        print("astra-play: the profile is wrong; mend it", file=sys.stderr)
        return 2
    clock, never = MonotonicClock(), threading.Event()
    link = Link(clock)
    link.start()
    (folder / f"pid-{restarts}").write_text(str(os.getpid()))
    for turn in range(10**9):
        ready = mode not in ("slow start", "late start") or (mode == "late start" and turn * TURN_S > 2.0)
        chunk_age_s = 0.0
        if ready and turn > 10:
            if mode == "crash":
                raise RuntimeError("the tests break this player on purpose")
            if mode == "fault":
                ctypes.string_at(0)
            if mode == "leave a child":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                (folder / "child").write_text(str(child.pid))
                return 1
            if mode == "hang":
                clock.wait(600.0, never)
            if mode == "frozen world":
                chunk_age_s = (turn - 10) * TURN_S
        if mode == "stop" and turn > 10:
            link.record("visit", world="card", reason="stopped", played_s=1.0)
            link.close()
            return 0
        link.turned(Beat(ready, 0.0, chunk_age_s, None, "attract"))
        on = folder / f"on-{restarts}"
        if ready and turn >= 5 and not on.exists():
            on.touch()
            link.record("on")  # goes out after a heartbeat that says so
        if link.stop_asked.is_set():
            (folder / f"stopped-{restarts}").touch()
            link.close()
            return 0
        clock.wait(TURN_S, never)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
