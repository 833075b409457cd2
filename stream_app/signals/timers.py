"""The timers of the partitions whose events this worker answers, and the clock that sets them off.

What is due is in the users' records. After each rebalance, once users are recovered, the records on this machine's disk
say who is to be looked at and when; from then on batches do, as soon as they are durable. Whoever is due goes to the
agent as a batch without events, so that what is told and the record that says so are written together, in order with
the user's events.

Silence is measured by this machine's clock while a partition has nothing that is not answered. Where the worker is
behind, as after a pause, events may still come that were published long before: then the newest record that was
answered says what time it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import faust

from stream_app.contract.signals.signal import MeasuredBy
from stream_app.signals.due import DueResponse, DueUsers
from stream_app.signals.wheel import TimerWheel
from stream_app.signals.writer import NewTimer

_TICK_S: Final = 1.0  # between two looks at the clock, when nobody was due at the one before
_AT_ONCE: Final = 200  # users of a batch, some ms of the thread that steps events, too
_READ_AT_ONCE: Final = 500  # records of the local store that are looked through before anything else may go on
_RECOVERY_POLL_S: Final = 0.1  # between two looks whether users are recovered

DueIn = Callable[[bytes, int], int]  # when to look at the user of a record (ms), as of a time; 0: never
Users = Callable[[int, bytes | None, int], Sequence[tuple[bytes, bytes]]]  # see `LocalStore.behind`

logger: Final = logging.getLogger(__name__)


class Timers:
    """Looks at users when their time has come."""

    def __init__(
        self,
        *,
        users: Users,
        due_in: DueIn,
        take: Callable[[DueResponse], None],
        fail: Callable[..., Any],
        clock: Callable[[], float],
    ) -> None:
        """`take` hands a response to the agent; `fail` ends the process; `clock` in seconds since the epoch."""
        self._users, self._due_in = users, due_in
        self._take = take
        self._fail = fail
        self._clock = clock
        self._wheels: dict[int, TimerWheel] = {}  # by partition; another object after each rebalance
        self._stream_times: dict[int, int] = {}  # by partition, ms: the newest record that was answered
        self._resumed = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._wheels.values()))

    def pause(self) -> None:
        """Looks at nobody more until `resume`."""
        self._wheels, self._stream_times = {}, {}
        self._resumed.clear()

    def resume(self, partitions: Collection[int]) -> None:
        """Looks at the users of these partitions from now on, once they are recovered."""
        self._wheels = {partition: TimerWheel() for partition in partitions}
        self._stream_times = {}
        self._resumed.set()

    def find_again(self) -> None:
        """Finds everybody again: what decides on when to look at users has changed."""
        if self._resumed.is_set():
            self._wheels = {partition: TimerWheel() for partition in self._wheels}

    def note(self, partition: int, timers: Sequence[NewTimer], newest: int) -> None:
        """Takes in what is durable now of a partition: new timers, and the time of the newest record (ms; 0: none)."""
        if (wheel := self._wheels.get(partition)) is not None:
            for timer in timers:
                wheel.add(timer.due, timer.user)
            self._stream_times[partition] = max(newest, self._stream_times.get(partition, 0))

    async def run(self, app: faust.App) -> None:
        """Looks at users until it is cancelled; ends the process when it fails."""
        try:
            while True:
                await self._resumed.wait()
                wheels = self._wheels
                if self._may_look(app, wheels):
                    await self._find(app, wheels)
                    await self._look(app, wheels)
                else:
                    await asyncio.sleep(_RECOVERY_POLL_S)
        except Exception as error:
            self._fail(error)
            raise

    async def _find(self, app: faust.App, wheels: dict[int, TimerWheel]) -> None:
        """Finds who is to be looked at in the records of the local store, a few at a time."""
        loop = asyncio.get_running_loop()
        for partition, wheel in wheels.items():
            last: bytes | None = None
            while self._may_look(app, wheels):
                start = loop.time()
                found, now = self._users(partition, last, _READ_AT_ONCE), round(self._clock() * 1000)
                for user, record in found:
                    if due := self._due_in(record, now):
                        wheel.add(due, user)
                if len(found) < _READ_AT_ONCE:
                    break
                last = found[-1][0]
                await asyncio.sleep(loop.time() - start)  # half of the time is for others
        logger.info("%d users are to be looked at when nothing comes of them", len(self))

    async def _look(self, app: faust.App, wheels: dict[int, TimerWheel]) -> None:
        """Looks at whoever is due, a few at a time, until the partitions are another worker's, or may be."""
        while self._may_look(app, wheels):
            due = self._due(app, wheels)
            if not due:
                await asyncio.sleep(_TICK_S)
                continue
            response = DueResponse(due, app.consumer_generation_id)
            self._take(response)
            if not await response.ended:
                return

    def _due(self, app: faust.App, wheels: dict[int, TimerWheel]) -> list[DueUsers]:
        positions = app.consumer.partition_positions().items()
        answered = {tp.partition for tp, position in positions if not position.lag}
        due, most = list[DueUsers](), _AT_ONCE
        for partition, wheel in wheels.items():
            now, measured_by = self._now(partition, all_answered=partition in answered)
            if users := wheel.take(now, most):
                due.append(DueUsers(partition, [user.decode() for user in users], now, measured_by))
                most -= len(users)
        return due

    def _now(self, partition: int, *, all_answered: bool) -> tuple[int, MeasuredBy]:
        """Returns what time it is for the users of a partition (ms since the epoch), and what says so."""
        now = round(self._clock() * 1000)
        if all_answered:
            return now, "clock"
        return min(self._stream_times.get(partition, 0), now), "stream"

    def _may_look(self, app: faust.App, wheels: dict[int, TimerWheel]) -> bool:
        """Tells whether the partitions are still this worker's, and their users known to it."""
        return self._wheels is wheels and app.tables.actives_ready and not app.should_stop
