"""The hash table of keys: a dictionary is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.hash_table import ChangingHashTable, HashTable

# Few different low bits, the highest ones among them: keys collide, and at the end they go round to the beginning.
COLLIDING = st.builds(lambda low, high: (low + (high << 40)) % 2**64, st.integers(-3, 3), st.integers(0, 5))
ANY = COLLIDING | st.integers(0, 2**64 - 1)


@given(st.lists(ANY, max_size=40), st.lists(ANY, max_size=40))
def test_finds_the_first_row_of_every_key(keys: list[int], asked: list[int]) -> None:
    first: dict[int, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    wanted = [*keys, *asked]
    rows = HashTable(np.array(keys, np.uint64)).find(np.array(wanted, np.uint64))
    assert rows.tolist() == [first.get(key, -1) for key in wanted]


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (0, 4), ()])
def test_rows_have_the_shape_of_the_keys(shape: tuple[int, ...]) -> None:
    assert (
        HashTable(np.arange(5, dtype=np.uint64)).find(np.full(shape, 4, np.uint64)).tolist()
        == np.full(shape, 4).tolist()
    )


def test_a_column_of_a_matrix_is_found_too() -> None:
    keys = np.arange(12, dtype=np.uint64).reshape(4, 3)
    assert HashTable(keys[:, 1]).find(keys[:, 1]).tolist() == [0, 1, 2, 3]
    assert HashTable(keys[:, 1]).find(keys[::2, 2]).tolist() == [-1, -1]


CHANGES = st.lists(st.tuples(st.booleans(), st.lists(ANY, max_size=12)), max_size=20)


@given(CHANGES)
def test_keys_come_change_their_rows_and_go(changes: list[tuple[bool, list[int]]]) -> None:
    table, rows, number = ChangingHashTable(), dict[int, int](), 0
    for comes, keys in changes:
        if comes:
            table.put(np.array(keys, np.uint64), np.arange(number, number + len(keys)))
            rows |= {key: number + index for index, key in enumerate(keys)}
            number += len(keys)
        else:
            table.remove(np.array(keys, np.uint64))
            rows = {key: row for key, row in rows.items() if key not in keys}
        asked = [key for _, several in changes for key in several]
        assert table.find(np.array(asked, np.uint64)).tolist() == [rows.get(key, -1) for key in asked]
        assert len(table) == len(rows)
        assert len(table.cells) >= 2 * len(rows)
