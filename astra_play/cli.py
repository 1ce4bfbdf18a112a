"""The command line: parse, call one handler, and turn an AstraPlayError into one sentence.

Nothing heavy is imported before a command is chosen. Commands whose options live with their module (bench, evaluate,
train) are given them only when they are the command at hand, so that `--help` stays instant.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from . import __version__, clips_cli
from .argument_types import guidance_scale, positive_int, positive_seconds, seed_number, thread_count
from .errors import AstraPlayError, did_you_mean
from .paths import DEFAULT_WORLD
from .render_options import MEMORY_MODES, PRECISIONS, add_render_options, render_options

EXIT_ERROR = 2
EXIT_CRASHED = 70  # sysexits.h: an error inside; Python's own 1 is an answer here ("different", "damaged")
EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C
EXIT_UNREAD = 141  # what shells report for a program whose reader has gone
OWN_THREADS = "astra-"  # how the names of the player's threads begin

Handler = Callable[[argparse.Namespace], int]


@dataclass(frozen=True)
class Command:
    """One command or group of commands; `module` offers add_arguments(parser) and main(args) when it has its own."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    run: Handler | None = None
    module: str = ""
    commands: dict[str, Command] | None = None


def program() -> NoReturn:
    """Run the command line of this process and leave it with the exit status.

    A window closes at once, even while its world is inside a long call (reading a prompt takes seconds) that nothing
    can cut short. Python would end around that thread and abort the process, so the process is left as it is.
    """
    try:
        status = main()
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = EXIT_CRASHED
    if any(thread.name.startswith(OWN_THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        args = parse(argv)
        status = args.run(args)
        sys.stdout.flush()  # here, where a full disk or a reader that has gone can still be told from success
        return status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except AstraPlayError as error:
        if debug:
            raise
        return fail(str(error))
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith("astra_play"):
            raise
        return fail(f"the package {error.name} is not installed; run: python3 launch.py doctor")
    except OSError as error:  # a full disk, a folder without permission: the system's own words are clear enough
        is_unread = isinstance(error, BrokenPipeError)
        # nothing may be left of what could not be printed, so a line more has to show whether it was that
        if output_fails("\n" if is_unread else "") and is_unread:
            return EXIT_UNREAD
        if debug:
            raise
        if error.filename is not None:
            return fail(f"{error.filename}: {error.strerror}; give another place, or make room and permission there")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # of a write, which does not know its file's name
            return fail(f"{error.strerror}, so what was being written is not whole; make room, or give another place")
        raise


def output_fails(text: str) -> bool:
    """Print a text and tell whether nothing can be printed any more; what was to be printed then goes nowhere."""
    try:
        print(text, end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try once more at its end
        return True
    return False


def fail(sentence: str) -> int:
    print(f"astra-play: {sentence}", file=sys.stderr)
    return EXIT_ERROR


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed options with `run`, the handler of the chosen command."""
    words = [word for word in argv if not word.startswith("-")]
    parser = argparse.ArgumentParser(prog="astra-play",
                                     description="A generated world that answers keyboard and mouse.")
    parser.add_argument("--version", action="version", version=f"astra-play {__version__}")
    add_debug(parser, default=False)
    add_commands(parser, COMMANDS, words)
    return parser.parse_args(argv)


def add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="show the traceback of an error")


def add_commands(parser: argparse.ArgumentParser, commands: dict[str, Command], words: Sequence[str]) -> None:
    """Add the commands to the parser; `words` are the command line's words from this level on."""
    if words and words[0] not in commands:
        parser.error(f"there is no command {words[0]!r}{did_you_mean(words[0], commands)}")
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        chosen = words[:1] == [name]
        child = group.add_parser(name, help=command.help, description=command.help)
        # suppressed, so that the default here does not undo a --debug given before the command
        add_debug(child, default=argparse.SUPPRESS)
        if command.commands is not None:
            add_commands(child, command.commands, words[1:] if chosen else ())
        elif command.module:
            if chosen:
                module = importlib.import_module(command.module)
                module.add_arguments(child)
                child.set_defaults(run=module.main)
        else:
            if command.add_arguments is not None:
                command.add_arguments(child)
            child.set_defaults(run=command.run)


# --- options --------------------------------------------------------------------------------------------------------

def add_world_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--world", metavar="NAME", help=f"a name in weights/ or a folder ({DEFAULT_WORLD})")
    parser.add_argument("--image", type=Path, metavar="FILE", help="start from this picture")
    parser.add_argument("--seed", type=seed_number, help="seed of the world's noise")
    parser.add_argument("--guidance", type=guidance_scale, metavar="SCALE", help="guidance scale; 1, off, is cheapest")
    parser.add_argument("--steps", type=positive_int, metavar="N", help="denoise steps per chunk")


def add_play_options(parser: argparse.ArgumentParser) -> None:
    add_world_options(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="tell a world that reads text what is seen")
    parser.add_argument("--memory", choices=MEMORY_MODES, default="auto",
                        help="gigabytes of GPU memory that a published world makes do with (auto)")
    parser.add_argument("--fullscreen", action="store_true", help="open full screen")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="compute threads (a short probe chooses)")
    parser.add_argument("--headless", action="store_true", help="no window: the same session on a dummy display")
    parser.add_argument("--script", type=Path, metavar="FILE", help="input events, one JSON object a line")
    parser.add_argument("--seconds", type=positive_seconds, metavar="S", help="stop after this time")
    parser.add_argument("--record", type=Path, metavar="FILE.mp4", help="record from the first frame on")
    parser.add_argument("--stats-json", type=Path, metavar="OUT", help="write the session's figures")
    parser.add_argument("--frames-dir", type=Path, metavar="DIR", help="write every shown frame as a PNG")


def add_all_render_options(parser: argparse.ArgumentParser) -> None:
    add_world_options(parser)
    add_render_options(parser)


def add_doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("world", nargs="?", metavar="NAME", help="a name in weights/ or a folder; none means all")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="run the golden vectors in this folder instead")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32",
                        help="of the network that runs them (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the golden errors")


