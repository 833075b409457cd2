"""What those who answer questions see of their worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model.items.catalogue import ItemCatalogue
from model.serving.serving import Serving


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker; its functions may be called from another thread."""

    name: str
    not_ready: Callable[[], str | None]  # why it cannot do its work yet; None: it can
    serving: Callable[[], Serving | None]  # the version that serves; None: the rules do
    segment_users: Callable[[], Mapping[str, float]]  # users in memory, by the segment's name
    catalogue: ItemCatalogue
    spread: Callable[[int], str | None]  # what the group has heard of a partition's owner: see `WorkerAddress`
