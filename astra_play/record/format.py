"""The lines of a recording's log: what a replay must know, one checked JSON object a line, in the order it happened.

NAME.astra holds a head, then entries as they came, and lies beside NAME.mp4, its video. A line is the CRC of its
text, the text, and a line break, appended whole, so that whatever ends a recording leaves every line before it usable.
Pure: dataclasses <-> text, no torch, no window, no video.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..chunks import ActionChunk, ActionSample, FrameChunk
from ..config import MAX_THREADS, from_dict, to_dict
from ..errors import ConfigError
from .migrations import FORMAT_VERSION, migrated, packed_rows

SUFFIX, VIDEO_SUFFIX = ".astra", ".mp4"
HASH_DIGITS = 32  # of a chunk's hashes: 128 bits, which nobody meets twice by accident
CRC_DIGITS = 8

SettingName = Literal["guidance_scale", "num_denoise_steps", "num_threads", "draws_finely", "prompt"]


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
    draws_finely: bool = True  # as in logs that do not say; a world without an upscaler takes no notice
    format_version: int = FORMAT_VERSION

    @property
    def chunk_s(self) -> float:
        return self.frames_per_chunk / self.fps


@dataclass(frozen=True, eq=False)
class Start:
    """The world was started, or reset: everything before it is forgotten.

    `frames`: prompt frames, each (H, W, 3) uint8, () where the world began with its own; `hand_m`: place of an arm's
    hand, None where there is none or it was not chosen.
    """

    reset_count: int
    seed: int
    frames: tuple[np.ndarray, ...] = ()
    hand_m: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, reset_count: int, seed: int, prompt_frames: np.ndarray | None,
           hand_m: Sequence[float] | None = None) -> Start:
        """`prompt_frames`: (F, H, W, 3) uint8, or None."""
        return cls(reset_count, seed, () if prompt_frames is None else tuple(prompt_frames),
                   None if hand_m is None else tuple(float(part) for part in hand_m))

    def prompt_frames(self) -> np.ndarray | None:
        """Return the prompt frames (F, H, W, 3) uint8, or None."""
        return np.stack(self.frames) if self.frames else None


@dataclass(frozen=True)
class Setting:
    """A setting of the world that is in force from the next chunk on."""

    name: SettingName
    value: Any  # float, int, bool or str


@dataclass(frozen=True)
class Still:
    """The controls were let go before the next chunk, so that no turn was left to make."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """One chunk: what the player asked for, the action rows that the network ate, and hashes of what it made of them.

    `sample`: its times are not kept. `rows`: (T, A) float32. The hashes are those of `array_hash`, "" where none was
    made. `video`: False if the video beside the log goes without its frames.
    """

    number: int  # over all resets
    chunk_index: int  # since the reset
    reset_count: int
    time_s: float  # when it was due, on the recorder's clock
    sample: ActionSample
    rows: np.ndarray
    latents: str  # of the clean latents
    frames: str
    video: bool = True

    @classmethod
    def of(cls, chunk: FrameChunk, number: int, time_s: float, latents: np.ndarray | None, video: bool = True) -> Chunk:
        """Return the entry of a chunk as it left the world; its hashes take a moment (`array_hash`)."""
        return cls(number, chunk.chunk_index, chunk.reset_count, time_s, chunk.action.sample, chunk.action.rows,
                   "" if latents is None else array_hash(latents), array_hash(chunk.frames), video)

    def action(self, modality: str) -> ActionChunk:
        """Return what was given to the world."""
        return ActionChunk(self.sample, self.rows, modality, self.chunk_index, self.reset_count)


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


SETTING_KINDS: dict[str, tuple[type, ...]] = {
    "guidance_scale": (float, int), "num_denoise_steps": (int,), "num_threads": (int,), "draws_finely": (bool,),
    "prompt": (str,)}
MAX_COUNT = 1_000_000  # of pixels, frames and steps that a head counts
LIMITS = {**dict.fromkeys(("fps", "width", "height", "frames_per_chunk", "latent_frames_per_chunk",
                           "num_denoise_steps"), (1, MAX_COUNT)),
          "num_threads": (1, MAX_THREADS), "guidance_scale": (0.0, float(MAX_COUNT))}


# --- values <-> lines -----------------------------------------------------------------------------------------------

def to_line(value: Head | Entry) -> str:
    """Return the line of a head or entry, its line break included."""
    if isinstance(value, Start):
        value_fields = to_dict(_PlainStart(value.reset_count, value.seed, tuple(map(_png, value.frames)), value.hand_m))
    elif isinstance(value, Chunk):
        value_fields = to_dict(_plain_chunk(value))
    else:
        value_fields = to_dict(value)
    text = json.dumps({"kind": KIND_OF[type(value)], **value_fields}, ensure_ascii=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode('utf-8')):0{CRC_DIGITS}x} {text}\n"


def from_line(line: str | bytes, version: int = FORMAT_VERSION) -> Head | Entry:
    """Return the head or entry of a line, its break included; DamagedLine if it is not whole."""
    return to_value(line_fields(line.encode("utf-8") if isinstance(line, str) else line), version)


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
    if not isinstance(fields, dict) or fields.get("kind") not in PLAIN:
        raise DamagedLine("its kind is unknown")
    return fields


def to_value(fields: dict[str, Any], version: int = FORMAT_VERSION) -> Head | Entry:
    """Return the head or entry of a line's fields, written in format `version`; DamagedLine if they are not one."""
    try:
        fields = migrated(fields, version)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedLine(f"it is not a line of format {version} ({error})") from None
    kind = fields.pop("kind")
    try:
        value = from_dict(PLAIN[kind], fields, where=kind)
    except ConfigError as error:
        raise DamagedLine(str(error)) from None
    _check_numbers(value)
    if isinstance(value, _PlainStart):
        return Start(value.reset_count, value.seed, tuple(map(_picture, value.frames)), value.hand_m)
    return _chunk(value) if isinstance(value, _PlainChunk) else value


