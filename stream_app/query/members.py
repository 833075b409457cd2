"""Where the members of the workers' group are now, asked of Kafka.

A static member that restarts keeps its place without a rebalance. So the others, who hear of addresses in rebalances,
know the one of before; the group's coordinator knows what the member said when it came back.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError

from model.errors import NextactError
from stream_app.kafka.clients import new_admin
from stream_app.query.addresses import WorkerAddress
from stream_app.settings import Settings

_PATIENCE_S: Final = 2.0  # that asking Kafka may take
_KEPT_S: Final = 1.0  # for which what Kafka has said is not asked again

logger: Final = logging.getLogger(__name__)

Owners = Mapping[int, WorkerAddress]  # by partition of the events


class Members:
    """The members' addresses, asked of Kafka at most once a second."""

    def __init__(self, ask: Callable[[], Awaitable[Owners]], clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self._ask, self._clock = ask, clock
        self._asking = asyncio.Lock()
        self._known: Owners = {}
        self._asked: float | None = None

    async def owner_of(self, partition: int) -> WorkerAddress | None:
        """Returns where the owner of a partition is now; None: Kafka does not say, as in a rebalance."""
        async with self._asking:
            if self._asked is None or self._clock() - self._asked >= _KEPT_S:
                self._known = await self._present()
                self._asked = self._clock()
        return self._known.get(partition)

    async def _present(self) -> Owners:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask()
        except (TimeoutError, OSError, KafkaError, NextactError) as error:
            logger.warning("Kafka does not say where the other workers are: %r", error)
            return {}


async def owners_now(settings: Settings) -> Owners:
    """Asks Kafka who owns the partitions of the events, and where they are; nobody owns any during a rebalance."""
    async with new_admin(settings, "worker", request_timeout_ms=round(1000 * _PATIENCE_S)) as admin:
        responses = await admin.describe_consumer_groups([settings.group])
    found = (_owners(response.to_object(), settings.events_topic) for response in responses)
    return {partition: address for owners in found for partition, address in owners}


def _owners(described: Mapping[str, Any], topic: str) -> Iterator[tuple[int, WorkerAddress]]:
    """Reads the owners in what Kafka says of groups: Faust's assignor sends addresses along as JSON."""
    for member in (member for group in described["groups"] for member in group["members"]):
        try:
            sent = json.loads(ConsumerProtocol.METADATA.decode(member["member_metadata"]).user_data)
            address = WorkerAddress.read(sent["url"])
            assigned = ConsumerProtocol.ASSIGNMENT.decode(member["member_assignment"]).assignment
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # it is no worker, or has nothing yet
        if address is not None:
            yield from ((partition, address) for name, numbers in assigned if name == topic for partition in numbers)
