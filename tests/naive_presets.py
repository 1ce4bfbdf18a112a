"""The slow, obvious twin of the published checkpoint's action tables: every number written down where it is said."""

from __future__ import annotations

import math

import numpy as np

STILL = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def turned(yaw: float, tx: float = 0.0, tz: float = 0.0) -> list[float]:
    c, s = math.cos(yaw), math.sin(yaw)
    return [c, 0, s, tx, 0, 1, 0, 0, -s, 0, c, tz]


def naive_preset(number: int, num_history: int, num_generated: int) -> np.ndarray:
    """The table of preset 1..7, case by case."""
    half = num_generated // 2
    rows = [STILL] * num_history
    for step in range(num_generated):
        if number == 1:
            rows.append(turned(0.0, tz=-0.03))
        elif number == 2:
            rows.append(turned(0.03))
        elif number == 3:
            rows.append(turned(-0.03))
        elif number == 4:
            rows.append(turned(0.03, tz=-0.03))
        elif number == 5:
            rows.append(turned(-0.03, tz=-0.03))
        elif number == 6 and step < half:
            rows.append(turned(0.03, tz=-0.03))
        elif number == 6:
            sideways = step - half < (num_generated - half) // 3
            rows.append(turned(-0.03, tx=-0.01 if sideways else 0.0, tz=-0.03))
        elif number == 7:
            rows.append(turned(0.03 if step < half else -0.03))
    return np.array(rows, np.float32)
