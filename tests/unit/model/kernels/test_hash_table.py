"""The table of objects: a dictionary is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.hash_table import HashTable

# Few different low bits, the highest ones among them: they collide, and those at the end go round to the beginning.
OBJECTS = st.builds(lambda low, high: (low + (high << 40)) % 2**64, st.integers(-3, 3), st.integers(0, 5))
ANY = OBJECTS | st.integers(0, 2**64 - 1)


@given(st.lists(ANY, max_size=40), st.lists(ANY, max_size=40))
def test_finds_the_first_place_of_every_object(item_keys: list[int], asked: list[int]) -> None:
    first: dict[int, int] = {}
    for place, value in enumerate(item_keys):
        first.setdefault(value, place)
    wanted = [*item_keys, *asked]
    found = HashTable(np.array(item_keys, np.uint64)).find(np.array(wanted, np.uint64))
    assert found.tolist() == [first.get(value, -1) for value in wanted]


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (0, 4), ()])
def test_places_have_the_shape_of_the_objects(shape: tuple[int, ...]) -> None:
    assert (
        HashTable(np.arange(5, dtype=np.uint64)).find(np.full(shape, 4, np.uint64)).tolist()
        == np.full(shape, 4).tolist()
    )


def test_a_column_of_a_matrix_is_found_too() -> None:
    item_keys = np.arange(12, dtype=np.uint64).reshape(4, 3)
    assert HashTable(item_keys[:, 1]).find(item_keys[:, 1]).tolist() == [0, 1, 2, 3]
    assert HashTable(item_keys[:, 1]).find(item_keys[::2, 2]).tolist() == [-1, -1]
