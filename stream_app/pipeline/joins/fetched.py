"""What a fetch of the joins topic brought, as the agent takes it: like a message of events of Faust's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class JoinsFetch:
    """The records of one partition; at least one."""

    partition: int
    value: Sequence[Any]

    @property
    def next(self) -> int:
        """The offset where the next fetch begins."""
        return int(self.value[-1].offset) + 1


@dataclass(frozen=True, slots=True)
class JoinsResponse:
    """All that one request brought."""

    value: Sequence[JoinsFetch]
    generation_id: int  # of the group, in which it was fetched
    ended: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def message(self) -> JoinsResponse:
        return self

    def ack(self) -> None:
        """Says that all of it is durable."""
        self.ended.set_result(True)

    def drop(self) -> None:
        """Says that it is another worker's by now."""
        self.ended.set_result(False)