def add_import_astra_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE",
                        help="Astra's diffusion_pytorch_model.ckpt, or a safetensors file or folder of it")
    parser.add_argument("--wan", type=Path, metavar="DIR", help="folder of Wan 2.1 T2V 1.3B: its autoencoder and its "
                                                                "text encoder; may be given in a later run")
    parser.add_argument("--taehv", type=Path, metavar="FILE", help="TAEHV's taew2_1, which decodes live pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the world's folder, as weights/astra")
    parser.add_argument("--width", type=positive_int, default=832, metavar="PX", help="width of a frame (%(default)s)")
    parser.add_argument("--height", type=positive_int, default=480, metavar="PX",
                        help="height of a frame (%(default)s)")


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("world", nargs="?", metavar="NAME", help="a published world; none means the published sizes")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16",
                        help="of the network (%(default)s)")


def add_data_make_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the episodes go")
    from .train import scenarios

    parser.add_argument("--scenario", default="explore", type=scenarios.named, metavar="NAME",
                        help="what is played: explore, drive, arm or doom (%(default)s)")
    parser.add_argument("--episodes", type=positive_int, default=200, metavar="N", help="number of episodes (200)")
    parser.add_argument("--frames", type=positive_int, default=240, metavar="N", help="frames per episode (240)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="SEED", help="seed of the first episode (0)")
    parser.add_argument("--workers", type=positive_int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no episode after so long")
    parser.add_argument("--width", type=positive_int, default=128, metavar="PX", help="width of a frame (128)")
    parser.add_argument("--height", type=positive_int, default=96, metavar="PX", help="height of a frame (96)")


def add_data_show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that data make wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="where the contact sheet goes")
    parser.add_argument("--episodes", type=positive_int, default=8, metavar="N", help="lines of the sheet (8)")
    parser.add_argument("--frames", type=positive_int, default=6, metavar="N", help="frames per line (6)")


# --- handlers -------------------------------------------------------------------------------------------------------

def run_play(args: argparse.Namespace) -> int:
    from .display.app import run_play
    from .display.options import PlayOptions

    return run_play(PlayOptions(
        world=args.world, image=args.image, prompt=args.prompt, seed=args.seed, guidance=args.guidance,
        steps=args.steps, headless=args.headless, script=args.script, seconds=args.seconds, stats_json=args.stats_json,
        frames_dir=args.frames_dir, record=args.record, fullscreen=args.fullscreen, threads=args.threads,
        memory=args.memory))


def run_render(args: argparse.Namespace) -> int:
    from .render import run_render

    return run_render(render_options(args))


def run_doctor(args: argparse.Namespace) -> int:
    from .doctor import run_doctor

    return run_doctor(as_json=args.json)


def run_weights_list(args: argparse.Namespace) -> int:
    from .weights_cli import list_worlds

    return list_worlds()


def run_weights_verify(args: argparse.Namespace) -> int:
    from .weights_cli import verify_golden, verify_worlds

    if args.golden is not None:
        return verify_golden(args.golden, args.precision, args.json)
    return verify_worlds(args.world)


def run_weights_memory(args: argparse.Namespace) -> int:
    from .weights_cli import print_memory

    return print_memory(args.world, args.precision)


def run_import_astra(args: argparse.Namespace) -> int:
    from .weights_cli import import_astra

    return import_astra(args.checkpoint, args.out, args.wan, args.taehv, args.width, args.height)


def run_data_make(args: argparse.Namespace) -> int:
    from .train.dataset import make_dataset
    from .train.only_writer import only_writer

    with only_writer(args.folder):
        dataset = make_dataset(args.folder, args.scenario, args.episodes, args.frames, args.first_seed, args.workers,
                               args.width, args.height, minutes=args.minutes)
    print(f"{len(dataset.episodes)} episodes in {args.folder}")
    return 0


def run_data_show(args: argparse.Namespace) -> int:
    from .train.dataset import Dataset, contact_sheet

    contact_sheet(Dataset(args.folder), args.out, args.episodes, args.frames)
    print(f"contact sheet -> {args.out}")
    return 0


COMMANDS: dict[str, Command] = {
    "play": Command("open the player", add_play_options, run_play),
    "render": Command("generate frames to a video or pictures, without pacing", add_all_render_options, run_render),
    "kiosk": Command("run a booth: attract loop, visitors, a supervisor that restarts what breaks",
                     module="astra_play.kiosk_cli"),
    "doctor": Command("report what works here, and what to do about what does not", add_doctor_options, run_doctor),
    "bench": Command("measure the speed of a world on this machine", module="astra_play.bench"),
    "evaluate": Command("compare rollouts with the simulator's truth", module="astra_play.evaluate.report"),
    "replay": Command("play a recording again, check it, or render it anew", module="astra_play.replay_cli"),
    "clips": Command("list, trim, export and delete what was recorded", commands={
        "list": Command("list the recordings, the newest first", clips_cli.add_list_options, clips_cli.list_clips),
        "trim": Command("cut a stretch out of a recording", clips_cli.add_trim_options, clips_cli.trim_clip),
        "export": Command("make a GIF, an animated WebP or another mp4", clips_cli.add_export_options,
                          clips_cli.export_clip),
        "delete": Command("move a recording to the trash, after a question", clips_cli.add_delete_options,
                          clips_cli.delete_clip),
    }),
    "weights": Command("look at the worlds in weights/", commands={
        "list": Command("list the worlds", run=run_weights_list),
        "fetch": Command("download the published files of a world, after a question",
                         module="astra_play.weights_fetch"),
        "verify": Command("read the weights in full and compare them with their config", add_verify_options,
                          run_weights_verify),
        "memory": Command("show what a published world needs of a GPU in each memory mode", add_memory_options,
                          run_weights_memory),
        "import": Command("make a world of published weights", commands={
            "astra": Command("of the published Astra checkpoint; goes on where an earlier run stopped",
                             add_import_astra_options, run_import_astra),
        }),
    }),
    "train": Command("train weights", commands={
        "codec": Command("train the autoencoder", module="astra_play.train.codec_loop"),
        "hand": Command("train what finds a hand, or distances, in a picture", module="astra_play.train.hand_loop"),
        "filter": Command("train what keeps the pictures of a free run clean", module="astra_play.train.filter_loop"),
        "upscaler": Command("train what draws shown pictures twice as large", module="astra_play.train.upscaler_loop"),
        "world": Command("train the transformer", module="astra_play.train.world_loop"),
        "job": Command("data, codec and world in a given time, detached if you like", module="astra_play.train.job"),
    }),
    "data": Command("make, import and look at training data", commands={
        "import": Command("your own videos with action logs beside them", module="astra_play.train.clips"),
        "make": Command("play episodes in the simulator; goes on where an earlier run stopped", add_data_make_options,
                        run_data_make),
        "show": Command("write a contact sheet of episodes", add_data_show_options, run_data_show),
    }),
}
