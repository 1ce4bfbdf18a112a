"""rng -> ArmControl per frame: what a player does with a hand over a table, knowing where the block lies.

One behaviour follows another: picking the block up and carrying it, reaching for it and missing, pushing it, waving
about, trying out the fingers, the limits and the table, single taps, rests. Half of the motion is made by keys (one
speed, straight lines, corners), half by a mouse (any speed and direction). All places are those of the scenario's pose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np

from astra_play.train.scenarios.arm import KEY_STEP_M, MAX_STEP_M, ArmControl
from astra_play.train.scenarios.arm_scene import BLOCK_HALF_M, HIGHEST_M, LOWEST_M, WORKSPACE_M
from astra_play.train.scenarios.interface import Seen

BEHAVIOURS = {"pick": 0.22, "miss": 0.08, "push": 0.11, "wave": 0.15, "fingers": 0.12, "press": 0.06, "edge": 0.09,
              "taps": 0.10, "rest": 0.07}
NEAR_M = 0.004  # a place counts as reached within this distance

Part = Generator[ArmControl, "Seen | None", None]


def handle(rng: np.random.Generator, simulator: object = None) -> Part:
    """Yield controls for ever; send back after each one what came of it. Needs no simulator: it is told the pose."""
    player = _Hand(rng)
    yield from player.rest()  # also tells where the hand is
    while True:
        name = str(rng.choice(list(BEHAVIOURS), p=list(BEHAVIOURS.values())))
        yield from getattr(player, name)()


class _Hand:
    """The player: `seen` is what came of the last control, `close` where the fingers were last sent."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.seen: Seen | None = None
        self.close = 0.0
        self.by_mouse = False

    @property
    def at(self) -> np.ndarray:
        return self.seen.pose[:3]

    @property
    def block(self) -> np.ndarray:
        return self.seen.pose[4:7]

    def act(self, step: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Part:
        """Command one frame; the fingers keep their command."""
        right, away, up = (float(part) for part in step)
        self.seen = yield ArmControl(right, away, up, self.close)

    def wait(self, frames: int) -> Part:
        for _ in range(frames):
            yield from self.act()

    def pause(self) -> Part:
        """Hesitate now and then, as hands do between two moves."""
        if self.rng.random() < 0.4:
            yield from self.wait(int(self.rng.integers(2, 9)))

    def fingers(self) -> Part:
        """Open and close without going anywhere, or while drifting about."""
        drift = self.rng.normal(0, 0.003, 3) if self.rng.random() < 0.4 else np.zeros(3)
        for _ in range(int(self.rng.integers(1, 4))):
            self.close = 0.0 if self.close > 0.5 else 1.0
            if self.rng.random() < 0.15:
                self.close = float(self.rng.uniform(0.2, 0.8))
            for _ in range(int(self.rng.integers(3, 14))):
                yield from self.act(drift)
        self.close = 0.0
        yield from self.wait(4)

    def choose_hand(self) -> None:
        """Go on with the mouse or with the keys."""
        self.by_mouse = bool(self.rng.random() < 0.5)

    def go(self, aim: Callable[[], np.ndarray], near_m: float = NEAR_M, max_frames: int = 50) -> Part:
        """Move to a place, which may itself move, until it is reached or the way there turns out to be blocked."""
        pace_m = float(self.rng.uniform(0.006, 0.022)) if self.by_mouse else KEY_STEP_M
        swing, blocked_for = np.zeros(3), 0
        for _ in range(max_frames):
            way = np.clip(aim(), *WORKSPACE_M) - self.at
            left_m = float(np.linalg.norm(way))
            if left_m < near_m or blocked_for > 4:
                return
            if self.by_mouse:
                swing = 0.7 * swing + self.rng.normal(0, 0.08 * pace_m, 3)
                step = way * min(1.0, pace_m / left_m, 0.45 + near_m / left_m) + swing * min(1.0, left_m / 0.03)
                step *= min(1.0, MAX_STEP_M / float(np.linalg.norm(step)))
            else:
                step = self._keys_towards(way)
            yield from self.act(step)
            blocked_for = blocked_for + 1 if self.seen.blocked else 0

    def _keys_towards(self, way: np.ndarray) -> np.ndarray:
        """Return the step of the keys that are held: those of the axes that lack most, tapped shorter at the end."""
        held = np.where(np.abs(way) > max(0.5 * np.abs(way).max(), NEAR_M / 3), np.sign(way), 0.0)
        step = held * KEY_STEP_M / max(1.0, float(np.linalg.norm(held)))
        return np.where(np.abs(step) > np.abs(way), way, step)

    def pick(self) -> Part:
        """Fetch the block, carry it somewhere, then put it down, drop it, or go on holding it."""
        yield from self._over_block(noise_m=0.006)  # off the middle; a few grips fail
        depth_m = float(self.rng.uniform(LOWEST_M + 0.004, BLOCK_HALF_M + 0.006))
        yield from self._descend(depth_m)
        yield from self.pause()
        self.close = 1.0
        yield from self.wait(int(self.rng.integers(3, 8)))
        top_m = float(self.rng.uniform(0.08, HIGHEST_M))
        yield from self.go(lambda: np.array([*self.at[:2], top_m]), near_m=0.01)
        yield from self.pause()
        for _ in range(int(self.rng.integers(1, 4))):
            spot = self._anywhere(low_m=0.07)
            self.choose_hand()
            yield from self.go(lambda spot=spot: spot, near_m=0.012)
            yield from self.pause()
        if self.rng.random() < 0.7:
            yield from self.go(lambda: np.array([*self.at[:2], depth_m + 0.001]), near_m=0.003)
        self.close = 0.0  # from the air: the block drops
        yield from self.wait(int(self.rng.integers(4, 10)))
        yield from self.go(lambda: self.at + (0.0, 0.0, 0.1), max_frames=int(self.rng.integers(4, 9)))

    def miss(self) -> Part:
        """Reach for the block a finger's breadth or more beside it and lift nothing."""
        side = self.rng.uniform(0.045, 0.09) * self.rng.choice((-1, 1))
        off = np.array([side, self.rng.normal(0, 0.02)])
        if self.rng.random() < 0.4:
            off = np.array([self.rng.normal(0, 0.005), self.rng.choice((-1, 1)) * self.rng.uniform(0.06, 0.1)])
        yield from self._over_block(noise_m=0.0, off=off)
        yield from self._descend(float(self.rng.uniform(0.022, 0.07)))
        self.close = 1.0
        yield from self.wait(int(self.rng.integers(4, 9)))
        yield from self.go(lambda: self.at + (0.0, 0.0, 0.1), max_frames=int(self.rng.integers(5, 10)))
        self.close = 0.0
        yield from self.wait(4)

    def push(self) -> Part:
        """Shove the block over the table with the fingers closed."""
        self.choose_hand()
        self.close = 1.0 if self.rng.random() < 0.85 else 0.0
        middle = np.arctan2(-self.block[1], -self.block[0])  # rather towards the middle, where there is room
        heading = middle + self.rng.normal(0, 0.9)
        along = np.array([math.cos(heading), math.sin(heading)])
        yield from self.go(lambda: np.array([*self.at[:2], 0.1]), near_m=0.01)
        yield from self.go(lambda: np.array([*(self.block[:2] - 0.075 * along), 0.1]), near_m=0.008)
        yield from self.go(lambda: np.array([*self.at[:2], 0.026]), near_m=0.006)
        way = along * self.rng.uniform(0.08, 0.22)
        goal = np.array([*(self.at[:2] + way), 0.026])
        yield from self.go(lambda: goal, near_m=0.01)
        yield from self.go(lambda: self.at + (0.0, 0.0, 0.1), max_frames=int(self.rng.integers(4, 8)))
        self.close = 0.0
        yield from self.wait(3)

    def wave(self) -> Part:
        """Move about in free space, with a mouse in arcs or by held keys."""
        self.choose_hand()
        if self.by_mouse:
            step = self.rng.normal(0, 0.012, 3)
            for _ in range(int(self.rng.integers(16, 56))):
                homewards = 0.02 * (np.array([0.0, 0.0, 0.11]) - self.at)
                step = 0.85 * step + self.rng.normal(0, 0.004, 3) + homewards
                length = float(np.linalg.norm(step))
                yield from self.act(step * min(1.0, MAX_STEP_M / length))
            return
        for _ in range(int(self.rng.integers(2, 6))):
            yield from self._hold_keys(int(self.rng.integers(3, 14)))
            yield from self.wait(int(self.rng.integers(0, 4)))

    def taps(self) -> Part:
        """Touch single keys for one to three frames."""
        for _ in range(int(self.rng.integers(3, 8))):
            yield from self._hold_keys(int(self.rng.integers(1, 4)), single=True)
            yield from self.wait(int(self.rng.integers(1, 6)))

    def press(self) -> Part:
        """Lower the hand until the fingers stand on the table or on a block, and go on pressing."""
        self.choose_hand()
        if self.rng.random() < 0.5:
            spot = self._anywhere()
            yield from self.go(lambda: spot, near_m=0.01)
        self.close = float(self.rng.random() < 0.4)
        for _ in range(int(self.rng.integers(10, 24))):
            yield from self.act((0.0, 0.0, -KEY_STEP_M))
        yield from self._hold_keys(int(self.rng.integers(4, 10)), up=0)  # sliding over the table
        yield from self.go(lambda: self.at + (0.0, 0.0, 0.1), max_frames=int(self.rng.integers(4, 9)))
        self.close = 0.0

    def edge(self) -> Part:
        """Run into the end of the workspace and along it."""
        axis, sign = int(self.rng.integers(3)), int(self.rng.choice((-1, 1)))
        if axis == 2:
            sign = 1
        into = np.zeros(3)
        into[axis] = sign * KEY_STEP_M
        for _ in range(30):
            yield from self.act(into)
            if self.seen.blocked:
                break
        along = np.zeros(3)
        along[(axis + int(self.rng.integers(1, 3))) % 3] = self.rng.choice((-1, 1)) * KEY_STEP_M
        held = along + into * float(self.rng.random() < 0.6)
        held *= KEY_STEP_M / float(np.linalg.norm(held))
        for _ in range(int(self.rng.integers(5, 14))):
            yield from self.act(held)
        yield from self.wait(int(self.rng.integers(0, 6)))

    def rest(self) -> Part:
        """Touch nothing."""
        yield from self.wait(int(self.rng.integers(5, 24)))

    def _over_block(self, noise_m: float, off: np.ndarray | tuple[float, float] = (0.0, 0.0)) -> Part:
        self.choose_hand()
        self.close = 0.0
        shaky = np.array(off) + self.rng.normal(0, noise_m, 2)
        height_m = float(self.rng.uniform(0.085, 0.13))
        if self.at[2] < 0.08:  # up first, or the way there sweeps the block away
            yield from self.go(lambda: np.array([*self.at[:2], height_m]), near_m=0.01)
        yield from self.go(lambda: np.array([*(self.block[:2] + shaky), height_m]), near_m=0.005)
        yield from self.pause()

    def _descend(self, depth_m: float) -> Part:
        place = self.at[:2].copy()
        yield from self.go(lambda: np.array([*place, depth_m]), near_m=0.003)

    def _anywhere(self, low_m: float = 0.04) -> np.ndarray:
        low, high = (0.85 * np.array(corner) for corner in WORKSPACE_M)
        return np.array([*self.rng.uniform(low[:2], high[:2]), self.rng.uniform(low_m, 0.9 * HIGHEST_M)])

    def _hold_keys(self, frames: int, single: bool = False, up: int | None = None) -> Part:
        keys = np.zeros(3, int)
        while not keys.any():
            keys = self.rng.integers(-1, 2, 3) * (self.rng.random(3) < 0.6)
            if single:
                keys = np.eye(3, dtype=int)[int(self.rng.integers(3))] * int(self.rng.choice((-1, 1)))
            if up is not None:
                keys[2] = up
        control = ArmControl.from_keys(*(int(key) for key in keys))
        for _ in range(frames):
            yield from self.act(control.values()[:3])
