"""Ends a worker that has work and makes no progress: Faust only logs that, and a supervisor sees a process that lives.

Two things can stand still: the worker's partitions, which the event loop watches, and the event loop itself, which a
thread watches.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, NamedTuple

from stream_app.errors import DataPathError

_LOOKS: Final = 20  # per timeout, of the event loop
_CHECKS: Final = 4  # per timeout, of the thread


class PendingWork(NamedTuple):
    """Work that is left."""

    left: str  # how much, for the log
    progress: Hashable  # a value that changes when something is done


class Watchdog:
    """Ends a worker whose pending work makes no progress."""

    def __init__(
        self,
        *,
        timeout: float,
        clock: Callable[[], float],
        pending: Callable[[], Mapping[str, PendingWork]],
        fail: Callable[[BaseException], Any],
    ) -> None:
        """`timeout` and `clock` (monotonic) in seconds; `pending` names what has work left; `fail` ends the process."""
        self._timeout = timeout
        self._clock = clock
        self._pending = pending
        self._fail = fail
        self._looked = clock()
        self._still: dict[str, tuple[Hashable, float]] = {}  # by name: progress, and the seconds since it changed
        self._beats = 0  # of the event loop
        self._ended = threading.Event()

    async def run(self) -> None:
        """Watches until it is cancelled."""
        threading.Thread(target=self._watch_the_loop, name="watchdog", daemon=True).start()
        try:
            while True:
                self._beats += 1
                self.look()
                await asyncio.sleep(self._timeout / _LOOKS)
        finally:
            self._ended.set()

    def look(self) -> None:
        """Calls `fail` when something has had work left and not moved for the timeout."""
        now = self._clock()
        # A process that was suspended for a while did not stand still by its own fault.
        passed = min(now - self._looked, 2 * self._timeout / _LOOKS)
        self._looked = now
        before, self._still = self._still, {}
        for name, (left, progress) in self._pending().items():
            known, seconds = before.get(name, (None, 0.0))
            seconds = seconds + passed if known == progress else 0.0
            self._still[name] = progress, seconds
            if seconds >= self._timeout:
                self._fail(self._stalled(f"{name} ({left})", seconds))

    def _watch_the_loop(self) -> None:
        seen, missed = 0, 0
        while not self._ended.wait(self._timeout / _CHECKS):
            missed = 0 if self._beats != seen else missed + 1
            seen = self._beats
            if missed >= _CHECKS:
                self._fail(self._stalled("the event loop", self._timeout))
                return

    def _stalled(self, what: str, seconds: float) -> DataPathError:
        return DataPathError(
            f"no progress for {seconds:.0f} s (NEXTACT_STALL_TIMEOUT is {self._timeout:g}): {what}. Nothing is lost, "
            "the next start goes on at the committed offsets. If it happens again, the stacks above say where it "
            "hangs: look at the broker and the device, or raise the timeout if the work is only slow"
        )


def pending_work(app: Any) -> dict[str, PendingWork]:
    """Names what a worker has to do: recover its state first, then answer the events of each of its partitions.

    Leans on: `app.rebalancing` and `tables.actives_ready`, between which Faust recovers; `recovery.active_offsets`.
    """
    if app.rebalancing or not app.tables.actives_ready:
        recovery = app.tables.recovery
        progress = (app.rebalancing_count, app.consumer_generation_id, tuple(sorted(recovery.active_offsets.items())))
        left = f"{recovery.active_remaining_total()} records of the changelog left"
        return {"joining the group and recovering the state": PendingWork(left, progress)}
    return {
        f"partition {tp.partition} of {tp.topic}": PendingWork(f"{position.lag} events left", position.done)
        for tp, position in app.consumer.partition_positions().items()
        if position.lag
    }
