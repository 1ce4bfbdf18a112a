"""A stretch of a recording -> a recording of its own: the video cut exactly, the log copied with a note.

The log stays whole, since a replay begins at the seed; its note says what part of the session the video shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordingError, own_command
from .export import Progress, Stretch, half_written, refuse_existing, stretch
from .format import SUFFIX, VIDEO_SUFFIX, Mark, to_line
from .frames import NEAR_S, VideoFacts, frames, open_video, read_facts
from .library import read_line
from .mp4 import MOVFLAGS, Mp4File

if TYPE_CHECKING:
    import av
    import av.container

# what the mp4 writer fills in by itself
OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder")
TICKS_PER_S = 90_000  # of a video that is encoded again: a multiple of the usual frame rates


@dataclass(frozen=True)
class Trimmed:
    """What was written. `copied`: no frame was encoded again. `log`: None if the source has none."""

    path: Path
    log: Path | None
    length_s: float
    copied: bool


def trim(source: Path, out: Path, from_s: float = 0.0, to_s: float | None = None,
         progress: Progress | None = None) -> Trimmed:
    """Write the frames of an mp4 that begin within [from_s, to_s), each moment moved to the nearest frame's beginning.

    Packets are copied as they are when the first is a keyframe and none refers to one that is left out; every other
    stretch is encoded again, so that it is exact too. A log beside the source gets a copy beside `out`. None: to the
    end. RecordingError for a source that is no video, an empty range, a file that exists or cannot be written.
    """
    if out.suffix.lower() != VIDEO_SUFFIX:
        raise RecordingError(f"{out} does not end in .mp4, and trimming keeps the video's kind; for another one "
                             f"there is: {own_command()} clips export")
    facts = read_facts(source)
    wanted = stretch(source, facts, from_s, to_s)
    log, log_out = source.with_suffix(SUFFIX), out.with_suffix(SUFFIX)
    refuse_existing(out)
    if log.is_file():
        refuse_existing(log_out)
    told = _read_log(log) if log.is_file() else None  # before the video: what cannot be read leaves no half of two
    metadata = {**{name: value for name, value in facts.metadata.items() if name not in OWN_TAGS},
                "trimmed": _note(source, wanted)}
    with half_written(out) as part:
        copied = _copy(source, part, wanted, metadata)
        if not copied:
            _encode_again(source, part, wanted, facts, metadata, progress)
    if told is not None:
        _write_log(told, log_out, log.with_suffix(VIDEO_SUFFIX).name, wanted)
    return Trimmed(out, None if told is None else log_out, read_facts(out).length_s, copied)


def _note(source: Path, wanted: Stretch) -> str:
    return f"{source.name} from {wanted.from_s:.3f} s to {wanted.to_s:.3f} s"


# --- the video ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Packet:
    """One packet in the file's order: where it is shown, and whether a decoder can begin with it."""

    time_s: float
    is_keyframe: bool


def kept_packets(packets: list[_Packet], from_s: float, to_s: float) -> range | None:
    """Return which packets hold exactly the frames within [from_s, to_s), or None if they cannot stand alone.

    They can when the first is a keyframe and they follow each other in the file: a frame refers only to packets before
    its own, back to the keyframe.
    """
    kept = [index for index, packet in enumerate(packets) if from_s <= packet.time_s < to_s]
    if not kept or not packets[kept[0]].is_keyframe or kept[-1] - kept[0] + 1 != len(kept):
        return None
    return range(kept[0], kept[-1] + 1)


def _limits(wanted: Stretch) -> tuple[float, float]:
    """Return the range with half a frame's tolerance, so that a moment means the frame that begins nearest to it."""
    half_s = 0.5 / float(wanted.fps)
    return wanted.from_s - half_s + NEAR_S, wanted.to_s - half_s + NEAR_S


def _copy(source: Path, part: Path, wanted: Stretch, metadata: dict[str, str]) -> bool:
    """Copy the packets if they can stand alone; False (and no file) if they cannot."""
    import av

    with open_video(source) as container:
        stream = container.streams.video[0]
        first = stream.start_time or 0
        packets = list(_whole_packets(container, stream))
        times = [_Packet(float((packet.pts - first) * stream.time_base), packet.is_keyframe) for packet in packets]
        kept = kept_packets(times, *_limits(wanted))
        if kept is None:
            return False
        begin = min(packets[index].pts for index in kept)
        with av.open(str(part.absolute()), "w", format="mp4", options={"movflags": MOVFLAGS}) as output:
            output.metadata.update(metadata)
            copy = output.add_stream_from_template(stream)
            for packet in packets[kept.start:kept.stop]:
                packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
                packet.stream = copy
                output.mux(packet)
    return True


def _whole_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """Yield the packets of a stream up to where the file breaks off."""
    import av

    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                return
            if packet.pts is not None:
                yield packet
    except av.FFmpegError:
        return


def _encode_again(source: Path, part: Path, wanted: Stretch, facts: VideoFacts, metadata: dict[str, str],
                  progress: Progress | None) -> None:
    """Decode and encode the frames, each at its own time: a gap in the source stays a gap."""
    from_s, to_s = _limits(wanted)
    begin_s: float | None = None
    num_done = 0
    with Mp4File(part, facts.fps, Fraction(1, TICKS_PER_S), metadata) as video:
        for time_s, frame in frames(source, max(0.0, from_s), to_s):
            if time_s < from_s:
                continue
            begin_s = time_s if begin_s is None else begin_s
            video.write(frame, round((time_s - begin_s) * TICKS_PER_S))
            num_done += 1
            if progress is not None:
                progress(num_done, max(num_done, wanted.num_frames))
        if num_done == 0:
            raise RecordingError(f"{source.name} shows no new frame between {wanted.from_s:g} s and {wanted.to_s:g} s; "
                                 "give a longer stretch")


# --- the log --------------------------------------------------------------------------------------------------------

VIDEO_STARTS = re.compile(r"video starts at chunk (\d+)")


@dataclass(frozen=True)
class _Log:
    """Every whole line of a log before the first damaged one; the chunk that its video begins with."""

    lines: list[bytes]
    chunk_s: float
    first_chunk: int


def _read_log(log: Path) -> _Log | None:
    """Read a log; None if it is none, or does not say how long a chunk is."""
    lines, head, first_chunk = [], None, 0
    with log.open("rb") as file:
        for line in file:
            entry = read_line(line)
            if entry is None or (head is None and entry.get("kind") != "head"):
                break
            head = head or entry
            if entry.get("kind") == "mark" and (found := VIDEO_STARTS.match(str(entry.get("text")))):
                first_chunk = int(found[1])
            lines.append(line)
    try:
        chunk_s = head["frames_per_chunk"] / head["fps"]
        return _Log(lines, chunk_s, first_chunk) if chunk_s > 0.0 else None
    except (LookupError, TypeError, ZeroDivisionError):
        return None


def _write_log(told: _Log, out: Path, video: str, wanted: Stretch) -> None:
    """Write the lines with the note before the log's end."""
    first_chunk = told.first_chunk + int(wanted.from_s / told.chunk_s + NEAR_S)
    note = to_line(Mark(wanted.from_s, f"video starts at chunk {first_chunk}; trimmed from {video}, "
                        f"{wanted.from_s:.3f} s to {wanted.to_s:.3f} s")).encode("utf-8")
    before_end = len(told.lines) - (read_line(told.lines[-1]).get("kind") == "end")
    with half_written(out) as part:
        part.write_bytes(b"".join([*told.lines[:before_end], note, *told.lines[before_end:]]))
