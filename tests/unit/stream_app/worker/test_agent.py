"""From fetches to acknowledgements, with a pretended device, broker and Faust."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from faust.types import TP
from prometheus_client import CollectorRegistry

from stream_app.errors import TooManyDeadLetters
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.joins.fetched import JoinsFetch, JoinsResponse
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import load_settings
from stream_app.worker.agent import BatchStages, EventsAgent
from stream_app.worker.delivery import DeliveryReceipt
from stream_app.worker.faust_fetch_thread import Fetch
from stream_app.worker.threads import WorkerThreads
from tests.unit.builders.basics import make_record

LARGE = 300  # records: coded in a thread of their own
SETTINGS = load_settings({"batch_size": 10, "in_flight": 2})


class SteppedRecords(list[Any]):
    """The records of a batch and its number."""

    def __init__(self, records: list[Any], number: int) -> None:
        super().__init__(records)
        self.number = number


class World:
    """All that an agent touches; `happened` is what it did, in order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.failed: list[BaseException] = []
        self.fetches: asyncio.Queue[Any] = asyncio.Queue()
        self.release = asyncio.Event()  # deliveries wait for it
        self.release.set()
        self.broken: Callable[[str], None] = lambda _: None
        self.consumer_generation_id = 1
        self.commits_offsets = False
        self.tables = {"users": SimpleNamespace(data=self)}
        self.consumer = SimpleNamespace(commit=self.commit)
        self.app = self
        self.now = 0.0  # seconds
        self._next = 0
        self._batches = self._answered = 0
        self._delivered: dict[int, int] = {}  # by partition: where the newest delivery ends
        self.settled = 0
        self.encoding = False
        self.go_on = threading.Event()  # the encoding of large batches waits for it
        self.go_on.set()

    def fetch(self, partition: int, size: int = 1, generation: int = 1, behind: int = 0) -> None:
        """Has Faust hand out a fetch; it covers `behind` offsets that no record has."""
        self.respond([self.new_fetch(partition, size, behind)], generation)

    def new_fetch(self, partition: int, size: int = 1, behind: int = 0) -> Fetch:
        start = self._next
        self._next += size + behind
        records = [make_record(b"", offset=offset, partition=partition) for offset in range(start, start + size)]
        return Fetch(TP("shop.events", partition), records, start, self._next)

    def respond(self, fetches: list[Fetch], generation: int = 1) -> None:
        """Has Faust hand out the fetches of a response."""
        message = SimpleNamespace(generation_id=generation)
        acks = [f"ack {fetch.partition}/{fetch.offset}" for fetch in fetches]
        self.fetches.put_nowait(SimpleNamespace(message=message, value=fetches, ack=lambda: self.happened.extend(acks)))

    def noack(self) -> World:
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self.fetches.get()

    def decode(self, records: list[Any], generation: int) -> list[Any]:
        self.broken("decode")
        return records

    def decode_joins(self, fetches: Sequence[JoinsFetch], generation: int) -> list[Any]:
        return [record for fetch in fetches for record in fetch.value]

    def step(self, records: list[Any]) -> SteppedRecords:
        self.broken("step")
        self.happened.append("step " + " ".join(f"{record.partition}/{record.offset}" for record in records))
        self._batches += 1
        return SteppedRecords(records, self._batches)

    def answer(self, stepped: SteppedRecords) -> SteppedRecords:
        self.broken("answer")
        self._answered += 1
        assert stepped.number == self._answered, "batches are answered out of order"
        return stepped

    def encode(self, records: list[Any]) -> list[BatchResult]:
        self.broken("encode")
        assert not self.encoding, "two batches are encoded at once"
        self.encoding = True
        self.go_on.wait(0.0 if len(records) < LARGE else 5.0)
        self.encoding = False
        partitions = dict.fromkeys(record.partition for record in records)
        return [BatchResult(partition, "rules") for partition in partitions]

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        for partition, covered in offsets.items():
            assert covered.start >= self._delivered.get(partition, 0), "deliveries begin out of order"
            self._delivered[partition] = covered.stop
        await self.release.wait()
        self.broken("deliver")
        for partition in (result.partition for result in results):
            covered = offsets.get(partition, range(0))
            self.happened.append(f"delivered {partition}/{covered.start}-{covered.stop}")
        return [DeliveryReceipt(0.0, range(5, 8))] * len(results)

    async def commit(self) -> None:
        self.happened.append("commit")

    def write(self, partition: int, records: list[Any], offset: int, known_from: int) -> None:
        self.broken("write")
        self.happened.append(f"state {partition} {known_from}-{offset}")

    def settle(self, before: int) -> None:
        self.settled = before

    def unawaited(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A failed task is not awaited, as the process ends then; one whose error `fail` did not get is a mistake."""
        if context.get("exception") not in self.failed:
            loop.default_exception_handler(context)


def run(body: Callable[[World, EventsAgent, asyncio.Task[None]], Any]) -> World:
    async def whole() -> World:
        world = World()
        parts: Any = world
        asyncio.get_running_loop().set_exception_handler(world.unawaited)
        with ThreadPoolExecutor(1) as device, ThreadPoolExecutor(1) as ranking, ThreadPoolExecutor(1) as coding:
            agent = EventsAgent(
                settings=SETTINGS,
                stages=BatchStages(pipeline=parts, delivery=parts, store=parts),
                threads=WorkerThreads(device=device, ranking=ranking, coding=coding, loading=coding),
                metrics=WorkerMetrics(CollectorRegistry()),
                fail=world.failed.append,
                clock=lambda: world.now,
            )
            consuming = asyncio.create_task(agent.consume(world))
            try:
                async with asyncio.timeout(10):
                    await body(world, agent, consuming)
            finally:
                await ended(consuming)
        return world

    return asyncio.run(whole())


async def ended(consuming: asyncio.Task[None]) -> None:
    """Ends an agent in whatever state its test has left it, while its threads are still there."""
    while not consuming.done():  # one that failed, or whose test did, is never drained
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await consuming


async def seen(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - of conditions of any kind
        await asyncio.sleep(0.001)


def held(world: World, stage: str) -> tuple[list[str], threading.Event]:
    """The stages as they begin; the given one goes on when the event is set."""
    stages, go_on = list[str](), threading.Event()

    def begins(where: str) -> None:
        stages.append(where)
        if where == stage:
            go_on.wait(5)

    world.broken = begins
    return stages, go_on


def test_a_fetch_is_acknowledged_when_its_effects_and_their_state_are_durable() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.release.clear()
        world.fetch(3, size=2)
        await seen(lambda: world.happened)
        await asyncio.sleep(0.02)
        assert world.happened == ["step 3/0 3/1"]
        world.release.set()
        await agent.drained()

    assert run(body).happened == ["step 3/0 3/1", "delivered 3/0-2", "state 3 5-7", "ack 3/1"]


def test_a_delivery_covers_all_that_its_fetches_cover() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.fetch(3, size=2, behind=1)
        world.fetch(3, size=2, behind=2)
        await seen(lambda: world.fetches.empty())
        await agent.drained()

    happened = run(body).happened
    assert [entry for entry in happened if entry.startswith(("delivered", "ack"))] == [
        "delivered 3/0-7",
        "ack 3/2",
        "ack 3/6",
    ]


def test_fetches_without_records_are_delivered_in_their_turn_so_that_their_offsets_are_committed() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.fetch(3, size=2)
        world.fetch(3, size=0, behind=2)
        world.fetch(4, size=0, behind=1)
        await seen(lambda: world.fetches.empty())
        await agent.drained()
        world.fetch(4, size=0, behind=3)
        await seen(lambda: world.fetches.empty())
        await agent.drained()

    assert [entry for entry in run(body).happened if entry.startswith(("delivered", "ack"))] == [
        "delivered 3/0-4",
        "delivered 4/4-5",
        "ack 3/1",
        "ack 3/3",
        "ack 4/4",
        "delivered 4/7-8",
        "ack 4/7",
    ]


def test_waiting_fetches_become_one_batch_of_limited_size_in_order_per_partition() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        for n in range(40):
            world.fetch(n % 3, size=1 + n % 4)
        await seen(lambda: world.happened)
        await seen(lambda: world.fetches.empty())
        await agent.drained()

    happened = run(body).happened
    batches = [entry.split()[1:] for entry in happened if entry.startswith("step")]
    assert max(map(len, batches)) <= SETTINGS.batch_size
    assert len(batches) < 40
    for entries in ([entry for batch in batches for entry in batch], [e[4:] for e in happened if e.startswith("ack")]):
        for partition in "012":
            offsets = [int(entry[2:]) for entry in entries if entry[0] == partition]
            assert offsets == sorted(offsets)
    assert sum(entry.startswith("ack") for entry in happened) == 40


def test_partitions_that_were_fetched_together_are_one_batch() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        sizes = {0: 2, 3: 1, 5: 0, 4: 1}
        world.respond([world.new_fetch(partition, size, behind=1) for partition, size in sizes.items()])
        await seen(lambda: world.happened)
        await agent.drained()

    assert [entry for entry in run(body).happened if not entry.startswith("state")] == [
        "step 0/0 0/1 3/3 4/6",
        "delivered 0/0-3",
        "delivered 3/3-5",
        "delivered 4/6-8",
        "delivered 5/5-6",
        "ack 0/2",
        "ack 3/4",
        "ack 5/5",
        "ack 4/7",
    ]


def test_the_pause_between_fetches_is_known_once_a_batch_is_computed() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        assert agent.pause() == 0

        def computes(where: str) -> None:
            world.now += 0.25 if where == "step" else 0

        world.broken = computes
        world.fetch(0, 1)
        await seen(lambda: world.happened)
        await agent.drained()
        assert 0.25 < agent.pause() < 11 * 0.25

    run(body)


def test_the_number_of_batches_in_flight_is_limited() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.release.clear()
        for n in range(8):
            world.fetch(n, size=SETTINGS.batch_size)
        await seen(lambda: len(world.happened) == SETTINGS.in_flight)
        await asyncio.sleep(0.05)
        assert len(world.happened) == SETTINGS.in_flight
        assert not world.fetches.empty()  # nor does it take in without end
        world.release.set()
        await seen(lambda: sum(entry.startswith("ack") for entry in world.happened) == 8)
        await agent.drained()

    run(body)


def test_of_a_backlog_the_next_batch_is_decoded_while_one_is_computed() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        stages, computed = held(world, "step")
        for _ in range(2):
            world.fetch(0, LARGE)
        await seen(lambda: stages.count("decode") == 2)
        assert stages.count("step") == 1
        assert "encode" not in stages
        computed.set()
        await seen(lambda: "ack 0/599" in world.happened)

    run(body)


def test_a_backlog_is_answered_while_the_next_batch_is_stepped() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        stages, answered = held(world, "answer")
        for _ in range(2):
            world.fetch(0, LARGE)
        await seen(lambda: stages.count("step") == 2)
        assert stages.count("answer") == 1
        assert "encode" not in stages
        answered.set()
        await agent.drained()

    run(body)


def test_a_backlog_is_encoded_beside_the_next_batch() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.go_on.clear()
        for _ in range(3):
            world.fetch(0, LARGE)
        world.fetch(0)
        await seen(lambda: len(world.happened) == SETTINGS.in_flight)  # two are computed, the first is not encoded yet
        assert not any(entry.startswith("delivered") for entry in world.happened)
        world.go_on.set()
        await seen(lambda: world.fetches.empty())
        await agent.drained()

    happened = run(body).happened
    acknowledged = [entry for entry in happened if entry.startswith("ack")]
    assert acknowledged == ["ack 0/299", "ack 0/599", "ack 0/899", "ack 0/900"]


def test_a_small_batch_behind_a_large_one_is_not_encoded_before_it() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.go_on.clear()
        world.fetch(0, LARGE)
        await seen(lambda: world.encoding)
        world.fetch(0)
        await seen(lambda: len(world.happened) == 2)
        world.go_on.set()
        await agent.drained()

    happened = run(body).happened
    assert [entry for entry in happened if entry.startswith("ack")] == ["ack 0/299", "ack 0/300"]


def test_the_rest_of_a_backlog_that_moved_away_holds_nothing_up() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.fetch(0, LARGE)
        world.fetch(1, LARGE, generation=0)  # begun ahead, and another worker's by then
        await seen(lambda: "ack 0/299" in world.happened)
        await agent.drained()

    run(body)


def test_fetches_of_an_older_generation_are_dropped_without_acknowledgement() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.consumer_generation_id = 2
        world.respond([world.new_fetch(0), world.new_fetch(2)], generation=1)
        world.fetch(1, generation=2)
        await seen(lambda: world.happened)
        await agent.drained()
        (stale,) = agent._metrics.stale_batches.collect()
        assert [sample.value for sample in stale.samples if sample.name.endswith("_total")] == [2]

    assert run(body).happened == ["step 1/2", "delivered 1/2-3", "state 1 5-7", "ack 1/2"]


def test_cancelling_the_agent_finishes_what_was_taken_in() -> None:
    async def body(world: World, agent: EventsAgent, consuming: asyncio.Task[None]) -> None:
        world.release.clear()
        for n in range(6):
            world.fetch(n, size=4)
        await seen(lambda: world.happened)
        consuming.cancel()  # as Faust does when the app stops, before the consumer's last commit
        world.release.set()
        await agent.drained()
        with suppress(asyncio.CancelledError):
            await consuming
        advanced = sum(entry.count("/") for entry in world.happened if entry.startswith("step"))
        assert 4 * sum(entry.startswith("ack") for entry in world.happened) == advanced > 0

    run(body)


@pytest.mark.parametrize("size", [1, LARGE])
@pytest.mark.parametrize("stage", ["decode", "step", "answer", "encode", "deliver", "write"])
def test_any_failure_ends_the_process_and_acknowledges_nothing(stage: str, size: int) -> None:
    def broken(where: str) -> None:
        if where == stage:
            raise ConnectionError(stage)

    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.broken = broken
        world.fetch(0, size)
        world.fetch(0, size)
        await seen(lambda: world.failed)

    world = run(body)
    assert [str(error) for error in world.failed][:1] == [stage]
    assert not any(entry.startswith("ack") for entry in world.happened)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), torch.OutOfMemoryError("CUDA out of memory")],
    ids=str,
)
def test_an_error_of_the_device_ends_the_process_with_nothing_delivered_or_acknowledged(error: RuntimeError) -> None:
    def broken(where: str) -> None:
        if where == "step":
            raise error

    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.broken = broken
        world.fetch(0)
        world.fetch(1)
        await seen(lambda: world.failed)

    world = run(body)
    assert world.failed[0] is error
    assert world.happened == []


def test_too_many_dead_letters_end_the_process_when_what_came_before_is_committed() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        world.release.clear()
        world.fetch(1, size=SETTINGS.batch_size)
        await seen(lambda: world.happened)

        def broken(where: str) -> None:
            if where == "decode":
                raise TooManyDeadLetters("too many")

        world.broken = broken
        world.fetch(1)
        await asyncio.sleep(0.02)
        world.happened += ["failed early"] if world.failed else []
        world.release.set()
        await seen(lambda: world.failed)
        await seen(lambda: "ack 1/9" in world.happened)
        world.happened.append("failed")

    world = run(body)
    assert world.happened[1:] == ["delivered 1/0-10", "state 1 5-7", "ack 1/9", "commit", "failed"]
    assert [str(error) for error in world.failed][:1] == ["too many"]


def joins_of(world: World, size: int, generation: int = 1) -> JoinsResponse:
    return JoinsResponse([JoinsFetch(2, world.new_fetch(2, size).value)], generation)


def test_joins_are_batches_of_their_own_that_answer_no_event_and_end_when_they_are_durable() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        stages, go_on = held(world, "decode")
        world.fetch(1)
        await seen(lambda: stages)
        world.fetch(1)
        await seen(world.fetches.empty)
        response = joins_of(world, 2)
        agent.take(response)
        world.fetch(1)
        assert not response.ended.done()
        go_on.set()
        assert await response.ended
        assert "delivered 2/0-0" in world.happened
        await agent.drained()

    happened = run(body).happened
    assert [entry for entry in happened if entry.startswith("step")] == [
        "step 1/0",
        "step 1/1",
        "step 2/2 2/3",
        "step 1/4",
    ]


def test_joins_of_an_older_generation_are_dropped() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        response = joins_of(world, 1, generation=0)
        agent.take(response)
        assert not await response.ended
        await agent.drained()

    assert run(body).happened == []


def test_what_is_drained_takes_in_no_more_joins() -> None:
    async def body(world: World, agent: EventsAgent, _: Any) -> None:
        agent.joins.resume([1])
        await agent.drained()
        assert agent.joins._partitions is None

    run(body)
