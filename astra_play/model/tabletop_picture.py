"""The picture of a hand among blocks: a table that stays as it was seen, and on it what moves, each a layer of its own.

`TablePicture` (still_camera.py) knows a hand and its shadow, and leaves blocks to the network, which smears them. Where
the codec also finds fingers, blocks and the camera's place (codec/tabletop.py) and knows what a table looks like behind
them (codec/bare_table.py), the given picture is cut into all of these, rules say where each of them goes
(table_blocks.py), and the network is offered no hypotheses any more: the layers are the anchor, and it corrects that.
Nothing of what it paints is carried on, so that the table is the same after minutes.

What the layers fail to explain of the given picture goes with the nearest of them or fades as the hand moves: before
anything moves, they make that picture again. How they are drawn is told in tabletop_drawing.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.bare_table import FAINT, hardened, hidden_and_dark
from ..codec.loop_filter import LoopFilter
from ..codec.tabletop import Tabletop, centres
from . import table_blocks
from .carried_picture import CarriedPicture
from .still_camera import Sight, StillCamera, covered, darken
from .table_blocks import AWAY_M, BLOCK_HALF_M, Grip
from .tabletop_drawing import Layers, Moving, completed, draw, repeated, told

CLOSE_COLUMN = 6  # of an arm's row: where the fingers are sent, 0 open to 1 closed
MAX_BLOCKS = 3
MIDDLE_SHARE = 0.3  # of a block's middle, from which on it is taken for one
MIDDLE_PX = 3  # about a block's middle, where no other is looked for
SAME, OTHER = 0.03, 0.08  # differences of colours up to which a pixel is the table's, and from which on it is not
LEAST_PX = 20  # of a shadow, of which its light can be measured
DARKEST = 0.15  # that a shadow is taken to be
LEVEL = 1e-3  # how little a ray must go down with each metre ahead to meet the table


class TabletopPicture(CarriedPicture):
    """A `CarriedPicture` in layers of hand, fingers, blocks, shadows and table."""

    def __init__(self, motion: StillCamera, paint: Callable[[Tensor], Tensor], leak: float,
                 loop_filter: LoopFilter | None = None, strength: float = 1.0) -> None:
        super().__init__(motion, paint, leak, loop_filter, strength)
        self._layers: Layers | None = None
        self._cut_from: Tensor | None = None
        self._now: Moving | None = None
        self._next: Moving | None = None  # after the chunk last expected

    def reset(self) -> None:
        super().reset()
        self._layers = self._cut_from = self._now = self._next = None

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "layers": self._layers, "now": self._now}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._layers, self._now, self._next, self._cut_from = snapshot["layers"], snapshot["now"], None, None

    def show(self, pictures: Tensor) -> None:
        """Carry given pictures on from here, (B, 3, H, W) in [-1, 1], cut into layers anew."""
        # A session begins with one and the same picture several times over; cutting costs as much as some frames.
        if self._cut_from is None or not torch.equal(pictures, self._cut_from):
            self._layers, self._cut_from = cut(self._motion, pictures), pictures
        self._now, self._next = self._layers.start, None
        super().show(pictures)

    def carry_on(self, pictures: Tensor) -> None:
        self._now = self._next
        super().show(pictures)

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors of the chunk that rows (B, T, A) lead into."""
        moments, self._next = [], self._now
        for row in rows.float().unbind(dim=1):
            self._next = follow(self._motion, self._next, row, self._layers.eye_height_m)
            moments.append(self._next)
        moved = completed(self._motion, self._layers, moments)
        seen = torch.ones_like(moved[:, :, :1])  # there is no place of which the layers say nothing
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, None, anchors)


def follow(motion: StillCamera, now: Moving, row: Tensor, eye_height_m: Tensor) -> Moving:
    """Where things are after a frame that a row (B, A) commands, seen from `eye_height_m` (B,)."""
    goal_m = motion.stroke_m * (1 - row[:, CLOSE_COLUMN].clamp(0, 1))
    step_m = (goal_m - now.grip.opening_m).clamp(-motion.finger_step_m, motion.finger_step_m)
    closes = ((step_m < 0) & ~now.blocks.held.any(dim=1))[:, None]
    around = table_blocks.seen_around(now.blocks, now.grip, eye_height_m)
    before = now.grip._replace(place_m=torch.where(closes, around.place_m, now.grip.place_m))
    blocks, grip = table_blocks.step(now.blocks, before, row[:, :3], now.grip.opening_m + step_m)
    blocks, grip = table_blocks.above_table(blocks, grip, eye_height_m)
    return Moving(now.way_m + row[:, :3], grip, blocks)


