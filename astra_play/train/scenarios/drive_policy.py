"""rng and a drive simulator -> DriveControl per frame: what a playful driver does with pedals and wheel.

The driver sees the true pose and the road, and mostly follows it, now neatly, now badly; in between comes everything
that players do to find out what the car can do. The way of holding the controls changes too: keys are pressed or not,
a mouse gives every value between.

The car's own speed is the commanded one. In play nothing tells the car of a bump, so here too it mostly goes on
pushing at its speed until the driver lets go; in the other bumps it stands still at once, as a real one would.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Protocol

import numpy as np

from astra_play.actions.vehicle import TOP_SPEED_M_S, WHEELBASE_M, Car, wheel_limit_rad
from astra_play.train.scenarios.drive import DriveControl
from astra_play.train.scenarios.drive_scene import Scene
from astra_play.train.scenarios.interface import Seen

Pedals = tuple[float, float]  # throttle and steer, each in [-1, 1]

# what is begun next, and how often; mishaps and the way back come on top
_DOINGS = {"follow": 0.38, "wander": 0.10, "leave": 0.07, "stop": 0.10, "brake": 0.06, "reverse": 0.05, "turn": 0.05,
           "swerve": 0.07, "play": 0.07, "bump": 0.05}
STOP_AT_BUMP = 0.4  # share of the bumps in which the car loses its speed at once
FORGETS_BENDS = 0.35  # share of the stretches driven without slowing down for bends


class Driven(Protocol):
    """What the driver looks at."""

    scene: Scene

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z, yaw, speed)."""
        ...


def drive(rng: np.random.Generator, simulator: Driven) -> Generator[DriveControl, Seen | None, None]:
    """Yield controls for ever; send back after each one what came of it."""
    driver = _Driver(rng, simulator)
    doings = driver.doings()
    blocked_for, patience = 0, 0
    while True:
        throttle, steer = next(doings)
        seen = yield DriveControl.from_pedals(driver.car, throttle, steer)
        blocked = seen is not None and seen.blocked
        if blocked and blocked_for == 0:
            patience = int(rng.integers(3, 20))
            driver.stops_at_bump = rng.random() < STOP_AT_BUMP
        blocked_for = blocked_for + 1 if blocked else 0
        if blocked and driver.stops_at_bump:
            driver.car.stop()
        if blocked_for > patience:
            doings = driver.get_free_and_go_on()
            blocked_for, patience = 0, int(rng.integers(8, 30))


