"""MuJoCo as a painter: imported late, without a window, without the effects that low-poly worlds do not use.

What it draws can be asked for how far away it is, too: `distances_drawn`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from astra_play.config import ControlsConfig
from astra_play.errors import DependencyError

if TYPE_CHECKING:
    import mujoco

STANDS_M = 0.06  # above the ground; what is lower is painted on it


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


def distances_drawn(renderer: mujoco.Renderer, draw: Callable[[], np.ndarray], controls: ControlsConfig,
                    pitch_rad: float = 0.0) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what stands on the ground in the picture that `draw` makes with a renderer, (H, W) bool, how far away
    along the ground what each pixel shows is, in metres (H, W), and the pitch: the truth of codec/distances.py.

    The camera is as `controls` say, and looks up by `pitch_rad`; its car's bonnet does not count as standing.
    """
    from astra_play.codec.distances import FARTHEST_M  # with torch, for which no simulator waits

    renderer.enable_depth_rendering()
    try:
        depth_m = draw()
    finally:
        renderer.disable_depth_rendering()
    height, width = depth_m.shape
    tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
    cos, sin = math.cos(pitch_rad), math.sin(pitch_rad)
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = ((np.arange(height) + 0.5) / height * 2 - 1)[:, None]
    right, down = x * tangent * width / height, y * tangent
    distance_m = np.hypot(right * depth_m, (cos + down * sin) * depth_m)
    height_m = controls.eye_height_m - (down * cos - sin) * depth_m
    stands = (distance_m < FARTHEST_M) & (height_m > STANDS_M)
    return stands & ~controls.is_bonnet(x, y), distance_m, pitch_rad
