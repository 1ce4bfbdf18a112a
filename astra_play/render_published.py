"""`render` of published weights: a table of action rows, a start picture and a prompt -> frames, chunk by chunk.

The run is the reference's (Astra's released inference procedure): every row is known before the first pass and says
what leaves its latent frame, the network is shown the table anew for each chunk, the start picture's own frame comes
first and four frames follow for each latent frame. Frames are decoded as the chunks are finished, which gives what
decoding the whole clip would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .actions import presets
from .actions.keymap import default_keymap
from .actions.row_makers import make_row_maker
from .actions.rows import camera_row
from .actions.script import load_script
from .actions.sources import ScriptedSource
from .chunks import IDLE, ActionChunk
from .config import WorldConfig, load_json
from .errors import ConfigError
from .overlay import draw_overlay, latent_of_frame
from .render_options import NUM_LATENTS, RenderOptions
from .runtime.interfaces import ActionSource

if TYPE_CHECKING:
    from .model.loading import LoadOptions
    from .model.world import World

DEFAULT_PRESET = "forward"


@dataclass(frozen=True)
class Motion:
    """What a clip does: `rows` (1 + latents, A), row i the motion that leaves latent frame i, and `shown` of the same
    shape, the motion that the key caps of latent frame i are read from."""

    rows: np.ndarray
    shown: np.ndarray

    @property
    def num_latents(self) -> int:
        """Latent frames to generate."""
        return len(self.rows) - 1


def motion_of(options: RenderOptions, config: WorldConfig) -> Motion:
    """Return the motion that the options ask for; AstraPlayError says what is wrong with a preset, script or file."""
    num_rows = 1 + num_latents(options, config)
    modality = config.controls.modality
    if options.poses is not None:
        return entered(pose_table(options.poses, modality, num_rows))
    if modality == "vehicle":
        rows = presets.arc_rows(num_rows)
        return Motion(rows, rows)
    if modality == "arm":
        rows = presets.arm_motion_rows(num_rows)
        return Motion(rows, rows)
    if options.script is not None:
        keymap = default_keymap().limited_to(config.controls.buttons, modality)
        return script_motion(ScriptedSource(load_script(options.script), keymap), config, num_rows)
    rows = presets.preset_rows(options.preset or DEFAULT_PRESET, num_history=1, num_generated=num_rows - 1)
    return Motion(rows, rows)


def num_latents(options: RenderOptions, config: WorldConfig) -> int:
    """Return how many latent frames follow the start picture."""
    if options.num_frames is not None:
        return -(-(options.num_frames - 1) // config.codec.frames_per_latent)
    return options.num_latents or NUM_LATENTS


def entered(rows: np.ndarray) -> Motion:
    """Return the motion of rows that leave their latent frames, with the caps of what led into each frame."""
    return Motion(rows, np.concatenate([camera_row()[None], rows[:-1]]) if rows.shape[1] == 12 else rows)


def script_motion(source: ActionSource, config: WorldConfig, num_rows: int) -> Motion:
    """Return the motion of scripted input, read once for every latent frame.

    The row makers make what leads into a latent frame. Since the whole script is known, the table can have it where
    training had it, on the frame that it leaves, and a key moves the latent frame during which it goes down.
    """
    one_row = dataclasses.replace(config, stream=dataclasses.replace(config.stream, latent_frames_per_chunk=1))
    row_maker = make_row_maker(one_row)
    rows = np.concatenate([row_maker.rows(source.take(index * one_row.chunk_s)) for index in range(num_rows)])
    return entered(rows)


def pose_table(path: Path, modality: str, num_rows: int) -> np.ndarray:
    """Read a file of poses as the action table (num_rows, A).

    Camera and arm: a list of world-to-camera matrices 4x4, one per frame. Vehicle: {"translations": [[x, y, z], ...],
    "quaternions": [[w, x, y, z], ...]}, one keyframe per latent frame. ConfigError says what else it is.
    """
    content = load_json(path)
    if modality == "vehicle":
        if not isinstance(content, dict) or not {"translations", "quaternions"} <= content.keys():
            raise ConfigError(f"{path} holds no keyframes; give {{\"translations\": [[x, y, z], ...], \"quaternions\": "
                              "[[w, x, y, z], ...]}")
        return presets.vehicle_pose_rows(numbers(content["translations"], path), numbers(content["quaternions"], path),
                                         num_rows)
    return presets.pose_rows(numbers(content, path), num_rows)


def numbers(content: Any, path: Path) -> np.ndarray:
    """Return nested lists of numbers as an array; ConfigError if they are something else, or of uneven length."""
    try:
        array = np.asarray(content, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{path} does not hold lists of numbers of one length; give one pose per frame, as 4 lists "
                          "of 4 numbers") from None
    if array.size == 0 or not np.isfinite(array).all():
        raise ConfigError(f"{path} holds no poses, or numbers that are not finite; give one pose per frame")
    return array


def load_options(options: RenderOptions) -> LoadOptions:
    """Return how the world is to be loaded."""
    from .model.loading import LoadOptions

    return LoadOptions(
        precision=options.precision or "auto", placement="leaving", prompt=options.prompt or "",
        negative_prompt=options.negative_prompt or "", text_guidance_scale=options.text_guidance_scale or 1.0,
        memory=options.memory or "auto", decoder=options.decoder or "exact", solver=options.solver)


def rollout(world: World, start: np.ndarray, motion: Motion, overlay: bool = False) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) of a clip, 1 + 4 a latent frame, of a world that was reset."""
    config = world.config
    for index, frame in enumerate(_plain_frames(world, start, motion)):
        row = motion.shown[latent_of_frame(index, config.codec.frames_per_latent)]
        yield draw_overlay(frame, row) if overlay else frame


def _plain_frames(world: World, start: np.ndarray, motion: Motion) -> Iterator[np.ndarray]:
    config, size = world.config, world.config.stream.latent_frames_per_chunk
    yield from world.prefill(start[None], motion.rows[:1])
    for number, first in enumerate(range(1, len(motion.rows), size)):
        rows = motion.rows[first:first + size]
        yield from world.step(ActionChunk(IDLE, rows, config.controls.modality, number))
        world.commit()
