"""Layers of a tabletop -> its picture at any moment: where each of them is by then, and, last, the arm completed.

They are cut in model/tabletop_picture.py, which also says how things move. Layers are premultiplied (Porter and Duff,
"Compositing digital images", 1984).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.arm_completer import Drawn, Style
from ..codec.shadow import CastShadow
from .still_camera import Sight, StillCamera, along_table, darken
from .table_blocks import Blocks, Grip

FADE_M = 0.02  # of the hand's way, in which what no layer explains fades to a third, and a completed arm comes in
IN_FRONT_M = 0.01  # nearer than the hand by this much, a block is before it


class Moving(NamedTuple):
    """Where things are at one frame: `way_m` (B, 3) of the hand since the picture was cut, and what it does."""

    way_m: Tensor
    grip: Grip
    blocks: Blocks


class Layers(NamedTuple):
    """What a picture was cut into. Layers are (B, 4, H, W): colours times share, and share.

    `table` (B, 3, H, W): without shadows; `rest` (B, 3, H, W): what is added to it until the hand moves, being no
    layer's; `hand`: without fingers; `fingers` (B, 2, 4, H, W); `blocks` (B, K, 4, H, W); `shadow`: how shadows fall;
    `shadows` (B, 1 + K, 4, H, W): the hand's and the blocks'; their colours are not painted but added. `sight`: of B
    pictures; `shadow_sight`: of their B (1 + K) shadows; `eye_height_m` (B,): of the camera over the table; `start`:
    where things were; `style`: how the arm looks, None where nobody knows it but the hand.
    """

    table: Tensor
    rest: Tensor
    hand: Tensor
    fingers: Tensor
    blocks: Tensor
    shadow: CastShadow
    shadows: Tensor
    sight: Sight
    shadow_sight: Sight
    eye_height_m: Tensor
    start: Moving
    style: Style | None = None


class Sheet(NamedTuple):
    """Layers drawn at T moments: `pictures` (B, T, 3, H, W), and in them the shares (B, T, 1, H, W) in [0, 1] of the
    `hand` with its fingers and of all the shadows `thrown`."""

    pictures: Tensor
    hand: Tensor
    thrown: Tensor


def draw(motion: StillCamera, layers: Layers, moments: list[Moving]) -> Sheet:
    """Draw the layers at T moments."""
    start = layers.start
    ways_m = ways_of(moments)
    places_m = torch.stack([moment.blocks.places_m for moment in moments], dim=2)  # (B, K, T, 3)
    block_ways_m = places_m - start.blocks.places_m[:, :, None]
    slants = layers.shadow.slant.repeat_interleave(layers.shadows.shape[1], dim=0)
    on_table_m = along_table(torch.cat([ways_m[:, None], block_ways_m], dim=1).flatten(0, 1), slants)
    slid = motion.slide(layers.shadows.flatten(0, 1), on_table_m, layers.shadow_sight)
    added, thrown = slid.unflatten(0, layers.shadows.shape[:2]).split([3, 1], dim=3)
    table = layers.table[:, None] + layers.rest[:, None] * kept(ways_m)
    thrown = thrown.amax(dim=1).clamp(0, 1)
    pictures = darken(table, layers.shadow, thrown) + added.sum(dim=1)

    def over(layer: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        nonlocal pictures
        own = weight * layer[:, :, 3:].clamp(0, 1)  # the resampling overshoots at edges
        pictures = pictures * (1 - own) + weight * layer[:, :, :3]
        return own

    blocks, in_front = _moved_blocks(motion, layers, moments, block_ways_m)
    for block, front in zip(blocks, in_front, strict=True):
        over(block, 1 - front)
    hand_away_m = start.grip.place_m[:, 1]
    closed_m = torch.stack([start.grip.opening_m - moment.grip.opening_m for moment in moments], dim=1)
    shares = []
    for finger, to_right in zip(layers.fingers.unbind(dim=1), (1, -1), strict=True):
        finger_ways_m = ways_m + F.pad(to_right * closed_m[..., None], (0, 2))
        shares.append(over(motion.go_upright(finger, finger_ways_m, hand_away_m, layers.sight.to_camera)))
    shares.append(over(motion.go_upright(layers.hand, ways_m, hand_away_m, layers.sight.to_camera)))
    for block, front in zip(blocks, in_front, strict=True):
        over(block, front)
    return Sheet(pictures, torch.stack(shares).amax(dim=0), thrown)


def told(motion: StillCamera, layers: Layers, moments: list[Moving], sheet: Sheet) -> Drawn:
    """What an `ArmCompleter` is shown of a sheet, all moments in one batch (B T, ...)."""
    count = len(moments)
    table = layers.table.repeat_interleave(count, dim=0)
    shaded = darken(layers.table[:, None], layers.shadow, torch.ones_like(sheet.thrown[:, :1]))[:, 0]
    place_m = (layers.start.grip.place_m[:, None] + ways_of(moments)).flatten(0, 1)
    slant = layers.shadow.slant.repeat_interleave(count, dim=0)
    around = motion.around(repeated(layers.sight, count), layers.eye_height_m.repeat_interleave(count), place_m, slant)
    return Drawn(sheet.pictures.flatten(0, 1), table, shaded.repeat_interleave(count, dim=0), sheet.hand.flatten(0, 1),
                 sheet.thrown.flatten(0, 1), *around, torch.cat([place_m, slant], dim=-1))


def completed(motion: StillCamera, layers: Layers, moments: list[Moving]) -> Tensor:
    """Pictures (B, T, 3, H, W) of the layers at T moments, with the arm and its shadow as they are by then."""
    sheet = draw(motion, layers, moments)
    if layers.style is None:
        return sheet.pictures
    style = Style(*(part.repeat_interleave(len(moments), dim=0) for part in layers.style))
    arm = motion.completer(told(motion, layers, moments, sheet), style).unflatten(0, sheet.pictures.shape[:2])
    return torch.lerp(arm, sheet.pictures, kept(ways_of(moments)))


def ways_of(moments: list[Moving]) -> Tensor:
    """The hand's ways at T moments, (B, T, 3)."""
    return torch.stack([moment.way_m for moment in moments], dim=1)


