"""Who answers a question about a user: this worker, the one that owns the user's partition, or nobody just now."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web

from stream_app.contract.string_columns import strings
from stream_app.kafka.key_partitions import key_partitions
from stream_app.query.forwarding import HOP, Forwarder
from stream_app.query.refusals import Refusal, in_rebalance

Owned = Callable[[], Collection[int] | None]  # the partitions of this worker; None: in a rebalance


class Router:
    """Finds who answers, and asks them."""

    def __init__(self, name: str, owned: Owned, spread: Callable[[int], str | None], forwarder: Forwarder) -> None:
        """`name` is this worker's in hops; `spread` returns what the group has heard of a partition's owner."""
        self._name, self._owned, self._spread, self._forwarder = name, owned, spread, forwarder

    async def forwarded(self, partition: int, request: web.Request) -> web.Response | None:
        """Returns the answer of the worker that owns a partition; None: it is this worker.

        Raises `Refusal` in a rebalance, and when the owner cannot be asked. A question that was forwarded is not
        forwarded again.
        """
        if self.is_own(partition, request.headers.get(HOP)):
            return None
        return await self._forwarder.ask(partition, self._spread(partition) or "", request)

    def is_own(self, partition: int, hop: str | None) -> bool:
        """Returns whether a partition is this worker's; `hop`: whom a forwarding worker meant. Raises `Refusal`."""
        if hop is not None and hop != self._name:
            raise _misled()
        owned = self._owned()
        if owned is None:
            raise in_rebalance()
        if hop is not None and partition not in owned:
            raise in_rebalance()  # of which one of the two has not heard yet
        return partition in owned


def partition_of(user: str, partitions: int) -> int:
    """Returns the partition of a user, of so many."""
    return int(key_partitions(strings([user.encode()]), partitions)[0])


def _misled() -> Refusal:
    return Refusal(
        "owner_unreachable",
        "this question was forwarded to another worker, but came here: each worker needs an address of its own",
        setting="NEXTACT_ADVERTISED",
    )
