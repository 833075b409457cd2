"""What joins change beside the events of a batch, and how it is written: users' records, and records for other workers.

Each goes with the results of the partition of events that it came from or belongs to, so that it is delivered with
them. Records for the joins topic are placed as Kafka's default partitioner places the events of their users.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.state.user_record import UserRecords, packed, records_of
from stream_app.contract.string_columns import frozen, strings
from stream_app.kafka.key_partitions import key_partitions
from stream_app.kafka.record_batch import KeyedValues, partitioned_batches
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.metrics import Ranker
from stream_app.settings import Settings


class OutgoingJoin(NamedTuple):
    """A record for the joins topic."""

    partition: int  # of the events, or of the joins, from which it comes
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class JoinEffects:
    """What joins do in a batch; nothing here changes with the next batch."""

    users: list[tuple[int, bytes]]  # partition and id of each user who changed
    states: UserRecords | None  # of these users, after the whole batch; None: there are none
    outgoing: list[OutgoingJoin]
    read: Mapping[int, int]  # by partition, where the next fetch of the joins begins


def add_effects(effects: JoinEffects, results: dict[int, BatchResult], ranker: Ranker, settings: Settings) -> None:
    """Adds effects to the results of a batch, by partition; makes those that are missing."""
    partitions = [*effects.read, *(partition for partition, _ in effects.users)]
    for partition in partitions:
        results.setdefault(partition, BatchResult(partition, ranker))
    for partition, offset in effects.read.items():
        results[partition].joins_read = offset
    if effects.states is not None:
        _add_states(effects.users, effects.states, results, settings)
    _add_outgoing(effects.outgoing, results, settings)


def _add_states(
    users: list[tuple[int, bytes]], states: UserRecords, results: dict[int, BatchResult], settings: Settings
) -> None:
    """Adds users' records, behind those that the events of the batch made of the same users."""
    values = frozen(*packed(states))
    keys, partitions = strings([user for _, user in users]), np.array([partition for partition, _ in users], np.int64)
    every = np.arange(len(users))
    _, batches = partitioned_batches(
        KeyedValues(keys, partitions, every, values, every), compression=settings.compression
    )
    for partition, batch in batches:
        results[partition].changelog.append(batch)
    for (partition, user), record in zip(users, records_of(*values), strict=True):
        results[partition].states.append((user, record))


def _add_outgoing(outgoing: list[OutgoingJoin], results: dict[int, BatchResult], settings: Settings) -> None:
    by_partition: defaultdict[int, list[OutgoingJoin]] = defaultdict(list)
    for join in outgoing:
        by_partition[join.partition].append(join)
    for partition, joins in by_partition.items():
        keys = strings([join.key for join in joins])
        every = np.arange(len(joins))
        records = KeyedValues(
            keys, key_partitions(keys, settings.partitions), every, strings([join.value for join in joins]), every
        )
        _, batches = partitioned_batches(records, compression=settings.compression)
        results[partition].joins.extend(batches)
