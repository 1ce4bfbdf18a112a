"""Map tables + seed -> where to start, and the tables of a gentler copy of the map: between the WAD and the engine.

The copy is lit so that all of it can be seen and holds nothing that ends or cuts a walk: no exits, no teleporters, no
locks, no harm, no remains of fights. What is walked over or pushed still works: doors, lifts, stairs that rise.
Lengths are map units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from astra_play.train.scenarios.doom_wad import NO_SIDE, MapTables

EYE_HEIGHT_UNITS = 41  # of the engine's player
BODY_HEIGHT_UNITS = 56
BODY_RADIUS_UNITS = 26  # 0.85 m, where the game has 16: doors are 64 wide, and a nose on a wall sees nothing
STEP_UP_UNITS = 24  # higher is a wall for the feet
TICS_PER_S = 35

PLAYER_START = 1
_OTHER_STARTS = (2, 3, 4, 11)  # of players who are not here
# remains of fights that are not shown
_GORE = (10, 12, 15, *range(18, 30), *range(49, 54), *range(59, 64), *range(73, 82))
_IMPASSABLE = 1  # bit of a linedef's flags

DARKEST_LIGHT = 176  # of 255; the engine fades with distance on top, and below this far walls are black
_EXITS = (11, 51, 52, 124)
_TELEPORTERS = (39, 97, 125, 126)  # the view would jump with no action that says so
_LIGHT_SWITCHES = (12, 13, 17, 35, 104, 138, 139)
# door with a lock -> the same door without
_UNLOCKED = {26: 1, 27: 1, 28: 1, 32: 31, 33: 31, 34: 31, 99: 115, 133: 112, 134: 115, 135: 112, 136: 115, 137: 112}

NUM_RAYS = 24
MIN_AHEAD_UNITS = 96  # about 3 m: the first picture is a place, not a wall
MIN_MEDIAN_UNITS = 160  # half of the directions reach this far; less is a cupboard
_RAY_YAWS_RAD = np.arange(NUM_RAYS) * 2 * math.pi / NUM_RAYS
_PLACES_COMPARED = 6
_CROWDED_UNITS = 48  # things nearer to the start than this are taken away, so that nobody starts inside one


@dataclass(frozen=True)
class Start:
    """Where a walk begins: map units, and radians to the left of east."""

    x: float
    y: float
    yaw_rad: float


class Walls:
    """The lines of a map as a walker meets them, for rays in the plan view."""

    def __init__(self, tables: MapTables) -> None:
        lines, sectors = tables.linedefs, tables.sectors
        corners = np.stack([tables.vertexes["x"], tables.vertexes["y"]], axis=1).astype(float)
        self._from, self._along = corners[lines["start"]], corners[lines["end"]] - corners[lines["start"]]
        right, left = (_sector_of(tables.sidedefs, lines[side]) for side in ("right", "left"))
        self._sector = {"right": right, "left": left}
        closed = (right < 0) | (left < 0) | (lines["flags"] & _IMPASSABLE > 0)
        floors = [sectors["floor"][side].astype(int) for side in (right, left)]
        ceilings = [sectors["ceiling"][side].astype(int) for side in (right, left)]
        closed |= np.minimum(*ceilings) - np.maximum(*floors) < BODY_HEIGHT_UNITS
        self._stops_from_right = closed | (floors[1] - floors[0] > STEP_UP_UNITS)
        self._stops_from_left = closed | (floors[0] - floors[1] > STEP_UP_UNITS)

    def clearance(self, x: float, y: float, yaws_rad: np.ndarray) -> np.ndarray:
        """Return (R,): how far one can walk from (x, y) in each of (R,) directions before a line stops it.

        Where no line does, outside of the map, it is infinity.
        """
        distances, from_right = self._crossings(x, y, yaws_rad)
        stops = np.where(from_right, self._stops_from_right, self._stops_from_left)
        return np.min(distances, axis=1, where=stops, initial=np.inf)

    def sector_at(self, x: float, y: float) -> int:
        """Return the number of the sector around (x, y), -1 outside of the map."""
        # an odd angle: along the axes rays would run into corners, where two lines claim the crossing
        (distances,), (from_right,) = self._crossings(x, y, np.array([0.7390851]))
        nearest = int(np.argmin(distances))
        if not np.isfinite(distances[nearest]):
            return -1
        return int(self._sector["right" if from_right[nearest] else "left"][nearest])

    def _crossings(self, x: float, y: float, yaws_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (R, L) twice: how far away a ray crosses a line (infinity: never), and whether from its right side."""
        ahead_x, ahead_y = np.cos(yaws_rad)[:, None], np.sin(yaws_rad)[:, None]
        along_x, along_y = self._along.T
        offset_x, offset_y = (self._from - (x, y)).T
        turn = ahead_x * along_y - ahead_y * along_x
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (offset_x * along_y - offset_y * along_x) / turn
            share = (offset_x * ahead_y - offset_y * ahead_x) / turn
        hit = (turn != 0) & (distance > 0) & (share >= 0) & (share <= 1)
        return np.where(hit, distance, np.inf), turn < 0


