"""Contact sheets: pictures beside each other for a person to judge, each row and column labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL_PX, HEADER_PX, GAP_PX = 140, 22, 2
INK, PAPER = (38, 42, 48), (255, 255, 255)


def save_sheet(path: Path, rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str]) -> None:
    """Write labelled rows of frames (H, W, 3) uint8 under column headings; a row without frames leaves a gap."""
    height, width = next(frames for _, frames in rows if len(frames))[0].shape[:2]
    tall = [height if len(frames) else HEADER_PX for _, frames in rows]
    size = LABEL_PX + len(columns) * (width + GAP_PX), HEADER_PX + sum(tall) + GAP_PX * len(rows)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, name in enumerate(columns):
        pen.text((LABEL_PX + index * (width + GAP_PX) + width / 2, HEADER_PX / 2), name, INK, font, anchor="mm")
    top = HEADER_PX
    for (label, frames), row_px in zip(rows, tall, strict=True):
        pen.text((LABEL_PX - 6, top + row_px / 2), label, INK, font, anchor="rm")
        for index, frame in enumerate(frames):
            sheet.paste(Image.fromarray(frame), (LABEL_PX + index * (width + GAP_PX), top))
        top += row_px + GAP_PX
    sheet.save(path)
