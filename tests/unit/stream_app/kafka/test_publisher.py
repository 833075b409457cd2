"""Publishing events with a producer and a clock that a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2

from stream_app.errors import BrokerUnreachable, TopicMismatch
from stream_app.kafka import publisher
from stream_app.kafka.pace import Pace, Timing
from stream_app.kafka.publisher import Event, PublishResult, RawRecord, event_time_ms, from_thread, publish, record_of
from stream_app.settings import Settings

NOW_MS = 1_700_000_000_000


@dataclass
class FakeTime:
    """A clock that only sleeping and, if asked for, sending moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self) -> Timing:
        return Timing(lambda: self.now, lambda: NOW_MS / 1000, self.sleep)


@dataclass
class FakeProducer:
    """Acknowledges a record some turns of the event loop later."""

    clock: FakeTime = field(default_factory=FakeTime)
    send_seconds: float = 0.0  # how long a send takes
    acknowledgement_error: Exception | None = None
    send_error: Exception | None = None
    records: list[tuple[float, bytes | None, bytes | None, int | None]] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    blocked_until: asyncio.Event | None = None

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        if self.send_error:
            raise self.send_error
        self.records.append((self.clock.now, key, value, timestamp_ms))
        self.clock.now += self.send_seconds
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        return asyncio.ensure_future(self._acknowledge())

    async def _acknowledge(self) -> None:
        if self.blocked_until:
            await self.blocked_until.wait()
        await asyncio.sleep(0)
        self.waiting -= 1
        if self.acknowledgement_error:
            raise self.acknowledgement_error


def events(count: int, step_ms: int = 1000) -> Iterator[Event | RawRecord]:
    for number in range(count):
        yield {"user_id": f"u{number}", "type": "view", "timestamp": NOW_MS - 60_000 + number * step_ms}


def published(source: Any, producer: FakeProducer, **options: Any) -> PublishResult:
    return asyncio.run(publish(source, kafka=producer, topic="t", timing=producer.clock.timing(), **options))


def test_rate_does_not_drift_when_sending_takes_time() -> None:
    producer = FakeProducer(send_seconds=0.04)
    result = published(events(50), producer, pace=Pace(rate=10))
    assert [round(at, 9) for at, *_ in producer.records] == [number / 10 for number in range(50)]
    assert (result.sent, result.skipped) == (50, 0)
    assert result.seconds == pytest.approx(4.94)


def test_speed_follows_the_recorded_times() -> None:
    producer = FakeProducer()
    published(events(4), producer, pace=Pace(speed=2))
    assert [at for at, *_ in producer.records] == [0.0, 0.5, 1.0, 1.5]


def test_as_fast_as_possible_never_sleeps_and_bounds_what_is_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "IN_FLIGHT", 30)
    producer = FakeProducer()
    assert published(events(1000), producer).sent == 1000
    assert producer.clock.slept == []
    assert producer.most_waiting <= 31


def test_progress_is_reported_now_and_then_and_at_the_end() -> None:
    counts: list[int] = []
    published(events(40), FakeProducer(), pace=Pace(rate=10), progress=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert 6 <= len(counts) <= 10


def test_a_cancelled_publisher_counts_the_records_in_flight() -> None:
    counts: list[int] = []

    async def interrupted() -> None:
        producer = FakeProducer(blocked_until=asyncio.Event())
        task = asyncio.create_task(
            publish(events(5), kafka=producer, topic="t", progress=counts.append, timing=Timing())
        )
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(producer.records) == 5
        task.cancel()
        await asyncio.sleep(0)
        assert producer.blocked_until
        producer.blocked_until.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert counts == [5]


def test_a_failed_acknowledgement_ends_the_run() -> None:
    with pytest.raises(BrokerUnreachable, match="topic t: 0 events were acknowledged"):
        published(events(10), FakeProducer(acknowledgement_error=KafkaTimeoutError("late")))


def test_a_missing_topic_is_named() -> None:
    with pytest.raises(TopicMismatch, match="create the topic"):
        published(events(1), FakeProducer(send_error=UnknownTopicOrPartitionError("t")))


def test_an_event_too_large_for_the_broker_is_skipped() -> None:
    assert published(events(3), FakeProducer(send_error=MessageSizeTooLargeError())).skipped == 3


def test_a_broker_that_does_not_answer_is_named() -> None:
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        asyncio.run(publish([], kafka=Settings(brokers="127.0.0.1:1"), topic="t"))


def test_record_of_an_event() -> None:
    event = {"user_id": "ü1", "type": "view", "timestamp": NOW_MS - 5}
    key, value, time_ms = record_of(event, NOW_MS)
    assert (key, time_ms) == ("ü1".encode(), NOW_MS - 5)
    assert msgspec.json.decode(value or b"") == event


@pytest.mark.parametrize("timestamp", [NOW_MS + 60_000, NOW_MS - 2 * publisher.DAY_MS, "tomorrow", None])
def test_times_that_kafka_would_act_upon_are_not_the_records(timestamp: Any) -> None:
    assert record_of({"user_id": "u", "timestamp": timestamp}, NOW_MS)[2] is None


@pytest.mark.parametrize("event", [{"type": "view"}, {"user_id": 7}])
def test_events_without_a_readable_user_have_no_key(event: Event) -> None:
    assert record_of(event, NOW_MS)[0] is None


def test_raw_records_are_sent_as_they_are() -> None:
    assert record_of((None, b"\xff"), NOW_MS) == (None, b"\xff", None)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1519862406000, 1519862406000),
        ("2018-03-01T00:00:06Z", 1519862406000),
        ("2018-03-01T08:00:06.5+08:00", 1519862406500),
        ("2018-03-01 00:00:06", None),
        ("soon", None),
        (True, None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_event_time(timestamp: Any, expected: int | None) -> None:
    assert event_time_ms({"timestamp": timestamp}) == expected


def test_events_from_a_thread_keep_their_order_and_their_errors() -> None:
    def breaking() -> Iterator[Event | RawRecord]:
        yield from events(2500)
        raise ValueError("torn")

    async def read() -> tuple[list[Event | RawRecord], str]:
        events_read: list[Event | RawRecord] = []
        try:
            async for event in from_thread(breaking(), ahead=10):
                events_read.append(event)  # noqa: PERF401
        except ValueError as error:
            return events_read, str(error)
        return events_read, ""

    assert asyncio.run(read()) == (list(events(2500)), "torn")


def test_async_events_are_published() -> None:
    async def some() -> AsyncIterator[Event | RawRecord]:
        for event in events(3):
            yield event

    producer = FakeProducer()
    assert published(some(), producer).sent == 3


def test_the_default_partitioner_is_that_of_kafkas_java_client() -> None:
    # From Kafka's own UtilsTest.testMurmur2.
    assert murmur2(b"21") & 0xFFFFFFFF == -973932308 & 0xFFFFFFFF
    assert murmur2(b"a-little-bit-long-string") & 0xFFFFFFFF == -985981536 & 0xFFFFFFFF
