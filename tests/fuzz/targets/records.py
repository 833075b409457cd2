"""Records as a consumer hands them out."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from stream_app.contract.records import OutgoingRecord


def record_of(record: OutgoingRecord, *, timestamp: int = 5) -> ConsumerRecord[bytes, bytes]:
    """Returns a record as it comes out of Kafka, at the last offset that there is."""
    return ConsumerRecord(
        topic="shop.events",
        partition=3,
        offset=2**63 - 1,
        timestamp=timestamp,
        timestamp_type=0,
        key=record.key,
        value=record.value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=tuple(record.headers),
    )