def find_start(tables: MapTables, rng: np.random.Generator) -> Start | None:
    """Return a start at the place of one of the map's things, or None when none of them will do.

    It has floor and head room, room for the body, open space around it and at least MIN_AHEAD_UNITS ahead; of the
    first few such places the most open one is taken.
    """
    walls, found = Walls(tables), []
    for thing in rng.permutation(tables.things):
        x, y = float(thing["x"]), float(thing["y"])
        if not _has_head_room(walls, tables, x, y):
            continue
        clear = walls.clearance(x, y, _RAY_YAWS_RAD)
        openness = float(np.median(clear))
        if np.isfinite(clear).all() and clear.min() > BODY_RADIUS_UNITS * 1.25 and openness >= MIN_MEDIAN_UNITS:
            # both neighbours too: a slit between two pillars is no view
            ahead = np.minimum(clear, np.minimum(np.roll(clear, 1), np.roll(clear, -1)))
            yaws = _RAY_YAWS_RAD[ahead >= MIN_AHEAD_UNITS]
            if len(yaws):
                found.append((openness, Start(x, y, float(rng.choice(yaws)))))
        if len(found) == _PLACES_COMPARED:
            break
    return max(found, key=lambda place: place[0])[1] if found else None


def _has_head_room(walls: Walls, tables: MapTables, x: float, y: float) -> bool:
    number = walls.sector_at(x, y)
    if number < 0:
        return False
    sector = tables.sectors[number]
    return int(sector["ceiling"]) - int(sector["floor"]) >= BODY_HEIGHT_UNITS


def gentle_copy(tables: MapTables, start: Start) -> MapTables:
    """Return the tables of the copy that is played, with the player's start at `start`, to whole degrees."""
    linedefs, sectors = tables.linedefs.copy(), tables.sectors.copy()
    special = linedefs["special"]
    special[np.isin(special, _EXITS + _TELEPORTERS + _LIGHT_SWITCHES)] = 0
    for locked, free in _UNLOCKED.items():
        special[tables.linedefs["special"] == locked] = free
    lit = DARKEST_LIGHT + sectors["light"].clip(0, 255) * (255 - DARKEST_LIGHT) / 255
    sectors["light"] = np.rint(lit)
    sectors["special"] = 0  # flicker, harm, secrets and doors on a clock
    return replace(tables, things=_things_around(tables.things, start), linedefs=linedefs, sectors=sectors)


def _things_around(things: np.ndarray, start: Start) -> np.ndarray:
    near = np.hypot(things["x"] - start.x, things["y"] - start.y) < _CROWDED_UNITS
    kept = things[~near & ~np.isin(things["type"], (PLAYER_START, *_OTHER_STARTS, *_GORE))]
    every_skill = 7
    player = np.array([(round(start.x), round(start.y), round(math.degrees(start.yaw_rad)), PLAYER_START, every_skill)],
                      things.dtype)
    return np.concatenate([player, kept])


def _sector_of(sidedefs: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the sector that each side faces, -1 where there is no side."""
    there = sides != NO_SIDE
    return np.where(there, sidedefs["sector"][np.where(there, sides, 0)].astype(int), -1)
