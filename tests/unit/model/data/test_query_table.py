"""The table of searches against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.queries import MOST_WORDS, QueryWords, query_key, read_queries
from model.data.query_table import QueryTable, joined_tables


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3)), max_size=80), max_size=8), st.integers(0, 9)
)
def test_a_table_keeps_the_first_words_of_a_key(batches: list[list[tuple[int, int]]], low_bits: int) -> None:
    table, oracle = QueryTable(), dict[int, list[int]]()
    for batch in batches:
        rows = [((key << low_bits), [value + 1] * value + [0] * (MOST_WORDS - value)) for key, value in batch]
        for key, words in rows:
            if not any(oracle.get(key, [])):
                oracle[key] = words
        table.add(queries_of(rows))
    assert dict(zip(table.queries.keys.tolist(), table.queries.words.tolist(), strict=True)) == oracle
    assert list(oracle) == table.queries.keys.tolist()
    assert len(table) == len(oracle)
    keys = np.array(list(oracle), np.uint64)
    most = max(1, *(sum(word > 0 for word in words) for words in oracle.values()), 1)
    assert table.words_of(keys, np.ones(len(keys), np.bool_)).tolist() == [words[:most] for words in oracle.values()]
    none = np.zeros(len(keys) + 1, np.bool_)
    assert not table.words_of(np.append(keys, np.uint64(2**64 - 1)), none).any()
    with pytest.raises(LookupError, match=str(2**64 - 1)):
        table.words_of(np.array([2**64 - 1], np.uint64), np.ones(1, np.bool_))


def test_joined_tables_have_all_searches() -> None:
    several = [read_queries([text])[1] for text in ("a", "b", "a")]
    tables = [QueryTable(queries) for queries in several]
    assert joined_tables(tables[:1] * 2) is tables[0]
    assert joined_tables(tables).queries.keys.tolist() == [query_key(text) for text in "ab"]


def queries_of(rows: list[tuple[int, list[int]]]) -> QueryWords:
    words = np.array([words for _, words in rows], np.uint16).reshape(-1, MOST_WORDS)
    return QueryWords(np.array([key for key, _ in rows], np.uint64), words)
