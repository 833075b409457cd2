"""The consumer that no record stops: aiokafka's own fetcher and ours, fed by a broker that has made-up batches."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer import consumer as consumer_module
from aiokafka.consumer import fetcher as fetcher_module
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_app.contract.records import OutgoingRecord, UnreadableBatch
from stream_app.kafka.compression import CODECS
from stream_app.kafka.lenient_consumer import MOST_TRIES, FetchedBytes, LenientConsumer, LenientFetcher, LenientRecords
from tests.unit.builders.consumers import fetch_client
from tests.unit.builders.leanings import Leaning
from tests.unit.builders.wire_batches import bare_names, changed, plain_batch, with_payload

TP = TopicPartition("shop.events", 3)
OURS = "lenient_consumer.py"
TRANSACTIONAL, CONTROL = 16, 32
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"


def three(base: int = 0, codec: int = 0, **fields: Any) -> bytes:
    records = [OutgoingRecord(b"u", b"value %d" % (base + n), [("trace", b"x")]) for n in range(3)]
    batch = plain_batch(records, base=base, codec=codec)
    return changed(batch, **fields) if fields else batch


def marker(offset: int, kind: bytes, producer: int) -> bytes:
    batch = plain_batch([OutgoingRecord(kind, b"\0\0\0\0\0\0")], base=offset)
    return changed(batch, attributes=TRANSACTIONAL | CONTROL, producer_id=producer)


@dataclass
class Log:
    """The batches of a partition, as a broker sends them: from the batch on that has the position."""

    batches: Sequence[bytes]
    ends: Sequence[int]
    aborted: Sequence[tuple[int, int]] = ()
    asked: list[int] = field(default_factory=list)
    damaged_once: bool = False
    batches_at_once: int | None = None  # None: all

    def fetch(self, offset: int) -> bytes:
        self.asked.append(offset)
        behind = [batch for batch, end in zip(self.batches, self.ends, strict=True) if end > offset]
        data = b"".join(behind[: self.batches_at_once])
        if self.damaged_once and len(self.asked) == 1:
            return data[:-1] + bytes([data[-1] ^ 1])
        return data


def consume(log: Log, *, fetcher_class: Any = LenientFetcher, at: int = 0, most: int | None = None) -> list[Any]:
    """All records that a consumer of committed records gets of a log, by a fetcher."""

    async def send(_: int, request: Any) -> Any:
        ((topic, ((partition, offset, _size),)),) = request.topics
        data = log.fetch(offset)
        if not data:
            await asyncio.Event().wait()
        return SimpleNamespace(
            API_VERSION=11, topics=[(topic, [(partition, 0, 999, 999, 0, list(log.aborted), -1, data)])]
        )

    async def body() -> list[Any]:
        client = fetch_client(send)
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([TP])
        state = subscriptions.subscription.assignment.state_value(TP)
        state.reset_to(at)
        fetcher: Any = fetcher_class(client, subscriptions, isolation_level="read_committed")
        found: list[Any] = []
        try:
            async with asyncio.timeout(10):
                while state.position < log.ends[-1]:
                    found += (await fetcher.fetched_records([TP], timeout=0.2, max_records=most)).get(TP, [])
        finally:
            await fetcher.close()
        return found

    return asyncio.run(body())


def offsets(records: Sequence[Any]) -> list[int]:
    return [record.offset for record in records]


def passed_over(records: Sequence[Any]) -> list[tuple[int, int, str]]:
    return [(r.first_offset, r.offset, r.reason) for r in records if isinstance(r, UnreadableBatch)]


@pytest.mark.parametrize("codec", CODECS.values())
def test_ordinary_batches_come_as_aiokafka_has_them(codec: int) -> None:
    log = Log([three(0, codec), three(3, codec), three(8, codec)], [3, 8, 11])
    found = consume(log)
    assert found == consume(log, fetcher_class=Fetcher)
    assert offsets(found) == [0, 1, 2, 3, 4, 5, 8, 9, 10]
    assert {type(record) for record in found} == {ConsumerRecord}
    assert consume(log, at=4) == found[4:]
    assert consume(log, most=2) == found


def test_header_names_that_are_not_utf8_come_between_good_records() -> None:
    odd = bare_names(three(3), b"trace", b"tr\xe9ce")
    found = consume(Log([three(0), odd, three(6)], [3, 6, 9]))
    assert offsets(found) == list(range(9))
    assert found[4].headers == (("tr\udce9ce", b"x"),)
    assert (found[4].key, found[4].value, found[4].serialized_value_size) == (b"u", b"value 4", 7)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(three(3, crc=1), id="checksum"),
        pytest.param(three(3, attributes=6), id="codec"),
        pytest.param(three(3, attributes=4), id="zstd"),
        pytest.param(three(3, records=2), id="too few records"),
        pytest.param(with_payload(three(3), b"\x02"), id="varint"),
    ],
)
def test_what_nobody_can_read_is_fetched_again_then_passed_over(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    log = Log([three(0), bad, three(6)], [3, 6, 9])
    found = consume(log)
    ((first, last, reason),) = passed_over(found)
    assert (last, reason) == (5, "unreadable")
    good = [record for record in found if not isinstance(record, UnreadableBatch)]
    assert sorted([*offsets(good), *range(first, last + 1)]) == list(range(9))
    assert log.asked.count(first) >= MOST_TRIES - 1
    assert "shop.events-3 offset" in caplog.text
    assert found[offsets(found).index(5)].message.startswith("a batch with offset")


def test_damage_behind_the_last_record_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    found = consume(Log([three(0, records=5), three(3)], [3, 6]))
    assert (offsets(found), passed_over(found)) == (list(range(6)), [])
    assert "damaged behind its last record" in caplog.text


def test_damage_on_the_way_costs_nothing() -> None:
    log = Log([three(0)], [3], damaged_once=True)
    found = consume(log)
    assert (offsets(found), passed_over(found)) == ([0, 1, 2], [])
    assert log.asked[:2] == [0, 0]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_bombs_are_passed_over_at_once(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LenientRecords.__init__, "__kwdefaults__", {"largest": 10_000})
    bomb = plain_batch([OutgoingRecord(b"u", bytes(20_000))] * 3, base=3, codec=codec)
    log = Log([three(0), bomb, three(6, codec)], [3, 6, 9])
    found = consume(log)
    assert passed_over(found) == [(3, 5, "too_large")]
    assert offsets(found) == [0, 1, 2, 5, 6, 7, 8]
    assert log.asked == [0, 6]


def test_a_bomb_in_an_aborted_transaction_is_nobodys() -> None:
    bomb = changed(three(0, 4, crc=0), attributes=TRANSACTIONAL | 4, producer_id=7)
    log = Log([changed(bomb, records=99), marker(3, ABORT, 7), three(4)], [3, 4, 7], aborted=[(7, 0)])
    assert offsets(consume(log)) == [4, 5, 6]


def test_transactions_are_read_as_aiokafka_reads_them() -> None:
    def part(base: int, producer: int) -> bytes:
        return three(base, attributes=TRANSACTIONAL, producer_id=producer)

    batches = [part(0, 7), part(3, 8), marker(6, ABORT, 7), part(7, 7), marker(10, COMMIT, 8), marker(11, COMMIT, 7)]
    log = Log([*batches, three(12)], [3, 6, 7, 10, 11, 12, 15], aborted=[(7, 0)])
    assert consume(log) == consume(log, fetcher_class=Fetcher)
    assert offsets(consume(log)) == [3, 4, 5, 7, 8, 9, 12, 13, 14]


def test_a_marker_that_cannot_be_read_hides_nothing_behind_it() -> None:
    """Its producer's aborted transaction has ended, whatever the marker says."""
    mine = {"attributes": TRANSACTIONAL, "producer_id": 7}
    odd = with_payload(marker(3, ABORT, 7), b"\x02")
    log = Log([three(0, **mine), odd, three(4, **mine)], [3, 4, 7], aborted=[(7, 0)])
    assert offsets(consume(log)) == [4, 5, 6]


