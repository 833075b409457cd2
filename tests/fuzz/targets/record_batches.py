"""The reader of record batches beside aiokafka's: what that accepts, ours reads the same; the rest is said, not raised.

Where the two may differ, ours refuses what Kafka's own reader would refuse, too, or what no position can follow: a
negative number of records, offsets that do not rise or lie outside of their batch, times beyond 64 bits, and what is
too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from stream_app.kafka.record_reader import RawBatch, ReadBatch, UnreadableData, header_of, read_batches, split, unpacked
from tests.fuzz.targets import wire

TOKENS: Final[Sequence[bytes]] = wire.TOKENS
seeds = wire.seeds

_BEYOND: Final = ("its timestamp is", "a number has more than 64 bits")  # which aiokafka reads as something else

Fields = tuple[Any, ...]


def check(data: bytes) -> None:
    """Reads a fetch by both readers."""
    fetch = wire.fetch_of(data)
    raw = list(split(fetch.data))
    found = list(read_batches(fetch.data, fetch.largest))
    assert len(found) == len(raw)
    _check_cuts(fetch.data, raw)
    for batch, read in zip(raw, found, strict=True):
        _check_batch(batch, read, fetch.largest)


def _check_cuts(data: bytes, raw: list[RawBatch]) -> None:
    """Batches lie one behind the other from the beginning, each with at least its front."""
    assert data.startswith(b"".join(batch.data for batch in raw))
    assert all(len(batch.data) > 16 or batch.problem for batch in raw)
    assert bool(raw) == bool(data), "what was fetched is a batch or a problem"
    assert not any(batch.problem for batch in raw[:-1]), "nothing can be said of what lies behind a problem"


def _check_batch(raw: RawBatch, read: ReadBatch, largest: int) -> None:
    assert read.next_offset > raw.base_offset
    assert sum(len(record.key or b"") + len(record.value or b"") for record in read.records) <= max(
        largest, len(raw.data)
    )
    offsets = [record.offset for record in read.records]
    assert offsets == sorted(set(offsets))
    assert all(offset < read.next_offset for offset in offsets)
    if not raw.problem and raw.magic >= 2:
        _check_payload(raw, largest)
        assert all(raw.base_offset <= offset for offset in offsets)
    if not may_be_unpacked(raw, read) or _has_odd_attributes(raw, largest):
        return
    if (accepted := by_aiokafka(raw.data)) is None:
        return
    if read.problem is None:
        assert list(map(fields, read.records)) == accepted
    else:
        assert _may_be_refused(raw, read, accepted), f"aiokafka reads it, and ours says: {read.problem}"


def _check_payload(raw: RawBatch, largest: int) -> None:
    try:
        payload = unpacked(raw, header_of(raw), largest)
    except UnreadableData:
        return
    assert len(payload) <= (largest if header_of(raw).codec else len(raw.data))


def _may_be_refused(raw: RawBatch, read: ReadBatch, accepted: list[Fields]) -> bool:
    """Whether ours is right to refuse what aiokafka accepts; it has read the records up to there, the same."""
    same = list(map(fields, read.records)) == accepted[: len(read.records)]
    offsets = [offset for offset, *_ in accepted]
    orderly = offsets == sorted(set(offsets)) and all(raw.base_offset <= n < read.next_offset for n in offsets)
    return same and (header_of(raw).records < 0 or not orderly or any(text in str(read.problem) for text in _BEYOND))


def _has_odd_attributes(raw: RawBatch, largest: int) -> bool:
    """Whether a record has attributes that aiokafka takes for a number of several bytes; Kafka has a byte, always 0."""
    if raw.problem or raw.magic < 2:
        return False
    with suppress(UnreadableData, IndexError, ValueError):
        data, at = bytearray(unpacked(raw, header_of(raw), largest)), 0
        while at < len(data):
            length, start = decode_varint(data, at)
            if data[start] > 0x7F:
                return True
            at = start + max(length, 0)
    return False


def fields(record: Any) -> Fields:
    """Returns what is compared of a record."""
    return (record.offset, record.timestamp, record.timestamp_type, record.key, record.value, list(record.headers))


def by_aiokafka(data: bytes) -> list[Fields] | None:
    """Returns the records of one batch as aiokafka's reader has them, None where it raises whatever it raises."""
    try:
        records, found = MemoryRecords(data), []
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                return None
            found += [fields(record) for record in batch]
    except Exception:
        return None
    return found


def raw_batches(data: bytes) -> list[RawBatch]:
    """Returns the batches of an input, without those that aiokafka must not unpack."""
    fetch = wire.fetch_of(data)
    read = read_batches(fetch.data, fetch.largest)
    return [raw for raw, batch in zip(split(fetch.data), read, strict=True) if may_be_unpacked(raw, batch)]


def may_be_unpacked(raw: RawBatch, batch: ReadBatch) -> bool:
    """Whether aiokafka may read a batch: it unpacks to anything, and of older formats it can go round for ever."""
    if batch.problem is None:
        return True
    return batch.problem.reason != "too_large" and not raw.problem and raw.magic >= 2
