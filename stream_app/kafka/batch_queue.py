"""Queues encoded batches with aiokafka's producer, all at once, and says when all of them are acknowledged.

`AIOKafkaProducer.send_batch` makes three futures for each batch, and its caller waits for each. Here one future stands
for all batches that were queued together, nothing is awaited in between, and so they leave in one request per broker.
Idempotence, retries, order and changes of leaders stay aiokafka's: its accumulator and its sender have the batches.

The sender is aiokafka's too, but for two things that cost most of a small request: it wakes for every request twice and
waits for all that there is each time, and fields are written and read by a tree of objects.

What this leans on in aiokafka, each with a test in `test_batch_queue`: the accumulator's `_batches` (a queue for each
partition), `_waiter_future` (wakes the sender), `_closed` and `_exception`; what accumulator and sender ask of a
`MessageBatch`; `TransactionManager.maybe_add_partition_to_txn`; of the sender `_sender_routine`, `_send_produce_req`
with its handler, `_in_flight` and `_muted_partitions`; what a connection asks of a request.
"""

from __future__ import annotations

import asyncio
import copy
import struct
import time as clocks
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from io import BytesIO
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7

from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch, join, joined

_EXPIRES_S: Final = 60.0  # after which a batch without a leader fails

_PARTITION: Final = struct.Struct(">ii")  # number, bytes of its batch
_ANSWER: Final = struct.Struct(">ihqqq")  # partition, error, offset, time, where its log begins

PartitionBatch = tuple[TopicPartition, RecordBatch]


