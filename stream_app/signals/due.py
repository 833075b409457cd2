"""Users whose time has come, as the agent takes them: like a fetch of events without records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_app.contract.signals.signal import MeasuredBy


@dataclass(frozen=True, slots=True)
class DueUsers:
    """Users of one partition to be looked at; at least one."""

    partition: int
    value: Sequence[str]  # their ids
    now: int  # ms since the epoch: by then nothing has come of them but what the worker has taken in
    measured_by: MeasuredBy


@dataclass(frozen=True, slots=True)
class DueResponse:
    """All that were due at once."""

    value: Sequence[DueUsers]
    generation_id: int  # of the group, in which they were found
    ended: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def message(self) -> DueResponse:
        return self

    def ack(self) -> None:
        """Says that all of it is durable."""
        self.ended.set_result(True)

    def drop(self) -> None:
        """Says that it is another worker's by now."""
        self.ended.set_result(False)
