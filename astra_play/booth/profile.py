"""A booth's profile: one TOML file -> what is offered, for how long, and what is kept; strict, since nobody reads logs
at a trade fair."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config import MAX_THREADS, from_dict, read_own_text
from ..errors import ConfigError, did_you_mean, own_command
from .texts import Language, Texts, texts_of

MIN_HANG_S = 2.0  # four heartbeats
MAX_S = 86_400.0  # of any time: a day; more is a slip of the keyboard
MAY_BE_ZERO = ("session_s", "last_s", "warning_s")  # no limit, no countdown, no warning

EXAMPLE = """\
# A booth of Astra Play. Every line may be left out; what stands here are the values without it.
# Paths are taken from the folder of this file. Check a profile with: astra-play kiosk --check --profile FILE

language = "en"               # "en" or "de"
worlds = ["mini/explore", "mini/drive"]   # offered on the start page, in this order, at most six
logo = ""                     # a PNG that stands beside the title, at most 120 pixels high on a 720 pixel screen
threads = 0                   # compute threads of the network; 0: a short probe chooses
memory = "auto"               # of a published world on a GPU: "auto", "8", "16", "24" or "full"

[times]                       # all in seconds
session_s = 180.0             # how long one visitor may play; 0: no limit
last_s = 20.0                 # before the end of it: the countdown grows and is written out
idle_s = 30.0                 # nobody touches anything: the warning comes
warning_s = 10.0              # and so long after it the booth goes back to the start
choose_s = 20.0               # the start page waits for a choice
thanks_s = 15.0               # the last page, with the QR code if there is one
tour_s = 40.0                 # one tour of the attract loop
load_s = 60.0                 # a world that is not there by then is left out

[attract]
tours = []                    # worlds that the autopilot tours; []: those offered
clips = ""                    # a folder of recorded .mp4 files, shown between the tours
max_clip_s = 60.0

[save]
what = "off"                  # a visitor's last 30 seconds: "off", "file" (a folder) or "qr" (a folder and its address)
folder = ""                   # where the files go, for example a folder that a web server serves
url = ""                      # for "qr": the address of a file, such as "https://example.org/clips/{file}"
keep_files = 200              # the oldest are deleted beyond so many; 0: none is ever deleted

[touch]
controls = "auto"             # on-screen stick and buttons: "auto" (once a finger was seen), "always" or "never"
mouse = "finger"              # "finger": the mouse drags like one finger; "look": it turns the view, as at home

[operator]                    # chord + letter; as global hotkeys where pynput can, in the window everywhere
chord = "ctrl+alt+shift"      # any of ctrl, alt, shift joined by +, at least two
skip = "k"                    # end this visit or this part of the attract loop
mute = "m"                    # there is no sound yet; it says so
stop = "q"                    # end the booth, supervisor included
status = "i"                  # the status page, on and off

[supervisor]
start_s = 180.0               # a start that has not shown its first picture by then is a hang
hang_s = 5.0                  # a window or a world that stands still for so long is restarted; a published world that
                              # takes seconds per chunk needs more

[log]
folder = ""                   # daily logs; "": the user's log folder
keep_days = 60
max_mb = 20.0                 # of one day; more is counted and not written

[titles]                      # of worlds, where theirs are not in the visitors' language
# "mini/explore" = "Im Park"

[descriptions]                # the line under the title
# "mini/explore" = "Spaziere durch Parks und kleine Orte."

[texts]                       # any text of the screens, for example:
# invitation = "Play me"
# thanks = "Thank you for visiting stand 12"
"""


@dataclass(frozen=True)
class Times:
    """How long everything takes, in seconds."""

    session_s: float = 180.0
    last_s: float = 20.0
    idle_s: float = 30.0
    warning_s: float = 10.0
    choose_s: float = 20.0
    thanks_s: float = 15.0
    tour_s: float = 40.0
    load_s: float = 60.0


@dataclass(frozen=True)
class AttractPlan:
    """What is shown while nobody plays."""

    tours: tuple[str, ...] = ()
    clips: str = ""
    max_clip_s: float = 60.0


@dataclass(frozen=True)
class SavePlan:
    """What becomes of a visitor's last 30 seconds."""

    what: Literal["off", "file", "qr"] = "off"
    folder: str = ""
    url: str = ""
    keep_files: int = 200


@dataclass(frozen=True)
class TouchPlan:
    """How fingers and the mouse play."""

    controls: Literal["auto", "always", "never"] = "auto"
    mouse: Literal["finger", "look"] = "finger"


@dataclass(frozen=True)
class OperatorKeys:
    """A chord that no visitor presses by chance, and the letter that goes with it."""

    chord: str = "ctrl+alt+shift"
    skip: str = "k"
    mute: str = "m"
    stop: str = "q"
    status: str = "i"

    @property
    def modifiers(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.chord.lower().split("+"))

    def commands(self) -> dict[str, str]:
        """Return letter -> command."""
        return {self.skip: "skip", self.mute: "mute", self.stop: "stop", self.status: "status"}


@dataclass(frozen=True)
class WatchLimits:
    """When the supervisor loses patience."""

    start_s: float = 180.0
    hang_s: float = 5.0


@dataclass(frozen=True)
class LogPlan:
    """Where the daily logs go and how much of them is kept."""

    folder: str = ""
    keep_days: int = 60
    max_mb: float = 20.0


