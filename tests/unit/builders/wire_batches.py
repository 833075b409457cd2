"""Record batches byte by byte, also such as nobody would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.record_reader import HEADER, BatchHeader

CRC_FROM = 21  # the first byte that the checksum covers


def plain_batch(records: Sequence[OutgoingRecord], *, base: int = 0, codec: int = 0, time: int = 1000) -> bytes:
    """A batch as aiokafka writes it, from an offset on."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for number, (key, value, headers) in enumerate(records):
        assert builder.append(number, time + number, key, value, list(headers))
    return changed(bytes(builder.build()), base_offset=base)


def changed(batch: bytes, **fields: Any) -> bytes:
    """A batch with other values in its header, and the right checksum unless that is one of them."""
    values = BatchHeader(*HEADER.unpack_from(batch))._asdict() | fields
    rest = HEADER.pack(*values.values())[CRC_FROM:] + batch[HEADER.size :]
    if "crc" not in fields:
        values["crc"] = calc_crc32c(rest)
    return HEADER.pack(*values.values())[:CRC_FROM] + rest


def with_payload(batch: bytes, payload: bytes, **fields: Any) -> bytes:
    """A batch with other bytes behind its header, with the right length and checksum."""
    return changed(batch[: HEADER.size] + payload, **{"length": HEADER.size - 12 + len(payload), **fields})


def bare_names(batch: bytes, name: bytes, instead: bytes) -> bytes:
    """A batch in which a header has another name of the same length, of any bytes."""
    assert len(name) == len(instead)
    assert name in batch
    return changed(batch.replace(name, instead))
