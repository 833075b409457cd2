"""Ends a worker when so many records are not events that more than single records must be broken.

Records are counted in the order of the log, in memory. Counting begins again with each generation of the consumer
group, so also after a restart, from the committed offset on: a worker that is only restarted stops again, at the latest
when it has passed as many dead letters as the limit allows.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from stream_app.contract.decoded import Reason, Rejection
from stream_app.errors import TooManyDeadLetters
from stream_app.settings import Settings


@dataclass(slots=True)
class _ReasonCounts:
    """Counts rejected records by reason, with the newest example of each."""

    counts: Counter[Reason] = field(default_factory=Counter)
    newest: dict[Reason, str] = field(default_factory=dict)

    def add(self, reason: Reason, example: str) -> None:
        self.counts[reason] += 1
        self.newest[reason] = example

    def describe_most_common(self) -> str:
        reason, count = self.counts.most_common(1)[0]
        return f"{count:,} of them are {reason}, such as {self.newest[reason]}"


class DeadLetterLimits:
    """Counts what a worker takes in, and raises before there are more dead letters than the settings allow."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._generation = 0
        self._begin()

    def _begin(self) -> None:
        # By partition: its last dead letters in a row.
        self._runs: defaultdict[int, _ReasonCounts] = defaultdict(_ReasonCounts)
        self._seen = 0  # records
        self._window: deque[tuple[int, Reason]] = deque()  # dead letters of the window: value of `_seen`, reason
        self._window_counts = _ReasonCounts()  # of the same

    def count(
        self, records: Sequence[ConsumerRecord[bytes, bytes]], rejected: Sequence[Rejection], generation: int
    ) -> None:
        """Counts a batch of records, each partition's in order; `generation` is the consumer group's.

        Raises `TooManyDeadLetters` when a record of the batch exceeds a limit.
        """
        if generation != self._generation:
            self._generation = generation
            self._begin()
        if not rejected and not self._runs:
            self._seen += len(records)
            return
        rejections = {rejection.position: rejection for rejection in rejected}
        for index, record in enumerate(records):
            self._seen += 1
            rejection = rejections.get(index)
            if rejection is None:
                self._runs.pop(record.partition, None)
            else:
                self._count_rejected(record, rejection)

    def _count_rejected(self, record: ConsumerRecord[bytes, bytes], rejected: Rejection) -> None:
        example = f"{record.topic}/{record.partition} offset {record.offset}: {rejected.message}"
        if self._settings.dead_letters_consecutive:
            self._check_run(record, rejected.reason, example)
        if self._settings.dead_letters_ratio:
            self._check_window(rejected.reason, example)

    def _check_run(self, record: ConsumerRecord[bytes, bytes], reason: Reason, example: str) -> None:
        run, limit = self._runs[record.partition], self._settings.dead_letters_consecutive
        run.add(reason, example)
        count = run.counts.total()
        if count > limit:
            raise _too_many(
                f"{count:,} records of {record.topic}/{record.partition} in a row are not events",
                run,
                f"NEXTACT_DEAD_LETTERS_CONSECUTIVE ({limit:,})",
            )

    def _check_window(self, reason: Reason, example: str) -> None:
        ratio, window = self._settings.dead_letters_ratio, self._settings.dead_letters_window
        self._window_counts.add(reason, example)
        self._window.append((self._seen, reason))
        while self._window[0][0] <= self._seen - window:
            self._window_counts.counts[self._window.popleft()[1]] -= 1
        count = len(self._window)
        if self._seen >= window and count > ratio * window:
            raise _too_many(
                f"{count:,} of the last {window:,} records are not events",
                self._window_counts,
                f"NEXTACT_DEAD_LETTERS_RATIO ({ratio:g})",
            )


def _too_many(what: str, reasons: _ReasonCounts, setting: str) -> TooManyDeadLetters:
    return TooManyDeadLetters(
        f"{what}: {reasons.describe_most_common()}. The batch with the last of them is not acknowledged, its records "
        f"are still in Kafka: fix the publisher, or raise {setting}; 0 switches the limit off"
    )
