"""Who is looked at when: after a recovery, by the clock, behind the stream, and through a rebalance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_app.signals import timers as module
from stream_app.signals.due import DueResponse, DueUsers
from stream_app.signals.timers import Timers
from stream_app.signals.writer import NewTimer

NOW = 1_700_000_000  # seconds


def record(due: int) -> bytes:
    """A record that says when to look at its user."""
    return str(due).encode()


class World:
    """What timers touch: the local store, the app, and the agent."""

    def __init__(self) -> None:
        self.stored: dict[int, list[tuple[bytes, bytes]]] = {}  # by partition
        self.lags: dict[int, int] = {}  # by partition; none: its end is not known
        self.now = float(NOW)
        self.asked: list[int] = []  # times as of which records were read
        self.taken: asyncio.Queue[DueResponse] = asyncio.Queue()
        self.failed: list[BaseException] = []
        self.tables = SimpleNamespace(actives_ready=True)
        self.should_stop = False
        self.consumer_generation_id = 5
        self.consumer = self

    def partition_positions(self) -> dict[Any, Any]:
        return {TP("shop.events", partition): SimpleNamespace(lag=lag) for partition, lag in self.lags.items()}

    def behind(self, partition: int, user: bytes | None, most: int) -> list[tuple[bytes, bytes]]:
        users = sorted(self.stored.get(partition, []))
        return [one for one in users if user is None or one[0] > user][:most]

    def due_in(self, record: bytes, now: int) -> int:
        self.asked.append(now)
        return int(record)

    async def next(self) -> list[DueUsers]:
        """The users of the next response, which is durable at once."""
        response = await asyncio.wait_for(self.taken.get(), 5)
        response.ack()
        return list(response.value)


def run(monkeypatch: pytest.MonkeyPatch, body: Callable[[World, Timers], Awaitable[None]]) -> World:
    async def whole() -> World:
        world = World()
        timers = Timers(
            users=world.behind,
            due_in=world.due_in,
            take=world.taken.put_nowait,
            fail=world.failed.append,
            clock=lambda: world.now,
        )
        app: Any = world
        task = asyncio.create_task(timers.run(app))
        await body(world, timers)
        task.cancel()
        return world

    for name in ("_TICK_S", "_RECOVERY_POLL_S"):
        monkeypatch.setattr(module, name, 0.0)
    return asyncio.run(whole())


def due(user: str, seconds: float, partition: int = 0) -> NewTimer:
    """A timer that is due so long after now."""
    return NewTimer(partition, round((NOW + seconds) * 1000), user.encode())


def test_who_was_due_before_is_found_in_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        monkeypatch.setattr(module, "_READ_AT_ONCE", 2)
        world.stored[0] = [(f"u{n}".encode(), record((NOW - 9) * 1000 if n % 2 else 0)) for n in range(7)]
        world.stored[1] = [(b"later", record((NOW + 9) * 1000))]
        world.lags = {0: 0, 1: 0}
        timers.resume([0, 1])
        assert await world.next() == [DueUsers(0, ["u1", "u3", "u5"], NOW * 1000, "clock")]
        assert len(timers) == 1
        world.now += 11
        assert await world.next() == [DueUsers(1, ["later"], (NOW + 11) * 1000, "clock")]

    assert run(monkeypatch, body).failed == []


def test_a_partition_that_is_behind_has_the_time_of_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        timers.resume([0, 1, 2])
        await asyncio.sleep(0.01)
        world.lags = {0: 5, 1: 5}
        timers.note(0, [due("a", -100)], (NOW - 50) * 1000)
        timers.note(1, [due("b", -100, 1)], (NOW - 200) * 1000)
        timers.note(2, [due("c", -100, 2)], 0)  # nobody knows yet where its log ends
        timers.note(9, [due("d", -100, 9)], 0)  # another worker's
        assert await world.next() == [DueUsers(0, ["a"], (NOW - 50) * 1000, "stream")]
        world.lags = {0: 5, 1: 0, 2: 0}
        assert {one.partition: one.measured_by for one in await world.next()} == {1: "clock", 2: "clock"}

    assert run(monkeypatch, body).failed == []


def test_many_who_are_due_at_once_are_looked_at_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        monkeypatch.setattr(module, "_AT_ONCE", 3)
        timers.resume([0, 1])
        world.lags = {0: 0, 1: 0}
        for partition in (0, 1):
            timers.note(partition, [due(f"u{n}", -9, partition) for n in range(5)], 0)
        sizes = list[int]()
        while sum(sizes) < 10:
            sizes.append(sum(len(one.value) for one in await world.next()))
        assert sizes == [3, 3, 3, 1]

    assert run(monkeypatch, body).failed == []


def test_nothing_is_looked_at_in_a_rebalance_and_all_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        world.stored[0], world.lags = [(b"u", record((NOW - 9) * 1000))], {0: 0}
        timers.resume([0])
        response = await asyncio.wait_for(world.taken.get(), 5)
        timers.pause()
        response.drop()
        await asyncio.sleep(0.01)
        assert world.taken.empty()
        world.tables.actives_ready = False
        world.consumer_generation_id = 6
        timers.resume([0])
        await asyncio.sleep(0.01)
        assert world.taken.empty()
        world.tables.actives_ready = True
        again = await asyncio.wait_for(world.taken.get(), 5)
        assert (again.generation_id, [one.value for one in again.value]) == (6, [["u"]])

    assert run(monkeypatch, body).failed == []


def test_what_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        world.stored[0] = [(b"u", None)]  # type: ignore[list-item]
        timers.resume([0])
        await asyncio.sleep(0.01)

    assert [type(error) for error in run(monkeypatch, body).failed] == [TypeError]


def test_everybody_is_found_again_when_it_changes_who_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, timers: Timers) -> None:
        world.stored[0], world.lags = [(b"u", record(0))], {0: 0}
        timers.find_again()  # nothing is assigned yet
        timers.resume([0])
        await asyncio.sleep(0.01)
        assert world.taken.empty()
        world.stored[0] = [(b"u", record(NOW * 1000))]
        timers.find_again()
        world.now += 2
        assert [one.value for one in await world.next()] == [["u"]]
        assert set(world.asked) <= {NOW * 1000, (NOW + 2) * 1000}

    assert run(monkeypatch, body).failed == []