class _Driver:
    """One person at the wheel: remembers the direction, the lane and the way of holding the controls."""

    def __init__(self, rng: np.random.Generator, simulator: Driven) -> None:
        self.rng, self.simulator, self.car = rng, simulator, Car()
        self.scene = simulator.scene
        self.track = self.scene.track
        self.obstacles = self.scene.obstacles()
        self.parked = [self.track.nearest(spot.x, spot.y) for spot in self.scene.parked]
        self.stops_at_bump = False
        self.change_hands()
        self.face_along()

    # --- what the driver does

    def doings(self) -> Iterator[Pedals]:
        """Yield pedals for ever, one thing after the other."""
        if self.rng.random() < 0.3:
            yield from self.wait()
        while True:
            if self.rng.random() < 0.4:
                self.change_hands()
            doing = str(self.rng.choice(list(_DOINGS), p=list(_DOINGS.values())))
            yield from getattr(self, doing)()

    def get_free_and_go_on(self) -> Iterator[Pedals]:
        """Back off from what was hit, or forwards when it was hit in reverse, then do something else."""
        rng = self.rng
        way = -1.0 if self.car.speed_m_s >= 0 else 1.0
        steer = float(rng.choice((-1, 0, 1), p=(0.4, 0.2, 0.4)))
        for _ in range(60):  # a car that was pushing has to lose its speed first
            if self.car.speed_m_s * way > 0:
                break
            yield way, steer
        for _ in range(int(rng.integers(14, 40))):
            yield way, steer
        yield from self.halt()
        self.face_along()
        yield from self.follow()
        yield from self.doings()

    def follow(self) -> Iterator[Pedals]:
        """Follow the road in some lane at some speed."""
        self.face_along()
        speed, lane = self.some_speed(), self.some_lane()
        forgets = self.rng.random() < FORGETS_BENDS
        error, drift = 0.0, 0.25 * self.rng.random()
        for _ in range(int(self.rng.integers(40, 130))):
            error += -0.05 * error + drift * self.rng.normal()
            yield self.pedals(lane + error, speed, forgets)

    def wander(self) -> Iterator[Pedals]:
        """Drift over the edge of the road and come back, or change sides now and then."""
        half = self.scene.half_width_m
        self.face_along()
        speed = self.some_speed()
        for _ in range(int(self.rng.integers(1, 4))):
            lane = self.rng.choice((-1, 1)) * self.rng.uniform(0.3 * half, half + 3.5)
            for _ in range(int(self.rng.integers(14, 44))):
                yield self.pedals(lane, speed)
        yield from self.follow()

    def leave(self) -> Iterator[Pedals]:
        """Drive out into the land for a while, then look for the road again."""
        x, y, _, yaw, _ = self.simulator.pose
        speed = self.rng.uniform(3, 10)
        aim = yaw + self.rng.choice((-1, 1)) * self.rng.uniform(0.4, 1.8)
        for frame in range(int(self.rng.integers(40, 110))):
            if frame % 24 == 23:
                aim += self.rng.normal(0, 0.4)
            off = math.remainder(aim - self.simulator.pose[3], 2 * math.pi)
            yield self.gas(speed), self.wheel(off / 4)
        yield from self.follow()

    def stop(self) -> Iterator[Pedals]:
        """Come to a halt, softly or not, wait, and start again."""
        if self.rng.random() < 0.4:
            self.face_along()
            lane = self.some_lane()
            for _ in range(90):  # let the car roll
                if self.car.speed_m_s < 2.0:
                    break
                yield 0.0, self.pedals(lane, 5.0)[1]
        yield from self.halt()
        yield from self.wait()
        yield from self.follow()

    def brake(self) -> Iterator[Pedals]:
        """Go fast, brake with all the car has, sometimes with the wheel turned, and go on."""
        self.face_along()
        lane = self.some_lane()
        for _ in range(int(self.rng.integers(16, 50))):
            yield self.pedals(lane, TOP_SPEED_M_S)
        steer = float(self.rng.choice((-1, 0, 0, 1)))
        for _ in range(int(self.rng.integers(6, 24))):
            if self.car.speed_m_s <= 0:
                break
            yield -1.0, steer
        if self.rng.random() < 0.5:
            yield from self.wait()

    def reverse(self) -> Iterator[Pedals]:
        """Drive backwards, straight or in a curve."""
        yield from self.halt()
        for _ in range(int(self.rng.integers(1, 3))):
            steer = float(self.rng.choice((-1, 0, 1)) * self.rng.uniform(0.4, 1))
            for _ in range(int(self.rng.integers(14, 40))):
                yield -1.0, steer
        yield from self.halt()

    def turn(self) -> Iterator[Pedals]:
        """Turn round, at one go or with a stretch in reverse, and drive the other way."""
        start = self.simulator.pose[3]
        side = float(self.rng.choice((-1, 1)))
        in_reverse = self.rng.random() < 0.6

        def turned() -> float:
            return abs(self.simulator.pose[3] - start)

        for _ in range(110):
            if turned() > (1.2 if in_reverse else 2.8):
                break
            yield self.gas(4.5), side
        if in_reverse:
            yield from self.halt()
            for _ in range(60):
                if turned() > 2.2:
                    break
                yield -1.0, -side
            yield from self.halt()
        yield from self.follow()

    def swerve(self) -> Iterator[Pedals]:
        """Swing from side to side, as players do to feel the steering."""
        speed, frames = self.some_speed(), int(self.rng.integers(8, 22))
        side = float(self.rng.choice((-1, 1)))
        for _ in range(int(self.rng.integers(2, 6))):
            yield from ((self.gas(speed), side) for _ in range(frames))
            side = -side
        yield from self.follow()

    def play(self) -> Iterator[Pedals]:
        """Press anything, without looking at the road."""
        for _ in range(int(self.rng.integers(2, 6))):
            throttle = float(self.rng.choice((-1, 0, 1), p=(0.15, 0.25, 0.6)))
            steer = float(self.rng.choice((-1, 0, 1), p=(0.32, 0.36, 0.32)))
            if not self.by_keys:
                steer *= self.rng.random()
            for _ in range(int(self.rng.integers(3, 28))):
                yield throttle, steer

    def bump(self) -> Iterator[Pedals]:
        """Drive at something solid ahead and go on pushing; the policy ends it when patience does."""
        x, y, _, yaw, _ = self.simulator.pose
        solid = np.concatenate([self.obstacles.circles[:, :2], self.obstacles.boxes[:, :2]]) - (x, y)
        off = (np.arctan2(solid[:, 1], solid[:, 0]) - yaw + math.pi) % (2 * math.pi) - math.pi
        away = np.hypot(solid[:, 0], solid[:, 1])
        targets = solid[(np.abs(off) < 1.0) & (away > 7) & (away < 32)] + (x, y)
        if len(targets) == 0:
            return
        target, speed = targets[int(self.rng.integers(len(targets)))], self.rng.uniform(2, 9)
        for _ in range(70):
            x, y, _, yaw, _ = self.simulator.pose
            off = math.remainder(math.atan2(target[1] - y, target[0] - x) - yaw, 2 * math.pi)
            yield self.gas(speed), self.wheel(off)

    def halt(self) -> Iterator[Pedals]:
        """Bring the car to a standstill from either direction."""
        for _ in range(60):
            if self.car.speed_m_s == 0:
                break
            yield -math.copysign(1.0, self.car.speed_m_s), 0.0

    def wait(self) -> Iterator[Pedals]:
        """Touch nothing, or only the wheel."""
        steer = float(self.rng.choice((0, 0, 0, -1, 1)))
        for _ in range(int(self.rng.integers(10, 40))):
            yield 0.0, steer

    # --- how the driver does it

    def change_hands(self) -> None:
        """Hold the controls in another way."""
        self.by_keys = self.rng.random() < 0.6
        self.cornering_m_s2 = self.rng.uniform(4.0, 10.0)  # what is dared; beyond grip the car runs wide

    def face_along(self) -> None:
        """Drive the road in the direction in which the car is looking by now."""
        x, y, _, yaw, _ = self.simulator.pose
        along, _ = self.track.nearest(x, y)
        self.direction = 1 if math.cos(yaw - self.track.heading[self.track.index(along)]) >= 0 else -1

    def some_speed(self) -> float:
        return float(self.rng.choice((self.rng.uniform(2, 6), self.rng.uniform(6, 11), TOP_SPEED_M_S),
                                     p=(0.15, 0.4, 0.45)))

    def some_lane(self) -> float:
        """Return metres to the right of the middle, as the driver sees it: mostly the own lane."""
        return float(self.rng.choice((0.5, 0.0, -0.5), p=(0.75, 0.15, 0.1))) * self.scene.half_width_m

    def pedals(self, right_m: float, speed: float, forgets_bends: bool = False) -> Pedals:
        """Return what keeps the car `right_m` from the middle of the road, at most at `speed`."""
        x, y, _, yaw, _ = self.simulator.pose
        along, _ = self.track.nearest(x, y)
        right_m = self.round_parked_cars(along, right_m)
        reach = min(max(4.0 + 0.6 * self.car.speed_m_s, 5.0), 13.0)
        aim_x, aim_y, _ = self.track.place(along + self.direction * reach, -self.direction * right_m)
        off = math.remainder(math.atan2(aim_y - y, aim_x - x) - yaw, 2 * math.pi)
        away = math.hypot(aim_x - x, aim_y - y)
        curvature = 2 * math.sin(off) / away if abs(off) < math.pi / 2 else math.copysign(1.0, off)
        if not forgets_bends:
            speed = min(speed, self.bend_speed(along))
        return self.gas(speed), self.wheel(math.atan(curvature * WHEELBASE_M))

    def bend_speed(self, along: float) -> float:
        """Return how fast the driver dares to meet the bends that lie within braking distance."""
        reach = 6.0 + self.car.speed_m_s**2 / 8
        places = along + self.direction * np.arange(0.0, reach, 2.0)
        bends = np.abs(self.track.curvature[np.round(places / self.track.step_m).astype(int) % len(self.track.line)])
        return math.sqrt(self.cornering_m_s2 / max(float(bends.max()), 1e-3))

    def round_parked_cars(self, along: float, right_m: float) -> float:
        """Return the lane that passes parked cars ahead."""
        for parked_along, parked_left in self.parked:
            ahead = math.remainder(parked_along - along, self.track.length_m) * self.direction
            parked_right = -self.direction * parked_left
            if -3 < ahead < 18 and abs(parked_right - right_m) < 2.8:
                return parked_right - math.copysign(2.8, parked_right)
        return right_m

    def gas(self, speed: float) -> float:
        """Return the pedal that brings the car to a speed; keys know all and nothing."""
        missing = speed - self.car.speed_m_s
        if self.by_keys:
            return 1.0 if missing > 0.3 else -1.0 if missing < -2.5 else 0.0
        return min(max(0.5 * missing + 0.1, -1.0), 1.0) if missing > -0.5 or missing < -1.5 else 0.0

    def wheel(self, angle_rad: float) -> float:
        """Return where the wheel is held to turn the front wheels to an angle."""
        wanted = min(max(angle_rad / wheel_limit_rad(self.car.speed_m_s), -1.0), 1.0)
        if not self.by_keys:
            return wanted
        if abs(wanted) < 0.08:
            return 0.0
        # a key is tapped: held while the wheels lag behind, let go when they are there
        return math.copysign(1.0, wanted) if abs(wanted) > abs(self.car.lock) or wanted * self.car.lock < 0 else 0.0
