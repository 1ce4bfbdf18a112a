"""The pictures of a world whose actions move a hand and never the camera: a table that stays, and a hand that goes.

The hand is cut out of the start picture (codec/hand.py) and carried along by all the way since, so that a minute of
moving resamples it once; the table is the newest picture wherever neither the hand nor its shadow is, and where they
are, what was seen there before. The shadow is found in the start picture too (codec/shadow.py), taken off the table
and laid over it again where the lamp throws it by now, which is what tells a hand that goes away from one that goes up.
All together are the anchor. Fingers that close, blocks that are taken along and their shadows are the network's to say.
Three hypotheses help it: everything goes along with the hand; everything stays; the table without a hand
(model/anchor.py tells how a network chooses between them block by block).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.bare_table import FAINT, fill_in
from ..codec.loop_filter import LoopFilter
from ..codec.mini import MiniCodec
from ..codec.shadow import CastShadow
from ..codec.tabletop import Tabletop
from ..config import ControlsConfig
from .anchor import CameraMotion, resample
from .carried_picture import CarriedPicture

HAND_HYPOTHESES = 3
COVER_PX = 2  # around the hand, where a picture shows neither it nor the table alone
COVERED = 0.1  # share of the hand or its shadow within COVER_PX above which the table keeps what it had
EDGE_PX = 1  # about the rim of the shadow, where it may have been found a pixel too wide


class Sight(NamedTuple):
    """How a camera sees a hand's ways and its table.

    `to_camera` (B, 3, 3): metres right, away and up of the hand -> right, down and ahead of the camera. `table_m` (B,
    H, W, 3): the point of the table in each pixel, in the camera's axes.
    """

    to_camera: Tensor
    table_m: Tensor


class StillCamera(CameraMotion):
    """The motion of worlds whose actions move a hand in the picture and never the camera.

    The hand is taken to be a plane that faces the camera: sideways and up it goes across the picture, and as it comes
    nearer it grows about the picture's middle. Of fewer hypotheses than three it takes the first alone. A codec that
    finds no hands leaves everything on the table, and one that finds no shadows those. Where no `Sight` is given the
    camera stands as the controls say; the hand is at the scene's depth.
    """

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int, controls: ControlsConfig,
                 coverage: bool = False, hypotheses: int = 0, blocks: int = 1) -> None:
        self.num_hypotheses = hypotheses if hypotheses >= HAND_HYPOTHESES else min(hypotheses, 1)
        super().__init__(codec, latent_scale, width, height, controls, coverage, self.num_hypotheses, blocks)
        self._find_hand, self._find_shadow, self._find_tabletop = codec.hand, codec.shadow, codec.tabletop
        self._restore_table, self.completer = codec.table, codec.arm
        self.stroke_m, self.finger_step_m = controls.finger_stroke_m, controls.finger_m_per_frame
        self.rays = torch.cat([self._pixels * self.limits, torch.ones_like(self._pixels[..., :1])], dim=-1)
        told = math.radians(controls.camera_lift_deg), controls.eye_height_m
        self._told = self.sight(*torch.tensor(told, device=self.scale.device)[:, None])

    def sight(self, lift_rad: Tensor, eye_height_m: Tensor) -> Sight:
        """What cameras that look down by angles (B,) from heights (B,) see."""
        sin, cos, zero, one = lift_rad.sin(), lift_rad.cos(), torch.zeros_like(lift_rad), torch.ones_like(lift_rad)
        axes = torch.stack([one, zero, zero, zero, -sin, -cos, zero, cos, -sin], dim=-1).unflatten(-1, (3, 3))
        down = -torch.einsum("hwi,bi->bhw", self.rays, axes[:, :, 2])  # the third way is up
        table_m = self.rays * (eye_height_m[:, None, None] / down.clamp_min(1e-3))[..., None]  # above the horizon: far
        return Sight(axes, table_m)

    @torch.no_grad()
    def find_hand(self, pictures: Tensor) -> Tensor:
        """Shares of the hand in the pixels of (B, 3, H, W) pictures, (B, 1, H, W) in [0, 1]."""
        return torch.zeros_like(pictures[:, :1]) if self._find_hand is None else self._find_hand(pictures)

    @torch.no_grad()
    def find_shadow(self, pictures: Tensor) -> CastShadow | None:
        """The hand's shadow in (B, 3, H, W) pictures; None where nobody looks for it."""
        return None if self._find_shadow is None else self._find_shadow(pictures)

    @torch.no_grad()
    def find_tabletop(self, pictures: Tensor) -> tuple[Tabletop, Sight]:
        """What stands on the table in (B, 3, H, W) pictures, and how the camera sees it."""
        tabletop = self._find_tabletop(pictures)
        return tabletop, self.sight(tabletop.lift_rad, tabletop.eye_height_m)

    @torch.no_grad()
    def restore_table(self, pictures: Tensor, hidden: Tensor, dark: Tensor) -> tuple[Tensor, Tensor]:
        """What the tables of (B, 3, H, W) pictures look like alone, and where that differs (codec/bare_table.py)."""
        return self._restore_table(pictures, hidden, dark)

    def around(self, sight: Sight, eye_height_m: Tensor, place_m: Tensor, slant: Tensor) -> tuple[Tensor, Tensor]:
        """Where pixels are beside hands at places (N, 3), counted from the table under cameras that see as `sight` says
        from heights (N,): right and down of the hand, as far from the camera as it, (N, 2, H, W) metres; and on the
        table right and away of where the hand's shadow falls, which goes `slant` (N, 2) for each metre up."""
        hand_m = (sight.to_camera @ (place_m - F.pad(eye_height_m[:, None], (2, 0)))[..., None])[..., None, 0]
        beside = self.rays[..., :2].movedim(-1, 0) * hand_m[:, 2:, None] - hand_m[:, :2, None]
        table_m = torch.einsum("nhwi,nij->njhw", sight.table_m, sight.to_camera)[:, :2]
        foot_m = along_table(place_m[:, None], slant)[:, 0]
        return beside, table_m - foot_m[:, :, None, None]

    def throw(self, shadow: CastShadow, ways_m: Tensor) -> Tensor:
        """Shares (B, T, 1, H, W) in [0, 1] of the shadow in each pixel when the hand has gone the ways (B, T, 3)."""
        return self.slide(shadow.share, along_table(ways_m, shadow.slant)).clamp(0, 1)  # edges overshoot in resampling

    def straight_ahead(self, rows: Tensor) -> None:
        """Nothing: the camera goes nowhere."""

    def slide(self, pictures: Tensor, ways_m: Tensor, sight: Sight | None = None) -> Tensor:
        """What lies on the table in (B, C, H, W) pictures and goes on it the ways (B, T, 2): (B, T, C, H, W)."""
        sight = sight or self._told
        steps_m = ways_m @ sight.to_camera[:, :, :2].mT
        return self._taken(pictures, self.project(sight.table_m[:, None] - steps_m[:, :, None, None]))

    def hand_pictures(self, pictures: Tensor, rows: Tensor, table: Tensor) -> Tensor | None:
        """What each hypothesis makes of (B, 3, H, W) pictures and the table without a hand, (B, T or 1, 3, H, W), where
        each of the rows (B, T, A) takes the hand: (B, T, K, 3, H, W), K being 1 or 3, or None."""
        if not self.num_hypotheses:
            return None
        along = self.go_along(pictures, rows[..., :3].float().cumsum(dim=1))[:, :, None]
        if self.num_hypotheses < HAND_HYPOTHESES:
            return along
        stays = [x.expand(-1, rows.shape[1], -1, -1, -1)[:, :, None] for x in (pictures[:, None], table)]
        return torch.cat([along, *stays], dim=2)

    def go_along(self, pictures: Tensor, ways_m: Tensor) -> Tensor:
        """(B, C, H, W) pictures that go as a whole the ways (B, T, 3) of the hand: (B, T, C, H, W)."""
        steps = ways_m @ self._told.to_camera.mT / self._depth_m
        right, down, ahead = steps[..., None, None, :].unbind(dim=-1)
        places = self._pixels * (1 + ahead[..., None]) - torch.stack([right, down], dim=-1) / self.limits
        return self._taken(pictures, places)

    def go_upright(self, pictures: Tensor, ways_m: Tensor, away_m: Tensor, to_camera: Tensor) -> Tensor:
        """The same of things that stand upright `away_m` (B,) from the camera, so that what is higher is nearer to a
        camera that looks down on them."""
        rays_away = torch.einsum("hwi,bi->bhw", self.rays, to_camera[:, :, 1]).clamp_min(1e-3)
        reach = (away_m[:, None] + ways_m[..., 1])[..., None, None] / rays_away[:, None]  # (B, T, H, W)
        steps_m = ways_m @ to_camera.mT
        return self._taken(pictures, self.project(self.rays * reach[..., None] - steps_m[:, :, None, None]))

    @staticmethod
    def _taken(pictures: Tensor, places: Tensor) -> Tensor:
        """Pictures (B, C, H, W) looked up at places (B, T, H, W, 2), (B, T, C, H, W)."""
        moved = resample(pictures.repeat_interleave(places.shape[1], dim=0), places.flatten(0, 1))
        return moved.unflatten(0, places.shape[:2])


