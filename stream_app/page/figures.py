"""Writes numbers for people: with units, and with as many digits as mean something."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from typing import Final

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400  # seconds
_UNITS: Final = (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1))
_MS_UP_TO: Final = 10.0  # seconds from which on milliseconds say nothing more
NOTHING: Final = "—"


def count(value: float | None) -> str:
    """Returns a whole number with separators."""
    return NOTHING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Returns how many per second: a decimal below ten."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def milliseconds(seconds: float | None) -> tuple[str, str]:
    """Returns a duration as number and unit: milliseconds up to ten seconds, seconds beyond; an endless one is long."""
    if seconds is None:
        return NOTHING, "ms"
    if math.isinf(seconds):
        return "> 300", "s"
    if seconds >= _MS_UP_TO:
        return f"{seconds:,.1f}", "s"
    ms = 1000 * seconds
    return (f"{ms:.1f}" if ms < 9.95 else f"{ms:,.0f}"), "ms"


def percent(share: float | None) -> str:
    """Returns a share in per cent, with a decimal, and its unit."""
    return f"{NOTHING} %" if share is None else f"{100 * share:.1f} %"


def age(milliseconds_old: int) -> str:
    """Returns how old something is: in milliseconds up to ten seconds."""
    if milliseconds_old < 1000 * _MS_UP_TO:
        return f"{milliseconds_old:,} ms"
    return span(milliseconds_old / 1000)


def span(seconds: float) -> str:
    """Returns a length of time in its two largest units at most."""
    whole = round(seconds)
    for unit, length, smaller, part in _UNITS:
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit} {rest} {smaller}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def clock_time(wall: float, zone: tzinfo | None = UTC) -> str:
    """Returns the time of day of seconds since the epoch; `zone` None: the machine's own."""
    return datetime.fromtimestamp(wall, UTC).astimezone(zone).strftime("%H:%M:%S")
