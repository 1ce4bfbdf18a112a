"""The errors a person can meet: each one writes its own sentence (what, how much, what to do next)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


def own_command() -> str:
    """Return how the program was started, for sentences that name a command to run: launch.py says so, since who starts
    it has no `astra-play` to type."""
    return os.environ.get("ASTRA_PLAY_COMMAND", "astra-play")


class AstraPlayError(Exception):
    """Base of every error that the command line prints as one sentence, with a non-zero exit."""


class ConfigError(AstraPlayError):
    """A configuration file or option holds a name or value that means nothing here."""


class WeightsError(AstraPlayError):
    """Weights are missing, damaged, or belong to another network."""


class ImageError(AstraPlayError):
    """A start picture cannot be used."""


class ScriptError(AstraPlayError):
    """An input script holds a line that is not an input event."""


class DisplayError(AstraPlayError):
    """No window can be opened here."""


class DataError(AstraPlayError):
    """Training data is missing, damaged, or was made with other settings."""


class RecordingError(AstraPlayError):
    """A recording, or what is made of one, cannot be read or written."""


class FetchError(AstraPlayError):
    """Published files cannot be downloaded."""


class DependencyError(AstraPlayError):
    """An optional package that this command needs is not installed."""

    def __init__(self, package: str, needed_for: str, extra: str) -> None:
        super().__init__(f"{needed_for} needs the package {package}, which is not installed; "
                         f"run: pip install 'astra-play[{extra}]'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known name nearest to `name`, or the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
