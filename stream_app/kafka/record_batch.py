"""Writes Kafka's record batches from columns in one compiled loop, without a call for each record or partition.

The format is version 2 (Kafka's documentation, "Record Batch"), without headers.
Shapes: N values, M of them selected, K keys, B batches.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from model.kernels.compiled import compiled
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy_string
from stream_app.contract.topics import LARGEST_BATCH
from stream_app.kafka.encoded_batch import HEADER_BYTES, RecordBatch, compressed
from stream_app.settings import Compression

_PER_RECORD: Final = 32  # most bytes of a record without key and value: four lengths and deltas, attributes, no headers


class KeyedValues(NamedTuple):
    """Values with their keys, in the order in which those of a partition become records."""

    keys: Strings  # K
    partitions: Ints  # (K,) of the keys, from 0 on
    owners: Ints  # (N,), the key of each value
    values: Strings  # N
    selected: Ints  # (M,), indices of the values


class PartitionedBatches(NamedTuple):
    """Record batches of several partitions, each partition's one behind the other, by rising partition."""

    order: Ints  # (M,), indices of the values in the order of the records
    batches: list[tuple[int, RecordBatch]]  # B, each with its partition


def partitioned_batches(
    records: KeyedValues, *, largest: int = LARGEST_BATCH, compression: Compression = "none"
) -> PartitionedBatches:
    """Makes batches of up to `largest` bytes, before compression, from the selected values."""
    if not len(records.selected):
        return PartitionedBatches(records.selected, [])
    out, order, table = _write(records, largest)
    batches, start = [], 0
    for partition, end, count in table.tolist():
        batches.append((partition, compressed(RecordBatch(out[start:end], count), compression)))
        start = end
    return PartitionedBatches(order, batches)


def record_batches(
    keys: Strings,
    owners: Ints,
    values: Strings,
    selected: Ints,
    *,
    largest: int = LARGEST_BATCH,
    compression: Compression = "none",
) -> list[RecordBatch]:
    """Makes batches for one partition from the selected (M,) of N values, in that order.

    `owners` (N,): the index of each value's key among the K keys.
    """
    records = KeyedValues(keys, np.zeros(len(keys.starts) - 1, np.int64), owners, values, selected)
    return [batch for _, batch in partitioned_batches(records, largest=largest, compression=compression).batches]


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
def _by_partition(records: KeyedValues) -> Ints:
    """Returns the selected values (M,) by rising partition, those of a partition in the given order."""
    partitions, owners, selected = records.partitions, records.owners, records.selected
    starts = np.zeros(partitions.max() + 2, np.int64)
    for value in selected:
        starts[partitions[owners[value]] + 1] += 1
    for partition in range(1, len(starts)):
        starts[partition] += starts[partition - 1]
    order = np.empty(len(selected), np.int64)
    for value in selected:
        partition = partitions[owners[value]]
        order[starts[partition]] = value
        starts[partition] += 1
    return order


@compiled
def _most_bytes(records: KeyedValues) -> int:
    """Returns how many bytes the batches take at most."""
    size = len(records.selected) * (_PER_RECORD + HEADER_BYTES)
    for value in records.selected:
        owner = records.owners[value]
        size += records.keys.starts[owner + 1] - records.keys.starts[owner]
        size += records.values.starts[value + 1] - records.values.starts[value]
    return size


@compiled
def _write(records: KeyedValues, largest: int) -> tuple[Bytes, Ints, Ints]:
    """Returns batches that begin with space for their headers, the values in the order of the records (M,), and the
    partition, the end and the number of records of each batch (B, 3)."""
    keys, partitions, owners, values, _ = records
    order, out = _by_partition(records), np.empty(_most_bytes(records), np.uint8)
    table = np.empty((len(order), 3), np.int64)
    batch, partition, at, start, count = -1, -1, 0, 0, 0
    for record in order:
        owner = owners[record]
        key, value = keys.starts[owner + 1] - keys.starts[owner], values.starts[record + 1] - values.starts[record]
        # Attributes, a time delta of 0, the number of headers, 0: a byte each.
        fixed = 3 + _varint_bytes(key) + key + _varint_bytes(value) + value
        size = fixed + _varint_bytes(count)
        if partitions[owner] != partition or at + size + _varint_bytes(size) - start > largest:
            batch, partition, start, at, count = batch + 1, partitions[owner], at, at + HEADER_BYTES, 0
            size = fixed + 1
        at = _varint(out, at, size)
        out[at], out[at + 1] = 0, 0
        at = _varint(out, at + 2, count)
        at = _string(out, at, keys, owner)
        at = _string(out, at, values, record)
        out[at] = 0
        at, count = at + 1, count + 1
        table[batch, 0], table[batch, 1], table[batch, 2] = partition, at, count
    return out, order, table[: batch + 1]
