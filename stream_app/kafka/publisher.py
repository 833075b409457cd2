"""Publishes events to Kafka, at a pace or as fast as possible.

The key is the user id, so aiokafka's default partitioner (Java's murmur2) sends a user's events to the
partition where every other publisher of the contract sends them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.errors import UnknownTopicOrPartitionError as UnknownTopicError

from stream_app.errors import BrokerUnreachable, TopicMismatch, UsageError
from stream_app.kafka.clients import Role, new_producer
from stream_app.kafka.pace import Pace, Schedule, Timing
from stream_app.kafka.refusals import refusal
from stream_app.settings import Settings

Event = dict[str, Any]  # the fields as they will stand in the record's JSON
RawRecord = tuple[bytes | None, bytes | None]  # key and value of a record, sent as they are

IN_FLIGHT: Final = 20_000  # most records handed to the producer and not yet acknowledged
PROGRESS_S: Final = 0.5  # seconds between two reports of progress
FLUSH_S: Final = 10.0  # seconds that a cancelled publisher waits for acknowledgements
YIELD_EVERY: Final = 200  # records between two turns of the event loop, in which the producer sends
DAY_MS: Final = 24 * 60 * 60 * 1000  # milliseconds of a day


class Producer(Protocol):
    """The part of `AIOKafkaProducer` that is used here."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Hands a record over; the future is done when the broker has acknowledged it."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of the events."""

    sent: int  # acknowledged by the broker
    skipped: int  # too large for the broker
    seconds: float  # how long it took


async def publish(
    events: Iterable[Event | RawRecord] | AsyncIterable[Event | RawRecord],
    *,
    kafka: Producer | Settings,
    topic: str,
    pace: Pace | None = None,
    progress: Callable[[int], None] | None = None,
    timing: Timing | None = None,
) -> PublishResult:
    """Publishes all events and returns when the broker has acknowledged them.

    `kafka`: a started producer, or settings that say where to connect. `progress` gets the number of acknowledged
    events about twice a second and at the end. When cancelled, what was handed over is flushed and counted in a last
    call of `progress`. Wrap an iterable that blocks (standard input) in `from_thread`.

    Raises `BrokerUnreachable`, `TopicMismatch` (no such topic), `UsageError` (any other refusal).
    """
    if not isinstance(kafka, Settings):
        return await _Publication(kafka, topic, pace or Pace(), progress, timing or Timing()).run(events)
    producer = await started_producer(kafka, "publisher")
    try:
        return await publish(events, kafka=producer, topic=topic, pace=pace, progress=progress, timing=timing)
    finally:
        await producer.stop()


async def started_producer(settings: Settings, role: Role, **options: Any) -> AIOKafkaProducer:
    """Starts an idempotent producer; `options` are aiokafka's. Raises `UsageError`."""
    producer = new_producer(
        settings,
        role,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=256 * 1024,
        **options,
    )
    await producer.start()
    return producer


async def from_thread(events: Iterable[Event | RawRecord], ahead: int = 1000) -> AsyncIterator[Event | RawRecord]:
    """Yields the same events, read `ahead` by a thread of its own, so that waiting for them blocks nothing else."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | RawRecord | BaseException | None] = asyncio.Queue()  # None: the end
    free, ended = threading.Semaphore(ahead), threading.Event()

    def put(entry: Event | RawRecord | BaseException | None) -> None:
        if not ended.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, entry)

    def run() -> None:
        try:
            for event in events:
                free.acquire()
                if ended.is_set():
                    return
                put(event)
            put(None)
        except BaseException as error:
            put(error)

    # A daemon: nobody can interrupt a thread that waits for standard input.
    threading.Thread(target=run, name="events", daemon=True).start()
    try:
        while (entry := await queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            free.release()
            yield entry
    finally:
        ended.set()
        free.release()


def record_of(event: Event | RawRecord, now_ms: int) -> tuple[bytes | None, bytes | None, int | None]:
    """Returns key, value and timestamp of the event's record; without a text as user id it has no key.

    The timestamp is the event's own if it lies within the day before `now_ms`, else None (the time of sending): by
    their timestamps Kafka deletes records older than the topic's retention and refuses those from the future.
    """
    if isinstance(event, tuple):
        return *event, None
    user = event.get("user_id")
    key = user.encode() if isinstance(user, str) else None
    time_ms = event_time_ms(event)
    recent = time_ms is not None and now_ms - DAY_MS < time_ms <= now_ms
    return key, msgspec.json.encode(event), time_ms if recent else None


def event_time_ms(event: Event | RawRecord) -> int | None:
    """Returns the event's `timestamp` in milliseconds since the epoch, None if it has none that can be read."""
    timestamp = event.get("timestamp") if isinstance(event, dict) else None
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        return int(timestamp) if abs(timestamp) < 1e15 else None  # NaN and infinity compare false
    try:
        parsed = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else None
    except ValueError:
        return None
    return round(parsed.timestamp() * 1000) if parsed and parsed.tzinfo else None


