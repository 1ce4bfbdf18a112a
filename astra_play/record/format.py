"""The lines of a recording's log: what a replay must know, one checked JSON object a line, in the order it happened.

NAME.astra holds a head, then entries as they came, and lies beside NAME.mp4, its video. A line is the CRC of its
text, the text, and a line break, appended whole, so that whatever ends a recording leaves every line before it usable.
Pure: dataclasses <-> text, no torch, no window, no video.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..chunks import ActionChunk, ActionSample, FrameChunk
from ..config import from_dict, to_dict
from ..errors import ConfigError, RecordingError

SUFFIX, VIDEO_SUFFIX = ".astra", ".mp4"
FORMAT_VERSION = 1
HASH_DIGITS = 32  # of a chunk's hashes: 128 bits, which nobody meets twice by accident
CRC_DIGITS = 8

SettingName = Literal["guidance_scale", "num_denoise_steps", "num_threads", "prompt"]


class DamagedLine(Exception):
    """A line that is not what was written; the reader turns it into what is lost."""


@dataclass(frozen=True)
class Branch:
    """Where a recording that was taken over from a replay comes from.

    `sha256`: of the parent's head line, as `head_sha256` makes it; `chunk`: chunks of the parent that lie before it.
    """

    file: str
    sha256: str
    chunk: int


@dataclass(frozen=True)
class Head:
    """The first line: which world, made of what, on which machine, with which settings at the beginning."""

    player_version: str
    world: str  # its name in weights/, or the path it was given by
    scenario: str
    title: str
    weights_sha256: dict[str, str]  # file name -> 64 hex digits
    config_sha256: str
    fps: int
    width: int
    height: int
    frames_per_chunk: int
    latent_frames_per_chunk: int
    modality: str
    guidance_scale: float
    num_denoise_steps: int
    num_threads: int
    precision: str
    device: str
    created: str  # ISO date and time
    prompt: str = ""
    memory: str = "auto"
    machine: dict[str, str] = field(default_factory=dict)  # platform, python, torch, cpu
    branch_of: Branch | None = None
    format_version: int = FORMAT_VERSION

    @property
    def chunk_s(self) -> float:
        return self.frames_per_chunk / self.fps


@dataclass(frozen=True)
class Start:
    """The world was started, or reset: everything before it is forgotten.

    `frames`: prompt frames as base64 PNGs, () where the world began with its own; `hand_m`: place of an arm's hand.
    """

    reset_count: int
    seed: int
    frames: tuple[str, ...] = ()
    hand_m: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, reset_count: int, seed: int, prompt_frames: np.ndarray | None,
           hand_m: Sequence[float] | None = None) -> Start:
        """`prompt_frames`: (F, H, W, 3) uint8, or None."""
        frames = () if prompt_frames is None else tuple(_png(frame) for frame in prompt_frames)
        return cls(reset_count, seed, frames, None if hand_m is None else tuple(float(part) for part in hand_m))

    def prompt_frames(self) -> np.ndarray | None:
        """Return the prompt frames (F, H, W, 3) uint8, or None; RecordingError if a picture cannot be read."""
        return np.stack([_picture(png) for png in self.frames]) if self.frames else None


@dataclass(frozen=True)
class Setting:
    """A setting of the world that is in force from the next chunk on."""

    name: SettingName
    value: Any  # float, int or str


@dataclass(frozen=True)
class Still:
    """The controls were let go before the next chunk, so that no turn was left to make."""


@dataclass(frozen=True)
class Sample:
    """What the player asked for (chunks.ActionSample without its times)."""

    buttons: tuple[str, ...] = ()
    mouse_px: tuple[float, float] = (0.0, 0.0)
    axes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """One chunk: the action rows that the network ate, and hashes of what it made of them."""

    number: int  # over all resets
    chunk_index: int  # since the reset
    reset_count: int
    time_s: float  # when its first frame was due, on the recorder's clock
    sample: Sample
    rows: str  # base64 of little-endian float32
    rows_shape: tuple[int, int]
    latents: str  # hashes as of `array_hash`; latents "": not kept
    frames: str
    video: bool = True  # False: the video went without its frames

    @classmethod
    def of(cls, chunk: FrameChunk, number: int, time_s: float, latents: np.ndarray | None,
           video: bool = True) -> Chunk:
        """`latents`: the clean latents of the chunk, float32. Hashing takes a moment: not on the generator thread."""
        sample, rows = chunk.action.sample, np.ascontiguousarray(chunk.action.rows, "<f4")
        return cls(number, chunk.chunk_index, chunk.reset_count, round(time_s, 4),
                   Sample(tuple(sorted(sample.buttons)), sample.mouse_px, dict(sample.axes)),
                   base64.b64encode(rows.tobytes()).decode("ascii"), rows.shape,
                   "" if latents is None else array_hash(latents), array_hash(chunk.frames), video)

    def action(self, modality: str) -> ActionChunk:
        """Return what was given to the world."""
        rows = np.frombuffer(base64.b64decode(self.rows), "<f4").astype(np.float32).reshape(self.rows_shape)
        sample = ActionSample(frozenset(self.sample.buttons), self.sample.mouse_px,
                              tuple(sorted(self.sample.axes.items())))
        return ActionChunk(sample, rows, modality, self.chunk_index, self.reset_count)


@dataclass(frozen=True)
class Mark:
    """A place of note: where the video begins, where the player took over."""

    time_s: float
    text: str


@dataclass(frozen=True)
class End:
    """The last line of a recording that was ended properly."""

    num_chunks: int
    num_dropped_frames: int
    reason: str


Entry = Start | Setting | Still | Chunk | Mark | End
KINDS: dict[str, type] = {"head": Head, "start": Start, "setting": Setting, "still": Still, "chunk": Chunk,
                          "mark": Mark, "end": End}
KIND_OF = {cls: kind for kind, cls in KINDS.items()}


# --- values <-> lines -----------------------------------------------------------------------------------------------

def to_line(value: Head | Entry) -> str:
    """Return the line of a head or entry, its line break included."""
    text = json.dumps({"kind": KIND_OF[type(value)], **to_dict(value)}, ensure_ascii=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode('utf-8')):0{CRC_DIGITS}x} {text}\n"


def line_fields(line: bytes) -> dict[str, Any]:
    """Check a line (with its break) and return its plain fields; DamagedLine if it is not as it was written."""
    if not line.endswith(b"\n"):
        raise DamagedLine("it breaks off")
    crc, _, text = line[:-1].partition(b" ")
    if crc != b"%0*x" % (CRC_DIGITS, zlib.crc32(text)):
        raise DamagedLine("its check sum is another")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise DamagedLine("it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("kind") not in KINDS:
        raise DamagedLine("its kind is unknown")
    return fields


def to_value(fields: dict[str, Any], version: int = FORMAT_VERSION) -> Head | Entry:
    """Return the head or entry of a line's fields, written in format `version`; DamagedLine if they are not one."""
    fields = migrated(fields, version)
    kind = fields.pop("kind")
    try:
        value = from_dict(KINDS[kind], fields, where=kind)
        if isinstance(value, Chunk):
            _check_rows(value)
    except ConfigError as error:
        raise DamagedLine(str(error)) from None
    return value


