"""rng -> Track: the closed centre line of one road, with the questions that scenery, driver and painter ask of it."""

from __future__ import annotations

import math

import numpy as np

TRACK_REACH_M = 68.0  # no part of the centre line lies further from the origin
SPACING_M = 1.0  # between neighbouring points of the centre line, nearly
MIN_RADIUS_M = (12.0, 22.0)  # of the sharpest bend, from road to road
RADIUS_SLACK = 0.02  # waiting for the last of it costs most of the time
OWN_DISTANCE_M = 24.0  # between parts of the road that are not neighbours: room for a strip of scenery


class Track:
    """A closed line (N, 2) in even steps, run through counter-clockwise; positions along it are metres from point 0."""

    def __init__(self, line: np.ndarray) -> None:
        self.line = line
        onward = np.roll(line, -1, axis=0) - line
        back = line - np.roll(line, 1, axis=0)
        self.length_m = float(np.hypot(onward[:, 0], onward[:, 1]).sum())
        self.step_m = self.length_m / len(line)
        tangent = onward + back
        self.heading = np.arctan2(tangent[:, 1], tangent[:, 0])
        turn = np.arctan2(onward[:, 1], onward[:, 0]) - np.arctan2(back[:, 1], back[:, 0])
        self.curvature = ((turn + math.pi) % (2 * math.pi) - math.pi) / self.step_m  # per metre, left positive
        self.left = np.stack([-np.sin(self.heading), np.cos(self.heading)], axis=1)

    def index(self, along_m: float) -> int:
        """Return the index of the point nearest to a position along the line, which may run over its ends."""
        return round(along_m / self.step_m) % len(self.line)

    def place(self, along_m: float, left_m: float = 0.0) -> tuple[float, float, float]:
        """Return (x, y, heading) beside the line, `left_m` to the left of it."""
        share = along_m / self.step_m
        first = math.floor(share)
        share -= first
        a, b = first % len(self.line), (first + 1) % len(self.line)
        x, y = self.line[a] * (1 - share) + self.line[b] * share
        heading = float(self.heading[a])
        return float(x - left_m * math.sin(heading)), float(y + left_m * math.cos(heading)), heading

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return (position along the line, metres to the left of it) of a place."""
        away = np.array([x, y]) - self.line
        index = int(np.argmin((away**2).sum(1)))
        return index * self.step_m, float(away[index] @ self.left[index])

    def distance_m(self, x: float, y: float) -> float:
        """Return how far a place lies from the line."""
        return float(np.sqrt(((np.array([x, y]) - self.line) ** 2).sum(1).min()))

    def edge(self, left_m: float) -> np.ndarray:
        """Return the line (N, 2) that runs beside the centre line at a distance, positive to the left."""
        return self.line + left_m * self.left


def make_track(rng: np.random.Generator) -> Track:
    """Return a round course of straights and bends of both directions; the origin lies inside it."""
    radius_m = rng.uniform(*MIN_RADIUS_M)
    for _ in range(150):
        track = _eased(_smoothed(_resampled(_corners(rng)), rng.uniform(2.5, 4.5)), radius_m)
        if track is not None and _winds_both_ways(track) and _keeps_apart(track):
            return track
    return Track(_resampled(_ellipse(rng)))  # a plain oval is a road too


def _eased(line: np.ndarray, radius_m: float) -> Track | None:
    """Smooth a line only where it bends too sharply, again and again; None when a corner will not give way."""
    for _ in range(40):
        track = Track(_resampled(line))
        excess = np.abs(track.curvature) * radius_m - 1
        if excess.max() <= RADIUS_SLACK:
            return track
        sharp = _smoothed(np.clip(8 * excess, 0, 1)[:, None], 4.0).clip(0, 1)
        line = track.line + sharp * (_smoothed(track.line, 6.0) - track.line)
    return None


def _corners(rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a star: at growing angles and uneven distances from the origin."""
    num_corners = int(rng.integers(6, 11))
    angles = 2 * math.pi * (np.arange(num_corners) + rng.uniform(-0.3, 0.3, num_corners)) / num_corners
    reach = TRACK_REACH_M * rng.uniform(0.35, 1.0, num_corners)
    reach *= TRACK_REACH_M / reach.max()
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)


def _smoothed(values: np.ndarray, softness_m: float) -> np.ndarray:
    """Return values (N, K) along a closed line, blurred along it; a polygon keeps its straights and loses its corners.
    """
    waves = np.fft.rfftfreq(len(values), SPACING_M)
    spectrum = np.fft.rfft(values, axis=0) * np.exp(-2 * (math.pi * softness_m * waves[:, None]) ** 2)
    return np.fft.irfft(spectrum, len(values), axis=0)


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 200, endpoint=False)
    return np.stack([0.9 * TRACK_REACH_M * np.cos(angles), rng.uniform(0.5, 0.8) * TRACK_REACH_M * np.sin(angles)], 1)


def _resampled(corners: np.ndarray) -> np.ndarray:
    """Return a closed line in even steps of about SPACING_M."""
    closed = np.concatenate([corners, corners[:1]])
    way = np.concatenate([[0.0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
    along = np.linspace(0, way[-1], round(way[-1] / SPACING_M), endpoint=False)
    return np.stack([np.interp(along, way, closed[:, axis]) for axis in (0, 1)], axis=1)


def _winds_both_ways(track: Track) -> bool:
    """Say whether enough of the road turns right, though the whole turns left."""
    return bool((track.curvature < -1 / 80).mean() > 0.08)


def _keeps_apart(track: Track) -> bool:
    line = track.line[::2]
    gaps = np.hypot(*(line[:, None] - line[None]).transpose(2, 0, 1))
    steps = np.abs(np.subtract.outer(np.arange(len(line)), np.arange(len(line))))
    along = np.minimum(steps, len(line) - steps) * 2 * track.step_m
    return bool((gaps[along > 1.8 * OWN_DISTANCE_M] > OWN_DISTANCE_M).all())
