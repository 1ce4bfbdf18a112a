"""The picture of who goes through a place in three dimensions (place.py), which stays as it is wherever one goes.

`Surroundings` carries on what it has painted, which after minutes is made of its own mistakes. Where the codec finds
how far away everything is (codec/distances.py), the start picture is set up as a place instead, every view of it is
the anchor of the network, and what that paints is shown and not carried on. So nothing has to be filtered either.

Before one moves, the view is the given picture to the last pixel: what the place does not explain of it turns with the
camera and fades with the first steps. A car's bonnet is no part of the place, and stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.mini import MiniCodec
from ..config import ControlsConfig
from .anchor import CameraMotion, camera_poses, full_precision, pace, resample
from .carried_picture import CarriedPicture
from .eyes import Eyes
from .place import Place
from .upright import upright, without_kerbs, without_shreds

DOUBTFUL_RAD = 0.03  # pitch that a finder may see in a level picture
FADE_M = 0.5  # from the start, where what the place does not explain of the given picture is down to a third
FADED = 0.01  # a share of that which nobody sees


class PlaceMotion(CameraMotion):
    """The motion of worlds whose camera goes about in a place; what is beside the camera's own, sets one up."""

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int, controls: ControlsConfig,
                 reach_m: float, coverage: bool = False) -> None:
        """`reach_m`: how far the place reaches. Near and far things are no hypotheses here: all is as far as it is."""
        super().__init__(codec, latent_scale, width, height, controls, coverage)
        self._find, self._upscaler = codec.distances, codec.upscaler
        self._reach_m = reach_m

    def set_up(self, pictures: Tensor) -> tuple[Place, Tensor]:
        """The place that pictures (B, 3, H, W) show, and how far up they look, in radians (B,).

        An upscaler, where the codec has one, draws the picture larger first, so that who comes near sees more.
        """
        with torch.no_grad(), full_precision(pictures.device):
            found = self._find(pictures)
            # Most look ahead, and what is drawn level is sharper than what is turned afterwards.
            pitch_rad = found.pitch_rad * (found.pitch_rad.abs() > DOUBTFUL_RAD)
            distances = found._replace(pitch_rad=pitch_rad)
            for improved in (upright, without_kerbs, without_shreds):
                distances = improved(distances, self._controls)
            larger = pictures if self._upscaler is None else self._upscaler(pictures)
            return Place(larger, distances, self._controls, self._reach_m), pitch_rad

    def turned(self, pictures: Tensor, rotation: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) after turns (B, 3, 3) of the camera; 0 beyond their edges."""
        places = self.places_before(F.pad(rotation, (0, 1)))
        return resample(pictures, places) * (places.abs() <= 1).all(dim=-1)[:, None]


class PlacePicture(CarriedPicture):
    """A `CarriedPicture` of a place that is set up from the picture given last."""

    def __init__(self, motion: PlaceMotion, paint: Callable[[Tensor], Tensor], leak: float) -> None:
        super().__init__(motion, paint, leak)
        self._given: Tensor | None = None  # what the place is set up in, before its first view
        self._place: Place | None = None
        self._unexplained: Tensor | None = None  # what its first view lacks of the given picture, (B, 3, H, W)
        self._start_eyes: Eyes | None = None
        self._eyes: Eyes | None = None
        self._next_eyes: Eyes | None = None  # after the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._given = self._place = self._unexplained = self._start_eyes = self._eyes = self._next_eyes = None

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "given": self._given, "place": self._place, "unexplained": self._unexplained,
                "start_eyes": self._start_eyes, "eyes": self._eyes}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._given, self._place, self._unexplained, self._start_eyes, self._eyes = (
            snapshot[name] for name in ("given", "place", "unexplained", "start_eyes", "eyes"))

    def show(self, pictures: Tensor) -> None:
        """Go on in the place that pictures (B, 3, H, W) in [-1, 1] show."""
        super().show(pictures)
        # A session begins with one and the same picture several times over; setting up costs as much as two frames.
        if self._given is None or not torch.equal(pictures, self._given):
            self._given, self._place = pictures, None
        self._eyes, self._next_eyes = self._start_eyes, None

    def carry_on(self, pictures: Tensor) -> None:
        self._eyes = self._next_eyes
        self._picture = pictures

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        if self._place is None:
            self._set_up()
        eyes, views = self._eyes, []
        for pose in camera_poses(rows).unbind(dim=1):
            with full_precision(pose.device):
                eyes = self._place.footing.walk(eyes, pose)
                views.append(self._view(eyes))
        self._next_eyes = eyes
        moved, seen = (torch.stack(each, dim=1) for each in zip(*views, strict=True))
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, None, anchors)

    def _offer(self, rows: Tensor, moved: Tensor, seen: Tensor, others: Tensor | None, anchors: Tensor) -> Tensor:
        anchors = super()._offer(rows, moved, seen, others, anchors)
        self._ahead = None  # nothing is drawn apart here that would have to be blurred
        moves, walks = (pace(rows, turns).cummax(dim=1).values[..., None, None, None] for turns in (True, False))
        self._gate = (moves + (walks - moves) * seen) * ~self._motion.on_bonnet  # never worn
        return anchors

    def _view(self, eyes: Eyes) -> tuple[Tensor, Tensor]:
        """The pictures (B, 3, H, W) that eyes see, and which pixels the given picture shows, (B, 1, H, W)."""
        pictures, seen = self._place.view(eyes)
        kept = torch.exp(-(eyes.way_m(self._start_eyes) / FADE_M).square())[:, None, None, None]
        kept = kept * (kept > FADED)
        if bool(kept.any()):
            pictures = pictures + kept * self._motion.turned(self._unexplained, eyes.turned_from(self._start_eyes))
        on_bonnet = self._motion.on_bonnet
        return torch.where(on_bonnet, self._given, pictures), torch.where(on_bonnet, 1.0, seen)

    def _set_up(self) -> None:
        self._place, pitch_rad = self._motion.set_up(self._given)
        zero = torch.zeros_like(pitch_rad)
        self._start_eyes = self._eyes = Eyes(zero, zero, zero, pitch_rad)
        with full_precision(zero.device):
            self._unexplained = (self._given - self._place.view(self._eyes)[0]) * ~self._motion.on_bonnet
