"""A stretch of a video -> a GIF, an animated WebP or another mp4, sized and timed for showing around.

Files are written under a hidden name and renamed, so that what has the final name is whole.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import RecordingError
from .frames import VideoFacts, at_rate, frames, read_facts
from .mp4 import Mp4File

FORMATS = (".gif", ".webp", ".mp4")
GIF_TICK_MS = 10  # GIF counts time in hundredths of a second
MAX_GIF_FPS = 50  # browsers take a frame of less than 20 ms for a mistake and show it for 100 ms
MAX_ANIMATION_PIXELS = 300e6  # of all frames together, which are kept until the file is written: a minute at 640 x 480
WIDTH_RANGE = (16, 3840)
WEBP_QUALITY = 80
# On two clips of the default world one palette for all frames, without dithering, was as near to them as a palette each
# (37.7 dB against 37.4) in two thirds of the bytes. Dithering takes 2 dB and doubles the bytes.
PALETTE_COLOURS = 256
PALETTE_FRAMES = 16  # spread over the clip, that the shared palette is made from
PALETTE_WIDTH = 128  # of those frames: choosing colours takes seconds of a core at 320 pixels, for 0.5 dB at most

Progress = Callable[[int, int], None]


class ExportStopped(RecordingError):
    """The export was asked to stop; nothing is left of it."""


@dataclass(frozen=True)
class Stretch:
    """What of a video is wanted, checked against its facts: seconds, rate, size, and how many frames that makes."""

    from_s: float
    to_s: float
    fps: Fraction
    width: int
    height: int

    @property
    def num_frames(self) -> int:
        return max(1, round((self.to_s - self.from_s) * self.fps))


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    num_frames: int
    width: int
    height: int
    size_bytes: int


def export(source: Path, out: Path, from_s: float = 0.0, to_s: float | None = None, width: int | None = None,
           fps: float | None = None, progress: Progress | None = None, stop: threading.Event | None = None) -> Exported:
    """Write seconds `from_s` to `to_s` of a video as what the ending of `out` says: .gif, .webp or .mp4.

    None: to the end, the video's own width and rate. `progress(done, total)` counts frames; `stop` ends the export
    with ExportStopped. RecordingError for a source that is no video, an empty range, an animation too large, a file
    that exists, or a place that cannot be written to.
    """
    kind = out.suffix.lower()
    if kind not in FORMATS:
        raise RecordingError(f"{out} ends in {out.suffix!r}; give a file that ends in {', '.join(FORMATS)}")
    wanted = stretch(source, read_facts(source), from_s, to_s, width, fps, animation=kind != ".mp4")
    refuse_existing(out)
    with half_written(out) as part:
        _WRITERS[kind](part, wanted, _Pictures(source, wanted, progress, stop))
    return Exported(out, wanted.num_frames, wanted.width, wanted.height, out.stat().st_size)


def stretch(source: Path, facts: VideoFacts, from_s: float, to_s: float | None, width: int | None = None,
            fps: float | None = None, animation: bool = False) -> Stretch:
    """Check what was asked for against what is there; an end beyond the video's is the video's."""
    end_s = facts.length_s if to_s is None else min(to_s, facts.length_s)
    if not 0.0 <= from_s < end_s:
        until = "its end" if to_s is None else f"{to_s:g} s"
        raise RecordingError(f"{source.name} is {facts.length_s:.2f} s long and has nothing between {from_s:g} s and "
                             f"{until}; give a beginning before the end")
    if width is not None and not WIDTH_RANGE[0] <= width <= WIDTH_RANGE[1]:
        raise RecordingError(f"a width of {width} pixels is not within {WIDTH_RANGE[0]} and {WIDTH_RANGE[1]}")
    if fps is not None and not 0.1 <= fps <= 240.0:
        raise RecordingError(f"{fps:g} frames per second is not within 0.1 and 240")
    rate = facts.fps if fps is None else Fraction(fps).limit_denominator(1000)
    wide = facts.width if width is None else width
    high = max(1, round(facts.height * wide / facts.width))
    if not animation:
        wide, high = wide + wide % 2, high + high % 2  # H.264 halves the colours' width and height
    wanted = Stretch(from_s, end_s, rate, wide, high)
    pixels = wanted.num_frames * wide * high
    if animation and pixels > MAX_ANIMATION_PIXELS:
        raise RecordingError(f"an animation of {end_s - from_s:.1f} s at {wide} x {high} and {float(rate):g} fps would "
                             f"hold {pixels / 1e6:.0f} million pixels, and {MAX_ANIMATION_PIXELS / 1e6:.0f} are the "
                             "most; make it shorter, smaller with --width or slower with --fps, or export an .mp4")
    return wanted


class _Pictures:
    """The frames of a stretch in their final size; they can be walked through more than once."""

    def __init__(self, source: Path, wanted: Stretch, progress: Progress | None, stop: threading.Event | None) -> None:
        self._source, self._wanted, self._progress, self._stop = source, wanted, progress, stop

    def walk(self, counted: bool = True) -> Iterator[Image.Image]:
        wanted = self._wanted
        shown = frames(self._source, wanted.from_s, wanted.to_s)
        num_done = 0
        for frame in at_rate(shown, float(wanted.fps), wanted.from_s, wanted.num_frames):
            if self._stop is not None and self._stop.is_set():
                raise ExportStopped(f"the export of {self._source.name} was stopped")
            yield self._sized(frame)
            num_done += 1
            if counted and self._progress is not None:
                self._progress(num_done, wanted.num_frames)
        if num_done == 0:
            raise RecordingError(f"no frame of {self._source} can be decoded; the file is damaged")

    def spread(self, count: int) -> list[Image.Image]:
        """Return at most `count` pictures, spread over the stretch."""
        step = -(-self._wanted.num_frames // count)
        return [picture for index, picture in enumerate(self.walk(counted=False)) if index % step == 0]

    def _sized(self, frame: np.ndarray) -> Image.Image:
        picture, size = Image.fromarray(frame), (self._wanted.width, self._wanted.height)
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def durations_ms(num_frames: int, fps: Fraction | float, tick_ms: int = 1) -> list[int]:
    """Return how long each frame stays, in whole ticks; each ends at the tick nearest to where the next one begins, so
    the errors never add up."""
    rate = Fraction(fps)
    ends_ms = [tick_ms * round(Fraction(1000 * (index + 1), tick_ms) / rate) for index in range(num_frames)]
    return [end - begin for begin, end in zip([0, *ends_ms], ends_ms, strict=False)]


def _write_gif(part: Path, wanted: Stretch, pictures: _Pictures) -> None:
    if wanted.fps > MAX_GIF_FPS:
        raise RecordingError(f"a GIF of {float(wanted.fps):g} fps would be slowed down by browsers; give --fps "
                             f"{MAX_GIF_FPS} or less, or export a .webp")
    samples = pictures.spread(PALETTE_FRAMES)
    width = min(wanted.width, PALETTE_WIDTH)
    height = max(1, wanted.height * width // wanted.width)
    sheet = Image.new("RGB", (width, height * len(samples)))
    for index, picture in enumerate(samples):
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (0, height * index))  # colours unmixed
    palette = sheet.quantize(PALETTE_COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=1)
    painted = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures.walk())
    first = next(painted)
    first.save(part, format="GIF", save_all=True, append_images=painted, loop=0, optimize=False,
               duration=durations_ms(wanted.num_frames, wanted.fps, GIF_TICK_MS))


def _write_webp(part: Path, wanted: Stretch, pictures: _Pictures) -> None:
    walked = pictures.walk()
    first = next(walked)
    first.save(part, format="WEBP", save_all=True, append_images=walked, loop=0, quality=WEBP_QUALITY, method=4,
               duration=durations_ms(wanted.num_frames, wanted.fps))


def _write_mp4(part: Path, wanted: Stretch, pictures: _Pictures) -> None:
    with Mp4File(part, wanted.fps, 1 / wanted.fps) as video:
        for index, picture in enumerate(pictures.walk()):
            video.write(np.asarray(picture), index)


_WRITERS = {".gif": _write_gif, ".webp": _write_webp, ".mp4": _write_mp4}


# --- places to write to ---------------------------------------------------------------------------------------------

def refuse_existing(out: Path) -> None:
    """Raise RecordingError for a file that is there already or a folder that is not."""
    if out.exists():
        raise RecordingError(f"{out} exists already; give another name, or delete it first")
    if not out.absolute().parent.is_dir():
        raise RecordingError(f"{out} lies in a folder that does not exist; make {out.absolute().parent} first")


@contextmanager
def half_written(out: Path) -> Iterator[Path]:
    """Lend a hidden name beside `out`; it becomes `out` when the block ends well and is gone when it does not."""
    import av

    part = out.with_name(f".{out.name}.part")
    try:
        yield part
        os.replace(part, out)
    except (OSError, av.FFmpegError) as error:
        raise RecordingError(cannot_write(out, error)) from None
    finally:
        part.unlink(missing_ok=True)


def cannot_write(out: Path, error: Exception) -> str:
    """Return the sentence about a file that could not be written."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{out} could not be written, the disk is full; free some space or choose another place"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{out} could not be written, its folder gives no permission; choose another place"
    return f"{out} could not be written ({getattr(error, 'strerror', None) or error}); choose another place"
