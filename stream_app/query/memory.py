"""The newest published prediction of each user whom this worker answered last, as the bytes that went to Kafka.

The event loop notes batches once they are durable, by reference: that costs it next to nothing. The thread that answers
questions takes them in: it copies the newest prediction of each user, and lets go of the batch. Whatever is known is
forgotten in each rebalance, as another worker may have answered since: then the users' states say what is to be said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from itertools import islice
from typing import NamedTuple

from stream_app.pipeline.batch_result import BatchResult


class PublishedAnswer(NamedTuple):
    """A user's newest prediction."""

    partition: int
    value: bytes  # as published, JSON
    record_time: int  # of the event that it follows, ms since the epoch


class _Memory:
    """What is known between two rebalances."""

    def __init__(self, partitions: frozenset[int]) -> None:
        self.partitions = partitions
        self.noted: deque[BatchResult] = deque()  # durable, not taken in
        self.answers: dict[str, PublishedAnswer] = {}  # by user, who was answered last comes last


class AnswersInMemory:
    """The newest answers of at most so many users."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: _Memory | None = None  # None: in a rebalance

    # For the event loop.

    def note(self, result: BatchResult) -> None:
        """Notes what is durable."""
        known = self._known
        if known is not None and result.published is not None:
            known.noted.append(result)

    def pause(self) -> None:
        """Forgets everything: the partitions are given away."""
        self._known = None

    def resume(self, partitions: Collection[int]) -> None:
        """Begins anew with these partitions."""
        self._known = _Memory(frozenset(partitions))

    # For the thread that answers questions.

    @property
    def partitions(self) -> frozenset[int] | None:
        """The partitions whose users this worker answers; None: in a rebalance."""
        known = self._known
        return None if known is None else known.partitions

    def find(self, user: str) -> PublishedAnswer | None:
        """Returns the newest prediction of a user; None: it is not in memory."""
        known = self._known
        if known is None:
            return None
        self._take_in(known)
        return known.answers.get(user)

    def newest(self, count: int) -> list[tuple[str, PublishedAnswer]]:
        """Returns so many users who were answered last, the newest first."""
        known = self._known
        if known is None:
            return []
        self._take_in(known)
        return list(islice(reversed(known.answers.items()), count))

    def take_in(self) -> None:
        """Takes in what was noted, so that no more batches are kept than need be."""
        if (known := self._known) is not None:
            self._take_in(known)

    def _take_in(self, known: _Memory) -> None:
        answers = known.answers
        while known.noted:
            result = known.noted.popleft()
            for user, answer in _newest(result).items():
                answers.pop(user, None)
                answers[user] = answer
            if len(answers) > self._most:
                for user in list(islice(answers, len(answers) - self._most)):
                    del answers[user]


def _newest(result: BatchResult) -> dict[str, PublishedAnswer]:
    """Returns the last prediction of each user of a result, in the order of these."""
    published = result.published
    assert published is not None
    rows = published.rows
    users = list(map(published.users.__getitem__, published.indices[rows].tolist()))
    last = sorted(dict(zip(users, range(len(users)), strict=True)).values())
    values = published.values
    starts, ends = values.starts[rows].tolist(), values.starts[rows + 1].tolist()
    text, times = memoryview(values.text.data), result.record_times.tolist()
    return {
        users[at]: PublishedAnswer(result.partition, text[starts[at] : ends[at]].tobytes(), times[at]) for at in last
    }
