"""The few words that a booth's visitors read, in English and German; a profile may replace any of them."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Literal

from ..errors import ConfigError, did_you_mean

Language = Literal["en", "de"]


@dataclass(frozen=True)
class Texts:
    """What is written on the screens; names in braces are filled in there."""

    title: str = "Astra Play"
    invitation: str = "Touch to play"
    subtitle: str = "This world is painted by a network while you watch"
    choose: str = "Where would you like to go?"
    choose_hint: str = "Touch a picture, or use the arrow keys and Enter"
    loading: str = "Getting ready"
    time_left: str = "{minutes}:{seconds:02d}"
    still_there: str = "Are you still there?"
    idle_warning: str = "Touch anything to go on - back to the start in {seconds}"
    last_seconds: str = "{seconds} seconds left"
    done: str = "Done"
    thanks: str = "Thank you for playing"
    time_up: str = "Your time is up. Somebody else may want a turn now."
    keep_qr: str = "Scan to take your last 30 seconds home"
    keep_file: str = "Your last 30 seconds are saved as {file}"
    keep_waiting: str = "Saving your last 30 seconds"
    keep_failed: str = "Your last seconds could not be saved this time"
    again: str = "Touch to play again"
    world_failed: str = "This world needs a moment. Please choose another one."
    walk_hint: str = "Left stick: walk   Right stick: look around"
    drive_hint: str = "Stick: steer   Pedals: drive and brake"
    arm_hint: str = "Stick: move the hand   Buttons: lift, lower, grip"
    keys_walk_hint: str = "W A S D: walk   Arrow keys: look around"
    keys_drive_hint: str = "W: drive   S: brake   A D: steer"
    keys_arm_hint: str = "W A S D: move the hand   E Q: lift, lower   Pad A: grip"


GERMAN = Texts(
    title="Astra Play",
    invitation="Zum Spielen berühren",
    subtitle="Diese Welt malt ein Netz, während du zusiehst",
    choose="Wohin möchtest du?",
    choose_hint="Berühre ein Bild, oder nimm die Pfeiltasten und Enter",
    loading="Gleich geht es los",
    time_left="{minutes}:{seconds:02d}",
    still_there="Bist du noch da?",
    idle_warning="Zum Weiterspielen etwas berühren - zurück zum Anfang in {seconds}",
    last_seconds="Noch {seconds} Sekunden",
    done="Fertig",
    thanks="Danke fürs Spielen",
    time_up="Deine Zeit ist um. Jetzt darf jemand anders.",
    keep_qr="Scannen und die letzten 30 Sekunden mitnehmen",
    keep_file="Deine letzten 30 Sekunden heißen {file}",
    keep_waiting="Deine letzten 30 Sekunden werden gespeichert",
    keep_failed="Deine letzten Sekunden konnten diesmal nicht gespeichert werden",
    again="Berühren, um noch einmal zu spielen",
    world_failed="Diese Welt braucht einen Moment. Bitte nimm eine andere.",
    walk_hint="Linker Stick: gehen   Rechter Stick: umsehen",
    drive_hint="Stick: lenken   Pedale: fahren und bremsen",
    arm_hint="Stick: Hand bewegen   Tasten: heben, senken, greifen",
    keys_walk_hint="W A S D: gehen   Pfeiltasten: umsehen",
    keys_drive_hint="W: fahren   S: bremsen   A D: lenken",
    keys_arm_hint="W A S D: Hand bewegen   E Q: heben, senken   Pad A: greifen",
)

EXAMPLES = {"minutes": 3, "seconds": 7, "file": "visit.mp4"}  # of what is filled in, each of the kind it has in play

SHIPPED: dict[Language, Texts] = {"en": Texts(), "de": GERMAN}


def texts_of(language: Language, own: dict[str, str], where: str) -> Texts:
    """Return the texts of a language with those of a profile in their place.

    ConfigError for a name that is none, for a brace that a screen would have nothing to put in, and for a way of
    writing a value that it cannot be written in.
    """
    shipped = SHIPPED[language]
    known = vars(shipped)
    for name, text in own.items():
        if name not in known:
            raise ConfigError(f"{where} has no text {name!r}{did_you_mean(name, known)}")
        unknown = _fields(text, f"{where}.{name}") - _fields(known[name], name)
        if unknown:
            allowed = ", ".join(f"{{{field}}}" for field in sorted(_fields(known[name], name))) or "none"
            raise ConfigError(f"{where}.{name} fills in {{{sorted(unknown)[0]}}}, which this text has no value for; "
                              f"it may use: {allowed}")
        try:
            text.format(**EXAMPLES)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{where}.{name} is {text!r}, which cannot be filled in ({error}); write the names in "
                              "braces as the shipped text does") from None
    return Texts(**{**known, **own})


def _fields(text: str, where: str) -> set[str]:
    try:
        return {field for _, field, _, _ in Formatter().parse(text) if field is not None}
    except ValueError as error:
        raise ConfigError(f"{where} cannot be read ({error}); write {{{{ for a brace that is meant as one") from None
