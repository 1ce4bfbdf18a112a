"""`render`: script -> samples -> world -> frames in a file, as fast as the world goes; time is counted in frames.

What worlds of published weights do instead of the middle is in render_published.py.

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
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from .actions.keymap import default_keymap
from .actions.row_makers import Place, make_row_maker
from .actions.script import load_script
from .actions.sources import ScriptedSource
from .chunks import ActionChunk
from .config import WorldConfig, load_world_config
from .errors import ConfigError, ImageError, RecordingError
from .paths import check_out_folder, find_world, start_pictures
from .record.export import durations_ms
from .record.format import SUFFIX
from .record.frames import read_facts
from .record.library import told_by
from .record.mp4 import Mp4File
from .render_options import RenderOptions, refuse_meaningless
from .render_published import load_options, motion_of
from .render_published import rollout as published_rollout
from .runtime.interfaces import ActionSource, PlayableWorld

WEBP_QUALITY = 70


class Writer(Protocol):
    def write(self, frame: np.ndarray) -> None: ...


def run_render(options: RenderOptions) -> int:
    """Load the world, render to the output, and print the hash of the frames."""
    check_output(options.out)  # bad input is found before the world is loaded
    folder, scenario = find_world(options.world)
    config = load_world_config(folder, scenario)
    refuse_meaningless(options, config)
    if config.model.history == "framepack":
        return render_published(options, config)
    events = load_script(options.script) if options.script else []
    from .codec.pixels import load_hand_place
    from .model.loading import load_world

    world = load_world(options.world, device="auto")
    try:
        set_sampling(world, options)
        world.reset(options.seed)
        picture = start_picture(world.config, options.image)
        world.prefill(start_frame(world.config, picture, options.fit)[None])
        keymap = default_keymap().limited_to(world.config.controls.buttons, world.config.controls.modality)
        frames = rollout(world, ScriptedSource(events, keymap), options.num_frames, load_hand_place(picture))
        digest = write_frames(frames, options.num_frames, options.out, world.config.fps)
    finally:
        world.close()
    say_what_was_made(options, options.num_frames, world.config.fps, digest)
    return 0


def render_published(options: RenderOptions, config: WorldConfig) -> int:
    """Render a world of published weights; its progress is counted in denoise steps, each of which may take seconds."""
    from tqdm import tqdm

    motion = motion_of(options, config)
    num_frames = options.num_frames or 1 + config.codec.frames_per_latent * motion.num_latents
    start = start_frame(config, start_picture(config, options.image), options.fit)
    from .model.loading import load_world
    from .model.sampler import schedule_for

    num_steps = len(schedule_for(config.stream, options.num_denoise_steps)) - 1  # refuses too many of them
    world = load_world(options.world, "auto", load_options(options))
    try:
        set_sampling(world, options)
        world.reset(options.seed)
        num_chunks = -(-motion.num_latents // config.stream.latent_frames_per_chunk)
        with tqdm(total=num_chunks * num_steps, unit="step", file=sys.stderr) as bar:
            world.watch_steps(bar.update)
            frames = islice(published_rollout(world, start, motion, options.overlay), num_frames)
            digest = write_frames(frames, None, options.out, config.fps)
    finally:
        world.close()
    say_what_was_made(options, num_frames, config.fps, digest)
    return 0


def set_sampling(world: PlayableWorld, options: RenderOptions) -> None:
    """Give the world the guidance and the steps that were asked for."""
    if options.guidance_scale is not None:
        world.guidance_scale = options.guidance_scale
    if options.num_denoise_steps is not None:
        world.num_denoise_steps = options.num_denoise_steps


def write_frames(frames: Iterator[np.ndarray], num_frames: int | None, out: Path, fps: int) -> str:
    """Write frames as they come and return their hash; a progress bar counts to `num_frames`, None shows none."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    with open_writer(out, fps) as writer:
        for frame in tqdm(frames, total=num_frames, unit="frame", file=sys.stderr, disable=num_frames is None):
            writer.write(frame)
            digest.update(np.ascontiguousarray(frame))
    return digest.hexdigest()


