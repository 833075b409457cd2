"""When joins are read, what is committed of them, and when a worker goes without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from stream_app.errors import AuthorizationFailed, BrokerUnreachable, TopicMismatch
from stream_app.pipeline.joins.fetched import JoinsResponse
from stream_app.settings import load_settings
from stream_app.worker import joins_reader as module
from stream_app.worker.joins_reader import JoinsReader, in_pieces, joins_are_possible
from tests.unit.builders.basics import make_record

SETTINGS = load_settings()
MINE = TopicPartition(SETTINGS.joins_topic, 3)


class World:
    """What a reader touches: consumer, app, the thread of Faust's consumer, and the agent."""

    def __init__(self) -> None:
        self.fetched: asyncio.Queue[dict[TopicPartition, list[Any]]] = asyncio.Queue()
        self.assigned: list[list[TopicPartition]] = []
        self.taken: asyncio.Queue[JoinsResponse] = asyncio.Queue()
        self.committed: asyncio.Queue[dict[TopicPartition, int]] = asyncio.Queue()
        self.refuses = False
        self.failed: list[BaseException] = []
        self.asked = asyncio.Event()
        self.assigned_again = asyncio.Event()
        self.ended = asyncio.Event()
        self.tables = SimpleNamespace(actives_ready=True)
        self.should_stop = False
        self.consumer_generation_id = 5
        self.consumer = SimpleNamespace(_thread=self)
        self._consumer = SimpleNamespace(_coordinator=self)

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: Any) -> None: ...

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned.append(partitions)
        if len(self.assigned) > 1:
            self.assigned_again.set()

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        self.asked.set()
        return await self.fetched.get()

    async def call_thread(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        await function(*arguments)

    async def commit_offsets(self, _: None, offsets: dict[TopicPartition, Any]) -> None:
        if self.refuses:
            raise CommitFailedError("the group has already rebalanced")
        self.committed.put_nowait({tp: offset.offset for tp, offset in offsets.items()})

    def fail(self, error: BaseException) -> None:
        self.failed.append(error)
        self.ended.set()

    def fetch(self, *offsets: int) -> None:
        self.fetched.put_nowait({MINE: [make_record(b"", offset=offset, partition=3) for offset in offsets]})

    async def next(self) -> JoinsResponse:
        return await asyncio.wait_for(self.taken.get(), 5)


def run(
    monkeypatch: pytest.MonkeyPatch, body: Callable[[World, JoinsReader], Awaitable[None]], *, commits: bool = True
) -> World:
    async def whole() -> World:
        world = World()
        app: Any = world
        monkeypatch.setattr(module, "new_consumer", lambda *_, **__: world)
        reader = JoinsReader(SETTINGS, take=world.taken.put_nowait, fail=world.fail, commits=commits)
        reading = asyncio.create_task(reader.run(app))
        await body(world, reader)
        reading.cancel()
        await asyncio.wait([reading])
        return world

    return asyncio.run(whole())


def test_a_fetch_is_committed_once_it_is_durable_and_only_then_comes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, reader: JoinsReader) -> None:
        reader.resume([3])
        world.fetch(4, 6)
        world.fetch(7)
        response = await world.next()
        assert ([fetch.partition for fetch in response.value], response.generation_id) == ([3], 5)
        assert world.taken.empty()
        assert world.committed.empty()
        response.ack()
        assert await world.committed.get() == {MINE: 7}
        (await world.next()).ack()
        assert await world.committed.get() == {MINE: 8}

    assert run(monkeypatch, body).assigned == [[MINE]]


def test_pieces_of_a_fetch_are_on_their_way_together_and_committed_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LARGEST", 1)
    monkeypatch.setattr(module, "_UNDER_WAY", 2)

    async def body(world: World, reader: JoinsReader) -> None:
        reader.resume([3])
        world.fetched.put_nowait({MINE: [make_record(b"x", offset=offset, partition=3) for offset in range(4)]})
        first, second = await world.next(), await world.next()
        assert world.taken.empty()
        second.ack()
        await asyncio.sleep(0)
        assert world.committed.empty()
        first.ack()
        assert await world.committed.get() == {MINE: 1}
        third = await world.next()
        assert await world.committed.get() == {MINE: 2}
        third.drop()
        world.fetch(9)  # after what is read again from the committed offset
        assert (await world.next()).value[0].value[0].offset == 3
        assert (await world.next()).value[0].value[0].offset == 9
        assert world.committed.empty()
        assert len(world.assigned) == 2

    run(monkeypatch, body)


