"""ArmControl -> frame: the hand of a robot arm over a table with blocks, simulated and rendered by MuJoCo.

The robot is the Fetch arm of gymnasium-robotics' FetchPickAndPlace-v4; as there, a weld draws the hand along behind a
commanded point, while arm, fingers and blocks obey contact physics. Rewards and episode ends of that task play no part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astra_play.actions import rows
from astra_play.config import ControlsConfig
from astra_play.train.scenarios.arm_mjcf import ORIGIN_M, ROBOT, SUBSTEPS, asset_folder, build_model
from astra_play.train.scenarios.arm_scene import (
    BLOCK_HALF_M,
    VERTICAL_FOV_DEG,
    WORKSPACE_M,
    ArmScene,
    make_scene,
)
from astra_play.train.scenarios.arm_shadow import ShadowTruth, shadow_truth
from astra_play.train.scenarios.arm_tabletop import TabletopTruth, Things, tabletop_truth
from astra_play.train.scenarios.drawing import import_mujoco

FPS = 16
KEY_SPEED_M_S = 0.24  # from one side of the workspace to the other in 1.4 s
KEY_STEP_M = KEY_SPEED_M_S / FPS
MAX_STEP_M = 0.03  # per frame; the fastest sweep of the mouse that training sees
LEASH_M = 0.004  # how far the commanded point may stay ahead of a hand that something holds back
BLOCKED_SHARE = 0.5  # of the commanded way; less than that and something held the hand
FINGER_STROKE_M = 0.05  # of each finger, from closed to open
FINGER_STEP_M = 0.0125  # per frame: opening and closing take a quarter of a second, so that both can be seen
ARRIVED_SHARE = 0.6  # of a frame's substeps; the rest lets the hand catch up before the picture is taken
HIDDEN_GROUP = 5  # of geoms, that MuJoCo does not draw unless asked to
SETTLE_STEPS = 600  # 1.2 s: from the stretched pose to within 0.1 mm of the start


@dataclass(frozen=True)
class ArmControl:
    """The commanded motion of the hand for one frame (1/16 s) as the player sees it, and the gripper command.

    `close` is where the fingers are sent, 0 open to 1 closed, whatever they do now.
    """

    right_m: float = 0.0
    away_m: float = 0.0
    up_m: float = 0.0
    close: float = 0.0

    def row(self) -> np.ndarray:
        """Return the (7,) action row of this motion, without any limits."""
        return rows.arm_row(self.right_m, self.away_m, self.up_m, self.close)

    def values(self) -> tuple[float, float, float, float]:
        """Return (right, away, up, close), the order in which episodes store controls."""
        return self.right_m, self.away_m, self.up_m, self.close

    @classmethod
    def from_keys(cls, right: int, away: int, up: int, close: float = 0.0) -> ArmControl:
        """Return full speed along the keys held, each -1, 0 or 1."""
        share = KEY_STEP_M / math.hypot(right, away, up) if right or away or up else 0.0
        return cls(right * share, away * share, up * share, close)


def player_axes(azimuth_deg: float) -> np.ndarray:
    """Return the (3, 3) rotation whose rows are right, away and up of the player in the robot's world."""
    sin, cos = math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))
    return np.array([[sin, -cos, 0.0], [cos, sin, 0.0], [0.0, 0.0, 1.0]])


