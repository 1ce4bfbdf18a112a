"""Scene -> MuJoCo model: everything that stands is low-poly geometry, the ground and the sky are painted pictures.

Distance haze is mixed into the colours of what stands outside the fence. No part is a plane except the painted ground:
MuJoCo draws a large plane as so many small squares that it costs more than all other parts together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from astra_play.train.scenarios.explore_paint import GROUND_HALF_M, GROUND_PX, paint_ground
from astra_play.train.scenarios.explore_scene import WORLD_RADIUS_M, Scene
from astra_play.train.scenarios.paint import SKY_SIZE_PX, paint_sky, rgb, shade, tint
from astra_play.train.scenarios.props import Props, fill_textures, lights, numbers
from astra_play.train.scenarios.scenery import Spot

if TYPE_CHECKING:
    import mujoco

VERTICAL_FOV_DEG = 45


def build_model(scene: Scene, width: int, height: int) -> mujoco.MjModel:
    """Return the compiled world with its pictures painted in."""
    import mujoco
    model = mujoco.MjModel.from_xml_string(_Mjcf(scene, width, height).text())
    # a mesh's texture is stored bottom row first, a plane's top row first
    fill_textures(model, {"ground": paint_ground(scene), "sky": paint_sky(scene)[::-1]})
    return model


class _Mjcf(Props):
    """Writes the MJCF text of one scene, geom by geom."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        super().__init__(scene.palette)
        self.scene = scene
        self.size = width, height

    def text(self) -> str:
        palette = self.palette
        self.meshes()
        for tree in self.scene.trees:
            self.tree(tree, haze=0.0)
        for tree in self.scene.outer_trees:
            self.tree(tree, haze=0.28)
        for house in self.scene.houses:
            self.house(house)
        for spot in self.scene.landmarks:
            (self.fountain, self.obelisk, self.tower, self.gazebo)[spot.variant](spot)
        self.fence()
        self.trifles()
        width, height = self.size
        return f"""<mujoco>
          <visual>
            <global fovy="{VERTICAL_FOV_DEG}" offwidth="{width}" offheight="{height}"/>
            <quality offsamples="4" shadowsize="0" numslices="12" numstacks="8"/>
            <headlight ambient="{numbers(rgb(palette.ambient))}" diffuse="0 0 0" specular="0 0 0"/>
            <map znear="0.08" zfar="400"/>
          </visual>
          <statistic extent="1" center="0 0 0"/>
          <default><geom contype="0" conaffinity="0" material="matte"/><mesh inertia="shell"/></default>
          <asset>
            <texture name="ground" type="2d" builtin="flat" width="{GROUND_PX}" height="{GROUND_PX}"/>
            <texture name="sky" type="2d" builtin="flat" width="{SKY_SIZE_PX[0]}" height="{SKY_SIZE_PX[1]}"/>
            <material name="matte" specular="0" shininess="0"/>
            <material name="ground" texture="ground" specular="0" texrepeat="1 1"/>
            <material name="sky" texture="sky" emission="1" specular="0"/>
            <material name="glow" emission="0.8" specular="0"/>
            {"".join(self.assets)}
          </asset>
          <worldbody>
            {lights(self.scene)}
            <camera name="eye" pos="0 0 1.6" fovy="{VERTICAL_FOV_DEG}"/>
            <geom type="plane" size="{GROUND_HALF_M} {GROUND_HALF_M} 1" material="ground"/>
            <geom type="box" size="230 230 0.1" pos="0 0 -0.15" rgba="{self.colour(palette.grass, 0.2)}"/>
            <geom type="mesh" mesh="dome" material="sky"/>
            {"".join(self.geoms)}
          </worldbody>
        </mujoco>"""

    def fountain(self, spot: Spot) -> None:
        palette = self.palette
        self.add("cylinder", palette.stone, (spot.x, spot.y, 0.25), (1.4, 0.25))
        self.add("cylinder", palette.water, (spot.x, spot.y, 0.27), (1.2, 0.25))
        self.add("cylinder", palette.stone, (spot.x, spot.y, 0.7), (0.22, 0.7))
        self.add("cylinder", palette.stone, (spot.x, spot.y, 1.4), (0.6, 0.08))
        self.add("ellipsoid", tint(palette.water, "#ffffff", 0.6), (spot.x, spot.y, 1.6), (0.4, 0.4, 0.4))

    def obelisk(self, spot: Spot) -> None:
        self.add("box", self.palette.stone, (spot.x, spot.y, 0.25), (1.0, 1.0, 0.25), spot.yaw_rad)
        self.add("box", tint(self.palette.stone, "#ffffff", 0.35), (spot.x, spot.y, 2.2), (0.3, 0.3, 1.8), spot.yaw_rad)
        self.add("mesh", spot.colour, (spot.x, spot.y, 4.0), yaw=spot.yaw_rad, mesh="needle")

    def tower(self, spot: Spot) -> None:
        wall = self.palette.walls[0]
        self.add("cylinder", wall, (spot.x, spot.y, 2.6), (1.2, 2.6))
        self.add("cylinder", self.palette.stone, (spot.x, spot.y, 0.25), (1.35, 0.25))
        self.add("cylinder", shade(wall, 0.85), (spot.x, spot.y, 4.9), (1.35, 0.2))
        self.add("mesh", spot.colour, (spot.x, spot.y, 5.1), yaw=spot.yaw_rad, mesh="spire")
        for turn in (0, 2.1, 4.2):
            angle = spot.yaw_rad + turn
            self.add("box", self.palette.glass, (spot.x + 1.18 * math.cos(angle), spot.y + 1.18 * math.sin(angle), 2.6),
                     (0.08, 0.3, 0.6), angle, glow=self.palette.lamps_lit)

    def gazebo(self, spot: Spot) -> None:
        self.add("cylinder", self.palette.stone, (spot.x, spot.y, 0.12), (1.5, 0.12))
        for turn in range(6):
            angle = spot.yaw_rad + turn * math.pi / 3
            self.add("cylinder", "#f3eee2", (spot.x + 1.25 * math.cos(angle), spot.y + 1.25 * math.sin(angle), 1.3),
                     (0.11, 1.2))
        self.add("mesh", spot.colour, (spot.x, spot.y, 2.5), yaw=spot.yaw_rad, mesh="spire")

    def fence(self) -> None:
        num_parts, away = 28, WORLD_RADIUS_M + 0.9
        for index in range(num_parts):
            angle = 2 * math.pi * index / num_parts
            tall = (0.62, 0.74)[index % 2]
            self.add("box", shade(self.palette.hedge, (1.0, 0.9)[index % 2]),
                     (away * math.cos(angle), away * math.sin(angle), tall), (0.45, 3.55, tall), angle)

    def trifles(self) -> None:
        scene = self.scene
        for spot in scene.bushes:
            self.bush(spot)
        for spot in scene.rocks:
            self.rock(spot)
        for spot in scene.lamps:
            self.lamp(spot)
        for spot in scene.benches:
            self.bench(spot)
        for spot in scene.flowers[::2]:
            self.flower(spot)
