"""Seed -> ArmScene: what one `arm` world looks like and where its things lie, as plain numbers (no rendering here).

All places are in the player's axes: x right on the screen, y away from the camera, z up, in metres, counted from the
middle of the workspace on the table top. The camera stands on the y axis, so these axes are those of the picture. The
hand is the point between the fingertips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LOWEST_M = 0.0175  # of the hand over the table: the fingertips, 18.5 mm below it, just press on the table
HIGHEST_M = 0.21  # so that the fingers stay in the picture
WORKSPACE_M = (-0.17, -0.12, LOWEST_M), (0.17, 0.12, HIGHEST_M)  # corners of the box that the hand stays in
BLOCK_HALF_M = 0.03
PLATE_RADIUS_M = 0.06
BLOCK_REACH_M = (0.13, 0.085)  # blocks start where the open fingers get around them
VERTICAL_FOV_DEG = 30.0  # a long lens: near and far blocks look about equally large
AIM_UP_M = 0.095  # the camera looks at a point this far over the table


@dataclass(frozen=True)
class Room:
    """The colours of one room at one hour; every colour is '#rrggbb'.

    `light_from` is the way to the lamp; the flatter it is, the longer are the shadows.
    """

    name: str
    wall: str
    panel: str
    trim: str
    floor: str
    table: str
    mats: tuple[str, ...]
    accents: tuple[str, ...]
    light: str
    light_strength: float
    ambient: str
    light_from: tuple[float, float, float]


ROOMS = (
    Room("white morning", "#dceaf2", "#f6f2e9", "#ffffff", "#c9b79c", "#e9c58f", ("#f7efe0", "#8fb8a8"),
         ("#5b9aa0", "#e98f6f", "#f2c14e"), "#fff3dc", 0.53, "#6a6d76", (-0.40, -0.30, 1.0)),
    Room("mint noon", "#a8dcc8", "#e8f6ee", "#ffffff", "#8fb4a4", "#ebe4d6", ("#9ed0bd", "#f6cf8a"),
         ("#f2785c", "#3e8e7e", "#f4b942"), "#fffdf2", 0.51, "#707673", (0.12, -0.22, 1.0)),
    Room("coral nursery", "#f6c9b4", "#fde9dc", "#fff7ee", "#d99f86", "#f3dcc0", ("#8ec9c4", "#fbf3e6"),
         ("#5d9ec9", "#e8606a", "#ffd166"), "#fff0e0", 0.51, "#756d6d", (0.30, -0.30, 1.0)),
    Room("blue workshop", "#4e7fa8", "#2f5879", "#e9eef2", "#31475a", "#c9d3da", ("#e7ecef", "#f0b64a"),
         ("#f39c3d", "#e3e8ec", "#d9534f"), "#f4f8ff", 0.51, "#636a79", (-0.22, -0.25, 1.0)),
    Room("golden hour", "#e9a765", "#b9693f", "#ffe3b0", "#7c4a34", "#d8a26a", ("#f4d9a4", "#7d8f5a"),
         ("#5f7c58", "#c9483a", "#ffe3b0"), "#ffce8a", 0.61, "#715c51", (-0.62, -0.28, 1.0)),
    Room("lavender dusk", "#8f86bd", "#6a6199", "#d9c7ea", "#4a4472", "#b9a6cf", ("#efe2f4", "#5f8fa8"),
         ("#f2a3b3", "#ffd38a", "#73b3b8"), "#ffc9c0", 0.49, "#6e6a8d", (0.60, -0.25, 1.0)),
    Room("night lamp", "#2c3357", "#222845", "#59639a", "#1b2038", "#8a7266", ("#3f5a78", "#c9a06a"),
         ("#f0b45a", "#6fa3c8", "#d9707e"), "#ffd9a0", 0.63, "#4d5271", (0.35, -0.15, 1.0)),
    Room("forest cabin", "#7fa06a", "#a87a4f", "#e8d3a8", "#5c4a38", "#b98552", ("#dfe6c4", "#e9d8b0"),
         ("#d9643a", "#f0d070", "#3f6b4a"), "#fff2cf", 0.55, "#64675d", (-0.34, -0.32, 1.0)),
    Room("grey loft", "#c3c8cc", "#9aa3a9", "#eef1f2", "#6d7377", "#4c555c", ("#d8dde0", "#e2b04a"),
         ("#e2b04a", "#d4594e", "#4f9a94"), "#ffffff", 0.51, "#717579", (0.20, -0.35, 1.0)),
)

# hand, wrist, arm, fingers
ROBOTS = (
    ("#f2f4f5", "#2f7fc1", "#d5dade", "#3a3f47"),
    ("#f6c445", "#3b3f46", "#e8b437", "#2f3238"),
    ("#f7f3ea", "#ee7b3c", "#f7f3ea", "#4a4f57"),
    ("#e95f55", "#f3ede2", "#d4534a", "#41464e"),
    ("#7fd1bf", "#f5f6f2", "#69bfac", "#38454a"),
    ("#5f6b7a", "#f2b53f", "#4f5a68", "#e9ecef"),
    ("#b9a2e3", "#f5efff", "#a48cd4", "#4a4263"),
)

BLOCK_COLOURS = ("#e23b3b", "#2f6fe0", "#27a558", "#f5c518", "#f07f1e", "#8a4fd0", "#18b5c4", "#ee5fa5", "#f4f4f0",
                 "#2b2f3a")
LEAST_CONTRAST = 0.42  # between the RGB colours of a block and what it lies on; black and white are sqrt(3) apart


@dataclass(frozen=True)
class Block:
    """A cube that can be grasped; `turn_rad` is small enough for the fingers to close on two faces."""

    x: float
    y: float
    turn_rad: float
    colour: str


@dataclass(frozen=True)
class Ornament:
    """A standing thing at the far side of the table; `kind` is plant, books, mug, ball or lamp."""

    kind: str
    x: float
    y: float
    colours: tuple[str, str]
    turn_rad: float


@dataclass(frozen=True)
class Poster:
    """A flat shape on the wall: its middle (right, up from the table top), half sizes and colour; 0 wide is a disc."""

    x: float
    z: float
    half_width_m: float
    half_height_m: float
    colour: str


@dataclass(frozen=True)
class ArmScene:
    """One world. `azimuth_deg` turns the camera about the table, 180 is right opposite the robot.

    `blocks[0]` is the one that the pose tells of. `mat` is (half width, half depth, colour) or None, half depth 0 for
    a round one; `plate` is (x, y, colour) or None.
    """

    room: Room
    robot: tuple[str, str, str, str]
    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    round_table: bool
    mat: tuple[float, float, str] | None
    plate: tuple[float, float, str] | None
    blocks: tuple[Block, ...]
    ornaments: tuple[Ornament, ...]
    posters: tuple[Poster, ...]
    start: tuple[float, float, float]  # of the gripper


def make_scene(seed: int) -> ArmScene:
    """Return the world of `seed`."""
    rng = np.random.default_rng([seed, 7])
    room = ROOMS[int(rng.integers(len(ROOMS)))]
    robot = ROBOTS[int(rng.integers(len(ROBOTS)))]
    camera = rng.uniform(-20, 20) + 180, rng.uniform(33, 40), rng.uniform(0.98, 1.06)
    mat = _mat(rng, room)
    ground = room.table if mat is None else mat[2]
    spots = _spots(rng, count=4)
    colours = _colours(rng, (room.table, ground), count=4)
    num_blocks = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    blocks = tuple(Block(x, y, rng.uniform(-0.3, 0.3), colour)
                   for (x, y), colour in zip(spots[:num_blocks], colours[:num_blocks], strict=True))
    plate = (*spots[3], colours[3]) if rng.random() < 0.45 else None
    start = rng.uniform(-0.12, 0.12), rng.uniform(-0.09, 0.09), rng.uniform(0.09, 0.17)
    return ArmScene(room, robot, *camera, bool(rng.random() < 0.4), mat, plate, blocks, _ornaments(rng, room),
                    _posters(rng, room), start)


def contrast(one: str, other: str) -> float:
    """Return the distance of two '#rrggbb' colours, each channel in [0, 1]."""
    return math.dist(*([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)] for colour in (one, other)))


def _mat(rng: np.random.Generator, room: Room) -> tuple[float, float, str] | None:
    kind, colour = rng.random(), str(rng.choice(room.mats))
    if kind < 0.35:
        return None
    return (0.24, 0.0, colour) if kind < 0.6 else (rng.uniform(0.25, 0.3), rng.uniform(0.17, 0.2), colour)


def _spots(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Return places for blocks and a plate, far enough from each other for the hand to come between."""
    gap_m = 0.115
    while True:
        spots: list[tuple[float, float]] = []
        for _ in range(60):
            x, y = (float(rng.uniform(-reach, reach)) for reach in BLOCK_REACH_M)
            if all(math.hypot(x - a, y - b) >= gap_m for a, b in spots):
                spots.append((x, y))
            if len(spots) == count:
                return spots


