"""Scene -> MuJoCo model of a `drive` world: a road of ribbons, painted land, and the bonnet of the player's own car.

What repeats along the road (lines, kerbs, rails, posts) is gathered into one mesh per colour: MuJoCo then draws some
hundred things instead of thousands.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from astra_play.train.scenarios.drive_paint import GROUND_HALF_M, GROUND_PX, ROAD_SIZE_PX, paint_grounds
from astra_play.train.scenarios.drive_scene import WORLD_RADIUS_M, Scene, beside
from astra_play.train.scenarios.paint import SKY_SIZE_PX, paint_sky, rgb, shade, tint
from astra_play.train.scenarios.props import Props, cone, dome, fill_textures, lights, numbers
from astra_play.train.scenarios.scenery import Spot

if TYPE_CHECKING:
    import mujoco

EYE_HEIGHT_M = 1.2
VERTICAL_FOV_DEG = 45
LINE_M = 0.22  # wider than a real line, or it is thinner than a pixel before the next bend
# (ahead, height, share of the full width) of its ridge, seen from an eye at 1.2 m: from below the picture to the nose
BONNET = ((0.62, 0.80, 1.2), (1.62, 0.62, 0.95), (1.72, 0.45, 0.85))
WHITE, DARK, STEEL = "#f6f4ee", "#33373f", "#b9bec6"


def build_model(scene: Scene, width: int, height: int) -> mujoco.MjModel:
    """Return the compiled world with its pictures painted in; bodies `car` and `sky` are to be moved with the eye."""
    import mujoco
    model = mujoco.MjModel.from_xml_string(_Mjcf(scene, width, height).text())
    land, road = paint_grounds(scene)
    # a mesh's texture is stored bottom row first
    fill_textures(model, {"land": land[::-1], "road": road[::-1], "sky": paint_sky(scene)[::-1]})
    return model


class _Mjcf(Props):
    """Writes the MJCF text of one scene."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        super().__init__(scene.palette)
        self.scene, self.track = scene, scene.track
        self.size = width, height
        self.solids: dict[str, list[np.ndarray]] = defaultdict(list)  # colour -> triangles
        self.shapes: dict[str, np.ndarray] = {}  # mesh -> its triangles

    def text(self) -> str:
        scene, palette = self.scene, self.palette
        self.meshes()
        super().mesh("dome", *dome())
        super().mesh("slab", *_slab())
        super().mesh("road", *self.road(), digits=6)
        self.road_lines()
        self.kerbs()
        self.side_roads()
        self.border()
        for rail in scene.rails:
            self.rail(*rail)
        for post in scene.posts:
            self.solids[post.colour].append(_box(post.x, post.y, 0.45, 0.06, 0.06, 0.45, post.yaw_rad))
            self.solids[DARK].append(_box(post.x, post.y, 0.72, 0.065, 0.065, 0.09, post.yaw_rad))
        for sign in scene.signs:
            (self.square_sign, self.diamond_sign, self.arrow_board)[sign.variant](sign)
        for tree in scene.trees:
            self.tree(tree, haze=0.0)
        for tree in scene.outer_trees:
            self.tree(tree, haze=0.3)
        for house in scene.houses:
            self.house(house)
        for things, draw in ((scene.bushes, self.bush), (scene.rocks, self.rock), (scene.lamps, self.street_lamp),
                             (scene.cacti, self.cactus), (scene.parked, self.parked_car), (scene.stands, self.stand),
                             (scene.gates, self.gate), (scene.hills, self.hill), (scene.flowers[::2], self.flower)):
            for spot in things:
                draw(spot)
        for index, (colour, triangles) in enumerate(self.solids.items()):
            super().mesh(f"solid{index}", np.concatenate(triangles), digits=6)
            super().add("mesh", colour, (0, 0, 0), mesh=f"solid{index}")
        world, self.geoms = self.geoms, []
        self.own_bonnet()
        width, height = self.size
        return f"""<mujoco>
          <visual>
            <global fovy="{VERTICAL_FOV_DEG}" offwidth="{width}" offheight="{height}"/>
            <quality offsamples="4" shadowsize="0" numslices="10" numstacks="6"/>
            <headlight ambient="{numbers(rgb(palette.ambient))}" diffuse="0 0 0" specular="0 0 0"/>
            <map znear="0.15" zfar="420"/>
          </visual>
          <statistic extent="1" center="0 0 0"/>
          <default><geom contype="0" conaffinity="0" material="matte"/><mesh inertia="shell"/></default>
          <asset>
            <texture name="land" type="2d" builtin="flat" width="{GROUND_PX}" height="{GROUND_PX}"/>
            <texture name="road" type="2d" builtin="flat" width="{ROAD_SIZE_PX[0]}" height="{ROAD_SIZE_PX[1]}"/>
            <texture name="sky" type="2d" builtin="flat" width="{SKY_SIZE_PX[0]}" height="{SKY_SIZE_PX[1]}"/>
            <material name="matte" specular="0" shininess="0"/>
            <material name="land" texture="land" specular="0"/>
            <material name="road" texture="road" specular="0"/>
            <material name="sky" texture="sky" emission="1" specular="0"/>
            <material name="glow" emission="0.8" specular="0"/>
            {"".join(self.assets)}
          </asset>
          <worldbody>
            {lights(scene)}
            <geom type="mesh" mesh="slab" material="land"/>
            <geom type="mesh" mesh="road" material="road"/>
            <geom type="box" size="330 330 0.1" pos="0 0 -0.2" rgba="{self.colour(palette.grass, 0.2)}"/>
            {"".join(world)}
            <body name="sky" mocap="true"><geom type="mesh" mesh="dome" material="sky"/></body>
            <body name="car" mocap="true">
              <camera name="eye" pos="0 0 {EYE_HEIGHT_M}" xyaxes="0 -1 0 0 0 1" fovy="{VERTICAL_FOV_DEG}"/>
              {"".join(self.geoms)}
            </body>
          </worldbody>
        </mujoco>"""

    def mesh(self, name: str, triangles: np.ndarray, uv: np.ndarray | None = None, digits: int = 4) -> None:
        """Keep a mesh, from which `add` takes its copies."""
        self.shapes[name] = triangles

    def add(self, kind: str, colour: str, at: tuple[float, float, float], size: tuple[float, ...] = (),
            yaw: float = 0.0, mesh: str = "", glow: bool = False, haze: float = 0.0) -> None:
        """Put a part with the others of its colour; what glows or is round all over stays a thing of its own."""
        if glow or kind not in ("box", "cylinder", "mesh"):
            super().add(kind, colour, at, size, yaw, mesh, glow, haze)
            return
        if kind == "box":
            triangles = _box(*at, *size, yaw)
        elif kind == "cylinder":
            triangles = _prism(*at, *size)
        else:
            cos, sin = math.cos(yaw), math.sin(yaw)
            triangles = self.shapes[mesh] @ np.array([(cos, sin, 0), (-sin, cos, 0), (0, 0, 1)]) + np.array(at)
        self.solids[tint(colour, self.palette.sky_horizon, haze)].append(triangles)

    # --- the road

    def road(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the triangles (N, 3, 3) of the road's surface and their texture places (N, 3, 2)."""
        half = self.scene.half_width_m
        surface = _ribbon(_closed(self.track.edge(-half)), _closed(self.track.edge(half)), 0.03)
        share = np.linspace(0, 1, len(self.track.line) + 1)
        places = _ribbon(np.stack([share, np.zeros_like(share)], 1), np.stack([share, np.ones_like(share)], 1), 0.0)
        return surface, places[..., :2]

    def strip(self, colour: str, left_m: float, width_m: float, is_there: np.ndarray, lift_m: float,
              thick: bool = False) -> None:
        """Lay a ribbon of a colour beside the centre line, on the steps where `is_there` (N,) is true.

        A `thick` one also has faces towards the road and away from it.
        """
        right, left = (_closed(self.track.edge(left_m + side * width_m / 2)) for side in (-1, 1))
        kept = np.repeat(is_there, 2)
        self.solids[colour].append(_ribbon(right, left, lift_m)[kept])
        if thick:
            self.solids[shade(colour, 0.8)] += [_wall(right, 0.0, lift_m, outward=-1)[kept],
                                                _wall(left, 0.0, lift_m, outward=1)[kept]]

    def road_lines(self) -> None:
        scene, track = self.scene, self.track
        half, steps = scene.half_width_m, np.arange(len(track.line))
        along = steps * track.step_m
        clear = np.ones(len(steps), bool)
        for crossing in scene.crossings:
            clear &= np.abs(along - crossing) > 2.4
        not_left, not_right = clear.copy(), clear.copy()
        for road in scene.side_roads:
            away = np.abs((along - road.along_m + track.length_m / 2) % track.length_m - track.length_m / 2)
            (not_left if road.leaves_left else not_right)[away < road.half_width_m + 0.4] = False
        self.strip(WHITE, half - 0.35, LINE_M, not_left, 0.045)
        self.strip(WHITE, 0.35 - half, LINE_M, not_right, 0.045)
        if scene.theme != "circuit":
            narrow = np.abs(track.curvature) > 1 / 22
            self.strip(scene.centre_line, 0.0, LINE_M, clear & (narrow | (steps % 7 < 3)), 0.045)
        if scene.theme == "town":
            for side, is_there in ((1, not_left | ~clear), (-1, not_right | ~clear)):
                pavement = tint(scene.palette.stone, "#ffffff", 0.25)
                self.strip(pavement, side * (half + 0.9), 1.8, is_there, 0.13, thick=True)
        for crossing in scene.crossings:
            for left in np.arange(-half + 0.8, half - 0.5, 0.95):
                x, y, heading = track.place(crossing, left)
                self.solids[WHITE].append(_box(x, y, 0.03, 1.5, 0.26, 0.02, heading))
        for gate in scene.gates:
            for row in (0, 1):
                for column, left in enumerate(np.arange(-half + 0.4, half, 0.8)):
                    x, y = beside(gate, left)
                    at = x + 0.8 * row * math.cos(gate.yaw_rad), y + 0.8 * row * math.sin(gate.yaw_rad)
                    self.solids[(WHITE, DARK)[(row + column) % 2]].append(
                        _box(*at, 0.03, 0.4, 0.4, 0.02, gate.yaw_rad))

    def kerbs(self) -> None:
        """Lay the striped kerbs of a circuit on both sides of its bends."""
        scene, track = self.scene, self.track
        if scene.theme != "circuit":
            return
        bend = np.abs(track.curvature) > 1 / 45
        bend = np.any([np.roll(bend, shift) for shift in range(-3, 4)], axis=0)
        first = np.arange(len(bend)) // 2 % 2 == 0
        for side in (-1, 1):
            for colour, stripe in ((scene.kerb[0], first), (scene.kerb[1], ~first)):
                self.strip(colour, side * (scene.half_width_m + 0.4), 0.9, bend & stripe, 0.07, thick=True)

    def side_roads(self) -> None:
        for road in self.scene.side_roads:
            start, end = np.array(road.start), np.array(road.end)
            ahead = (end - start) / math.hypot(*(end - start))
            left = np.array([-ahead[1], ahead[0]])
            line = np.stack([start + ahead * distance for distance in (0.0, math.hypot(*(end - start)))])
            edges = line - road.half_width_m * left, line + road.half_width_m * left
            self.solids[tint(self.scene.asphalt, self.palette.sun, 0.06)].append(_ribbon(*edges, 0.02))
            first = self.scene.half_width_m + 2.0
            for distance in np.arange(first, math.hypot(*(end - start)) - 2, 6.0):
                x, y = start + ahead * (distance + 1.2)
                self.solids[self.scene.centre_line].append(
                    _box(x, y, 0.02, 1.2, LINE_M / 2, 0.015, math.atan2(ahead[1], ahead[0])))

    def border(self) -> None:
        """Ring the world with a hedge, a wall of boards or boulders, so that its edge can be seen."""
        theme, palette = self.scene.theme, self.palette
        colour = {"country": palette.hedge, "town": palette.hedge, "circuit": palette.stone,
                  "desert": shade(palette.stone, 0.95)}[theme]
        num_parts, away = 96, WORLD_RADIUS_M + 1.0
        for index in range(num_parts):
            angle = 2 * math.pi * index / num_parts
            tall = (0.75, 0.9, 0.8)[index % 3]
            self.solids[shade(colour, (1.0, 0.92)[index % 2])].append(
                _box(away * math.cos(angle), away * math.sin(angle), tall, 0.5, 3.1, tall, angle))

    def rail(self, x: float, y: float, yaw: float, half: float) -> None:
        if self.scene.theme == "circuit":
            colour = self.scene.kerb[round((x + y) / 4) % 2]
            self.solids[colour].append(_box(x, y, 0.45, half, 0.18, 0.45, yaw))
        elif self.scene.theme == "town":
            self.solids[self.palette.hedge].append(_box(x, y, 0.5, half, 0.4, 0.5, yaw))
        elif self.scene.theme == "desert":
            self.solids[WHITE].append(_box(x, y, 0.4, half * 0.62, 0.16, 0.16, yaw))
            self.solids[self.scene.kerb[0]].append(_box(x, y, 0.12, half * 0.62, 0.15, 0.12, yaw))
        else:
            self.solids[STEEL].append(_box(x, y, 0.62, half, 0.06, 0.17, yaw))
            self.solids[shade(STEEL, 0.6)].append(_box(x, y, 0.35, 0.07, 0.09, 0.35, yaw))

    # --- beside the road

    def square_sign(self, spot: Spot) -> None:
        self.solids[STEEL].append(_box(spot.x, spot.y, 1.0, 0.05, 0.05, 1.0, spot.yaw_rad))
        self.solids[WHITE].append(_box(spot.x, spot.y, 2.0, 0.03, 0.46, 0.46, spot.yaw_rad))
        self.solids["#2f6fd0"].append(_box(spot.x, spot.y, 2.0, 0.04, 0.38, 0.38, spot.yaw_rad))
        self.solids[WHITE].append(_box(spot.x, spot.y, 1.98, 0.05, 0.1, 0.24, spot.yaw_rad))

    def diamond_sign(self, spot: Spot) -> None:
        self.solids[STEEL].append(_box(spot.x, spot.y, 1.0, 0.05, 0.05, 1.0, spot.yaw_rad))
        for colour, size, thick in ((WHITE, 0.6, 0.03), ("#f2c53a", 0.47, 0.04)):
            self.solids[colour].append(_diamond(spot, 2.05, size, thick))

    def arrow_board(self, spot: Spot) -> None:
        for shift in (-0.5, 0.5):
            self.solids[STEEL].append(_box(*beside(spot, shift), 0.5, 0.05, 0.05, 0.5, spot.yaw_rad))
        for index, shift in enumerate((-0.75, -0.45, -0.15, 0.15, 0.45, 0.75)):
            self.solids[(spot.colour, WHITE)[index % 2]].append(
                _box(*beside(spot, shift), 1.15, 0.04, 0.15, 0.32, spot.yaw_rad))

    def street_lamp(self, spot: Spot) -> None:
        cos, sin = math.cos(spot.yaw_rad), math.sin(spot.yaw_rad)
        self.add("cylinder", "#4a4e58", (spot.x, spot.y, 2.4), (0.09, 2.4))
        self.add("box", "#4a4e58", (spot.x + 0.6 * cos, spot.y + 0.6 * sin, 4.75), (0.7, 0.07, 0.06), spot.yaw_rad)
        self.add("box", "#fff0c4", (spot.x + 1.2 * cos, spot.y + 1.2 * sin, 4.66), (0.36, 0.16, 0.08), spot.yaw_rad,
                 glow=self.palette.lamps_lit)

    def cactus(self, spot: Spot) -> None:
        size = spot.size_m
        self.add("capsule", spot.colour, (spot.x, spot.y, 1.4 * size), (0.3 * size, 1.4 * size))
        for side, low, high in ((1, 1.1, 0.55), (-1, 1.5, 0.4))[:spot.variant]:
            x, y = beside(spot, side * 0.75 * size)
            self.add("box", shade(spot.colour, 0.92), (*beside(spot, side * 0.45 * size), low * size),
                     (0.14 * size, 0.35 * size, 0.16 * size), spot.yaw_rad)
            self.add("capsule", spot.colour, (x, y, (low + 0.5 * high) * size), (0.19 * size, 0.6 * high * size))

    def parked_car(self, spot: Spot) -> None:
        cos, sin = math.cos(spot.yaw_rad), math.sin(spot.yaw_rad)

        def part(colour: str, ahead: float, left: float, up: float, size: tuple[float, float, float]) -> None:
            self.solids[colour].append(_box(spot.x + cos * ahead - sin * left, spot.y + sin * ahead + cos * left, up,
                                            *size, spot.yaw_rad))

        part(spot.colour, 0.0, 0.0, 0.58, (2.05, 0.86, 0.27))
        self.solids[tint(self.palette.glass, DARK, 0.35)].append(
            _taper(spot.x - 0.2 * cos, spot.y - 0.2 * sin, 0.85, 1.32, (1.25, 0.8), (0.75, 0.66), spot.yaw_rad))
        part(spot.colour, -0.2, 0.0, 1.34, (0.74, 0.66, 0.04))
        for left in (-1, 1):
            part("#d63a36", -2.04, left * 0.6, 0.66, (0.03, 0.18, 0.09))
            part("#fff3cf", 2.04, left * 0.6, 0.62, (0.03, 0.2, 0.09))
            for ahead in (-1.25, 1.25):
                at = beside(Spot(spot.x + cos * ahead, spot.y + sin * ahead, spot.yaw_rad, 1.0, ""), left * 0.78)
                self.solids["#25282e"].append(_wheel(*at, spot.yaw_rad, side=left))
        part("#25282e", 0.0, 0.0, 0.26, (1.9, 0.6, 0.1))

    def stand(self, spot: Spot) -> None:
        """Draw a grandstand that rises away from the road, full of people."""
        rng = np.random.default_rng(int(abs(spot.x) * 100))
        cos, sin = math.cos(spot.yaw_rad), math.sin(spot.yaw_rad)
        for row in range(4):
            back = 1.6 - 1.1 * row
            x, y = spot.x + back * cos, spot.y + back * sin
            self.solids[shade(self.palette.stone, 1.0 - 0.06 * row)].append(
                _box(x, y, 0.35 * (row + 1), 0.55, 5.8, 0.35 * (row + 1), spot.yaw_rad))
            for place in np.arange(-5.3, 5.4, 0.75):
                if rng.random() < 0.75:
                    at = x - place * sin, y + place * cos
                    colour = ("#d8403a", "#2f6fd0", "#f2b632", "#f0f0ee", "#3c9a5f")[int(rng.integers(5))]
                    self.solids[colour].append(_box(*at, 0.7 * (row + 1) + 0.35, 0.16, 0.2, 0.35, spot.yaw_rad))
        x, y = spot.x - 2.0 * cos, spot.y - 2.0 * sin
        self.solids[spot.colour].append(_box(x + 1.4 * cos, y + 1.4 * sin, 4.9, 2.6, 6.0, 0.12, spot.yaw_rad))
        for place in (-5.6, 0.0, 5.6):
            self.solids[STEEL].append(_box(x - place * sin, y + place * cos, 2.45, 0.12, 0.12, 2.45, spot.yaw_rad))

    def gate(self, spot: Spot) -> None:
        for side in (-1, 1):
            self.solids[STEEL].append(_box(*beside(spot, side * spot.size_m), 2.8, 0.25, 0.25, 2.8, spot.yaw_rad))
        self.solids[spot.colour].append(_box(spot.x, spot.y, 5.4, 0.3, spot.size_m + 0.25, 0.6, spot.yaw_rad))
        for index, left in enumerate(np.arange(-spot.size_m + 0.6, spot.size_m - 0.3, 0.6)):
            for row in (0, 1):
                if (index + row) % 2:
                    self.solids[WHITE].append(_box(*beside(spot, left), 5.2 + 0.4 * row, 0.32, 0.3, 0.2, spot.yaw_rad))

    def hill(self, spot: Spot) -> None:
        """Draw a far hill, or a table mountain in the desert."""
        colour = tint(spot.colour, self.palette.sky_horizon, 0.25 + 0.3 * (1 - spot.size_m))
        if self.scene.theme == "desert":
            wide, high = 16 + 18 * spot.size_m, 8 + 20 * spot.size_m
            middle = 0.45 * high
            for tone, low_m, high_m, below, above in ((1.0, -0.2, middle, (1.5, 1.0), (1.05, 0.6)),
                                                      (0.93, middle, high, (0.95, 0.55), (0.85, 0.5))):
                self.solids[shade(colour, tone)].append(
                    _taper(spot.x, spot.y, low_m, high_m, (below[0] * wide, below[1] * wide),
                           (above[0] * wide, above[1] * wide), spot.yaw_rad))
        else:
            wide, high = 26 + 34 * spot.size_m, 7 + 17 * spot.size_m
            hill = cone(7, wide, -0.2, high, spot.yaw_rad) + np.array([spot.x, spot.y, 0.0])
            self.solids[colour].append(hill)

    # --- the player's own car

    def own_bonnet(self) -> None:
        """Add the bonnet in the axes of the car: a ridge, two shoulders, and wings that fall away."""
        scene = self.scene
        profile = ((0.0, 0.0), (0.36, 0.015), (0.62, 0.06), (0.74, 0.2))  # of its half: left, and below the ridge

        def corner(at: tuple[float, float, float], point: tuple[float, float], side: int) -> tuple[float, float, float]:
            ahead, up, share = at
            return ahead, side * point[0] * share, up - point[1] * share

        for index, tone in enumerate((1.0, 0.94, 0.82)):
            quads = [_quad(*(corner(at, point, side) for at, point in (
                         (near, profile[index]), (far, profile[index]), (far, profile[index + 1]),
                         (near, profile[index + 1])))) for side in (-1, 1)
                     for near, far in (BONNET[:2], BONNET[1:])]
            self.bonnet_part(shade(scene.bonnet, tone), quads)
        if scene.bonnet_stripe and scene.bonnet_stripe != scene.bonnet:
            near, far = BONNET[:2]
            self.bonnet_part(scene.bonnet_stripe, [
                _quad(*((ahead, (left + side * 0.07) * share, up + 0.006) for (ahead, up, share), side in (
                    (near, -1), (far, -1), (far, 1), (near, 1)))) for left in (-0.14, 0.14)])

    def bonnet_part(self, colour: str, quads: list[np.ndarray]) -> None:
        name = f"bonnet{len(self.assets)}"
        super().mesh(name, np.concatenate(quads))
        super().add("mesh", colour, (0, 0, 0), mesh=name)


def _closed(line: np.ndarray) -> np.ndarray:
    return np.concatenate([line, line[:1]])


def _ribbon(right: np.ndarray, left: np.ndarray, lift_m: float) -> np.ndarray:
    """Return the triangles (2 N - 2, 3, 3) of the strip between two lines (N, 2), seen from above."""
    a, b = (np.concatenate([line, np.full((len(line), 1), lift_m)], axis=1) for line in (right, left))
    return np.stack([np.stack([a[:-1], a[1:], b[1:]], 1), np.stack([a[:-1], b[1:], b[:-1]], 1)], 1).reshape(-1, 3, 3)


def _wall(line: np.ndarray, low_m: float, high_m: float, outward: int) -> np.ndarray:
    """Return the triangles (2 N - 2, 3, 3) of an upright strip along a line, seen from its left (1) or right (-1)."""
    low, high = (np.concatenate([line, np.full((len(line), 1), lift)], axis=1) for lift in (low_m, high_m))
    if outward < 0:
        low, high = high, low
    return np.stack([np.stack([low[:-1], high[1:], low[1:]], 1),
                     np.stack([low[:-1], high[:-1], high[1:]], 1)], 1).reshape(-1, 3, 3)


def _quad(*corners: Sequence[float]) -> np.ndarray:
    """Return the two triangles of four corners in a ring, turned so that they are seen from above."""
    a, b, c, d = (np.array(corner, dtype=float) for corner in corners)
    normal = np.cross(b - a, c - a) + np.cross(c - a, d - a)
    if normal[2] < 0:
        b, d = d, b
    return np.array([(a, b, c), (a, c, d)])


_FACES = np.array([(0, 2, 1), (0, 3, 2), (4, 5, 6), (4, 6, 7), (0, 1, 5), (0, 5, 4), (1, 2, 6), (1, 6, 5),
                   (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7)])  # of a box: corners 0-3 below, 4-7 above


def _taper(x: float, y: float, low_m: float, high_m: float, below: tuple[float, float], above: tuple[float, float],
           yaw: float) -> np.ndarray:
    """Return the triangles (12, 3, 3) of a block whose floor and roof have these half sizes."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = [(x + cos * a * half_x - sin * b * half_y, y + sin * a * half_x + cos * b * half_y, up)
               for (half_x, half_y), up in ((below, low_m), (above, high_m))
               for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return np.array(corners)[_FACES]


def _box(x: float, y: float, up: float, half_x: float, half_y: float, half_z: float, yaw: float) -> np.ndarray:
    return _taper(x, y, up - half_z, up + half_z, (half_x, half_y), (half_x, half_y), yaw)


def _prism(x: float, y: float, up: float, radius: float, half_z: float) -> np.ndarray:
    """Return the side faces and the roof of an upright post with six sides, (18, 3, 3)."""
    angles = math.pi * np.arange(7) / 3
    rim = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles), np.full(7, up)], axis=1)
    low, high, top = rim - (0, 0, half_z), rim + (0, 0, half_z), np.array([x, y, up + half_z])
    return np.array([face for i in range(6) for face in (
        (low[i], low[i + 1], high[i + 1]), (low[i], high[i + 1], high[i]), (high[i], high[i + 1], top))])


def _wheel(x: float, y: float, yaw: float, side: int) -> np.ndarray:
    """Return a lying prism that rolls along the yaw, its closed end towards the left (1) or the right (-1)."""
    ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    outward = side * np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    turned = np.stack([ahead, np.cross(outward, ahead), outward])
    return _prism(0.0, 0.0, 0.0, 0.34, 0.11) @ turned + (x, y, 0.32)


def _diamond(spot: Spot, up: float, size: float, thick: float) -> np.ndarray:
    """Return the triangles of a square plate that stands on a corner and faces along the yaw of its spot."""
    cos, sin = math.cos(spot.yaw_rad), math.sin(spot.yaw_rad)
    corners = [(spot.x + cos * ahead - sin * left, spot.y + sin * ahead + cos * left, up + lift)
               for ahead in (thick, -thick) for left, lift in ((-size, 0), (0, -size), (size, 0), (0, size))]
    return np.array(corners)[_FACES[:, ::-1]]


def _slab() -> tuple[np.ndarray, np.ndarray]:
    """Return the painted land as two triangles, and their texture places."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    triangles = np.concatenate([corners * GROUND_HALF_M, np.zeros((4, 1))], axis=1)[[(0, 1, 2), (0, 2, 3)]]
    return triangles, (corners / 2 + 0.5)[[(0, 1, 2), (0, 2, 3)]]
