"""Change what a control presses, and write that into the player's keymap file with its comments left as they are."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config import read_own_text
from ..errors import ConfigError
from .controls import PAD_AXIS_NAMES
from .keymap import DEFAULT_TEXT, Buttons, Keymap, parse_keymap

log = logging.getLogger(__name__)

KEPT = "it is as it was, and what you chose counts until the player is left"  # the end of sentences about the file

Ends = tuple[Buttons, Buttons]


def is_pad(control: str) -> bool:
    return control.startswith("pad ")


def bind(keymap: Keymap, button: str, control: str, positive: bool, known: Iterable[str]) -> Keymap:
    """Let a control press a button in place of the controls of its kind (pad, or keyboard and mouse) that did so far.

    `positive`: which end of a pad axis; it means nothing for other controls. `known`: the buttons of the world that is
    played. The control gives up those among them that it pressed, and keeps what it presses in other worlds.
    """
    keys, sticks = _without(keymap, button, pad=is_pad(control))
    dropped = frozenset(known)

    def taken_over(names: Buttons) -> Buttons:
        return (button, *(name for name in names if name not in dropped))

    if control in PAD_AXIS_NAMES:
        ends = list(sticks.get(control, ((), ())))
        ends[positive] = taken_over(ends[positive])
        sticks[control] = ends[0], ends[1]
    else:
        keys[control] = taken_over(keys.get(control, ()))
    return dataclasses.replace(keymap, keys=keys, sticks=sticks)


def unbind(keymap: Keymap, button: str) -> Keymap:
    """Let nothing press a button."""
    keys, sticks = _without(keymap, button, pad=True)
    keys, sticks = _without(dataclasses.replace(keymap, keys=keys, sticks=sticks), button, pad=False)
    return dataclasses.replace(keymap, keys=keys, sticks=sticks)


def controls_of(keymap: Keymap, button: str, pad: bool) -> list[str]:
    """Return what presses a button, on the pad or on keyboard and mouse; an axis with a sign for its end."""
    found = [control for control, names in keymap.keys.items() if button in names and is_pad(control) == pad]
    if pad:
        for axis, (low, high) in keymap.sticks.items():
            found += [f"{axis} -"] * (button in low) + [f"{axis} +"] * (button in high)
    return found


def _without(keymap: Keymap, button: str, pad: bool) -> tuple[dict[str, Buttons], dict[str, Ends]]:
    def rest(names: Buttons) -> Buttons:
        return tuple(name for name in names if name != button)

    keys = {control: rest(names) if is_pad(control) == pad else names for control, names in keymap.keys.items()}
    sticks = {axis: (rest(low), rest(high)) if pad else (low, high) for axis, (low, high) in keymap.sticks.items()}
    return ({control: names for control, names in keys.items() if names},
            {axis: ends for axis, ends in sticks.items() if any(ends)})


# --- the file -------------------------------------------------------------------------------------------------------

def write_keymap(keymap: Keymap, path: Path) -> None:
    """Write into a keymap file what differs from it; comments and order stay. A missing file begins as the default.

    ConfigError if the file is no keymap (any more) or cannot be written; then it is as it was.
    """
    try:
        text = read_own_text(path) if path.exists() else DEFAULT_TEXT
        changed = changed_text(text, keymap, str(path))
        if parse_keymap(changed, str(path)) != keymap:
            raise ValueError("what was changed reads back as another keymap")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(changed, encoding="utf-8")
        os.replace(part, path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the keymap {path} could not be written ({getattr(error, 'strerror', None) or error}); "
                          f"{KEPT}") from None
    except (LookupError, TypeError, ValueError) as error:  # the library stumbles over some rare ways to write a table
        log.debug("The keymap could not be changed.", exc_info=error)
        raise ConfigError(f"the keymap {path} is valid, but written in a way that cannot be changed; write its entries "
                          f"below lines such as [keys]; {KEPT}") from None


def changed_text(text: str, keymap: Keymap, name: str) -> str:
    """Return keymap text with the entries of `keymap`; ConfigError if `text` is no keymap."""
    import tomlkit

    old = parse_keymap(text, name)
    document = tomlkit.parse(text)
    tables = (
        ("keys", _written(old.keys, _key_value), _written(keymap.keys, _key_value)),
        ("sticks", _written(old.sticks, _stick_value), _written(keymap.sticks, _stick_value)),
        ("mouse", {"sensitivity": old.mouse_sensitivity, "invert_y": old.invert_y},
         {"sensitivity": keymap.mouse_sensitivity, "invert_y": keymap.invert_y}),
        ("pad", {"dead_zone": old.dead_zone, "trigger_threshold": old.trigger_threshold},
         {"dead_zone": keymap.dead_zone, "trigger_threshold": keymap.trigger_threshold}),
    )
    for table, before, after in tables:
        if after == before:
            continue
        if table not in document:
            document[table] = tomlkit.table()
        if table == "pad" or not document[table]:  # what is not there stands for something else, so all is written
            before = {}
        _change(document[table], before, after)
    return tomlkit.dumps(document)


def _change(table: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Change what differs; of several spellings of an entry ("W", "w") only the last, which is the one that counts."""
    spellings: dict[str, list[str]] = {}
    for spelling in map(str, table):
        spellings.setdefault(spelling.lower(), []).append(spelling)
    for entry in before.keys() - after.keys():
        for spelling in spellings.get(entry, []):
            del table[spelling]
    for entry, value in after.items():
        if before.get(entry) != value:
            *others, last = spellings.get(entry, [entry])
            for spelling in others:
                del table[spelling]
            table[last] = value


def _written(entries: dict[str, Any], value: Any) -> dict[str, Any]:
    return {entry: value(names) for entry, names in entries.items()}


def _key_value(names: Buttons) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def _stick_value(ends: Ends) -> list[str | list[str]]:
    return ["" if not names else _key_value(names) for names in ends]
