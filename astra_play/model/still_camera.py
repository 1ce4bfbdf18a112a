"""The pictures of a world whose actions move a hand and never the camera: what stays, and what goes along.

Beside the anchor, which is the picture as it is, lie three hypotheses: everything goes along with the hand; everything
is as it was some time ago; everything is as it was then, and went along with the hand ever since. The second brings
back what the hand has uncovered, the third a hand that was not resampled at every frame in between. The network says
block by block which of them holds (model/anchor.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..codec.mini import MiniCodec
from ..config import ControlsConfig
from .anchor import CameraMotion, CarriedPicture, Earlier, resample

HAND_HYPOTHESES = 3
REFRESH_CHUNKS = 24  # between two pictures that are kept; the older one is used, 24 to 48 chunks (1.5 to 3 s) old


class StillCamera(CameraMotion):
    """The motion of worlds whose actions move a hand in the picture and never the camera.

    The hand is taken to be a plane that faces the camera at the scene's depth: sideways and up it goes across the
    picture, and as it comes nearer it grows about the picture's middle. Of fewer hypotheses than three it takes the
    first alone.
    """

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int, controls: ControlsConfig,
                 coverage: bool = False, hypotheses: int = 0, blocks: int = 1) -> None:
        count = hypotheses if hypotheses >= HAND_HYPOTHESES else min(hypotheses, 1)
        super().__init__(codec, latent_scale, width, height, controls, coverage, count, blocks)
        self.looks_back = count >= HAND_HYPOTHESES
        lift = math.radians(controls.camera_lift_deg)
        # Metres right, away and up of the hand -> right, down and ahead of the camera, in units of the scene's depth.
        self._to_camera = torch.tensor([[1.0, 0.0, 0.0], [0.0, -math.sin(lift), -math.cos(lift)],
                                        [0.0, math.cos(lift), -math.sin(lift)]],
                                       device=self.scale.device) / controls.scene_depth_m

    def expect(self, pictures: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same picture for every row (B, T, A): (B, T, 3, H, W), and its anchors."""
        frames = rows.shape[1]
        anchors = self.anchor(pictures, torch.ones_like(pictures[:, 0]))
        return (pictures[:, None].expand(-1, frames, -1, -1, -1), anchors[:, None].expand(-1, frames, -1, -1, -1))

    def other_pictures(self, pictures: Tensor, rows: Tensor, earlier: Earlier | None = None) -> Tensor:
        """What each hypothesis makes of (B, 3, H, W) pictures where each of the rows (B, T, A) takes the hand.

        Returns (B, T, K, 3, H, W), K being 1 or 3. Where there is no earlier picture, the present one stands in.
        """
        ways_m = rows[..., :3].float().cumsum(dim=1)
        along = self.go_along(pictures, ways_m)[:, :, None]
        if not self.looks_back:
            return along
        past, since_m = (pictures, torch.zeros_like(ways_m[:, 0])) if earlier is None else (earlier.picture,
                                                                                            earlier.way_m)
        still = past[:, None, None].expand(-1, rows.shape[1], -1, -1, -1, -1)
        return torch.cat([along, still, self.go_along(past, since_m[:, None] + ways_m)[:, :, None]], dim=2)

    def go_along(self, pictures: Tensor, ways_m: Tensor) -> Tensor:
        """(B, 3, H, W) pictures that go as a whole the ways (B, T, 3) of the hand: (B, T, 3, H, W)."""
        right, down, ahead = (ways_m @ self._to_camera.T)[..., None, None, :].unbind(dim=-1)
        places = self._pixels * (1 + ahead[..., None]) - torch.stack([right, down], dim=-1) / self._limits
        moved = resample(pictures.repeat_interleave(ways_m.shape[1], dim=0), places.flatten(0, 1))
        return moved.unflatten(0, ways_m.shape[:2])


class TablePicture(CarriedPicture):
    """A `CarriedPicture` of a still camera that keeps two earlier pictures and offers the older one."""

    def __init__(self, motion: StillCamera, paint: Callable[[Tensor], Tensor], leak: float) -> None:
        super().__init__(motion, paint, leak)
        self._kept: list[Earlier] = []  # the older first
        self._num_shown = 0
        self._way_m: Tensor | None = None  # of the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._kept, self._num_shown, self._way_m = [], 0, None

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "kept": tuple(self._kept), "num_shown": self._num_shown}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._kept, self._num_shown = list(snapshot["kept"]), snapshot["num_shown"]

    def show(self, pictures: Tensor) -> None:
        """Carry a given picture on from here, (B, 3, H, W) in [-1, 1]."""
        super().show(pictures)
        if self._way_m is not None:
            self._kept = [Earlier(own.picture, own.way_m + self._way_m) for own in self._kept]
        self._way_m = None
        if self._num_shown % REFRESH_CHUNKS == 0:
            here = Earlier(pictures, pictures.new_zeros(len(pictures), 3))
            self._kept = [self._kept[-1], here] if self._kept else [here, here]
        self._num_shown += 1

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        moved, anchors = self._motion.expect(self._picture, rows)
        self._way_m = rows[..., :3].float().sum(dim=1)
        return self._offer(rows, moved, anchors, self._kept[0])
