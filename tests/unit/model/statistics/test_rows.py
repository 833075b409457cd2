"""Steps on one row: neighbours stay sorted, the lightest goes, a new base keeps what things are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.statistics.rows import (
    MOST_TICKS,
    NOBODY,
    ItemRows,
    NeighbourRows,
    SourceRows,
    add_neighbour,
    item_units,
    new_neighbours,
    scale_row,
    source_unit,
)

ADDED = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 1000)), max_size=40)


@given(ADDED, st.integers(1, 6))
def test_neighbours_lie_heaviest_first_and_the_lightest_goes(added: list[tuple[int, int]], most: int) -> None:
    rows, expected = new_neighbours(3, most), list[tuple[int, float]]()
    for item, weight in added:
        add_neighbour(rows, 1, item, np.float32(weight))
        held = dict(expected)
        if item in held:
            held[item] += weight
        else:
            held = dict(expected[: most - 1]) | {item: float(weight)}
        expected = sorted(held.items(), key=lambda pair: -pair[1])
        assert sorted(listed(rows, 1)) == sorted(expected)
        assert (np.diff(rows.weights[1]) <= 0).all()
    assert listed(rows, 0) == listed(rows, 2) == []
    assert (rows.items[1, len(expected) :] == NOBODY).all()


def test_of_equal_weights_the_one_that_came_first_lies_first() -> None:
    rows = new_neighbours(1, 4)
    for item in (3, 1, 2, 1):
        add_neighbour(rows, 0, item, np.float32(1 if item != 1 else 0.5))
    assert listed(rows, 0) == [(3, 1.0), (2, 1.0), (1, 1.0)]


def test_scaling_a_row_keeps_the_proportions_and_other_rows() -> None:
    rows = new_neighbours(2, 3)
    for row in range(2):
        for item, weight in ((5, 8), (6, 4), (7, 1)):
            add_neighbour(rows, row, item, np.float32(weight))
        rows.totals[row] = 16
    scale_row(rows, 1, np.float32(0.25))
    assert (listed(rows, 1), rows.totals.tolist()) == ([(5, 2.0), (6, 1.0), (7, 0.25)], [16, 4])
    assert listed(rows, 0) == [(5, 8.0), (6, 4.0), (7, 1.0)]


@pytest.mark.parametrize("ticks", [0.0, 3.5, MOST_TICKS, MOST_TICKS + 0.5, 60.0])
def test_units_double_with_each_tick_and_a_new_base_keeps_what_rows_are_worth(ticks: float) -> None:
    """The SLOW clock counts for all but the FAST counts and what follows of late."""
    rows = some_rows()
    before = worth(rows)
    slow, fast = item_units(rows, 1, ticks, 2 * ticks)

    assert slow == pytest.approx(2.0 ** (ticks - rows.bases[1, 0]))
    assert fast == pytest.approx(2.0 ** (2 * ticks - rows.bases[1, 1]))
    assert max(slow, fast) <= 2.0**MOST_TICKS
    assert rows.bases[1].tolist() == [clock if clock > MOST_TICKS else 0 for clock in (ticks, 2 * ticks)]
    for name, found in worth(rows).items():
        np.testing.assert_allclose(found, before[name], rtol=1e-6, err_msg=name)


def test_what_was_counted_very_long_ago_is_worth_nothing() -> None:
    rows = some_rows()
    assert item_units(rows, 1, 400.0, 4000.0) == (1.0, 1.0)
    assert (rows.counts[1].tolist(), rows.followers.weights[1].tolist()) == ([0, 0], [0, 0, 0])
    assert rows.counts[0].tolist() == [1, 2]


def test_a_clock_behind_the_base_makes_small_units() -> None:
    rows = some_rows()
    rows.bases[1] = (50, 60)
    assert item_units(rows, 1, 40.0, 59.0) == pytest.approx((2.0**-10, 0.5))
    assert rows.bases[1].tolist() == [50, 60]


@pytest.mark.parametrize(("clock", "base"), [(20.0, 0.0), (MOST_TICKS, 0.0), (30.0, 30.0), (100.0, 100.0)])
def test_units_of_sources_do_the_same(clock: float, base: float) -> None:
    followers = new_neighbours(2, 3)
    rows = SourceRows(np.zeros(2, np.uint64), np.zeros(2, np.int64), np.zeros(2), followers)
    for row in range(2):
        add_neighbour(followers, row, 5, np.float32(8))
        followers.totals[row] = 16
    assert source_unit(rows, 1, clock) == 2.0 ** (clock - base)
    assert rows.bases.tolist() == [0, base]
    assert (followers.weights[:, 0] * 2.0**rows.bases).tolist() == pytest.approx([8, 8])
    assert (followers.totals * 2.0**rows.bases).tolist() == pytest.approx([16, 16])


def some_rows() -> ItemRows:
    lists = [new_neighbours(2, 3) for _ in range(3)]
    for weight, one in enumerate(lists, 1):
        for row in range(2):
            add_neighbour(one, row, 4, np.float32(weight))
            add_neighbour(one, row, 9, np.float32(5 * weight))
            one.totals[row] = 7 * weight
    return ItemRows(
        keys=np.array([11, 12], np.uint64),
        times=np.zeros(2, np.int64),
        bases=np.zeros((2, 2)),
        counts=np.array([[1, 2], [3, 4]], np.float32),
        levels=np.zeros((2, 2), np.float32),
        categories=np.zeros(2, np.uint16),
        brands=np.zeros(2, np.uint16),
        followers=lists[0],
        predecessors=lists[1],
        recent=lists[2],
    )


def worth(rows: ItemRows) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """All weights in units of the clocks' start, which are the same whatever the base."""
    slow, fast = 2.0 ** rows.bases[:, 0], 2.0 ** rows.bases[:, 1]
    return {
        "counts": rows.counts * 2.0**rows.bases,
        "followers": rows.followers.weights * slow[:, None],
        "predecessors": rows.predecessors.weights * slow[:, None],
        "recent": rows.recent.weights * fast[:, None],
        "totals": np.array([rows.followers.totals * slow, rows.predecessors.totals * slow, rows.recent.totals * fast]),
    }


def listed(rows: NeighbourRows, row: int) -> list[tuple[int, float]]:
    pairs = zip(rows.items[row].tolist(), rows.weights[row].tolist(), strict=True)
    return [pair for pair in pairs if pair[0] != NOBODY]
