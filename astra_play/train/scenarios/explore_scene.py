"""Seed -> Scene: what stands where in one `explore` world, in metres, as plain numbers (no rendering here).

World axes: x east, y north, z up; yaw is counted from +x towards +y, so a positive turn is to the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from astra_play.train.scenarios.scenery import TREE_SCALE, House, Obstacles, Palette, Spot, Tree

WORLD_RADIUS_M = 30.0  # the walkable disc; a border fences it


PALETTES = (
    Palette("spring morning", "#4f9be8", "#d3ecf7", "#ffffff", 42, "#fff1d6", 0.66, "#6e7685",
            "#86c25a", "#ead9ae", "#e6d3a0", "#58b4dc", "#4e9148", "#7a573b", "#b4b3ab", "#8db7ad",
            ("#f4a9c0", "#f7c6d3", "#8ccb5e", "#71b650"), ("#3f8a5c", "#4c9a62"),
            ("#fbf1dc", "#f6d9b4", "#cfe3ea", "#f3c8bd"), ("#d9614c", "#c9754a", "#5f86b3"),
            ("#f2d13d", "#ef6f9b", "#ffffff"), "#7fc0e6"),
    Palette("summer noon", "#2f86e6", "#bfe4fa", "#ffffff", 58, "#fffbe8", 0.68, "#6c7482",
            "#66b24a", "#efe0b6", "#ecd9a2", "#2fa5d8", "#35803c", "#6f4c33", "#a9aba9", "#79aebb",
            ("#4fa53f", "#6dbb46", "#3d9447"), ("#2a7a50", "#358a57"),
            ("#ffffff", "#f8e3a8", "#f2b48e", "#b7d8e8"), ("#cf4d3d", "#e08a3c", "#3f6fa8"),
            ("#ef4b4b", "#ffd43b", "#b46be0"), "#6fb7e6"),
    Palette("golden hour", "#6a9ad0", "#ffd9a0", "#ffe9cb", 20, "#ffc27a", 0.72, "#83756f",
            "#b9bd55", "#f6d79c", "#e9c789", "#77a9b8", "#6d8538", "#6b4630", "#b8a48e", "#c2a58e",
            ("#8fa83c", "#b7b03f", "#78963c"), ("#5b7f45", "#6a8a46"),
            ("#ffe6bd", "#f7c78c", "#e8a477", "#f3ddc8"), ("#b5513a", "#8f4a3c", "#7b6a86"),
            ("#ff8f4a", "#ffd45e", "#e0607c"), "#93b7c4"),
    Palette("autumn afternoon", "#5e97cf", "#e9e4d2", "#fbf7ee", 34, "#ffe3b4", 0.68, "#74706f",
            "#a8a657", "#e2c999", "#d8bd86", "#5d9db5", "#8b8440", "#5f4330", "#a9a299", "#b3a79a",
            ("#e2812e", "#d2502f", "#ecb038", "#c96a2c"), ("#55784a", "#628650"),
            ("#f6ead2", "#e3c39a", "#c9d3cf", "#dba583"), ("#8e4438", "#6f5a52", "#b96b3d"),
            ("#d94f3d", "#f0b93a", "#a3589c"), "#9cc4d4"),
    Palette("dusk", "#3b3f86", "#f39c8a", "#c9829b", 14, "#ffae94", 0.62, "#8b82ad",
            "#6f9a7c", "#b9a3a8", "#b49aa0", "#7079b4", "#3f6457", "#54414f", "#8e879c", "#7c6a98",
            ("#6ba583", "#8790c4", "#5f9480"), ("#4b8080", "#57888a"),
            ("#d9c3cc", "#c7a5b4", "#a9b0cf", "#dcb4a4"), ("#6b4468", "#7d4a58", "#48507f"),
            ("#f08aa8", "#f5c46a", "#b58af0"), "#ffd277", lamps_lit=True),
    Palette("overcast", "#aebbc6", "#dde3e4", "#eef1f1", 65, "#fff8ec", 0.52, "#8f959c",
            "#86b06c", "#d3cbb4", "#cbbf9f", "#86a9b6", "#587d55", "#6b5a4c", "#a3a8aa", "#aebbbd",
            ("#6b9a64", "#86aa6d", "#5c8b69"), ("#4b7863", "#56836b"),
            ("#ebe7dd", "#d6cdbb", "#b9c7cc", "#d9b7a8"), ("#8a4d48", "#5f6b78", "#93694d"),
            ("#e8d46a", "#d98ab0", "#f3f3f3"), "#a9c6d6", sun_hidden=True),
)
PALETTE_SHARES = (0.22, 0.22, 0.18, 0.18, 0.12, 0.08)


@dataclass
class Scene:
    """One world: its light, its ground plan and everything that stands on it."""

    palette: Palette
    sun_azimuth_rad: float
    paths: list[tuple[np.ndarray, float]] = field(default_factory=list)  # polyline (P, 2), half width in metres
    plazas: list[tuple[float, float, float]] = field(default_factory=list)
    ponds: list[tuple[float, float, float]] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    outer_trees: list[Tree] = field(default_factory=list)
    bushes: list[Spot] = field(default_factory=list)
    rocks: list[Spot] = field(default_factory=list)
    lamps: list[Spot] = field(default_factory=list)
    benches: list[Spot] = field(default_factory=list)
    flowers: list[Spot] = field(default_factory=list)
    landmarks: list[Spot] = field(default_factory=list)
    spawn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # x, y, yaw

    def obstacles(self) -> Obstacles:
        """Return the shapes that stop a walker; bushes and flowers do not."""
        circles = [(t.x, t.y, TREE_SCALE[t.size] * (1.2 if t.kind == "conifer" else 0.3)) for t in self.trees]
        circles += [(s.x, s.y, 0.15) for s in self.lamps]
        circles += [(s.x, s.y, 0.9 * s.size_m) for s in self.rocks]
        circles += [(s.x, s.y, s.size_m) for s in self.landmarks]
        circles += list(self.ponds)
        boxes = [(h.x, h.y, h.yaw_rad, h.half_depth_m, h.half_width_m) for h in self.houses]
        boxes += [(s.x, s.y, s.yaw_rad, 0.3, 0.9) for s in self.benches]
        return Obstacles(np.array(circles, dtype=np.float64).reshape(-1, 3),
                         np.array(boxes, dtype=np.float64).reshape(-1, 5), WORLD_RADIUS_M)


def make_scene(seed: int) -> Scene:
    """Return the world of `seed`: a park with a ring path and a pond, or a small town around a crossing."""
    rng = np.random.default_rng(seed)
    palette = PALETTES[int(rng.choice(len(PALETTES), p=PALETTE_SHARES))]
    scene = Scene(palette, sun_azimuth_rad=float(rng.uniform(-math.pi, math.pi)))
    builder = _Builder(scene, rng)
    if rng.random() < 0.5:
        builder.park()
    else:
        builder.town()
    builder.trees_and_trifles()
    scene.spawn = _find_spawn(scene, rng)
    return scene


class _Builder:
    """Places things one after the other, each where nothing else has claimed the ground."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng = scene, rng
        self.claims: list[tuple[float, float, float]] = []  # x, y, radius

    def park(self) -> None:
        rng, scene = self.rng, self.scene
        radius, lean = rng.uniform(12.5, 17.0), rng.uniform(0, 2 * math.pi)
        angles = np.linspace(0, 2 * math.pi, 49)
        wobble = radius * (1 + 0.14 * np.sin(2 * angles + lean) + 0.06 * np.sin(3 * angles - lean))
        ring = np.stack([wobble * np.cos(angles), wobble * np.sin(angles)], axis=1)
        scene.paths.append((ring, 1.15))
        num_spokes = int(rng.integers(3, 5))
        for spoke in range(num_spokes):
            at = int(48 * (spoke + rng.uniform(0.1, 0.5)) / num_spokes)
            scene.paths.append((np.stack([ring[at], ring[at] / np.hypot(*ring[at]) * (WORLD_RADIUS_M - 0.6)]), 1.0))
        across = int(rng.integers(24))
        if rng.random() < 0.5:
            scene.paths.append((np.stack([ring[across], ring[across + 24]]), 1.0))
            plaza = (ring[across] + ring[across + 24]) / 2
        else:
            plaza = ring[across]
        scene.plazas.append((float(plaza[0]), float(plaza[1]), 3.4))
        self.landmark(float(plaza[0]), float(plaza[1]))
        self.pond(max_distance_m=7.5 if rng.random() < 0.6 else 22.0)
        self.houses(num_houses=int(rng.integers(2, 5)))

    def town(self) -> None:
        rng, scene = self.rng, self.scene
        turn = rng.uniform(0, 2 * math.pi)
        centre = rng.uniform(-4, 4, 2)
        for street in range(2):
            angle = turn + street * math.pi / 2 + rng.uniform(-0.2, 0.2)
            along = np.array([math.cos(angle), math.sin(angle)])
            reach = WORLD_RADIUS_M - 0.6
            ends = []
            for sign in (-1, 1):
                ahead = sign * float(along @ centre)
                ends.append(centre + sign * along * (math.sqrt(ahead**2 + reach**2 - centre @ centre) - ahead))
            bend = np.array([-along[1], along[0]]) * rng.uniform(-2, 2)
            middle = (ends[0] + centre) / 2 + bend, (ends[1] + centre) / 2 - bend
            scene.paths.append((np.stack([ends[0], middle[0], centre, middle[1], ends[1]]), 1.5))
        scene.plazas.append((float(centre[0]), float(centre[1]), rng.uniform(5.0, 6.5)))
        self.landmark(float(centre[0]), float(centre[1]))
        if rng.random() < 0.5:
            self.pond(max_distance_m=22.0)
        self.houses(num_houses=int(rng.integers(6, 10)))

    def landmark(self, x: float, y: float) -> None:
        roofs = self.scene.palette.roofs
        spot = Spot(x, y, self.rng.uniform(0, math.pi), 1.4, roofs[int(self.rng.integers(len(roofs)))],
                    variant=int(self.rng.integers(4)))
        self.scene.landmarks.append(spot)
        self.claims.append((x, y, 2.6))

    def pond(self, max_distance_m: float) -> None:
        for _ in range(60):
            angle, distance = self.rng.uniform(0, 2 * math.pi), max_distance_m * math.sqrt(self.rng.random())
            x, y, radius = distance * math.cos(angle), distance * math.sin(angle), self.rng.uniform(2.8, 4.6)
            if self.is_free(x, y, radius + 1.2):
                discs = [(x, y, radius)]
                for _ in range(2):
                    turn, size = self.rng.uniform(0, 2 * math.pi), radius * self.rng.uniform(0.55, 0.8)
                    lobe = (x + 0.75 * radius * math.cos(turn), y + 0.75 * radius * math.sin(turn), size)
                    if self.is_free(lobe[0], lobe[1], size + 0.8):
                        discs.append(lobe)
                self.scene.ponds += discs
                self.claims += [(px, py, r + 0.7) for px, py, r in discs]
                return

    def houses(self, num_houses: int) -> None:
        rng, palette = self.rng, self.scene.palette
        points = [(p, half) for line, half in self.scene.paths for p in _along(line, 1.5)]
        for _ in range(400):
            if len(self.scene.houses) == num_houses:
                return
            (point, heading), half_path = points[int(rng.integers(len(points)))]
            side = heading + math.pi / 2 * rng.choice([-1, 1])
            depth, width = rng.uniform(1.9, 2.7), rng.uniform(2.2, 3.4)
            away = half_path + depth + rng.uniform(1.2, 3.0)
            x, y = point[0] + away * math.cos(side), point[1] + away * math.sin(side)
            around = math.hypot(depth, width)
            if math.hypot(x, y) > WORLD_RADIUS_M - around - 0.8 or not self.is_free(x, y, around + 0.7, depth + 0.9):
                continue
            self.scene.houses.append(House(
                x, y, side + math.pi, depth, width, rng.choice([2.5, 2.9, 4.4], p=[0.45, 0.35, 0.2]),
                rng.uniform(1.3, 2.0), bool(rng.random() < 0.65), str(rng.choice(palette.walls)),
                str(rng.choice(palette.roofs))))
            self.claims.append((x, y, around))

    def trees_and_trifles(self) -> None:
        rng, scene, palette = self.rng, self.scene, self.scene.palette
        for point, heading, half in self.beside_paths(every_m=9.0):
            x, y = point[0] + (half + 0.5) * math.cos(heading), point[1] + (half + 0.5) * math.sin(heading)
            if len(scene.lamps) < 9 and self.is_free(x, y, 0.3, 0.3):
                scene.lamps.append(Spot(x, y, heading + math.pi, 0.1, palette.stone))
                self.claims.append((x, y, 0.8))
        for point, heading, half in self.beside_paths(every_m=12.0):
            x, y = point[0] + (half + 0.7) * math.cos(heading), point[1] + (half + 0.7) * math.sin(heading)
            if len(scene.benches) < 4 and self.is_free(x, y, 1.0, 0.4):
                scene.benches.append(Spot(x, y, heading + math.pi, 0.9, palette.trunk))
                self.claims.append((x, y, 1.1))
        mix = rng.dirichlet([2.0, 1.2, 0.8])
        for x, y in self.free_spots(count=int(rng.integers(24, 36)), gap_m=1.9, path_gap_m=1.1):
            scene.trees.append(self.tree(x, y, mix))
        for x, y in self.free_spots(count=16, gap_m=0.8, path_gap_m=0.8):
            scene.bushes.append(Spot(x, y, rng.uniform(0, 6.3), rng.uniform(0.5, 0.85), palette.hedge))
        for x, y in self.free_spots(count=9, gap_m=0.6, path_gap_m=0.6):
            scene.rocks.append(Spot(x, y, rng.uniform(0, 6.3), rng.uniform(0.3, 0.75), palette.stone))
        for x, y in self.free_spots(count=14, gap_m=0.8, path_gap_m=0.7):
            scene.flowers.append(Spot(x, y, 0.0, rng.uniform(0.7, 1.3), str(rng.choice(palette.flowers))))
        for index in range(30):
            angle = 2 * math.pi * (index + rng.uniform(-0.4, 0.4)) / 30
            distance = rng.uniform(34, 46)
            scene.outer_trees.append(self.tree(distance * math.cos(angle), distance * math.sin(angle), mix))

    def tree(self, x: float, y: float, mix: np.ndarray) -> Tree:
        kind = str(self.rng.choice(["round", "conifer", "tall"], p=mix))
        colours = self.scene.palette.conifer if kind == "conifer" else self.scene.palette.leaves
        return Tree(x, y, kind, int(self.rng.integers(3)), str(self.rng.choice(colours)), self.rng.uniform(0, 6.3))

    def beside_paths(self, every_m: float) -> list[tuple[np.ndarray, float, float]]:
        """Return points on the paths, the heading from there to one side (alternating), and the half width."""
        return [(point, heading + (math.pi / 2 if index % 2 else -math.pi / 2), half)
                for line, half in self.scene.paths
                for index, (point, heading) in enumerate(_along(line, every_m))]

    def free_spots(self, count: int, gap_m: float, path_gap_m: float) -> list[tuple[float, float]]:
        spots = []
        for _ in range(12 * count):
            angle = self.rng.uniform(0, 2 * math.pi)
            distance = (WORLD_RADIUS_M - 1.2) * math.sqrt(self.rng.random())
            x, y = distance * math.cos(angle), distance * math.sin(angle)
            if len(spots) < count and self.is_free(x, y, gap_m, path_gap_m):
                self.claims.append((x, y, gap_m))
                spots.append((x, y))
        return spots

    def is_free(self, x: float, y: float, radius_m: float, path_gap_m: float | None = None) -> bool:
        """Say whether a disc is free of claims; `path_gap_m` None keeps the whole disc off the paths too."""
        if any(math.hypot(x - cx, y - cy) < radius_m + r for cx, cy, r in self.claims):
            return False
        gap = radius_m if path_gap_m is None else path_gap_m
        if any(math.hypot(x - px, y - py) < r + gap for px, py, r in self.scene.plazas):
            return False
        return all(_distance_to_line(line, x, y) > half + gap for line, half in self.scene.paths)


