"""Episodes on disk: a scenario played by its behaviour policy, one .npz per episode and a manifest that vouches for it.

A folder can be read while it is still being made: the manifest lists exactly the episodes that are finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import multiprocessing
import os
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from astra_play.errors import DataError, own_command

DATASET_VERSION = 1
MANIFEST_NAME = "manifest.json"
TRAIN_SEED_BASE = 0
HELD_OUT_SEED_BASE = 1_000_000  # evaluation worlds start here; training seeds stay below
MAX_READERS = 16  # threads
PNG_COMPRESSION = 1  # three times faster to write than the default, a tenth larger
ARRAYS = ("frames_png", "frame_offsets", "rows", "poses", "controls", "seed")


class PackedFrames:
    """The frames of one episode as they lie on disk, decoded when asked for: a tenth of the memory."""

    def __init__(self, pngs: bytes, offsets: np.ndarray) -> None:
        self._pngs, self._offsets = pngs, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def frames(self, indices: Iterable[int]) -> np.ndarray:
        """Return (len(indices), H, W, 3) uint8."""
        return np.stack([_decode_png(self._pngs[self._offsets[i]:self._offsets[i + 1]]) for i in indices])


@dataclass(frozen=True)
class Episode:
    """One stretch of play. Row t is the commanded motion that leads into frame t; row 0 stands still. A hand's is cut
    where its reach ends (`Scenario.row`), as the player's own rows are; `controls` hold what was asked for.

    `frames`: (F, H, W, 3) uint8 RGB; `rows`: (F, A) float32, the action rows of the scenario's modality; `poses`:
    (F, P) float64 and `controls`: (F, K) float32, the numbers that the scenario's `pose` and its control's `values`
    say. In `explore` A is 12, a pose is (x, y, z, yaw, pitch) and a control (forward, right, yaw left, pitch up).
    `packed`: the frames again, as on disk.
    """

    frames: np.ndarray
    rows: np.ndarray
    poses: np.ndarray
    controls: np.ndarray
    seed: int
    packed: PackedFrames


@dataclass(frozen=True)
class Settings:
    """What all episodes of a folder have in common."""

    scenario: str
    fps: int
    width: int
    height: int
    frames_per_episode: int
    version: int = DATASET_VERSION


class Dataset:
    """The finished episodes of a folder: `episodes` are their paths by seed, `manifest` says how they were made."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        if self.manifest is None:
            raise DataError(f"{self.folder} holds no {MANIFEST_NAME}; make the episodes first: "
                            f"{own_command()} data make")
        self.settings = _settings_of(self.manifest, self.folder)
        self.episodes = [self.folder / _episode_name(int(seed)) for seed in sorted(self.manifest["sha256"], key=int)]

    def __len__(self) -> int:
        return len(self.episodes)

    def verify(self) -> None:
        """Read every file and raise DataError at the first one that is missing or differs from the manifest."""
        for path, seed in zip(self.episodes, sorted(self.manifest["sha256"], key=int), strict=True):
            if not path.exists():
                raise DataError(f"{path} is listed in {MANIFEST_NAME} but missing; make the data again to restore it")
            if _sha256(path) != self.manifest["sha256"][seed]:
                raise DataError(f"{path} differs from its hash in {MANIFEST_NAME}; delete it and make the data again")


def check_alike(folders: Sequence[Path], cell_px: int = 1) -> None:
    """Raise DataError unless all folders hold episodes, and pictures of one size and rate that a codec's cells fill."""
    known: Dataset | None = None
    for own in map(Dataset, folders):
        if not own.episodes:
            raise DataError(f"{own.folder} holds no finished episode; fill it with data make or data import")
        width, height, _ = size = own.settings.width, own.settings.height, own.settings.fps
        if width % cell_px or height % cell_px:
            raise DataError(f"{own.folder} holds pictures of {width}x{height} pixels, which cells of {cell_px} do not "
                            "fill; make them in another size")
        known = own if known is None else known
        if size != (other := (known.settings.width, known.settings.height, known.settings.fps)):
            raise DataError("{} holds pictures of {}x{} pixels at {} a second, but {} of {}x{} at {}; make one like "
                            "the other".format(own.folder, *size, known.folder, *other))


