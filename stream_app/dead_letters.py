"""Dead letters: records that are no events, with their key, bytes and headers kept and the reason in new headers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from aiokafka import ConsumerRecord

from stream_app.delivery import Outgoing
from stream_app.wire import Rejected

HEADER_PREFIX: Final = "nextact.error."


def dead_letter(record: ConsumerRecord[bytes, bytes], rejected: Rejected) -> Outgoing:
    """The record to publish for a rejected one."""
    facts: dict[str, Any] = {
        "reason": rejected.reason,
        "message": rejected.message,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "version": version("nextact"),
    }
    headers = [(HEADER_PREFIX + name, str(fact).encode()) for name, fact in facts.items()]
    return Outgoing(record.key, record.value, (*record.headers, *headers))
