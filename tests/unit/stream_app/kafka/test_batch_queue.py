"""Batches of ours in aiokafka's own accumulator and sender, with a broker that answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from io import BytesIO
from itertools import count
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from aiokafka.record.memory_records import MemoryRecords

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.batch_queue import BatchQueue, _LeanRequest, make_lean, topic_partition
from stream_app.kafka.encoded_batch import RecordBatch, encode_records
from tests.unit.builders.leanings import Leaning

OURS = "stream_app/kafka/batch_queue.py"
FINE, NOT_LEADER, NOT_AUTHORISED, OUT_OF_ORDER = 0, 6, 29, 45  # Kafka's error codes
A, B, OTHER = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
Sent = dict[TopicPartition, tuple[int, list[bytes]]]  # first sequence number and values by partition


class Broker:
    """Answers requests with error codes by partition; takes what it finds no error for."""

    def __init__(self, *answers: dict[TopicPartition, int] | Exception) -> None:
        self._answers = iter(answers)
        self._ends: dict[TopicPartition, int] = {}
        self.requests: list[Sent] = []
        self.leaders: Iterator[int | None] = iter(())  # as the metadata have them; then it is 1
        self.updates = 0  # of the metadata
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, node: int, request: ProduceRequest) -> Any:
        assert node == 1
        self.requests.append(
            {
                topic_partition(topic, partition): _read(bytes(data))
                for topic, partitions in request._topics
                for partition, data in partitions
            }
        )
        self.asked.set()
        await self.answers.wait()
        answer = next(self._answers, {})
        if isinstance(answer, Exception):
            raise answer
        return ProduceResponse_v7(topics=[self._take(tp, answer) for tp in self.requests[-1]], throttle_time_ms=0)

    def update(self) -> asyncio.Future[None]:
        self.updates += 1
        return asyncio.ensure_future(asyncio.sleep(0))

    def _take(self, tp: TopicPartition, errors: dict[TopicPartition, int]) -> Any:
        error, base = errors.get(tp, FINE), self._ends.get(tp, 100)
        if error == FINE:
            self._ends[tp] = base + len(self.requests[-1][tp][1])
        return tp.topic, [(tp.partition, error, base if error == FINE else -1, -1, 0)]


def _read(data: bytes) -> tuple[int, list[bytes]]:
    batch = MemoryRecords(data).next_batch()
    assert batch is not None
    assert batch.producer_id == 7
    return batch.base_sequence, [record.value for record in batch]


def batch(*values: bytes) -> RecordBatch:
    return encode_records([OutgoingRecord(b"key", value) for value in values])[0]


def run(
    body: Callable[[BatchQueue, Broker, AIOKafkaProducer], Awaitable[None]],
    answers: Sequence[dict[TopicPartition, int] | Exception] = (),
    **options: Any,
) -> None:
    async def whole() -> None:
        producer, broker = AIOKafkaProducer(enable_idempotence=True, retry_backoff_ms=1, **options), Broker(*answers)
        producer._txn_manager.set_pid_and_epoch(7, 1)
        producer._metadata.leader_for_partition = lambda _: next(broker.leaders, 1)
        producer.client.send = broker.send
        producer.client.force_metadata_update = broker.update
        make_lean(producer)
        await producer._sender.start()
        ticks = count(1)
        async with asyncio.timeout(10):
            await body(BatchQueue(producer, lambda: float(next(ticks))), broker, producer)
        await producer._sender.close()
        producer._closed = True

    asyncio.run(whole())


def test_all_that_is_queued_at_once_leaves_in_one_request_and_is_acknowledged_as_one() -> None:
    async def body(queue: BatchQueue, broker: Broker, _: Any) -> None:
        batches = [(A, batch(b"1", b"2")), (B, batch(b"3")), (OTHER, batch(b"4")), (A, batch(b"5"))]
        queued = queue.put(batches, joining=True)
        assert await queued.acknowledged == 2.0  # queued at 1.0
        assert broker.requests == [{A: (0, [b"1", b"2", b"5"]), B: (0, [b"3"]), OTHER: (0, [b"4"])}]
        assert queued.written == {A: [range(100, 102), range(102, 103)], B: [range(100, 101)], OTHER: [range(100, 101)]}

    run(body)


def test_nothing_queued_is_acknowledged_at_once() -> None:
    async def body(queue: BatchQueue, broker: Broker, _: Any) -> None:
        assert queue.put([]).acknowledged.done()
        await asyncio.sleep(0)
        assert broker.requests == []

    run(body)


def test_a_partition_gets_its_batches_one_after_the_other() -> None:

    async def body(queue: BatchQueue, broker: Broker, _: Any) -> None:
        first = queue.put([(A, batch(b"1")), (A, batch(b"1", b"2"))])
        second = queue.put([(A, batch(b"3")), (B, batch(b"4"))])
        await asyncio.gather(first.acknowledged, second.acknowledged)
        assert [[(tp, sent[tp][0]) for tp in sent] for sent in broker.requests] == [
            [(A, 0), (B, 0)],
            [(A, 1)],
            [(A, 3)],
        ]
        assert first.written == {A: [range(100, 101), range(101, 103)]}
        assert second.written == {A: [range(103, 104)], B: [range(100, 101)]}

    run(body)


@pytest.mark.parametrize("refusal", [{A: NOT_LEADER}, KafkaConnectionError("gone")], ids=["leader moved", "connection"])
def test_what_can_be_tried_again_is_sent_again_with_its_numbers_before_what_follows(refusal: Any) -> None:
    async def body(queue: BatchQueue, broker: Broker, _: Any) -> None:
        broker.answers.clear()
        first = queue.put([(A, batch(b"1", b"2")), (B, batch(b"3"))])
        await broker.asked.wait()
        second = queue.put([(A, batch(b"4"))])
        broker.answers.set()
        await asyncio.gather(first.acknowledged, second.acknowledged)
        assert [sent[A] for sent in broker.requests if A in sent] == [(0, [b"1", b"2"])] * 2 + [(2, [b"4"])]
        assert first.written == {A: [range(100, 102)], B: [range(100, 101)]}

    run(body, [refusal])


@pytest.mark.parametrize(
    ("code", "error"), [(NOT_AUTHORISED, TopicAuthorizationFailedError), (OUT_OF_ORDER, OutOfOrderSequenceNumber)]
)
def test_what_cannot_be_tried_again_is_raised(code: int, error: type[Exception]) -> None:
    async def body(queue: BatchQueue, _: Any, __: Any) -> None:
        with pytest.raises(error):
            await queue.put([(A, batch(b"1")), (B, batch(b"2"))]).acknowledged

    run(body, [{B: code}])


def test_what_has_no_leader_waits_for_one() -> None:
    async def body(queue: BatchQueue, broker: Broker, _: Any) -> None:
        broker.leaders = iter([None, -1, None, None])
        await queue.put([(A, batch(b"1")), (B, batch(b"2"))]).acknowledged
        assert broker.updates == 2
        assert broker.requests == [{A: (0, [b"1"]), B: (0, [b"2"])}]

    run(body)


def test_a_mistake_while_sending_ends_the_producer() -> None:
    async def body(queue: BatchQueue, _: Any, __: Any) -> None:
        with pytest.raises(KafkaError, match="Unexpected error"):
            await queue.put([(A, batch(b"1"))]).acknowledged
        with pytest.raises(KafkaError, match="Unexpected error"):
            queue.put([(A, batch(b"2"))])

    run(body, [ZeroDivisionError()])


def test_a_sender_that_is_stopped_finishes_its_requests() -> None:
    async def body(queue: BatchQueue, broker: Broker, producer: AIOKafkaProducer) -> None:
        broker.answers.clear()
        queued = queue.put([(A, batch(b"1"))])
        await broker.asked.wait()
        stopping = asyncio.create_task(producer._sender.close())
        await asyncio.sleep(0.01)
        assert not stopping.done()
        broker.answers.set()
        await stopping
        assert queued.acknowledged.done()

    run(body)


ANSWERS = [
    ("a", [(0, FINE, 7, -1, 0), (3, NOT_LEADER, -1, -1, -1)]),
    ("töpic", [(2, FINE, 2**40, 1_700_000_000_000, 5)]),
    ("none", []),
]


def test_a_request_has_the_bytes_of_aiokafkas_and_its_answer_is_read_alike() -> None:
    topics = [("a", [(0, b"some"), (3, b"")]), ("töpic", [(2, bytes(70_000))])]
    plain, lean = (kind(None, -1, 40_000, topics) for kind in (ProduceRequest, _LeanRequest))
    for versions in ({0: (3, 12)}, {0: (3, 5)}):
        ours, theirs = lean.prepare(versions), plain.prepare(versions)
        assert ours.API_VERSION == theirs.API_VERSION == min(7, versions[0][1])
        found, expected = (
            one.build_request_header(77, "nextact-worker").encode() + one.encode() for one in (ours, theirs)
        )
        assert found == expected
        header = BytesIO((77).to_bytes(4) + b"rest")
        assert ours.parse_response_header(header).correlation_id == 77
        assert header.read() == b"rest"
    answer = ProduceResponse_v7(topics=ANSWERS, throttle_time_ms=9)
    read = lean.prepare({0: (3, 12)}).RESPONSE_TYPE.decode(BytesIO(answer.encode()))
    assert (read.topics, read.throttle_time_ms, read.API_VERSION) == (ANSWERS, 9, 7)


CALLED = [
    Leaning(Sender._sender_routine, "", OURS, "it is replaced"),
    Leaning(Sender._send_produce_req, "node_id batches", OURS, "it is replaced"),
    Leaning(Sender._maybe_wait_for_pid, "", OURS, "there is a producer id before anything is sent"),
    Leaning(SendProduceReqHandler.create_request, "", OURS, "it is replaced"),
    Leaning(SendProduceReqHandler.do, "node_id", OURS, "it sends, and sorts out what failed"),
    Leaning(MessageAccumulator.drain_by_nodes, "ignore_nodes muted_partitions", OURS, "it hands out batches"),
    Leaning(MessageAccumulator.waiter, "", OURS, "it says when there are batches"),
    Leaning(MessageAccumulator._wakeup, "fut", OURS, "it wakes the sender"),
    Leaning(
        AIOKafkaConnection.send, "request expect_response", OURS, "header and request are written one after the other"
    ),
    Leaning(RequestStruct.build_request_header, "correlation_id client_id", OURS, "it is replaced"),
    Leaning(RequestStruct.parse_response_header, "read_buffer", OURS, "it is replaced"),
]


@pytest.mark.parametrize("leaning", CALLED, ids=str)
def test_what_is_called_and_replaced_takes_the_same_parameters(leaning: Leaning) -> None:
    leaning.check()


def test_a_producer_that_has_ended_takes_nothing() -> None:
    async def body(queue: BatchQueue, _: Any, producer: AIOKafkaProducer) -> None:
        waiting = queue.put([(A, batch(b"1"))])
        producer._message_accumulator.fail_all(OutOfOrderSequenceNumber())
        with pytest.raises(OutOfOrderSequenceNumber):
            await waiting.acknowledged
        with pytest.raises(OutOfOrderSequenceNumber):
            queue.put([(A, batch(b"2"))])
        await producer._message_accumulator.close()
        with pytest.raises(ProducerClosed):
            queue.put([(A, batch(b"3"))])

    run(body)


def test_a_flush_waits_for_what_is_queued_and_for_what_is_on_its_way() -> None:
    async def body(queue: BatchQueue, broker: Broker, producer: AIOKafkaProducer) -> None:
        broker.answers.clear()
        queued = [queue.put([(A, batch(b"1"))])]
        await broker.asked.wait()
        queued.append(queue.put([(A, batch(b"2"))]))
        flushing = asyncio.create_task(producer.flush())
        await asyncio.sleep(0.01)
        assert not flushing.done()
        broker.answers.set()
        await flushing
        assert all(one.acknowledged.done() for one in queued)

    run(body)


def test_a_transaction_hears_of_its_partitions() -> None:
    async def body(_: Any, __: Any, producer: AIOKafkaProducer) -> None:
        producer._txn_manager.begin_transaction()
        BatchQueue(producer, lambda: 0.0).put([(A, batch(b"1")), (OTHER, batch(b"2"))])
        assert producer._txn_manager.partitions_to_add() == {A, OTHER}
        (waiting,) = producer._message_accumulator._batches[A]
        assert MemoryRecords(bytes(waiting.get_data_buffer())).next_batch().is_transactional

    async def alone() -> None:
        producer = AIOKafkaProducer(transactional_id="t")
        producer._txn_manager.set_pid_and_epoch(7, 1)
        producer._closed = True
        await body(None, None, producer)

    asyncio.run(alone())


def test_topics_are_asked_for_once() -> None:
    asked: list[str] = []

    class Producer:
        async def partitions_for(self, topic: str) -> set[int]:
            asked.append(topic)
            return {0}

    async def body() -> None:
        parts: Any = Producer()
        queue = BatchQueue(parts, lambda: 0.0)
        for topics in (["a"], ["a", "b"], ["b"]):
            await queue.know(topics)

    asyncio.run(body())
    assert asked == ["a", "b"]
