"""A world's controls in words: what each is called on screen, and the sentence that meets a player."""

from __future__ import annotations

from dataclasses import dataclass

from ..actions.keymap import Keymap
from ..actions.remap import controls_of

AXIS_WORDS = {" x -": " stick left", " x +": " stick right", " y -": " stick up", " y +": " stick down",
              "trigger +": "trigger", "trigger -": "trigger"}
WHOLE_SETS = ((frozenset(("up", "left", "down", "right")), "the arrow keys"),
              (frozenset(("mouse left", "mouse right")), "the mouse buttons"))


@dataclass(frozen=True)
class Use:
    """One thing that is done with some buttons, and with the mouse's motion where that does it too."""

    deed: str
    buttons: tuple[str, ...]
    mouse: bool = False


USES = {
    "camera": (Use("walk with", ("forward", "left", "back", "right")),
               Use("look around with", ("look_up", "turn_left", "look_down", "turn_right"), mouse=True)),
    "vehicle": (Use("drive with", ("accelerate",)), Use("brake with", ("brake",)),
                Use("steer with", ("steer_left", "steer_right"), mouse=True)),
    "arm": (Use("move the hand with", ("forward", "left", "back", "right"), mouse=True),
            Use("lift and lower it with", ("up", "down")), Use("close and open it with", ("grip", "release"))),
}


def usage(keymap: Keymap) -> str:
    """Return how a world is played, as its keymap has it (`Keymap.limited_to`): "Walk with W A S D, ..."."""
    parts = []
    for use in USES[keymap.modality]:
        means = _first_controls(keymap, use.buttons) + ["the mouse"] * use.mouse
        if means:
            parts.append(f"{use.deed} {' or '.join(means)}")
    sentence = ", ".join(parts)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _first_controls(keymap: Keymap, buttons: tuple[str, ...]) -> list[str]:
    """Return the name of the keys that press the buttons, one for each, or of the pad's controls where no key does."""
    bound: list[str] = []
    for pad in (False, True):
        bound = bound or [control for button in buttons for control in controls_of(keymap, button, pad)[:1]]
    for together, name in WHOLE_SETS:
        if together == set(bound):
            return [name]
    names = [control_name(control) for control in bound]
    return [(" " if all(len(name) == 1 for name in names) else " / ").join(names)] if names else []


def control_name(control: str) -> str:
    """Return a control as it is shown: "pad left y -" is the left stick pushed up, "pad up" is on the D-pad."""
    name = control.removeprefix("pad ")
    if control.startswith("pad ") and name in ("up", "down", "left", "right"):
        return f"D-pad {name}"
    for ending, words in AXIS_WORDS.items():
        if name.endswith(ending):
            name = name.removesuffix(ending) + words
    return name[:1].upper() + name[1:]
