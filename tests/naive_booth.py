"""The slow, obvious twin of the booth's policy: small steps of time, one plain rule after another."""

from __future__ import annotations

from fractions import Fraction

from astra_play.booth.profile import Times

STEP = Fraction(1, 4)  # of a second; the walks put every event and every limit on it


def walk(times: Times, events: dict[Fraction, str], end: Fraction) -> tuple[list[str], list[tuple[str, Fraction]]]:
    """Return the phase after each step from 0 to `end`, and (reason, played seconds) of every visit.

    `events` maps a time to what happens then: touch, choose, began, over, failed, done or skip.
    """
    phase, age, untouched, begun = "attract", Fraction(0), Fraction(0), None  # begun: time since the first picture
    failing: Fraction | None = None  # time since a turn of the attract loop failed
    phases, visits = [], []
    time = Fraction(0)
    while time <= end:
        entered = None
        if phase == "attract":
            over = begun is not None and begun >= times.tour_s or begun is None and age >= times.load_s
            if over or (failing is not None and failing >= 2):
                entered = "attract"
        elif phase == "choose" and untouched >= times.choose_s or phase == "thanks" and age >= times.thanks_s:
            entered = "attract"
        elif phase == "play":
            if begun is None and age >= times.load_s:
                visits.append(("failed", Fraction(0)))
                entered = "choose"
            elif begun is not None and times.session_s and begun >= times.session_s:
                visits.append(("time up", begun))
                entered = "thanks"
            elif begun is not None and untouched >= times.idle_s + times.warning_s:
                visits.append(("idle", begun))
                entered = "attract"
        if entered:
            phase, age, untouched, begun, failing = entered, Fraction(0), Fraction(0), None, None
        event, entered = events.get(time), None
        if event == "touch":
            if phase == "attract" or (phase == "thanks" and age >= Fraction(3, 2)):
                entered = "choose"
            untouched = Fraction(0)
        elif event == "choose" and phase == "choose":
            entered = "play"
        elif event == "began" and begun is None:
            begun, untouched = Fraction(0), Fraction(0)
        elif event == "over" and phase == "attract":
            entered = "attract"
        elif event == "failed" and phase == "attract":
            failing = Fraction(0) if failing is None else failing
        elif event == "failed" and phase == "play":
            visits.append(("failed", begun or Fraction(0)))
            entered = "choose"
        elif event == "done" and phase == "play":
            visits.append(("done", begun or Fraction(0)))
            entered = "thanks"
        elif event == "skip":
            if phase == "play":
                visits.append(("skipped", begun or Fraction(0)))
            entered = "attract"
        if entered:
            phase, age, untouched, begun, failing = entered, Fraction(0), Fraction(0), None, None
        phases.append(phase)
        time += STEP
        age += STEP
        untouched += STEP
        begun = None if begun is None else begun + STEP
        failing = None if failing is None else failing + STEP
    return phases, visits
