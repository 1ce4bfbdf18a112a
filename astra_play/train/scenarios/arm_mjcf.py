"""ArmScene -> MuJoCo model: an arm with the joints of gymnasium-robotics' Fetch, on a table in a room of plain shapes.

Only the asset files of that package are read (robot, meshes); neither it nor gymnasium is imported. What belongs to the
table stands in one frame that is turned to the camera, so that its coordinates are those of `arm_scene`.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astra_play.errors import DependencyError
from astra_play.train.scenarios.arm_scene import (
    AIM_UP_M,
    BLOCK_HALF_M,
    PLATE_RADIUS_M,
    VERTICAL_FOV_DEG,
    ArmScene,
    Ornament,
)
from astra_play.train.scenarios.paint import rgb, shade, tint

if TYPE_CHECKING:
    import mujoco

ROBOT = "robot0:"  # every name of the Fetch files begins so
ORIGIN_M = (1.25, 0.75, 0.4)  # the middle of the workspace on the table top, in the robot's world
BODYWORK_GROUP = 1  # of the shapes that are seen of the robot, so that a ray can be sent at them alone
SUBSTEPS = 31  # of 2.016 ms: exactly 1/16 s of world time a frame, close to the 2 ms that the robot was tuned for
FINGER_GAIN = 3000.0  # N per metre; the file's 30000 presses the fingers 3 mm into a block
FINGER_DAMPING = 250.0
FINGER_ARMATURE = 10.0
WELD_TIME_S = 0.006  # of the hand behind its command; the file's 0.02 would be still on its way when the frame ends
LIGHT_AWAY_M = 1.2
FILL_DIRECTION, FILL_SHARE = (0.0, 1.0, -0.35), 0.45  # a second light from behind the camera, of the lamp's strength
SHADOW_HALF_M = 1.2  # all that is seen must lie in the light's field, or the rest gets specks of shadow
WALL_AWAY_M = 0.62
TABLE_HALF_M = (0.5, 0.27, 0.02)
ROUND_TABLE_RADIUS_M = 0.4
# what blocks and fingers touch, under every table: a box resting on a cylinder sinks into it
TABLE_TOUCH = '<geom type="box" pos="0 0 -0.1" size="0.6 0.5 0.1" rgba="0 0 0 0"/>'
_NO_SHADOW = 0.99  # opacity: what can be seen through, however little, casts none; thin things get dotted ones
_TINY_M = 0.00015  # flat things lie this far over one another; a thicker rim would draw as a dotted line


@dataclass(frozen=True)
class _Part:
    """One shape on a link: place, half sizes and turn in the link's frame (x runs along the arm to the fingertips)."""

    kind: str
    paint: str
    at: tuple[float, float, float]
    size: tuple[float, ...]
    turn: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


_ALONG = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)  # the axis of a cylinder, z, laid along the arm, x
_ACROSS = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)  # the same axis laid across it, y
# Our own bodywork on the robot's kinematics: nothing of its meshes is seen. The picture ends below the elbow, and what
# only its shadow would show costs three quarters of the drawing, so the links above have none.
_BODYWORK = {
    "elbow_flex_link": (_Part("capsule", "arm", (0.13, 0, 0), (0.046, 0.06), _ALONG),),
    "forearm_roll_link": (_Part("cylinder", "wrist", (0.055, 0, 0), (0.05, 0.045), _ALONG),
                          _Part("cylinder", "dark", (0.004, 0, 0), (0.044, 0.008), _ALONG)),
    "wrist_flex_link": (_Part("cylinder", "dark", (0, 0, 0), (0.043, 0.05), _ACROSS),
                        _Part("capsule", "arm", (0.06, 0, 0), (0.038, 0.05), _ALONG)),
    "wrist_roll_link": (_Part("cylinder", "wrist", (0.03, 0, 0), (0.042, 0.03), _ALONG),
                        _Part("cylinder", "dark", (0.066, 0, 0), (0.034, 0.007), _ALONG)),
    "gripper_link": (_Part("box", "hand", (-0.07, 0, 0), (0.026, 0.072, 0.03)),
                     _Part("box", "dark", (-0.043, 0, 0), (0.003, 0.068, 0.024)),
                     _Part("cylinder", "hand", (-0.1, 0, 0), (0.034, 0.008), _ALONG)),
    "r_gripper_finger_link": (_Part("box", "fingers", (0, -0.008, 0), (0.0385, 0.007, 0.0135)),),
    "l_gripper_finger_link": (_Part("box", "fingers", (0, 0.008, 0), (0.0385, 0.007, 0.0135)),),
}


