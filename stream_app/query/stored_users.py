"""Reads users' records from the worker's store, in the threads that answer questions, while nobody closes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from threading import Lock
from typing import Any

from model.state.user_states import RecordLookup
from stream_app.errors import DataPathError
from stream_app.query.refusals import in_rebalance

Owner = tuple[int, str]  # partition and id of a user


class StoredUsers:
    """The users of the partitions that this worker answers."""

    def __init__(
        self, read: RecordLookup, not_ready: Callable[[], str | None], fail: Callable[[BaseException], Any]
    ) -> None:
        """`read` as `LocalStore.read`; `not_ready` returns None once users are recovered; `fail` ends the process."""
        self._read, self._not_ready, self._fail = read, not_ready, fail
        self._lock = Lock()  # held while something is read; partitions are closed in between
        self._partitions: frozenset[int] = frozenset()

    def pause(self) -> None:
        """Returns when nothing is read any more: partitions are about to be closed."""
        with self._lock:
            self._partitions = frozenset()

    def resume(self, partitions: Collection[int]) -> None:
        """Reads these partitions from now on, once their users are recovered."""
        with self._lock:
            self._partitions = frozenset(partitions)

    def find(self, owners: Sequence[Owner]) -> dict[Owner, bytes]:
        """Returns the records of those users who have one. Raises `Refusal` in a rebalance."""
        by_partition: defaultdict[int, list[str]] = defaultdict(list)
        for partition, user in owners:
            by_partition[partition].append(user)
        with self._lock:
            if not self._partitions.issuperset(by_partition) or self._not_ready() is not None:
                raise in_rebalance()
            try:
                read = {partition: self._read(partition, users) for partition, users in by_partition.items()}
            except DataPathError as error:  # the files were damaged, and are gone
                self._fail(error)
                raise
        return {(partition, user): record for partition, users in read.items() for user, record in users.items()}
