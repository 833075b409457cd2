"""Where partitions begin and end; on a real broker they are asked in tests/integration/test_offsets.py."""

from __future__ import annotations

import asyncio

from stream_app.kafka.offsets import beginnings_of, ends_of
from stream_app.settings import Settings

NOBODY = Settings(brokers="127.0.0.1:1")


def test_without_partitions_no_broker_is_asked() -> None:
    """Recovery asks for the partitions of standbys, of which there may be none, and must not wait then."""

    async def ask() -> tuple[object, object]:
        return await beginnings_of(NOBODY, "worker", []), await ends_of(NOBODY, "worker", [])

    assert asyncio.run(ask()) == ({}, {})
