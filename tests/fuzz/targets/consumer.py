"""The consumer that no record stops, beside aiokafka's own: a broker that has any bytes, read from the beginning.

Nothing is raised, the position never goes back and gets to the end, each offset is handed out or passed over at most
once, and a fetch that aiokafka reads without an error gives the same records.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from stream_app.contract.records import UnreadableBatch
from stream_app.kafka.lenient_consumer import MOST_TRIES, FetchedBytes, LenientRecords, Tries
from stream_app.kafka.record_reader import RawBatch, header_of, read_batches, split
from tests.fuzz.targets import wire
from tests.fuzz.targets.record_batches import by_aiokafka, may_be_unpacked

TOKENS: Final[Sequence[bytes]] = wire.TOKENS
seeds = wire.seeds

_TP: Final = TopicPartition("shop.events", 3)
_NO_TIME: Final = -1
_ABORTED: Final = [(7, 0), (8, 5)]  # producers, and where their transactions began

logging.getLogger("stream_app.kafka.lenient_consumer").setLevel(logging.CRITICAL)  # it says what it passes over


def check(data: bytes) -> None:
    """Reads a partition to its end, fetch by fetch."""
    fetch = wire.fetch_of(data)
    batches = list(split(fetch.data))
    position = max(0, batches[0].base_offset) if batches else 0
    _check_one_fetch(fetch, position)
    tries: Tries = {}
    seen: list[tuple[int, int]] = []
    for _ in range((MOST_TRIES + 1) * len(batches) + 2):
        while batches and _end(batches[0]) <= position:
            del batches[0]  # a broker sends batches from the one on that has the position
        if not batches:
            break
        records = _lenient(b"".join(batch.data for batch in batches), position, fetch, tries)
        handed_out = list(records)
        assert all(record.offset >= position for record in handed_out)
        seen += map(_range, handed_out)
        assert records.next_fetch_offset >= position
        if records.next_fetch_offset == position:
            assert not handed_out
        position = records.next_fetch_offset
        if batches[0].problem and handed_out:
            break  # bytes that are no batch are passed by one offset; a broker sends others then
    else:
        raise AssertionError("it goes on for ever")
    assert all(before[1] < after[0] for before, after in pairwise(seen)), seen


def _check_one_fetch(fetch: wire.Fetch, position: int) -> None:
    """Compares with aiokafka's own iterator, where that gets to the end in an orderly way."""
    ours = _lenient(fetch.data, position, fetch, {})
    found = list(ours)
    if not _is_orderly(fetch, position):
        return
    try:
        theirs = PartitionRecords(_TP, MemoryRecords(fetch.data), *_rest(position, fetch))
        wanted = list(theirs)
    except Exception:  # it raises anything
        return
    for record in wanted:
        if record.timestamp is None:  # the oldest format has none, for which Kafka's clients have another number
            record.timestamp = _NO_TIME
    assert found == wanted
    assert ours.next_fetch_offset == theirs.next_fetch_offset


def _is_orderly(fetch: wire.Fetch, position: int) -> bool:
    """Whether aiokafka has anything to say: offsets rise and lie inside of their batches, and no batch is too large."""
    end = position
    read = list(read_batches(fetch.data, fetch.largest))
    for raw, batch in zip(split(fetch.data), read, strict=True):
        if raw.problem or batch.next_offset <= end or (raw.magic >= 2 and header_of(raw).last_offset_delta < 0):
            return False
        if not may_be_unpacked(raw, batch):
            return False
        offsets = [offset for offset, *_ in by_aiokafka(raw.data) or ()]
        least = raw.base_offset if raw.magic >= 2 else 0
        if not all(least <= offset < batch.next_offset for offset in offsets):
            return False
        end = batch.next_offset
    return True


def _lenient(data: bytes, position: int, fetch: wire.Fetch, tries: Tries) -> Any:
    return LenientRecords(_TP, FetchedBytes(data), *_rest(position, fetch), tries=tries, largest=fetch.largest)


def _rest(position: int, fetch: wire.Fetch) -> tuple[Any, ...]:
    """Returns the arguments of aiokafka's iterator behind the bytes."""
    committed = bool(fetch.options & wire.COMMITTED)
    return _ABORTED if committed else [], position, None, None, True, READ_COMMITTED if committed else READ_UNCOMMITTED


def _end(batch: RawBatch) -> int:
    """Returns the offset behind a batch, by what it says."""
    if batch.problem or batch.magic < 2:
        return batch.base_offset + 1
    return header_of(batch).next_offset


def _range(record: Any) -> tuple[int, int]:
    """Returns the first and the last offset that a record stands for."""
    first = record.first_offset if isinstance(record, UnreadableBatch) else record.offset
    return first, record.offset
