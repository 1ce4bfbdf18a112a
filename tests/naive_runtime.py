"""Slow, obvious twins of the clever parts of actions/ and runtime/."""

from __future__ import annotations

from astra_play.actions.buttons import OPPOSITE
from astra_play.actions.keymap import Keymap
from astra_play.chunks import InputEvent


def naive_samples(windows: list[list[InputEvent]], keymap: Keymap) -> list[tuple[frozenset[str], tuple[float, float]]]:
    """Return (buttons, mouse_px) of each read window by going through the whole history again for every window."""
    return [(_naive_buttons(windows[:index], windows[index], keymap), _naive_motion(windows[index], keymap))
            for index in range(len(windows))]


def _naive_buttons(before: list[list[InputEvent]], window: list[InputEvent], keymap: Keymap) -> frozenset[str]:
    """Buttons whose control was down at any moment of the window; of opposites the one whose press is the newest."""
    down_since: dict[str, int] = {}  # control -> position of its press in the whole history
    counts: dict[str, int] = {}  # the same, for whatever was down during this window
    history = [event for earlier in before for event in earlier]
    for position, event in enumerate(history + window):
        in_window = position >= len(history)
        if position == len(history):
            counts.update(down_since)
        if event.kind == "focus_lost":
            down_since, counts = {}, {}
        elif event.kind == "button" and event.control in keymap.keys:
            if event.down and event.control not in down_since:
                down_since[event.control] = position
                if in_window:
                    counts[event.control] = position
            elif not event.down and event.control in down_since:
                press = down_since.pop(event.control)
                if in_window and press < len(history):
                    counts.pop(event.control, None)  # held from before: over now, and no tap of this window
    if not window:
        counts = dict(down_since)
    newest: dict[str, int] = {}
    for control, position in counts.items():
        for button in keymap.keys[control]:
            newest[button] = max(position, newest.get(button, -1))
    return frozenset(button for button, position in newest.items()
                     if position > newest.get(OPPOSITE.get(button, ""), -1))


def _naive_motion(window: list[InputEvent], keymap: Keymap) -> tuple[float, float]:
    lost = max((index for index, event in enumerate(window) if event.kind == "focus_lost"), default=-1)
    moves = [event.motion_px for event in window[lost + 1:] if event.kind == "motion"]
    sign = -1.0 if keymap.invert_y else 1.0
    return (sum(x * keymap.mouse_sensitivity for x, _ in moves),
            sum(y * keymap.mouse_sensitivity * sign for _, y in moves))


def naive_underruns(due_s: float, arrives_s: float, period_s: float, grace_s: float) -> int:
    """Count one by one the due times that pass, by more than the grace, before a late chunk arrives."""
    underruns = 0
    while due_s + grace_s < arrives_s:
        underruns += 1
        due_s += period_s
    return underruns