class Arm:
    """The scenario: `reset(seed)` lays a table, `step(control)` moves the hand; both return (H, W, 3) uint8."""

    FPS = FPS
    CONTROLS = ControlsConfig(
        modality="arm", buttons=("forward", "back", "left", "right", "up", "down", "grip", "release"),
        move_m_s=KEY_SPEED_M_S, turn_deg_s=0.0, mouse_deg_per_px=0.0, max_move_m_per_frame=MAX_STEP_M,
        max_turn_deg_per_frame=0.0, max_pitch_deg=0.0, vertical_fov_deg=VERTICAL_FOV_DEG, eye_height_m=0.7,
        scene_depth_m=0.97, camera_lift_deg=35.0, reach_m=(*WORKSPACE_M[0], *WORKSPACE_M[1]),
        finger_stroke_m=FINGER_STROKE_M, finger_m_per_frame=FINGER_STEP_M)
    IDLE = ArmControl()

    def __init__(self, width: int = 128, height: int = 96) -> None:
        self._mujoco = import_mujoco("The arm simulator")
        asset_folder()  # says now, rather than at the first reset, when the robot's files are missing
        self.width, self.height = width, height
        self._renderer = None
        self.scene: ArmScene | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Build the world of `seed` and return its first frame."""
        self.close()
        self.scene = make_scene(seed)
        self._axes = player_axes(self.scene.azimuth_deg)
        self._model = build_model(self.scene, self.width, self.height, FPS)
        self._data = self._mujoco.MjData(self._model)
        self._joints = [self._model.joint(f"{ROBOT}{side}_gripper_finger_joint").qposadr[0] for side in "lr"]
        self._blocks = [self._model.body(f"block{index}").id for index in range(len(self.scene.blocks))]
        self._hand = self._model.site(f"{ROBOT}grip").id
        names = [self._model.body(body).name for body in range(self._model.nbody)]
        self._is_robot = np.array([name.startswith(ROBOT) for name in names] + [False])  # the last for no body
        self._target = np.array(self.scene.start)
        self._finger_m = FINGER_STROKE_M
        self._blocked = False
        self._take_place()
        self._renderer = self._mujoco.Renderer(self._model, self.height, self.width)
        for flag in (self._mujoco.mjtRndFlag.mjRND_REFLECTION, self._mujoco.mjtRndFlag.mjRND_HAZE,
                     self._mujoco.mjtRndFlag.mjRND_SKYBOX):
            self._renderer.scene.flags[flag] = 0
        return self._render()

    def row(self, control: ArmControl) -> np.ndarray:
        """Return the action row of a control: what it commands within the workspace; blocks may hold the hand yet."""
        start, end = self._commanded(control)
        return rows.arm_row(*(float(way) for way in end - start), control.close)

    def step(self, control: ArmControl) -> np.ndarray:
        """Move by the control of one frame and return what is seen after it."""
        before = self.hand
        wanted = np.array([control.right_m, control.away_m, control.up_m])
        start, self._target = self._commanded(control)
        finger_start = self._finger_m
        goal = FINGER_STROKE_M * (1 - min(max(control.close, 0.0), 1.0))
        self._finger_m += min(max(goal - finger_start, -FINGER_STEP_M), FINGER_STEP_M)
        for substep in range(1, SUBSTEPS + 1):
            share = min(1.0, substep / (ARRIVED_SHARE * SUBSTEPS))
            self._command(start + share * (self._target - start),
                          finger_start + share * (self._finger_m - finger_start))
            self._mujoco.mj_step(self._model, self._data)
        self._mujoco.mj_forward(self._model, self._data)  # places what the last substep moved
        way = float(np.linalg.norm(wanted))
        self._blocked = way > 0 and float(np.linalg.norm(self.hand - before)) < BLOCKED_SHARE * way
        return self._render()

    def _commanded(self, control: ArmControl) -> tuple[np.ndarray, np.ndarray]:
        """Return where the commanded point starts, drawn back to a hand that lags behind, and where it is sent."""
        start = np.clip(self._target, self.hand - LEASH_M, self.hand + LEASH_M)
        return start, np.clip(start + (control.right_m, control.away_m, control.up_m), *WORKSPACE_M)

    @property
    def hand(self) -> np.ndarray:
        """Return where the point between the fingertips is: (right, away, up) in metres."""
        return self._to_player(self._data.site_xpos[self._hand])

    @property
    def pose(self) -> np.ndarray:
        """Return (hand right, away, up, opening, block right, away, up) as float64 metres in the player's axes.

        Places are counted from the middle of the workspace on the table top; the opening is the gap between the
        fingers beyond their closed position, 0 to 0.1; the block is the scene's first one.
        """
        opening = float(self._data.qpos[self._joints].sum())
        return np.concatenate([self.hand, [opening], self._to_player(self._data.xpos[self._blocks[0]])])

    def outline(self) -> np.ndarray:
        """Say which pixels of the picture that was last returned show the robot, (H, W) bool."""
        return self._is_robot[self._bodies_shown()]

    def bare(self) -> np.ndarray:
        """Return the picture that was last returned, (H, W, 3) uint8, without robot, blocks and all their shadows."""
        moves = self._is_robot[:-1].copy()
        moves[self._blocks] = True
        groups = self._model.geom_group
        kept = groups.copy()
        try:
            groups[moves[self._model.geom_bodyid]] = HIDDEN_GROUP
            return self._render()
        finally:
            groups[:] = kept

    def tabletop(self) -> TabletopTruth:
        """Return fingers, blocks and the camera's place in the picture that was last returned."""
        fingers = sorted((self._model.body(f"{ROBOT}{side}_gripper_finger_link").id for side in "lr"),
                         key=lambda body: self._to_player(self._data.xpos[body])[0])
        things = Things(self.hand, float(np.mean(self._data.qpos[self._joints])),
                        np.stack([self._to_player(self._data.xpos[body]) for body in self._blocks]),
                        np.stack([self._data.xmat[body].reshape(3, 3).T @ self._axes.T for body in self._blocks]))
        return tabletop_truth(self.scene, things, self._bodies_shown(), fingers, self._blocks)

    def _bodies_shown(self) -> np.ndarray:
        """Return the body that each pixel of the picture that was last returned shows, (H, W) int; -1 for none."""
        self._renderer.enable_segmentation_rendering()
        try:
            self._renderer.update_scene(self._data, camera="eye")
            things, kinds = np.moveaxis(self._renderer.render(), 2, 0)
        finally:
            self._renderer.disable_segmentation_rendering()
        is_geom = kinds == int(self._mujoco.mjtObj.mjOBJ_GEOM)
        return np.where(is_geom, self._model.geom_bodyid[np.maximum(things, 0)], -1)

    def shadow(self) -> ShadowTruth:
        """Return the shadow of the robot in the picture that was last returned."""
        return shadow_truth(self._model, self._data, self.scene, np.array(ORIGIN_M), self._axes, self.width,
                            self.height)

    @property
    def blocked(self) -> bool:
        """Say whether the hand went less than half of what the last step commanded."""
        return self._blocked

    def close(self) -> None:
        """Free the picture memory now; mujoco's own clean-up at exit comes too late and complains."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _take_place(self) -> None:
        """Draw the arm from its stretched pose over the table, and only then lay the blocks, or it sweeps them off."""
        data = self._data
        data.joint(f"{ROBOT}slide0").qpos[0], data.joint(f"{ROBOT}slide1").qpos[0] = 0.405, 0.48  # as the task has it
        for index, body in enumerate(self._blocks):
            data.qpos[self._block_qpos(body)][:3] = 0.0, 3.0 + index, 1.0
        turn = math.radians(self.scene.azimuth_deg - 180)
        # pointing down, the fingers opening to the player's left and right
        self._mujoco.mju_mulQuat(data.mocap_quat[0], np.array([math.cos(turn / 2), 0, 0, math.sin(turn / 2)]),
                                 np.array([math.sqrt(0.5), 0, math.sqrt(0.5), 0]))
        self._hand_offset = np.zeros(3)
        for step in range(SETTLE_STEPS):
            if step == SETTLE_STEPS // 2:  # now that the hand points down, its fingertips' place in it is known
                self._hand_offset = data.site_xpos[self._hand] - data.mocap_pos[0]
            self._command(self._target, self._finger_m)
            self._mujoco.mj_step(self._model, data)
        for block, body in zip(self.scene.blocks, self._blocks, strict=True):
            place = self._to_world(np.array([block.x, block.y, BLOCK_HALF_M]))
            turn = block.turn_rad + math.radians(self.scene.azimuth_deg - 90)
            data.qpos[self._block_qpos(body)] = (*place, math.cos(turn / 2), 0, 0, math.sin(turn / 2))
        data.qvel[:] = 0
        self._mujoco.mj_step(self._model, data, 2 * SUBSTEPS)
        self._mujoco.mj_forward(self._model, data)

    def _block_qpos(self, body: int) -> slice:
        start = int(self._model.jnt_qposadr[self._model.body_jntadr[body]])
        return slice(start, start + 7)

    def _command(self, target: np.ndarray, finger_m: float) -> None:
        self._data.mocap_pos[0] = self._to_world(target) - self._hand_offset
        self._data.ctrl[:] = finger_m

    def _to_world(self, place: np.ndarray) -> np.ndarray:
        return np.array(ORIGIN_M) + place @ self._axes

    def _to_player(self, place: np.ndarray) -> np.ndarray:
        return self._axes @ (place - np.array(ORIGIN_M))

    def _render(self) -> np.ndarray:
        self._renderer.update_scene(self._data, camera="eye")
        return self._renderer.render()
