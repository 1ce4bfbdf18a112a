"""Config -> how a world's pictures are moved (`make_motion`) and carried from chunk to chunk (`carried_picture`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..codec.loop_filter import LoopFilter
from ..codec.mini import MiniCodec
from ..config import WorldConfig
from .anchor import CameraMotion
from .carried_picture import CarriedPicture
from .place_picture import PlaceMotion, PlacePicture
from .still_camera import StillCamera, TablePicture
from .surroundings import Surroundings
from .tabletop_picture import TabletopPicture


def make_motion(config: WorldConfig, codec: MiniCodec) -> CameraMotion | None:
    """Return what moves the pictures of a world whose anchor is "moved"; None for other anchors."""
    if config.model.anchor != "moved":
        return None
    scale = torch.tensor(config.latent_scale or (1.0,) * config.codec.latent_channels)
    if config.stream.place_reach_m and config.controls.modality != "arm":
        return PlaceMotion(codec, scale, config.width, config.height, config.controls, config.stream.place_reach_m,
                           config.model.anchor_coverage)
    kind = StillCamera if config.controls.modality == "arm" else CameraMotion
    return kind(codec, scale, config.width, config.height, config.controls, config.model.anchor_coverage,
                config.model.hypotheses, config.model.hypothesis_blocks)


def carry(motion: CameraMotion, paint: Callable[[Tensor], Tensor], leak: float,
          loop_filter: LoopFilter | None = None, strength: float = 1.0) -> CarriedPicture:
    """Return a carried picture without surroundings: but for a place, the view alone is remembered. The world's
    training plays it so, and without a filter."""
    if isinstance(motion, PlaceMotion):
        return PlacePicture(motion, paint, leak)
    kind = TablePicture if isinstance(motion, StillCamera) else CarriedPicture
    return kind(motion, paint, leak, loop_filter, strength)


def carried_picture(config: WorldConfig, codec: MiniCodec,
                    loop_filter: LoopFilter | None = None) -> CarriedPicture | None:
    """Return the carried picture of a world that is to be played; None for other anchors.

    `loop_filter` None is the codec's own, if it has one. What paints is told by `StreamConfig.painter`.
    """
    motion = make_motion(config, codec)
    if motion is None:
        return None

    strength = config.stream.filter_strength
    # A table that is always in view shows nothing new, and rows of a hand say nothing of a camera's pace.
    filtered = strength > 0 and not isinstance(motion, StillCamera)
    loop_filter = (loop_filter or codec.loop_filter) if filtered else None

    def decode(latents: Tensor) -> Tensor:
        return codec.decode((latents * motion.scale)[:, None])[:, 0]

    with_patches = config.stream.painter == "patches" or (config.stream.painter == "auto" and loop_filter is not None)
    paint = motion.paint if with_patches else decode
    leak, fade_m = config.stream.detail_leak, config.stream.memory_fade_m
    if isinstance(motion, StillCamera) and codec.table is not None and motion.stroke_m:
        return TabletopPicture(motion, paint, leak)
    if fade_m == 0 or isinstance(motion, StillCamera | PlaceMotion):
        return carry(motion, paint, leak, loop_filter, strength)
    return Surroundings(motion, paint, leak, fade_m, config.controls, config.height, config.width, loop_filter,
                        strength, config.frames_per_chunk)