@torch.no_grad()
def cut(motion: StillCamera, pictures: Tensor) -> Layers:
    """Take pictures (B, 3, H, W) apart."""
    tabletop, sight = motion.find_tabletop(pictures)
    shadow, robot = motion.find_shadow(pictures), motion.find_hand(pictures)
    hidden, dark = hidden_and_dark(robot, tabletop, shadow)
    table, differs = motion.restore_table(pictures, hidden, dark)
    middles = block_middles(tabletop.middles)
    owners = nearest(middles, pictures)
    start = where_things_are(motion, tabletop, sight, middles)

    found_blocks = hardened(tabletop.blocks)
    fingers = distinct(hardened(tabletop.fingers), pictures, table)
    hand = torch.maximum(distinct(robot, pictures, table), fingers.amax(dim=1, keepdim=True))
    palm = (hand - fingers.sum(dim=1, keepdim=True)).clamp_min(0)
    blocks = distinct(found_blocks * (1 - hand), pictures, table) * owners  # (B, K, H, W)
    light = light_left(pictures, table, (dark > 0.9) & (shadow.table > 0.5) & (hidden < FAINT), shadow.light)
    # Blocks stand on the table, though they hide it.
    shadow = shadow._replace(table=torch.maximum(shadow.table, found_blocks), light=light)
    shares = torch.cat([shadow.share, tabletop.shadows * owners], dim=1)[:, :, None]

    def layers_of(shares: Tensor) -> Tensor:
        return torch.cat([pictures[:, None] * shares[:, :, None], shares[:, :, None]], dim=2)

    nothing = torch.zeros_like(shares).expand(-1, -1, 3, -1, -1)
    layers = Layers(table, torch.zeros_like(table), layers_of(palm)[:, 0], layers_of(fingers), layers_of(blocks),
                    shadow, torch.cat([nothing, shares], dim=2), sight, repeated(sight, 1 + middles.shape[1]),
                    tabletop.eye_height_m, start)
    layers = explain(motion, layers, pictures, differs)
    return layers if motion.completer is None else layers._replace(style=motion.completer.style(
        told(motion, layers, [start], draw(motion, layers, [start]))))


def distinct(share: Tensor, pictures: Tensor, table: Tensor) -> Tensor:
    """Shares (B, K, H, W) of things less those at their rims that look as the table behind does, and belong to it."""
    differ = (((pictures - table).abs().amax(dim=1, keepdim=True) - SAME) / (OTHER - SAME)).clamp(0, 1)
    inside = -F.max_pool2d(-share, 3, stride=1, padding=1)
    return torch.maximum(inside, share * differ)


def light_left(pictures: Tensor, table: Tensor, where: Tensor, guess: Tensor) -> Tensor:
    """What a shadow leaves of each colour, (B, 3): of `pictures` beside the `table` without it (B, 3, H, W), `where`
    (B, 1, H, W) bool it falls on that and is seen; `guess` (B, 3): for shadows of which too little is seen."""
    shaded, lit = ((x + 1).mul(where).sum(dim=(2, 3)) for x in (pictures, table))
    seen = where.sum(dim=(2, 3)) >= LEAST_PX
    return torch.where(seen, (shaded / lit.clamp_min(1e-6)).clamp(DARKEST, 1), guess)