def _colours(rng: np.random.Generator, grounds: tuple[str, ...], count: int) -> list[str]:
    """Return different colours that stand out from what they lie on."""
    usable = [colour for colour in BLOCK_COLOURS if all(contrast(colour, ground) >= LEAST_CONTRAST
                                                         for ground in grounds)]
    return [str(colour) for colour in rng.permutation(usable)[:count]]


def _ornaments(rng: np.random.Generator, room: Room) -> tuple[Ornament, ...]:
    found = []
    for side in (-1, 1):
        if rng.random() < 0.7:
            colours = rng.permutation(room.accents)
            found.append(Ornament(str(rng.choice(["plant", "books", "mug", "ball", "lamp"])),
                                  side * rng.uniform(0.30, 0.34), rng.uniform(0.17, 0.21),
                                  (str(colours[0]), str(colours[1])), rng.uniform(-0.5, 0.5)))
    return tuple(found)


def _posters(rng: np.random.Generator, room: Room) -> tuple[Poster, ...]:
    found = []
    for place in (-0.42, -0.1, 0.22, 0.54):
        if rng.random() < 0.5:
            colour = str(rng.choice((*room.accents, room.trim)))
            x, z = place + rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.12)
            wide = 0.0 if rng.random() < 0.3 else rng.uniform(0.05, 0.11)
            found.append(Poster(x, z, wide, rng.uniform(0.06, 0.1), colour))
    return tuple(found)
