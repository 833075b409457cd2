"""Rings of actions: a deque per slot is the oracle."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.state.history_rings import Histories, grown, ranks_within

SLOTS = 4
Batch: TypeAlias = list[tuple[int, int]]  # (slot, item key) in log order; the context is made from the key
BATCHES = st.lists(st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(1, 2**64 - 1)), max_size=25), max_size=6)
LENGTHS = st.integers(1, 7)
EVERYONE = np.arange(SLOTS)


def context(value: int) -> int:
    return value % 2**32


def append(histories: Histories, batch: Batch) -> NDArray[np.int64]:
    slots = np.array([slot for slot, _ in batch], np.int64)
    item_keys = np.array([value for _, value in batch], np.uint64)
    contexts = np.array([context(value) for _, value in batch], np.uint32)
    return histories.append(slots, item_keys, contexts)


def held(histories: Histories, last: int | None = None) -> list[list[tuple[int, int]]]:
    item_keys, contexts, sizes = histories.gather(EVERYONE, last)
    for rest in (item_keys, contexts):
        assert all(not row[size:].any() for row, size in zip(rest, sizes, strict=True))
    return [
        list(zip(row[:size].tolist(), context_row[:size].tolist(), strict=True))
        for row, context_row, size in zip(item_keys, contexts, sizes, strict=True)
    ]


@given(BATCHES, LENGTHS)
def test_rings_hold_the_last_actions_in_order(batches: list[Batch], length: int) -> None:
    histories = Histories(length, SLOTS)
    oracle: defaultdict[int, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=length))
    counts: Counter[int] = Counter()
    for batch in batches:
        after = append(histories, batch)
        for index, (slot, value) in enumerate(batch):
            oracle[slot].append((value, context(value)))
            counts[slot] += 1
            assert after[index] == counts[slot]
        assert held(histories) == [list(oracle[slot]) for slot in range(SLOTS)]
    assert histories.counts.tolist() == [counts[slot] for slot in range(SLOTS)]


@given(BATCHES, LENGTHS, st.integers(1, 7))
def test_gathers_only_the_last_few(batches: list[Batch], length: int, last: int) -> None:
    histories = Histories(length, SLOTS)
    for batch in batches:
        append(histories, batch)
    last = min(last, length)
    assert held(histories, last) == [row[-last:] for row in held(histories)]


@given(BATCHES, BATCHES, LENGTHS, LENGTHS)
def test_a_restored_ring_of_any_length_goes_on(before: list[Batch], after: list[Batch], old: int, new: int) -> None:
    stored, histories = Histories(old, SLOTS), Histories(new, SLOTS)
    for batch in before:
        append(stored, batch)
    histories.restore(EVERYONE, *stored.gather(EVERYONE), stored.counts)
    # Whatever did not fit into the old ring is gone; it does not come back as something else.
    oracle = [deque(row, new) for row in held(stored)]
    for batch in after:
        append(histories, batch)
        for slot, value in batch:
            oracle[slot].append((value, context(value)))
    assert held(histories) == [list(row) for row in oracle]


def test_cleared_and_restored_slots_hold_nothing_of_the_user_before() -> None:
    histories = Histories(3, SLOTS)
    one = np.array([1])
    histories.restore(one, np.array([[5]], np.uint64), np.array([[5]], np.uint32), one, np.array([100]))
    histories.clear(np.array([1]))
    append(histories, [(1, 7)])
    assert held(histories)[1] == [(7, 7)]
    assert histories.counts[1] == 1


@given(BATCHES)
def test_growing_keeps_what_is_held(batches: list[Batch]) -> None:
    histories = Histories(3, SLOTS)
    for batch in batches:
        append(histories, batch)
    before = held(histories)
    histories.grow(2 * SLOTS)
    assert held(histories) == before
    assert histories.gather(np.arange(SLOTS, 2 * SLOTS))[2].tolist() == [0] * SLOTS
    append(histories, [(2 * SLOTS - 1, 9)])
    assert histories.counts[2 * SLOTS - 1] == 1


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_new_rows_of_a_grown_array_are_zero(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.uint16)
    bigger = grown(array, 5)
    assert bigger.dtype == array.dtype
    assert bigger[:2].tolist() == array.tolist()
    assert not bigger[2:].any()


@given(st.lists(st.integers(0, 5), max_size=40))
def test_ranks_count_earlier_ones_of_the_same_slot(slots: list[int]) -> None:
    found = ranks_within(np.array(slots, np.int64))
    assert found.tolist() == [slots[:index].count(slot) for index, slot in enumerate(slots)]
