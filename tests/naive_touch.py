"""The slow, obvious twin of the on-screen controls: every finger's whole story, read again for every question."""

from __future__ import annotations

import math

from astra_play.actions.buttons import OPPOSITE
from astra_play.display.pointer import Finger
from astra_play.display.touch import REACH, TouchControl


def held_buttons(story: list[Finger], controls: tuple[TouchControl, ...], size: tuple[int, int],
                 dead_zone: float) -> set[str]:
    """Return the buttons that the fingers of a story hold at its end."""
    owner: dict[tuple[object, int], TouchControl | None] = {}
    place: dict[tuple[object, int], tuple[int, int]] = {}
    for step in story:
        if step.what == "down":
            near = []
            for control in controls:
                box = control.box(size, 1.0)
                x, y = (step.at_px[0] - box.centerx) * 2 / box.width, (step.at_px[1] - box.centery) * 2 / box.height
                if control not in owner.values() and math.sqrt(x * x + y * y) <= REACH:
                    near.append((math.sqrt(x * x + y * y), controls.index(control)))
            owner[step.finger] = controls[min(near)[1]] if near else None
            place[step.finger] = step.at_px
        elif step.finger in owner:
            place[step.finger] = step.at_px
            if step.what == "up":
                del owner[step.finger]
    held = set()
    for finger, control in owner.items():
        if control is None:
            continue
        if len(control.buttons) == 1:
            held.discard(OPPOSITE.get(control.buttons[0], ""))  # of two opposite ones the later press counts
            held.add(control.buttons[0])
            continue
        box = control.box(size, 1.0)
        x, y = (place[finger][0] - box.centerx) * 2 / box.width, (place[finger][1] - box.centery) * 2 / box.height
        far = max(1.0, math.sqrt(x * x + y * y))
        left, right, up, down = control.buttons
        for value, negative, positive in ((x / far, left, right), (y / far, up, down)):
            if abs(value) > dead_zone:
                held.add(negative if value < 0 else positive)
    return held - {""}
