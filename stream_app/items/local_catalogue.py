"""The catalogue of a process and its folder on disk: records go in, a snapshot is written and read again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from model.items.attributes import warm_up
from model.items.catalogue import ItemCatalogue
from stream_app.contract.decoded import RejectedRecord, Rejection
from stream_app.contract.items import ItemChange, decode_item
from stream_app.contract.records import UnreadableBatch
from stream_app.following.content import Offsets, Origin, Record
from stream_app.following.snapshots import SnapshotRefused, check_age, covers, sweep
from stream_app.items.details import DetailsFiles
from stream_app.items.snapshot import FORMAT, Head, read_head, read_snapshot, write_snapshot

logger: Final = logging.getLogger(__name__)


class RejectedItem(NamedTuple):
    """A record that is not an item."""

    record: Record
    rejection: Rejection


class LocalCatalogue:
    """A catalogue that is applied to, read and written by one thread; others read `items`."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self.items = ItemCatalogue()
        self.details = DetailsFiles(folder)
        self._folder, self._clock = folder, clock

    @property
    def path(self) -> Path:
        """Where the snapshot lies."""
        return self._folder / "snapshot"

    def apply(self, records: Sequence[Record]) -> list[RejectedItem]:
        """Takes records in, whole; of one item the last one counts. Returns those that are not items."""
        changes: dict[str, ItemChange] = {}
        rejected: list[RejectedItem] = []
        for position, record in enumerate(records):
            try:
                change = decode_item(record.key, record.value)
            except RejectedRecord as error:
                rejected.append(RejectedItem(record, _rejection(position, record, error)))
            else:
                changes[change.item_id] = change
        if changes:
            warm_up()
        items = [change.item for change in changes.values() if change.item is not None]
        positions = self.details.add([change.details for change in changes.values() if change.item is not None])
        self.items.apply(items, positions, [change.item_id for change in changes.values() if change.item is None])
        return rejected

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        """Reads the snapshot; returns the offsets where it ends, none where there is no snapshot to go on with.

        `ends` of the topic's partitions; `retention`: for how many seconds Kafka keeps what takes items away.
        """
        try:
            sweep(self._folder, self._clock())
            file = self.path.open("rb")
        except FileNotFoundError:
            return {}
        except OSError as error:
            logger.warning("the catalogue's snapshot %s cannot be read: %s", self.path, error.strerror)
            return {}
        try:
            head, items = read_snapshot(file, origin)
            check_age(head.offsets, ends, head.written, self._clock() - retention)
        except (SnapshotRefused, OSError, ValueError) as error:
            file.close()
            logger.warning("the catalogue is read from Kafka, not from the snapshot %s: %s", self.path, error)
            return {}
        warm_up()
        self.details.begin(file)
        self.items.take_over(items)
        return head.offsets

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        """Writes a snapshot, unless another process has; returns whether there is one that is as new."""
        head = Head(format=FORMAT, origin=origin, offsets=dict(offsets), written=self._clock(), rows=0, strings={})
        other = read_head(self.path)
        if other is not None and other.origin == origin and covers(other.offsets, offsets):
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.details.begin(write_snapshot(self.path, head, self.items, self.details))
        except OSError as error:
            logger.warning("no snapshot of the catalogue was written to %s: %s", self.path, error.strerror)
            return False
        return True

    def close(self) -> None:
        """Closes the files."""
        self.details.close()


def _rejection(position: int, record: Record, error: RejectedRecord) -> Rejection:
    if isinstance(record, UnreadableBatch):
        return Rejection(position, record.reason, record.message)
    return Rejection(position, error.reason, str(error))