def make_dataset(folder: Path | str, scenario: str = "explore", num_episodes: int = 200, frames_per_episode: int = 240,
                 first_seed: int = TRAIN_SEED_BASE, workers: int = 1, width: int = 128, height: int = 96,
                 progress: bool = True, minutes: float | None = None) -> Dataset:
    """Play `num_episodes` worlds from `first_seed` on into `folder`; finished episodes of an earlier run are kept.

    `minutes`: no episode is begun after so long; those that are finished by then are the data set.
    """
    deadline_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
    from astra_play.train import scenarios
    folder = Path(folder)
    if first_seed < 0:
        raise DataError(f"the first seed is {first_seed}, but seeds of worlds begin at 0")
    if first_seed < HELD_OUT_SEED_BASE < first_seed + num_episodes:
        raise DataError(f"seeds {first_seed} to {first_seed + num_episodes - 1} mix training and held-out worlds; "
                        f"stay below {HELD_OUT_SEED_BASE} or start there")
    simulator = scenarios.make(scenario, width, height)  # says at once, and here, when the simulator is missing
    settings = Settings(scenario, simulator.FPS, width, height, frames_per_episode)
    hashes = _kept_hashes(folder, settings)
    held_out = first_seed >= HELD_OUT_SEED_BASE
    if others := [seed for seed in map(int, hashes) if (seed >= HELD_OUT_SEED_BASE) != held_out]:
        raise DataError(f"{folder} holds the {'training' if held_out else 'held-out'} world {others[0]}, and those of "
                        f"seed {first_seed} on are {'held out' if held_out else 'for training'}; choose another folder")
    wanted = [seed for seed in range(first_seed, first_seed + num_episodes) if str(seed) not in hashes]
    folder.mkdir(parents=True, exist_ok=True)
    _write_manifest(folder, settings, hashes)
    # a fresh process per worker: a GL context does not survive a fork
    with ProcessPoolExecutor(max(1, workers), mp_context=multiprocessing.get_context("spawn"),
                             initializer=_leave_with_parent) as pool:
        jobs = [pool.submit(make_episode, folder, settings, seed) for seed in wanted]
        try:
            for job in _with_progress(as_completed(jobs), len(jobs), enabled=progress):
                if job.cancelled():
                    continue
                seed, digest = job.result()
                hashes[str(seed)] = digest
                _write_manifest(folder, settings, hashes)
                if time.monotonic() > deadline_s:
                    deadline_s = math.inf  # once: those that had begun still come in
                    pool.shutdown(wait=False, cancel_futures=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Dataset(folder)


def make_episode(folder: Path, settings: Settings, seed: int) -> tuple[int, str]:
    """Play one world, write its episode and return (seed, sha256)."""
    from astra_play.train import scenarios

    simulator = scenarios.make(settings.scenario, settings.width, settings.height)
    try:
        frames, poses, controls, rows = zip(*scenarios.play(settings.scenario, simulator, seed,
                                                            settings.frames_per_episode), strict=True)
    finally:
        simulator.close()
    return seed, write_episode(folder, seed, frames, rows, poses, [control.values() for control in controls])


def write_episode(folder: Path, seed: int, frames: Sequence[np.ndarray], rows: Sequence[np.ndarray],
                  poses: Sequence[np.ndarray], controls: Sequence[Sequence[float]]) -> str:
    """Write one episode and return its sha256."""
    pngs = [_encode_png(frame) for frame in frames]
    path = folder / _episode_name(seed)
    content = io.BytesIO()
    np.savez(content, frames_png=np.frombuffer(b"".join(pngs), np.uint8),
             frame_offsets=np.cumsum([0] + [len(png) for png in pngs], dtype=np.int64),
             rows=np.array(rows, np.float32), poses=np.array(poses, np.float64),
             controls=np.array(controls, np.float32), seed=np.int64(seed))
    _write_whole(path, content.getvalue())
    return _sha256(path)


class EpisodeWriter:
    """A data set that is written episode by episode, from frames that no simulator of ours made."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._hashes = _kept_hashes(folder, settings)
        self._written: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        _write_manifest(folder, settings, self._hashes)

    def write(self, seed: int, frames: np.ndarray, rows: np.ndarray, poses: np.ndarray, controls: np.ndarray) -> None:
        """Write or replace the episode of `seed`; see `Episode` for the arrays."""
        self._hashes[str(seed)] = write_episode(self._folder, seed, frames, rows, poses, controls)
        self._written.add(str(seed))
        _write_manifest(self._folder, self._settings, self._hashes)

    def forget_others(self) -> None:
        """Leave out of the data set what this writer has not written; the files stay."""
        self._hashes = {seed: digest for seed, digest in self._hashes.items() if seed in self._written}
        _write_manifest(self._folder, self._settings, self._hashes)


def read_episode(path: Path | str) -> Episode:
    """Read one episode and decode its frames."""
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            frames_png, offsets, rows, poses, controls, seed = (file[name] for name in ARRAYS)
        packed = PackedFrames(frames_png.tobytes(), offsets)
        frames = packed.frames(range(len(packed)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable episode ({error}); delete it and make the data again") from error
    if not len(frames) == len(rows) == len(poses) == len(controls):
        raise DataError(f"{path} holds {len(frames)} frames but {len(rows)} rows, {len(poses)} poses and "
                        f"{len(controls)} controls; delete it and make the data again")
    return Episode(frames, rows, poses, controls, int(seed), packed)


def read_episodes(paths: Sequence[Path], describe: str) -> Iterator[Episode]:
    """Read episodes in order, several at a time: decoding pictures is most of the work, and leaves Python's lock alone.

    No more are in memory than the readers are ahead.
    """
    from tqdm import tqdm
    readers = min(MAX_READERS, os.cpu_count() or 1)
    ahead: deque[Future] = deque()
    with ThreadPoolExecutor(readers) as pool, tqdm(total=len(paths), desc=describe, unit="episode",
                                                   leave=False) as progress:
        for path in [*paths, *[None] * 2 * readers]:
            if path is not None:
                ahead.append(pool.submit(read_episode, path))
            if ahead and (path is None or len(ahead) > 2 * readers):
                yield ahead.popleft().result()
                progress.update()


def contact_sheet(dataset: Dataset, path: Path | str, num_episodes: int = 8, num_frames: int = 6,
                  scale: int = 2) -> None:
    """Write a PNG with one line per episode and its frames at even distances."""
    if not dataset.episodes:
        raise DataError(f"{dataset.folder} holds no finished episode yet")
    lines = []
    for episode_path in dataset.episodes[:num_episodes]:
        frames = read_episode(episode_path).frames
        picked = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
        lines.append(np.concatenate(list(frames[picked]), axis=1))
    sheet = Image.fromarray(np.concatenate(lines, axis=0))
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(path, format="PNG")


def _kept_hashes(folder: Path, settings: Settings) -> dict[str, str]:
    """Return the hashes of finished episodes that are on disk unharmed; other settings are an error."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return {}
    old = _settings_of(manifest, folder)
    differences = [f"{name} is {getattr(old, name)!r} there and {getattr(settings, name)!r} here"
                   for name in Settings.__dataclass_fields__ if getattr(old, name) != getattr(settings, name)]
    if differences:
        raise DataError(f"{folder} was made with other settings: {', '.join(differences)}; choose another folder")
    return {seed: digest for seed, digest in manifest["sha256"].items()
            if (path := folder / _episode_name(int(seed))).exists() and _sha256(path) == digest}


def _settings_of(manifest: dict, folder: Path) -> Settings:
    try:
        return Settings(**{name: manifest[name] for name in Settings.__dataclass_fields__})
    except KeyError as error:
        raise DataError(f"{folder / MANIFEST_NAME} has no entry {error}; it was made by another version") from error


def _read_manifest(folder: Path) -> dict | None:
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not readable JSON ({error}); delete it and make the data again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
        raise DataError(f"{path} lists no episodes; delete it and make the data again")
    return manifest


def _write_manifest(folder: Path, settings: Settings, hashes: dict[str, str]) -> None:
    ordered = {seed: hashes[seed] for seed in sorted(hashes, key=int)}
    content = {name: getattr(settings, name) for name in Settings.__dataclass_fields__}
    content |= {"num_episodes": len(ordered), "sha256": ordered,
                "sha256_of_all": hashlib.sha256("".join(ordered.values()).encode()).hexdigest()}
    _write_whole(folder / MANIFEST_NAME, json.dumps(content, indent=1).encode())


def _write_whole(path: Path, content: bytes) -> None:
    """Write under another name first, so that nobody ever reads half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def _episode_name(seed: int) -> str:
    return f"episode_{seed:07d}.npz"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encode_png(frame: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(frame).save(content, format="PNG", compress_level=PNG_COMPRESSION)
    return content.getvalue()


def _decode_png(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _leave_with_parent() -> None:
    """End this worker when the process that started it dies; an idle pool worker would wait for ever."""
    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _with_progress(jobs: Iterator[Future], total: int, enabled: bool) -> Iterable[Future]:
    if not enabled:
        return jobs
    from tqdm import tqdm
    return tqdm(jobs, total=total, unit="episode")
