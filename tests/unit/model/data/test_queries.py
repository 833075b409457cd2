"""Searches as keys and words: what the network reads of them is what it always read."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from model.data.queries import MOST_WORDS, NO_QUERIES, joined_queries, query_key, read_queries
from model.data.query_table import QueryTable
from tests.unit.builders.searches import key_of_before, words_of_before

TEXTS = st.lists(st.one_of(st.text(max_size=40), st.text("ab ?", max_size=40)), max_size=12)


@given(TEXTS)
def test_the_network_reads_the_words_that_it_read_before(texts: list[str]) -> None:
    keys, queries = read_queries(texts)
    words = QueryTable(queries).network_words(keys, np.ones(len(keys), np.bool_))
    assert words.tolist() == [words_of_before(key_of_before(text)) for text in texts]


@given(TEXTS)
def test_a_search_has_the_hash_of_its_text_and_its_first_words(texts: list[str]) -> None:
    keys, queries = read_queries(texts)
    assert len(queries) == len(set(texts))
    assert keys.tolist() == [query_key(text) for text in texts]
    assert 0 not in keys
    found = dict(zip(queries.keys.tolist(), queries.words.tolist(), strict=True))
    for text in texts:
        words = re.findall(r"\w+", text.casefold())
        assert query_key(text) == xxh3_64_intdigest(" ".join(words).encode())
        buckets = [1 + xxh3_64_intdigest(word.encode()) % 65_520 for word in words][:MOST_WORDS]
        assert found[query_key(text)] == buckets + [0] * (MOST_WORDS - len(buckets))


def test_a_query_is_its_words_without_case_and_signs() -> None:
    assert query_key("Red  SHOES, size 42!") == query_key("red shoes size 42")
    assert (
        len({query_key(text) for text in ("red shoes", "shoes red", "redshoes", "?!", "a b c d e f", "a b c d e g")})
        == 6
    )
    assert query_key("?!") == query_key("") != 0


def test_hashes_never_change() -> None:
    # Stored sequences depend on them.
    keys, queries = read_queries(["red shoes"])
    assert keys.tolist() == [2609398837576999302]
    assert queries.words[0, :3].tolist() == [43302, 19162, 0]


def test_joined_queries_are_all_of_them() -> None:
    several = [read_queries([text])[1] for text in ("a", "b", "a")]
    assert joined_queries([]) is joined_queries([NO_QUERIES]) is NO_QUERIES
    assert joined_queries(several).keys.tolist() == [query_key(text) for text in "aba"]
