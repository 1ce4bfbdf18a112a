"""A hand among blocks on a table: where the blocks go and where its fingers stop, frame by frame.

What closes around a block takes it along; what is let go falls; a finger that comes against a block pushes it. These
are the few rules that the pictures of a tabletop (model/tabletop_picture.py) need so that a grasp holds; blocks neither
tip over nor touch each other. Sizes are those of the simulator (train/scenarios/arm_scene.py, the robot's own files).

Places are (right, away, up) in metres, from the point of the table under the camera; B hands, K blocks each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_HALF_M = 0.03
FINGER_HALF_M = (0.007, 0.0135)  # across and away
TIP_M, ROOT_M = -0.0185, 0.058  # of the fingers, over the point between them by which the hand's place is told
TOUCH_M = 0.002  # what is as near as this touches
SLACK_M = 0.004  # that a block may stand beyond a finger's face and still be taken in
HALF_SHUT_M = 0.042  # fingers that are less open than this, in a first picture, and have a block between them hold it
FALL_M = 9.81 / 16**2  # by how much further a block falls in each frame, at 16 a second
ROUGH_M = 0.07  # how far along the line of sight a hand may be from where it was found to be
AWAY_M = 1e3  # where blocks are that are not there


class Blocks(NamedTuple):
    """`places_m` (B, K, 3) of their middles; `held` (B, K) bool; `fall_m` (B, K): how far each fell in the last frame.
    """

    places_m: Tensor
    held: Tensor
    fall_m: Tensor


class Grip(NamedTuple):
    """`place_m` (B, 3): the point between the fingertips; `opening_m` (B,): of each finger from closed."""

    place_m: Tensor
    opening_m: Tensor


def laid_out(places_m: Tensor, grip: Grip) -> Blocks:
    """Blocks as a first picture shows them, (B, K, 3): the one between half shut fingers is held."""
    held = _between(places_m, grip) & (grip.opening_m < HALF_SHUT_M)[:, None]
    return Blocks(places_m, held, torch.zeros_like(places_m[..., 0]))


def step(blocks: Blocks, grip: Grip, way_m: Tensor, opening_m: Tensor) -> tuple[Blocks, Grip]:
    """A frame in which the hand goes `way_m` (B, 3) and its fingers would come to `opening_m` (B,)."""
    places_m = blocks.places_m + way_m[:, None] * blocks.held[..., None]
    hand_m = grip.place_m + way_m
    inside = _between(places_m, Grip(hand_m, grip.opening_m))
    # A block between the fingers stops them, and they draw it to their middle.
    stopped = (inside | blocks.held).any(dim=1)
    opening_m = torch.where(stopped, opening_m.clamp(min=BLOCK_HALF_M), opening_m)
    room_m = (opening_m - BLOCK_HALF_M).clamp(min=0)[:, None]
    held = (inside & (room_m <= TOUCH_M)) | (blocks.held & (room_m <= TOUCH_M))
    right_m = hand_m[:, None, 0] + (places_m[..., 0] - hand_m[:, None, 0]).clamp(-room_m, room_m)
    right_m = torch.where(inside | held, right_m, places_m[..., 0])
    fall_m = torch.where(held, torch.zeros_like(right_m), blocks.fall_m + FALL_M)
    up_m = torch.where(held, places_m[..., 2], places_m[..., 2] - fall_m)
    on_table = up_m <= BLOCK_HALF_M
    fall_m, up_m = torch.where(on_table, torch.zeros_like(fall_m), fall_m), up_m.clamp(min=BLOCK_HALF_M)
    places_m = torch.stack([right_m, places_m[..., 1], up_m], dim=-1)
    for side in (-1, 1):
        places_m = _pushed(places_m, held, hand_m, side * (opening_m + FINGER_HALF_M[0]))
    return Blocks(places_m, held, fall_m), Grip(hand_m, opening_m)


def seen_around(blocks: Blocks, grip: Grip, eye_height_m: Tensor) -> Grip:
    """The hand, slid along the line of sight to a block that its fingers are seen around.

    How far away a hand is can hardly be told from its picture; where its fingers close around what is seen between them
    they tell it. `eye_height_m` (B,): of the camera over the table.
    """
    to_eye_m = _to_eye(grip.place_m, eye_height_m)
    off_m = blocks.places_m - grip.place_m[:, None]
    slide_m = to_eye_m[:, None] * (off_m[..., 1:2] / to_eye_m[:, None, 1:2])  # (B, K, 3), until it is as far away
    slid_m = grip.place_m[:, None] + slide_m
    if not off_m.shape[1]:
        return grip
    around = torch.stack([_between(blocks.places_m, Grip(place_m, grip.opening_m))[:, index]
                          for index, place_m in enumerate(slid_m.unbind(dim=1))], dim=1)
    way_m = slide_m.norm(dim=-1).masked_fill(~around, torch.inf)
    least_m, index = way_m.min(dim=1)
    chosen_m = slid_m.gather(1, index[:, None, None].expand(-1, 1, 3))[:, 0]
    return grip._replace(place_m=torch.where((least_m <= ROUGH_M)[:, None], chosen_m, grip.place_m))


def above_table(blocks: Blocks, grip: Grip, eye_height_m: Tensor) -> tuple[Blocks, Grip]:
    """The hand, and what it holds, slid along the line of sight until its fingertips are not in the table."""
    to_eye_m = _to_eye(grip.place_m, eye_height_m)
    lack_m = (-TIP_M - grip.place_m[:, 2]).clamp(min=0)
    slide_m = to_eye_m * (lack_m / to_eye_m[:, 2])[:, None]
    places_m = blocks.places_m + slide_m[:, None] * blocks.held[..., None]
    return blocks._replace(places_m=places_m), grip._replace(place_m=grip.place_m + slide_m)


def _to_eye(place_m: Tensor, eye_height_m: Tensor) -> Tensor:
    """From a place (B, 3) to the camera."""
    return torch.nn.functional.pad(eye_height_m[:, None], (2, 0)) - place_m


def _between(places_m: Tensor, grip: Grip) -> Tensor:
    """Which blocks (B, K, 3) the fingers have between them, (B, K) bool."""
    right_m, away_m, _ = (places_m - grip.place_m[:, None]).unbind(dim=-1)
    return ((right_m.abs() + BLOCK_HALF_M <= grip.opening_m[:, None] + SLACK_M)
            & (away_m.abs() <= BLOCK_HALF_M) & _as_high(places_m, grip.place_m))


def _as_high(places_m: Tensor, hand_m: Tensor) -> Tensor:
    """Which blocks (B, K, 3) the fingers of a hand at (B, 3) are beside, and not over or under, (B, K) bool."""
    up_m = places_m[..., 2] - hand_m[:, None, 2]
    return (up_m + BLOCK_HALF_M > TIP_M + TOUCH_M) & (up_m - BLOCK_HALF_M < ROOT_M)


def _pushed(places_m: Tensor, held: Tensor, hand_m: Tensor, aside_m: Tensor) -> Tensor:
    """Blocks (B, K, 3) after a finger, `aside_m` (B,) to the right of the hand, has pushed them out of its place: the
    shorter of the two ways."""
    finger_m = torch.stack([hand_m[:, 0] + aside_m, hand_m[:, 1]], dim=-1)
    off_m = places_m[..., :2] - finger_m[:, None]
    reach_m = torch.tensor(FINGER_HALF_M, device=off_m.device, dtype=off_m.dtype) + BLOCK_HALF_M
    inside_m = reach_m - off_m.abs()
    met = (inside_m > 0).all(dim=-1) & _as_high(places_m, hand_m) & ~held
    shorter = inside_m <= inside_m.flip(-1)
    out_m = torch.where(off_m < 0, -inside_m, inside_m) * shorter * met[..., None]
    return torch.cat([places_m[..., :2] + out_m, places_m[..., 2:]], dim=-1)
