"""Events as they are counted: columns in the order of time, with the words of searches."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from xxhash import xxh3_64_intdigest

from model.data.events import TYPE_CODES
from model.data.query_table import QueryTable
from model.data.sequences import sequences_of
from model.statistics.counted_events import CountedEvents, events_of_actions, events_of_sequences
from tests.unit.model.statistics.oracle import Act, actions_from, bucket, key_of, random_acts

Row = tuple[int, int, int, int, int, int, list[int]]


def test_actions_are_counted_in_their_order() -> None:
    acts = random_acts(1, late=True)
    assert rows_of(events_of_actions(actions_from(acts))) == [row_by_hand(act) for act in acts]


def test_actions_of_sequences_are_counted_in_the_order_of_time() -> None:
    acts = random_acts(2)
    sequences = sequences_of(actions_from(acts))
    events, indices = events_of_sequences(sequences)
    users = list(dict.fromkeys(act.user for act in acts))

    # At one time, users come in the order in which they came first, and the actions of each in theirs.
    expected = sorted(acts, key=lambda act: (act.time, users.index(act.user)))
    assert rows_of(events) == [row_by_hand(act) for act in expected]
    assert sorted(indices.tolist()) == list(range(len(acts)))
    np.testing.assert_array_equal(sequences.item_keys[indices], events.item_keys)
    np.testing.assert_array_equal(sequences.times[indices], events.times)


def test_some_of_the_events_are_taken_with_all_their_columns() -> None:
    events = events_of_actions(actions_from(random_acts(3)))
    assert rows_of(events.select(slice(7, 30))) == rows_of(events)[7:30]
    assert rows_of(events.select(np.array([9, 2, 2]))) == [rows_of(events)[n] for n in (9, 2, 2)]


def test_searches_whose_words_are_not_known_have_none() -> None:
    acts = [Act("ada", "search", "red shoes", 1), Act("ada", "view", "red shoes", 2), Act("ada", "search", "hat", 3)]
    sequences = sequences_of(actions_from(acts))
    known = actions_from(acts[2:]).queries
    assert words_of(replace(sequences, queries=QueryTable(known))) == [[0] * 4, [0] * 4, [word_bucket("hat"), 0, 0, 0]]
    assert words_of(replace(sequences, queries=QueryTable())) == [[0] * 4] * 3


def test_no_actions_are_no_events() -> None:
    events, indices = events_of_sequences(sequences_of(actions_from([])))
    assert (len(events.users), events.words.shape, len(indices)) == (0, (0, 4), 0)
    assert rows_of(events_of_actions(actions_from([]))) == []


def words_of(sequences: object) -> list[list[int]]:
    events, _ = events_of_sequences(sequences)  # type: ignore[arg-type]
    return [list(row) for row in events.words.tolist()]


def rows_of(events: CountedEvents) -> list[Row]:
    types = ("uint64", "uint64", "uint8", "int64", "uint16", "uint16", "uint16")
    assert tuple(str(column.dtype) for column in events) == types
    return list(zip(*(column.tolist() for column in events), strict=True))


def row_by_hand(act: Act) -> Row:
    words = re.findall(r"\w+", act.thing.casefold())
    is_search = act.kind == "search"
    buckets = [word_bucket(word) for word in words[:4]] if is_search else []
    return (
        key_of(act.user),
        key_of(" ".join(words) if is_search else act.thing),
        TYPE_CODES[act.kind],
        act.time,
        bucket(act.category, 1024),
        bucket(act.brand, 512),
        (buckets + [0] * 4)[:4],
    )


def word_bucket(word: str) -> int:
    return 1 + xxh3_64_intdigest(word.encode()) % 65_520
