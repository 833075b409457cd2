"""Columns of byte strings: Python's own lists of bytes are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.string_columns import GrowingStrings, concatenate, copy_line, frozen, lines, strings
from tests.unit.builders.basics import byte_strings


@given(st.lists(st.lists(st.binary(max_size=20), max_size=5), min_size=1, max_size=4))
def test_columns_are_concatenated(columns: list[list[bytes]]) -> None:
    assert byte_strings(concatenate([strings(column) for column in columns])) == [
        one for column in columns for one in column
    ]


def test_a_frozen_text_cannot_be_changed() -> None:
    column = frozen(np.zeros(3, np.uint8), np.array([0, 3]))
    with pytest.raises(ValueError, match="read-only"):
        column.text[0] = 1


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20), max_size=5))
def test_lines_are_copied_without_their_newlines(texts: list[str]) -> None:
    wanted = [text.encode() for text in texts]
    column = lines(np.frombuffer(b"".join(text + b"\n" for text in wanted), np.uint8), len(wanted))
    out = np.full(100, 255, np.uint8)
    for n, text in enumerate(wanted):
        assert copy_line(out, 7, column, n) == 7 + len(text)
        assert out[7 : 8 + len(text)].tobytes() == text + b"\xff"
        out[:] = 255


@given(st.lists(st.lists(st.binary(max_size=20), max_size=9), max_size=9))
def test_a_column_grows_and_columns_taken_before_stay_as_they_are(parts: list[list[bytes]]) -> None:
    growing, wanted = GrowingStrings(), list[bytes]()
    taken = [(growing.column(), list[bytes]())]
    for part in parts:
        growing.add(strings(part))
        wanted += part
        assert len(growing) == len(wanted)
        taken.append((growing.column(), list(wanted)))
    for column, then in taken:
        assert byte_strings(column) == then
        np.testing.assert_array_equal(column.text, strings(then).text)
        np.testing.assert_array_equal(column.starts, strings(then).starts)
        assert not column.text.flags.writeable


def test_a_column_that_grows_a_little_is_not_copied_as_a_whole() -> None:
    growing, copied = GrowingStrings(), 0
    for n in range(2000):
        before = growing.column().text
        growing.add(strings([b"item %d" % n]))
        copied += 0 if np.shares_memory(before, growing.column().text) else len(before)
    assert copied < 5 * len(growing.column().text)
