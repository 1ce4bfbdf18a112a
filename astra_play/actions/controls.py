"""The legal names of physical controls: keys, mouse buttons, pad buttons and pad axes.

Keys are called what the window library calls them (`pygame.key.name`), so that the display can pass names through,
but the table stands here because the keymap and the scripts are read where no window library is installed.
"""

from __future__ import annotations

import difflib

_NAMED_KEYS = (
    "backspace", "tab", "clear", "return", "break", "escape", "space", "delete", "insert", "home", "end", "page up",
    "page down", "up", "down", "left", "right", "caps lock", "numlock", "scroll lock", "print screen", "menu", "help",
    "power", "sys req", "left shift", "right shift", "left ctrl", "right ctrl", "left alt", "right alt", "alt gr",
    "left meta", "right meta", "enter", "equals", "euro",
)
_KEYPAD = tuple(f"[{sign}]" for sign in "0123456789.+-*/")  # keypad enter and equals are "enter" and "equals"
_LETTERS_AND_SIGNS = tuple("abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`")

KEY_NAMES = frozenset((*_NAMED_KEYS, *_KEYPAD, *_LETTERS_AND_SIGNS, *(f"f{number}" for number in range(1, 16))))
MOUSE_BUTTON_NAMES = frozenset(f"mouse {side}" for side in ("left", "middle", "right", "x1", "x2"))
PAD_BUTTON_NAMES = frozenset(
    f"pad {name}" for name in ("a", "b", "x", "y", "back", "guide", "start", "left stick", "right stick",
                               "left shoulder", "right shoulder", "up", "down", "left", "right"))
PAD_STICK_NAMES = frozenset(("pad left x", "pad left y", "pad right x", "pad right y"))
PAD_TRIGGER_NAMES = frozenset(("pad left trigger", "pad right trigger"))  # their way begins at 0 and has one end
PAD_AXIS_NAMES = PAD_STICK_NAMES | PAD_TRIGGER_NAMES
BUTTON_CONTROLS = KEY_NAMES | MOUSE_BUTTON_NAMES | PAD_BUTTON_NAMES


def is_button_control(name: str) -> bool:
    """Tell whether `name` is something that goes down and up.

    Any single printable character passes, since keyboards of other languages have keys that no table lists.
    """
    return name in BUTTON_CONTROLS or (len(name) == 1 and name.isprintable() and not name.isspace()
                                       and name == name.lower())


def nearest(name: str, known: frozenset[str] = BUTTON_CONTROLS) -> str:
    """Return '; did you mean X?', or some names to go by: the whole list is too long for a sentence."""
    near = difflib.get_close_matches(name.lower()[:40], sorted(known), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    if known == PAD_AXIS_NAMES:
        return f"; known: {', '.join(sorted(known))}"
    return "; keys are called for example 'w', 'left shift', 'up', 'f1', 'mouse left' or 'pad a'"
