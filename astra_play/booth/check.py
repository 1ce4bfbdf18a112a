"""`kiosk --check`: a profile against this machine, one line per finding, before the fair opens."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import paths
from ..config import load_world_config
from ..errors import AstraPlayError, DependencyError
from .daylog import log_folder
from .profile import Profile, clips_in
from .qr import address_of, qr_squares

FREE_WANTED_GB = 2.0  # visitors' clips take about 3 MB each
EXAMPLE_FILE = "visit-20261124-101112-0a1b2c3d4e.mp4"  # as long as the name of every visit
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; a profile with a `bad` one cannot run as it says."""

    what: str
    sentence: str
    is_bad: bool = False


def findings(profile: Profile) -> Iterator[Finding]:
    """Yield what was looked at, in the order of the profile."""
    for name in dict.fromkeys((*profile.worlds, *profile.tours)):
        yield _world(name)
    if profile.logo:
        yield _logo(profile.path(profile.logo))
    if profile.attract.clips:
        yield _clips(profile.path(profile.attract.clips))
    if profile.save.what != "off":
        yield _writable("saves", profile.path(profile.save.folder))
    if profile.save.what == "qr":
        yield _package("segno", "QR codes", "kiosk", is_needed=True)
        yield _address(profile.save.url)
    yield _writable("daily log", log_folder(profile))
    yield _package("pynput", "global hotkeys", "hotkeys", is_needed=False)


def _world(name: str) -> Finding:
    try:
        folder, scenario = paths.find_world(name)
        config = load_world_config(folder, scenario)
        wrong = paths.lacking_sentence(folder, config) or _refusal(name, folder, scenario)
    except (AstraPlayError, OSError) as error:
        return Finding(f"world {name}", str(error), is_bad=True)
    return Finding(f"world {name}", wrong or config.title, is_bad=bool(wrong))


def _refusal(name: str, folder: Path, scenario: str) -> str:
    """Return why the booth does not offer a world that could be played elsewhere, "" if it does."""
    if folder.parent != paths.weights_folder():
        return f"{folder} lies outside of {paths.weights_folder()}; copy it there, and offer it by its name"
    own_name = f"{folder.name}/{scenario}" if scenario else folder.name
    return "" if name == own_name else f"a booth offers worlds by their names; write {own_name!r}"


def _logo(path: Path) -> Finding:
    try:
        with path.open("rb") as file:
            is_png = file.read(len(PNG_HEAD)) == PNG_HEAD
    except OSError as error:
        return Finding("logo", f"{path} cannot be read ({error.strerror or error})", is_bad=True)
    return Finding("logo", str(path) if is_png else f"{path} is no PNG; save it as one", is_bad=not is_png)


def _clips(folder: Path) -> Finding:
    number = len(clips_in(folder))
    if number:
        return Finding("clips", f"{number} in {folder}")
    why = "holds no .mp4 files" if folder.is_dir() else "does not exist"
    return Finding("clips", f"{folder} {why}; the attract loop shows tours alone")


def _address(url: str) -> Finding:
    try:
        squares = qr_squares(address_of(url, EXAMPLE_FILE))
    except DependencyError:  # which has a line of its own
        return Finding("address", url)
    except AstraPlayError as error:
        return Finding("address", str(error), is_bad=True)
    return Finding("address", f"{url}, a QR code of {len(squares)} x {len(squares)}")


def _writable(what: str, folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(what, f"{folder} cannot be written ({error.strerror or error}); choose another folder",
                       is_bad=True)
    free_gb = shutil.disk_usage(folder).free / 1e9
    return Finding(what, f"{folder}, {free_gb:.1f} GB free" + (", which is little" if free_gb < FREE_WANTED_GB else ""))


def _package(name: str, needed_for: str, extra: str, is_needed: bool) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, f"not installed, so there are no {needed_for}; run: pip install 'astra-play[{extra}]'",
                       is_bad=is_needed)
    display = os.environ.get("WAYLAND_DISPLAY") if name == "pynput" else ""
    return Finding(name, f"{needed_for} may not work under Wayland; the chord works in the window" if display
                   else f"installed, for {needed_for}")
