"""The car once more, the dull way: a thousand small steps of its equations for every frame."""

from __future__ import annotations

import math

from astra_play.actions import vehicle

STEPS = 1000


def lock_after(lock: float, steer: float, seconds: float) -> float:
    """Creep towards the wheel: fast while the wheels come back to straight ahead, slowly while they turn out."""
    for _ in range(STEPS):
        outward = lock * steer >= 0 and abs(steer) >= abs(lock)
        most = (vehicle.STEER_PER_S if outward else vehicle.CENTRE_PER_S) * seconds / STEPS
        lock += min(max(steer - lock, -most), most)
    return lock


def speed_and_way(speed: float, throttle: float, seconds: float) -> tuple[float, float]:
    """Add up forces; what slows the car down never turns it round, and a stop ends the frame."""
    reverse = speed < 0 or (speed == 0 and throttle < 0)
    sign = -1.0 if reverse else 1.0
    engine = vehicle.REVERSE_ENGINE_M_S2 if reverse else vehicle.ENGINE_M_S2
    top = vehicle.REVERSE_SPEED_M_S if reverse else vehicle.TOP_SPEED_M_S
    v, way, pedal, moving = abs(speed), 0.0, throttle * sign, speed != 0
    for _ in range(STEPS):
        a = max(pedal, 0.0) * engine - max(-pedal, 0.0) * vehicle.BRAKE_M_S2 - vehicle.ROLLING_M_S2
        a -= (engine - vehicle.ROLLING_M_S2) / top * v
        if not moving and a <= 0:
            break
        after = v + a * seconds / STEPS
        if after <= 0:
            return 0.0, sign * way
        way += (v + after) / 2 * seconds / STEPS
        v = after
    return sign * v, sign * way


def motion(way: float, wheel_rad: float) -> tuple[float, float, float]:
    """Roll the rear axle along its heading in small steps and see where the middle of the car has come."""
    x, y, yaw = -vehicle.WHEELBASE_M / 2, 0.0, 0.0
    for _ in range(STEPS):
        turn = way / STEPS * math.tan(wheel_rad) / vehicle.WHEELBASE_M
        x += way / STEPS * math.cos(yaw + turn / 2)
        y += way / STEPS * math.sin(yaw + turn / 2)
        yaw += turn
    return x + vehicle.WHEELBASE_M / 2 * math.cos(yaw), y + vehicle.WHEELBASE_M / 2 * math.sin(yaw), yaw
