"""Publishers that do what one's own would not: abort, compress by every codec, write odd headers and huge records."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.clients import new_producer
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from stream_app.kafka.publisher import started_producer
from stream_app.settings import Compression, Settings
from tests.faults.load import ABORTED, EXPECT, OUTAGE_MS, Labelled, Publisher
from tests.faults.waiting import until
from tests.integration.principals import allow

MakePublisher = Callable[[Settings, Iterator[Labelled], float], Publisher]

_CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
_MIB: Final = 1024 * 1024
_TRANSACTION_S: Final = 0.1  # of load in a transaction
_ODD_SHARE: Final = 0.1  # of the records that have odd headers
_HUGE_EVERY: Final = 1500  # records between two huge ones: 5 s
_ADDED_S: Final = 20.0

_ODD_HEADERS: Final = (  # lone surrogates stand for bytes that are not UTF-8
    (b"trac\xe9".decode(errors="surrogateescape"), b"1"),
    (b"\xff\xfe\x00".decode(errors="surrogateescape"), b"\xff"),
    ("", b""),
    ("nothing", None),
    ("twice", b"1"),
    ("twice", b"2"),
    ("naïve 🛒", "é".encode("latin-1")),
    ("long" * 500, bytes(3000)),
)


class Aborting(Publisher):
    """Publishes in transactions; many are taken back, some have no records, and in some the publisher dies."""

    def __init__(self, settings: Settings, load: Iterator[Labelled], rate: float) -> None:
        super().__init__(settings, load, rate)
        self._rng = random.Random(rate)

    async def _connect(self) -> None:
        name = f"{self._settings.group}-publisher"
        allow(self._settings, "publisher", "Write", "TransactionalId", name)
        self._producer = new_producer(self._settings, "publisher", transactional_id=name, linger_ms=5)
        await self._producer.start()

    async def _tick(self) -> None:
        await self._producer.begin_transaction()
        fate = self._rng.choices(("commit", "abort", "empty", "die"), (6, 3, 3, 0.5))[0]
        if fate == "empty":
            await self._touch(self._rng.randrange(self._settings.partitions))
            fate = self._rng.choice(("commit", "abort"))
            self.oddities["empty transactions"] += 1
        else:
            sent = await self._write(committed=fate == "commit")
            self.acknowledged += sent if fate == "commit" else 0
            self.oddities[f"records: {fate}"] += sent
        if fate == "commit":
            await self._producer.commit_transaction()
        elif fate == "abort":
            await self._producer.abort_transaction()
        else:  # the next one with the same name takes back what this one has left open
            await self._disconnect()
            await self._connect()

    async def _write(self, *, committed: bool) -> int:
        records = [next(self._load) for _ in range(round(self.rate * _TRANSACTION_S))]
        topic = self._settings.events_topic
        sent = []
        for key, value, expect in records:
            label = expect if committed else ABORTED
            sent.append(await self._producer.send(topic, value, key, headers=[(EXPECT, label.encode())]))
        await asyncio.gather(*sent)
        return len(sent)

    async def _touch(self, partition: int) -> None:
        """Makes a partition part of the transaction: its end will be a marker, with no record before it."""
        tp, transaction = TopicPartition(self._settings.events_topic, partition), self._producer._txn_manager
        transaction.maybe_add_partition_to_txn(tp)

        async def added() -> bool:
            return tp in transaction.txn_partitions

        await until(added, _ADDED_S, "a partition in the transaction", every=0.01)


class Compressing(Publisher):
    """Publishes by one producer per codec, so that each partition has batches of all."""

    def __init__(self, settings: Settings, load: Iterator[Labelled], rate: float) -> None:
        super().__init__(settings, load, rate)
        self._rng = random.Random(rate)
        self._producers: list[Any] = []

    async def _connect(self) -> None:
        for codec in _CODECS:
            producer = await started_producer(
                self._settings, "publisher", request_timeout_ms=OUTAGE_MS, compression_type=codec
            )
            self._producers.append(producer)

    async def _disconnect(self) -> None:
        while self._producers:
            await self._producers.pop().stop()

    async def _send(self, record: Labelled) -> None:
        number = self._rng.randrange(len(_CODECS))
        self.oddities[f"records: {_CODECS[number]}"] += 1
        await self._send_by(self._producers[number], record)


class ByHand(Publisher):
    """Publishes some records in batches that aiokafka would not write."""

    def __init__(self, settings: Settings, load: Iterator[Labelled], rate: float) -> None:
        super().__init__(settings, load, rate)
        self._rng = random.Random(rate)
        self._partitioner = DefaultPartitioner()

    async def _send_batch(
        self, partition: int, records: list[OutgoingRecord], compression: Compression = "none"
    ) -> asyncio.Future[Any]:
        (batch,) = encode_records(records, largest=2**40, compression=compression)
        encoded = EncodedBatch(batch, time=time.time(), transactional=False)
        future: asyncio.Future[Any]
        future = await self._producer.send_batch(encoded, self._settings.events_topic, partition=partition)
        self._watch(future)
        return future

    def _partition(self, key: bytes | None) -> int:
        partitions = list(range(self._settings.partitions))
        return int(self._partitioner(key, partitions, partitions))


class OddHeaders(ByHand):
    """Publishes events and others with header names that are not UTF-8, empty, repeated, or without a value."""

    async def _send(self, record: Labelled) -> None:
        if self._rng.random() >= _ODD_SHARE:
            await super()._send(record)
            return
        headers = [*self._rng.choices(_ODD_HEADERS, k=self._rng.randint(1, 4)), (EXPECT, record.expect.encode())]
        self.oddities["records with odd headers"] += 1
        outgoing = OutgoingRecord(record.key, record.value, headers)
        await self._send_batch(self._partition(record.key), [outgoing])


class Huge(ByHand):
    """Publishes records of 17 MiB that are small on the wire, and batches that unpack to more than anybody should."""

    def __init__(self, settings: Settings, load: Iterator[Labelled], rate: float) -> None:
        super().__init__(settings, load, rate)
        self._number = 0

    async def _send(self, record: Labelled) -> None:
        self._number += 1
        if self._number % _HUGE_EVERY == _HUGE_EVERY // 3:
            partition = self._rng.randrange(self._settings.partitions)
            headers = [(EXPECT, b"too_large"), ("trace", bytes(200))]
            self.oddities["records of 17 MiB"] += 1
            await self._send_batch(partition, [OutgoingRecord(b"huge", b"{" + bytes(17 * _MIB), headers)], "gzip")
        if self._number % (4 * _HUGE_EVERY) == _HUGE_EVERY // 2:
            await self._send_bomb(self._rng.randrange(self._settings.partitions))
        await super()._send(record)

    async def _send_bomb(self, partition: int) -> None:
        """A batch that nobody unpacks: it stands in the log as one record, at its last offset."""
        bomb = [OutgoingRecord(b"bomb", bytes(45 * _MIB), ())] * 3
        self.oddities["batches of 135 MiB"] += 1
        metadata = await (await self._send_batch(partition, bomb, "zstd"))
        self.labels[partition, metadata.offset + len(bomb) - 1] = "too_large"
