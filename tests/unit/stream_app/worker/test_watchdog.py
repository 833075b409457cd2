"""A worker that stands still is ended; one that has nothing to do, makes progress, or was suspended is not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import DataPathError
from stream_app.worker.faust_transport import PartitionPosition
from stream_app.worker.watchdog import PendingWork, Watchdog, pending_work

TIMEOUT = 100.0
STEP = 5.0  # between two looks


class Bench:
    """A watchdog with a pretended clock and pretended work."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pending: dict[str, PendingWork] = {}
        self.failed: list[BaseException] = []
        self.watchdog = Watchdog(
            timeout=TIMEOUT, clock=lambda: self.now, pending=lambda: self.pending, fail=self.failed.append
        )

    def look(self, after: float = STEP) -> None:
        self.now += after
        self.watchdog.look()


@given(st.lists(st.tuples(st.sampled_from(["idle", "moves", "stands"]), st.integers(1, 24)), max_size=8))
def test_a_worker_is_ended_after_the_timeout_without_progress_and_not_before(phases: list[tuple[str, int]]) -> None:
    bench, still, progress = Bench(), 0.0, 0
    for phase, looks in phases:
        for _ in range(looks):
            had_work = bool(bench.pending)
            progress += phase == "moves"
            bench.pending = {} if phase == "idle" else {"p": PendingWork("7 events left", progress)}
            bench.look()
            still = still + STEP if phase == "stands" and had_work else 0.0
            assert bool(bench.failed) == (still >= TIMEOUT)
            if bench.failed:
                return


def test_one_stalled_partition_is_enough_and_the_message_names_it() -> None:
    bench = Bench()
    for n in range(22):
        bench.pending = {
            "partition 1": PendingWork("900 events left", n),
            "partition 2": PendingWork("12 events left", 40),
        }
        bench.look()
    error = bench.failed[0]
    assert isinstance(error, DataPathError)
    assert "no progress for 100 s" in str(error)
    assert "partition 2 (12 events left)" in str(error)
    assert "NEXTACT_STALL_TIMEOUT" in str(error)


def test_a_process_that_was_suspended_has_not_stood_still() -> None:
    bench = Bench()
    bench.pending = {"partition 1": PendingWork("3 events left", 40)}
    bench.look()
    bench.look(after=10 * TIMEOUT)
    assert bench.failed == []


def run_beside(timeout: float, *, block: float = 0.0, run: float = 0.0) -> list[str]:
    """A watchdog in a loop that is blocked for some seconds, or runs; the threads that called `fail`."""
    callers: list[str] = []

    async def body() -> None:
        watchdog = Watchdog(
            timeout=timeout,
            clock=time.monotonic,
            pending=dict,
            fail=lambda _: callers.append(threading.current_thread().name),
        )
        watching = asyncio.create_task(watchdog.run())
        await asyncio.sleep(timeout / 10)
        time.sleep(block)  # noqa: ASYNC251 - what is tested
        await asyncio.sleep(run)
        watching.cancel()

    asyncio.run(body())
    return callers


def test_a_blocked_event_loop_is_seen_by_a_thread() -> None:
    assert run_beside(0.4, block=1.0) == ["watchdog"]


def test_a_loop_that_runs_is_left_alone() -> None:
    assert run_beside(2.0, run=2.6) == []


def app(*, rebalancing: bool = False, ready: bool = True, partition_positions: Any = None, offsets: Any = None) -> Any:
    recovery = SimpleNamespace(active_offsets=Counter(offsets or {}), active_remaining_total=lambda: 30)
    return SimpleNamespace(
        rebalancing=rebalancing,
        rebalancing_count=1,
        consumer_generation_id=4,
        tables=SimpleNamespace(actives_ready=ready, recovery=recovery),
        consumer=SimpleNamespace(partition_positions=lambda: partition_positions or {}),
    )


def test_partitions_with_lag_are_pending_work() -> None:
    events = [TP("shop.events", number) for number in range(2)]
    pending = pending_work(
        app(partition_positions={events[0]: PartitionPosition(5, 5), events[1]: PartitionPosition(5, 12)})
    )
    assert pending == {"partition 1 of shop.events": PendingWork("7 events left", 5)}
    assert pending_work(app()) == {}


def test_recovery_makes_progress_as_long_as_records_come() -> None:
    changelog = TP("shop.users-changelog", 0)
    (before,) = pending_work(app(ready=False, offsets={changelog: 5})).values()
    (same,) = pending_work(app(rebalancing=True, offsets={changelog: 5})).values()
    (after,) = pending_work(app(ready=False, offsets={changelog: 6})).values()
    assert before == same
    assert before.progress != after.progress
    assert "30 records" in before.left
