"""WalkControl -> frame: a person on foot in the maps of Freedoom, run and drawn by the ViZDoom engine.

Controls, rows and pose are those of `explore`: metres and radians, yaw positive to the left. One metre is 30.75 map
units, which puts the eye 1.6 m above the ground (the engine draws heights stretched by 1.2), and the lens is that of
`explore` to a fifth of a degree.

The engine runs 35 tics a second and frames are shown 16 times a second, so a frame is two tics, and three for three
frames in sixteen: doors and waterfalls keep their true pace. The walk does not feel this, because every frame spreads
its commanded way evenly over its own tics. The engine's player has inertia; here the thrust of each tic is chosen from
the true speed, so that the player is where the control says after every tic. On open ground that holds to the grain of
the thrust, 1/64 unit or half a millimetre; in the air and against walls the engine has the last word, as it should.

The engine's look up and down shears the picture instead of turning it: the middle of the picture turns by exactly the
commanded angle, and upright things stay upright.
"""

from __future__ import annotations

import functools
import math
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
from PIL import Image

from astra_play.config import ControlsConfig
from astra_play.errors import DataError, DependencyError
from astra_play.train.scenarios.doom_map import (
    BODY_RADIUS_UNITS,
    EYE_HEIGHT_UNITS,
    TICS_PER_S,
    Start,
    find_start,
    gentle_copy,
)
from astra_play.train.scenarios.doom_wad import Lump, Wad, map_wad, read_tables
from astra_play.train.scenarios.explore import BLOCKED_SHARE, EYE_HEIGHT_M, FPS, PITCH_LIMIT_RAD, WalkControl

GAMES = ("freedoom1.wad", "freedoom2.wad")
HEIGHT_STRETCH = 1.2  # a unit upwards is drawn this much longer than a unit across
UNITS_PER_M = EYE_HEIGHT_UNITS * HEIGHT_STRETCH / EYE_HEIGHT_M
HORIZONTAL_FOV_DEG = 75  # the engine takes whole degrees; 75.2 would be explore's
VERTICAL_FOV_DEG = 2 * math.degrees(math.atan(math.tan(math.radians(HORIZONTAL_FOV_DEG / 2)) * 3 / 4))

RENDER_WIDTH, RENDER_HEIGHT = 512, 384  # the engine does not smooth, so it draws larger and areas are averaged
FROZEN_TICS = 16  # the engine ignores yaw for 7 tics after a start, and closes in on the wanted lens for about as long
THRUST_GRAIN_UNITS = 1 / 32  # speed that a move button of 1 adds in one tic
FRICTION = 0xE800 / 0x10000  # of the ground: what is left of the speed after a tic
THRUST_LIMIT = 127  # of a move button, with the turbo that is set below; a standing start needs 92
MAX_STARTS = 20  # places to try before giving up on a seed
BRIGHTNESS_EXPONENT = 0.75  # of the tone curve: the game is painted for dark rooms
DARK_MEAN = 24  # of 255: a darker first picture shows nothing
FLAT_DEVIATION = 10  # of 255: a first picture with less contrast is a wall
MAX_RED_SHARE = 0.4  # of a first picture: some caverns are blood red all over, and nobody wants to be there

USE_AFTER_FRAMES = 4  # of pushing against something: then a hand goes out for the door
USE_EVERY_FRAMES = 24  # a door needs 13 to rise over the head, and a push before that would send it down again

_BRIGHTER = [round(255 * (value / 255) ** BRIGHTNESS_EXPONENT) for value in range(256)] * 3
# The engine's player, wider, so that walls keep away from the lens, and with empty hands: what lies about stays there.
_VISITOR = (Lump("DECORATE", f"actor Visitor : DoomPlayer {{ Radius {BODY_RADIUS_UNITS} -PICKUP }}\n".encode()),
            Lump("MAPINFO", b'gameinfo { playerclasses = "Visitor" }\n'))


