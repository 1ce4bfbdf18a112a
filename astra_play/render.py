"""`render`: script -> samples -> world -> frames in a file, as fast as the world goes; time is counted in frames.

The clock is virtual (chunk k is read at k times the chunk's length), so the same seed, script and start picture give
the same frames on the same machine, however slow it is. Scripts are read with the default keymap for that reason.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from .actions.keymap import default_keymap
from .actions.row_makers import make_row_maker
from .actions.script import load_script
from .actions.sources import ScriptedSource
from .chunks import ActionChunk
from .config import WorldConfig
from .errors import ConfigError, ImageError
from .paths import DEFAULT_WORLD, start_pictures
from .runtime.interfaces import ActionSource, PlayableWorld

# Low enough that the grain of a small picture survives; at 128 x 96 a minute is a few megabytes.
H264_QUALITY = {"crf": "16", "preset": "medium"}
WEBP_QUALITY = 70


@dataclass(frozen=True)
class RenderOptions:
    """What to render and where to. `script` None means idle, `image` None the world's first start picture; guidance
    and steps are the world's own where they are None."""

    num_frames: int
    out: Path
    world: str = DEFAULT_WORLD
    seed: int = 0
    script: Path | None = None
    image: Path | None = None
    guidance_scale: float | None = None
    num_denoise_steps: int | None = None


class Writer(Protocol):
    def write(self, frame: np.ndarray) -> None: ...


def run_render(options: RenderOptions) -> int:
    """Load the world, render to the output, and print the hash of the frames."""
    from tqdm import tqdm

    events = load_script(options.script) if options.script else []  # bad input is found before the world is loaded
    check_output(options.out)
    from .model.loading import load_world

    world = load_world(options.world, device="auto")
    try:
        if options.guidance_scale is not None:
            world.guidance_scale = options.guidance_scale
        if options.num_denoise_steps is not None:
            world.num_denoise_steps = options.num_denoise_steps
        world.reset(options.seed)
        world.prefill(start_frame(world.config, options.image)[None])
        keymap = default_keymap().limited_to(world.config.controls.buttons, world.config.controls.modality)
        frames = rollout(world, ScriptedSource(events, keymap), options.num_frames)
        digest = hashlib.sha256()
        with open_writer(options.out, world.config.fps) as writer:
            for frame in tqdm(frames, total=options.num_frames, unit="frame", file=sys.stderr):
                writer.write(frame)
                digest.update(np.ascontiguousarray(frame))
    finally:
        world.close()
    print(f"{options.num_frames} frames at {world.config.fps} fps, seed {options.seed}, "
          f"sha256 {digest.hexdigest()[:16]} -> {options.out}")
    return 0


def rollout(world: PlayableWorld, source: ActionSource, num_frames: int) -> Iterator[np.ndarray]:
    """Yield `num_frames` frames (H, W, 3) of a world that was reset and prefilled, driven by the source."""
    row_maker = make_row_maker(world.config)
    num_chunks = -(-num_frames // world.config.frames_per_chunk)
    for chunk_index in range(num_chunks):
        sample = source.take(chunk_index * world.config.chunk_s)
        action = ActionChunk(sample, row_maker.rows(sample), world.config.controls.modality, chunk_index)
        frames = world.step(action)
        world.commit()
        yield from frames[:num_frames - chunk_index * world.config.frames_per_chunk]


def start_frame(config: WorldConfig, image: Path | None) -> np.ndarray:
    """Return the (H, W, 3) picture to start from; without an image the world's first, as in `play`."""
    from .codec.pixels import load_start_image

    if image is None:
        pictures = start_pictures(config.name, config.scenario)
        if not pictures:
            raise ImageError(f"the world {config.name!r} has no start picture of its own; give one with --image FILE")
        image = pictures[0]
    return load_start_image(image, config.width, config.height)


# --- outputs: written under another name and renamed, so that what has the final name is whole -----------------------

def check_output(out: Path) -> None:
    """Raise ConfigError for an output that cannot be written, before anything costs time."""
    if out.suffix and out.suffix.lower() not in WRITERS:
        raise ConfigError(f"--out {out} ends in {out.suffix!r}; give a file that ends in {' or '.join(WRITERS)}, or a "
                          "folder for PNGs")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out} lies in a folder that does not exist; make {out.absolute().parent} first")
    if out.suffix and out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give a file name for the video, or a folder without .mp4")
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not an empty folder; give another name, or end it in .mp4")


def open_writer(out: Path, fps: int) -> AbstractContextManager[Writer]:
    return WRITERS[out.suffix.lower()](out, fps) if out.suffix else PngWriter(out)


class Mp4Writer:
    """Frames into an H.264 video of an exact frame rate."""

    def __init__(self, path: Path, fps: int) -> None:
        self.path = path
        self._fps = fps
        self._half_path = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Mp4Writer:
        import av

        self._container = av.open(str(self._half_path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(self._fps), options=H264_QUALITY)
        self._num_frames = 0
        return self

    def write(self, frame: np.ndarray) -> None:
        import av

        if self._num_frames == 0:
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # the one layout that every player and browser shows
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self._num_frames, Fraction(1, self._fps)
        self._num_frames += 1
        self._container.mux(self._stream.encode(picture))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        if kind is None:
            os.replace(self._half_path, self.path)
        else:
            self._half_path.unlink(missing_ok=True)


class WebpWriter:
    """Frames into an animated picture that begins again at its end, as the menu shows it beside a start picture."""

    def __init__(self, path: Path, fps: int) -> None:
        self.path = path
        self._fps = fps

    def __enter__(self) -> WebpWriter:
        self._frames: list[Image.Image] = []
        return self

    def write(self, frame: np.ndarray) -> None:
        self._frames.append(Image.fromarray(frame))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self._frames:
            return
        half_path = self.path.with_name(f".{self.path.name}.part")
        # Durations are whole milliseconds: each ends where the next frame begins, so that they do not add up to more.
        ends_ms = [round(1000 * (number + 1) / self._fps) for number in range(len(self._frames))]
        durations_ms = [end - begin for begin, end in zip([0, *ends_ms], ends_ms, strict=False)]
        try:
            self._frames[0].save(half_path, format="WEBP", save_all=True, append_images=self._frames[1:],
                                 duration=durations_ms, loop=0, quality=WEBP_QUALITY, method=4)
            os.replace(half_path, self.path)
        finally:
            half_path.unlink(missing_ok=True)


WRITERS = {".mp4": Mp4Writer, ".webp": WebpWriter}


class PngWriter:
    """Frames into a folder of numbered PNGs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> PngWriter:
        self._half = tempfile.TemporaryDirectory(prefix=f".{self.folder.name}.", dir=self.folder.absolute().parent)
        self._num_frames = 0
        return self

    def write(self, frame: np.ndarray) -> None:
        Image.fromarray(frame).save(Path(self._half.name) / f"frame_{self._num_frames:06d}.png")
        self._num_frames += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._half:
            if kind is None:
                self.folder.mkdir(exist_ok=True)
                for path in sorted(Path(self._half.name).iterdir()):
                    os.replace(path, self.folder / path.name)
