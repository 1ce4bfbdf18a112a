"""The picture of who walks through a place in three dimensions (place.py), which stays as it is wherever one walks.

`Surroundings` carries on what it has painted, which after minutes is made of its own mistakes. Where the codec finds
how far away everything is (codec/distances.py), the start picture is set up as a place instead, every view of it is
the anchor of the network, and what that paints is shown and not carried on. So nothing has to be filtered either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..codec.distances import DistanceFinder
from ..codec.upscaler import Upscaler
from ..config import ControlsConfig
from .anchor import CameraMotion, camera_poses, pace
from .carried_picture import CarriedPicture
from .place import Eyes, Place
from .upright import upright


class PlacePicture(CarriedPicture):
    """A `CarriedPicture` of a place that is set up from the picture given last."""

    def __init__(self, motion: CameraMotion, paint: Callable[[Tensor], Tensor], leak: float, finder: DistanceFinder,
                 controls: ControlsConfig, upscaler: Upscaler | None = None) -> None:
        """With an `upscaler` the place is set up in a picture that it has drawn larger: who comes near sees more."""
        super().__init__(motion, paint, leak)
        self._find, self._controls, self._upscaler = finder, controls, upscaler
        self._given: Tensor | None = None  # what is to be set up before the next view
        self._place: Place | None = None
        self._eyes: Eyes | None = None
        self._next_eyes: Eyes | None = None  # after the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._given = self._place = self._eyes = self._next_eyes = None

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "given": self._given, "place": self._place, "eyes": self._eyes}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._given, self._place, self._eyes = snapshot["given"], snapshot["place"], snapshot["eyes"]

    def show(self, pictures: Tensor) -> None:
        """Go on in the place that pictures (B, 3, H, W) in [-1, 1] show."""
        self._start = None  # a bonnet and a style are those of the new pictures
        super().show(pictures)
        # A session begins with several pictures, and is set up in the last of them alone.
        self._given, self._place, self._eyes, self._next_eyes = pictures, None, None, None

    def carry_on(self, pictures: Tensor) -> None:
        self._eyes = self._next_eyes
        self._picture = pictures

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        if self._place is None:
            self._set_up()
        eyes, views = self._eyes, []
        for pose in camera_poses(rows).unbind(dim=1):
            eyes = eyes.moved(pose)
            views.append(self._place.view(eyes))
        self._next_eyes = eyes
        moved, seen = (torch.stack(each, dim=1) for each in zip(*views, strict=True))
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, None, anchors)

    def _offer(self, rows: Tensor, moved: Tensor, seen: Tensor, others: Tensor | None, anchors: Tensor) -> Tensor:
        anchors = super()._offer(rows, moved, seen, others, anchors)
        self._ahead = None  # nothing is drawn apart here that would have to be blurred
        moves, walks = (pace(rows, turns).cummax(dim=1).values[..., None, None, None] for turns in (True, False))
        self._gate = moves + (walks - moves) * seen  # never worn
        return anchors

    def _set_up(self) -> None:
        with torch.no_grad():
            distances = upright(self._find(self._given), self._controls)
            pictures = self._given if self._upscaler is None else self._upscaler(self._given)
        self._place = Place(pictures, distances, self._controls)
        zero = torch.zeros_like(distances.pitch_rad)
        self._eyes, self._given = Eyes(zero, zero, zero, distances.pitch_rad), None
