"""Where a user's records are looked for; tests/integration finds them on a real broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream_app.people.newest_records import _bounds

PARTITION = TopicPartition("shop.predictions", 3)


class Offsets:
    """A partition with the offsets 5 to 8, a record each 10 ms from 100 on."""

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 5)

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        found = {partition: max(5, 5 + -((100 - time) // 10)) for partition, time in times.items()}
        return {partition: SimpleNamespace(offset=at) if at < 9 else None for partition, at in found.items()}


@pytest.mark.parametrize(("since", "expected"), [(None, (5, 9)), (-1, (5, 9)), (120, (7, 9)), (500, (9, 9))])
def test_records_are_read_from_a_time_on_to_the_end(since: int | None, expected: tuple[int, int]) -> None:
    assert asyncio.run(_bounds(Offsets(), PARTITION, since)) == expected
