"""What those who answer questions see of their worker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from model.items.catalogue import ItemCatalogue
from model.serving.answer_engine import StatisticsSource
from model.serving.serving import Serving
from model.serving.state_engine import StateEngine
from model.state.user_states import RecordLookup


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker; its functions may be called from another thread."""

    name: str
    not_ready: Callable[[], str | None]  # why it cannot do its work yet; None: it can
    engine: StateEngine  # that steps events, in …
    thread: Executor  # … this one's thread
    read: RecordLookup  # of the users' records that are durable
    statistics: StatisticsSource  # by which events are answered
    catalogue: ItemCatalogue
    spread: Callable[[int], str | None]  # what the group has heard of a partition's owner: see `WorkerAddress`
    fail: Callable[[BaseException], Any]  # ends the process

    @property
    def serving(self) -> Serving | None:
        """The version that serves; None: the rules do."""
        return self.engine.serving
