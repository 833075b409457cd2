"""Who answers."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import test_utils
from aiokafka.partitioner import murmur2

from stream_app.query.memory import AnswersInMemory
from stream_app.query.refusals import Refusal
from stream_app.query.routing import OwnPartitions, partition_of


def test_a_user_is_where_kafkas_partitioner_puts_their_events() -> None:
    for user in ("u", "é", "somebody", "x" * 256):
        assert partition_of(user, 7) == (murmur2(user.encode()) & 0x7FFFFFFF) % 7


def test_only_ones_own_partitions_are_answered() -> None:
    memory, request = AnswersInMemory(1), test_utils.make_mocked_request("GET", "/")
    router = OwnPartitions(memory)
    with pytest.raises(Refusal, match="on their way"):
        asyncio.run(router.forwarded(1, request))
    memory.resume([1])
    assert asyncio.run(router.forwarded(1, request)) is None
    with pytest.raises(Refusal, match="partition 2 is another worker's"):
        asyncio.run(router.forwarded(2, request))
