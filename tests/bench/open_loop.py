"""An open-loop load: events are due at times fixed in advance, and latency counts from when each was due.

A generator that waits for answers, or that counts from when it got around to sending, does not see how long a stall
makes everybody else wait (coordinated omission).
Shapes: N events of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from stream_app.kafka.clients import new_consumer, new_producer
from stream_app.settings import Settings
from tests.bench.made_up import events, with_category

SHARES: Final = (0.5, 0.9, 0.99, 0.999)
LATE_S: Final = 0.005  # an event sent so long after it was due was held up by the client itself
GRACE_S: Final = 20.0  # for the last answers; what comes later counts as lost
GIVE_UP_S: Final = 2.0  # with an event unanswered for so long the rest is not sent: the stream cannot keep up
LEAD_S: Final = 0.2  # from the call to the first event
_BREATHE: Final = 50  # records between two turns of the event loop when the load is behind
_POOL: Final = 100_000  # events that are made once
_TURN_S: Final = 0.001  # the shortest wait of `offer`
_LONGEST_WAIT_S: Final = 0.02
_LOOK_S: Final = 0.1  # between two looks at the oldest event without an answer
RUNS: Final = itertools.count(1)  # of all clients: an answer says to which run its event belongs

Record = tuple[bytes, bytes]  # key and value


class Answer(msgspec.Struct):
    """The field that echoes and predictions repeat of an event."""

    event_id: str


@dataclass(frozen=True, slots=True)
class LoadRun:
    """What became of the events of one run; times in seconds of one clock, `received` infinite where no answer came."""

    rate: float  # events/s
    start: float  # when the first event was due
    sent: NDArray[np.float64]  # (N,)
    received: NDArray[np.float64]  # (N,)

    @property
    def due(self) -> NDArray[np.float64]:
        """When each event was due (N,)."""
        return self.start + np.arange(len(self.sent)) / self.rate

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Seconds from due to received (N,)."""
        return self.received - self.due

    @property
    def lost(self) -> int:
        """Events without an answer."""
        return int(np.isinf(self.received).sum())

    @property
    def late_share(self) -> float:
        """The share of events that the client sent more than 5 ms after they were due."""
        return float(np.mean(self.sent - self.due > LATE_S))

    def after(self, seconds: float) -> LoadRun:
        """Returns the run without the events of its first seconds, which load as the others do."""
        first = min(round(seconds * self.rate), len(self.sent) - 1)
        return LoadRun(self.rate, self.start + first / self.rate, self.sent[first:], self.received[first:])

    def growth(self) -> float:
        """Returns by how many seconds answers get later per second: x - 1 where events come x times too fast.

        Counted from the median latency of the first third to that of the last third; infinite where events are lost.
        """
        third = len(self.sent) // 3
        if self.lost or not third:
            return float("inf") if self.lost else 0.0
        first, last = (float(np.median(part)) for part in (self.latencies[:third], self.latencies[-third:]))
        return (last - first) / ((len(self.sent) - third) / self.rate)


def percentiles(latencies: NDArray[np.float64]) -> dict[str, float]:
    """Nearest-rank percentiles in milliseconds of latencies (N,) in seconds; infinite ones are lost and count."""
    ordered = np.sort(latencies)
    ranks = {f"p{100 * share:g}": int(np.ceil(share * len(ordered))) - 1 for share in SHARES}
    return {name: round(1000 * float(ordered[rank]), 2) for name, rank in ranks.items()}


class EventPool:
    """Events of a shop's stream, encoded once, so that sending one costs the client next to nothing."""

    def __init__(self, users: int, items: int) -> None:
        made = ({name: value for name, value in event.items() if name != "event_id"} for event in _made(users, items))
        self._heads = [
            (str(event["user_id"]).encode(), msgspec.json.encode(event)[:-1] + b',"event_id":"') for event in made
        ]

    def take(self, run: int, count: int) -> list[Record]:
        """Returns as many events, with ids that tell the run and the number in it; see `numbers`."""
        first = 7919 * run  # so that runs begin with different users
        heads = itertools.islice(itertools.cycle(self._heads), first % _POOL, first % _POOL + count)
        return [(key, head + b'%d-%d"}' % (run, number)) for number, (key, head) in enumerate(heads)]


def numbers(values: Iterable[bytes | None], run: int) -> list[int]:
    """Returns the numbers of a run's events that these answers repeat; answers to other runs are left out."""
    prefix, decode = f"{run}-", msgspec.json.Decoder(Answer).decode
    ids = (decode(value).event_id for value in values if value is not None)
    return [int(event_id[len(prefix) :]) for event_id in ids if event_id.startswith(prefix)]


async def on_schedule(
    send: Callable[[int], Awaitable[object]],
    count: int,
    rate: float,
    *,
    start: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    """Calls `send(n)` for n = 0, 1, … when `start + n / rate` has come: what a stall held up follows at once."""
    for number in range(count):
        while (wait := start + number / rate - clock()) > 0:
            await sleep(wait)
        await send(number)
        if number % _BREATHE == 0:
            await sleep(0)


class Link(Protocol):
    """Both ends of a stream, as `offer` uses them."""

    def send(self, record: Record) -> None:
        """Hands an event over; does not wait for the broker."""

    def take(self, wait: float) -> list[int]:
        """Returns the numbers of the events whose answers have come; waits so many seconds for the first."""


def offer(
    link: Link,
    records: Sequence[Record],
    rate: float,
    clock: Callable[[], float],
    *,
    grace: float = GRACE_S,
    give_up: float = GIVE_UP_S,
) -> LoadRun:
    """Sends record n when n / rate seconds have gone by, from one thread, and notes when its first answer comes.

    It does so in turns of at least a millisecond, so that an event is sent up to a millisecond after it is due: that
    counts as latency. When an event has been without an answer for `give_up` seconds the events after it are not sent,
    and the run is the shorter. It ends with the last answer, or `grace` seconds after the last event.
    """
    count, sent, received = len(records), np.zeros(len(records)), np.full(len(records), np.inf)
    number = answered = oldest = 0
    start = look = clock() + LEAD_S
    end = np.inf
    while answered < count and (now := clock()) < end:
        due = min(count, int((now - start) * rate) + 1) if now >= start else 0
        for record in records[number:due]:
            link.send(record)
        sent[number:due] = now
        number = max(number, due)
        wait = start + number / rate - now if number < count else _LONGEST_WAIT_S
        came = link.take(min(_LONGEST_WAIT_S, max(_TURN_S, wait)))
        for one in came:
            if received[one] == np.inf:
                received[one] = clock()
                answered += 1
        if number < count and now >= look:
            look = now + _LOOK_S
            while oldest < number and received[oldest] < np.inf:
                oldest += 1
            if now - (start + oldest / rate) > give_up:
                count = number
        if number == count and end == np.inf:
            end = now + grace
    return LoadRun(rate, start, sent[:number], received[:number])


class AiokafkaLoad:
    """A client on aiokafka: publishes events and awaits what comes back for each."""

    def __init__(self, settings: Settings, pool: EventPool) -> None:
        self._settings = settings
        self._pool = pool

    async def run(self, rate: float, seconds: float) -> LoadRun:
        """Sends so many events/s for so long, and waits for the answers. The first answer to each event counts."""
        settings, run, count = self._settings, next(RUNS), round(rate * seconds)
        records, sent, received = self._pool.take(run, count), np.zeros(count), np.full(count, np.inf)
        producer = new_producer(settings, "publisher", acks="all", enable_idempotence=True)
        consumer = new_consumer(settings, "subscriber", fetch_max_wait_ms=100)
        async with producer, consumer:
            topic = settings.predictions_topic
            partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_end(*partitions)
            await asyncio.gather(*(consumer.position(partition) for partition in partitions))
            receiving = asyncio.create_task(_receive(consumer, run, received))

            async def send(number: int) -> None:
                sent[number] = time.perf_counter()
                key, value = records[number]
                await producer.send(settings.events_topic, value, key)

            start = time.perf_counter() + LEAD_S
            await on_schedule(send, count, rate, start=start, clock=time.perf_counter, sleep=asyncio.sleep)
            with contextlib.suppress(TimeoutError):  # what has not come by then is lost
                await asyncio.wait_for(receiving, GRACE_S)
        return LoadRun(rate, start, sent, received)


async def _receive(consumer: Any, run: int, received: NDArray[np.float64]) -> None:
    """Notes when the first answer to each event of a run came, until all have one."""
    missing = len(received)
    while missing:
        fetched = await consumer.getmany(timeout_ms=200)
        now = time.perf_counter()
        for number in numbers((record.value for record in itertools.chain.from_iterable(fetched.values())), run):
            if received[number] == np.inf:
                received[number] = now
                missing -= 1


def _made(users: int, items: int) -> Iterable[dict[str, Any]]:
    return map(with_category, events(_POOL, users, items))
