"""A log as a worker gets it: the records of its events in the order of time, and what their users did before.

The past of users is brought in as `nextact history import` brings it to workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from model.data.events import SEARCH, Actions
from model.data.query_table import QueryTable
from model.state.past_users import PastUsers, past_users
from stream_app.contract.string_columns import strings
from stream_app.kafka.key_partitions import key_partitions
from stream_app.offline.log_reader import EventRecord
from stream_app.offline.past_events import past_actions

MOST_EVENTS: Final = 64  # of a batch
SPAN_MS: Final = 1000  # of the log, that a batch is shorter than

Records = Sequence["ConsumerRecord[bytes, bytes]"]


@dataclass(frozen=True, slots=True)
class LiveLog:
    """The records of a log, and what was before it."""

    records: Records  # in the order of the log; offsets count them
    past: PastUsers  # what their users did before it, those of them who did something
    item_keys: NDArray[np.uint64]  # of all items that anybody touched before it

    @classmethod
    def of(cls, events: Sequence[EventRecord], before: Actions, *, partitions: int, length: int) -> LiveLog:
        """Makes a log of events, which are sorted by time; `before` are the actions that lie before it.

        Users keep `length` actions of their past.
        """
        events = sorted(events, key=lambda event: event.time)
        homes = key_partitions(strings([event.key for event in events]), partitions).tolist()
        users = {event.key.decode() for event in events}
        return cls(
            records=[_record(*numbered) for numbered in zip(events, homes, range(len(events)), strict=True)],
            past=_past_of(before, users, length),
            item_keys=np.unique(before.item_keys[before.types != SEARCH]),
        )


def batches(records: Records) -> Iterator[Records]:
    """Cuts a log into batches, each of which ends before a user's second event, at 64 events or after a second.

    So what is answered hangs on nothing that comes after it.
    """
    batch: list[ConsumerRecord[bytes, bytes]] = []
    users: set[bytes | None] = set()
    for record in records:
        full = len(batch) == MOST_EVENTS or record.key in users
        if batch and (full or record.timestamp - batch[0].timestamp >= SPAN_MS):
            yield batch
            batch, users = [], set()
        batch.append(record)
        users.add(record.key)
    if batch:
        yield batch


def _record(event: EventRecord, partition: int, offset: int) -> ConsumerRecord[bytes, bytes]:
    time, key, value = event
    return ConsumerRecord("shop.events", partition, offset, time, 0, key, value, None, len(key), len(value), ())


def _past_of(before: Actions, users: set[str], length: int) -> PastUsers:
    chosen = np.flatnonzero([user in users for user in before.users])
    actions = before.take(chosen)
    codes: dict[str, int] = {}
    numbers = np.array([codes.setdefault(user, len(codes)) for user in actions.users], np.int64)
    events = np.cumsum(actions.lines == 0)
    return past_users(past_actions(actions, numbers, events), list(codes), QueryTable(actions.queries), length)
