"""Things -> MJCF text: the low-poly trees, houses, lamps and the sky dome that outdoor worlds are built from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from astra_play.train.scenarios.paint import SKY_BOTTOM_RAD, LitScene, rgb, shade, sun_direction, tint
from astra_play.train.scenarios.scenery import TREE_SCALE, House, Palette, Spot, Tree

if TYPE_CHECKING:
    import mujoco

DOME_RADIUS_M = 220.0
LOWEST_LAMP_DEG = 38.0  # a true low sun leaves the ground nearly black


class Props:
    """Collects the MJCF text of one world, asset by asset and geom by geom, in the colours of its palette."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette
        self.assets: list[str] = []
        self.geoms: list[str] = []

    def colour(self, colour: str, haze: float = 0.0) -> str:
        """Return a colour as MJCF writes it, with so much of the haze of the distance mixed in."""
        return numbers(rgb(tint(colour, self.palette.sky_horizon, haze))) + " 1"

    def add(self, kind: str, colour: str, at: tuple[float, float, float], size: tuple[float, ...] = (),
            yaw: float = 0.0, mesh: str = "", glow: bool = False, haze: float = 0.0) -> None:
        """Add one part; `at` is its middle in metres, `size` its half sizes, `mesh` the name of an added mesh."""
        shape = f'mesh="{mesh}"' if mesh else f'size="{numbers(size)}"'
        lit = ' material="glow"' if glow else ""
        self.geoms.append(f'<geom type="{kind}" {shape} pos="{numbers(at)}" euler="0 0 {math.degrees(yaw):.2f}" '
                          f'rgba="{self.colour(colour, haze)}"{lit}/>')

    def mesh(self, name: str, triangles: np.ndarray, uv: np.ndarray | None = None, digits: int = 4) -> None:
        """Add a mesh with flat faces; triangles (N, 3, 3), uv (N, 3, 2), written with so many digits."""
        corners = triangles.reshape(-1, 3)
        texcoord = "" if uv is None else f' texcoord="{numbers(uv.reshape(-1), digits)}"'
        self.assets.append(f'<mesh name="{name}" vertex="{numbers(corners.reshape(-1), digits)}"{texcoord} '
                           f'face="{" ".join(map(str, range(len(corners))))}"/>')

    def meshes(self) -> None:
        """Add the shapes that `tree`, `rock`, `bush` and the like are made of, and the sky dome."""
        rng = np.random.default_rng(3)
        for size, scale in enumerate(TREE_SCALE):
            self.mesh(f"round{size}", blob(rng, 1.45 * scale, 1.35 * scale))
            self.mesh(f"tall{size}", blob(rng, 0.85 * scale, 2.0 * scale))
            self.mesh(f"conifer{size}", np.concatenate([
                cone(7, radius * scale, low * scale, high * scale, turn)
                for radius, low, high, turn in ((1.35, 0.9, 2.7, 0.0), (1.1, 2.0, 3.6, 0.4), (0.8, 3.0, 4.7, 0.9))]))
            self.mesh(f"rock{size}", blob(rng, (0.4, 0.6, 0.8)[size], (0.3, 0.42, 0.6)[size]))
        self.mesh("bush", blob(rng, 0.72, 0.55))
        self.mesh("spire", cone(8, 1.7, 0.0, 1.9, 0.0))
        self.mesh("needle", cone(4, 0.42, 0.0, 0.9, math.pi / 4))
        self.mesh("dome", *dome())

    def tree(self, tree: Tree, haze: float) -> None:
        """Add a tree: trunk and crown."""
        scale, name = TREE_SCALE[tree.size], f"{tree.kind}{tree.size}"
        trunk = {"round": 1.25, "conifer": 0.55, "tall": 1.0}[tree.kind] * scale
        self.add("cylinder", self.palette.trunk, (tree.x, tree.y, trunk), (0.2 * scale, trunk), haze=haze)
        if tree.kind == "conifer":
            self.add("mesh", tree.colour, (tree.x, tree.y, 0.0), yaw=tree.turn_rad, mesh=name, haze=haze)
            return
        lift = (3.1 if tree.kind == "round" else 3.7) * scale
        self.add("mesh", tree.colour, (tree.x, tree.y, lift), yaw=tree.turn_rad, mesh=name, haze=haze)
        if tree.kind == "round":
            side = 0.95 * scale * math.cos(tree.turn_rad), 0.95 * scale * math.sin(tree.turn_rad)
            self.add("mesh", shade(tree.colour, 0.93), (tree.x + side[0], tree.y + side[1], 2.6 * scale),
                     yaw=-tree.turn_rad, mesh="round0" if tree.size == 2 else "bush", haze=haze)

    def house(self, house: House) -> None:
        """Add a house with its roof, chimney, door and windows."""
        palette = self.palette
        depth, width, wall = house.half_depth_m, house.half_width_m, house.wall_m
        cos, sin = math.cos(house.yaw_rad), math.sin(house.yaw_rad)

        def part(colour: str, along: float, across: float, up: float, size: tuple[float, ...], glow: bool = False,
                 kind: str = "box", mesh: str = "") -> None:
            at = house.x + cos * along - sin * across, house.y + sin * along + cos * across, up
            self.add(kind, colour, at, size, house.yaw_rad, mesh, glow)

        part(house.wall, 0, 0, wall / 2, (depth, width, wall / 2))
        part(palette.stone, 0, 0, 0.15, (depth + 0.05, width + 0.05, 0.15))
        name = f"roof{len(self.assets)}"
        self.mesh(name, roof(depth + 0.4, width + 0.4, house.roof_m, house.gabled, 0.55 if house.gabled else 0.0))
        part(house.roof, 0, 0, wall, (), kind="mesh", mesh=name)
        part(shade(house.roof, 0.75), -0.4 * depth, 0.5 * width, wall + 0.75 * house.roof_m, (0.22, 0.22, 0.75))
        part(shade(house.roof, 0.8), depth, 0, 1.0, (0.06, 0.5, 1.0))
        part(palette.stone, depth + 0.3, 0, 0.06, (0.4, 0.7, 0.06))
        storeys = (1.5, 3.3) if wall > 4 else (1.5,)
        for up in storeys:
            for across in (-0.62 * width, 0.62 * width):
                part("#f7f3ea", depth, across, up, (0.05, 0.5, 0.52))
                part(palette.glass, depth + 0.02, across, up, (0.06, 0.4, 0.42), palette.lamps_lit)
                part(palette.glass, -depth - 0.02, across, up, (0.06, 0.42, 0.45), palette.lamps_lit)
            for side in (-1, 1):
                part("#f7f3ea", 0, side * width, up, (0.5, 0.05, 0.52))
                part(palette.glass, 0, side * (width + 0.02), up, (0.4, 0.06, 0.42), palette.lamps_lit)

    def bush(self, spot: Spot) -> None:
        """Add a bush."""
        self.add("mesh", self.palette.hedge, (spot.x, spot.y, 0.35), yaw=spot.yaw_rad, mesh="bush")

    def rock(self, spot: Spot) -> None:
        """Add a rock; its size picks one of three meshes."""
        name = f"rock{min(int((spot.size_m - 0.3) / 0.15), 2)}"
        self.add("mesh", self.palette.stone, (spot.x, spot.y, 0.12), yaw=spot.yaw_rad, mesh=name)

    def lamp(self, spot: Spot) -> None:
        """Add a garden lamp, lit in the evening."""
        self.add("cylinder", "#4a4a55", (spot.x, spot.y, 1.3), (0.08, 1.3))
        self.add("ellipsoid", "#ffeec2", (spot.x, spot.y, 2.75), (0.24, 0.24, 0.28), glow=self.palette.lamps_lit)

    def bench(self, spot: Spot) -> None:
        """Add a bench that looks along its yaw."""
        trunk, cos, sin = self.palette.trunk, math.cos(spot.yaw_rad), math.sin(spot.yaw_rad)
        self.add("box", trunk, (spot.x, spot.y, 0.42), (0.26, 0.9, 0.06), spot.yaw_rad)
        self.add("box", trunk, (spot.x - 0.26 * cos, spot.y - 0.26 * sin, 0.72), (0.05, 0.9, 0.24), spot.yaw_rad)
        self.add("box", "#4a4a55", (spot.x, spot.y, 0.2), (0.2, 0.6, 0.18), spot.yaw_rad)

    def flower(self, spot: Spot) -> None:
        """Add a clump of flowers."""
        self.add("ellipsoid", spot.colour, (spot.x, spot.y, 0.12), (0.32, 0.32, 0.22))


