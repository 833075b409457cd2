"""aiokafka's consumer, which no record can stop: batches that its reader refuses are read by ours, or passed over.

aiokafka raises in the middle of a fetch for a header whose name is not UTF-8 and for a damaged batch, and at the next
start again; and it unpacks whatever it is given. Here its compiled reader still takes all ordinary batches. What it
refuses goes through `record_reader`; what that cannot read either is fetched anew, in case the bytes were damaged on
their way, and then passed over: an `UnreadableBatch` in its place says which offsets it stands for.

What this leans on in aiokafka 0.14, each with a test in `test_lenient_consumer`: `AIOKafkaConsumer.start` makes its
fetcher with the module's `Fetcher`, and `Fetcher._proc_fetch_request` what it hands out with the module's
`MemoryRecords` and `PartitionRecords`; of the first, `has_next` and `size_in_bytes` are asked there; of the second, the
attributes that `__init__` sets, `_unpack_records`, `_consume_aborted_up_to`, `_contains_abort_marker`,
`_consumer_record`, and that a fetch ends where the iterator does, at `next_fetch_offset`; `Fetcher._fetch_waiters` wait
for what that function says is new. `DefaultRecordBatch` takes any bytes of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch

from stream_app.contract.records import UnreadableBatch
from stream_app.kafka.compression import CODEC_MASK
from stream_app.kafka.record_reader import (
    HEADER,
    LARGEST_UNPACKED,
    RawBatch,
    UnreadableData,
    check_crc,
    header_of,
    next_offset,
    read_records,
    records_of,
    split,
    unpacked,
)

MOST_TRIES: Final = 3  # fetches of a batch that cannot be read: bytes can be damaged on their way, too
_NO_TIME: Final = -1  # Kafka's timestamp of a record that has none

Record: TypeAlias = ConsumerRecord[bytes, bytes]  # what aiokafka hands out
Tries = dict[TopicPartition, tuple[int, int]]  # offset of the last batch that could not be read, and how often

logger: Final = logging.getLogger(__name__)


class FetchedBytes:
    """What a broker sent of a partition, in the place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data or b""

    def has_next(self) -> bool:
        """Returns whether there is anything to look at, be it the beginning of a batch that is cut off."""
        return bool(self.data)

    def size_in_bytes(self) -> int:
        """Returns the number of bytes."""
        return len(self.data)


