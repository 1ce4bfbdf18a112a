"""Physical control -> button: the TOML file a player can edit, read once before a session and handed to InputState."""

from __future__ import annotations

import dataclasses
import logging
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import platformdirs

from ..config import read_own_text
from ..errors import ConfigError, did_you_mean
from .buttons import MEANINGS, MOUSE_MEANINGS, meanings
from .controls import PAD_AXIS_NAMES, PAD_TRIGGER_NAMES, is_button_control, nearest

log = logging.getLogger(__name__)

DEFAULT_TEXT = """\
# Astra Play keymap. Delete this file to get the default one back. A table below replaces the default one as a whole.
#
# [keys]    a key, mouse button or pad button = the button it presses, or a list of buttons. A world listens only
#           to the buttons it knows, so one key can walk in one world and accelerate in another.
#           Keys are called "w", "left shift", "space", "up", "f5", "[8]" (keypad), "mouse left", "pad a", "pad up".
# [sticks]  a pad axis = ["button of its negative end", "button of its positive end"]; right and down are positive.
#           "" leaves an end without meaning.

[keys]
"w" = ["forward", "accelerate"]
"s" = ["back", "brake"]
"a" = ["left", "steer_left"]
"d" = ["right", "steer_right"]
"left" = ["turn_left", "steer_left"]
"right" = ["turn_right", "steer_right"]
"up" = ["look_up", "accelerate"]
"down" = ["look_down", "brake"]
"e" = "up"
"q" = "down"
"mouse left" = "grip"
"mouse right" = "release"
"pad a" = "grip"
"pad b" = "release"
"pad up" = "up"
"pad down" = "down"

[sticks]
"pad left x" = [["left", "steer_left"], ["right", "steer_right"]]
"pad left y" = ["forward", "back"]
"pad right x" = ["turn_left", "turn_right"]
"pad right y" = ["look_up", "look_down"]
"pad left trigger" = ["", "brake"]
"pad right trigger" = ["", "accelerate"]

[mouse]
sensitivity = 1.0     # factor on top of the world's own degrees per pixel
invert_y = false      # true: pulling the mouse towards you looks up

[pad]
dead_zone = 0.15      # part of a stick's way around its middle that counts as untouched
trigger_threshold = 0.15  # part of a trigger's way before it counts; a file without it means dead_zone for both
"""

Buttons = tuple[str, ...]


@dataclass(frozen=True)
class Keymap:
    """Which buttons each physical control presses, and how mouse and sticks are scaled."""

    keys: dict[str, Buttons] = field(default_factory=dict)
    sticks: dict[str, tuple[Buttons, Buttons]] = field(default_factory=dict)  # negative end, positive end
    mouse_sensitivity: float = 1.0
    invert_y: bool = False
    dead_zone: float = 0.15
    trigger_threshold: float = 0.15
    modality: str = "camera"  # of the world that is played: what the buttons do there is told by `help`

    def limited_to(self, buttons: Iterable[str], modality: str = "camera") -> Keymap:
        """Return the same keymap without the buttons that a world does not know, telling what they do there.

        Both are those of its config: `controls.buttons`, `controls.modality`.
        """
        wanted = frozenset(buttons)

        def keep(names: Buttons) -> Buttons:
            return tuple(name for name in names if name in wanted)

        keys = {control: keep(names) for control, names in self.keys.items() if keep(names)}
        sticks = {axis: (keep(low), keep(high)) for axis, (low, high) in self.sticks.items() if keep(low + high)}
        return dataclasses.replace(self, keys=keys, sticks=sticks, modality=modality)

    def rest_of(self, axis: str) -> float:
        """Return the part of a pad axis' way, in [0, 1), that counts as untouched."""
        return self.trigger_threshold if axis in PAD_TRIGGER_NAMES else self.dead_zone

    def help(self) -> list[tuple[str, str]]:
        """Return (controls, meaning) per bound button, in the order of `buttons.meanings`, the mouse last.

        An axis has a sign for its end: "w, pad left y -".
        """
        rows = []
        for button, meaning in meanings(self.modality).items():
            controls = [control for control, names in self.keys.items() if button in names]
            for axis, (low, high) in self.sticks.items():
                controls += [f"{axis} -"] * (button in low) + [f"{axis} +"] * (button in high)
            if controls:
                rows.append((", ".join(controls), meaning))
        return [*rows, ("mouse", MOUSE_MEANINGS[self.modality])]


def default_keymap() -> Keymap:
    return parse_keymap(DEFAULT_TEXT, "the default keymap")


def user_keymap_path() -> Path:
    return Path(platformdirs.user_config_dir("astra-play", appauthor=False)) / "keymap.toml"


