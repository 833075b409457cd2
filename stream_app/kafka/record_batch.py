"""Writes Kafka's record batches from columns in one compiled loop, without a call for each record.

The format is version 2 (Kafka's documentation, "Record Batch"), without headers.
Shapes: N values, M of them selected, K keys.
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


class _KeyedValues(NamedTuple):
    """Values with their keys, in the order in which they become records."""

    keys: Strings  # K
    owners: Ints  # (N,), the key of each value
    values: Strings  # N
    selected: Ints  # (M,), indices of the values


def record_batches(
    keys: Strings,
    owners: Ints,
    values: Strings,
    selected: Ints,
    *,
    largest: int = LARGEST_BATCH,
    compression: Compression = "none",
) -> list[RecordBatch]:
    """Makes batches of up to `largest` bytes, before compression, from the selected (M,) of N values, in that order.

    `owners` (N,): the index of each value's key among the K keys.
    """
    if not len(selected):
        return []
    text = int(_sizes(keys, owners[selected]).sum() + _sizes(values, selected).sum())
    out = np.empty(text + len(selected) * (_PER_RECORD + HEADER_BYTES), np.uint8)
    ends, counts = np.empty(len(selected), np.int64), np.empty(len(selected), np.int64)
    batches = _write(out, ends, counts, _KeyedValues(keys, owners, values, selected), largest)
    bounds = [0, *ends[:batches].tolist()]
    return [
        compressed(RecordBatch(out[bounds[n] : bounds[n + 1]], count), compression)
        for n, count in enumerate(counts[:batches].tolist())
    ]


def _sizes(of: Strings, which: Ints) -> Ints:
    return of.starts[which + 1] - of.starts[which]


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
    batch, at, start, count = 0, HEADER_BYTES, 0, 0
    for record in selected:
        owner = owners[record]
        key, value = keys.starts[owner + 1] - keys.starts[owner], values.starts[record + 1] - values.starts[record]
        # Attributes, a time delta of 0, the number of headers, 0: a byte each.
        fixed = 3 + _varint_bytes(key) + key + _varint_bytes(value) + value
        size = fixed + _varint_bytes(count)
        if count and at + size + _varint_bytes(size) - start > largest:
            ends[batch], counts[batch] = at, count
            batch, start, at, count = batch + 1, at, at + HEADER_BYTES, 0
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
