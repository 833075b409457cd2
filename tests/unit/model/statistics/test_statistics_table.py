"""The table: rows only ever come, until memory ends; then they get shorter, then those not touched longest ago go."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.statistics.rows import NOBODY, NeighbourRows, add_neighbour
from model.statistics.statistics_table import StatisticsTable, Widths, enter_popular
from tests.unit.model.statistics.oracle import arrays_of, content_of, neighbours_of

NARROW = Widths(8, 6, 5, 4)


@given(st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=8))
def test_items_get_rows_in_the_order_in_which_they_come(batches: list[list[int]]) -> None:
    """A name stays; a row that has none takes the one given. Names may be given for the first items alone."""
    table, keys, names = StatisticsTable(), list[int](), dict[int, str]()
    for number, batch in enumerate(batches):
        given_names = [f"{key}" if (key + number) % 3 else "" for key in batch[: 1 + len(batch) // 2]]
        rows = table.add(np.array(batch, np.uint64), given_names)
        keys += [key for key in dict.fromkeys(batch) if key not in keys]
        for key, name in zip(batch, given_names, strict=False):
            names[key] = names.get(key) or name
        assert rows.tolist() == [keys.index(key) for key in batch]
        assert table.arrays.items.keys[: table.size].tolist() == keys
        assert table.names == [names.get(key, "") for key in keys]
        assert len(table) == len(keys)
    asked = np.arange(24, dtype=np.uint64).reshape(4, 6)
    assert table.rows_of(asked).ravel().tolist() == [keys.index(key) if key in keys else -1 for key in range(24)]


def test_sources_get_rows_once() -> None:
    table = StatisticsTable()
    for keys in ([7, 5, 7], [5, 9], [9, 7, 5]):
        table.add_sources(np.array(keys, np.uint64))
    assert sorted(table.arrays.sources.keys[: table.source_size].tolist()) == [5, 7, 9]
    assert [table.source_index.find(np.array([key], np.uint64))[0] for key in (5, 7, 9)] == [0, 1, 2]


def test_growth_keeps_all_rows() -> None:
    table = filled(200)
    before = arrays_of(table)
    content, names = content_of(table), table.names
    table.add(np.arange(10_000, 13_000, dtype=np.uint64))
    table.make_room(0, 5_000)
    assert (table.size, table.generation, table.shortened, table.removed) == (3_200, 0, 0, [])
    assert table.names is names
    for name, array in arrays_of(table).items():
        np.testing.assert_array_equal(array[: len(before[name])], before[name], err_msg=name)
    after = content_of(table)
    assert {key: after[key] for key in content} == content


def test_memory_ends_with_shorter_rows_first_and_then_with_the_items_not_touched_longest_ago() -> None:
    table, added, events = StatisticsTable(memory=1 << 20), list[int](), list[str]()
    for batch in range(120):
        keys = np.arange(batch * 50, batch * 50 + 50, dtype=np.uint64)
        before = (table.shortened, table.dropped_items, len(table.arrays.changes), table.generation)
        rows = table.add(keys, [f"item {key}" for key in keys.tolist()])
        table.arrays.items.times[rows] = 1 + batch
        added += keys.tolist()
        assert table.nbytes <= table.memory
        assert taken_bytes(table) <= table.memory
        kept = table.arrays.items.keys[: table.size].tolist()
        assert kept == added[-len(kept) :]
        assert table.dropped_items == len(added) - len(kept)
        assert table.generation == before[3] + (table.dropped_items > before[1])
        if table.shortened > before[0]:
            events.append("shorter")
        if table.dropped_items > before[1]:
            assert table.widths == Widths(4, 4, 4, 4)
            events.append("gone")
    assert events == sorted(events, reverse=True)
    assert {*events} == {"shorter", "gone"}
    assert len(table) > 1500
    assert table.removed == [f"item {key}" for key in added[: table.dropped_items]]


def test_shorter_rows_keep_the_heaviest_neighbours_and_the_totals() -> None:
    table = filled(200)
    before, totals = content_of(table), table.arrays.items.followers.totals[:200].copy()
    table.memory = 200_000
    table.add(np.arange(10_000, 10_200, dtype=np.uint64))
    assert (table.shortened, table.widths, table.generation) == (1, Widths(4, 4, 4, 4), 0)
    for row, key in enumerate(table.arrays.items.keys[:200].tolist()):
        assert tuple(neighbours_of(table, table.arrays.items.followers, row).items()) == before[key][6][:4]  # type: ignore[index]
    np.testing.assert_array_equal(table.arrays.items.followers.totals[:200], totals)


@pytest.mark.parametrize("seed", range(4))
def test_after_forgetting_every_neighbour_is_still_the_right_item(seed: int) -> None:
    table, rng = filled(240, seed), random.Random(seed)
    before, names = content_of(table), table.names
    old_names, popular = list(names), popular_keys(table)
    times = table.arrays.items.times[:240].copy()
    keys, source_times = table.arrays.items.keys[:240].copy(), table.arrays.sources.times[: table.source_size].copy()
    source_keys = table.arrays.sources.keys[: table.source_size].copy()
    table.memory = 1
    table.widths = Widths(4, 4, 4, 4)  # there is nothing left to shorten
    table.make_room(rng.randrange(20, 60), 0)

    gone = set(keys[np.argsort(times, kind="stable")[: 240 - table.size]].tolist())
    gone_sources = source_keys[np.argsort(source_times, kind="stable")[: len(source_keys) - table.source_size]].tolist()
    assert len(gone) >= 30
    assert len(gone_sources) >= 1
    assert table.generation == 1
    assert_forgotten(table, before, gone, gone_sources, most=4)
    assert {key for key in popular if key not in gone} == popular_keys(table)

    assert names == old_names
    assert table.names is not names
    assert table.names == [name for name, key in zip(old_names, keys.tolist(), strict=True) if key not in gone]
    lost = {name for name, key in zip(old_names, keys.tolist(), strict=True) if key in gone and name}
    assert {one for one in table.removed if isinstance(one, str)} == lost
    assert {one for one in table.removed if isinstance(one, int)} == set(gone_sources)
    assert (table.dropped_items, table.dropped_sources) == (len(gone), len(gone_sources))


def test_items_that_come_again_after_they_went_are_new() -> None:
    table = filled(240)
    table.memory, table.widths = 1, Widths(4, 4, 4, 4)
    everything = table.arrays.items.keys[:240].copy()
    table.make_room(100, 0)
    gone = everything[table.rows_of(everything) < 0]
    rows = table.add(gone)
    assert rows.tolist() == list(range(table.size - len(gone), table.size))
    assert (table.arrays.items.counts[rows] == 0).all()
    assert (table.arrays.items.followers.items[rows] == NOBODY).all()
    assert (table.arrays.items.times[rows] == 0).all()


def test_a_table_of_some_items_has_them_alone_in_their_order() -> None:
    """With all sources; of neighbours those that are there, by their keys."""
    table, rng = filled(120), random.Random(3)
    before, whole = content_of(table), table.arrays.items.keys[:120].tolist()
    wanted = [*rng.sample(whole, 50), 5, *rng.sample(range(10**13, 10**14), 3)]
    part = table.of_items(np.array(wanted, np.uint64), [str(key) for key in wanted])

    assert part.names == [str(key) for key in wanted]
    assert part.rows_of(np.array(wanted, np.uint64)).tolist() == list(range(54))
    assert (part.decay, part.source_size) == (table.decay, table.source_size)
    assert part.arrays.sources.keys[:60].tolist() == table.arrays.sources.keys[:60].tolist()
    assert_forgotten(part, before | {key: content_of(table)[key] for key in wanted}, set(whole) - set(wanted))
    assert popular_keys(part) == popular_keys(table) & set(wanted)
    sums = table.arrays.sums.copy()
    for array in (part.arrays.sums, part.arrays.clocks, part.arrays.popular.everywhere, part.arrays.items.counts):
        array[:] = 7  # what is done to one of them does not change the other
    assert content_of(table) == before | {key: content_of(table)[key] for key in wanted}
    np.testing.assert_array_equal(table.arrays.sums, sums)
    part.add(np.arange(200, dtype=np.uint64))  # it can grow
    assert part.rows_of(np.array(wanted, np.uint64)).tolist() == list(range(54))


def test_levels_made_anew_are_those_of_the_counts() -> None:
    table = filled(100)
    items = table.arrays.items
    items.counts[:10] = 0
    items.bases[:100] += 40
    table.renew_levels()
    expected = np.log2(items.counts[10:100].astype(np.float64)) + items.bases[10:100]
    np.testing.assert_allclose(items.levels[10:100], expected, rtol=1e-5)
    assert (items.levels[:10] == np.float32(-1e9)).all()
    order = np.argsort(-items.levels[:100, 1])
    assert set(table.arrays.popular.everywhere.tolist()) == set(order[:16].tolist())
    assert (table.arrays.popular.alike[0] == NOBODY).all()
    for category in (1, 2):
        alike = [row for row in order.tolist() if items.categories[row] == category and row >= 10]
        found = table.arrays.popular.alike[category]
        assert set(found[found != NOBODY].tolist()) == set(alike[:24])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50)), max_size=80))
def test_rows_whose_levels_rise_enter_the_popular_ones(steps: list[tuple[int, int]]) -> None:
    levels, popular = np.full((31, 2), -1e9, np.float32), np.full(6, NOBODY, np.int32)
    for row, rise in steps:
        levels[row, 1] = max(levels[row, 1], 0) + rise
        enter_popular(popular, row, levels)
        found = popular[popular != NOBODY].tolist()
        entered = [other for other in range(31) if levels[other, 1] > 0]
        assert len(set(found)) == len(found) == min(6, len(entered))
        others = [levels[other, 1] for other in entered if other not in found]
        assert min(levels[found, 1]) >= max(others, default=0)


def filled(items: int, seed: int = 0) -> StatisticsTable:
    """Returns a table with random rows; times differ."""
    rng = random.Random(seed)
    table = StatisticsTable(widths=NARROW)
    keys = np.array(rng.sample(range(1, 10**12), items), np.uint64)
    table.add(keys, [f"item {key}" if key % 5 else "" for key in keys.tolist()])
    table.add_sources(np.array(rng.sample(range(1, 10**12), items // 2), np.uint64))
    arrays, randomness = table.arrays, np.random.default_rng(seed)
    arrays.items.times[:items] = 1 + randomness.permutation(items)
    arrays.sources.times[: items // 2] = 1 + randomness.permutation(items // 2)
    for column in (arrays.items.bases, arrays.items.counts, arrays.items.levels):
        column[:items] = randomness.random((items, 2))
    arrays.items.categories[:items] = randomness.integers(0, 3, items)
    arrays.changes[:items] = randomness.random(items)
    arrays.sums[:], arrays.sum_bases[:], arrays.clocks[:] = randomness.random((3, 2))
    for rows, count in neighbour_lists(table):
        fill(rows, count, items, rng)
    for row in range(items):
        enter_popular(arrays.popular.everywhere, row, arrays.items.levels)
        enter_popular(arrays.popular.alike[arrays.items.categories[row]], row, arrays.items.levels)
    return table


def fill(rows: NeighbourRows, count: int, items: int, rng: random.Random) -> None:
    for row in range(count):
        for _ in range(rng.randrange(rows.items.shape[1] + 3)):
            add_neighbour(rows, row, rng.randrange(items), np.float32(rng.random()))
        rows.totals[row] = rows.weights[row].sum() + rng.random()


def neighbour_lists(table: StatisticsTable) -> list[tuple[NeighbourRows, int]]:
    items, sources = table.arrays.items, table.arrays.sources
    lists = [(rows, table.size) for rows in (items.followers, items.predecessors, items.recent)]
    return [*lists, (sources.followers, table.source_size)]


def assert_forgotten(
    table: StatisticsTable,
    before: dict[object, tuple[object, ...]],
    gone: set[int],
    gone_sources: Sequence[int] = (),
    most: int = 100,
) -> None:
    """What is left is as before, but for the neighbours that are gone, and those beyond the rows' widths."""

    def remaining(value: object) -> object:
        is_list = isinstance(value, tuple) and all(isinstance(pair, tuple) for pair in value)
        return tuple(pair for pair in value if pair[0] not in gone) if is_list and isinstance(value, tuple) else value

    dropped = {*gone, *(("source", key) for key in gone_sources)}
    expected = {key: tuple(map(remaining, row)) for key, row in before.items() if key not in dropped}
    after = content_of(table)
    assert after.keys() == expected.keys()
    for key, row in after.items():
        for value, wanted in zip(row, expected[key], strict=True):
            assert value == (wanted[:most] if isinstance(wanted, tuple) else wanted)


def popular_keys(table: StatisticsTable) -> set[int]:
    keys = set[int]()
    for rows in (table.arrays.popular.everywhere, *table.arrays.popular.alike):
        keys |= set(table.arrays.items.keys[rows[rows != NOBODY]].tolist())
        assert (rows[: int((rows != NOBODY).sum())] != NOBODY).all()
    return keys


def taken_bytes(table: StatisticsTable) -> int:
    """What the rows' arrays and cells take, without the names."""

    def of(value: object) -> int:
        if isinstance(value, np.ndarray):
            return value.nbytes
        return sum(map(of, value)) if isinstance(value, tuple) else 0

    cells: list[NDArray[np.uint64]] = [table.index.cells, table.source_index.cells]
    return of(table.arrays) - of(table.arrays.popular) + sum(one.nbytes for one in cells)