def load_keymap(path: Path | None = None) -> Keymap:
    """Read a keymap file. None means the player's own file, which is written with the defaults on first use."""
    if path is None:
        path = user_keymap_path()
        if not path.exists():
            _write_default(path)
            return default_keymap()
    try:
        text = read_own_text(path)
    except FileNotFoundError:
        raise ConfigError(f"the keymap {path} does not exist; leave the option out to use your own keymap") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the keymap {path} cannot be read ({error}); delete it to get the default back") from None
    return parse_keymap(text, str(path))


def parse_keymap(text: str, name: str) -> Keymap:
    """Read keymap text; `name` is what errors call it. A missing table keeps that table's defaults."""
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # tomllib.TOMLDecodeError, or a number of thousands of digits
        raise ConfigError(f"{name} is not valid TOML: {error}; mend the line or delete the file to get the default "
                          "back") from None
    known = {"keys", "sticks", "mouse", "pad"}
    for table, entries in tables.items():
        if table not in known:
            raise ConfigError(f"{name} has no table [{table}]{did_you_mean(table, known)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"{name}: {table} must be a table, but is {shown(entries)}; write [{table}] in a line")
    tables = {**tomllib.loads(DEFAULT_TEXT), **tables}
    mouse = _settings(tables["mouse"], {"sensitivity": 1.0, "invert_y": False}, f"{name} [mouse]")
    pad = _settings(tables["pad"], {"dead_zone": 0.15, "trigger_threshold": 0.15}, f"{name} [pad]")
    if "trigger_threshold" not in tables["pad"]:
        pad["trigger_threshold"] = pad["dead_zone"]
    for setting, value in pad.items():
        if not 0.0 <= value < 1.0:
            raise ConfigError(f"{name} [pad] {setting} is {value}; it must be at least 0 and below 1")
    if not 0.0 < mouse["sensitivity"] <= 100.0:
        raise ConfigError(f"{name} [mouse] sensitivity is {mouse['sensitivity']}; it must be above 0 and at most 100 "
                          "(use invert_y to turn the mouse round)")
    return Keymap(
        keys=dict(_key_entry(control, value, name) for control, value in tables["keys"].items()),
        sticks=dict(_stick_entry(axis, value, name) for axis, value in tables["sticks"].items()),
        mouse_sensitivity=mouse["sensitivity"],
        invert_y=mouse["invert_y"],
        dead_zone=pad["dead_zone"],
        trigger_threshold=pad["trigger_threshold"],
    )


def _key_entry(control: str, value: Any, name: str) -> tuple[str, Buttons]:
    where = f'{name} [keys] "{control}"'
    lower = control.lower()
    if lower in PAD_AXIS_NAMES:
        raise ConfigError(f"{where} is a pad axis, which has two ends; bind it under [sticks]")
    if not is_button_control(lower):
        raise ConfigError(f"{where} is not the name of a key{nearest(control)}")
    return lower, _button_names(value, where)


def _stick_entry(axis: str, value: Any, name: str) -> tuple[str, tuple[Buttons, Buttons]]:
    where = f'{name} [sticks] "{axis}"'
    if axis.lower() not in PAD_AXIS_NAMES:
        raise ConfigError(f"{where} is not the name of a pad axis{nearest(axis, PAD_AXIS_NAMES)}")
    if not isinstance(value, list) or len(value) != 2:
        raise ConfigError(f'{where} is {shown(value)}; it must be two ends, such as ["left", "right"]')
    low, high = (() if end == "" else _button_names(end, where) for end in value)
    return axis.lower(), (low, high)


def _button_names(value: Any, where: str) -> Buttons:
    names = value if isinstance(value, list) else [value]
    for button in names:
        if not isinstance(button, str) or button not in MEANINGS:
            raise ConfigError(f"{where} presses {shown(button)}, which is not a button"
                              f"{did_you_mean(str(button), MEANINGS)}")
    return tuple(names)


def _settings(entries: dict[str, Any], defaults: dict[str, Any], where: str) -> dict[str, Any]:
    for setting, value in entries.items():
        if setting not in defaults:
            raise ConfigError(f"{where} has no setting {shown(setting)}{did_you_mean(setting, defaults)}")
        wants_bool = isinstance(defaults[setting], bool)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
        if isinstance(value, bool) != wants_bool or not (wants_bool or is_number):
            kind = "true or false" if wants_bool else "a number"
            raise ConfigError(f"{where} {setting} must be {kind}, but is {shown(value)}")
    return {**defaults, **entries}


def _write_default(path: Path) -> None:
    """Leave an editable copy; a player whose config folder cannot be written still plays, with the defaults."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DEFAULT_TEXT, encoding="utf-8")
    except OSError as error:
        log.warning("The keymap could not be written to %s (%s); the default is used.", path, error)