def say_what_was_made(options: RenderOptions, num_frames: int, fps: int, digest: str) -> None:
    print(f"{num_frames} frames at {fps} fps, seed {options.seed}, sha256 {digest[:16]} -> {options.out}")


def rollout(world: PlayableWorld, source: ActionSource, num_frames: int,
            hand_m: Place | None = None) -> Iterator[np.ndarray]:
    """Yield `num_frames` frames (H, W, 3) of a world that was reset and prefilled, driven by the source.

    `hand_m`: where the frames that it was prefilled with show the hand of an arm, if that is known.
    """
    row_maker = make_row_maker(world.config)
    row_maker.reset(hand_m)
    num_chunks = -(-num_frames // world.config.frames_per_chunk)
    for chunk_index in range(num_chunks):
        sample = source.take(chunk_index * world.config.chunk_s)
        action = ActionChunk(sample, row_maker.rows(sample), world.config.controls.modality, chunk_index)
        frames = world.step(action)
        world.commit()
        yield from frames[:num_frames - chunk_index * world.config.frames_per_chunk]


def start_picture(config: WorldConfig, image: Path | None) -> Path:
    """Return the picture file to start from; without an image the world's first, as in `play`."""
    pictures = [image] if image is not None else start_pictures(config.name, config.scenario)
    if not pictures:
        raise ImageError(f"the world {config.name!r} has no start picture of its own; give one with --image FILE")
    return pictures[0]


def start_frame(config: WorldConfig, picture: Path, fit: Literal["crop", "squeeze"] = "crop") -> np.ndarray:
    """Return the (H, W, 3) frame to start from."""
    from .codec.pixels import load_start_image

    return load_start_image(picture, config.width, config.height, fit)


# --- outputs: written under another name and renamed, so that what has the final name is whole -----------------------

def check_output(out: Path, option: str = "--out") -> None:
    """Raise ConfigError for an output that cannot be written, before anything costs time.

    An earlier output is replaced, but never the video of a recording, which may be all that is left of an hour's play.
    """
    if out.suffix and out.suffix.lower() not in WRITERS:
        raise ConfigError(f"{option} {out} ends in {out.suffix!r}; give a file that ends in {' or '.join(WRITERS)}, or "
                          "a folder for PNGs")
    check_out_folder(option, out)
    if out.suffix and out.is_dir():
        raise ConfigError(f"{option} {out} is a folder; give a file name for the video, or a folder without .mp4")
    if out.suffix.lower() == ".mp4" and out.exists() and _is_of_a_recording(out):
        raise ConfigError(f"{option} {out} is the video of a recording, which nothing replaces; give another name")
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{option} {out} exists and is not an empty folder; give another name, or end it in .mp4")


def _is_of_a_recording(video: Path) -> bool:
    """Tell whether a file is the video of a recording, by the log beside it or by what it says of itself."""
    if video.with_suffix(SUFFIX).exists():
        return True
    try:
        return "action_log" in told_by(read_facts(video))
    except RecordingError:
        return False


def open_writer(out: Path, fps: int) -> AbstractContextManager[Writer]:
    return WRITERS[out.suffix.lower()](out, fps) if out.suffix else PngWriter(out)


class Mp4Writer:
    """Frames into an H.264 video of an exact frame rate."""

    def __init__(self, path: Path, fps: int) -> None:
        self.path = path
        self._fps = fps
        self._half_path = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Mp4Writer:
        self._file = Mp4File(self._half_path, Fraction(self._fps), Fraction(1, self._fps))
        self._num_frames = 0
        return self

    def write(self, frame: np.ndarray) -> None:
        self._file.write(frame, self._num_frames)
        self._num_frames += 1

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        try:
            self._file.__exit__(kind, *raised)
            if kind is None:
                os.replace(self._half_path, self.path)
        finally:
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
        try:
            self._frames[0].save(half_path, format="WEBP", save_all=True, append_images=self._frames[1:], loop=0,
                                 duration=durations_ms(len(self._frames), self._fps), quality=WEBP_QUALITY, method=4)
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
