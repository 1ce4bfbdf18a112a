"""Files dropped on the window -> the picture to start from: the first that can be read, or a sentence why none can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pygame

from ..codec.pixels import load_start_image
from ..errors import ImageError

DROP_EVENTS = (pygame.DROPBEGIN, pygame.DROPFILE, pygame.DROPTEXT, pygame.DROPCOMPLETE)


class Drop:
    """Collects the files of one drop, which come as one event each."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._has_text = False
        self._is_open = False

    def note(self, event: pygame.Event) -> None:
        if event.type == pygame.DROPFILE:
            self._paths.append(Path(event.file))
        elif event.type == pygame.DROPTEXT:
            self._has_text = True
        else:
            self._is_open = event.type == pygame.DROPBEGIN

    def take(self) -> list[Path]:
        """Return the files of a drop that is complete, once; ImageError where words were dropped and no file."""
        if self._is_open or not (self._paths or self._has_text):
            return []
        paths, self._paths, self._has_text = self._paths, [], False
        if not paths:
            raise ImageError("what was dropped is a link or text and not a file; save the picture, then drop its file")
        return paths


def first_picture(paths: Sequence[Path], width: int, height: int) -> tuple[Path, np.ndarray]:
    """Return the first of the files that is a picture, and it as a (height, width, 3) uint8 start frame.

    ImageError about the first file if none of them is one.
    """
    failure: ImageError | None = None
    for path in paths:
        try:
            return path, load_start_image(path, width, height)
        except ImageError as error:
            failure = failure or error
    raise failure or ImageError("no file was dropped; drop one picture")
