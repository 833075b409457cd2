"""What workers and trainers export of the catalogue."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream_app.contract.items import ITEM_REASONS


class ItemMetrics:
    """The gauge and the counter of a reader of the items topic."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Gauge("nextact_items", "Items of the catalogue that this process knows", registry=registry)
        self.rejected = Counter(
            "nextact_items_rejected",
            "Records of the items topic that are not items, by reason",
            ["reason"],
            registry=registry,
        )
        for reason in ITEM_REASONS:
            self.rejected.labels(reason)
