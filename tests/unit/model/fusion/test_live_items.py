"""The items of a version beside the table's rows: numbers that stay, and vectors of items that came later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.contexts import CONTEXT_ROWS, CONTEXT_SLICES
from model.data.vocabulary import Vocabulary
from model.fusion.live_items import NO_NUMBER, LiveItems
from model.statistics.counter import StatisticsCounter
from model.statistics.rows import NOBODY
from model.statistics.statistics_table import StatisticsTable
from model.statistics.table_records import apply
from tests.unit.model.statistics.oracle import HOUR, START, Act, actions_from, bucket, key_of, random_acts

KNOWN = tuple(f"item {n}" for n in range(9, 3, -1))
WIDTH = 6

Vector = NDArray[np.float32]


def test_items_of_the_vocabulary_keep_their_numbers_and_vectors() -> None:
    counter = StatisticsCounter(StatisticsTable())
    counter.learn(actions_from(random_acts(1, 100)))
    live = items_beside(counter.table)
    catalogue = live.arrays.vectors[: len(KNOWN)].copy()
    for start in range(4):
        counter.learn(actions_from(random_acts(2 + start, 100)))
        live.follow()
        assert live.names[: len(KNOWN)] == list(KNOWN)
        assert live.item_keys[: len(KNOWN)].tolist() == [key_of(item) for item in KNOWN]
        np.testing.assert_array_equal(live.arrays.vectors[: len(KNOWN)], catalogue)
        assert_rows_and_numbers(live)
    assert {*live.names} == {f"item {n}" for n in range(14)}


def test_later_items_are_numbered_in_the_order_in_which_they_came() -> None:
    counter = StatisticsCounter(StatisticsTable())
    live = items_beside(counter.table)
    assert (live.count, live.later, len(live.follow())) == (6, 0, 0)
    first = live.names
    for number, item in enumerate(("new", "item 5", "newer", "new", "newest")):
        counter.learn(actions_from([Act("ada", "view", item, START + number)]))
        live.follow()
    assert live.names == [*KNOWN, "new", "newer", "newest"]
    assert live.names is first
    assert live.later == 3
    assert_rows_and_numbers(live)


def test_a_later_item_is_numbered_once_it_has_a_name() -> None:
    counter, keys = StatisticsCounter(StatisticsTable()), np.array([key_of("new"), key_of("other")], np.uint64)
    live = items_beside(counter.table)
    counter.table.add(keys)
    live.follow()
    assert live.count == 6
    assert (live.arrays.numbers[counter.table.rows_of(keys)] == NO_NUMBER).all()
    counter.table.add(keys[1:], ["other"])
    live.follow()
    assert live.names == [*KNOWN, "other"]
    counter.table.add(keys, ["new"])
    live.follow()
    assert live.names == [*KNOWN, "other", "new"]
    assert_rows_and_numbers(live)


def test_evaluations_number_items_without_names() -> None:
    table = StatisticsTable()
    table.add(np.array([key_of("new")], np.uint64))
    live = items_beside(table, nameless=True)
    assert (live.names, live.later, int(live.item_keys[6])) == ([*KNOWN, ""], 1, key_of("new"))


@pytest.mark.parametrize("seed", range(3))
def test_vectors_of_later_items_are_made_of_what_is_known_of_them(seed: int) -> None:
    counter = StatisticsCounter(StatisticsTable())
    live = items_beside(counter.table)
    acts = random_acts(seed, 200, items=20)
    for start in range(0, 200, 40):
        counter.learn(actions_from(acts[start : start + 40]))
        live.follow()
        for number in range(len(KNOWN), live.count):
            vector = live.arrays.vectors[number]
            np.testing.assert_allclose(vector, vector_by_hand(live, live.names[number]), rtol=1e-4, atol=1e-6)
            assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5) or not vector.any()
    assert live.later > 10


def test_exactly_the_items_whose_vectors_changed_are_returned() -> None:
    counter = StatisticsCounter(StatisticsTable())
    live = items_beside(counter.table)
    acts = random_acts(5, 300, items=40)
    for number, act in enumerate(acts):
        before, known = live.arrays.vectors.copy(), live.count
        counter.learn(actions_from([Act(act.user, act.kind, act.thing, START + 1000 * number, act.category)]))
        changed = live.follow().tolist()
        after = live.arrays.vectors
        others = [other for other in range(known) if other not in changed]
        np.testing.assert_array_equal(after[others], before[others])
        assert changed == sorted(set(changed))
        assert set(range(known, live.count)) <= set(changed)
        touched = {key_of(act.thing)} if act.kind not in ("search", "remove") else set()
        assert touched & set(live.item_keys[6 : live.count].tolist()) <= set(live.item_keys[changed].tolist())
        assert live.follow().tolist() == []
    assert live.later > 20


def test_an_item_of_which_nothing_is_known_has_no_direction() -> None:
    counter = StatisticsCounter(StatisticsTable())
    live = items_beside(counter.table)
    counter.learn(actions_from([Act("ada", "view", "new", START)]))
    assert live.follow().tolist() == [6]
    assert not live.arrays.vectors[6].any()
    counter.learn(actions_from([Act("ada", "view", "item 4", START + 1)]))
    assert live.follow().tolist() == [6]
    np.testing.assert_allclose(live.arrays.vectors[6], unit(live.arrays.vectors[KNOWN.index("item 4")]), rtol=1e-5)


def test_many_later_items_find_room_and_arrays_in_hand_stay_as_they_are() -> None:
    counter = StatisticsCounter(StatisticsTable())
    live = items_beside(counter.table)
    for batch in range(6):
        in_hand, keys = live.arrays, live.item_keys
        lengths = len(in_hand.vectors), len(in_hand.rows), len(keys)
        acts = [Act("ada", "view", f"new {batch} {n}", START + n, "shoes") for n in range(200)]
        counter.learn(actions_from(acts))
        assert len(live.follow()) >= 200
        assert lengths == (len(in_hand.vectors), len(in_hand.rows), len(keys))
    assert live.later == 1200
    assert len(live.names) == live.count == 1206 <= len(live.arrays.vectors) == len(live.item_keys)
    assert live.item_keys[: live.count].tolist() == [key_of(name) for name in live.names]
    assert_rows_and_numbers(live)


def test_when_the_table_forgets_names_and_numbers_of_later_items_stay() -> None:
    counter = StatisticsCounter(StatisticsTable(memory=600_000))
    live, known = items_beside(counter.table), list[str]()
    for batch in range(40):
        acts = [Act("ada", "view", f"new {batch} {n}", START + batch * HOUR + n, "shoes") for n in range(50)]
        counter.learn(actions_from([*acts, Act("ben", "view", "item 7", START + batch * HOUR)]))
        live.follow()
        assert live.names[: len(known)] == known
        known = list(live.names)
        assert_rows_and_numbers(live)
        assert live.arrays.rows[KNOWN.index("item 7")] != NOBODY
    assert counter.table.generation > 1
    assert live.later == 2000
    gone = live.names.index("new 0 0")
    assert live.arrays.rows[gone] == NOBODY
    counter.learn(actions_from([Act("eve", "view", "new 0 0", START + 50 * HOUR, "hats")]))
    assert gone in live.follow().tolist()
    assert (live.names[gone], live.later) == ("new 0 0", 2000)
    assert_rows_and_numbers(live)
    np.testing.assert_allclose(live.arrays.vectors[gone], vector_by_hand(live, "new 0 0"), rtol=1e-4, atol=1e-6)


def items_beside(table: StatisticsTable, *, nameless: bool = False) -> LiveItems:
    randomness = np.random.default_rng(7)
    vectors = randomness.standard_normal((len(KNOWN), WIDTH)).astype(np.float32)
    attributes = randomness.standard_normal((CONTEXT_ROWS, WIDTH)).astype(np.float32)
    live = LiveItems(Vocabulary(KNOWN), vectors, attributes, table, nameless=nameless)
    live.follow()
    return live


def attribute(name: str, field: str, buckets: int) -> Vector:
    """The row of the context table of a category or a brand; the tests' tables are all the same."""
    randomness = np.random.default_rng(7)
    randomness.standard_normal((len(KNOWN), WIDTH))
    rows = randomness.standard_normal((CONTEXT_ROWS, WIDTH)).astype(np.float32)
    found: Vector = rows[CONTEXT_SLICES[field].start + bucket(name, buckets)]
    return found


