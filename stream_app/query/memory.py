"""The newest published prediction of each user whom this worker answered last, as the bytes that went to Kafka.

The event loop notes batches once they are durable, by reference: that costs it next to nothing. The thread that answers
questions takes them in: it copies the newest prediction of each user, and lets go of the batch. Whatever is known is
forgotten in each rebalance, as another worker may have answered since: then the users' states say what is to be said.
Nothing is kept before the first question: where nobody asks, it costs nothing.
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


_Answer = tuple[int, bytes, int]  # a `PublishedAnswer`, which takes half a microsecond more to make


class _Memory:
    """What is known between two rebalances."""

    def __init__(self, partitions: frozenset[int]) -> None:
        self.partitions = partitions
        self.noted: deque[BatchResult] = deque()  # durable, not taken in
        self.answers: dict[str, _Answer] = {}  # by user, who was answered last comes last


class AnswersInMemory:
    """The newest answers of at most so many users."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: _Memory | None = None  # None: in a rebalance
        self._is_asked = False  # whether anybody ever asked

    # For the event loop.

    def note(self, result: BatchResult) -> None:
        """Notes what is durable."""
        known = self._known
        if self._is_asked and known is not None and result.published is not None:
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

    @property
    def generation(self) -> object:
        """Something that is the same until the next rebalance, and another thing after it; None: in one."""
        return self._known

    def find(self, user: str) -> PublishedAnswer | None:
        """Returns the newest prediction of a user; None: it is not in memory."""
        known = self._known
        if known is None:
            return None
        self._take_in(known)
        found = known.answers.get(user)
        return None if found is None else PublishedAnswer(*found)

    def newest(self, count: int) -> list[tuple[str, PublishedAnswer]]:
        """Returns so many users who were answered last, the newest first."""
        known = self._known
        if known is None:
            return []
        self._take_in(known)
        return [(user, PublishedAnswer(*found)) for user, found in islice(reversed(known.answers.items()), count)]

    def take_in(self) -> None:
        """Takes in what was noted, so that no more batches are kept than need be."""
        if self._is_asked and (known := self._known) is not None:
            self._take_in(known)

    def _take_in(self, known: _Memory) -> None:
        self._is_asked = True
        answers = known.answers
        while known.noted:
            _add(known.noted.popleft(), answers)
            if len(answers) > self._most:
                for user in list(islice(answers, len(answers) - self._most)):
                    del answers[user]


def _add(result: BatchResult, answers: dict[str, _Answer]) -> None:
    """Adds the predictions of a result, which come last then; of a user's several the last stays. 1 us each."""
    published, partition = result.published, result.partition
    assert published is not None
    rows, (text, starts) = published.rows, published.values
    users = map(published.users.__getitem__, published.indices[rows].tolist())
    columns = zip(users, starts[rows].tolist(), starts[rows + 1].tolist(), result.record_times.tolist(), strict=True)
    values, forget = memoryview(text.data), answers.pop
    for user, start, end, time in columns:
        forget(user, None)
        answers[user] = (partition, bytes(values[start:end]), time)