# Of a snapshot; none of them is ever written to.
_LAYERS = "_table", "_known", "_hand", "_shadow", "_way_m", "_next_way_m"


class TablePicture(CarriedPicture):
    """A `CarriedPicture` of a still camera in layers: the table, and of the first picture the shadow and the hand."""

    def __init__(self, motion: StillCamera, paint: Callable[[Tensor], Tensor], leak: float,
                 loop_filter: LoopFilter | None = None, strength: float = 1.0) -> None:
        super().__init__(motion, paint, leak, loop_filter, strength)
        self._table: Tensor | None = None  # (B, 3, H, W), as it looks without the shadow
        self._known: Tensor | None = None  # where the table was ever seen, (B, 1, H, W) bool
        self._hand: Tensor | None = None  # (B, 4, H, W): the first picture, and the hand's share of each pixel
        self._shadow: CastShadow | None = None
        self._way_m: Tensor | None = None  # of the hand since then, (B, 3)
        self._next_way_m: Tensor | None = None  # with the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._table = self._known = self._hand = self._shadow = self._way_m = self._next_way_m = None

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
            self._shadow = self._motion.find_shadow(pictures)
            self._known = ~covered(share)
            bare = share < FAINT
            self._table = fill_in(pictures, bare) if self._shadow is None else lighten(pictures, bare, self._shadow)
        else:
            self._way_m = self._next_way_m
            hidden = covered(self._motion.go_along(self._hand[:, 3:], self._way_m[:, None])[:, 0])
            self._known = self._known | ~hidden
            if self._shadow is not None:
                # Taken out of a shadow that the network has half painted over, the table would get ever lighter.
                thrown = self._motion.throw(self._shadow, self._way_m[:, None])[:, 0]
                hidden = hidden | covered(thrown * self._shadow.table)
            self._table = torch.where(hidden, self._table, pictures)
        super().show(pictures)

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        ways_m = self._way_m[:, None] + rows[..., :3].float().cumsum(dim=1)
        self._next_way_m = ways_m[:, -1]
        hand, share = self._motion.go_along(self._hand, ways_m).split([3, 1], dim=2)
        share = share.clamp(0, 1)  # the resampling overshoots at edges
        table = self._table[:, None]
        if self._shadow is not None:
            table = darken(table, self._shadow, self._motion.throw(self._shadow, ways_m))
        moved = torch.lerp(table.expand_as(hand), hand, share.expand_as(hand))
        seen = (self._known[:, None] | (share > 0.5)).float()
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, self._motion.hand_pictures(self._picture, rows, table), anchors)


