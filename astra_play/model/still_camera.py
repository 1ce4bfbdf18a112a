"""The pictures of a world whose actions move a hand and never the camera: a table that stays, and a hand that goes.

The hand is cut out of the start picture (codec/hand.py) and carried along by all the way since, so that a minute of
moving resamples it once; the table is the newest picture wherever the hand is not, and where it is, what was seen there
before. Both together are the anchor. Shadows, fingers that close and blocks that are taken along are the network's to
say. Three hypotheses help it: everything goes along with the hand; everything stays; the table without a hand
(model/anchor.py tells how a network chooses between them block by block).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.loop_filter import LoopFilter
from ..codec.mini import MiniCodec
from ..config import ControlsConfig
from .anchor import CameraMotion, resample
from .carried_picture import CarriedPicture

HAND_HYPOTHESES = 3
FAINT = 0.05  # share of the hand below which a pixel of the start picture is the table's own
COVER_PX = 2  # around the hand, where a picture shows neither it nor the table alone
COVERED = 0.1  # share of the hand within COVER_PX above which the table keeps what it had


class StillCamera(CameraMotion):
    """The motion of worlds whose actions move a hand in the picture and never the camera.

    The hand is taken to be a plane that faces the camera at the scene's depth: sideways and up it goes across the
    picture, and as it comes nearer it grows about the picture's middle. Of fewer hypotheses than three it takes the
    first alone. A codec that finds no hands leaves everything on the table.
    """

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int, controls: ControlsConfig,
                 coverage: bool = False, hypotheses: int = 0, blocks: int = 1) -> None:
        self.num_hypotheses = hypotheses if hypotheses >= HAND_HYPOTHESES else min(hypotheses, 1)
        super().__init__(codec, latent_scale, width, height, controls, coverage, self.num_hypotheses, blocks)
        self._find_hand = codec.hand
        lift = math.radians(controls.camera_lift_deg)
        # Metres right, away and up of the hand -> right, down and ahead of the camera, in units of the scene's depth.
        self._to_camera = torch.tensor([[1.0, 0.0, 0.0], [0.0, -math.sin(lift), -math.cos(lift)],
                                        [0.0, math.cos(lift), -math.sin(lift)]],
                                       device=self.scale.device) / controls.scene_depth_m

    @torch.no_grad()
    def find_hand(self, pictures: Tensor) -> Tensor:
        """Shares of the hand in the pixels of (B, 3, H, W) pictures, (B, 1, H, W) in [0, 1]."""
        return torch.zeros_like(pictures[:, :1]) if self._find_hand is None else self._find_hand(pictures)

    def hand_pictures(self, pictures: Tensor, rows: Tensor, table: Tensor) -> Tensor | None:
        """What each hypothesis makes of (B, 3, H, W) pictures and the table without a hand where each of the rows
        (B, T, A) takes the hand: (B, T, K, 3, H, W), K being 1 or 3, or None."""
        if not self.num_hypotheses:
            return None
        along = self.go_along(pictures, rows[..., :3].float().cumsum(dim=1))[:, :, None]
        if self.num_hypotheses < HAND_HYPOTHESES:
            return along
        stays = torch.stack([pictures, table], dim=1)[:, None].expand(-1, rows.shape[1], -1, -1, -1, -1)
        return torch.cat([along, stays], dim=2)

    def go_along(self, pictures: Tensor, ways_m: Tensor) -> Tensor:
        """(B, C, H, W) pictures that go as a whole the ways (B, T, 3) of the hand: (B, T, C, H, W)."""
        right, down, ahead = (ways_m @ self._to_camera.T)[..., None, None, :].unbind(dim=-1)
        places = self._pixels * (1 + ahead[..., None]) - torch.stack([right, down], dim=-1) / self._limits
        moved = resample(pictures.repeat_interleave(ways_m.shape[1], dim=0), places.flatten(0, 1))
        return moved.unflatten(0, ways_m.shape[:2])


_LAYERS = "_table", "_known", "_hand", "_way_m", "_next_way_m"  # of a snapshot; none of them is ever written to


class TablePicture(CarriedPicture):
    """A `CarriedPicture` of a still camera in two layers: the table, and the hand of the first picture over it."""

    def __init__(self, motion: StillCamera, paint: Callable[[Tensor], Tensor], leak: float,
                 loop_filter: LoopFilter | None = None, strength: float = 1.0) -> None:
        super().__init__(motion, paint, leak, loop_filter, strength)
        self._table: Tensor | None = None  # (B, 3, H, W)
        self._known: Tensor | None = None  # where the table was ever seen, (B, 1, H, W) bool
        self._hand: Tensor | None = None  # (B, 4, H, W): the first picture, and the hand's share of each pixel
        self._way_m: Tensor | None = None  # of the hand since then, (B, 3)
        self._next_way_m: Tensor | None = None  # with the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._table = self._known = self._hand = self._way_m = self._next_way_m = None

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), **{name: getattr(self, name) for name in _LAYERS}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        for name in _LAYERS:
            setattr(self, name, snapshot[name])

    def show(self, pictures: Tensor) -> None:
        """Carry a picture on from here, (B, 3, H, W) in [-1, 1]; the hand is cut out of the first one."""
        if self._table is None:
            share = self._motion.find_hand(pictures)
            self._hand = torch.cat([pictures, share], dim=1)
            self._way_m = self._next_way_m = pictures.new_zeros(len(pictures), 3)
            self._known = ~covered(share)
            self._table = fill_in(pictures, share < FAINT)
        else:
            self._way_m = self._next_way_m
            hidden = covered(self._motion.go_along(self._hand[:, 3:], self._way_m[:, None])[:, 0])
            self._table = torch.where(hidden, self._table, pictures)
            self._known = self._known | ~hidden
        super().show(pictures)

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        ways_m = self._way_m[:, None] + rows[..., :3].float().cumsum(dim=1)
        self._next_way_m = ways_m[:, -1]
        hand, share = self._motion.go_along(self._hand, ways_m).split([3, 1], dim=2)
        share = share.clamp(0, 1)  # the resampling overshoots at edges
        moved = torch.lerp(self._table[:, None].expand_as(hand), hand, share.expand_as(hand))
        seen = (self._known[:, None] | (share > 0.5)).float()
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, self._motion.hand_pictures(self._picture, rows, self._table), anchors)


def covered(share: Tensor) -> Tensor:
    """Where the hand, its share (B, 1, H, W) of each pixel given, hides the table or touches its pixels, as bool."""
    return F.max_pool2d(share, 2 * COVER_PX + 1, stride=1, padding=COVER_PX) > COVERED


def fill_in(pictures: Tensor, known: Tensor) -> Tensor:
    """(B, 3, H, W) pictures whose pixels outside `known` (B, 1, H, W) take the mean colour of the known ones nearby.

    Pull-push (Gortler et al., "The lumigraph", 1996): ever coarser means, each used only where no finer one is known.
    """
    weight = known.to(pictures.dtype)
    if bool(known.all()) or min(pictures.shape[-2:]) < 2:
        return pictures
    size = pictures.shape[-2:]
    coarse_weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    coarse = F.avg_pool2d(pictures * weight, 2, ceil_mode=True) / coarse_weight.clamp_min(1e-6)
    behind = F.interpolate(fill_in(coarse, coarse_weight > 0), size=size, mode="bilinear", align_corners=False)
    return torch.where(known, pictures, behind)
