"""`kiosk`: the supervisor, or as its child the player; the profile's example and check; a day's report."""

from __future__ import annotations

import argparse
import datetime
import logging
import signal
import sys
import threading
from pathlib import Path

from .argument_types import positive_seconds
from .booth.check import findings
from .booth.daylog import DayLog, log_folder, read_day
from .booth.link import Alone, Link
from .booth.profile import EXAMPLE, Profile, load_profile
from .booth.report import report_lines
from .booth.service import service_text
from .booth.supervisor import Supervisor, player_command
from .errors import AstraPlayError
from .runtime.clock import MonotonicClock, local_time

EXIT_BAD_PROFILE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", type=Path, metavar="FILE", help="the booth's TOML profile (built-in values)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print-profile", action="store_true", help="print a commented profile with every setting")
    what.add_argument("--check", action="store_true", help="look whether the profile fits this machine, and end")
    what.add_argument("--print-service", action="store_true",
                      help="print how this system starts the booth at boot and restarts its supervisor")
    what.add_argument("--report", nargs="?", const="today", metavar="DATE",
                      help="print a day's summary of the log, as 2026-11-24 (today)")
    what.add_argument("--unsupervised", action="store_true", help="the player alone: nobody restarts it")
    what.add_argument("--player", action="store_true", help=argparse.SUPPRESS)  # the supervisor's child
    parser.add_argument("--windowed", action="store_true", help="in a window instead of full screen, to try a profile")
    parser.add_argument("--headless", action="store_true", help="without a window, on a dummy display")
    parser.add_argument("--seconds", type=positive_seconds, metavar="S", help="end after this time")
    parser.add_argument("--restarts", type=int, default=0, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    if args.print_profile:
        print(EXAMPLE, end="")
        return 0
    profile = load_profile(args.profile)
    if args.print_service:
        print(service_text(args.profile, options=window_options(args)), end="")
        return 0
    if args.check:
        return print_check(profile)
    if args.report is not None:
        return print_report(profile, args.report)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    return play(profile, args) if args.player or args.unsupervised else supervise(profile, args)


def window_options(args: argparse.Namespace) -> list[str]:
    """Return the options about the window as they were given, for another process."""
    return [option for option, is_given in (("--headless", args.headless), ("--windowed", args.windowed)) if is_given]


def print_check(profile: Profile) -> int:
    found = list(findings(profile))
    width = max(len(finding.what) for finding in found)
    for finding in found:
        print(f"{'BAD ' if finding.is_bad else 'ok  '} {finding.what.ljust(width)}  {finding.sentence}")
    num_bad = sum(finding.is_bad for finding in found)
    print(f"{num_bad} of {len(found)} must be mended" if num_bad else "this profile can run here")
    return EXIT_BAD_PROFILE if num_bad else 0


def print_report(profile: Profile, date: str) -> int:
    try:
        day = local_time().date() if date == "today" else datetime.date.fromisoformat(date)
    except ValueError:
        raise AstraPlayError(f"--report {date!r} is no date; write it as 2026-11-24") from None
    print("\n".join(report_lines(day, read_day(log_folder(profile), day))))
    return 0


def supervise(profile: Profile, args: argparse.Namespace) -> int:
    """Run the supervisor until it is told to stop: SIGTERM, Ctrl-C, the operator's chord, or --seconds."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    arguments = [*(["--profile", str(args.profile)] if args.profile else []), *window_options(args)]
    if args.seconds is not None:
        timer = threading.Timer(args.seconds, stop.set)
        timer.daemon = True
        timer.start()
    return Supervisor(player_command(arguments), profile.supervisor, day_log_of(profile), MonotonicClock()).run(stop)


def play(profile: Profile, args: argparse.Namespace) -> int:
    """Run the player, linked to its supervisor or alone."""
    from .display.kiosk import run_kiosk

    clock = MonotonicClock()
    link = Link(clock) if args.player else Alone(day_log_of(profile))
    if isinstance(link, Link):
        link.start()
    signal.signal(signal.SIGTERM, lambda *_: link.stop_asked.set())
    return run_kiosk(profile, link, headless=args.headless, windowed=args.windowed, seconds=args.seconds,
                     num_restarts=args.restarts)


def day_log_of(profile: Profile) -> DayLog:
    return DayLog(log_folder(profile), local_time, profile.log.keep_days, profile.log.max_mb)
