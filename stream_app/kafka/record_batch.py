"""Writes Kafka's record batches from columns in one compiled loop, without a call for each record.

The format is version 2 (Kafka's documentation, "Record Batch"), without compression and headers. aiokafka's producer
takes a batch instead of its own builder; see `EncodedBatch`.
Shapes: N values, M of them selected, K keys.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import numpy as np
from aiokafka.record.util import calc_crc32c

from model.kernels.compiled import compiled
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy_string
from stream_app.contract.topics import LARGEST_BATCH

_FRONT: Final = struct.Struct(">qiibI")  # base offset, length of what follows, leader epoch, magic, CRC-32C of the rest
# Attributes, last offset delta, first and last timestamp, producer id and epoch, first sequence number, records.
_CHECKED: Final = struct.Struct(">hiqqqhii")
_HEADER_BYTES: Final = _FRONT.size + _CHECKED.size
_LENGTH_FROM: Final = 12  # bytes in front of what the length counts: base offset and length
_MAGIC: Final = 2  # version of the format
_TRANSACTIONAL: Final = 1 << 4  # bit of the attributes
_PER_RECORD: Final = 32  # most bytes of a record without key and value: four lengths and deltas, attributes, no headers


class RecordBatch(NamedTuple):
    """A batch of records whose header is not written yet."""

    data: Bytes  # begins with _HEADER_BYTES for the header
    records: int


class _KeyedValues(NamedTuple):
    """Values with their keys, in the order in which they become records."""

    keys: Strings  # K
    owners: Ints  # (N,), the key of each value
    values: Strings  # N
    selected: Ints  # (M,), indices of the values


def record_batches(
    keys: Strings, owners: Ints, values: Strings, selected: Ints, *, largest: int = LARGEST_BATCH
) -> list[RecordBatch]:
    """Makes batches of up to `largest` bytes from the selected (M,) of N values, in that order.

    `owners` (N,): the index of each value's key among the K keys.
    """
    if not len(selected):
        return []
    text = int(_sizes(keys, owners[selected]).sum() + _sizes(values, selected).sum())
    out = np.empty(text + len(selected) * (_PER_RECORD + _HEADER_BYTES), np.uint8)
    ends, counts = np.empty(len(selected), np.int64), np.empty(len(selected), np.int64)
    batches = _write(out, ends, counts, _KeyedValues(keys, owners, values, selected), largest)
    bounds = [0, *ends[:batches].tolist()]
    return [RecordBatch(out[bounds[n] : bounds[n + 1]], count) for n, count in enumerate(counts[:batches].tolist())]


def _sizes(of: Strings, which: Ints) -> Ints:
    return of.starts[which + 1] - of.starts[which]


class EncodedBatch:
    """A batch for aiokafka's producer, with the methods of aiokafka's `BatchBuilder` that the producer calls."""

    def __init__(self, batch: RecordBatch, *, time: float, transactional: bool) -> None:
        """`time`: of all records, in seconds since the epoch."""
        self.batch = batch
        self._milliseconds = int(1000 * time)
        self._transactional = transactional
        self._producer = (-1, -1, -1)  # id, epoch, first sequence number

    def append(self, **_: Any) -> None:
        """Takes no further record, which it says by returning None."""

    def close(self) -> None:
        """Does nothing: the batch is closed from the beginning."""

    def closed(self) -> bool:
        """Returns True: no record can be added."""
        return True

    def record_count(self) -> int:
        """Returns the number of records."""
        return self.batch.records

    def size(self) -> int:
        """Returns the size in bytes."""
        return len(self.batch.data)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        """Returns the whole batch; aiokafka asks again when it has to send again."""
        data: Any = self.batch.data
        attributes, last, time = _TRANSACTIONAL * self._transactional, self.batch.records - 1, self._milliseconds
        _CHECKED.pack_into(data, _FRONT.size, attributes, last, time, time, *self._producer, self.batch.records)
        checksum = calc_crc32c(memoryview(data)[_FRONT.size :])
        _FRONT.pack_into(data, 0, 0, len(data) - _LENGTH_FROM, -1, _MAGIC, checksum)
        return self.batch.data.tobytes()


@compiled
def _varint(out: Bytes, at: int, value: int) -> int:
    """Writes a number from 0 on, zigzag-encoded, seven bits a byte; returns where it ends."""
    rest = 2 * value
    while rest > 0x7F:
        out[at] = rest & 0x7F | 0x80
        at, rest = at + 1, rest >> 7
    out[at] = rest
    return at + 1


@compiled
def _varint_bytes(value: int) -> int:
    """Returns how many bytes `_varint` writes."""
    size, rest = 1, 2 * value
    while rest > 0x7F:
        size, rest = size + 1, rest >> 7
    return size


@compiled
def _string(out: Bytes, at: int, of: Strings, which: int) -> int:
    return copy_string(out, _varint(out, at, of.starts[which + 1] - of.starts[which]), of, which)  # type: ignore[no-any-return]


@compiled
def _write(out: Bytes, ends: Ints, counts: Ints, records: _KeyedValues, largest: int) -> int:
    """Writes batches that begin with space for their headers, and into `ends` and `counts` where each ends and how many
    records it has; returns the number of batches."""
    keys, owners, values, selected = records
    batch, at, start, count = 0, _HEADER_BYTES, 0, 0
    for record in selected:
        owner = owners[record]
        key, value = keys.starts[owner + 1] - keys.starts[owner], values.starts[record + 1] - values.starts[record]
        # Attributes, a time delta of 0, the number of headers, 0: a byte each.
        fixed = 3 + _varint_bytes(key) + key + _varint_bytes(value) + value
        size = fixed + _varint_bytes(count)
        if count and at + size + _varint_bytes(size) - start > largest:
            ends[batch], counts[batch] = at, count
            batch, start, at, count = batch + 1, at, at + _HEADER_BYTES, 0
            size = fixed + 1
        at = _varint(out, at, size)
        out[at], out[at + 1] = 0, 0
        at = _varint(out, at + 2, count)
        at = _string(out, at, keys, owner)
        at = _string(out, at, values, record)
        out[at] = 0
        at, count = at + 1, count + 1
    ends[batch], counts[batch] = at, count
    return batch + 1
