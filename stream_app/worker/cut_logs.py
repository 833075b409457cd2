"""Writes down that a partition's log was cut, before any event behind the cut is answered.

Durable first, as all that changes users' states: `delivery` writes the cut to the changelog (and, exactly once, the
offset of the cut with it, in one transaction), then the local store has it, then memory. Should the process end in
between, the committed offset is refused again, and the log counts as cut once more: nothing behind the cut was answered
yet.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from model.errors import RecordCorrupt
from model.serving.state_engine import StateEngine
from model.state.log_cuts import CUT_USER, LogCut, cut_of
from stream_app.contract.string_columns import strings
from stream_app.errors import DataPathError
from stream_app.kafka.log_range import LogRange
from stream_app.kafka.record_batch import record_batches
from stream_app.pipeline.batch_result import BatchResult
from stream_app.worker.delivery import Delivery
from stream_app.worker.local_store import LocalStore

_LOOKED_AT: Final = 10_000  # users of a partition; of a log made anew nearly each of them knows a later offset

logger: Final = logging.getLogger(__name__)


class CutLogs:
    """Where the logs of this worker's partitions were cut."""

    def __init__(self, *, engine: StateEngine, store: LocalStore, delivery: Delivery, epoch: int) -> None:
        """`epoch` of the stream."""
        self._engine, self._store, self._delivery, self._epoch = engine, store, delivery, epoch

    async def note(self, partition: int, offset: int) -> None:
        """Has every user take what a partition's log has from `offset` on for new.

        Called while nothing of the partition is on its way. Raises what a delivery raises.
        """
        cut = self._known(partition).again(offset)
        record = cut.record(self._epoch)
        user, first = CUT_USER.encode(), np.zeros(1, np.int64)
        changelog = record_batches(strings([user]), first, strings([record]), first)
        result = BatchResult(partition, "rules", changelog=changelog, states=[(user, record)])
        self._delivery.log_was_cut(partition)
        (receipt,) = await self._delivery.deliver([result], {partition: range(offset, offset)})
        written = receipt.changelog
        if written is None:
            raise DataPathError(f"nothing was written to the changelog of partition {partition}")
        self._store.write(partition, result.states, written.stop - 1, written.start)
        self._engine.cut(partition, cut)

    async def look(self, partition: int, ask: Callable[[], Awaitable[LogRange]]) -> int | None:
        """Finds out whether a log for which the group has no offset was made anew; returns where it begins if so.

        It was where a user has seen an offset that it does not have: Kafka deletes a group's offsets with a topic, but
        the users stay, and would take its events for replays. Where the group's offsets have only expired, no user has.
        `ask` returns the range of the log, and is called only where there are users.
        """
        if partition not in self._store.partitions:
            return None
        cut = self._known(partition)
        records = self._store.some(partition, _LOOKED_AT)
        # The cut itself is kept among the users: it has seen what came before it, not the event that will be there.
        seen = [cut.offset_of(record, self._epoch) for record in records if record != cut.record(self._epoch)]
        newest = max([cut.offset - 1, *seen])
        if newest < 0 or newest < (log := await ask()).end:
            return None
        logger.warning(
            "partition %d of the events was made anew: the group has no offset, the log ends at %d, and a user has "
            "seen %d. All its events are answered as new ones",
            partition,
            log.end,
            newest,
        )
        await self.note(partition, log.start)
        return log.start

    def _known(self, partition: int) -> LogCut:
        """The last cut before; one that cannot be read is replaced, as it is read as none."""
        try:
            return cut_of(self._store.read(partition, [CUT_USER]).get(CUT_USER), self._epoch)
        except RecordCorrupt:
            return LogCut()