def vector_by_hand(live: LiveItems, item: str) -> Vector:
    """Its category's and brand's rows, and on each side the eight heaviest neighbours, by their shares."""
    table = live.table
    row, items = int(live.rows_of(np.array([key_of(item)], np.uint64))[0]), table.arrays.items
    vector = np.zeros(WIDTH)
    for names, field, buckets, own in (
        (("", *(f"category {n}" for n in range(3)), "shoes", "hats"), "categories", 1024, items.categories[row]),
        (("", "acme", "none"), "brands", 512, items.brands[row]),
    ):
        name = {bucket(name, buckets): name for name in names}[int(own)]
        if name:
            vector += attribute(name, field, buckets)
    for side in (items.predecessors, items.followers):
        pairs = [
            (other, weight) for other, weight in zip(side.items[row], side.weights[row], strict=True) if other >= 0
        ]
        heaviest = sorted(pairs, key=lambda pair: -pair[1])[:8]
        for other, weight in heaviest:
            name = table.names[other]
            if name in KNOWN:
                share = float(weight) / sum(float(one) for _, one in heaviest)
                vector += share * live.arrays.vectors[KNOWN.index(name)]
    return unit(vector)


def unit(vector: NDArray[np.floating]) -> Vector:
    length = np.linalg.norm(vector)
    return (vector / length if length else vector).astype(np.float32)


def assert_rows_and_numbers(live: LiveItems) -> None:
    """Rows and numbers lead to each other, by keys; all rows that can be recommended have a number."""
    table, numbers, rows = live.table, live.arrays.numbers, live.arrays.rows
    names: Sequence[str] = table.names
    for row, key in enumerate(table.arrays.items.keys[: table.size].tolist()):
        number = int(numbers[row])
        assert (number == NO_NUMBER) == (names[row] == "")
        if number != NO_NUMBER:
            assert (live.names[number], int(live.item_keys[number])) == (names[row], key)
            assert rows[number] == row
    with_rows = int((rows[: live.count] != NOBODY).sum())
    assert with_rows == int((numbers[: table.size] != NO_NUMBER).sum())


def test_a_later_item_that_records_take_away_has_another_vector() -> None:
    counter = StatisticsCounter(StatisticsTable())
    counter.learn(actions_from([Act("ada", "view", "item 5", START), Act("ada", "view", "new", START + 1)]))
    live = items_beside(counter.table)
    live.follow()
    assert live.follow().tolist() == []
    apply(counter.table, [b"new"], [None])
    assert live.follow().tolist() == [6]
