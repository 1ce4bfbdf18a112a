"""Input scripts: JSON lines in, InputEvents out, for headless play, rendering and tests.

One event per line, `t` in seconds from the start, in any order:

    {"t": 0.5, "key": "w", "down": true}            a key (or "button": "mouse left", "pad a") goes down or up
    {"t": 1.0, "mouse": [12, 0]}                    relative motion in pixels, right and down positive
    {"t": 1.5, "press": "f1"}                       down, and up again PRESS_S later
    {"t": 2.0, "axis": "pad left x", "value": 0.5}  a stick
"""

from __future__ import annotations

import json
from pathlib import Path
from reprlib import repr as shown
from typing import Any, NoReturn

from ..chunks import InputEvent
from ..config import read_own_text
from ..errors import ScriptError, did_you_mean
from .controls import PAD_AXIS_NAMES, is_button_control, nearest

LARGEST = 1e9  # of any number in a script: 30 years in seconds; keeps whole numbers too big for a float out
PRESS_S = 0.05  # a quick human tap; shorter than most chunks, so scripts exercise the tap latch too
GOOD_LINE = '{"t": 0.5, "key": "w", "down": true}'
_FIELDS = {"key": {"down"}, "button": {"down"}, "press": set(), "mouse": set(), "axis": {"value"}}


def load_script(path: Path) -> list[InputEvent]:
    """Read a script file; ScriptError names the file, the line and what is wrong with it."""
    try:
        text = read_own_text(path)
    except FileNotFoundError:
        raise ScriptError(f"the script {path} does not exist; make it with one event per line, such as "
                          f"{GOOD_LINE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"the script {path} cannot be read as text ({error}); it holds one event per line, such as "
                          f"{GOOD_LINE}") from None
    return parse_script(text, str(path))


def parse_script(text: str, name: str = "script") -> list[InputEvent]:
    """Return the events of a script in the order of their times; events of one time stay in file order."""
    events: list[InputEvent] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            events.extend(_Line(name, number).events(line))
    return sorted(events, key=lambda event: event.time_s)


class _Line:
    """One line of a script: where it stands, for errors, and how it is read."""

    def __init__(self, name: str, number: int) -> None:
        self.where = f"{name}, line {number}"

    def events(self, line: str) -> list[InputEvent]:
        entry = self._entry(line)
        kind = next((k for k in _FIELDS if k in entry), None)
        if kind is None:
            self._fail(f"it has none of {', '.join(_FIELDS)}")
        for field in entry:
            if field != "t" and field != kind and field not in _FIELDS[kind]:
                self._fail(f"{shown(field)} does not belong beside {kind!r}"
                           f"{did_you_mean(field, {'t', kind, *_FIELDS[kind]})}")
        time_s = self._number(entry, "t")
        if time_s < 0.0:
            self._fail(f"t is {time_s:g}, but a script starts at 0 seconds")
        return self._of_kind(kind, entry, time_s)

    def _of_kind(self, kind: str, entry: dict[str, Any], time_s: float) -> list[InputEvent]:
        if kind == "mouse":
            return [InputEvent("motion", motion_px=self._motion(entry["mouse"]), time_s=time_s)]
        if kind == "axis":
            return [self._axis(entry, time_s)]
        control = self._control(entry[kind])
        if kind == "press":
            return [InputEvent("button", control, down=True, time_s=time_s),
                    InputEvent("button", control, down=False, time_s=time_s + PRESS_S)]
        down = entry.get("down")
        if not isinstance(down, bool):
            self._fail(f"down is {shown(down)}, but must be true or false" if "down" in entry else "it lacks down")
        return [InputEvent("button", control, down=down, time_s=time_s)]

    def _entry(self, line: str) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):  # ValueError: not JSON, or a number of thousands of digits
            self._fail(f"{shown(line.strip())} is not JSON")
        if not isinstance(entry, dict):
            self._fail(f"{shown(line.strip())} is not an event")
        return entry

    def _number(self, entry: dict[str, Any], field: str) -> float:
        value = entry.get(field)
        if not _is_finite_number(value):
            self._fail(f"{field} is {shown(value)}, but must be a finite number" if field in entry
                       else f"it lacks {field}")
        return float(value)

    def _motion(self, value: Any) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_finite_number, value)):
            self._fail(f"mouse is {shown(value)}, but must be two numbers of pixels, right and down, such as [12, 0]")
        return float(value[0]), float(value[1])

    def _control(self, name: Any) -> str:
        if not isinstance(name, str) or not is_button_control(name.lower()):
            self._fail(f"{shown(name)} is not the name of a key{nearest(str(name))}")
        return name.lower()

    def _axis(self, entry: dict[str, Any], time_s: float) -> InputEvent:
        axis, value = entry["axis"], self._number(entry, "value")
        if not isinstance(axis, str) or axis not in PAD_AXIS_NAMES:
            self._fail(f"{shown(axis)} is not the name of a pad axis{nearest(str(axis), PAD_AXIS_NAMES)}")
        if abs(value) > 1.0:
            self._fail(f"value is {value:g}, but a pad axis lies between -1 and 1")
        return InputEvent("axis", axis, value=value, time_s=time_s)

    def _fail(self, what: str) -> NoReturn:
        raise ScriptError(f"{self.where}: {what}; a good line looks like {GOOD_LINE}")


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST
