"""An open-loop load: records are due at times fixed in advance, and latency counts from when each was due.

A generator that waits for answers, or that counts from when it got around to sending, does not see how long a stall
makes everybody else wait (coordinated omission).
Shapes: N records.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from numpy.typing import NDArray

from stream_app.settings import Settings

SHARES: Final = (0.5, 0.9, 0.99, 0.999)
_GRACE_S: Final = 20.0  # for the last answers; what comes later counts as lost
_BREATHE: Final = 50  # records between two turns of the event loop when the load is behind
_RUNS: Final = itertools.count(1)


class _Answer(msgspec.Struct):
    """The field that echoes and predictions repeat of an event."""

    event_id: str


def percentiles(latencies: NDArray[np.float64]) -> dict[str, float]:
    """Nearest-rank percentiles in milliseconds of latencies (N,) in seconds; infinite ones are lost and count."""
    ordered = np.sort(latencies)
    ranks = {f"p{100 * share:g}": int(np.ceil(share * len(ordered))) - 1 for share in SHARES}
    return {name: round(1000 * float(ordered[rank]), 2) for name, rank in ranks.items()}


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


class Load:
    """A client of a stream: publishes events and awaits what comes back for each."""

    def __init__(self, settings: Settings, users: int, items: int) -> None:
        self._settings = settings
        self._users = users
        self._items = items

    async def run(self, rate: float, seconds: float) -> NDArray[np.float64]:
        """Latencies (N,) of so many events/s, in seconds; infinite where no answer came. One answer each counts."""
        settings, run, count = self._settings, next(_RUNS), round(rate * seconds)
        received = np.full(count, np.inf)
        producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all", enable_idempotence=True)
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers, enable_auto_commit=False, fetch_max_wait_ms=100)
        async with producer, consumer:
            topic = settings.predictions_topic
            partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_end(*partitions)
            await asyncio.gather(*(consumer.position(partition) for partition in partitions))
            receiving = asyncio.create_task(_receive(consumer, run, received))
            rng = np.random.default_rng(run)
            users, items = (
                rng.integers(self._users, size=count).tolist(),
                rng.integers(self._items, size=count).tolist(),
            )

            async def send(number: int) -> None:
                event = _event(users[number], items[number], f"{run}-{number}")
                await producer.send(settings.events_topic, event, f"user-{users[number]}".encode())

            start = time.perf_counter() + 0.5
            await on_schedule(send, count, rate, start=start, clock=time.perf_counter, sleep=asyncio.sleep)
            with contextlib.suppress(TimeoutError):  # what has not come by then is lost
                await asyncio.wait_for(receiving, _GRACE_S)
        return received - (start + np.arange(count) / rate)


async def _receive(consumer: Any, run: int, received: NDArray[np.float64]) -> None:
    """Notes when the first answer to each event of a run came, until all have one."""
    prefix, decode = f"{run}-", msgspec.json.Decoder(_Answer).decode
    missing = len(received)
    while missing:
        fetched = await consumer.getmany(timeout_ms=200)
        now = time.perf_counter()
        for record in itertools.chain.from_iterable(fetched.values()):
            event_id = decode(record.value).event_id
            if event_id.startswith(prefix) and received[place := int(event_id[len(prefix) :])] == np.inf:
                received[place] = now
                missing -= 1


def _event(user: int, item: int, event_id: str) -> bytes:
    event = {"user_id": f"user-{user}", "type": "view", "item_id": f"item-{item}", "event_id": event_id, "price": 19.9}
    return msgspec.json.encode(event)