def along_table(ways_m: Tensor, slant: Tensor) -> Tensor:
    """Where shadows go on the table, (B, T, 2), when what throws them goes ways (B, T, 3).

    A point p throws its shadow at p + p_up slant, so all of a thing's shadow goes by one and the same way: the thing's
    own, and the slant (B, 2) for each metre up.
    """
    return ways_m[..., :2] + ways_m[..., 2:] * slant[:, None]


def darken(pictures: Tensor, shadow: CastShadow, thrown: Tensor) -> Tensor:
    """(B, T or 1, 3, H, W) pictures of the bare table with a shadow that is thrown on its plane as told, (B, T, 1, H,
    W). Light is what is multiplied, and black is -1."""
    return (pictures + 1) * (1 - thrown * shadow.table[:, None] * (1 - shadow.light[:, None, :, None, None])) - 1


def lighten(pictures: Tensor, bare: Tensor, shadow: CastShadow) -> Tensor:
    """The table of first pictures (B, 3, H, W) as it would be without their shadow, which was found in them.

    `bare` (B, 1, H, W) bool: where no hand is before it. A shadow found a pixel too wide leaves no bright line at its
    rim: nothing is lighter there than the table around.
    """
    dark = shadow.share * shadow.table
    lit = ((pictures + 1) / (1 - dark * (1 - shadow.light[:, :, None, None])) - 1).clamp(-1, 1)
    table, at_rim = fill_in(lit, bare), rim(dark)
    return torch.where(at_rim, torch.minimum(table, fill_in(lit, bare & ~at_rim)), table)


def rim(share: Tensor) -> Tensor:
    """Where a shadow, its share (B, 1, H, W) of each pixel given, begins or ends within EDGE_PX, as bool."""
    most, least = (sign * F.max_pool2d(sign * share, 2 * EDGE_PX + 1, stride=1, padding=EDGE_PX) for sign in (1, -1))
    return most - least > 0.5


def covered(share: Tensor) -> Tensor:
    """Where the hand, its share (B, 1, H, W) of each pixel given, hides the table or touches its pixels, as bool."""
    return F.max_pool2d(share, 2 * COVER_PX + 1, stride=1, padding=COVER_PX) > COVERED