def _along(line: np.ndarray, every_m: float) -> list[tuple[np.ndarray, float]]:
    """Return points every few metres along a polyline, each with the heading of its segment."""
    found, carried = [], every_m / 2
    for start, end in pairwise(line):
        length, heading = math.hypot(*(end - start)), math.atan2(end[1] - start[1], end[0] - start[0])
        while carried < length:
            found.append((start + (end - start) * carried / length, heading))
            carried += every_m
        carried -= length
    return found


def _distance_to_line(line: np.ndarray, x: float, y: float) -> float:
    start, step = line[:-1], line[1:] - line[:-1]
    share = np.clip(((np.array([x, y]) - start) * step).sum(1) / np.maximum((step**2).sum(1), 1e-9), 0, 1)
    nearest = start + share[:, None] * step
    return float(np.hypot(nearest[:, 0] - x, nearest[:, 1] - y).min())


def _find_spawn(scene: Scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a free place on a path, looking along an open view with something standing in it."""
    obstacles = scene.obstacles()
    sights = np.array([(s.x, s.y, 3.0) for s in scene.landmarks] + [(h.x, h.y, 2.0) for h in scene.houses]
                      + [(x, y, 2.0) for x, y, _ in scene.ponds] + [(t.x, t.y, 0.6) for t in scene.trees])
    points = [point for line, _ in scene.paths for point, _ in _along(line, 1.0) if math.hypot(*point) < 24]
    best, best_score = (0.0, 0.0, 0.0), -math.inf
    for _ in range(40):
        x, y = points[int(rng.integers(len(points)))] + rng.normal(0, 0.3, 2)
        yaw = rng.uniform(-math.pi, math.pi)
        ahead = [obstacles.clearance_m(x + d * math.cos(yaw), y + d * math.sin(yaw)) for d in (0, 1.5, 3, 4.5, 6)]
        if min(ahead) < 0.8:
            continue
        away, bearing = np.hypot(sights[:, 0] - x, sights[:, 1] - y), np.arctan2(sights[:, 1] - y, sights[:, 0] - x)
        off = np.abs((bearing - yaw + math.pi) % (2 * math.pi) - math.pi)
        score = float((sights[:, 2] * ((off < 0.5) & (away > 5) & (away < 24))).sum())
        if score > best_score:
            best, best_score = (float(x), float(y), float(yaw)), score
    return best
