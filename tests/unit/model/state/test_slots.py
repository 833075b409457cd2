"""Slots: a dictionary in the order of the last touch is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.state.slots import Slots

USERS = st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"))
BATCHES = st.lists(st.tuples(st.lists(USERS, max_size=5, unique=True), st.integers(0, 4), st.integers(0, 12)))


@given(BATCHES)
def test_the_oldest_are_those_whose_last_batch_is_furthest_back(
    batches: list[tuple[list[tuple[int, str]], int, int]],
) -> None:
    slots, last = Slots(3), dict[tuple[int, str], int]()
    for batch, (owners, count, before) in enumerate(batches, start=1):
        for owner in owners:
            if owner not in last:
                if not slots.free:
                    slots.grow(slots.capacity + 2)
                slots.take(*owner)
            last[owner] = batch
            slots.touch(slots.find([owner[0]], [owner[1]]), batch)
        by_slot = {int(slots.find([partition], [user])[0]): (partition, user) for partition, user in last}
        assert len(by_slot) == len(last) == len(slots) == slots.capacity - slots.free
        found = [by_slot[slot] for slot in slots.oldest(count, before).tolist()]
        eligible = sorted(number for number in last.values() if number < before)
        assert sorted(last[owner] for owner in found) == eligible[:count]
        slots.release(slots.oldest(count, before))
        for owner in found:
            del last[owner]
    assert sorted(slots.taken().tolist()) == sorted(slots.find(*zip(*last, strict=True)).tolist() if last else [])


def test_a_released_slot_has_no_user_and_is_taken_again() -> None:
    slots = Slots(1)
    slots.touch(np.array([slots.take(0, "a")]), 1)
    with pytest.raises(IndexError):
        slots.take(0, "b")
    slots.release(np.array([0]))
    assert slots.find([0], ["a"]).tolist() == [-1]
    assert slots.oldest(1, 9).tolist() == []
    assert slots.take(1, "a") == 0
    assert slots.find([0, 1], ["a", "a"]).tolist() == [-1, 0]