@dataclass(frozen=True)
class Profile:
    """One booth, complete."""

    language: Language = "en"
    worlds: tuple[str, ...] = ("mini/explore", "mini/drive")
    logo: str = ""
    threads: int = 0
    memory: Literal["auto", "8", "16", "24", "full"] = "auto"
    times: Times = field(default_factory=Times)
    attract: AttractPlan = field(default_factory=AttractPlan)
    save: SavePlan = field(default_factory=SavePlan)
    touch: TouchPlan = field(default_factory=TouchPlan)
    operator: OperatorKeys = field(default_factory=OperatorKeys)
    supervisor: WatchLimits = field(default_factory=WatchLimits)
    log: LogPlan = field(default_factory=LogPlan)
    titles: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    base: str = ""  # the folder that paths are taken from; the file does not say it

    @property
    def words(self) -> Texts:
        """The texts of the screens, those of the profile in their place."""
        return texts_of(self.language, self.texts, "texts")

    @property
    def tours(self) -> tuple[str, ...]:
        return self.attract.tours or self.worlds

    def path(self, name: str) -> Path | None:
        """Return a path of the profile, from the folder of its file; None for ""."""
        return Path(self.base, Path(name).expanduser()) if name else None


def load_profile(path: Path | None) -> Profile:
    """Read a profile; None gives the defaults. ConfigError names what is wrong and where."""
    if path is None:
        return parse_profile("", "the default profile", Path())
    try:
        text = read_own_text(path)
    except FileNotFoundError:
        raise ConfigError(f"the profile {path} does not exist; write one with: {own_command()} kiosk --print-profile "
                          f"> {path.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile {path} cannot be read ({error}); give a TOML file") from None
    return parse_profile(text, str(path), path.parent)


def parse_profile(text: str, name: str, base: Path) -> Profile:
    """Read profile text; `name` is what errors call it, `base` where its paths begin."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:  # tomllib.TOMLDecodeError, or a number of thousands of digits
        raise ConfigError(f"{name} is not valid TOML: {error}; mend that line") from None
    if "base" in data:
        raise ConfigError(f"{name} has no setting 'base'; paths are taken from the folder of the file")
    profile = from_dict(Profile, {**data, "base": str(base)}, name)
    for table in ("titles", "descriptions"):
        for world in getattr(profile, table).keys() - set(profile.worlds):
            raise ConfigError(f"{name} [{table}] names the world {world!r}, which is not offered"
                              f"{did_you_mean(world, profile.worlds)}")
    for holds, sentence in _contradictions(profile):
        if not holds:
            raise ConfigError(f"{name}: {sentence}")
    texts_of(profile.language, profile.texts, f"{name} [texts]")
    return profile


def clips_in(folder: Path) -> list[Path]:
    """Return the clips of an attract loop's folder by name; macOS leaves a hidden ._NAME.mp4 beside each on a stick."""
    return sorted(path for path in folder.glob("*.mp4") if not path.name.startswith("."))


def _contradictions(profile: Profile) -> Iterator[tuple[bool, str]]:
    """Yield (whether it holds, the sentence if it does not) for everything that no single type can say."""
    times, save, keys = profile.times, profile.save, profile.operator
    letters = list(keys.commands())
    yield len(profile.worlds) >= 1, "worlds is empty; offer at least one world, such as \"mini/explore\""
    yield len(profile.worlds) <= 6, (
        f"worlds offers {len(profile.worlds)}, but a start page holds six; leave some out")
    yield 0 <= profile.threads <= MAX_THREADS, (
        f"threads is {profile.threads}; give 0 for a probe, or a number of threads up to {MAX_THREADS}")
    yield save.what == "off" or save.folder != "", (
        f"save.what is {save.what!r}, but save.folder is empty; give a folder for the files")
    yield save.what != "qr" or "{file}" in save.url, (
        f"save.url is {save.url!r}, but must hold {{file}}, where the name of the file goes")
    yield save.keep_files >= 0, f"save.keep_files is {save.keep_files}; give 0 to keep all, or a number of files"
    yield len(set(keys.modifiers)) >= 2 and set(keys.modifiers) <= {"ctrl", "alt", "shift"}, (
        f"operator.chord is {keys.chord!r}; join at least two of ctrl, alt and shift with +")
    yield len(letters) == 4 and all(len(letter) == 1 and letter in string.ascii_lowercase for letter in letters), (
        f"operator keys are {', '.join(letters)}; they must be four different letters of a to z")
    yield profile.supervisor.hang_s >= MIN_HANG_S, (
        f"supervisor.hang_s is {profile.supervisor.hang_s:g}; a busy machine may stand still for a second, so give at "
        f"least {MIN_HANG_S:g}")
    yield profile.log.keep_days >= 1, f"log.keep_days is {profile.log.keep_days}; keep at least 1"
    yield not times.last_s > times.session_s > 0, (
        f"times.last_s is {times.last_s:g}, longer than a whole session ({times.session_s:g})")
    for part in (times, profile.attract, profile.supervisor, profile.log):
        for name, value in asdict(part).items():
            if isinstance(value, float):
                least, is_enough = ("at least 0", value >= 0) if name in MAY_BE_ZERO else ("above 0", value > 0)
                yield is_enough and value <= MAX_S, f"{name} is {value:g}; it must be {least} and at most {MAX_S:g}"
