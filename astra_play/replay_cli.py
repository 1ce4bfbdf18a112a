"""`replay`: a recording in the window, checked against its hashes (--verify), or made into a video anew (--render)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .argument_types import guidance_scale, positive_int, thread_count
from .config import load_world_config
from .display.settings import own_library
from .errors import ConfigError, RecordingError
from .paths import check_out_folder, find_world
from .record.format import SUFFIX, array_hash
from .record.match import check_weights, differences, find_recorded_world, world_name
from .record.reader import Recording, read_recording
from .record.replay import Replay, check_fits, recorded_chunks

if TYPE_CHECKING:
    from .model.world import World

EXIT_DIFFERENT = 1  # of --verify; an error exits with another status
FIXED = {"guidance": "guidance_scale", "steps": "num_denoise_steps", "threads": "num_threads"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording's .astra or .mp4, or its name in the recordings "
                                                     "folder")
    deed = parser.add_mutually_exclusive_group()
    deed.add_argument("--verify", action="store_true",
                      help="make everything again without a window and compare it with the recorded hashes")
    deed.add_argument("--render", type=Path, metavar="OUT", help="make it again into a video (.mp4), an animated .webp "
                                                                 "or a folder of PNGs")
    parser.add_argument("--world", metavar="NAME", help="where the recorded world lies now, a name or a folder")
    parser.add_argument("--json", type=Path, metavar="OUT", help="of --verify: write the verdict")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="compute threads (those of the recording)")
    parser.add_argument("--steps", type=positive_int, metavar="N",
                        help="of --render: denoise steps per chunk, which makes another world")
    parser.add_argument("--guidance", type=guidance_scale, metavar="SCALE",
                        help="of --render: guidance scale, which makes another world")
    parser.add_argument("--decoder", choices=("exact", "preview"), help="of --render: which autoencoder makes the "
                                                                        "pictures; the world stays the same")
    parser.add_argument("--controls", action="store_true", help="of --render: draw the recorded controls")
    parser.add_argument("--fullscreen", action="store_true", help="open full screen")


def main(args: argparse.Namespace) -> int:
    """Do what was asked for; with --verify return EXIT_DIFFERENT if anything differs."""
    _refuse_meaningless(args)
    path = recording_path(args.file)
    if args.world is not None:
        find_world(args.world)  # what is wrong with it is said before anything about the recording
    if args.verify:
        return run_verify(path, args.world, args.threads, args.json)
    if args.render is not None:
        return run_render(path, args)
    from .display.app import run_play
    from .display.options import PlayOptions

    return run_play(PlayOptions(replay=path, world=args.world, threads=args.threads, fullscreen=args.fullscreen))


def _refuse_meaningless(args: argparse.Namespace) -> None:
    for name in ("steps", "guidance", "decoder", "controls"):
        if getattr(args, name) not in (None, False) and args.render is None:
            raise ConfigError(f"--{name} is for --render; leave it out")
    if args.json is not None and not args.verify:
        raise ConfigError("--json is for --verify; leave it out")


def recording_path(name: str) -> Path:
    """Return the log of a recording given by either of its files or by its name."""
    path, library = Path(name), own_library()
    if path.suffix == SUFFIX and (path.is_file() or not (library.folder / name).is_file()):
        return path
    found = library.find(name)
    if found.log is None:
        raise RecordingError(f"{found.name} is a video without its action log, so it can be watched but not replayed; "
                             "the log is the .astra file that was written beside it")
    return found.log


# --- with a world, without a window ---------------------------------------------------------------------------------

def load_recorded_world(recording: Recording, given: str | None, decoder: str | None = None) -> World:
    """Load the world of a recording as it was played, and say in what this machine differs from the recording's.

    RecordingError if the world or its weights are not the recorded ones.
    """
    recorded_chunks(recording)  # what cannot be replayed need not be loaded
    folder, head = find_recorded_world(recording, given), recording.head
    config = load_world_config(*find_world(world_name(head, given))).played_live()
    check_fits(recording, config)
    check_weights(recording, folder, config)
    from .model.loading import LoadOptions, choose_device, load_world, precision_for

    device = choose_device()
    if head.device.partition(":")[0] == "cpu":
        device = choose_device("cpu")  # sums are rounded as they were
    precision = head.precision if head.precision in ("float32", "bfloat16", "reference_bf16") else "auto"
    for sentence in differences(recording, config, str(device), precision_for(config, device, precision)):
        print(f"not as recorded: {sentence}")
    if recording.loss is not None:
        print(f"{recording.path}: {recording.loss}; what comes before it is whole")
    options = LoadOptions(live=True, precision=precision, prompt=head.prompt, memory=head.memory,
                          decoder=decoder or "auto")
    return load_world(world_name(head, given), str(device), options)


def run_verify(path: Path, given: str | None, threads: int | None, out: Path | None) -> int:
    """Make a recording again, compare, and print the verdict."""
    from tqdm import tqdm

    from .record.verify import verify

    check_out_folder("--json", out)
    recording = read_recording(path)
    world = load_recorded_world(recording, given)
    try:
        fixed = _fixed(threads=threads)
        if threads not in (None, recording.head.num_threads):
            print(f"not as recorded: {recording.head.num_threads} compute threads there, {threads} here")
        replay = Replay(recording, world, fixed, keeps_checkpoints=False)
        with tqdm(total=len(replay.recorded), unit="chunk", file=sys.stderr) as bar:
            verdict = verify(replay, bar.update)
            rate = bar.format_dict["rate"] or (bar.n / max(bar.format_dict["elapsed"], 1e-9))
    finally:
        world.close()
    for sentence in verdict.sentences():
        print(sentence, flush=True)  # before anything that a full disk may end
    if out is not None:
        speed = {"chunks_per_s": round(rate, 2), "times_live": round(rate * recording.head.chunk_s, 3)}
        out.write_text(json.dumps({"file": str(path), **verdict.to_json(), **speed}, indent=2) + "\n", encoding="utf-8")
    return 0 if verdict.is_same else EXIT_DIFFERENT


def run_render(path: Path, args: argparse.Namespace) -> int:
    """Make a recording again into frames in a file."""
    from .render import check_output, write_frames

    check_output(args.render, "--render")
    recording = read_recording(path)
    world = load_recorded_world(recording, args.world, args.decoder)
    fixed = _fixed(threads=args.threads, steps=args.steps, guidance=args.guidance)
    asked = [f"{name} {value}" for name, value in (("steps", args.steps), ("guidance", args.guidance))
             if value is not None]
    if asked:
        print(f"with {' and '.join(asked)} for all of it, this is another world than the recorded one, under the same "
              "hand")
    try:
        replay = Replay(recording, world, fixed, keeps_checkpoints=False)
        made = Rendered(replay, with_controls=args.controls)
        num_frames = len(replay.recorded) * recording.head.frames_per_chunk
        digest = write_frames(iter(made), num_frames, args.render, recording.head.fps)
    finally:
        world.close()
    same = f"{made.num_same} of {len(replay.recorded)} chunks have the recorded latents"
    print(f"{made.num_frames} frames at {recording.head.fps} fps, {same}, sha256 {digest[:16]} -> {args.render}")
    return 0


@dataclasses.dataclass
class Rendered:
    """The frames (H, W, 3) of a replay, and how many chunks had the recorded latents."""

    replay: Replay
    with_controls: bool = False
    num_frames: int = 0
    num_same: int = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        from .record.burnt_in import with_controls

        while not self.replay.is_over:
            made = self.replay.step()
            self.num_same += made.latents is not None and array_hash(made.latents) == made.chunk.latents
            for frame in made.frames:
                self.num_frames += 1
                yield with_controls(frame, made.chunk.sample) if self.with_controls else frame


def _fixed(**asked: float | int | None) -> dict[str, float | int]:
    return {FIXED[name]: value for name, value in asked.items() if value is not None}