class Doom:
    """The scenario: `reset(seed)` opens a map, `step(control)` moves the person; both return (H, W, 3) uint8."""

    FPS = FPS
    CONTROLS = ControlsConfig(vertical_fov_deg=round(VERTICAL_FOV_DEG, 2), eye_height_m=EYE_HEIGHT_M)
    IDLE = WalkControl()

    def __init__(self, width: int = 128, height: int = 96) -> None:
        try:
            import vizdoom
        except ImportError as error:
            raise DependencyError("vizdoom", "The doom simulator", "train") from error
        self._vizdoom = vizdoom
        self.width, self.height = width, height
        self._game = self._folder = None
        self.map_name, self.blocked = "", False

    def reset(self, seed: int) -> np.ndarray:
        """Open the map of `seed` at one of its places and return the first frame."""
        rng = np.random.default_rng([seed, 3])
        for _ in range(MAX_STARTS):
            game_wad, self.map_name = _pick_map(rng, Path(self._vizdoom.__file__).parent)
            start = find_start(read_tables(maps_of_game(game_wad)[self.map_name]), rng)
            if start is None:
                continue
            self._open(game_wad, start, seed)
            frame = self._frame()
            if shows_something(frame):
                return frame
        raise DataError(f"no map gave a start with something to see in {MAX_STARTS} tries; take another seed")

    def row(self, control: WalkControl) -> np.ndarray:
        """Return the action row of a control."""
        return control.row()

    def step(self, control: WalkControl) -> np.ndarray:
        """Move by the control of one frame and return what is seen after it."""
        cos, sin = math.cos(self._yaw_rad), math.sin(self._yaw_rad)
        way = UNITS_PER_M * np.array([control.forward_m * cos + control.right_m * sin,
                                      control.forward_m * sin - control.right_m * cos])
        self._yaw_rad += control.yaw_left_rad
        self._pitch_rad = min(max(self._pitch_rad + control.pitch_up_rad, -PITCH_LIMIT_RAD), PITCH_LIMIT_RAD)
        old = self._position
        self._run(way, tics_of_frame(self._frame_index), use=_uses(self._blocked_for))
        wanted, walked = np.hypot(*way), np.hypot(*(self._position - old))
        self.blocked = bool(wanted > 0 and walked < BLOCKED_SHARE * wanted)
        self._blocked_for = self._blocked_for + 1 if self.blocked else 0
        self._frame_index += 1
        return self._frame()

    @property
    def pose(self) -> np.ndarray:
        """Return (x, y, z of the eye, yaw_rad, pitch_rad) as float64, as the engine has them.

        Heights are as drawn, so stretched; yaw counts on over full turns.
        """
        v = self._vizdoom.GameVariable
        x, y = self._position / UNITS_PER_M
        z = self._read(v.CAMERA_POSITION_Z) * HEIGHT_STRETCH / UNITS_PER_M
        yaw = self._yaw_rad - math.remainder(self._yaw_rad - math.radians(self._read(v.ANGLE)), 2 * math.pi)
        return np.array([x, y, z, yaw, _seen_pitch(math.radians(-self._read(v.PITCH)))])

    def close(self) -> None:
        """End the engine. Closing twice is harmless."""
        if self._game is not None:
            self._game.close()
            self._folder.cleanup()
            self._game = self._folder = None

    @property
    def _position(self) -> np.ndarray:
        """Return (x, y) in map units."""
        return np.array([self._read(self._vizdoom.GameVariable.POSITION_X),
                         self._read(self._vizdoom.GameVariable.POSITION_Y)])

    def _read(self, variable) -> float:
        return self._game.get_game_variable(variable)

    def _open(self, game_wad: Path, start: Start, seed: int) -> None:
        """Start an engine of its own for this walk: whatever an earlier one did cannot show in it."""
        self.close()
        lumps = maps_of_game(game_wad)[self.map_name]
        patch = map_wad(self.map_name, lumps, gentle_copy(read_tables(lumps), start))
        self._folder = tempfile.TemporaryDirectory(prefix="astra-doom-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        (folder / "map.wad").write_bytes(Wad([*_VISITOR, *patch.lumps]).to_bytes())
        self._game = _new_game(self._vizdoom, game_wad, folder, self.map_name, seed)
        with chdir(folder):  # the engine leaves a folder of its own where it is started
            self._game.init()
        self._yaw_rad, self._pitch_rad = start.yaw_rad, 0.0
        self._frame_index = self._blocked_for = 0
        self.blocked = False
        self._game.send_game_command(f"fov {HORIZONTAL_FOV_DEG}")
        self._game.send_game_command("god")
        self._game.advance_action(FROZEN_TICS)
        self._run(np.zeros(2), 1, use=False)  # the map knows whole degrees only

    def _run(self, way: np.ndarray, num_tics: int, use: bool) -> None:
        """Run the tics of a frame: go `way`, in map units, then turn, the order in which rows write a motion.

        The engine tells where the player is only with a picture, so the speed between the tics is reckoned; after
        walls have had a say the next frame begins from the truth again.
        """
        v = self._vizdoom.GameVariable
        angle_rad = math.radians(self._read(v.ANGLE))
        turn_right_rad = math.remainder(angle_rad - self._yaw_rad, 2 * math.pi)
        look_up_deg = math.degrees(_engine_pitch(self._pitch_rad)) + self._read(v.PITCH)
        speed, left = np.array([self._read(v.VELOCITY_X), self._read(v.VELOCITY_Y)]), way
        for tic in range(num_tics):
            last = tic == num_tics - 1
            axes = _heading_axes(angle_rad - turn_right_rad * last)  # the engine turns first and pushes then
            push = np.rint(axes @ (left / (num_tics - tic) - speed) / THRUST_GRAIN_UNITS)
            push = push.clip(-THRUST_LIMIT, THRUST_LIMIT)
            turns = (math.degrees(turn_right_rad), look_up_deg) if last else (0.0, 0.0)
            self._game.set_action([*push, *turns, int(use and tic == 0)])
            self._game.advance_action(1, last)  # only the last tic of a frame is drawn
            if self._game.is_episode_finished():
                raise DataError(f"the engine ended the map {self.map_name} by itself; take another seed")
            speed = speed + push @ axes * THRUST_GRAIN_UNITS
            left, speed = left - speed, speed * FRICTION

    def _frame(self) -> np.ndarray:
        picture = Image.fromarray(self._game.get_state().screen_buffer)
        return np.asarray(picture.resize((self.width, self.height), Image.Resampling.BOX).point(_BRIGHTER))


def tics_of_frame(frame_index: int) -> int:
    """Return how many tics of the engine a frame lasts: 2 or 3, and 35 in every 16."""
    return (frame_index + 1) * TICS_PER_S // FPS - frame_index * TICS_PER_S // FPS


def shows_something(frame: np.ndarray) -> bool:
    """Say whether a first picture (H, W, 3) uint8 is neither dark nor flat nor all red."""
    grey, (red, green, blue) = frame.mean(axis=2), np.moveaxis(frame.astype(int), 2, 0)
    is_red = (red > 60) & (red > 2 * np.maximum(green, blue))
    return bool(grey.mean() >= DARK_MEAN and grey.std() >= FLAT_DEVIATION and is_red.mean() <= MAX_RED_SHARE)


def _uses(blocked_for: int) -> bool:
    """Say whether a hand goes out for the door after so many frames of pushing."""
    return blocked_for >= USE_AFTER_FRAMES and (blocked_for - USE_AFTER_FRAMES) % USE_EVERY_FRAMES == 0


def _heading_axes(heading_rad: float) -> np.ndarray:
    """Return (2, 2): the directions ahead and to the right, in the plan view."""
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    return np.array([[cos, sin], [sin, -cos]])


def _engine_pitch(seen_rad: float) -> float:
    """Return the engine's angle for a pitch of the picture; its horizon moves in units that are not stretched."""
    return math.atan(math.tan(seen_rad) / HEIGHT_STRETCH)


def _seen_pitch(engine_rad: float) -> float:
    return math.atan(math.tan(engine_rad) * HEIGHT_STRETCH)


def _pick_map(rng: np.random.Generator, folder: Path) -> tuple[Path, str]:
    """Return the game file and the name of one of all maps, each as likely as any other."""
    maps = [(folder / game, name) for game in GAMES for name in maps_of_game(folder / game)]
    return maps[int(rng.integers(len(maps)))]


@functools.cache
def maps_of_game(path: Path) -> dict[str, dict[str, bytes]]:
    """Return the lumps of every map of a game file by name; kept, because a game file has 29 MB."""
    wad = Wad.read(path)
    return {name: wad.map_lumps(name) for name in wad.map_names()}


def _new_game(vizdoom, game_wad: Path, folder: Path, map_name: str, seed: int):
    """Return an engine that is set up but not started: pictures only, nobody else there."""
    game, button = vizdoom.DoomGame(), vizdoom.Button
    game.set_doom_game_path(str(game_wad))
    game.set_doom_scenario_path(str(folder / "map.wad"))
    game.set_doom_config_path(str(folder / "engine.ini"))
    game.set_doom_map(map_name)
    game.set_seed(seed % 2**31)
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{RENDER_WIDTH}X{RENDER_HEIGHT}"))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    for switch in (game.set_render_hud, game.set_render_weapon, game.set_render_crosshair, game.set_render_messages,
                   game.set_render_screen_flashes):
        switch(False)
    game.set_episode_timeout(0)
    game.set_available_buttons([button.MOVE_FORWARD_BACKWARD_DELTA, button.MOVE_LEFT_RIGHT_DELTA,
                                button.TURN_LEFT_RIGHT_DELTA, button.LOOK_UP_DOWN_DELTA, button.USE])
    # turbo lifts the limit of the thrust; without bobbing the eye keeps the height that rows take for granted
    game.add_game_args("-nomonsters +sv_cheats 1 +turbo 255 +movebob 0 +sv_aircontrol 1 +r_visibility 24 "
                       "+show_messages 0 +con_midtime 0 +con_notifytime 0 +cl_showsecretmessage 0")
    return game
