"""What every test gets: a window system that needs no screen, and a home folder of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from hands import Player

# before any test imports the window library or the simulator: both choose their driver on import
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
# Tests run side by side, one process for each processor. Threads of their own would only wait for each other there:
# small convolutions on two threads stall for minutes where another process keeps one of two cores busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own choice needs a screen and aborts the process without one


@pytest.fixture
def checkout() -> Path:
    """The folder that holds launch.py, astra_play/ and tests/."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests away from the settings, keymap and pictures of whoever runs them."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
                 "XDG_PICTURES_DIR", "XDG_VIDEOS_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("ASTRA_PLAY_RECORDINGS", raising=False)
    return home


@pytest.fixture
def arm() -> Iterator[object]:
    """The arm's simulator, which not every machine has."""
    pytest.importorskip("mujoco")
    from astra_play.errors import DependencyError
    from astra_play.train.scenarios.arm import Arm

    try:
        simulator = Arm()
    except DependencyError as error:
        pytest.skip(str(error))
    yield simulator
    simulator.close()


@pytest.fixture
def without_robot() -> Callable[[object], np.ndarray]:
    """Says what an arm's simulator shows without the robot and its shadow; for good, so call it last."""
    def render(simulator: object) -> np.ndarray:
        from astra_play.train.scenarios.arm_mjcf import ROBOT

        model = simulator._model
        for geom in range(model.ngeom):
            if model.body(model.geom_bodyid[geom]).name.startswith(ROBOT):
                model.geom_rgba[geom, 3] = 0
        return simulator._render()

    return render


@pytest.fixture
def playing(make_player: Callable[..., Player]) -> Player:
    """A player of the file's own `make_player` whose world shows frames."""
    player = make_player()
    player.until(lambda: player.play.playing, "the first frame")
    return player