def kept(ways_m: Tensor) -> Tensor:
    """Shares (B, T, 1, 1, 1) of the given picture that are left when the hand has gone ways (B, T, 3)."""
    return torch.exp(-ways_m.square().sum(dim=-1) / FADE_M**2)[..., None, None, None]


def _moved_blocks(motion: StillCamera, layers: Layers, moments: list[Moving],
                  ways_m: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The blocks' layers (B, T, 4, H, W) by now, the furthest first, and which are before the hand, (B, T, 1, 1, 1)."""
    count = layers.blocks.shape[1]
    if not count:
        return [], []
    moved = motion.go_upright(layers.blocks.flatten(0, 1), ways_m.flatten(0, 1),
                              layers.start.blocks.places_m[..., 1].flatten(),
                              layers.sight.to_camera.repeat_interleave(count, dim=0))
    moved = moved.unflatten(0, (-1, count))  # (B, K, T, 4, H, W)
    away_m = torch.stack([moment.blocks.places_m[..., 1] for moment in moments], dim=2)
    hand_m = torch.stack([moment.grip.place_m[:, None, 1] for moment in moments], dim=2)
    held = torch.stack([moment.blocks.held for moment in moments], dim=2)
    in_front = ((away_m < hand_m - IN_FRONT_M) & ~held).to(moved.dtype)
    order = away_m.argsort(dim=1, descending=True)
    moved = moved.gather(1, order[..., None, None, None].expand_as(moved))
    return list(moved.unbind(dim=1)), list(in_front.gather(1, order)[..., None, None, None].unbind(dim=1))


def repeated(sight: Sight, count: int) -> Sight:
    """The same, `count` times for each picture of a batch."""
    return Sight(*(field.repeat_interleave(count, dim=0) for field in sight))
