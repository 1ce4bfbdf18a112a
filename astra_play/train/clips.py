"""`data import`: a person's own videos and what was done in them -> episodes that training reads.

Beside each video lies a log of the same name, and its kind is told by its ending:

  .jsonl  input events, as `play --script` and `render --script` take them: what our own clips have
  .csv    motions, one line for every frame of the video, in columns named as in MOTION_COLUMNS (or AT_COLUMNS: where
          a hand was, absolute), and perhaps `t`, the seconds at which each line was true
  .json   ego poses as nuScenes keeps them: a list of {"timestamp": microseconds, "translation": [x, y, z] in metres,
          "rotation": [w, x, y, z]}; the first one is at the video's first frame

Motions are added up and read again at the frames of the world, so that a log of any rate serves a world of any rate.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..actions import rows as action_rows
from ..actions.keymap import default_keymap
from ..actions.row_makers import make_row_maker
from ..actions.script import load_script
from ..actions.sources import ScriptedSource
from ..config import ControlsConfig, ModelConfig, WorldConfig
from ..errors import DataError
from . import scenarios
from .dataset import HELD_OUT_SEED_BASE, TRAIN_SEED_BASE, Dataset, EpisodeWriter, Settings

VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
LOG_ENDINGS = (".jsonl", ".csv", ".json")
MOTION_COLUMNS = {"camera": ("forward_m", "right_m", "yaw_left_rad", "pitch_up_rad"),
                  "vehicle": ("forward_m", "left_m", "yaw_left_rad"),
                  "arm": ("right_m", "away_m", "up_m", "close")}
AT_COLUMNS = ("at_right_m", "at_away_m", "at_up_m", "close")  # "arm" only
MAKE_ROW = {"camera": action_rows.camera_row, "vehicle": action_rows.vehicle_row, "arm": action_rows.arm_row}
LOG_SLACK_S = 0.5  # by which a log may begin and end beside its video, or its own step where that is longer
MIN_FRAMES = 8  # of a piece: less than half a second teaches nothing about what follows


@dataclass(frozen=True)
class ImportOptions:
    """How clips become episodes. `fps`, `width`, `height`: those of the world that will be trained."""

    scenario: str = "explore"
    width: int = 128
    height: int = 96
    fps: int = 16
    frames_per_episode: int = 240  # longer clips are cut into pieces of that many frames
    held_out_every: int = 10  # of the pieces, one in so many goes to the held-out episodes

    @property
    def controls(self) -> ControlsConfig:
        return scenarios.controls(self.scenario)


def import_clips(source: Path, out: Path, held_out: Path | None, options: ImportOptions) -> tuple[Dataset, int]:
    """Write the clips of a folder as episodes to `out`, some to `held_out`; return the data set and how many those are.

    DataError names the clip whose video or log cannot be used; what was written before stays. After a whole import
    the folders hold its clips alone: not those that are gone, nor in the one what the other has now.
    """
    videos = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS)
    if not videos:
        raise DataError(f"{source} holds no video ({', '.join(VIDEO_ENDINGS)})")
    logs = {video: log_of(video) for video in videos}  # a missing log is found before an hour is spent on the others
    settings = Settings(options.scenario, options.fps, options.width, options.height, options.frames_per_episode)
    training, testing = EpisodeWriter(out, settings), EpisodeWriter(held_out, settings) if held_out else None
    pieces = (piece for video in videos for piece in clip_pieces(video, logs[video], options))
    for number, (frames, motions) in enumerate(pieces):
        rows = np.stack([MAKE_ROW[options.controls.modality](*map(float, motion)) for motion in motions])
        apart = testing is not None and number % options.held_out_every == options.held_out_every - 1
        writer, base = (testing, HELD_OUT_SEED_BASE) if apart else (training, TRAIN_SEED_BASE)
        writer.write(base + number, frames, rows, np.zeros((len(frames), 0)), motions)
    for writer in filter(None, (training, testing)):
        writer.forget_others()
    if not len(Dataset(out)):
        raise DataError(f"the videos in {source} are all shorter than {MIN_FRAMES} frames at {options.fps} a second")
    return Dataset(out), len(Dataset(held_out)) if testing else 0


def log_of(video: Path) -> Path:
    """Return the action log beside a video."""
    for ending in LOG_ENDINGS:
        if (log := video.with_suffix(ending)).is_file():
            return log
    raise DataError(f"{video} has no action log beside it; put {video.stem} with one of the endings "
                    f"{', '.join(LOG_ENDINGS)} there")


def clip_pieces(video: Path, log: Path, options: ImportOptions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a clip in pieces: frames (F, H, W, 3) uint8 and the motions (F, K) that led into them.

    The motion into the first frame of a piece is that into the clip's frame; a clip's own first one stands still.
    """
    frames, length_s = read_video(video, options)
    times_s = np.arange(len(frames)) / options.fps
    modality = options.controls.modality
    if log.suffix == ".jsonl":
        motions = from_events(log, len(frames), options)
    elif log.suffix == ".csv":
        motions = from_motions(log, modality, times_s, length_s)
    else:
        motions = from_ego_poses(log, modality, times_s, length_s)
    for start in range(0, len(frames), options.frames_per_episode):
        piece = slice(start, start + options.frames_per_episode)
        if len(frames[piece]) >= MIN_FRAMES:
            yield frames[piece], motions[piece]


