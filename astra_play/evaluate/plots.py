"""Line plots with Pillow: axes with round ticks, a legend, nothing to install."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

INK, GRID, PAPER = (38, 42, 48), (224, 227, 231), (255, 255, 255)
COLOURS = ((32, 98, 176), (214, 96, 36), (60, 140, 80), (140, 80, 160), (120, 120, 120))
OVERSAMPLE = 2  # drawn twice as large and averaged down: Pillow's lines have no soft edges
LEFT, RIGHT, TOP, BOTTOM = 48, 18, 34, 46  # margins in pixels of the finished plot
MAX_TICKS = 6
DASH_PX = 10  # of the oversampled drawing


Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve; None in `y` leaves a gap. `dashed` for what is only there to compare with."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    dashed: bool = False


def plot(title: str, x_label: str, y_label: str, lines: Sequence[Line], size: tuple[int, int] = (640, 340),
         y_range: tuple[float, float] | None = None, band: tuple[float, float] | None = None) -> Image.Image:
    """Return a plot as a picture. `band`: a range of y that is tinted, such as the allowed one."""
    return _Plot(size, lines, y_range).draw(title, x_label, y_label, lines, band)


def save_column(path: Path, pictures: Sequence[Image.Image]) -> None:
    """Write pictures one below the other as one PNG."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    sheet.save(path)


def round_ticks(low: float, high: float) -> list[float]:
    """Return at most MAX_TICKS + 1 multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    raw = max(high - low, 1e-9) / MAX_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _dashes(start: Point, end: Point, drawn_px: float) -> Iterator[list[Point]]:
    """Yield the inked pieces of a line of even dashes and gaps that has already run for `drawn_px`."""
    length_px = math.dist(start, end)
    at_px = 0.0
    while at_px < length_px:
        phase_px = (drawn_px + at_px) % (2 * DASH_PX)
        step_px = min(DASH_PX - phase_px % DASH_PX or DASH_PX, length_px - at_px) + 1e-6
        if phase_px < DASH_PX:
            yield [tuple(a + (b - a) * min(1.0, px / length_px) for a, b in zip(start, end, strict=True))
                   for px in (at_px, at_px + step_px)]
        at_px += step_px


class _Plot:
    """A canvas with its scales."""

    def __init__(self, size: tuple[int, int], lines: Sequence[Line], y_range: tuple[float, float] | None) -> None:
        self.width, self.height = (s * OVERSAMPLE for s in size)
        xs = [x for line in lines for x in line.x]
        ys = [y for line in lines for y in line.y if y is not None] or [0.0, 1.0]
        margin = 0.05 * (max(ys) - min(ys) or 1.0)
        self.x_range = min(xs), max(xs)
        self.y_range = y_range or (min(ys) - margin, max(ys) + margin)
        self.image = Image.new("RGB", (self.width, self.height), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(13 * OVERSAMPLE)

    def draw(self, title: str, x_label: str, y_label: str, lines: Sequence[Line],
             band: tuple[float, float] | None) -> Image.Image:
        if band:
            low, high = max(band[0], self.y_range[0]), min(band[1], self.y_range[1])
            self.pen.rectangle([*self.at(self.x_range[0], high), *self.at(self.x_range[1], low)], (238, 246, 238))
        self.axes()
        for index, line in enumerate(lines):
            self.curve(line, COLOURS[index % len(COLOURS)])
        s = OVERSAMPLE
        self.pen.text((LEFT * s, 8 * s), f"{title}, {y_label}", INK, self.font)
        self.pen.text((self.width / 2, self.height - 8 * s), x_label, INK, self.font, anchor="ms")
        self.legend(lines)
        return self.image.resize((self.width // s, self.height // s), Image.Resampling.BOX)

    def at(self, x: float, y: float) -> Point:
        """Return the pixel of a point, kept on the canvas' plot area."""
        s = OVERSAMPLE
        right, bottom = self.width - RIGHT * s, self.height - BOTTOM * s
        across = (x - self.x_range[0]) / ((self.x_range[1] - self.x_range[0]) or 1.0)
        up = min(max((y - self.y_range[0]) / ((self.y_range[1] - self.y_range[0]) or 1.0), 0.0), 1.0)
        return LEFT * s + across * (right - LEFT * s), bottom - up * (bottom - TOP * s)

    def axes(self) -> None:
        s = OVERSAMPLE
        for y in round_ticks(*self.y_range):
            start, end = self.at(self.x_range[0], y), self.at(self.x_range[1], y)
            self.pen.line([start, end], GRID, s)
            self.pen.text((start[0] - 6 * s, start[1]), f"{y:g}", INK, self.font, anchor="rm")
        for x in round_ticks(*self.x_range):
            foot = self.at(x, self.y_range[0])
            self.pen.line([foot, (foot[0], foot[1] + 4 * s)], INK, s)
            self.pen.text((foot[0], foot[1] + 7 * s), f"{x:g}", INK, self.font, anchor="ma")
        (left, right), (low, high) = self.x_range, self.y_range
        self.pen.line([self.at(left, high), self.at(left, low), self.at(right, low)], INK, s)

    def curve(self, line: Line, colour: tuple[int, int, int]) -> None:
        points = [None if y is None else self.at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        drawn_px = 0.0
        for start, end in pairwise(points):
            if start and end:
                for piece in _dashes(start, end, drawn_px) if line.dashed else [(start, end)]:
                    self.pen.line(piece, colour, 2 * OVERSAMPLE)
                drawn_px += math.dist(start, end)

    def legend(self, lines: Sequence[Line]) -> None:
        s = OVERSAMPLE
        right = self.width - RIGHT * s
        for index in reversed(range(len(lines))):
            right -= self.pen.textlength(lines[index].name, self.font)
            self.pen.text((right, 8 * s), lines[index].name, INK, self.font)
            right -= 24 * s
            self.pen.line([(right, 16 * s), (right + 18 * s, 16 * s)], COLOURS[index % len(COLOURS)], 3 * s)
            right -= 14 * s
