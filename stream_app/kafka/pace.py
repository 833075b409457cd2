"""When events are sent: at a rate, at the pace at which they were recorded, or as fast as possible; and when a worker
fetches them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from stream_app.errors import SettingsInvalid

_SHORTEST: Final = 1.5  # pause between two fetches, in times that the last batch took
_LONGEST: Final = 11.0  # the same of a calm stream, which is not to take a core
_WORTH: Final = 5  # events that are worth a batch
_NEWEST: Final = 0.2  # the newest batch's share of the mean rate


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast events are sent: at a `rate`, at a multiple of their recorded `speed`, or without either at full speed.

    `rate`: events per second. `speed`: how many times as fast as the events' timestamps say.
    Raises `SettingsInvalid` for both at once and for values that are not above 0.
    """

    rate: float | None = None
    speed: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.speed is not None:
            raise SettingsInvalid(f"give either a rate ({self.rate:g}) or a speed ({self.speed:g}), not both")
        for name, value in (("rate", self.rate), ("speed", self.speed)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingsInvalid(f"the {name} must be a number above 0, not {value}")


@dataclass(slots=True)
class Schedule:
    """Gives due times in seconds after the start, which never fall and do not depend on when events were sent."""

    pace: Pace
    _count: int = 0
    _first_ms: int | None = None
    _due: float = 0.0

    def due(self, time_ms: int | None) -> float:
        """Returns when the next event is due: at a speed, at once if it has no time or an earlier one."""
        if self.pace.rate is not None:
            self._due = self._count / self.pace.rate
        elif self.pace.speed is not None and time_ms is not None:
            self._first_ms = time_ms if self._first_ms is None else self._first_ms
            self._due = max(self._due, (time_ms - self._first_ms) / 1000 / self.pace.speed)
        self._count += 1
        return self._due


@dataclass(frozen=True, slots=True)
class Timing:
    """Clocks in seconds and a way to wait, which tests replace."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pauses:
    """How long the next fetch waits: until some events are there that are worth a batch, or longer while it is busy.

    A batch costs nearly as much with one event as with five. So the fewer events come, the longer a fetch waits for
    them, up to some times what the last batch took: that is a share of a core.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` in seconds."""
        self._clock = clock
        self._last = clock()
        self._interval = 0.0  # seconds between two events, in the mean
        self.seconds = 0.0

    def note(self, records: int, took: float) -> None:
        """Notes a batch that is computed, in so many seconds."""
        now = self._clock()
        self._interval += _NEWEST * ((now - self._last) / max(records, 1) - self._interval)
        self._last = now
        self.seconds = min(max(_WORTH * self._interval, _SHORTEST * took), _LONGEST * took)
