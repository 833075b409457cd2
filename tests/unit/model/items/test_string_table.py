"""The interned strings: a dictionary is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.items.string_table import StringTable, column_of, grown

BATCHES = st.lists(st.lists(st.binary(max_size=6) | st.sampled_from([b"", b"a", b"ab", b"\0", b"\0\0"])), max_size=6)


@given(BATCHES)
def test_equal_strings_have_one_number_in_the_order_of_appearance(batches: list[list[bytes]]) -> None:
    table, numbers = StringTable(), {b"": 0}
    for batch in batches:
        for string in batch:
            numbers.setdefault(string, len(numbers))
        assert table.intern(batch).tolist() == [numbers[string] for string in batch]
    assert len(table) == len(numbers)
    assert [table[number] for number in range(len(table))] == list(numbers)
    assert all(table.find(string) == number for string, number in numbers.items())
    assert table.find(b"not there") == -1


@given(st.sets(st.binary(max_size=6)), st.randoms(use_true_random=False))
def test_keeps_what_is_used(strings: set[bytes], random: np.random.Generator) -> None:
    table = StringTable()
    table.intern(sorted(strings))
    used = np.array([random.random() < 0.5 for _ in range(len(table))], np.bool_)
    kept, numbers = table.kept(used)
    wanted = [b"", *(table[number] for number in np.flatnonzero(used).tolist() if number)]
    assert [kept[number] for number in range(len(kept))] == wanted
    for number in range(len(table)):
        assert kept[int(numbers[number])] == (table[number] if used[number] else b"")


def test_many_strings_are_found_again() -> None:
    table, strings = StringTable(), [f"item-{number}".encode() for number in range(20_000)]
    numbers = table.intern(strings)
    assert (table.intern(strings) == numbers).all()


def test_a_table_is_made_of_a_column_of_its_strings_only() -> None:
    table = StringTable()
    table.intern([b"a", b"b"])
    copy = StringTable.of(table.column)
    assert [copy[number] for number in range(len(copy))] == [b"", b"a", b"b"]
    with pytest.raises(ValueError, match="not the strings of a table"):
        StringTable.of(column_of([b"", b"a", b"a"]))
    with pytest.raises(ValueError, match="not the strings of a table"):
        StringTable.of(column_of([b"a"]))


def test_an_array_grows_by_half() -> None:
    array = np.arange(10)
    assert grown(array, 10) is array
    assert len(grown(array, 11)) == 15
    assert grown(array, 40)[:10].tolist() == list(range(10))
