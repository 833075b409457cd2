"""Who answers a question about a user: this worker, or the one that owns the user's partition."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from stream_app.contract.string_columns import strings
from stream_app.kafka.key_partitions import key_partitions
from stream_app.query.memory import AnswersInMemory
from stream_app.query.refusals import Refusal, in_rebalance


class Router(Protocol):
    """Finds who answers."""

    async def forwarded(self, partition: int, request: web.Request) -> web.Response | None:
        """Returns the answer of the worker that owns a partition; None: it is this worker.

        Raises `Refusal` in a rebalance, and when the owner cannot be asked.
        """


class OwnPartitions:
    """Answers for this worker's partitions alone."""

    def __init__(self, memory: AnswersInMemory) -> None:
        self._memory = memory

    async def forwarded(self, partition: int, request: web.Request) -> web.Response | None:
        """See `Router`."""
        owned = self._memory.partitions
        if owned is None:
            raise in_rebalance()
        if partition not in owned:
            raise Refusal("owner_unreachable", f"partition {partition} is another worker's: ask that one")
        return None


def partition_of(user: str, partitions: int) -> int:
    """Returns the partition of a user, of so many."""
    return int(key_partitions(strings([user.encode()]), partitions)[0])