def test_a_batch_that_is_cut_off_is_fetched_again() -> None:
    whole = three(3)
    log = Log([three(0), whole[:-10]], [3, 6])
    full = Log([three(0), whole], [3, 6])
    log.fetch = lambda offset: full.fetch(offset)[:-10] if offset < 3 else full.fetch(offset)  # type: ignore[method-assign]
    assert offsets(consume(log)) == list(range(6))


@pytest.mark.parametrize("base", [0, 2**60])
def test_bytes_that_are_no_batch_move_the_position_by_one_offset(base: int) -> None:
    """Else they are asked for for ever, or where they say that they lie, and the log seems to be cut."""
    log = Log([three(), three(3)], [3, 6])
    bad = changed(three(), base_offset=base)[:40]
    log.fetch = lambda offset: bad if offset < 3 else three(3)  # type: ignore[method-assign]
    found = consume(log, at=1)
    assert passed_over(found) == [(1, 1, "unreadable"), (2, 2, "unreadable")]
    assert offsets(found) == [1, 2, 3, 4, 5]


def test_older_formats_are_read() -> None:
    builder = LegacyRecordBatchBuilder(1, 1, 1 << 20)
    for number in range(3):
        builder.append(number, 99, b"key", bytes(500))
    log = Log([(2).to_bytes(8, "big") + bytes(builder.build())[8:]], [3])  # a message of messages has the last's offset
    assert consume(log) == consume(log, fetcher_class=Fetcher)


