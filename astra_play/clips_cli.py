"""`clips`: what was recorded is listed, trimmed, exported and deleted."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .argument_types import positive_int, positive_seconds

WORLD_WIDTH = 14


def moment(text: str) -> float:
    """A time on the command line: seconds, or minutes:seconds."""
    minutes, _, seconds = text.rpartition(":")
    value = 60.0 * int(minutes or 0) + float(seconds)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time of 0 seconds or more")
    return value


moment.__name__ = "time in seconds"


def add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a video, or the name of a recording in the recordings folder")


def add_range_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="from_s", type=moment, default=0.0, metavar="S",
                        help="begin at this second, or minute:second (0)")
    parser.add_argument("--to", dest="to_s", type=moment, metavar="S", help="end there (the end of the video)")


def add_trim_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    add_range_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the .mp4 to write")


def add_export_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    add_range_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the .gif, .webp or .mp4 to write")
    parser.add_argument("--width", type=positive_int, metavar="PX", help="width of a frame (the video's)")
    parser.add_argument("--fps", type=positive_seconds, metavar="N", help="frames per second (the video's)")


def add_delete_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--for-good", action="store_true", help="delete the files and leave nothing in the trash")


def list_clips(args: argparse.Namespace) -> int:
    """Print a line per recording, the newest first."""
    from .display.settings import own_library

    library = own_library()
    recordings = library.clips()
    if args.json:
        print(json.dumps([one.to_json() for one in recordings], indent=1))
        return 0
    if not recordings:
        print(f"no recording lies in {library.folder}")
    for one in recordings:
        length = "?" if one.length_s is None else f"{one.length_s:.1f} s"
        seed = "?" if one.seed is None else str(one.seed)
        print(f"{one.created.astimezone():%Y-%m-%d %H:%M}  {one.world:<{WORLD_WIDTH}} {length:>8}  seed {seed:<7} "
              f"{one.size_bytes / 1e6:7.1f} MB  {one.name}")
        if one.damage:
            print(f"{'':<18}{one.damage}")
    return 0


def trim_clip(args: argparse.Namespace) -> int:
    """Cut a stretch out of a video and say how it was done."""
    from .record.trim import trim

    with _Bar() as bar:
        made = trim(_video(args.file), args.out, args.from_s, args.to_s, bar.progress)
    how = "copied without encoding" if made.copied else "encoded again, since no keyframe lies at its beginning"
    log = f"; its log -> {made.log}" if made.log else ""
    print(f"{made.length_s:.2f} s, {how} -> {made.path}{log}")
    return 0


def export_clip(args: argparse.Namespace) -> int:
    """Write a stretch of a video as an animation or another video."""
    from .record.export import export

    with _Bar() as bar:
        made = export(_video(args.file), args.out, args.from_s, args.to_s, args.width, args.fps, bar.progress)
    print(f"{made.num_frames} frames of {made.width} x {made.height}, {made.size_bytes / 1e6:.2f} MB -> {made.path}")
    return 0


def delete_clip(args: argparse.Namespace) -> int:
    """Move a recording to the trash after a question; for good it is asked twice."""
    from .display.settings import own_library

    library = own_library()
    one = library.find(args.file)
    names = " and ".join(path.name for path in one.files)
    questions = [f"Delete {names} ({one.size_bytes / 1e6:.1f} MB)", "It will be gone for good. Delete it"] \
        if args.for_good else [f"Move {names} ({one.size_bytes / 1e6:.1f} MB) to the trash"]
    if not args.yes and not all(_yes(question) for question in questions):
        print("nothing was deleted")
        return 1
    library.delete(one, args.for_good)
    print(f"deleted {names}" if args.for_good else f"moved {names} to the trash")
    return 0


def _video(name_or_path: str) -> Path:
    """Return the file that is named, or the video of a recording."""
    from .display.settings import own_library
    from .errors import RecordingError, own_command
    from .record.library import LOG_SUFFIX

    path = Path(name_or_path)
    if path.is_file() and path.suffix != LOG_SUFFIX:
        return path
    one = own_library().find(name_or_path)
    if one.video is None:
        raise RecordingError(f"the recording {one.name!r} has no video, only its action log; make one with: "
                             f"{own_command()} replay FILE --render OUT.mp4")
    return one.video


def _yes(question: str) -> bool:
    try:
        return input(f"{question}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        print()
        return False


class _Bar:
    """A progress bar on stderr that appears with the first frame."""

    def __enter__(self) -> _Bar:
        self._bar = None
        return self

    def progress(self, num_done: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="frame", file=sys.stderr)
        self._bar.total = total
        self._bar.update(num_done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