def lights(scene: LitScene) -> str:
    """Return the MJCF of the sun and of a faint light from its far side, so that no face is flat black."""
    sun, lamp = sun_direction(scene), sun_direction(scene, LOWEST_LAMP_DEG)
    light = numbers(rgb(scene.palette.sun) * scene.palette.sun_strength)
    fill = numbers(rgb(scene.palette.sky_top) * 0.16)
    return "".join(f'<light directional="true" dir="{numbers(direction)}" diffuse="{colour}" specular="0 0 0" '
                   'castshadow="false"/>'
                   for direction, colour in ((-lamp, light), (np.array([sun[0], sun[1], -0.6]), fill)))


def fill_textures(model: mujoco.MjModel, pictures: dict[str, np.ndarray]) -> None:
    """Paint (height, width, 3) uint8 pictures into the textures of the same names."""
    for name, picture in pictures.items():
        start = model.tex_adr[model.texture(name).id]
        model.tex_data[start:start + picture.size] = picture.reshape(-1)


def numbers(values: np.ndarray | tuple[float, ...], digits: int = 4) -> str:
    """Return numbers as MJCF writes them."""
    return " ".join([f"%.{digits}g"] * len(values)) % tuple(values)


def blob(rng: np.random.Generator, radius: float, half_height: float) -> np.ndarray:
    """Return the triangles of a dented ball, (N, 3, 3)."""
    turns, rings = 8, 4
    corners = np.zeros((rings + 1, turns, 3))
    for ring in range(rings + 1):
        lift = math.pi * (ring / rings - 0.5)
        for turn in range(turns):
            angle = 2 * math.pi * (turn + 0.5 * (ring % 2)) / turns
            size = 1.0 if ring in (0, rings) else rng.uniform(0.88, 1.1)
            out, up = size * radius * math.cos(lift), size * half_height * math.sin(lift)
            corners[ring, turn] = out * math.cos(angle), out * math.sin(angle), up
    triangles = []
    for ring in range(rings):
        for turn in range(turns):
            here, there = corners[ring], corners[ring + 1]
            onward, shift = (turn + 1) % turns, ring % 2
            if shift == 0:  # the upper ring is turned half a step ahead
                triangles += [(here[turn], here[onward], there[turn]), (here[onward], there[onward], there[turn])]
            else:
                triangles += [(here[turn], here[onward], there[onward]), (here[turn], there[onward], there[turn])]
    triangles = np.array(triangles)
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    return triangles[area > 1e-6]