def _check_rows(chunk: Chunk) -> None:
    try:
        num_bytes = len(base64.b64decode(chunk.rows, validate=True))
    except binascii.Error:
        raise DamagedLine("its rows are not base64") from None
    if min(chunk.rows_shape) < 1 or num_bytes != 4 * chunk.rows_shape[0] * chunk.rows_shape[1]:
        raise DamagedLine(f"its rows have {num_bytes} bytes, which {chunk.rows_shape[0]} x {chunk.rows_shape[1]} "
                          "numbers do not")


def array_hash(array: np.ndarray) -> str:
    """Return the hash of an array's numbers as they lie in memory, in HASH_DIGITS hex digits."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:HASH_DIGITS]


def head_sha256(head: Head) -> str:
    """Return what a branch names its parent by."""
    return hashlib.sha256(to_line(head).encode("utf-8")).hexdigest()


def _png(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture(png: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(png, validate=True))) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RecordingError(f"a start picture of the recording cannot be read ({error}); make the recording "
                             "again") from None


# --- migrations: one named step per version, fields -> fields of the next -------------------------------------------

def name_v0_files_and_steps(fields: dict[str, Any]) -> dict[str, Any]:
    """Version 0 hashed the network alone, called the settings as the command line does, and wrote rows as lists."""
    renamed = dict(fields)
    if fields["kind"] == "head":
        renamed["weights_sha256"] = {"model.safetensors": renamed.pop("weights")}
        renamed["guidance_scale"], renamed["num_denoise_steps"] = renamed.pop("guidance"), renamed.pop("steps")
    elif fields["kind"] == "setting":
        renamed["name"] = {"guidance": "guidance_scale", "steps": "num_denoise_steps"}.get(fields["name"],
                                                                                           fields["name"])
    elif fields["kind"] == "chunk":
        rows = np.asarray(renamed["rows"], "<f4")
        renamed["rows"], renamed["rows_shape"] = base64.b64encode(rows.tobytes()).decode("ascii"), list(rows.shape)
    return renamed


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: name_v0_files_and_steps}


def migrated(fields: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a line's fields as this version writes them; DamagedLine if an old line lacks what its version had."""
    fields = dict(fields)
    for step in range(version, FORMAT_VERSION):
        try:
            fields = MIGRATIONS[step](fields)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedLine(f"it is not a line of format {version} ({error})") from None
    if fields["kind"] == "head":
        fields["format_version"] = FORMAT_VERSION
    return fields
