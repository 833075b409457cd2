"""A producer that keeps what it is given, and batches to deliver."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.batch_queue import PartitionBatch, QueuedBatches
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch
from stream_app.pipeline.batch_result import BatchResult
from stream_app.settings import load_settings
from stream_app.worker.delivery import Delivery, DeliveryReceipt
from tests.unit.builders.basics import packed, unpacked

SETTINGS = load_settings(
    {
        "signals_topic": "shop.signals",
        "predictions_latest_topic": "shop.predictions.latest",
        "profile_topic": "shop.profiles",
    }
)


PREDICTIONS, DEAD_LETTERS, CHANGELOG = SETTINGS.predictions_topic, SETTINGS.dead_letters_topic, SETTINGS.state_topic
JOINS, SIGNALS, LATEST = SETTINGS.joins_topic, SETTINGS.signals_topic, SETTINGS.predictions_latest_topic
PROFILES = SETTINGS.profile_topic


@dataclass
class SentBatch:
    """A batch of records on its way to the broker."""

    topic: str
    partition: int
    records: list[OutgoingRecord]
    base: int
    acknowledged: asyncio.Future[Any]

    def acknowledge(self) -> None:
        self.acknowledged.set_result(SimpleNamespace(offset=self.base))


class Producer:
    """Queues batches at a given pace; they are acknowledged by the test, or at once."""

    def __init__(
        self,
        *,
        at_once: bool = False,
        pauses: Sequence[int] = (),
        others: Sequence[int] = (),
    ) -> None:
        self.at_once = at_once
        self.sent: list[SentBatch] = []
        self.puts: list[list[str]] = []  # the topics of what was queued at once
        self.options: dict[str, Any] = {}
        self.stopped = False
        self._pauses = iter(pauses)
        self._others = iter(others)
        self._ends: Counter[tuple[str, int]] = Counter({(CHANGELOG, 1): 40})

    def __call__(self, **options: Any) -> Producer:
        self.options = options
        return self

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def send_batch(self, builder: EncodedBatch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        for _ in range(next(self._pauses, 0)):
            await asyncio.sleep(0)
        sent = self._sent(topic, partition, builder.batch)
        if self.at_once:
            sent.acknowledge()
        return sent.acknowledged

    def _sent(self, topic: str, partition: int, batch: RecordBatch) -> SentBatch:
        base = self._ends[topic, partition] = self._ends[topic, partition] + next(self._others, 0)
        self._ends[topic, partition] += batch.records
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append(SentBatch(topic, partition, unpacked([batch]), base, future))
        return self.sent[-1]

    def queue(self, _: Any, clock: Callable[[], float]) -> Producer:
        """Takes the place of a `BatchQueue`."""
        self._clock = clock
        return self

    async def know(self, topics: Iterable[str]) -> None:
        for _ in range(next(self._pauses, 0)):
            await asyncio.sleep(0)

    def put(self, batches: Sequence[PartitionBatch], *, joining: bool = False) -> QueuedBatches:
        queued = QueuedBatches(len(batches), self._clock)
        self.puts.append([tp.topic for tp, _ in batches])
        for tp, batch in batches:
            sent = self._sent(tp.topic, tp.partition, batch)
            note = partial(_note, queued, tp, range(sent.base, sent.base + batch.records))
            sent.acknowledged.add_done_callback(note)
            if self.at_once:
                sent.acknowledge()
        return queued

    def of(self, topic: str, partition: int = 1) -> list[SentBatch]:
        return [sent for sent in self.sent if (sent.topic, sent.partition) == (topic, partition)]

    def topics(self) -> list[str]:
        return [sent.topic for sent in self.sent]


def _note(queued: QueuedBatches, tp: TopicPartition, offsets: range, acknowledged: asyncio.Future[Any]) -> None:
    if (error := acknowledged.exception()) is not None:
        queued.fail(error)
    else:
        queued.note(tp, offsets)


def batch(
    n: int = 0,
    *,
    partition: int = 1,
    predictions: int = 2,
    dead_letters: int = 1,
    changes: int = 2,
    joins: int = 0,
    signals: int = 0,
    latest: int = 0,
    profiles: int = 0,
) -> BatchResult:
    def records(kind: str, size: int) -> list[OutgoingRecord]:
        headers = (("h", b"1"),) if kind == "dead letter" else ()
        return [OutgoingRecord(b"key", f"{kind} {n}.{index}".encode(), headers) for index in range(size)]

    return BatchResult(
        partition=partition,
        ranker="model",
        predictions=packed(records("prediction", predictions)),
        latest=packed(records("latest", latest)),
        profiles=packed(records("profile", profiles)),
        dead_letters=packed(records("dead letter", dead_letters)),
        changelog=packed(records("change", changes)),
        signals=packed(records("signal", signals)),
        joins=[(6, join) for join in packed(records("join", joins))],
    )


async def deliver(delivery: Delivery, result: BatchResult, offsets: range = range(1)) -> DeliveryReceipt:
    """Delivers a batch of one partition."""
    (receipt,) = await delivery.deliver([result], {result.partition: offsets})
    return receipt


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