def read_video(video: Path, options: ImportOptions) -> tuple[np.ndarray, float]:
    """Return the frames (F, H, W, 3) of a video at the world's rate and size, and its length in seconds.

    Each is the newest frame of the video at its time; the largest centred part of the world's shape is scaled.
    """
    import av

    taken: list[np.ndarray] = []
    time_s = length_s = 0.0
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            step_s = float(1 / (stream.average_rate or options.fps))
            begin_s, waiting = None, None
            for picture in container.decode(stream):
                now_s = float(picture.time or 0.0)
                begin_s = now_s if begin_s is None else begin_s
                time_s, length_s = now_s - begin_s, now_s - begin_s + step_s
                while waiting is not None and len(taken) / options.fps < time_s - 1e-6:
                    taken.append(waiting)
                image = Image.fromarray(picture.to_ndarray(format="rgb24"))
                waiting = np.asarray(ImageOps.fit(image, (options.width, options.height), Image.Resampling.BOX))
            while waiting is not None and len(taken) / options.fps < length_s - 1e-6:
                taken.append(waiting)
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise DataError(f"{video} cannot be read as a video ({error})") from None
    if not taken:
        raise DataError(f"{video} holds no pictures")
    return np.stack(taken), length_s


def from_events(log: Path, num_frames: int, options: ImportOptions) -> np.ndarray:
    """Input events -> motions (F, K), by the way that they take while playing."""
    controls = options.controls
    config = WorldConfig("clips", "", "", options.width, options.height, options.fps, ModelConfig(
        dim=8, ffn_dim=8, num_heads=1, num_layers=0, latent_channels=1, grid_height=2, grid_width=2), controls=controls)
    source = ScriptedSource(load_script(log), default_keymap().limited_to(controls.buttons, controls.modality))
    maker = make_row_maker(config)
    rows = np.concatenate([maker.rows(source.take(frame / options.fps)) for frame in range(num_frames)])
    return np.stack([motion_of(row, controls.modality) for row in rows])


def motion_of(row: np.ndarray, modality: str) -> tuple[float, ...]:
    """Undo MAKE_ROW."""
    if modality == "camera":
        return action_rows.camera_motion(row)
    return action_rows.vehicle_motion(row) if modality == "vehicle" else (*map(float, row[:3]), float(row[6]))


def from_motions(log: Path, modality: str, times_s: np.ndarray, length_s: float) -> np.ndarray:
    """Columns of motions -> motions (F, K) between the times of the frames."""
    header, table = _read_table(log)
    absolute = modality == "arm" and set(AT_COLUMNS) <= set(header)
    wanted = AT_COLUMNS if absolute else MOTION_COLUMNS[modality]
    if not set(wanted) <= set(header):
        raise DataError(f"{log} has the columns {', '.join(header) or 'none'}, but {modality} actions need "
                        f"{', '.join(wanted)}")
    try:
        values = np.array([[float(line[name]) for name in wanted] for line in table])
        at_s = np.array([float(line["t"]) for line in table]) if "t" in header else None
    except (TypeError, ValueError) as error:
        raise DataError(f"{log} holds what is not a number ({error})") from None
    if len(values) < 2 or not np.isfinite(values).all():
        raise DataError(f"{log} needs at least two lines of finite numbers")
    if at_s is None:
        at_s = np.arange(len(values)) * length_s / len(values)
    if not (np.diff(at_s) > 0).all():
        raise DataError(f"{log}: t must grow from line to line")
    _check_cover(log, at_s, length_s)
    held = values[:, 3:] if modality == "arm" else np.zeros((len(values), 0))  # a state, not a motion
    ways = values[:, :3] if modality == "arm" else values
    places = ways if absolute else np.cumsum(ways, axis=0)
    moved = _steps(np.stack([np.interp(times_s, at_s, column) for column in places.T], axis=1))
    newest = np.searchsorted(at_s, times_s + 1e-9, side="right").clip(1) - 1
    return np.concatenate([moved, held[newest]], axis=1)


