"""What joins change is written with the results of the partition that it belongs to."""

from __future__ import annotations

import numpy as np
from aiokafka.partitioner import DefaultPartitioner

from model.state.user_record import pack
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.joins.effects import JoinEffects, OutgoingJoin, add_effects
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, make_states, unpacked

SETTINGS = load_settings({"partitions": 5})
NOBODY = JoinEffects([], None, [], {})


def test_users_are_written_to_their_partitions_behind_what_their_events_made() -> None:
    states = make_states(CPU)
    slots = states.slots_of([1, 4, 1], ["a", "b", "c"])
    records = pack(states.snapshot(slots))
    effects = JoinEffects([(1, b"a"), (4, b"b"), (1, b"c")], states.snapshot(slots), [], {})
    results = {1: BatchResult(1, "model", states=[(b"a", b"before")])}
    add_effects(effects, results, "model", SETTINGS)
    assert results[1].states == [(b"a", b"before"), (b"a", records[0]), (b"c", records[2])]
    assert [(sent.key, sent.value) for sent in unpacked(results[1].changelog)] == [
        (b"a", records[0]),
        (b"c", records[2]),
    ]
    assert [(sent.key, sent.value) for sent in unpacked(results[4].changelog)] == [(b"b", records[1])]
    assert (results[4].partition, results[4].ranker) == (4, "model")


def test_joins_are_placed_as_their_users_events_are_and_stay_in_order() -> None:
    users = [f"user {n}".encode() for n in range(12)]
    outgoing = [OutgoingJoin(n % 2, user, f"{n}".encode()) for n, user in enumerate(users * 2)]
    results: dict[int, BatchResult] = {partition: BatchResult(partition, "rules") for partition in (0, 1)}
    add_effects(JoinEffects([], None, outgoing, {}), results, "rules", SETTINGS)
    place, every = DefaultPartitioner(), list(range(5))
    for partition, result in results.items():
        found = [(to, sent.key, sent.value) for to, batch in result.joins for sent in unpacked([batch])]
        wanted = [
            (place(user, every, every), user, f"{n}".encode()) for n, user in enumerate(users * 2) if n % 2 == partition
        ]
        assert sorted(found) == sorted(wanted)
        for user in users:
            numbers = [int(value or b"") for _, key, value in found if key == user]
            assert numbers == sorted(numbers)


def test_what_was_read_is_noted_also_where_it_changes_nothing() -> None:
    results: dict[int, BatchResult] = {}
    add_effects(JoinEffects([], None, [], {2: 7, 3: 1}), results, "rules", SETTINGS)
    assert {partition: result.joins_read for partition, result in results.items()} == {2: 7, 3: 1}
    before = {1: BatchResult(1, "rules")}
    add_effects(NOBODY, before, "rules", SETTINGS)
    assert before[1].joins_read is None
    assert np.array_equal(before[1].record_times, BatchResult(1, "rules").record_times)