def cone(sides: int, radius: float, low: float, high: float, turn: float) -> np.ndarray:
    """Return the triangles of an upright cone with its floor, (N, 3, 3)."""
    angles = turn + 2 * math.pi * np.arange(sides + 1) / sides
    rim = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(sides + 1, low)], axis=1)
    tip, floor = np.array([0, 0, high]), np.array([0, 0, low])
    return np.array([face for i in range(sides) for face in ((rim[i], rim[i + 1], tip), (rim[i + 1], rim[i], floor))])


def roof(depth: float, width: float, height: float, gabled: bool, lip: float) -> np.ndarray:
    """Return the triangles of a roof over a rectangle; the ridge runs across the front, shorter when not gabled."""
    ridge = width if gabled else max(width - depth, 0.05)
    a, b, c, d = (np.array(p, dtype=float) for p in
                  ((depth, -width, 0), (depth, width, 0), (-depth, width, 0), (-depth, -width, 0)))
    left, right = np.array([0.0, -ridge, height]), np.array([0.0, ridge, height])
    return np.array([(a, b, right), (a, right, left), (c, d, left), (c, left, right), (b, c, right), (d, a, left),
                     (a, d, c), (a, c, b)])


def dome() -> tuple[np.ndarray, np.ndarray]:
    """Return the sky dome seen from inside: triangles (N, 3, 3) and texture places (N, 3, 2)."""
    columns, rows = 32, 8
    triangles, places = [], []
    for row in range(rows):
        for column in range(columns):
            quad = []
            for right, top in ((0, 0), (1, 0), (1, 1), (0, 1)):
                u, v = (column + right) / columns, (row + top) / rows
                azimuth, up = 2 * math.pi * u - math.pi, SKY_BOTTOM_RAD + v * (math.pi / 2 - SKY_BOTTOM_RAD)
                quad.append((DOME_RADIUS_M * np.array([math.cos(up) * math.cos(azimuth),
                                                       math.cos(up) * math.sin(azimuth), math.sin(up)]), (u, v)))
            for a, b, c in ((0, 2, 1), (0, 3, 2)):  # wound to face inwards
                triangles.append((quad[a][0], quad[b][0], quad[c][0]))
                places.append((quad[a][1], quad[b][1], quad[c][1]))
    return np.array(triangles), np.array(places)
