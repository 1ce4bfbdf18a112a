"""MuJoCo as a painter: imported late, without a window, without the effects that low-poly worlds do not use."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from astra_play.errors import DependencyError

if TYPE_CHECKING:
    import mujoco


def import_mujoco(needed_for: str) -> ModuleType:
    """Return the mujoco module; DependencyError says that `needed_for` needs it when it is not installed."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported; a window is never needed
    try:
        import mujoco
    except ImportError as error:
        raise DependencyError("mujoco", needed_for, "train") from error
    return mujoco


def plain_renderer(module: ModuleType, model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    """Return a renderer without shadows, mirrors, haze and sky box: these worlds paint their own."""
    renderer = module.Renderer(model, height, width)
    for flag in (module.mjtRndFlag.mjRND_SHADOW, module.mjtRndFlag.mjRND_REFLECTION,
                 module.mjtRndFlag.mjRND_HAZE, module.mjtRndFlag.mjRND_SKYBOX):
        renderer.scene.flags[flag] = 0
    return renderer