class QueuedBatches:
    """Batches that were queued at once."""

    def __init__(self, number: int, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self.written: dict[TopicPartition, list[range]] = {}  # offsets of each batch, as the broker acknowledges them
        self.acknowledged: asyncio.Future[float] = asyncio.get_running_loop().create_future()  # when all of them were
        self._left = number
        self._clock = clock
        if not number:
            self.acknowledged.set_result(clock())

    def note(self, tp: TopicPartition, offsets: range) -> None:
        """Notes that the broker has acknowledged a batch; those of a partition are acknowledged in their order."""
        self.written.setdefault(tp, []).append(offsets)
        self._left -= 1
        if not self._left and not self.acknowledged.done():
            self.acknowledged.set_result(self._clock())

    def fail(self, error: BaseException) -> None:
        """Notes that a batch was not written."""
        if not self.acknowledged.done():
            self.acknowledged.set_exception(error)


class BatchQueue:
    """Queues batches with a producer that is connected."""

    def __init__(self, producer: AIOKafkaProducer, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._producer: Any = producer
        self._clock = clock
        self._known: set[str] = set()  # topics whose partitions the producer knows

    async def know(self, topics: Iterable[str]) -> None:
        """Returns when the producer knows the topics: at once, but for the first time. Raises aiokafka's errors."""
        for topic in topics:
            if topic not in self._known:
                await self._producer.partitions_for(topic)
                self._known.add(topic)

    def put(self, batches: Sequence[PartitionBatch], *, joining: bool = False) -> QueuedBatches:
        """Queues batches, each partition's in their order; their records bear the time of now.

        A request takes one batch of a partition: `joining` makes one of small ones, for topics that take the largest.
        Raises what ended the producer.
        """
        accumulator, transactions = self._producer._message_accumulator, self._producer._txn_manager
        if accumulator._closed:
            raise ProducerClosed
        if accumulator._exception is not None:
            raise copy.copy(accumulator._exception)
        transactional = transactions.transactional_id is not None
        queued, time = QueuedBatches(len(batches), self._clock), self._clock()
        for tp, group in _groups(batches, joining=joining):
            transactions.maybe_add_partition_to_txn(tp)
            encoded = EncodedBatch(join(group), time=time, transactional=transactional)
            accumulator._batches[tp].append(_QueuedBatch(tp, encoded, [batch.records for batch in group], queued))
        if batches and not accumulator._waiter_future.done():
            accumulator._waiter_future.set_result(None)
        return queued


def _groups(
    batches: Sequence[PartitionBatch], *, joining: bool
) -> Iterator[tuple[TopicPartition, Sequence[RecordBatch]]]:
    """Finds the batches of each partition that become one."""
    if not joining:
        yield from ((tp, [batch]) for tp, batch in batches)
        return
    by_partition: dict[TopicPartition, list[RecordBatch]] = {}
    for tp, batch in batches:
        by_partition.setdefault(tp, []).append(batch)
    for tp, several in by_partition.items():
        for group in joined(several):
            yield tp, group


@cache
def topic_partition(topic: str, partition: int) -> TopicPartition:
    """Returns aiokafka's name of a partition, without making it anew for each batch."""
    return TopicPartition(topic, partition)


class _QueuedBatch(MessageBatch):  # type: ignore[misc]
    """What accumulator and sender take for a batch of aiokafka's own."""

    def __init__(self, tp: TopicPartition, encoded: EncodedBatch, counts: list[int], queued: QueuedBatches) -> None:
        """`counts`: records of each of the batches that were joined."""
        self._tp, self._builder, self._counts, self._queued = tp, encoded, counts, queued
        self._ctime, self._ttl, self._linger_time = clocks.monotonic(), _EXPIRES_S, 0.0
        self._retry_count = 0
        self.future = asyncio.get_running_loop().create_future()  # only the accumulator waits for it

    def done(self, base_offset: int, *_: Any) -> None:
        """Notes the offset that the broker gave the first record."""
        self._end()
        for count in self._counts:
            self._queued.note(self._tp, range(base_offset, base_offset + count))
            base_offset += count

    def done_noack(self) -> None:
        """Does not happen: every batch is acknowledged, and has records."""
        raise AssertionError("a batch was not acknowledged")

    def failure(self, exception: BaseException) -> None:
        """Passes an error on that another try cannot help."""
        self._end()
        self._queued.fail(exception)

    def _end(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def drain_ready(self) -> None:
        """Notes that the batch is being sent."""
        self._retry_count += 1

    def reset_drain(self) -> None:
        """Does nothing: nobody waits for the batch to be taken."""

    async def wait_drain(self, timeout: float | None = None) -> None:
        """Waits for the acknowledgement: whoever adds records of their own to the partition comes after it."""
        await asyncio.wait([self.future], timeout=timeout)

    def get_data_buffer(self) -> memoryview:
        """Returns the bytes to send, whenever they are to be sent."""
        return self._builder.buffer()

    def set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """Takes the numbers that make writing it a second time harmless."""
        self._builder._set_producer_state(producer_id, producer_epoch, base_sequence)


def make_lean(producer: AIOKafkaProducer) -> None:
    """Has a producer without transactions, not connected yet, send requests at less cost."""
    producer._sender.__class__ = _LeanSender


class _LeanSender(Sender):  # type: ignore[misc]
    """Aiokafka's sender, which wakes when there is something to send and somebody to send it to."""

    _failure: BaseException | None = None  # of a request, which is a mistake: brokers' errors are handled

    async def _sender_routine(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            while self._failure is None:
                await self._maybe_wait_for_pid()
                by_node, unknown = self._message_accumulator.drain_by_nodes(self._in_flight, self._muted_partitions)
                for node, batches in by_node.items():
                    self._in_flight.add(node)
                    self._muted_partitions.update(batches)
                    tasks.add(task := asyncio.create_task(self._send_produce_req(node, batches)))
                    task.add_done_callback(tasks.discard)
                waiter = self._message_accumulator.waiter()
                if unknown:
                    refreshed = self.client.force_metadata_update()
                    await asyncio.wait([waiter, refreshed], return_when=asyncio.FIRST_COMPLETED)
                else:
                    await waiter
            raise KafkaError("Unexpected error during batch delivery") from self._failure
        except asyncio.CancelledError:
            await asyncio.gather(*tasks)

    async def _send_produce_req(self, node_id: int, batches: dict[TopicPartition, Any]) -> None:
        try:
            await _Handler(self, batches).do(node_id)
        except Exception as error:
            self._failure = error
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)
        if self._failure is not None or self._message_accumulator._batches:
            self._message_accumulator._wakeup(self._message_accumulator.waiter())


class _Handler(SendProduceReqHandler):  # type: ignore[misc]
    def create_request(self) -> ProduceRequest:
        topics = defaultdict(list)
        for tp, batch in self._batches.items():
            topics[tp.topic].append((tp.partition, batch.get_data_buffer()))
        return _LeanRequest(None, self._sender._acks, self._sender._request_timeout_ms, list(topics.items()))


class _LeanRequest(ProduceRequest):  # type: ignore[misc]
    def build(self, request_struct_class: Any) -> Any:
        """Builds a request of the version that brokers and aiokafka have in common: since Kafka 2.1 it is this one."""
        return super().build(_LeanRequest_v7 if request_struct_class is ProduceRequest_v7 else request_struct_class)


class _Header(NamedTuple):
    """The header of an answer; of a request, that it is written with the rest."""

    correlation_id: int = 0

    def encode(self) -> bytes:
        return b""


class _LeanResponse_v7(ProduceResponse_v7):  # type: ignore[misc] # noqa: N801 - as aiokafka's
    @classmethod
    def decode(cls, data: BytesIO) -> Self:
        """Reads topics, and for each its partitions."""
        raw, topics, at = data.read(), [], 4
        for _ in range(int.from_bytes(raw[:4])):
            end = at + 2 + int.from_bytes(raw[at : at + 2])
            name, count, at = raw[at + 2 : end].decode(), int.from_bytes(raw[end : end + 4]), end + 4
            end = at + count * _ANSWER.size
            topics.append((name, list(_ANSWER.iter_unpack(raw[at:end]))))
            at = end
        return cls(topics, int.from_bytes(raw[at:]))


class _LeanRequest_v7(ProduceRequest_v7):  # type: ignore[misc] # noqa: N801 - as aiokafka's
    RESPONSE_TYPE = _LeanResponse_v7

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        """Keeps what belongs into the header, for `encode`."""
        self._correlation_id, self._client = correlation_id, client_id.encode()
        return _Header()

    def parse_response_header(self, read_buffer: BytesIO) -> _Header:
        """Reads the number of the request that is answered."""
        return _Header(int.from_bytes(read_buffer.read(4)))

    def encode(self) -> bytes:
        """Writes header and request: no transaction, acknowledgements, timeout, and the batches of each topic."""
        parts: list[Any] = [
            struct.pack(">hhih", self.API_KEY, self.API_VERSION, self._correlation_id, len(self._client)),
            self._client,
            struct.pack(">hhii", -1, self.required_acks, self.timeout, len(self.topics)),
        ]
        for topic, partitions in self.topics:
            name = topic.encode()
            parts += (len(name).to_bytes(2), name, len(partitions).to_bytes(4))
            for partition, data in partitions:
                parts += (_PARTITION.pack(partition, len(data)), data)
        return b"".join(parts)