def asset_folder() -> Path:
    """Return the folder of the robot's files; DependencyError when gymnasium-robotics is not installed."""
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or not found.submodule_search_locations:
        raise DependencyError("gymnasium-robotics", "The arm simulator", "train")
    return Path(found.submodule_search_locations[0]) / "envs" / "assets"


def build_model(scene: ArmScene, width: int, height: int, fps: int) -> mujoco.MjModel:
    """Return the compiled world, its robot in the scene's colours and without helper lines."""
    import mujoco
    spec = mujoco.MjSpec.from_string(_Mjcf(scene, asset_folder()).text(width, height, fps))
    _dress_robot(spec, scene.robot)
    model = spec.compile()
    model.site_rgba[:] = 0
    model.eq_solref[:] = WELD_TIME_S, 1.0
    # anchor, place and turn of the hand against the commanded point: none, where the file keeps those of its first pose
    model.eq_data[:, :10] = 0, 0, 0, 0, 0, 0, 1, 0, 0, 0
    for side in "lr":
        joint = model.joint(f"{ROBOT}{side}_gripper_finger_joint")
        model.dof_armature[joint.dofadr], model.dof_damping[joint.dofadr] = FINGER_ARMATURE, FINGER_DAMPING
    return model


def _dress_robot(spec: mujoco.MjSpec, colours: tuple[str, str, str, str]) -> None:
    """Hide the robot's own shapes, which only touch, and hang the plain ones of `_BODYWORK` on the same links."""
    import mujoco
    kinds = {"box": mujoco.mjtGeom.mjGEOM_BOX, "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
             "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER, "sphere": mujoco.mjtGeom.mjGEOM_SPHERE}
    paints = dict(zip(("hand", "wrist", "arm", "fingers"), colours, strict=True))
    paints["dark"] = shade(colours[2], 0.45)
    for geom in spec.geoms:
        if geom.parent.name.startswith(ROBOT):
            geom.material, geom.rgba = "", (0, 0, 0, 0)
    for link, parts in _BODYWORK.items():
        body = spec.body(ROBOT + link)
        for part in parts:
            body.add_geom(type=kinds[part.kind], pos=part.at, size=_padded(part.size), quat=part.turn,
                          rgba=(*rgb(paints[part.paint]), 1), contype=0, conaffinity=0, mass=0, material="matte",
                          group=BODYWORK_GROUP)


def _padded(size: tuple[float, ...]) -> tuple[float, float, float]:
    return (*size, 0.0, 0.0)[:3]


class _Mjcf:
    """Writes the MJCF text of one scene, geom by geom."""

    def __init__(self, scene: ArmScene, assets: Path) -> None:
        self.scene, self.room, self.assets = scene, scene.room, assets
        self.geoms: list[str] = []

    def text(self, width: int, height: int, fps: int) -> str:
        scene, room = self.scene, self.room
        self.walls()
        self.table()
        for ornament in scene.ornaments:
            self.ornament(ornament)
        lift = math.radians(scene.elevation_deg)
        eye = 0, -scene.distance_m * math.cos(lift), AIM_UP_M + scene.distance_m * math.sin(lift)
        lamp = np.array(room.light_from) / np.linalg.norm(room.light_from)
        bright = rgb(room.light) * room.light_strength
        fetch = self.assets / "fetch"
        return f"""<mujoco>
          <compiler angle="radian" meshdir="{self.assets / 'stls' / 'fetch'}" texturedir="{self.assets / 'textures'}"/>
          <option timestep="{1 / (fps * SUBSTEPS)!r}"/>
          <visual>
            <global offwidth="{width}" offheight="{height}"/>
            <quality offsamples="4" shadowsize="768" numslices="20" numstacks="10" numquads="1"/>
            <headlight ambient="{_numbers(rgb(room.ambient))}" diffuse="0 0 0" specular="0 0 0"/>
            <map znear="0.2" zfar="6" shadowclip="{SHADOW_HALF_M:g}"/>
          </visual>
          <statistic extent="1" center="{_numbers(ORIGIN_M)}"/>
          <default><geom material="matte"/></default>
          <asset><material name="matte" specular="0" shininess="0"/></asset>
          <include file="{fetch / 'shared.xml'}"/>
          <worldbody>
            <include file="{fetch / 'robot.xml'}"/>
            <body pos="{_numbers(ORIGIN_M)}" euler="0 0 {math.radians(scene.azimuth_deg - 90)!r}">
              <camera name="eye" pos="{_numbers(eye)}" fovy="{VERTICAL_FOV_DEG:g}"
                      xyaxes="1 0 0 0 {math.sin(lift)!r} {math.cos(lift)!r}"/>
              <light directional="true" pos="{_numbers(LIGHT_AWAY_M * lamp)}" dir="{_numbers(-lamp)}"
                     diffuse="{_numbers(bright)}" specular="0 0 0"/>
              <light directional="true" dir="{_numbers(FILL_DIRECTION)}" diffuse="{_numbers(FILL_SHARE * bright)}"
                     specular="0 0 0" castshadow="false"/>
              {TABLE_TOUCH}
              {"".join(self.geoms)}
            </body>
            {"".join(self.block(index) for index in range(len(scene.blocks)))}
          </worldbody>
          <actuator>
            {"".join(self.finger(side) for side in "lr")}
          </actuator>
        </mujoco>"""

    def finger(self, side: str) -> str:
        return (f'<position joint="{ROBOT}{side}_gripper_finger_joint" kp="{FINGER_GAIN:g}" ctrllimited="true" '
                'ctrlrange="0 0.06"/>')

    def block(self, index: int) -> str:
        half = " ".join([f"{BLOCK_HALF_M:g}"] * 3)
        return (f'<body name="block{index}"><freejoint/><geom type="box" size="{half}" mass="0.4" condim="4" '
                f'friction="1 0.02 0.002" rgba="{_numbers(rgb(self.scene.blocks[index].colour))} 1"/></body>')

    def add(self, kind: str, colour: str, at: tuple[float, float, float], size: tuple[float, ...],
            turn_rad: float = 0.0, solid: bool = False, alpha: float = 1.0) -> None:
        touch = "" if solid else ' contype="0" conaffinity="0"'
        self.geoms.append(f'<geom type="{kind}" pos="{_numbers(at)}" size="{_numbers(size)}" '
                          f'euler="0 0 {turn_rad:.4f}" rgba="{_numbers(rgb(colour))} {alpha:g}"{touch}/>')

    def walls(self) -> None:
        room, floor_m = self.room, -ORIGIN_M[2]
        self.add("box", room.floor, (0, 0, floor_m - 0.05), (3, 3, 0.05))
        self.add("box", room.wall, (0, WALL_AWAY_M + 0.05, 0.6), (3, 0.05, 1.0))
        self.on_wall("box", room.panel, 0.0, floor_m + 0.12, 3.0, 0.13)
        self.on_wall("box", room.trim, 0.0, floor_m + 0.265, 3.0, 0.015)
        for poster in self.scene.posters:
            kind, half_width = ("box", poster.half_width_m) if poster.half_width_m else ("ellipsoid", 0.0)
            self.on_wall(kind, poster.colour, poster.x, poster.z, half_width or poster.half_height_m,
                         poster.half_height_m)

    def on_wall(self, kind: str, colour: str, x: float, z: float, half_width: float, half_height: float) -> None:
        self.add(kind, colour, (x, WALL_AWAY_M, z), (half_width, 0.0005, half_height), alpha=_NO_SHADOW)

    def table(self) -> None:
        scene, room = self.scene, self.room
        edge = shade(room.table, 0.82)
        if scene.round_table:
            radius, half_height = ROUND_TABLE_RADIUS_M, TABLE_HALF_M[2]
            self.add("cylinder", room.table, (0, 0, -half_height), (radius, half_height))
            self.add("cylinder", edge, (0, 0, -half_height - 0.004), (radius + 0.006, half_height))
            self.add("cylinder", edge, (0, 0, -0.22), (0.06, 0.2))
        else:
            wide, deep, half_height = TABLE_HALF_M
            self.add("box", room.table, (0, 0, -half_height), TABLE_HALF_M)
            self.add("box", edge, (0, 0, -half_height - 0.004), (wide + 0.006, deep + 0.006, half_height))
            for side in (-1, 1):
                self.add("box", edge, (side * (wide - 0.05), deep - 0.04, -0.22), (0.025, 0.025, 0.2))
        if scene.mat is not None:
            wide, deep, colour = scene.mat
            for grow, layer, paint in ((0.0, 1, tint(colour, room.trim, 0.6)), (-0.012, 2, colour)):
                thick = _TINY_M * layer / 2
                if deep:
                    self.add("box", paint, (0, 0, thick), (wide + grow, deep + grow, thick))
                else:
                    self.add("cylinder", paint, (0, 0, thick), (wide + grow, thick))
        if scene.plate is not None:
            x, y, colour = scene.plate
            for radius, layer, paint in ((PLATE_RADIUS_M, 3, colour),
                                         (0.72 * PLATE_RADIUS_M, 4, tint(colour, "#ffffff", 0.35))):
                self.add("cylinder", paint, (x, y, _TINY_M * layer / 2), (radius, _TINY_M * layer / 2))

    def ornament(self, thing: Ornament) -> None:
        x, y, (one, other), turn = thing.x, thing.y, thing.colours, thing.turn_rad
        match thing.kind:
            case "plant":
                self.add("cylinder", one, (x, y, 0.025), (0.03, 0.025), solid=True)
                self.add("cylinder", shade(one, 0.85), (x, y, 0.048), (0.034, 0.006))
                for side, up, size, paint in ((-0.014, 0.085, 0.034, "#4f9a5a"), (0.018, 0.098, 0.03, "#66b06a"),
                                              (0.0, 0.125, 0.024, "#3f8a50")):
                    self.add("ellipsoid", paint, (x + side, y + 0.5 * side, up), (size, size, 1.15 * size))
            case "books":
                for layer, paint in enumerate((one, other, tint(one, "#ffffff", 0.4))):
                    self.add("box", paint, (x, y, 0.012 + 0.024 * layer), (0.055 - 0.005 * layer, 0.038, 0.0115),
                             turn + 0.2 * layer, solid=True)
            case "mug":
                self.add("cylinder", one, (x, y, 0.033), (0.027, 0.033), solid=True)
                self.add("cylinder", shade(other, 0.55), (x, y, 0.0665), (0.022, 0.0005))
                self.add("box", one, (x + math.copysign(0.032, x), y, 0.035), (0.008, 0.005, 0.016))
            case "ball":
                self.add("cylinder", other, (x, y, 0.006), (0.024, 0.006), solid=True)
                self.add("sphere", one, (x, y, 0.047), (0.038,), solid=True)
            case "lamp":
                self.add("cylinder", other, (x, y, 0.006), (0.03, 0.006), solid=True)
                self.add("cylinder", other, (x, y, 0.06), (0.006, 0.055))
                self.add("ellipsoid", tint(one, "#fff6d8", 0.55), (x, y, 0.135), (0.042, 0.042, 0.034))


def _numbers(values: np.ndarray | tuple[float, ...]) -> str:
    return " ".join(f"{float(v):.5g}" for v in values)
