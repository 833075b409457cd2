"""Follows the items topic without a consumer group, so that every process has the whole catalogue.

Readers see each batch of records whole or not at all. A topic that is missing, and may not be made, or may not be read
is no catalogue. A snapshot on disk spares most of the reading at the next start.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

from model.items.catalogue import ItemCatalogue
from stream_app.contract.records import UnreadableBatch
from stream_app.following.follower import TopicFollower
from stream_app.items.local_catalogue import LocalCatalogue, RejectedItem
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.clients import Role
from stream_app.settings import Settings

logger: Final = logging.getLogger(__name__)


class ItemsFollower(TopicFollower[list[RejectedItem]]):
    """The catalogue of this process, kept up to date."""

    def __init__(
        self,
        settings: Settings,
        role: Role,
        metrics: ItemMetrics,
        clock: Callable[[], float],
        rejected: Callable[[Sequence[RejectedItem]], None] = lambda _: None,
    ) -> None:
        """`clock` in seconds since the epoch. `rejected` is given, in the event loop, what is not an item.

        While `may_save` says no, no snapshot passes over what was rejected by now.
        """
        self.local = LocalCatalogue(settings.data_dir / "items" / settings.items_topic, clock)
        super().__init__(settings, role, settings.items_topic, self.local, called="catalogue", noted=self._note)
        self._metrics, self._rejected = metrics, rejected
        metrics.items.set_function(lambda: len(self.catalogue))

    @property
    def catalogue(self) -> ItemCatalogue:
        """The items; the same object at all times."""
        return self.local.items

    async def start(self, within: float = math.inf) -> None:
        """See `TopicFollower`."""
        await super().start(within)
        if len(self.catalogue):
            logger.info("%d items in the catalogue", len(self.catalogue))

    async def stop(self) -> None:
        """See `TopicFollower`."""
        await super().stop()
        self.local.close()

    def _note(self, rejected: Sequence[RejectedItem]) -> None:
        """Counts what is not an item, and logs it: a line for what came together."""
        for record, rejection in rejected:
            count = record.records if isinstance(record, UnreadableBatch) else 1
            self._metrics.rejected.labels(rejection.reason).inc(count)
        if rejected:
            record, rejection = rejected[-1]
            logger.warning(
                "%d records of %s are not items, the last of them partition %d, offset %d: %s: %s; of these items "
                "stays what was known before",
                *(len(rejected), record.topic, record.partition, record.offset, rejection.reason, rejection.message),
            )
            self._rejected(rejected)
