"""Draws hit rates over time: from numbers to the coordinates and words of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from typing import Final

from stream_app.page.figures import clock_time, percent
from stream_app.page.tallies import HitPoint, Moment, MomentKind

WIDTH, HEIGHT = 1000.0, 300.0  # of the picture, in units of its own, edges included
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.0, 1000.0, 34.0, 268.0  # of the area with the lines
_DRAWN: Final = 240  # most points of a line
_LEAST_SPAN: Final = 180.0  # seconds of the time axis
_STEPS: Final = (30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds between two times on the axis
_TICKS: Final = 5  # most times on the axis
_SIGNS: Final[dict[MomentKind, str]] = {"promoted": "↑", "rolled back": "↺"}
_WORDS: Final = 110.0  # units that a mark's words take
_NEAR: Final = 20.0  # units below which a mark would cover the one before


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and its words. In per cent of the picture's width or height."""

    place: float
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the time axis."""

    x: float  # units
    place: float  # per cent of the width
    kind: MomentKind
    sign: str  # "" where the mark before is so near that it would be covered
    words: str  # "" where they have no room


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of hit rates: paths in units of the picture, words beside it."""

    model: str
    rules: str
    levels: list[Tick]
    level_lines: list[float]  # y, units
    times: list[Tick]
    marks: list[Mark]
    summary: str  # the picture in words
    empty: bool


def draw_chart(points: Sequence[HitPoint], moments: Sequence[Moment], zone: tzinfo | None) -> Chart:
    """Returns the picture of the points, with the moments that lie among them."""
    points = list(_thinned(points))
    shown = [share for point in points for share in (point.model, point.rules) if share is not None]
    low, high = _range(shown)
    start = points[0].at if points else 0.0
    last = max([points[-1].at, *(moment.at for moment in moments)]) if points else start
    end = max(last, start + _LEAST_SPAN)

    def x(at: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (at - start) / (end - start)

    def y(share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (share - low) / (high - low)

    step = 0.1 if high - low < 0.5 else 0.2
    levels = [low + step * number for number in range(round((high - low) / step) + 1)]
    return Chart(
        model=_path([(x(point.at), None if point.model is None else y(point.model)) for point in points]),
        rules=_path([(x(point.at), None if point.rules is None else y(point.rules)) for point in points]),
        levels=[Tick(100 * y(level) / HEIGHT, f"{100 * level:.0f} %") for level in levels],
        level_lines=[y(level) for level in levels],
        times=list(_times(start, end, x, zone)) if points else [],
        marks=list(_marks([moment for moment in moments if start <= moment.at <= end], x, zone)) if points else [],
        summary=_summary(points, moments, zone),
        empty=not shown,
    )


def _thinned(points: Sequence[HitPoint]) -> Iterator[HitPoint]:
    """Yields every so many-th point, the newest for certain."""
    step = max(1, math.ceil(len(points) / _DRAWN))
    return (point for number, point in enumerate(points) if (len(points) - 1 - number) % step == 0)


def _range(shares: Sequence[float]) -> tuple[float, float]:
    """Returns the share at the bottom and that at the top: multiples of 20 per cent, which change seldom."""
    if not shares:
        return 0.0, 1.0
    low = math.floor(5 * min(shares) - 0.1) / 5
    high = math.ceil(5 * max(shares) + 0.1) / 5
    return max(0.0, low), min(1.0, max(high, low + 0.4))


def _path(places: Sequence[tuple[float, float | None]]) -> str:
    """Returns lines through the places, with a gap where one has no height."""
    parts: list[str] = []
    for known, run in groupby(places, key=lambda place: place[1] is not None):
        if known:
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run))
    return "".join(parts)


def _times(start: float, end: float, x: Callable[[float], float], zone: tzinfo | None) -> Iterator[Tick]:
    step = next((step for step in _STEPS if (end - start) / step <= _TICKS), _STEPS[-1])
    at = math.ceil(start / step) * step
    while at <= end:
        if 4 < (place := 100 * x(at) / WIDTH) < 96:  # words at the edge would be cut
            yield Tick(place, clock_time(at, zone)[: 8 if step < 60 else 5])
        at += step


def _marks(moments: Sequence[Moment], x: Callable[[float], float], zone: tzinfo | None) -> Iterator[Mark]:
    after = math.inf
    marks = []
    for moment in reversed(moments):
        place = x(moment.at)
        words = moment.kind if min(after, WIDTH) - place >= _WORDS else ""
        sign = _SIGNS[moment.kind] if after - place >= _NEAR else ""
        marks.append(Mark(place, 100 * place / WIDTH, moment.kind, sign, words))
        after = place if sign else after
    return reversed(marks)


def _summary(points: Sequence[HitPoint], moments: Sequence[Moment], zone: tzinfo | None) -> str:
    if not points:
        return "No next item has been scored yet."
    last = points[-1]
    changes = "".join(f" Version {m.version} {m.kind} at {clock_time(m.at, zone)}." for m in moments)
    return (
        f"From {clock_time(points[0].at, zone)} to {clock_time(last.at, zone)}. In the last minute the model found "
        f"{percent(last.model)} of the next items, the rules {percent(last.rules)}.{changes}"
    )