def _check_numbers(value: Any) -> None:
    """Raise DamagedLine for a head or setting with a value that no player writes: it would end as a crash later."""
    numbers = vars(value) if isinstance(value, Head) else {}
    if isinstance(value, Setting):
        numbers = {value.name: value.value}
        kinds = SETTING_KINDS[value.name]
        if not isinstance(value.value, kinds) or (isinstance(value.value, bool) and bool not in kinds):
            raise DamagedLine(f"its {value.name} is {value.value!r}")
    for name in numbers.keys() & LIMITS.keys():
        least, most = LIMITS[name]
        if not least <= numbers[name] <= most:
            raise DamagedLine(f"its {name} is {numbers[name]}, which is not within {least} and {most}")


@dataclass(frozen=True)
class _PlainStart:
    """A start as it is written: `frames` are base64 of lossless PNGs."""

    reset_count: int
    seed: int
    frames: tuple[str, ...] = ()
    hand_m: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class _PlainSample:
    buttons: tuple[str, ...] = ()
    mouse_px: tuple[float, float] = (0.0, 0.0)
    axes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _PlainChunk:
    """A chunk as it is written: `rows` are base64 of little-endian float32 numbers."""

    number: int
    chunk_index: int
    reset_count: int
    time_s: float
    sample: _PlainSample
    rows: str
    rows_shape: tuple[int, int]
    latents: str
    frames: str
    video: bool = True


PLAIN = {**KINDS, "start": _PlainStart, "chunk": _PlainChunk}


def _plain_chunk(chunk: Chunk) -> _PlainChunk:
    sample = _PlainSample(tuple(sorted(chunk.sample.buttons)), chunk.sample.mouse_px, dict(chunk.sample.axes))
    return _PlainChunk(chunk.number, chunk.chunk_index, chunk.reset_count, round(chunk.time_s, 4), sample,
                       packed_rows(chunk.rows), np.shape(chunk.rows), chunk.latents, chunk.frames, chunk.video)


def _chunk(plain: _PlainChunk) -> Chunk:
    try:
        data = base64.b64decode(plain.rows, validate=True)
    except ValueError:
        raise DamagedLine("its rows are not base64") from None
    num_rows, width = plain.rows_shape
    if min(num_rows, width) < 1 or len(data) != 4 * num_rows * width:
        raise DamagedLine(f"its rows have {len(data)} bytes, which {num_rows} x {width} numbers do not")
    rows = np.frombuffer(data, "<f4").astype(np.float32).reshape(num_rows, width)
    sample = ActionSample(frozenset(plain.sample.buttons), plain.sample.mouse_px,
                          tuple(sorted(plain.sample.axes.items())))
    return Chunk(plain.number, plain.chunk_index, plain.reset_count, plain.time_s, sample, rows, plain.latents,
                 plain.frames, plain.video)


def _png(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture(png: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(png, validate=True))) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedLine(f"its start picture cannot be read, {error}") from None


def array_hash(array: np.ndarray) -> str:
    """Return the hash of an array's numbers as they lie in memory, in HASH_DIGITS hex digits.

    It takes a moment for a large picture, so it is not for the generator thread.
    """
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:HASH_DIGITS]


def head_sha256(head: Head) -> str:
    """Return what a branch names its parent by."""
    return hashlib.sha256(to_line(head).encode("utf-8")).hexdigest()