def _read_table(log: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of a .csv file's columns, and its lines by them."""
    try:
        with log.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            header = [name.strip() for name in lines.fieldnames or []]
            return header, [{key.strip(): value for key, value in line.items() if key} for line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{log} cannot be read as comma-separated text in UTF-8 ({error})") from None


def _check_cover(log: Path, at_s: np.ndarray, length_s: float) -> None:
    """Raise DataError unless a log begins and ends with its video: elsewhere it would say that nothing moved."""
    slack_s = max(LOG_SLACK_S, float(np.median(np.diff(at_s))))
    if abs(at_s[0]) > slack_s or abs(at_s[-1] - length_s) > slack_s:
        raise DataError(f"{log} goes from {at_s[0]:.10g} s to {at_s[-1]:.10g} s, but the video from 0 to "
                        f"{length_s:.4g} s; its times are seconds (of ego poses: microseconds) since the first frame")


def from_ego_poses(log: Path, modality: str, times_s: np.ndarray, length_s: float) -> np.ndarray:
    """Poses of a car (or of a camera that walks) -> motions (F, K) between the times of the frames."""
    if modality == "arm":
        raise DataError(f"{log} holds ego poses, but a hand's actions are given in a .csv or a .jsonl file")
    try:
        entries = sorted(json.loads(log.read_text(encoding="utf-8")), key=lambda entry: entry["timestamp"])
        at_s = np.array([float(entry["timestamp"]) for entry in entries]) * 1e-6
        x, y, z = np.array([entry["translation"] for entry in entries], float).T
        w, qx, qy, qz = np.array([entry["rotation"] for entry in entries], float).T
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{log} is not a list of ego poses ({error!r}); each has a timestamp in microseconds, a "
                        "translation of three metres and a rotation w, x, y, z") from None
    if not np.isfinite([at_s, x, y, z, w, qx, qy, qz]).all():
        raise DataError(f"{log} holds ego poses that are not finite numbers")
    if len(at_s) < 2 or (np.diff(at_s) <= 0).any():
        raise DataError(f"{log} needs at least two ego poses, each later than the one before")
    _check_cover(log, at_s - at_s[0], length_s)
    heading = np.unwrap(np.arctan2(2 * (w * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz)))
    x, y, heading = (np.interp(times_s, at_s - at_s[0], values) for values in (x, y, heading))
    before = np.concatenate([heading[:1], heading[:-1]])
    east, north, turn = _steps(np.stack([x, y, heading], axis=1)).T
    ahead, left = east * np.cos(before) + north * np.sin(before), north * np.cos(before) - east * np.sin(before)
    if modality == "vehicle":
        return np.stack([ahead, left, turn], axis=1)
    return np.stack([ahead, -left, turn, np.zeros_like(turn)], axis=1)


def _steps(places: np.ndarray) -> np.ndarray:
    return np.diff(places, axis=0, prepend=places[:1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `data import`."""
    defaults = ImportOptions()
    parser.add_argument("source", type=Path, metavar="CLIPS", help="folder of videos with action logs beside them")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the episodes go")
    parser.add_argument("--held-out", type=Path, metavar="DIR", help="where every tenth piece goes instead")
    parser.add_argument("--scenario", default=defaults.scenario, choices=scenarios.NAMES,
                        help="whose controls the clips were made with (%(default)s)")
    for name, text in (("fps", "frames a second"), ("width", "of a frame"), ("height", "of a frame"),
                       ("frames_per_episode", "frames of a piece")):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name), metavar="N",
                            help=f"{text} (%(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run `data import`."""
    sizes = (args.fps, args.width, args.height, args.frames_per_episode)
    if min(sizes) < 1 or args.frames_per_episode < MIN_FRAMES:
        raise DataError(f"fps, width and height must be positive, and a piece must have {MIN_FRAMES} frames or more")
    options = ImportOptions(args.scenario, args.width, args.height, args.fps, args.frames_per_episode)
    dataset, num_held_out = import_clips(args.source, args.folder, args.held_out, options)
    seconds = sum(_num_frames(path) for path in dataset.episodes) / args.fps
    print(f"{len(dataset)} episodes ({seconds:.0f} s) in {args.folder}"
          + (f", {num_held_out} in {args.held_out}" if args.held_out else ""))
    return 0


def _num_frames(path: Path) -> int:
    with np.load(path) as file:
        return len(file["rows"])