def test_what_is_another_workers_by_now_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, reader: JoinsReader) -> None:
        reader.resume([3])
        world.fetch(1)
        (await world.next()).drop()
        world.refuses = True
        world.fetch(2)
        (await world.next()).ack()
        world.fetch(3)
        await world.next()
        assert world.committed.empty()

    assert run(monkeypatch, body).failed == []


def test_deliveries_that_commit_do_so_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, reader: JoinsReader) -> None:
        reader.resume([3])
        world.fetch(1)
        (await world.next()).ack()
        world.fetch(2)
        await world.next()
        assert world.committed.empty()

    run(monkeypatch, body, commits=False)


@pytest.mark.parametrize("away", ["paused", "recovering", "stopping", "resumed"])
def test_nothing_is_handed_out_in_a_rebalance(monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    monkeypatch.setattr(module, "_RECOVERY_POLL_S", 0.001)

    async def body(world: World, reader: JoinsReader) -> None:
        reader.resume([3])
        await world.asked.wait()
        if away == "recovering":
            world.tables.actives_ready = False
        elif away == "stopping":
            world.should_stop = True
        else:
            reader.pause()
        if away == "resumed":
            reader.resume([3])
        world.fetch(1)  # on its way when the rebalance began
        await asyncio.sleep(0.01)
        assert world.taken.empty()
        world.tables.actives_ready, world.should_stop = True, False
        if away == "paused":
            reader.resume([3])
        await world.assigned_again.wait()
        world.fetch(1)  # again, from the committed offset
        await world.next()

    assert run(monkeypatch, body).assigned[-1] == [MINE]


def test_what_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World, reader: JoinsReader) -> None:
        def broken(*_: Any) -> None:
            raise ValueError("no such partition")

        monkeypatch.setattr(world, "assign", broken)
        reader.resume([3])
        await world.ended.wait()

    assert str(run(monkeypatch, body).failed[0]) == "no such partition"


@pytest.mark.parametrize(
    ("changes", "error", "possible", "said"),
    [
        ({}, None, True, ""),
        ({"joins": False}, None, False, ""),
        ({"write_format": "previous"}, None, False, "previous format"),
        ({}, TopicMismatch("missing topics: shop.joins"), False, "missing topics: shop.joins"),
        ({}, AuthorizationFailed("no right to read"), False, "no right to read"),
    ],
)
def test_a_worker_without_the_topic_goes_on_without_joins(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    error: Exception | None,
    possible: bool,
    said: str,
) -> None:
    async def ensure_topics(_: Any, role: str, name: str) -> None:
        assert (role, name) == ("worker", SETTINGS.joins_topic)
        if error is not None:
            raise error

    monkeypatch.setattr(module, "ensure_topics", ensure_topics)
    caplog.set_level("INFO")
    assert asyncio.run(joins_are_possible(load_settings(changes))) is possible
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_a_broker_that_does_not_answer_is_no_reason_to_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ensure_topics(*_: Any) -> None:
        raise BrokerUnreachable("nobody there")

    monkeypatch.setattr(module, "ensure_topics", ensure_topics)
    with pytest.raises(BrokerUnreachable):
        asyncio.run(joins_are_possible(SETTINGS))


@pytest.mark.parametrize("largest", [0, 1, 5, 12, 1000])
def test_records_come_in_their_order_in_pieces_of_some_size(largest: int) -> None:
    sizes = {0: [3, 3, 9, 1], 1: [1], 2: [4, 0, 20, 0, 2]}
    fetched = {
        partition: [make_record(b"x" * size, offset=n, partition=partition) for n, size in enumerate(lengths)]
        for partition, lengths in sizes.items()
    }
    pieces = list(in_pieces(fetched.values(), largest))
    for partition, records in fetched.items():
        assert [
            one for piece in pieces for fetch in piece if fetch.partition == partition for one in fetch.value
        ] == records
    for piece in pieces:
        lengths = [len(record.value) for fetch in piece for record in fetch.value]
        assert sum(lengths) <= largest or sum(map(bool, lengths)) == 1
        assert all(fetch.value for fetch in piece)
    for piece, following in pairwise(pieces):
        added = sum(len(record.value) for fetch in piece for record in fetch.value)
        assert added + len(following[0].value[0].value) > largest
    assert list(in_pieces([], largest)) == []
