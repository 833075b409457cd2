"""What makes a batch durable, in the order of the design's invariant.

Per partition, at every instant: predictions and dead letters acknowledged >= changelog acknowledged >= fetch
acknowledged. A user whose changelog record says that an event was applied has therefore been answered for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer

from stream_app.contract import LARGEST_DEAD_LETTER
from stream_app.lease import Lease
from stream_app.metrics import Ranker
from stream_app.settings import Settings
from stream_app.wire import Reason

_PRODUCE_BATCH: Final = 900_000  # bytes; brokers take a little over 1 MB by default


class Outgoing(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """All effects of a batch on one partition."""

    partition: int
    ranker: Ranker
    predictions: list[Outgoing] = field(default_factory=list)
    dead_letters: list[Outgoing] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)  # of the dead letters
    changelog: list[Outgoing] = field(default_factory=list)
    record_times: list[int] = field(default_factory=list)  # of the answered events, milliseconds since the epoch


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the broker has acknowledged of a batch."""

    answered_at: float  # seconds since the epoch, when the predictions were acknowledged
    changelog_offset: int | None  # of the last record; None: there was none


class Delivery(Protocol):
    """The seam: each delivery guarantee is one implementation."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def deliver(self, batch: BatchResult, after: asyncio.Future[Any] | None) -> Delivered:
        """Makes a batch durable after the partition's batch before it (`after`).

        Calls for one partition come in order, and none waits for the one before to end.
        Raises on any failure: the process must then end.
        """


class AtLeastOnce:
    """Predictions and dead letters first, then the changelog: at least once answered, once applied."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._settings = settings
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._lease: Lease | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._order: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Connects; raises aiokafka's errors."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.brokers,
            client_id=f"{self._settings.group}-delivery",
            acks="all",
            enable_idempotence=True,
            max_batch_size=_PRODUCE_BATCH,
            max_request_size=LARGEST_DEAD_LETTER,
        )
        await self._producer.start()
        self._lease = Lease(self._settings.session_timeout, asyncio.get_running_loop().time)
        self._keeping = asyncio.create_task(self._lease.keep())

    async def stop(self) -> None:
        """Sends what is left and disconnects."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._producer is not None:
            await self._producer.stop()

    async def deliver(self, batch: BatchResult, after: asyncio.Future[Any] | None) -> Delivered:
        """See `Delivery`. Raises `DataPathError` when the partitions may be another worker's by now."""
        assert self._lease is not None
        settings, partition = self._settings, batch.partition
        self._lease.check()
        async with self._order[partition]:  # locks are fair, so records are queued in the order of the batches
            answers = await self._send(settings.predictions_topic, partition, batch.predictions)
            answers += await self._send(settings.dead_letters_topic, partition, batch.dead_letters)
        await asyncio.gather(*answers)
        answered_at = self._clock()
        if after is not None:
            await after
        self._lease.check()
        written = await asyncio.gather(*await self._send(settings.state_topic, partition, batch.changelog))
        return Delivered(answered_at, _last_offset([metadata.offset for metadata in written], batch.changelog))

    async def _send(self, topic: str, partition: int, records: list[Outgoing]) -> list[asyncio.Future[Any]]:
        """Queues records as few large batches; the futures end when the broker has acknowledged them."""
        assert self._producer is not None
        futures = []
        remaining = iter(records)
        record = next(remaining, None)
        while record is not None:
            builder = self._producer.create_batch()
            while record is not None and _appended(builder, record):
                record = next(remaining, None)
            futures.append(await self._producer.send_batch(builder, topic, partition=partition))
        return futures


def _appended(builder: Any, record: Outgoing) -> bool:
    """Whether the record fitted; into an empty batch any does."""
    key, value, headers = record
    return builder.append(timestamp=None, key=key, value=value, headers=list(headers)) is not None


def _last_offset(bases: list[int], records: list[Outgoing]) -> int | None:
    """Of the changelog; batches report the offset of their first record, and ours lie one behind another."""
    if not bases:
        return None
    return bases[0] + len(records) - 1
