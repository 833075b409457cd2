"""The agent: takes fetches in, has them computed in the device thread, delivers them, acknowledges them in order.

Fetches come in responses, each with those of all partitions that a request to the brokers brought. All that has come in
while one batch was computed makes the next one, whatever its partitions: batches are small and quick when the stream is
calm, large when there is a backlog. The fixed cost of each batch and each response decides how late answers are, long
before the machine is busy, so there are as few of both as possible without making events wait.
A small batch is decoded, computed and encoded in one go, as late as possible, so that no event waits while it goes from
thread to thread, or has just missed it; with a backlog, one batch is decoded or encoded, one is stepped and one is
answered at the same time. Whatever fails ends the process.

A fetch can be without records, where a position moved without them (aborted transactions, markers, deleted records). It
goes the same way as the others, so that its offset is committed in its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

import faust
import numpy as np
from aiokafka import ConsumerRecord

from stream_app.errors import DataPathError, TooManyDeadLetters
from stream_app.kafka.pace import Pauses
from stream_app.pipeline.batch_result import BatchResult, without_records
from stream_app.pipeline.batches import ReceivedBatch, SteppedBatch
from stream_app.pipeline.joins.fetched import JoinsResponse
from stream_app.pipeline.metrics import RANKERS, WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings
from stream_app.signals.due import DueResponse
from stream_app.worker.delivery import Delivery, DeliveryReceipt
from stream_app.worker.joins_reader import Aside, JoinsReader
from stream_app.worker.local_store import LocalStore
from stream_app.worker.threads import WorkerThreads

T = TypeVar("T")

_LARGE: Final = 256  # records of a batch that are worth coding in another thread
_ASIDE: Final = (JoinsResponse, DueResponse)  # what comes from elsewhere than the events: a batch of its own each


@dataclass(frozen=True, slots=True)
class BatchStages:
    """What every batch goes through, in this order."""

    pipeline: Pipeline
    delivery: Delivery
    store: LocalStore


class _Response(NamedTuple):
    """What one request to the brokers brought."""

    event: Any  # Faust's, whose value is a list of `Fetch`
    records: list[ConsumerRecord[bytes, bytes]]  # of all its fetches


@dataclass(frozen=True, slots=True)
class _FetchedBatch:
    """Responses that are computed at once."""

    events: list[Any]  # Faust's
    records: int
    decode: Callable[[], ReceivedBatch]
    decoding: asyncio.Future[ReceivedBatch] | None  # of a large batch, in the coding thread


@dataclass(frozen=True, slots=True)
class _DeliveredBatch:
    """A batch on its way to the broker, or there."""

    events: list[Any]  # Faust's
    results: list[BatchResult]
    number: int
    begun: float  # by the agent's clock
    delivery: asyncio.Task[list[DeliveryReceipt]]


class EventsAgent:
    """Takes fetches through a worker, and knows how many are on their way."""

    def __init__(
        self,
        *,
        settings: Settings,
        stages: BatchStages,
        threads: WorkerThreads,
        metrics: WorkerMetrics,
        fail: Callable[[BaseException], Any],
        clock: Callable[[], float],
    ) -> None:
        """`clock` in seconds, monotonic. `fail` ends the process."""
        self._settings = settings
        self._pipeline, self._delivery, self._store = stages.pipeline, stages.delivery, stages.store
        self._threads = threads
        self._metrics = metrics
        self._fail = fail
        self._clock = clock
        self._deliver_seconds = metrics.stage.labels("deliver")
        self._waiting: deque[_Response] = deque()
        self._arrived = asyncio.Event()
        self._waiting_records = 0
        self._space = asyncio.Event()  # set while few records wait; else Faust's own buffer fills, then it stops
        self._space.set()
        self._in_flight = asyncio.Semaphore(settings.in_flight)  # batches stepped but not durable
        self._finishing: asyncio.Task[None] | None = None  # of the newest batch
        self._delivering: deque[_DeliveredBatch] = deque()  # on their way to the broker, in their order
        self._begun = asyncio.Event()  # set while there are any
        self._unsettled: set[int] = set()  # numbers of the batches stepped but not durable
        self._pauses = Pauses(clock)
        self.joins = JoinsReader(settings, take=self.take, fail=fail, commits=not stages.delivery.commits_offsets)
        self.asides: list[Aside] = [self.joins]
        self.durable: list[Callable[[BatchResult], None]] = []  # hear of each result that is, in their order
        self._under_way = 0  # responses taken in, not acknowledged
        self._idle = asyncio.Event()
        self._idle.set()

    async def consume(self, stream: Any) -> None:
        """Takes in all responses of the stream: the agent's body."""
        tasks = [asyncio.create_task(self._compute_all(stream.app)), asyncio.create_task(self._complete_all())]
        try:
            async for event in stream.noack().events():
                self.take(event)
                await self._space.wait()
            if not stream.app.should_stop:
                raise DataPathError("the stream of events ended by itself")
        except Exception as error:
            self._fail(error)
            raise
        finally:
            await self.drained()  # Faust cancels agents before the consumer, whose last commit waits for all taken in
            for task in tasks:
                task.cancel()

    def pause(self) -> float:
        """Returns for how many seconds after a fetch the next one is not worth its cost yet."""
        return self._pauses.seconds

    async def drained(self) -> None:
        """Returns when all that was taken in is durable and acknowledged; from elsewhere nothing is, until `resume`."""
        for aside in self.asides:
            aside.pause()
        await self._idle.wait()

    def resume(self, partitions: Collection[int]) -> None:
        """Has what comes from elsewhere than the events taken in again, of these partitions."""
        for aside in self.asides:
            aside.resume(partitions)

    def take(self, event: Any) -> None:
        """Takes in a response: Faust's, or one from elsewhere."""
        self._under_way += 1
        self._idle.clear()
        response = _Response(event, [record for fetch in event.value for record in fetch.value])
        self._waiting.append(response)
        self._arrived.set()
        self._add_waiting(len(response.records))

    def _add_waiting(self, records: int) -> None:
        self._waiting_records += records
        if self._waiting_records < 2 * self._settings.batch_size:
            self._space.set()
        else:
            self._space.clear()

    async def _compute_all(self, app: faust.App) -> None:
        """Computes batch after batch; with a backlog, the next one is decoded meanwhile."""
        ahead: _FetchedBatch | None = None
        try:
            while True:
                batch = ahead or await self._begin(app)
                start = self._clock()
                if batch.decoding is None:
                    ahead = None
                    whole = self._nothing_to_finish()
                    stepped, results = await _run_in(self._threads.device, self._in_one_go, batch, whole)
                else:
                    stepping = _run_in(self._threads.device, self._pipeline.step, await batch.decoding)
                    ahead = await self._begin_ahead(app)
                    stepped, results = await stepping, None
                self._pauses.note(batch.records, self._clock() - start)
                self._unsettled.add(stepped.number)
                self._finish(batch.events, stepped, results)
        except TooManyDeadLetters as error:
            await self._commit_what_came_before(app)
            self._fail(error)
            raise
        except Exception as error:
            self._fail(error)
            raise

    async def _begin(self, app: faust.App) -> _FetchedBatch:
        """Waits for the next batch and for a free permit of `_in_flight`."""
        while True:
            await self._arrived.wait()
            if batch := await self._next_batch(app):
                return batch

    async def _begin_ahead(self, app: faust.App) -> _FetchedBatch | None:
        """The next batch, if it is there by now and large; does not wait."""
        large = self._waiting_records >= _LARGE and not self._in_flight.locked()
        return await self._next_batch(app) if large else None

    async def _next_batch(self, app: faust.App) -> _FetchedBatch | None:
        """Makes a batch of waiting responses, with a permit of `_in_flight`; None: all are another worker's by now."""
        await self._in_flight.acquire()
        if responses := self._next_responses(app):
            return self._batch(responses)
        self._in_flight.release()
        return None

    def _batch(self, responses: list[_Response]) -> _FetchedBatch:
        events = [response.event for response in responses]
        records = [record for response in responses for record in response.records]
        first, generation = events[0], events[0].message.generation_id
        decode: Callable[[], ReceivedBatch] = partial(self._pipeline.decode, records, generation)
        if isinstance(first, JoinsResponse):
            decode = partial(self._pipeline.decode_joins, first.value, generation)
        elif isinstance(first, DueResponse):
            decode = partial(self._pipeline.decode_due, first.value, generation)
        large = len(records) >= _LARGE and not isinstance(first, _ASIDE)
        decoding = _run_in(self._threads.coding, decode) if large else None
        return _FetchedBatch(events, len(records), decode, decoding)

    def _nothing_to_finish(self) -> bool:
        """Whether the batch before is answered and encoded: never are two at the same time."""
        return self._finishing is None or self._finishing.done()

    def _in_one_go(self, batch: _FetchedBatch, whole: bool) -> tuple[SteppedBatch, list[BatchResult] | None]:
        stepped = self._pipeline.step(batch.decode())
        return stepped, self._pipeline.encode(self._pipeline.answer(stepped)) if whole else None

    async def _commit_what_came_before(self, app: faust.App) -> None:
        """Commits the batches before the one at hand, which has one permit of `_in_flight`: with all the others in hand
        too, they are durable.

        Without this a worker that ends again and again would do the same good work again and again.
        """
        for _ in range(self._settings.in_flight - 1):
            await self._in_flight.acquire()
        await app.consumer.commit()

    def _next_responses(self, app: faust.App) -> list[_Response]:
        """Takes waiting responses, up to the batch size; drops those of an older generation, now another worker's.

        What comes from elsewhere is a batch of its own.
        """
        batch: list[_Response] = []
        size = 0
        while self._waiting and (not batch or self._fits(batch, size)):
            response = self._waiting.popleft()
            self._add_waiting(-len(response.records))
            # Leans on: a message carries the generation of the group in which it was fetched.
            if response.event.message.generation_id == app.consumer_generation_id:
                batch.append(response)
                size += len(response.records)
            else:
                self._metrics.stale_batches.inc(len(response.event.value))
                if isinstance(response.event, _ASIDE):
                    response.event.drop()
                self._ended(1)
        if not self._waiting:
            self._arrived.clear()
        return batch

    def _fits(self, batch: list[_Response], size: int) -> bool:
        """Whether the next response can be part of a batch of so many records."""
        following = self._waiting[0]
        if isinstance(batch[0].event, _ASIDE) or isinstance(following.event, _ASIDE):
            return False
        return size + len(following.records) <= self._settings.batch_size

    def _finish(self, events: list[Any], stepped: SteppedBatch, results: list[BatchResult] | None) -> None:
        """Begins the delivery of a batch. One without results yet is answered and encoded first."""
        if results is None:
            self._finishing = asyncio.create_task(self._answer(events, stepped, self._finishing))
        else:
            self._deliver(events, results, stepped.number)

    async def _answer(self, events: list[Any], stepped: SteppedBatch, before: asyncio.Task[None] | None) -> None:
        """Answers and encodes a batch, and begins its delivery after that of the batch before it.

        Each thread takes batches in the order of these tasks.
        """
        try:
            answered = await _run_in(self._threads.ranking, self._pipeline.answer, stepped)
            results = await _run_in(self._threads.coding, self._pipeline.encode, answered)
            if before is not None:
                await before
            self._deliver(events, results, stepped.number)
        except Exception as error:
            self._fail(error)
            raise

    def _deliver(self, events: list[Any], results: list[BatchResult], number: int) -> None:
        """Begins a delivery: tasks begin in the order in which they were made."""
        covered = _covered(events)
        if len(covered) > len(results):
            results = [*results, *without_records(covered, results)]
        delivery = asyncio.create_task(self._receipts(results, covered))
        self._delivering.append(_DeliveredBatch(events, results, number, self._clock(), delivery))
        self._begun.set()

    async def _receipts(self, results: list[BatchResult], covered: dict[int, range]) -> list[DeliveryReceipt]:
        try:
            return await self._delivery.deliver(results, covered)
        except Exception as error:
            self._fail(error)
            raise

    async def _complete_all(self) -> None:
        """Stores and acknowledges batches in their order, all that are durable at once."""
        try:
            while True:
                await self._begun.wait()
                batches = await self._durable()
                await _run_in(self._threads.coding, self._store_all, batches)
                for event in (event for batch in batches for event in batch.events):
                    event.ack()
                self._count(batches)
                self._settle(batches)
        except Exception as error:
            self._fail(error)
            raise

    async def _durable(self) -> list[_DeliveredBatch]:
        """Waits for the oldest batch; returns it and those behind it that are durable as well."""
        await self._delivering[0].delivery
        batches = [self._delivering.popleft()]
        while self._delivering and self._delivering[0].delivery.done():
            batches.append(self._delivering.popleft())
        if not self._delivering:
            self._begun.clear()
        return batches

    def _store_all(self, batches: list[_DeliveredBatch]) -> None:
        for result, receipt in _with_receipts(batches):
            if (known := receipt.changelog) is not None:
                self._store.write(result.partition, result.states, known.stop - 1, known.start)

    def _settle(self, batches: list[_DeliveredBatch]) -> None:
        """Notes that batches are durable: their users may leave memory, and others get their permits."""
        self._unsettled.difference_update(batch.number for batch in batches)
        self._pipeline.settle(min(self._unsettled, default=batches[-1].number + 1))
        for batch in batches:
            self._in_flight.release()
            self._ended(len(batch.events))

    def _count(self, batches: list[_DeliveredBatch]) -> None:
        metrics, now = self._metrics, self._clock()
        for batch in batches:
            self._deliver_seconds.observe(now - batch.begun)
        pairs = _with_receipts(batches)
        for hear in self.durable:
            for result, _ in pairs:
                hear(result)
        for ranker in RANKERS:
            metrics.predictions.labels(ranker).inc(
                sum(len(result.record_times) for result, _ in pairs if result.ranker == ranker)
            )
        for reason in chain.from_iterable(result.reasons for result, _ in pairs):
            metrics.dead_letters.labels(reason).inc()
        times = [result.record_times for result, _ in pairs]
        answered = np.repeat([receipt.answered_at for _, receipt in pairs], list(map(len, times)))
        metrics.latency.observe(answered - np.concatenate(times) / 1000)

    def _ended(self, responses: int) -> None:
        self._under_way -= responses
        if not self._under_way:
            self._idle.set()


def _covered(batch: list[Any]) -> dict[int, range]:
    """Returns the offsets of events that the fetches of a batch cover, by partition."""
    covered: dict[int, range] = {}
    if isinstance(batch[0], _ASIDE):
        return covered
    for fetch in chain.from_iterable(event.value for event in batch):
        partition, last = fetch.partition, fetch.offset
        first = fetch.value[0].offset if fetch.value else last
        covered[partition] = range(covered[partition].start if partition in covered else first, last + 1)
    return covered


def _with_receipts(batches: list[_DeliveredBatch]) -> list[tuple[BatchResult, DeliveryReceipt]]:
    """Returns the results of batches, each with its receipt."""
    return [pair for batch in batches for pair in zip(batch.results, batch.delivery.result(), strict=True)]


def _run_in(thread: Executor, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(thread, function, *arguments)
