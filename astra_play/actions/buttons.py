"""What a control can mean to a world: the names of all buttons, and the one rule for opposite pairs.

A world's config lists which of these it listens to; the keymap says which keys press them.
"""

from __future__ import annotations

from collections.abc import Iterable

MEANINGS: dict[str, str] = {
    "forward": "walk forward",
    "back": "walk back",
    "left": "step left",
    "right": "step right",
    "turn_left": "turn left",
    "turn_right": "turn right",
    "look_up": "look up",
    "look_down": "look down",
    "accelerate": "accelerate",
    "brake": "brake, then reverse",
    "steer_left": "steer left",
    "steer_right": "steer right",
    "up": "move up",
    "down": "move down",
    "grip": "close the gripper",
    "release": "open the gripper",
}

# Where a modality means something else by a button than a walker does.
ARM_MEANINGS = {
    "forward": "move the hand away", "back": "move the hand nearer", "left": "move the hand left",
    "right": "move the hand right", "up": "lift the hand", "down": "lower the hand",
}
MOUSE_MEANINGS = {"camera": "turn and look", "vehicle": "steer", "arm": "move the hand"}


def meanings(modality: str) -> dict[str, str]:
    """Return what each button does in a world of a modality ("camera", "vehicle" or "arm"), in the order of help."""
    return MEANINGS | (ARM_MEANINGS if modality == "arm" else {})


OPPOSITE_PAIRS: tuple[tuple[str, str], ...] = (
    ("forward", "back"),
    ("left", "right"),
    ("turn_left", "turn_right"),
    ("look_up", "look_down"),
    ("accelerate", "brake"),
    ("steer_left", "steer_right"),
    ("up", "down"),
    ("grip", "release"),
)

OPPOSITE: dict[str, str] = {a: b for pair in OPPOSITE_PAIRS for a, b in (pair, pair[::-1])}


def settle(buttons_in_press_order: Iterable[str]) -> frozenset[str]:
    """Return the buttons that count: of an opposite pair the one pressed last, everything else as it is.

    Last wins, rather than both cancelling, because fingers overlap when a player swaps direction: cancelling would
    stop the walker for a chunk at every swap. Letting go of the later key brings the earlier one back.
    """
    settled: set[str] = set()
    for button in buttons_in_press_order:
        settled.discard(OPPOSITE.get(button, ""))
        settled.add(button)
    return frozenset(settled)
