"""What is counted of records: all items of events, nothing of what is no event."""

from __future__ import annotations

import json
from typing import Any

from aiokafka.partitioner import murmur2
from aiokafka.record.memory_records import MemoryRecords

from model.data.events import MOST_LINES
from model.statistics.table_records import CountedRecords
from stream_app.kafka.encoded_batch import EncodedBatch
from stream_app.statistics.counting import batches_by_partition
from tests.unit.builders.basics import make_record
from tests.unit.builders.exact_counting import ExactCounter, exact_counting


def record(**fields: Any) -> Any:
    return make_record(json.dumps({"user_id": "u", **fields}).encode(), key=b"u")


BASKET = record(type="purchase", items=[{"item_id": f"b{n}"} for n in range(2 * MOST_LINES)])
VIEW = record(type="view", item_id="a")


def test_all_items_of_events_are_counted() -> None:
    counting = exact_counting()
    assert counting.learn([VIEW, BASKET, make_record(b"{", key=b"u"), VIEW]) == 3
    changes = counting.counter.take_changes(1000)
    assert dict(zip(changes.keys, changes.values, strict=True)) == {
        b"a": b"2",
        **{f"b{n}".encode(): b"1" for n in range(2 * MOST_LINES)},
    }
    assert not counting.counter.take_changes(1000).keys


def test_what_was_counted_before_is_only_noted() -> None:
    counting = exact_counting()
    assert counting.learn([VIEW], counted=False) == 1
    assert counting.learn([]) == 0
    assert isinstance(counting.counter, ExactCounter)
    assert (counting.counter.seen, len(counting.table)) == (1, 0)


def written(partitions: int) -> dict[int, list[tuple[bytes, bytes | None]]]:
    found: dict[int, list[tuple[bytes, bytes | None]]] = {}
    changes = CountedRecords([b"a", b"b"], [b"1", b"2"], [b"a", b"c"])
    for number, batch in batches_by_partition(changes, partitions, "none"):
        data = MemoryRecords(EncodedBatch(batch, time=0, transactional=True)._build())
        found.setdefault(number, []).extend((record.key, record.value) for record in data.next_batch())
    return found


def test_what_came_back_is_not_taken_away_by_the_record_before_it() -> None:
    assert written(1) == {0: [(b"a", None), (b"c", None), (b"a", b"1"), (b"b", b"2")]}


def test_a_key_is_on_the_partition_where_every_publisher_would_put_it() -> None:
    for number, records in written(3).items():
        assert {(murmur2(key) & 0x7FFFFFFF) % 3 for key, _ in records} == {number}