class _Publication:
    """One run of `publish`."""

    def __init__(
        self,
        producer: Producer,
        topic: str,
        pace: Pace,
        progress: Callable[[int], None] | None,
        timing: Timing,
    ) -> None:
        self.producer, self.topic, self.timing = producer, topic, timing
        self.paced = pace != Pace()
        self.schedule = Schedule(pace)
        self.progress = progress or (lambda count: None)
        self.in_flight: deque[asyncio.Future[Any]] = deque()
        self.sent = self.skipped = 0
        self.start = self.reported = timing.monotonic()

    async def run(self, events: Iterable[Event | RawRecord] | AsyncIterable[Event | RawRecord]) -> PublishResult:
        try:
            if isinstance(events, AsyncIterable):
                async for event in events:
                    await self._send(event)
            else:
                for event in events:
                    await self._send(event)
            await self._settle(0)
        except KafkaError as error:
            raise self._refusal(error) from error
        finally:
            await self._flush()
        return PublishResult(self.sent, self.skipped, self.timing.monotonic() - self.start)

    async def _send(self, event: Event | RawRecord) -> None:
        if self.paced:
            due = self.start + self.schedule.due(event_time_ms(event))
            while (wait := due - self.timing.monotonic()) > 0:
                self._report()
                await self.timing.sleep(min(wait, PROGRESS_S))
        key, value, time_ms = record_of(event, int(self.timing.wall() * 1000))
        try:
            future = await self.producer.send(self.topic, value, key, timestamp_ms=time_ms)
        except MessageSizeTooLargeError:
            self.skipped += 1
            return
        self.in_flight.append(future)
        await self._settle(IN_FLIGHT)
        self._report()
        if (self.sent + len(self.in_flight)) % YIELD_EVERY == 0:
            await asyncio.sleep(0)

    async def _settle(self, allowed: int) -> None:
        """Counts acknowledged events, in order, and waits until no more than `allowed` are in flight."""
        while self.in_flight and (self.in_flight[0].done() or len(self.in_flight) > allowed):
            if not self.in_flight[0].done():
                # Not awaited directly: a cancellation would cancel the future too, and the event would not be counted.
                await asyncio.wait([self.in_flight[0]])
            self.in_flight[0].result()
            self.in_flight.popleft()
            self.sent += 1

    def _report(self) -> None:
        now = self.timing.monotonic()
        if now - self.reported >= PROGRESS_S:
            self.reported = now
            self.progress(self.sent)

    async def _flush(self) -> None:
        """Waits for what is in flight after the end, a cancellation or an error, and counts what got through."""
        if self.in_flight:
            await asyncio.wait(self.in_flight, timeout=FLUSH_S)
        for future in self.in_flight:
            acknowledged = future.done() and not future.cancelled() and future.exception() is None
            self.sent += acknowledged
        self.progress(self.sent)

    def _refusal(self, error: KafkaError) -> UsageError:
        if (missing := refusal(error, "Write")) is not None:
            return missing
        message = f"topic {self.topic}: {self.sent} events were acknowledged, then {error!r}"
        if isinstance(error, UnknownTopicError):
            return TopicMismatch(f"{message}; create the topic first")
        if isinstance(error, KafkaConnectionError | KafkaTimeoutError):
            return BrokerUnreachable(f"{message}; see whether the broker is up and send the rest again")
        return UsageError(f"{message}; the broker's log says why")
