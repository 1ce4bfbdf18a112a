"""The recordings folder -> what lies in it: names, worlds, lengths, damage, thumbnails; and how one is deleted.

A recording is NAME.astra (the action log) and NAME.mp4 (its video) beside each other; either may be missing. Only the
head and the last lines of a log and the head of a video are read, so that a long list comes at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import math
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from PIL import Image

from ..errors import RecordingError, own_command
from .format import SUFFIX as LOG_SUFFIX
from .format import VIDEO_SUFFIX, DamagedLine, line_fields
from .frames import VideoFacts, frames, read_facts

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "ASTRA_PLAY_RECORDINGS"
HEAD_BYTES = 4_000_000  # of the log's first lines: the start pictures are among them
UNFINISHED_NOW = "The recording is still being written."
JUST_NOW_S = 10.0  # since a log was changed; a world's chunks come every second at the slowest
TAIL_BYTES = 65_536  # of its last lines; a chunk's line is about half a kilobyte
YEARS = range(1971, 9999)  # those that can be shown in every time zone and on every system
THUMBNAIL_SIZE = (320, 320)  # neither side is larger
MAX_THUMBNAILS = 500  # kept; the ones not looked at for the longest go first


def recordings_folder() -> Path:
    """Return where recordings go; nothing is made."""
    own = os.environ.get(FOLDER_VARIABLE)
    return Path(own) if own else Path(platformdirs.user_videos_dir()) / "Astra Play"


@dataclass(frozen=True)
class Clip:
    """A recording as it is listed. None: not told by what can be read. `damage` is "" or one sentence."""

    name: str
    log: Path | None
    video: Path | None
    created: datetime
    size_bytes: int
    world: str = ""
    title: str = ""
    seed: int | None = None
    length_s: float | None = None
    width: int | None = None
    height: int | None = None
    damage: str = ""

    @property
    def files(self) -> list[Path]:
        """The video first: it is what a person means by the file."""
        return [path for path in (self.video, self.log) if path is not None]

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "world": self.world, "title": self.title, "seed": self.seed,
                "length_s": None if self.length_s is None else round(self.length_s, 3),
                "created": self.created.isoformat(timespec="seconds"), "size_bytes": self.size_bytes,
                "width": self.width, "height": self.height, "damage": self.damage,
                "log": str(self.log) if self.log else None, "video": str(self.video) if self.video else None}


@dataclass
class Library:
    """The recordings of one folder. What was read of a file is kept until the file changes."""

    folder: Path = field(default_factory=recordings_folder)
    cache_folder: Path = field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("astra-play", appauthor=False)) / "thumbnails")
    _known: dict[tuple, Clip] = field(default_factory=dict)

    def clips(self) -> list[Clip]:
        """Return all recordings, the newest first; a folder that is not there holds none."""
        found: dict[str, dict[str, Path]] = {}
        try:
            for path in self.folder.iterdir():
                if path.suffix in (LOG_SUFFIX, VIDEO_SUFFIX) and not path.name.startswith(".") and path.is_file():
                    found.setdefault(path.stem, {})[path.suffix] = path
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordingError(f"the folder {self.folder} cannot be read ({error.strerror or error}); give yourself "
                                 f"permission, or set {FOLDER_VARIABLE} to another folder") from None
        listed = [self._clip(files) for files in found.values()]
        return sorted((one for one in listed if one is not None), key=lambda one: (one.created, one.name), reverse=True)

    def find(self, name_or_path: str) -> Clip:
        """Return the recording of a path, or of a name in the folder, with or without an ending."""
        for base in (Path(name_or_path), self.folder / name_or_path):
            base = base.with_suffix("") if base.suffix in (LOG_SUFFIX, VIDEO_SUFFIX) else base
            files = {suffix: path for suffix in (LOG_SUFFIX, VIDEO_SUFFIX) if base.name
                     and (path := base.with_name(base.name + suffix)).is_file()}
            if files and (one := self._clip(files)) is not None:
                return one
        if Path(name_or_path).is_file():
            raise RecordingError(f"{name_or_path} is not a recording; give a file that ends in {VIDEO_SUFFIX} or "
                                 f"{LOG_SUFFIX}")
        raise RecordingError(f"there is no recording {name_or_path!r}, here or in {self.folder}; see what there is "
                             f"with: {own_command()} clips list")

    def _clip(self, files: dict[str, Path]) -> Clip | None:
        """Read a recording's files; None if they went away meanwhile."""
        try:
            stats = {path: path.stat() for path in files.values()}
        except OSError:
            return None
        key = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in sorted(stats.items()))
        if key in self._known:
            return self._known[key]
        one = _read(files.get(LOG_SUFFIX), files.get(VIDEO_SUFFIX), max(stat.st_mtime for stat in stats.values()),
                    sum(stat.st_size for stat in stats.values()))
        if UNFINISHED_NOW not in one.damage:  # which a killed player's files say no longer in a while, unchanged
            self._known[key] = one
        return one

    # --- thumbnails -------------------------------------------------------------------------------------------------

    def thumbnail(self, one: Clip) -> np.ndarray | None:
        """Return a picture (h, w, 3) uint8 of a recording, from the cache or made now; None if it has none.

        A cache that cannot be written only costs time.
        """
        path = self._thumbnail_path(one)
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            os.utime(path)
            return pixels
        except (OSError, ValueError, SyntaxError):
            pass
        picture = _picture(one)
        if picture is None:
            return None
        picture.thumbnail(THUMBNAIL_SIZE)
        try:
            self.cache_folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            picture.save(part, format="PNG")
            os.replace(part, path)
            self._forget_old()
        except OSError as error:
            log.warning("the thumbnail of %s is not kept (%s)", one.name, error)
        return np.asarray(picture)

    def _thumbnail_path(self, one: Clip) -> Path:
        stats = [(str(path.absolute()), path.stat().st_mtime_ns) for path in one.files if path.exists()]
        return self.cache_folder / f"{hashlib.sha256(repr(stats).encode()).hexdigest()[:32]}.png"

    def _forget_old(self) -> None:
        kept = sorted(self.cache_folder.glob("*.png"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MAX_THUMBNAILS]:
            path.unlink(missing_ok=True)

    # --- deleting ---------------------------------------------------------------------------------------------------

    def delete(self, one: Clip, for_good: bool = False) -> None:
        """Move the files to the trash of the desktop, or delete them for good; RecordingError if one of them stays."""
        from send2trash import send2trash

        for path in one.files:
            try:
                if for_good:
                    path.unlink(missing_ok=True)
                elif path.exists():
                    send2trash(str(path.absolute()))
            except OSError as error:
                where = "deleted" if for_good else "moved to the trash"
                raise RecordingError(f"{path} could not be {where} ({getattr(error, 'strerror', None) or error}); "
                                     + ("make its folder writable" if for_good else "it can only be deleted for good")
                                     ) from None


def _picture(one: Clip) -> Image.Image | None:
    """Return a frame from a third of the way in, or the picture that the log starts from."""
    if one.video is not None:
        try:
            for _, frame in frames(one.video, (one.length_s or 0.0) / 3):
                return Image.fromarray(frame)
        except RecordingError:
            pass
    start = next((entry for entry in _first_entries(one.log) if entry.get("kind") == "start"), {}) if one.log else {}
    try:
        return Image.open(io.BytesIO(base64.b64decode(start["frames"][-1]))).convert("RGB")
    except (OSError, ValueError, SyntaxError, LookupError, TypeError):
        return None


# --- what a recording says about itself -----------------------------------------------------------------------------

def _read(log_path: Path | None, video: Path | None, modified_s: float, size_bytes: int) -> Clip:
    head, seed, log_length_s, log_damage = _read_log(log_path) if log_path else ({}, None, None, "")
    facts, video_damage = _read_video(video) if video else (None, "")
    told = head or (told_by(facts) if facts else {})
    try:
        created = datetime.fromisoformat(told["created"])
        if created.year not in YEARS:
            raise ValueError(f"nothing was recorded in the year {created.year}")
    except (LookupError, ValueError, TypeError):
        created = datetime.fromtimestamp(modified_s)
    if created.tzinfo is None:
        created = created.astimezone(UTC)
    name = (video or log_path).stem
    world = str(told.get("world") or name.split(" ")[0])
    scenario = str(told.get("scenario") or "")
    return Clip(
        name, log_path, video, created, size_bytes, f"{world}/{scenario}" if scenario else world,
        str(told.get("title") or world), seed if seed is not None else _whole_number(told.get("seed")),
        facts.length_s if facts else log_length_s, facts.width if facts else _whole_number(head.get("width")),
        facts.height if facts else _whole_number(head.get("height")),
        " ".join(sentence for sentence in (video_damage, log_damage) if sentence))


def _read_video(path: Path) -> tuple[VideoFacts | None, str]:
    try:
        return read_facts(path), ""
    except RecordingError:
        return None, "The video cannot be read."


def told_by(facts: VideoFacts) -> dict[str, Any]:
    """Return what a video says of its session, in its comment."""
    try:
        told = json.loads(facts.metadata.get("comment", ""))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _read_log(path: Path) -> tuple[dict[str, Any], int | None, float | None, str]:
    """Return the head's entry, the seed, the seconds of play, and the damage."""
    first = _first_entries(path)
    head = first[0] if first and first[0].get("kind") == "head" else {}
    if not head:
        return {}, None, None, "The action log cannot be read."
    seed = next((_whole_number(entry.get("seed")) for entry in first if entry.get("kind") == "start"), None)
    tail = _last_entries(path)
    counts = [entry for entry in tail if entry is not None and entry.get("kind") in ("chunk", "end")]
    damage = ""
    if None in tail:
        damage = "The action log is damaged; what comes before the damage is kept."
    elif not tail or tail[-1].get("kind") != "end":
        damage = UNFINISHED_NOW if _changed_just_now(path) else "The recording was cut off; what was written is kept."
    try:
        last = counts[-1]
        num_chunks = last["num_chunks"] if last["kind"] == "end" else last["number"] + 1
        length_s = float(num_chunks * head["frames_per_chunk"] / head["fps"])
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return head, seed, None, damage
    return head, seed, length_s if math.isfinite(length_s) else None, damage


def _changed_just_now(path: Path) -> bool:
    try:
        return 0 <= time.time() - path.stat().st_mtime < JUST_NOW_S
    except OSError:
        return False


def _first_entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries up to the first start, or up to the first line that is not whole."""
    entries: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            while (entry := read_line(file.readline(HEAD_BYTES))) is not None:
                entries.append(entry)
                if entry.get("kind") in ("start", "chunk"):
                    break
    except OSError:
        pass
    return entries


def _last_entries(path: Path) -> list[dict[str, Any] | None]:
    """Return the entries of the last whole kilobytes, None for each line that is damaged."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().splitlines(keepends=True)
    except OSError:  # it went away after its first lines were read
        return []
    return [read_line(line) for line in (lines[1:] if start else lines)]


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the fields of a whole line of a log, None for a damaged one."""
    try:
        return line_fields(line)
    except DamagedLine:
        return None


def _whole_number(value: object) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
