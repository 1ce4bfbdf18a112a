"""What a value on the command line may be: each type turns a word into a number or refuses it with the value shown."""

from __future__ import annotations

import argparse

from .config import MAX_THREADS


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def thread_count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not within 1 and {MAX_THREADS}")
    return value


def positive_seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def seed_number(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63 - 1:  # what the network's generators of noise take, one more for the second of them
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 2^63 - 2")
    return value


def guidance_scale(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 20.0:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 20")
    return value


# argparse names the type in its sentence about a value that does not parse
positive_int.__name__ = "whole number"
seed_number.__name__ = "whole number"
thread_count.__name__ = "whole number"
positive_seconds.__name__ = "number of seconds"
guidance_scale.__name__ = "guidance scale"
