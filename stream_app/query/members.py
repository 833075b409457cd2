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

Addresses = Mapping[str, WorkerAddress]  # by the worker's name


class Members:
    """The members' addresses, asked of Kafka at most once a second."""

    def __init__(self, ask: Callable[[], Awaitable[Addresses]], clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self._ask, self._clock = ask, clock
        self._asking = asyncio.Lock()
        self._known: Addresses = {}
        self._asked: float | None = None

    async def address_of(self, worker: str) -> WorkerAddress | None:
        """Returns where a worker is now; None: Kafka does not say, as in a rebalance."""
        async with self._asking:
            if self._asked is None or self._clock() - self._asked >= _KEPT_S:
                self._known = await self._present()
                self._asked = self._clock()
        return self._known.get(worker)

    async def _present(self) -> Addresses:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask()
        except (TimeoutError, OSError, KafkaError, NextactError) as error:
            logger.warning("Kafka does not say where the other workers are: %r", error)
            return {}


async def members_of(settings: Settings) -> Addresses:
    """Asks Kafka where the members of the group are; nobody is anywhere during a rebalance."""
    async with new_admin(settings, "worker", request_timeout_ms=round(1000 * _PATIENCE_S)) as admin:
        responses = await admin.describe_consumer_groups([settings.group])
    return {address.worker: address for response in responses for address in _addresses(response.to_object())}


def _addresses(described: Mapping[str, Any]) -> Iterator[WorkerAddress]:
    """Reads the addresses in what Kafka says of groups: Faust's assignor sends them along as JSON."""
    for group in described["groups"]:
        for member in group["members"]:
            if (metadata := member["member_metadata"]) and (address := _address(metadata)):
                yield address


def _address(metadata: bytes) -> WorkerAddress | None:
    try:
        return WorkerAddress.read(json.loads(ConsumerProtocol.METADATA.decode(metadata).user_data)["url"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # of a member that is no worker