@pytest.mark.parametrize("attributes", [0, CONTROL])
@pytest.mark.parametrize("last", [-1, -9])
def test_a_batch_that_claims_to_end_before_it_begins_is_read_once(last: int, attributes: int) -> None:
    """The position that its header gives is not behind it, from which it would be fetched for ever."""
    empty = with_payload(three(3), b"", records=0, last_offset_delta=last, attributes=attributes)
    log = Log([three(0), empty, three(4)], [3, 4, 7], batches_at_once=1)
    assert offsets(consume(log)) == [0, 1, 2, 4, 5, 6]


BATCHES = st.lists(
    st.tuples(
        st.integers(1, 4),  # records
        st.sampled_from(["none", "gzip", "snappy", "lz4", "zstd"]),
        st.sampled_from(["good", "good", "odd", "damaged", "marker", "aborted"]),
        st.integers(0, 2),  # offsets that compaction has taken behind it
    ),
    min_size=1,
    max_size=6,
)


@hypothesis_settings(max_examples=40, deadline=None)
@given(BATCHES, st.integers(1, 3))
def test_every_offset_of_a_log_is_handed_out_or_passed_over_once(batches: list[Any], most: int) -> None:
    data, ends, wanted, base, aborted = [], [], set[int](), 0, []
    for count, codec, kind, gap in batches:
        records = [OutgoingRecord(b"u", b"v" * 50, [("trace", b"x")])] * count
        batch = plain_batch(records, base=base, codec=CODECS[codec])
        if kind == "odd":
            batch = bare_names(plain_batch(records, base=base), b"trace", b"\xff\xfetr\x80")
        if kind == "damaged":
            batch = changed(batch, crc=7)
        if kind == "marker":
            batch, count = marker(base, COMMIT, 9), 1
        if kind == "aborted":
            aborted.append((base, base))
            batch = changed(batch, producer_id=base, attributes=TRANSACTIONAL | CODECS[codec])
        elif kind != "marker":
            wanted |= set(range(base, base + count))
        base += count + gap
        data.append(batch)
        ends.append(base)
    data.append(plain_batch([OutgoingRecord(b"u", b"last")], base=base))
    found = consume(Log(data, [*ends, base + 1], aborted=aborted), most=most)
    seen = [n for r in found for n in (range(r.first_offset, r.offset + 1) if passed_over([r]) else [r.offset])]
    assert seen == sorted(wanted | {base})


@pytest.mark.parametrize(
    "leaning",
    [
        Leaning(PartitionRecords.__init__, (
            "tp records aborted_transactions fetch_offset key_deserializer value_deserializer check_crcs "
            "isolation_level"
        ), OURS, "LenientRecords is made in its place"),
        Leaning(PartitionRecords._consume_aborted_up_to, "batch_offset", OURS, "aborted transactions"),
        Leaning(PartitionRecords._contains_abort_marker, "next_batch", OURS, "aborted transactions"),
        Leaning(PartitionRecords._consumer_record, "tp record", OURS, "makes what is handed out"),
        Leaning(FetchResult.getall, "max_records", OURS, "a fetch ends where the iterator does"),
    ],
    ids=str,
)  # fmt: skip
def test_aiokafka_has_what_is_leaned_on(leaning: Leaning) -> None:
    leaning.check()


