"""Rows as records: a reader's table becomes the writer's, in any order, and no value can break it."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.statistics.counter import StatisticsCounter, source_key
from model.statistics.decay import Decay
from model.statistics.statistics_table import StatisticsTable, Widths
from model.statistics.table_records import (
    CLOCKS_KEY,
    CountedRecords,
    SharedCounter,
    SharedTable,
    apply,
    decay_of,
    take_changes,
)
from tests.unit.model.statistics.oracle import (
    HOUR,
    START,
    Act,
    actions_from,
    arrays_of,
    content_of,
    key_of,
    random_acts,
)


@pytest.mark.parametrize("seed", range(3))
def test_an_empty_table_becomes_the_one_that_was_written_in_any_order(seed: int) -> None:
    writer = learned(random_acts(seed, late=True)).table
    keys, values, removed = take_changes(writer)
    order = random.Random(seed).sample(range(len(keys)), len(keys))
    for size in (1, 7, len(keys)):
        reader = StatisticsTable()
        for start in range(0, len(order), size):
            some = order[start : start + size]
            assert apply(reader, [keys[n] for n in some], [values[n] for n in some]) == 0
        assert_same_rows(reader, writer)
    assert removed == []
    assert set(keys) == {CLOCKS_KEY, *keys_of_items(writer), *keys_of_followed_sources(writer)}


def test_records_that_come_again_change_nothing() -> None:
    writer = learned(random_acts(3)).table
    keys, values, _ = take_changes(writer)
    reader = StatisticsTable()
    apply(reader, keys, values)
    before, names = arrays_of(reader), list(reader.names)
    apply(reader, keys[::-1], values[::-1])
    apply(reader, [*keys, *keys], [*values, *values])
    assert reader.names == names
    for name, array in arrays_of(reader).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_only_what_changed_since_is_taken_and_brings_a_reader_up_to_date() -> None:
    acts = random_acts(4, 400)
    counter, reader = StatisticsCounter(StatisticsTable()), StatisticsTable()
    for start in range(0, 400, 20):
        counter.learn(actions_from(acts[start : start + 20]))
        keys, values, removed = take_changes(counter.table)
        assert apply(reader, keys, values) == 0
        assert_same_rows(reader, counter.table)
        assert removed == []
        assert take_changes(counter.table) == CountedRecords([], [], [])
    counter.learn(actions_from([Act("someone else", "view", "item 1", acts[-1].time)]))
    assert take_changes(counter.table).keys == [b"item 1", CLOCKS_KEY]


def test_an_item_that_one_user_sees_again_is_taken_with_what_came_before_it() -> None:
    """The item does not count once more within the hour, but the pair is a new one."""
    counter, reader = StatisticsCounter(StatisticsTable()), StatisticsTable()
    for item in "abacada":
        counter.learn(actions_from([Act("ada", "view", item, START)]))
        apply(reader, *take_changes(counter.table)[:2])
    assert_same_rows(reader, counter.table)


def test_the_last_of_several_records_counts_and_none_is_added_to_another() -> None:
    counter = learned([Act("ada", "view", "a", START)])
    keys, first, _ = take_changes(counter.table)
    counter.learn(actions_from([Act("ben", "view", "a", START)]))
    _, second, _ = take_changes(counter.table)
    reader = StatisticsTable()
    apply(reader, [*keys, *keys], [*first, *second])
    assert_same_rows(reader, counter.table)
    apply(reader, keys, first)
    assert reader.arrays.items.counts[0].tolist() == pytest.approx([1, 1])


def test_neighbours_that_are_not_known_get_rows_without_names() -> None:
    counter = learned([Act("ada", "view", "a", START), Act("ada", "view", "b", START)])
    keys, values, _ = take_changes(counter.table)
    reader, index = StatisticsTable(), keys.index(b"a")
    apply(reader, [keys[index]], [values[index]])
    assert reader.names == ["a", ""]
    assert reader.arrays.items.keys[:2].tolist() == [key_of("a"), key_of("b")]
    assert take_changes(reader) == CountedRecords([], [], [])
    apply(reader, keys, values)
    assert reader.names == ["a", "b"]


def test_items_without_names_have_no_records() -> None:
    counter = StatisticsCounter(StatisticsTable())
    acts = [Act("ada", "view", "a", START), Act("ada", "view", "b", START)]
    actions = actions_from(acts)
    actions.items[0] = ""
    counter.learn(actions)
    assert set(take_changes(counter.table).keys) == {b"b", CLOCKS_KEY}
    counter.table.add(np.array([key_of("a")], np.uint64), ["a"])
    assert set(take_changes(counter.table).keys) == {b"a", CLOCKS_KEY}


def test_none_takes_an_item_or_a_source_away() -> None:
    acts = [Act("ada", kind, item, START) for kind, item in (("cart", "a"), ("view", "b"), ("view", "c"))]
    writer = learned(acts).table
    keys, values, _ = take_changes(writer)
    reader = StatisticsTable()
    apply(reader, keys, values)
    source = next(key for key in keys if key.startswith(b"\xffsource"))
    assert apply(reader, [b"a", source, b"never there"], [None, None, None]) == 0

    row, items = int(reader.rows_of(np.array([key_of("a")], np.uint64))[0]), reader.arrays.items
    assert (items.counts[row].tolist(), items.times[row]) == ([0, 0], 0)
    for rows in (items.followers, items.predecessors, items.recent, reader.arrays.sources.followers):
        at = row if rows is not reader.arrays.sources.followers else 0
        assert (rows.items[at].max(), rows.weights[at].max(), rows.totals[at]) == (-1, 0, 0)
    assert content_of(reader)[key_of("b")] == content_of(writer)[key_of("b")]

    apply(reader, keys, values)
    assert_same_rows(reader, writer)


def test_what_went_is_taken_once_and_not_where_it_came_again() -> None:
    counter = StatisticsCounter(StatisticsTable(memory=400_000))
    for batch in range(40):
        acts = [Act("ada", "view", f"item {batch} {n}", START + batch * HOUR + n) for n in range(50)]
        counter.learn(actions_from([*acts, Act("ada", "search", f"query {batch}", START + batch * HOUR)]))
    gone = {one for one in counter.table.removed if isinstance(one, str)}
    assert len(gone) == counter.table.dropped_items > 0
    back = sorted(gone)[0]
    counter.learn(actions_from([Act("ben", "view", back, START + 40 * HOUR)]))
    records = take_changes(counter.table)
    assert back.encode() in records.keys
    assert {one.decode() for one in records.removed if one[0] != 0xFF} == gone - {back}
    assert all(len(one) == len(b"\xffsource") + 8 for one in records.removed if one[0] == 0xFF)
    assert take_changes(counter.table).removed == []


def test_a_reader_with_shorter_rows_takes_the_heaviest() -> None:
    writer = learned(random_acts(5)).table
    keys, values, _ = take_changes(writer)
    reader = StatisticsTable(widths=Widths(4, 4, 4, 4))
    assert apply(reader, keys, values) == 0
    short, whole = content_of(reader), content_of(writer)
    for key in map(key_of, writer.names):
        assert short[key][6:9] == tuple(one[:4] for one in whole[key][6:9])  # type: ignore[index]


def test_a_full_reader_takes_all_records_of_a_call() -> None:
    """Where room for sources makes items go, those that have just come stay; what is known needs no more room."""
    reader = StatisticsTable(memory=400_000)
    for batch in range(30):
        time = START + batch * HOUR
        acts = [Act("ada", "cart", f"item {batch} {n}", time + n) for n in range(40)]
        keys, values, _ = take_changes(learned(acts).table)
        apply(reader, keys, values)
        rows = reader.rows_of(np.array([key_of(act.thing) for act in acts], np.uint64))
        assert (reader.arrays.items.times[rows] >= time).all()
        carts = [source_key(np.uint64(key_of(act.thing)), 4) for act in acts[:-1]]
        sources = reader.source_index.find(np.array(carts, np.uint64))
        assert (reader.arrays.sources.followers.totals[sources] > 0).all()
        generation = reader.generation
        apply(reader, keys, values)
        assert reader.generation == generation
    assert reader.generation > 0


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_all_records_of_a_table_can_be_had_some_at_a_time(most: int) -> None:
    """Also of rows that did not change; the clocks come last, and once."""
    counter = SharedCounter(SharedTable())
    counter.learn(actions_from(random_acts(9)))
    assert counter.take_changes().keys
    writer, found, start = counter.table, list[tuple[bytes, bytes]](), 0
    assert isinstance(writer, SharedTable)
    while CLOCKS_KEY not in dict(found):
        page = writer.records(start, most)
        assert len(page) <= most + 1
        found += page
        start += most
    assert writer.records(start, most) == []
    keys = [key for key, _ in found]
    assert keys[-1] == CLOCKS_KEY
    assert sorted(set(keys)) == sorted(keys)
    reader = SharedTable()
    reader.apply(keys, [value for _, value in found])
    assert_same_rows(reader, writer, all_sources=True)
    assert reader.dropped == {"items": 0, "sources": 0, "neighbours": 0, "damaged": 0}
    reader.apply([b"", b"item 1"], [b"", b"nonsense"])
    assert reader.dropped["damaged"] == 2


def test_the_record_of_the_clocks_says_how_far_the_stream_is() -> None:
    counter = StatisticsCounter(StatisticsTable(), Decay(START - 5, 1234))
    counter.learn(actions_from(random_acts(6)))
    keys, values, _ = take_changes(counter.table)
    value = values[keys.index(CLOCKS_KEY)]
    assert decay_of(value) == Decay(START - 5, 1234)
    reader = StatisticsTable()
    assert apply(reader, [CLOCKS_KEY], [value]) == 0
    assert reader.decay == Decay(START - 5, 1234)
    for name in ("sums", "sum_bases", "clocks"):
        np.testing.assert_array_equal(getattr(reader.arrays, name), getattr(counter.table.arrays, name))
    for broken in (b"", value[:-1], value + b"\0", b"\2" + value[1:], value[:-8] + bytes(8)):
        assert decay_of(broken) is None
        assert apply(reader, [CLOCKS_KEY], [broken]) == 1
    no_number = value[:8] + struct.pack("<d", float("nan")) + value[16:]
    assert apply(reader, [CLOCKS_KEY], [no_number]) == 1
    assert reader.decay == Decay(START - 5, 1234)
    assert np.isfinite(reader.arrays.sums).all()


@pytest.fixture(scope="module")
def records() -> CountedRecords:
    return take_changes(learned(random_acts(7, 80)).table)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), -1.0, -1e-30])
def test_numbers_that_cannot_be_are_counted_and_change_nothing(records: CountedRecords, number: float) -> None:
    reader = StatisticsTable()
    keys, values = list(records.keys), list(records.values)
    apply(reader, keys, values)
    before = arrays_of(reader)
    item = keys.index(b"item 1")
    value, weights = values[item], 56 + 8 * sum(struct.unpack_from("<HHH", values[item], 2))
    floats = [32 + 4 * n for n in range(5)] + [weights, weights + 4]
    broken = [value[:at] + struct.pack("<f", number) + value[at + 4 :] for at in floats]
    if not np.isfinite(number):
        broken += [value[:at] + struct.pack("<d", number) + value[at + 8 :] for at in (16, 24)]
    for one in broken:
        assert apply(reader, [b"item 1"], [one]) == 1
    assert_unchanged(reader, before)


@given(st.data())
def test_damaged_records_are_counted_and_change_nothing(records: CountedRecords, data: st.DataObject) -> None:
    reader = StatisticsTable()
    apply(reader, records.keys, list(records.values))
    before = arrays_of(reader)
    index = data.draw(st.integers(0, len(records.keys) - 2))
    key, value = records.keys[index], records.values[index]
    broken = data.draw(
        st.integers(0, len(value) - 1).map(lambda end: value[:end])
        | st.integers(1, 40).map(lambda more: value + bytes(more))
        | st.integers(2, 255).map(lambda version: bytes([version]) + value[1:])
        | st.binary(max_size=200).filter(lambda some: some[:1] != b"\1")
        | st.integers(0, 2).map(lambda field: value[: 2 + 2 * field] + b"\xff\xff" + value[4 + 2 * field :])
    )
    assert apply(reader, [key], [broken]) == 1
    assert_unchanged(reader, before)


@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 7), st.integers(0, 10**6)), min_size=1, max_size=4))
def test_flipped_bits_never_end_the_reader(records: CountedRecords, flips: list[tuple[int, int, int]]) -> None:
    """Values that look sound are taken, whatever they say; neighbours stay rows of the table."""
    reader = StatisticsTable()
    keys, values = list(records.keys), [bytearray(value) for value in records.values]
    for place, bit, record in flips:
        value = values[record % len(values)]
        value[place % len(value)] ^= 1 << bit
    apply(reader, keys, [bytes(value) for value in values])
    items = reader.arrays.items
    for rows in (items.followers, items.predecessors, items.recent, reader.arrays.sources.followers):
        assert rows.items.max() < reader.size
        assert np.isfinite(rows.weights).all()
    assert (items.categories < 1024).all()
    assert (items.brands < 512).all()


@given(st.dictionaries(st.binary(max_size=20), st.none() | st.binary(max_size=150), max_size=5))
def test_any_bytes_can_be_applied(given_records: dict[bytes, bytes | None]) -> None:
    reader = StatisticsTable()
    damaged = apply(reader, list(given_records), list(given_records.values()))
    assert 0 <= damaged <= len(given_records)
    assert reader.size == 0 or damaged < len(given_records)


@pytest.mark.parametrize(
    "key", [b"", b"\xff", b"\xc3\x28", b"\xffsource", b"\xffsource1234567", b"\xffsource123456789"]
)
def test_keys_that_cannot_be_are_counted(records: CountedRecords, key: bytes) -> None:
    reader = StatisticsTable()
    assert apply(reader, [key], [records.values[0]]) == 1
    assert (reader.size, reader.source_size) == (0, 0)


def learned(acts: Sequence[Act]) -> StatisticsCounter:
    counter = StatisticsCounter(StatisticsTable())
    counter.learn(actions_from(acts))
    return counter


def keys_of_items(table: StatisticsTable) -> set[bytes]:
    return {name.encode() for name in table.names}


def keys_of_followed_sources(table: StatisticsTable) -> set[bytes]:
    sources = table.arrays.sources
    followed = sources.keys[: table.source_size][sources.followers.totals[: table.source_size] > 0]
    return {b"\xffsource" + int(key).to_bytes(8, "little") for key in followed}


def assert_same_rows(reader: StatisticsTable, writer: StatisticsTable, *, all_sources: bool = False) -> None:
    """By keys. A source that nothing followed yet has no record; times of rows may be older than the newest touch."""
    found, expected = content_of(reader), content_of(writer)
    levels = writer.arrays.items.levels[writer.rows_of(reader.arrays.items.keys[: reader.size])]
    near = levels > writer.arrays.clocks - 100  # of what is older, counts are too small for their bits
    np.testing.assert_allclose(reader.arrays.items.levels[: reader.size][near], levels[near], atol=1e-3)
    followed = {key: row for key, row in expected.items() if all_sources or not isinstance(key, tuple) or row[3]}
    assert found.keys() == followed.keys()
    for key, row in found.items():
        assert row[1:5] + row[6:] == followed[key][1:5] + followed[key][6:], key
        assert row[0] <= followed[key][0]  # type: ignore[operator]
    for name in ("sums", "sum_bases", "clocks"):
        np.testing.assert_array_equal(getattr(reader.arrays, name), getattr(writer.arrays, name))
    assert dict(zip(reader.arrays.items.keys[: reader.size].tolist(), reader.names, strict=True)) == dict(
        zip(writer.arrays.items.keys[: writer.size].tolist(), writer.names, strict=True)
    )
    for one, other in zip(reader.arrays.popular, writer.arrays.popular, strict=True):
        for here, there in zip(np.atleast_2d(one), np.atleast_2d(other), strict=True):
            assert keys_at(reader, here) == keys_at(writer, there)


def keys_at(table: StatisticsTable, rows: NDArray[np.int32]) -> set[int]:
    return set(table.arrays.items.keys[rows[rows >= 0]].tolist())


def assert_unchanged(table: StatisticsTable, before: dict[str, NDArray[np.generic]]) -> None:
    for name, array in arrays_of(table).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
