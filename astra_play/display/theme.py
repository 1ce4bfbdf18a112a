"""The one look of the window: colours as RGB and sizes in units, where the window's shorter fit is 720 units high."""

from __future__ import annotations

Colour = tuple[int, int, int]

BACKGROUND: Colour = (13, 15, 19)
PANEL: Colour = (22, 25, 31)
PANEL_RAISED: Colour = (32, 36, 44)
LINE: Colour = (52, 58, 69)
TEXT: Colour = (235, 237, 240)
TEXT_SOFT: Colour = (166, 174, 186)
TEXT_FAINT: Colour = (112, 121, 135)
ACCENT: Colour = (236, 178, 96)  # late sun: the only warm tone, so the eye finds the focus at once
GOOD: Colour = (132, 196, 148)
WARNING: Colour = (232, 120, 98)
RECORDING: Colour = (226, 62, 58)

# Text heights in units. 14 is the smallest: at 720p it is about as high as the text of a desktop menu.
SMALL = 14
BODY = 17
HEADING = 23
TITLE = 46

MARGIN = 56
GAP = 20
RADIUS = 7

DESIGN_WIDTH_UNITS = 1280
DESIGN_HEIGHT_UNITS = 720
MIN_UNIT_PX = 0.62  # below it text would be unreadable; a tiny window cuts lines off instead


def unit_px(width_px: int, height_px: int) -> float:
    """Return the pixels per unit of a window: 1 at 1280x720, 3 at 3840x2160."""
    return max(MIN_UNIT_PX, min(width_px / DESIGN_WIDTH_UNITS, height_px / DESIGN_HEIGHT_UNITS))