def test_aiokafka_finds_names_in_its_modules() -> None:
    take = Fetcher._proc_fetch_request
    assert {"MemoryRecords", "PartitionRecords"} <= set(take.__code__.co_names), f"{OURS} gives it others"
    assert take.__globals__ is vars(fetcher_module)
    source = inspect.getsource(take)
    assert "MemoryRecords(part_data[-1])" in source
    assert "records.has_next()" in source
    assert "records.size_in_bytes()" in source
    assert "Fetcher" in AIOKafkaConsumer.start.__code__.co_names, f"{OURS} gives it another"
    assert AIOKafkaConsumer.start.__globals__ is vars(consumer_module)
    assert (fetcher_module.PartitionRecords, fetcher_module.MemoryRecords) == (PartitionRecords, MemoryRecords)
    assert consumer_module.Fetcher is Fetcher, "nobody else's consumer is changed"


def test_the_attributes_of_a_fetch_are_where_they_were() -> None:
    records: Any = PartitionRecords(TP, MemoryRecords(three()), [(7, 1)], 0, None, None, True, 1)
    assert (records._tp, records._check_crcs, records._isolation_level) == (TP, True, 1)
    assert (records._aborted_producers, records._aborted_transactions) == (set(), [(7, 1)])
    assert (records.next_fetch_offset, records._key_deserializer, records._value_deserializer) == (0, None, None)
    assert inspect.isgenerator(records._records_iterator)


def test_the_compiled_reader_takes_any_bytes_of_a_batch() -> None:
    for data in (three(), bytearray(three()), memoryview(three())):
        batch: Any = DefaultRecordBatch(data)
        assert batch.validate_crc()
        assert [record.value for record in batch] == [b"value 0", b"value 1", b"value 2"]


def test_the_consumer_makes_our_fetcher() -> None:
    async def nothing(*_: Any) -> None: ...

    async def body() -> None:
        consumer: Any = LenientConsumer()
        consumer._client.bootstrap = consumer._wait_topics = nothing
        await consumer.start()
        assert type(consumer._fetcher) is LenientFetcher
        await asyncio.sleep(0)
        await consumer.stop()

    asyncio.run(body())


@pytest.mark.parametrize(("fetcher_class", "looks"), [(Fetcher, 3), (LenientFetcher, 2)])
def test_records_are_taken_before_the_fetcher_looks_for_what_else_to_fetch(
    monkeypatch: pytest.MonkeyPatch, fetcher_class: Any, looks: int
) -> None:
    looked: list[int] = []
    look = Fetcher._get_actions_per_node

    def counted(self: Any, assignment: Any) -> Any:
        looked.append(1)
        return look(self, assignment)

    monkeypatch.setattr(Fetcher, "_get_actions_per_node", counted)
    asked = asyncio.Event()

    async def send(_: int, request: Any) -> Any:
        ((topic, ((partition, offset, _size),)),) = request.topics
        if offset:
            asked.set()
            await asyncio.Event().wait()
        return SimpleNamespace(API_VERSION=11, topics=[(topic, [(partition, 0, 3, 3, 0, [], -1, three())])])

    async def body() -> None:
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([TP])
        subscriptions.subscription.assignment.state_value(TP).reset_to(0)
        fetcher: Any = fetcher_class(fetch_client(send), subscriptions)
        try:
            assert offsets((await fetcher.fetched_records([TP], timeout=5))[TP]) == [0, 1, 2]
            await asyncio.wait_for(asked.wait(), 5)
            assert len(looked) == looks
        finally:
            await fetcher.close()

    asyncio.run(body())


def test_nothing_fetched_is_nothing_to_look_at() -> None:
    assert not FetchedBytes(None).has_next()
    assert FetchedBytes(b"abc").size_in_bytes() == 3
