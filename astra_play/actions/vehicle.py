"""Pedals and steering wheel -> the motion of a car in one frame: the same car in the simulator and under the player.

A bicycle model seen from the point midway between the axles, where the driver sits. Within a frame the speed follows
its formula exactly, so that two half frames drive as far as a whole one. Nothing here knows of obstacles: what comes
out is the commanded motion, from which `rows.vehicle_row` makes the action row.
"""

from __future__ import annotations

import math

WHEELBASE_M = 2.6
TOP_SPEED_M_S = 14.0  # about 50 km/h: at 16 frames a second 0.9 m per frame, so that pictures still overlap
REVERSE_SPEED_M_S = 4.0
ENGINE_M_S2 = 6.5  # at a standstill and full throttle; air and gears take all of it away at top speed
REVERSE_ENGINE_M_S2 = 3.0
BRAKE_M_S2 = 9.0
ROLLING_M_S2 = 0.6  # what slows a coasting car however slow it is; without it the car would creep for ever
MAX_WHEEL_RAD = math.radians(35)
MAX_SIDE_M_S2 = 7.0  # sideways; the wheels turn less the faster the car is, so that it never leaves its tyres' grip
STEER_PER_S = 3.0  # share of the full lock per second while turning in
CENTRE_PER_S = 5.0  # and on the way back to straight ahead: a key let go must not leave a long bend behind

_DRAG_PER_S = (ENGINE_M_S2 - ROLLING_M_S2) / TOP_SPEED_M_S
_REVERSE_DRAG_PER_S = (REVERSE_ENGINE_M_S2 - ROLLING_M_S2) / REVERSE_SPEED_M_S


class Car:
    """A car that remembers its speed (m/s, negative in reverse) and how far its wheels are turned."""

    def __init__(self) -> None:
        self.speed_m_s = 0.0
        self.lock = 0.0  # share of the lock possible at this speed, in [-1, 1], positive to the left

    @property
    def wheel_rad(self) -> float:
        """Return the angle of the front wheels, positive to the left."""
        return self.lock * wheel_limit_rad(self.speed_m_s)

    def stop(self) -> None:
        """Stand still at once, as after a bump; the wheels stay turned."""
        self.speed_m_s = 0.0

    def step(self, throttle: float, steer: float, frame_s: float) -> tuple[float, float, float]:
        """Drive for one frame and return (forward_m, left_m, yaw_left_rad) in the axes of the car before it.

        `throttle` in [-1, 1] is gas above zero and brake below; from a standstill the brake drives backwards.
        `steer` in [-1, 1] is where the wheel is held, 1 fully to the left; the car's own wheels follow at their rate.
        Values outside are cut. A frame in which the car comes to a halt ends at a standstill.
        """
        throttle, steer = min(max(throttle, -1.0), 1.0), min(max(steer, -1.0), 1.0)
        old_lock = self.lock
        self.lock = _turned_towards(old_lock, steer, frame_s)
        old_speed = self.speed_m_s
        self.speed_m_s, way_m = _driven(old_speed, throttle, frame_s)
        # the wheels' angle halfway through stands for the frame; the error is far below a pixel
        angle = (old_lock + self.lock) / 2 * wheel_limit_rad((old_speed + self.speed_m_s) / 2)
        return _along_arc(way_m, math.tan(angle) / WHEELBASE_M)


def wheel_limit_rad(speed_m_s: float) -> float:
    """Return the largest angle of the front wheels at a speed."""
    grip = math.atan(MAX_SIDE_M_S2 * WHEELBASE_M / max(speed_m_s**2, 1e-9))
    return min(MAX_WHEEL_RAD, grip)


def max_yaw_rad_s() -> float:
    """Return the fastest turn that the car can make: full lock at the speed where the grip begins to limit it."""
    return math.sqrt(MAX_SIDE_M_S2 * math.tan(MAX_WHEEL_RAD) / WHEELBASE_M)


def _turned_towards(lock: float, steer: float, frame_s: float) -> float:
    """Return the lock after a frame: first back to straight ahead at one rate, then outwards at the other."""
    if lock * steer < 0 or abs(steer) < abs(lock):
        inner = 0.0 if lock * steer < 0 else steer
        needed_s = abs(lock - inner) / CENTRE_PER_S
        if needed_s >= frame_s:
            return lock - math.copysign(CENTRE_PER_S * frame_s, lock)
        lock, frame_s = inner, frame_s - needed_s
    return lock + min(max(steer - lock, -STEER_PER_S * frame_s), STEER_PER_S * frame_s)


def _driven(speed: float, throttle: float, seconds: float) -> tuple[float, float]:
    """Return (speed after, way in metres); both forward positive."""
    if speed < 0 or (speed == 0 and throttle < 0):
        after, way = _rolled(-speed, max(-throttle, 0.0) * REVERSE_ENGINE_M_S2, max(throttle, 0.0) * BRAKE_M_S2,
                             _REVERSE_DRAG_PER_S, seconds)
        return (-after if after else 0.0), -way
    return _rolled(speed, max(throttle, 0.0) * ENGINE_M_S2, max(-throttle, 0.0) * BRAKE_M_S2, _DRAG_PER_S, seconds)


def _rolled(speed: float, push: float, brake: float, drag_per_s: float, seconds: float) -> tuple[float, float]:
    """Solve v' = push - brake - rolling - drag v for a speed of at least 0; the car stops where v reaches 0."""
    if speed == 0 and push <= ROLLING_M_S2:
        return 0.0, 0.0
    final = (push - brake - ROLLING_M_S2) / drag_per_s  # the speed that it tends to
    if final < 0:
        seconds = min(seconds, math.log(1 - speed / final) / drag_per_s)
    fade = math.exp(-drag_per_s * seconds)
    after = final + (speed - final) * fade
    way = final * seconds + (speed - final) * (1 - fade) / drag_per_s
    return (after if after > 1e-9 else 0.0), way


def _along_arc(way_m: float, curvature_per_m: float) -> tuple[float, float, float]:
    """Return the motion of the middle of the car when its rear axle runs `way_m` along an arc."""
    yaw, lead = way_m * curvature_per_m, WHEELBASE_M / 2
    if abs(yaw) < 1e-9:
        forward, left = way_m, 0.0
    else:
        forward, left = math.sin(yaw) / curvature_per_m, (1 - math.cos(yaw)) / curvature_per_m
    return forward + lead * (math.cos(yaw) - 1), left + lead * math.sin(yaw), yaw
