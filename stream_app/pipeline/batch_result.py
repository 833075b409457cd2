"""What comes out of a batch, to be delivered: all that it changes, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_app.contract.decoded import Reason
from stream_app.contract.string_columns import Strings
from stream_app.kafka.encoded_batch import RecordBatch
from stream_app.pipeline.metrics import Ranker
from stream_app.signals.writer import NewTimer

_NO_TIMES: Final = np.zeros(0, np.int64)


def _no_times() -> NDArray[np.int64]:
    return _NO_TIMES


@dataclass(frozen=True, slots=True)
class PublishedValues:
    """Whose the predictions of one partition are, by reference to those of the whole batch, of N values."""

    users: Sequence[str]  # of the batch's actions
    indices: NDArray[np.int64]  # (N,) of the actions that the values follow
    values: Strings  # N
    rows: NDArray[np.int64]  # of the partition's values, in the order of their events


@dataclass(slots=True)
class BatchResult:
    """All effects of a batch on one partition."""

    partition: int
    ranker: Ranker
    predictions: list[RecordBatch] = field(default_factory=list)
    latest: list[RecordBatch] = field(default_factory=list)  # each user's newest prediction, where it has a topic
    profiles: list[RecordBatch] = field(default_factory=list)  # of users, where they have a topic
    dead_letters: list[RecordBatch] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)  # of the dead letters
    changelog: list[RecordBatch] = field(default_factory=list)
    states: list[tuple[bytes, bytes]] = field(default_factory=list)  # user ids and records: what the changelog says
    record_times: NDArray[np.int64] = field(default_factory=_no_times)  # of the answered events, ms since the epoch
    published: PublishedValues | None = None  # beside `record_times`; None: there are none, or nobody asks
    signals: list[RecordBatch] = field(default_factory=list)
    timers: list[NewTimer] = field(default_factory=list)  # to be set once all of this is durable
    joins: list[tuple[int, RecordBatch]] = field(default_factory=list)  # each with its partition of the joins topic
    joins_read: int | None = None  # where the next batch of the partition's joins begins; None: it read none

    @property
    def newest(self) -> int:
        """The latest time of an answered event's record, ms since the epoch; 0: there is none."""
        return int(self.record_times.max(initial=0))


def without_records(partitions: Iterable[int], results: list[BatchResult]) -> list[BatchResult]:
    """Makes the results of partitions whose fetches have no records: only the offset to commit moves."""
    others = set(partitions) - {result.partition for result in results}
    return [BatchResult(partition, "rules") for partition in sorted(others)]
