"""Seed -> Scene: what stands where in one `drive` world, in metres, as plain numbers (no rendering here).

A closed road runs through country, a town, a racing circuit or a desert. World axes as in `scenery`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from astra_play.train.scenarios.drive_track import Track, make_track
from astra_play.train.scenarios.explore_scene import PALETTES
from astra_play.train.scenarios.scenery import TREE_SCALE, House, Obstacles, Palette, Spot, Tree

WORLD_RADIUS_M = 92.0  # the disc that can be driven on; a border fences it

DESERT_PALETTES = (
    Palette("desert noon", "#3b8fe2", "#f8e6c6", "#ffffff", 52, "#fff3d2", 0.66, "#787069",
            "#e6bd7e", "#d3a564", "#f0d6a2", "#4fb3d0", "#93a05c", "#7a4f33", "#c78a62", "#c9805f",
            ("#7f9a4d", "#95a65a"), ("#4f8f52", "#5f9f5c"),
            ("#f6dcb2", "#ecbd8c", "#fbeed6"), ("#c0693f", "#9a5a44", "#de935a"),
            ("#f06a4f", "#ffd24a", "#e85a9a"), "#7fb7d0"),
    Palette("desert evening", "#5560b0", "#ffb883", "#ffcfa8", 15, "#ffb27a", 0.70, "#8b7683",
            "#dc9d6c", "#c08358", "#e8b486", "#6f8fb8", "#8f8a55", "#6a4336", "#b9735a", "#a8627a",
            ("#868f55", "#9a9558"), ("#5a8158", "#6d8a58"),
            ("#ffdcb4", "#f0b48c", "#e8c8b4"), ("#a8503f", "#7f4a52", "#c9764f"),
            ("#ff7a5a", "#ffc85a", "#e0608c"), "#ffd68a", lamps_lit=True),
)
SNOW_PALETTE = Palette(
    "winter", "#6ba6de", "#e4eef6", "#ffffff", 30, "#fff0da", 0.58, "#848ea0",
    "#eaf0f6", "#cfd6dc", "#dde4ea", "#a4cbe2", "#6b8f84", "#6a5446", "#a9b1ba", "#b4c6d8",
    ("#f4f8fb", "#d8e4ec", "#c3d3d6"), ("#3f7560", "#64907f", "#e6eef2"),
    ("#f3dcc0", "#d97f62", "#c9b48f", "#e8c65e"), ("#f6fafc", "#e2eaf0", "#b5534a"),
    ("#d94f3d", "#f0b93a", "#5f8fd0"), "#ffd98a", lamps_lit=True)

THEMES = ("country", "town", "circuit", "desert")
THEME_SHARES = (0.34, 0.28, 0.22, 0.16)
SNOW_SHARE = 0.1  # of the worlds that are no desert
ASPHALTS = ("#737983", "#84807b", "#666c78")
CAR_COLOURS = ("#d8403a", "#2f6fd0", "#f2b632", "#3c9a5f", "#f0f0ee", "#38404e", "#e2762c", "#7a4fb0", "#5fb8c8")
KERB_COLOURS = (("#d8403a", "#f4f2ec"), ("#2f6fd0", "#f4f2ec"), ("#f2b632", "#39404c"))


@dataclass(frozen=True)
class SideRoad:
    """A straight road (x, y) -> (x, y) that leaves the closed one at `along_m`; nobody has to take it."""

    start: tuple[float, float]
    end: tuple[float, float]
    along_m: float
    half_width_m: float
    leaves_left: bool


@dataclass
class Scene:
    """One world: its light, its road and everything that stands beside it."""

    palette: Palette
    sun_azimuth_rad: float
    theme: str
    track: Track
    half_width_m: float
    asphalt: str
    centre_line: str
    kerb: tuple[str, str]
    bonnet: str
    bonnet_stripe: str
    side_roads: list[SideRoad] = field(default_factory=list)
    crossings: list[float] = field(default_factory=list)  # zebra crossings, positions along the track
    rails: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, y, yaw, half length
    houses: list[House] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    outer_trees: list[Tree] = field(default_factory=list)
    bushes: list[Spot] = field(default_factory=list)
    rocks: list[Spot] = field(default_factory=list)
    flowers: list[Spot] = field(default_factory=list)
    lamps: list[Spot] = field(default_factory=list)
    posts: list[Spot] = field(default_factory=list)
    signs: list[Spot] = field(default_factory=list)  # variant: 0 blue square, 1 yellow diamond, 2 arrow board
    cacti: list[Spot] = field(default_factory=list)
    parked: list[Spot] = field(default_factory=list)
    stands: list[Spot] = field(default_factory=list)
    gates: list[Spot] = field(default_factory=list)  # over the road; the feet stand size_m from the centre line
    hills: list[Spot] = field(default_factory=list)
    spawn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # x, y, yaw

    def obstacles(self) -> Obstacles:
        """Return the shapes that stop a car; what ends below the eye (bushes, flowers, posts) gives way."""
        circles = [(t.x, t.y, TREE_SCALE[t.size] * (1.2 if t.kind == "conifer" else 0.35)) for t in self.trees]
        circles += [(s.x, s.y, 0.2) for s in self.lamps]
        circles += [(s.x, s.y, 0.9 * s.size_m) for s in self.rocks]
        circles += [(s.x, s.y, 0.7 * s.size_m) for s in self.cacti]
        circles += [(s.x, s.y, 0.15) for s in self.signs if s.variant < 2]
        for gate in self.gates:
            for side in (-1, 1):
                circles.append((*beside(gate, side * gate.size_m), 0.4))
        boxes = [(h.x, h.y, h.yaw_rad, h.half_depth_m, h.half_width_m) for h in self.houses]
        boxes += [(x, y, yaw, half, 0.2) for x, y, yaw, half in self.rails]
        boxes += [(s.x, s.y, s.yaw_rad, 0.1, 0.9) for s in self.signs if s.variant == 2]
        boxes += [(s.x, s.y, s.yaw_rad, 2.1, 0.9) for s in self.parked]
        boxes += [(s.x, s.y, s.yaw_rad, 2.4, 6.0) for s in self.stands]
        return Obstacles(np.array(circles, dtype=np.float64).reshape(-1, 3),
                         np.array(boxes, dtype=np.float64).reshape(-1, 5), WORLD_RADIUS_M)


def beside(spot: Spot, left_m: float) -> tuple[float, float]:
    """Return the place to the left of a thing, as seen along its yaw."""
    return spot.x - left_m * math.sin(spot.yaw_rad), spot.y + left_m * math.cos(spot.yaw_rad)


def make_scene(seed: int) -> Scene:
    """Return the world of `seed`."""
    rng = np.random.default_rng([seed, 7])  # apart from the worlds of `explore`
    theme = str(rng.choice(THEMES, p=THEME_SHARES))
    asphalt = str(rng.choice(ASPHALTS))
    scene = Scene(
        palette=_palette(theme, rng), sun_azimuth_rad=float(rng.uniform(-math.pi, math.pi)), theme=theme,
        track=make_track(rng), half_width_m=float({"country": 3.4, "town": 3.7, "circuit": 4.5, "desert": 3.5}[theme]),
        asphalt=asphalt, centre_line="#f2c53a" if theme == "desert" or rng.random() < 0.35 else "#f4f2e8",
        kerb=KERB_COLOURS[int(rng.integers(len(KERB_COLOURS)))],
        bonnet=str(rng.choice(CAR_COLOURS)), bonnet_stripe=str(rng.choice(("", "#f6f4ee", "#2a2e38"))))
    _Builder(scene, rng).build()
    return scene


def _palette(theme: str, rng: np.random.Generator) -> Palette:
    if theme == "desert":
        return DESERT_PALETTES[int(rng.random() < 0.4)]
    if rng.random() < SNOW_SHARE:
        return SNOW_PALETTE
    return PALETTES[int(rng.integers(len(PALETTES)))]


class _Builder:
    """Places things one after the other, each where nothing else has claimed the ground."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng, self.track = scene, rng, scene.track
        self.claims: list[tuple[float, float, float]] = []  # x, y, radius
        self.mix = rng.dirichlet([2.0, 1.2, 0.9])  # of round trees, conifers and tall trees
        if scene.palette.name == "winter":
            self.mix = np.array([0.2, 0.75, 0.05])

    def build(self) -> None:
        theme = self.scene.theme
        if theme != "circuit":
            self.side_roads(count=int(self.rng.integers(1, 4)))
        if theme == "circuit":
            self.circuit()
        if theme == "town":
            self.town()
        self.rails()
        self.houses(count={"country": 8, "town": 26, "circuit": 3, "desert": 5}[theme],
                    nearest_m={"country": 3.5, "town": 2.6, "circuit": 9.0, "desert": 5.0}[theme])
        self.signs()
        self.trees()
        self.trifles()
        self.horizon()
        self.spawn()

    def side_roads(self, count: int) -> None:
        track, half = self.track, self.scene.half_width_m
        for _ in range(30):
            if len(self.scene.side_roads) == count:
                return
            along = self.rng.uniform(0, track.length_m)
            x, y, heading = track.place(along)
            outward = heading - math.pi / 2  # the track is run through with its inside to the left
            reach = np.arange(12.0, 200.0, 2.0)
            line = np.stack([x + reach * math.cos(outward), y + reach * math.sin(outward)], axis=1)
            line = line[np.hypot(line[:, 0], line[:, 1]) < WORLD_RADIUS_M]
            straight = abs(track.curvature[track.index(along)]) < 1 / 45
            alone = all(abs((along - other.along_m + track.length_m / 2) % track.length_m - track.length_m / 2) > 40
                        for other in self.scene.side_roads)
            if straight and alone and len(line) > 5 and min(track.distance_m(*p) for p in line) > half + 7:
                end = float(line[-1, 0]), float(line[-1, 1])
                self.scene.side_roads.append(SideRoad((x, y), end, along, 0.8 * half, leaves_left=False))

    def town(self) -> None:
        scene, track = self.scene, self.track
        for along in self.positions(every_m=75.0, jitter_m=20.0):
            if abs(track.curvature[track.index(along)]) < 1 / 40 and not self.at_junction(along, 8.0):
                scene.crossings.append(along)
        for index, along in enumerate(self.positions(every_m=17.0, jitter_m=2.0)):
            self.lamp_beside(along, side=1 if index % 2 else -1, gap_m=2.1)
        for along in self.positions(every_m=19.0, jitter_m=6.0):
            side = int(self.rng.choice((-1, 1)))
            x, y, heading = track.place(along, side * (scene.half_width_m - 0.9))
            near_crossing = any(abs(along - other) < 9 for other in scene.crossings)
            if self.rng.random() < 0.4 and not near_crossing and not self.at_junction(along, 9.0):
                self.park(x, y, heading + (math.pi if side > 0 else 0))

    def circuit(self) -> None:
        scene, track = self.scene, self.track
        straightest = float(np.argmin(_around(np.abs(track.curvature), 15))) * track.step_m
        x, y, heading = track.place(straightest)
        scene.gates.append(Spot(x, y, heading, scene.half_width_m + 1.6, scene.kerb[0]))
        self.claims += [(*beside(scene.gates[0], side * scene.gates[0].size_m), 1.0) for side in (-1, 1)]
        for shift in (-16.0, 16.0):
            for side in (-1, 1):
                px, py, heading = track.place(straightest + shift, side * (scene.half_width_m + 9.0))
                yaw = heading - side * math.pi / 2  # the front faces the road
                if self.is_free(px, py, 6.6, 4.0):
                    scene.stands.append(Spot(px, py, yaw, 1.0, str(self.rng.choice(CAR_COLOURS))))
                    self.claims.append((px, py, 6.6))

    def rails(self) -> None:
        """Fence the outside of sharp bends, and now and then a straight."""
        scene, track = self.scene, self.track
        limit, gap = (1 / 26, 2.6) if scene.theme == "circuit" else (1 / 20, 1.5)
        bend = _around(track.curvature, 5)
        fenced = {side: side * bend < -limit for side in (-1, 1)}  # the outside of a left bend is on the right
        for side, flags in fenced.items():
            if self.rng.random() < 0.6:
                start, length = int(self.rng.integers(len(flags))), int(self.rng.integers(20, 45))
                flags[np.arange(start, start + length) % len(flags)] = True
            for index in range(0, len(flags), 2):
                along = index * track.step_m
                if not flags[index] or self.at_junction(along, 6.0):
                    continue
                a, b = (np.array(track.place(along + shift, side * (scene.half_width_m + gap))[:2])
                        for shift in (-track.step_m, track.step_m))
                x, y = (a + b) / 2
                if self.is_free(x, y, 1.0, 0.9):
                    yaw = math.atan2(b[1] - a[1], b[0] - a[0])
                    scene.rails.append((float(x), float(y), yaw, math.hypot(*(b - a)) / 2 + 0.04))
        self.claims += [(x, y, 1.2) for x, y, _, _ in scene.rails]

    def houses(self, count: int, nearest_m: float) -> None:
        rng, scene, track = self.rng, self.scene, self.track
        palette = scene.palette
        for _ in range(12 * count):
            if len(scene.houses) == count:
                return
            side = int(rng.choice((-1, 1)))
            depth, width = rng.uniform(2.2, 3.2), rng.uniform(2.6, 4.2)
            away = scene.half_width_m + depth + nearest_m + rng.uniform(0, 2.5 if scene.theme == "town" else 14.0)
            x, y, heading = track.place(rng.uniform(0, track.length_m), side * away)
            around = math.hypot(depth, width)
            if math.hypot(x, y) > WORLD_RADIUS_M - around - 2 or not self.is_free(x, y, around + 0.5, depth + 1.4):
                continue
            flat = scene.theme == "desert"
            scene.houses.append(House(
                x, y, heading - side * math.pi / 2, depth, width,
                float(rng.choice([2.7, 3.1, 4.6], p=[0.35, 0.3, 0.35])), 0.45 if flat else rng.uniform(1.5, 2.3),
                bool(rng.random() < 0.65) and not flat, str(rng.choice(palette.walls)),
                str(rng.choice(palette.roofs))))
            self.claims.append((x, y, around))

    def signs(self) -> None:
        scene, track = self.scene, self.track
        bend = _around(track.curvature, 4)
        outside = scene.half_width_m + (4.2 if scene.theme == "circuit" else 2.6)
        for index in range(0, len(bend), 9):
            if abs(bend[index]) > 1 / 17:
                side = -math.copysign(1.0, bend[index])
                x, y, heading = track.place(index * track.step_m, side * outside)
                if self.is_free(x, y, 0.5, 1.0):
                    scene.signs.append(Spot(x, y, heading, 1.0, scene.kerb[0], variant=2))
                    self.claims.append((x, y, 0.8))
        for along in self.positions(every_m=45.0, jitter_m=15.0):
            side = int(self.rng.choice((-1, 1)))
            x, y, heading = track.place(along, side * (scene.half_width_m + 2.3))
            if self.is_free(x, y, 0.5, 1.0):
                scene.signs.append(Spot(x, y, heading, 1.0, "", variant=int(self.rng.integers(2))))
                self.claims.append((x, y, 0.8))
        if scene.theme in ("country", "desert"):
            for along in self.positions(every_m=13.0, jitter_m=0.0):
                for side in (-1, 1):
                    x, y, heading = track.place(along, side * (scene.half_width_m + 0.9))
                    if self.is_free(x, y, 0.1, 0.2):
                        scene.posts.append(Spot(x, y, heading, 1.0, "#f6f4ee"))
        if scene.theme == "circuit":
            for index, along in enumerate(self.positions(every_m=42.0, jitter_m=3.0)):
                self.lamp_beside(along, side=1 if index % 2 else -1, gap_m=4.5)

    def trees(self) -> None:
        rng, scene = self.rng, self.scene
        count, near_share = {"country": (150, 0.7), "town": (75, 0.6), "circuit": (110, 0.5), "desert": (0, 0)}[
            scene.theme]
        for near, number in ((True, round(count * near_share)), (False, count - round(count * near_share))):
            gap = 3.4 if scene.theme == "circuit" else 2.2
            for x, y in self.free_spots(number, gap_m=2.0, road_gap_m=gap, road_reach_m=11.0 if near else None):
                scene.trees.append(self.tree(x, y))
        if scene.theme == "desert":
            for x, y in self.free_spots(46, gap_m=1.2, road_gap_m=1.6, road_reach_m=22.0):
                scene.cacti.append(Spot(x, y, rng.uniform(0, 6.3), rng.uniform(0.7, 1.3),
                                        str(rng.choice(scene.palette.conifer)), variant=int(rng.integers(3))))

    def trifles(self) -> None:
        rng, scene, palette = self.rng, self.scene, self.scene.palette
        many = scene.theme == "desert"
        for x, y in self.free_spots(40 if many else 46, gap_m=0.8, road_gap_m=1.1, road_reach_m=14.0):
            scene.bushes.append(Spot(x, y, rng.uniform(0, 6.3), rng.uniform(0.5, 0.85), palette.hedge))
        for x, y in self.free_spots(60 if many else 18, gap_m=0.9, road_gap_m=1.2, road_reach_m=18.0):
            scene.rocks.append(Spot(x, y, rng.uniform(0, 6.3), rng.uniform(0.3, 0.75), palette.stone))
        if palette.name != "winter" and not many:
            for x, y in self.free_spots(60, gap_m=0.5, road_gap_m=0.8, road_reach_m=8.0):
                scene.flowers.append(Spot(x, y, 0.0, rng.uniform(0.8, 1.6), str(rng.choice(palette.flowers))))

    def horizon(self) -> None:
        rng, scene = self.rng, self.scene
        for index in range(0 if scene.theme == "desert" else 70):
            angle = 2 * math.pi * (index + rng.uniform(-0.4, 0.4)) / 70
            distance = rng.uniform(WORLD_RADIUS_M + 4, WORLD_RADIUS_M + 26)
            scene.outer_trees.append(self.tree(distance * math.cos(angle), distance * math.sin(angle)))
        for _ in range(int(rng.integers(7, 12))):
            angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(150, 185)
            scene.hills.append(Spot(distance * math.cos(angle), distance * math.sin(angle), rng.uniform(0, 6.3),
                                    rng.uniform(0.5, 1.0), scene.palette.far_hill))

    def spawn(self) -> None:
        """Stand in the right lane, where the road ahead is free."""
        obstacles, track = self.scene.obstacles(), self.track
        for _ in range(60):
            lane = -0.5 * self.scene.half_width_m
            reverse = self.rng.random() < 0.5
            along = self.rng.uniform(0, track.length_m)
            x, y, heading = track.place(along, -lane if reverse else lane)
            yaw = heading + math.pi if reverse else heading
            ahead = [obstacles.clearance_m(x + d * math.cos(yaw), y + d * math.sin(yaw)) for d in (0, 4, 8)]
            self.scene.spawn = x, y, math.remainder(yaw, 2 * math.pi)
            if min(ahead) > 1.5 and not any(abs(along - c) < 4 for c in self.scene.crossings):
                return

    def lamp_beside(self, along_m: float, side: int, gap_m: float) -> None:
        x, y, heading = self.track.place(along_m, side * (self.scene.half_width_m + gap_m))
        if not self.at_junction(along_m, 5.0) and self.is_free(x, y, 0.4, 0.4):
            # local +x points at the road
            self.scene.lamps.append(Spot(x, y, heading - side * math.pi / 2, 1.0, self.scene.palette.stone))
            self.claims.append((x, y, 0.8))

    def park(self, x: float, y: float, yaw_rad: float) -> None:
        self.scene.parked.append(Spot(x, y, yaw_rad, 1.0, str(self.rng.choice(CAR_COLOURS))))
        self.claims.append((x, y, 2.6))

    def tree(self, x: float, y: float) -> Tree:
        kind = str(self.rng.choice(["round", "conifer", "tall"], p=self.mix))
        colours = self.scene.palette.conifer if kind == "conifer" else self.scene.palette.leaves
        return Tree(x, y, kind, int(self.rng.integers(3)), str(self.rng.choice(colours)), self.rng.uniform(0, 6.3))

    def positions(self, every_m: float, jitter_m: float) -> list[float]:
        """Return positions along the track at about even distances."""
        count = max(1, round(self.track.length_m / every_m))
        even = np.arange(count) * self.track.length_m / count
        return [float(p % self.track.length_m) for p in even + self.rng.uniform(-jitter_m, jitter_m, count)]

    def at_junction(self, along_m: float, margin_m: float) -> bool:
        half = self.track.length_m / 2
        return any(abs((along_m - side.along_m + half) % (2 * half) - half) < side.half_width_m + margin_m
                   for side in self.scene.side_roads)

    def free_spots(self, count: int, gap_m: float, road_gap_m: float,
                   road_reach_m: float | None) -> list[tuple[float, float]]:
        """Return free places all over the world, or within a strip along the road."""
        rng, track, spots = self.rng, self.track, []
        for _ in range(8 * count):
            if len(spots) == count:
                break
            if road_reach_m is None:
                angle, distance = rng.uniform(0, 2 * math.pi), (WORLD_RADIUS_M - 2) * math.sqrt(rng.random())
                x, y = distance * math.cos(angle), distance * math.sin(angle)
            else:
                away = self.scene.half_width_m + rng.uniform(road_gap_m, road_reach_m)
                x, y, _ = track.place(rng.uniform(0, track.length_m), rng.choice((-1, 1)) * away)
            if math.hypot(x, y) < WORLD_RADIUS_M - 2 and self.is_free(x, y, gap_m, road_gap_m):
                self.claims.append((x, y, gap_m))
                spots.append((x, y))
        return spots

    def is_free(self, x: float, y: float, radius_m: float, road_gap_m: float) -> bool:
        """Say whether a disc is free of claims and its middle far enough from the edge of every road."""
        if any((x - cx) ** 2 + (y - cy) ** 2 < (radius_m + r) ** 2 for cx, cy, r in self.claims):
            return False
        if self.track.distance_m(x, y) < self.scene.half_width_m + road_gap_m:
            return False
        return all(_distance_to_road(road, x, y) > road.half_width_m + road_gap_m for road in self.scene.side_roads)


def _distance_to_road(road: SideRoad, x: float, y: float) -> float:
    start, step = np.array(road.start), np.subtract(road.end, road.start)
    share = min(max(float((np.array([x, y]) - start) @ step) / float(step @ step), 0.0), 1.0)
    nearest = start + share * step
    return math.hypot(x - nearest[0], y - nearest[1])


def _around(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the mean of each value of a closed line and its neighbours up to `reach` away."""
    return np.mean([np.roll(values, shift) for shift in range(-reach, reach + 1)], axis=0)