class LenientRecords(PartitionRecords):  # type: ignore[misc]
    """Iterates over the records of a fetch of a partition, as aiokafka does, and passes over what nobody can read."""

    def __init__(self, *args: Any, tries: Tries, largest: int = LARGEST_UNPACKED) -> None:
        """`tries` is kept from fetch to fetch; `largest` says to how many bytes a batch may unpack."""
        super().__init__(*args)
        assert self._key_deserializer is self._value_deserializer is None, "bytes are handed out"
        self.next_fetch_offset: int
        self._tries = tries
        self._largest = largest

    def _unpack_records(self) -> Iterator[Record]:
        for batch in split(self._records.data):
            try:
                yield from self._ordinary(batch)
                continue
            except MemoryError:
                raise
            except Exception as error:  # the readers raise whatever comes along for bytes that are not a batch
                problem = error
            try:
                yield from self._salvaged(batch, problem)
            except UnreadableData as error:
                if not batch.problem and self.next_fetch_offset >= next_offset(batch):
                    logger.warning("%s-%d: a batch is damaged behind its last record: %s", *self._tp, error)
                    continue
                # Nothing more of this fetch is read: where the batch ends, and which transactions are aborted behind
                # it, is what the broker says at the next fetch.
                if not self._may_try_again(batch, error):
                    yield self._passed_over(batch, error)
                return

    def _ordinary(self, batch: RawBatch) -> Iterator[Record]:
        """Yields the records of a batch by aiokafka's reader; raises what it raises, and `UnreadableData`."""
        if batch.problem or batch.magic < 2:
            yield from self._legacy(batch)
            return
        opened: Any = DefaultRecordBatch(batch.data)
        if self._check_crcs and not opened.validate_crc():
            check_crc(batch, header_of(batch))
        end = max(opened.next_offset, batch.base_offset + 1)
        if not self._is_for_readers(opened):
            self._move_to(end)
            return
        if opened.attributes & CODEC_MASK:
            opened = self._plain(batch)
        position, (topic, partition) = self.next_fetch_offset, self._tp
        for record in opened:
            offset = record.offset
            if offset < position:
                continue  # the fetch began in the middle of the batch
            if offset >= end:
                raise UnreadableData(f"a record claims offset {offset}")
            position = self.next_fetch_offset = offset + 1
            key, value = record.key, record.value
            # What `_consumer_record` does, without its call: this is the path of every event.
            yield ConsumerRecord(
                topic,
                partition,
                offset,
                record.timestamp,
                record.timestamp_type,
                key,
                value,
                None,
                -1 if key is None else len(key),
                -1 if value is None else len(value),
                tuple(record.headers),
            )
        self._move_to(end)  # compaction may have taken the last record

    def _move_to(self, end: int) -> None:
        """Moves the position behind a batch, never back: a header that cannot be right must not repeat anything."""
        self.next_fetch_offset = max(self.next_fetch_offset, end)

    def _plain(self, batch: RawBatch) -> Any:
        """Returns a compressed batch as one that is not."""
        header = header_of(batch)
        payload = unpacked(batch, header, self._largest)
        front = HEADER.pack(*header._replace(attributes=header.attributes & ~CODEC_MASK))
        return DefaultRecordBatch(b"".join([front, payload]))

    def _legacy(self, batch: RawBatch) -> Iterator[Record]:
        for record in read_records(batch, self._largest):
            if record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                made = self._consumer_record(self._tp, record)
                made.timestamp = _NO_TIME if record.timestamp is None else record.timestamp
                yield made
        self._move_to(next_offset(batch))

    def _is_for_readers(self, batch: Any) -> bool:
        """Returns whether a batch is neither a marker nor part of an aborted transaction; as aiokafka does."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._ends_aborted(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return False
        return not batch.is_control_batch

    def _ends_aborted(self, marker: Any) -> bool:
        try:
            return bool(self._contains_abort_marker(marker))
        except Exception:
            return True  # whatever it is, no transaction of its producer goes on behind it

    def _salvaged(self, batch: RawBatch, problem: Exception) -> Iterator[Record]:
        """Yields what our own reader can read of a batch from the present position on. Raises `UnreadableData`."""
        if isinstance(problem, UnreadableData):
            raise problem
        header = header_of(batch)
        for record in records_of(header, unpacked(batch, header, self._largest)):
            if record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                yield self._consumer_record(self._tp, record)
        self._move_to(header.next_offset)

    def _may_try_again(self, batch: RawBatch, problem: UnreadableData) -> bool:
        """Returns whether to fetch a batch once more: how much it unpacks to will not change."""
        offset, tries = self._tries.get(self._tp, (-1, 0))
        tries = tries + 1 if offset == batch.base_offset else 1
        self._tries[self._tp] = batch.base_offset, tries
        return problem.reason != "too_large" and tries < MOST_TRIES

    def _passed_over(self, batch: RawBatch, problem: UnreadableData) -> UnreadableBatch:
        """Moves behind a batch, and returns what stands for the records in it that were not handed out."""
        tp = self._tp
        if batch.problem:  # nor is its header what it says: one offset further is all that is sure
            first, end = self.next_fetch_offset, self.next_fetch_offset + 1
        else:
            first = max(self.next_fetch_offset, batch.base_offset)
            end = max(next_offset(batch), first + 1)
        self._tries.pop(tp, None)
        self.next_fetch_offset = end
        offsets = f"offsets {first} to {end - 1}" if end > first + 1 else f"offset {first}"
        logger.error("%s-%d %s cannot be read and are passed over: %s", tp.topic, tp.partition, offsets, problem)
        return UnreadableBatch(
            topic=tp.topic,
            partition=tp.partition,
            offset=end - 1,
            timestamp=_NO_TIME,
            timestamp_type=0,
            key=None,
            value=None,
            checksum=None,
            serialized_key_size=-1,
            serialized_value_size=-1,
            headers=(),
            first_offset=first,
            reason=problem.reason,
            message=f"a batch with {offsets} cannot be read: {problem}",
        )


class LenientFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, which hands out `LenientRecords`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        records = partial(LenientRecords, tries={})
        take = _with_names(Fetcher._proc_fetch_request, MemoryRecords=FetchedBytes, PartitionRecords=records)
        self._take = MethodType(take, self)

    async def _proc_fetch_request(self, *arguments: Any) -> bool:
        """Tells whoever waits for records at once.

        aiokafka does so two turns of the event loop later, after a look for what else to fetch: of the partitions whose
        records were not taken by then nothing, so that it has to look again.
        """
        is_new: bool = await self._take(*arguments)
        if is_new:
            for waiter in self._fetch_waiters:
                self._notify(waiter)
        return is_new


def _with_names(function: Any, **names: Any) -> Callable[..., Any]:
    """Returns a copy of a function that finds these names in its module, and changes nothing for others."""
    found = {**function.__globals__, **names}
    return FunctionType(function.__code__, found, function.__name__, function.__defaults__, function.__closure__)


class LenientConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer with `LenientFetcher`."""

    start = _with_names(AIOKafkaConsumer.start, Fetcher=LenientFetcher)
