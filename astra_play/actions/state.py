"""Fold input events into one ActionSample per read (main thread writes, generator thread reads).

One of the two objects in which the threads meet. Taps and motion are kept until they have been read once, and are
never replayed later: stale input that shows after the player has let go feels worse than a lost tap.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..chunks import IDLE, ActionSample, InputEvent
from .buttons import settle
from .keymap import Keymap

Strengths = dict[str, float]


class InputState:
    """The controls as they are now, and what happened to them since the last read.

    Each physical control is held by itself: a button is up only when every control bound to it is up.
    """

    def __init__(self, keymap: Keymap) -> None:
        self._keymap = keymap
        self._lock = threading.Lock()
        self._num_presses = 0
        self._held: dict[str, int] = {}  # control -> number of its press, which orders presses in time
        self._pressed_since_read: dict[str, int] = {}  # the tap latch, in the same numbers
        self._axes: dict[str, float] = {}  # pad axis -> deflection beyond the dead zone, never 0
        self._axis_peaks: dict[str, float] = {}  # the largest deflection since the read: the tap latch of a stick
        self._motion_px = (0.0, 0.0)
        self._motion_times_s: list[float] = []
        self._change_times_s: list[float] = []  # of events that the next sample shows first
        self._deferred_times_s: list[float] = []  # releases of latched taps: the sample after the next shows them first
        self._last_sample = IDLE

    @property
    def last_sample(self) -> ActionSample:
        """The sample that the generator took last, for the input overlay."""
        return self._last_sample

    def use(self, keymap: Keymap, now_s: float) -> None:
        """Take another keymap (main thread); everything is let go of, since what is held meant something else."""
        with self._lock:
            self._release_all(InputEvent("focus_lost", time_s=now_s))
            self._keymap = keymap

    def held(self) -> frozenset[str]:
        """Return the buttons held at this moment by keys or sticks, opposite pairs settled."""
        with self._lock:
            return self._settled(self._held) | self._strengths(self._axes).keys()

    def handle(self, event: InputEvent) -> None:
        """Fold one event in (main thread). Controls without a binding change nothing."""
        with self._lock:
            if event.kind == "button":
                self._handle_button(event)
            elif event.kind == "motion":
                self._handle_motion(event)
            elif event.kind == "axis":
                self._handle_axis(event)
            elif event.kind == "focus_lost":
                self._release_all(event)

    def take(self, now_s: float) -> ActionSample:
        """Return what the player asked for since the last take, and forget what is done (generator thread)."""
        with self._lock:
            latched_axes = {**self._axis_peaks, **self._axes}
            buttons = self._settled({**self._pressed_since_read, **self._held})
            axes = tuple(sorted(self._strengths(latched_axes).items()))
            moved = self._motion_px != (0.0, 0.0)
            changed = (buttons, axes) != (self._last_sample.buttons, self._last_sample.axes)
            times_s = (self._change_times_s if changed else []) + (self._motion_times_s if moved else [])
            sample = ActionSample(buttons, self._motion_px, axes, now_s, tuple(sorted(times_s)))
            self._forget_what_was_read(sample)
            return sample

    def _forget_what_was_read(self, sample: ActionSample) -> None:
        will_change = self._settled(self._held) != sample.buttons \
            or tuple(sorted(self._strengths(self._axes).items())) != sample.axes
        self._change_times_s = self._deferred_times_s if will_change else []
        self._deferred_times_s = []
        self._pressed_since_read = {}
        self._axis_peaks = {}
        self._motion_px = (0.0, 0.0)
        self._motion_times_s = []
        self._last_sample = sample

    def _handle_button(self, event: InputEvent) -> None:
        control = event.control
        if control not in self._keymap.keys or event.down == (control in self._held):
            return  # unbound, a repeated key-down, or a key-up whose key-down went to another window
        shown, held = self._shown_next(), self._settled(self._held)
        if event.down:
            self._num_presses += 1
            self._held[control] = self._pressed_since_read[control] = self._num_presses
        else:
            del self._held[control]
        if self._shown_next() != shown:
            self._change_times_s.append(event.time_s)
        elif self._settled(self._held) != held:
            self._deferred_times_s.append(event.time_s)

    def _handle_motion(self, event: InputEvent) -> None:
        right, down = event.motion_px
        if (right, down) == (0.0, 0.0):
            return
        factor = self._keymap.mouse_sensitivity
        x, y = self._motion_px
        self._motion_px = (x + right * factor, y + down * factor * (-1.0 if self._keymap.invert_y else 1.0))
        self._motion_times_s.append(event.time_s)

    def _handle_axis(self, event: InputEvent) -> None:
        axis = event.control
        if axis not in self._keymap.sticks:
            return
        value = _beyond_dead_zone(event.value, self._keymap.rest_of(axis))
        if value == self._axes.get(axis, 0.0):
            return
        if value == 0.0:
            del self._axes[axis]
            # the next sample still shows a flick made since the last read; its end shows one sample later
            (self._deferred_times_s if axis in self._axis_peaks else self._change_times_s).append(event.time_s)
            return
        self._axes[axis] = value
        self._axis_peaks[axis] = max(value, self._axis_peaks.get(axis, 0.0), key=abs)
        self._change_times_s.append(event.time_s)

    def _release_all(self, event: InputEvent) -> None:
        """Let go of everything, unread taps and motion too: what the player does next is meant for another window."""
        for kept in (self._held, self._pressed_since_read, self._axes, self._axis_peaks):
            kept.clear()
        self._motion_px = (0.0, 0.0)
        self._motion_times_s = []
        self._deferred_times_s = []
        self._change_times_s = [event.time_s]

    def _shown_next(self) -> frozenset[str]:
        return self._settled({**self._pressed_since_read, **self._held})

    def _settled(self, presses: dict[str, int]) -> frozenset[str]:
        in_order: Iterable[str] = sorted(presses, key=presses.__getitem__)
        return settle(button for control in in_order for button in self._keymap.keys[control])

    def _strengths(self, axes: dict[str, float]) -> Strengths:
        """Return button -> strength in (0, 1] for the deflected sticks."""
        strengths: Strengths = {}
        for axis, value in axes.items():
            for button in self._keymap.sticks[axis][value > 0.0]:
                strengths[button] = max(abs(value), strengths.get(button, 0.0))
        return strengths


def _beyond_dead_zone(value: float, dead_zone: float) -> float:
    """Return the deflection rescaled so that it grows from 0 at the edge of the dead zone to 1 at the end."""
    size = min(abs(value), 1.0)
    if size <= dead_zone:
        return 0.0
    return (size - dead_zone) / (1.0 - dead_zone) * (1.0 if value > 0.0 else -1.0)