def explain(motion: StillCamera, layers: Layers, pictures: Tensor, differs: Tensor) -> Layers:
    """Add what the layers fail to explain of the pictures that they were cut from to the nearest of them: fingers
    before hand before blocks before shadows. What is left is the table's, but where that `differs` (B, 1, H, W) bool
    from the pictures."""
    rest = pictures - draw(motion, layers, [layers.start]).pictures[:, 0]

    def take(layer: Tensor, of: Callable[[Tensor], Tensor] = lambda rest: rest) -> Tensor:
        """The layer (B, 4, H, W), and with it so much `of` what is left to explain near it."""
        nonlocal rest
        own = of(rest) * covered(layer[:, 3:])
        rest = rest - own
        return layer + F.pad(own, (0, 0, 0, 0, 0, 1))

    def colourless(rest: Tensor) -> Tensor:
        """All of a shadow that goes along with it, and on the table alone; a colour beside that is what lies there."""
        return rest.mean(dim=1, keepdim=True) * layers.shadow.table.expand_as(rest)

    fingers = [take(layer) for layer in layers.fingers.unbind(dim=1)]
    hand = take(layers.hand)
    blocks = [take(layer) for layer in layers.blocks.unbind(dim=1)]
    shadows = [take(layer, colourless) for layer in layers.shadows.unbind(dim=1)]
    # The table is darkened after that; from -1 up, so that 0 becomes what is left of light.
    thrown = layers.shadows[:, :, 3:].amax(dim=1, keepdim=True)
    rest = rest / (darken(torch.zeros_like(rest)[:, None], layers.shadow, thrown)[:, 0] + 1).clamp_min(DARKEST)
    return layers._replace(table=layers.table + rest * ~differs, rest=rest * differs, hand=hand,
                           fingers=torch.stack(fingers, dim=1), shadows=torch.stack(shadows, dim=1),
                           blocks=torch.stack(blocks, dim=1) if blocks else layers.blocks)


def block_middles(marks: Tensor) -> Tensor:
    """Marks (B, 1, H, W) -> places (B, K, 2) of their peaks in the picture, x and y in [-1, 1], up to MAX_BLOCKS, the
    clearest first; NaN where a picture has fewer than others of its batch."""
    height, width = marks.shape[2:]
    peaks = marks * (marks == F.max_pool2d(marks, 2 * MIDDLE_PX + 1, stride=1, padding=MIDDLE_PX))
    share, index = peaks.flatten(1).topk(MAX_BLOCKS, dim=1)
    found = share > MIDDLE_SHARE
    x, y = centres(width, marks)[index % width], centres(height, marks)[index // width]
    places = torch.stack([x, y], dim=-1).masked_fill(~found[..., None], torch.nan)
    return places[:, :int(found.sum(dim=1).max())]


def nearest(middles: Tensor, pictures: Tensor) -> Tensor:
    """Which of the middles (B, K, 2) each pixel is nearest to, (B, K, H, W) in {0, 1}."""
    height, width = pictures.shape[2:]
    if not middles.shape[1]:
        return pictures.new_zeros(len(pictures), 0, height, width)
    y, x = torch.meshgrid(centres(height, pictures), centres(width, pictures), indexing="ij")
    off = torch.stack([x * width / height, y], dim=-1) - (middles * middles.new_tensor([width / height, 1]))[
        :, :, None, None]
    far = off.square().sum(dim=-1).nan_to_num(nan=torch.inf)
    owner = far.argmin(dim=1, keepdim=True)
    each = torch.arange(middles.shape[1], device=owner.device)[:, None, None]
    return (each == owner).to(pictures.dtype) * far.isfinite()


def where_things_are(motion: StillCamera, tabletop: Tabletop, sight: Sight, middles: Tensor) -> Moving:
    """Hand and blocks in metres, from the point of the table under the camera."""
    eye_m = F.pad(tabletop.eye_height_m[:, None], (2, 0))

    def ways(places: Tensor) -> Tensor:
        """Where places (B, K, 2) of the picture lie, (B, K, 3) for each metre ahead of the camera."""
        rays = F.pad(places * motion.limits, (0, 1), value=1.0)
        return rays @ sight.to_camera

    hand_m = eye_m + (ways(tabletop.points[:, :1]) * tabletop.depth_m[:, None, None])[:, 0]
    grip = Grip(hand_m, tabletop.opening_m.clamp(0, motion.stroke_m))
    rays = ways(middles)
    on_table_m = eye_m[:, None] + rays * ((BLOCK_HALF_M - eye_m[:, None, 2:]) / rays[..., 2:].clamp(max=-LEVEL))
    beside_hand_m = eye_m[:, None] + rays * tabletop.depth_m[:, None, None]
    lifted = beside_hand_m[..., 2] > 2 * BLOCK_HALF_M
    in_hand = table_blocks.laid_out(beside_hand_m, grip).held & lifted
    places_m = torch.where(in_hand[..., None], beside_hand_m, on_table_m).nan_to_num(nan=AWAY_M)
    blocks, grip = table_blocks.above_table(table_blocks.laid_out(places_m, grip), grip, tabletop.eye_height_m)
    return Moving(torch.zeros_like(hand_m), grip, blocks)
