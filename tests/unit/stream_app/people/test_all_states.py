"""Of each user the newest record counts, whatever lies around it in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream_app.people import all_states

LOG = [
    (b"ada", b"1"),
    (b"bob", b"1"),
    (b"ada", b"2"),
    (b"", b"a cut"),
    (b"gone", b"1"),
    (b"gone", None),
    (b"cy", b"1"),
    (b"ada", b"3"),
]


async def log(*_: object) -> AsyncIterator[list[Any]]:
    """The records, three at a time, as a consumer gives them."""
    records = [SimpleNamespace(key=key, value=value, offset=5 + at) for at, (key, value) in enumerate(LOG)]
    for start in range(0, len(records), 3):
        yield records[start : start + 3]


@pytest.mark.parametrize("at_once", [1, 2, 10])
def test_the_newest_record_of_each_user_is_given_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(all_states, "read_to_end", log)
    monkeypatch.setattr(all_states, "AT_ONCE", at_once)
    consumer: Any = None
    partition = TopicPartition("shop.users-changelog", 3)

    async def run() -> list[dict[str, bytes]]:
        newest = await all_states._newest_offsets(consumer, partition)
        return [records async for records in all_states._newest(consumer, partition, newest)]

    given = asyncio.run(run())
    assert all(len(records) <= at_once for records in given)
    assert [pair for records in given for pair in records.items()] == [("bob", b"1"), ("cy", b"1"), ("ada", b"3")]
