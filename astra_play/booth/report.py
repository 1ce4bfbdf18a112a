"""`kiosk --report`: one day's entries -> the figures a booth's owner asks for in the evening."""

from __future__ import annotations

import datetime
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Entry = dict[str, Any]

NONSENSE = 1e9  # more of anything comes of no visit: Infinity, NaN, or digits that somebody wrote
REASONS_SHOWN = 8  # restarts in full; more of them are one problem, not many


def summarise(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the day's figures as plain values; None where nothing was measured."""
    visits = _of_kind(entries, "visit")
    played = [visit for visit in visits if _number(visit, "played_s")]
    figures = [*_of_kind(entries, "figures"), *played]
    restarts = _of_kind(entries, "restart")
    return {
        "visits": len(visits),
        "played_s": round(sum(_number(visit, "played_s") or 0.0 for visit in visits), 1),
        "median_visit_s": _median(_number(visit, "played_s") for visit in played),
        "longest_visit_s": max((_number(visit, "played_s") or 0.0 for visit in visits), default=None),
        "worlds": dict(Counter(str(visit.get("world")) for visit in visits).most_common()),
        "ends": dict(Counter(str(visit.get("reason")) for visit in visits).most_common()),
        "fps_median": _median(_number(entry, "fps") for entry in figures),
        "fps_least": min((value for entry in figures if (value := _number(entry, "fps"))), default=None),
        "latency_p50_ms": _median(_number(visit, "latency_p50_ms") for visit in played),
        "latency_p95_ms": _median(_number(visit, "latency_p95_ms") for visit in played),
        "latency_p99_worst_ms": max((value for visit in played if (value := _number(visit, "latency_p99_ms"))),
                                    default=None),
        "underruns": sum(int(_number(visit, "underruns") or 0) for visit in visits),
        "saves": sum(entry.get("file") is not None for entry in _of_kind(entries, "save")),
        "failed_saves": sum(entry.get("file") is None for entry in _of_kind(entries, "save")),
        "starts": len(_of_kind(entries, "start")),
        "restarts": [{"t": entry.get("t"), "reason": entry.get("reason"), "down_s": entry.get("down_s")}
                     for entry in restarts],
    }


def report_lines(day: datetime.date, entries: Sequence[Entry]) -> list[str]:
    """Return the day in short lines for a terminal."""
    day_figures = summarise(entries)
    lines = [f"Booth on {day.isoformat()}",
             f"  visits       {day_figures['visits']}, {day_figures['played_s'] / 60.0:.0f} min played, median "
             f"{_shown(day_figures['median_visit_s'], '.0f')} s, longest "
             f"{_shown(day_figures['longest_visit_s'], '.0f')} s",
             f"  worlds       {_counted(day_figures['worlds'])}",
             f"  ended by     {_counted(day_figures['ends'])}",
             f"  fps          median {_shown(day_figures['fps_median'], '.1f')}, least "
             f"{_shown(day_figures['fps_least'], '.1f')}",
             f"  latency      p50 {_shown(day_figures['latency_p50_ms'], '.0f')} ms, p95 "
             f"{_shown(day_figures['latency_p95_ms'], '.0f')} ms, worst p99 "
             f"{_shown(day_figures['latency_p99_worst_ms'], '.0f')} ms",
             f"  underruns    {day_figures['underruns']}",
             f"  saves        {day_figures['saves']}, {day_figures['failed_saves']} failed",
             f"  restarts     {len(day_figures['restarts'])} in {day_figures['starts']} starts of the booth"]
    for restart in day_figures["restarts"][:REASONS_SHOWN]:
        lines.append(f"    {str(restart['t'])[11:19]}  {restart['reason']}")
    if len(day_figures["restarts"]) > REASONS_SHOWN:
        lines.append(f"    and {len(day_figures['restarts']) - REASONS_SHOWN} more")
    return lines


def _of_kind(entries: Iterable[Entry], kind: str) -> list[Entry]:
    return [entry for entry in entries if entry["kind"] == kind]


def _number(entry: Entry, name: str) -> float | None:
    value = entry.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < NONSENSE
    return float(value) if is_number else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 2) if known else None


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "-"
