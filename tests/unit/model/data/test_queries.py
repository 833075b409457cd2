"""Searches as keys and words: of plain text what they always were, of other scripts by `query_text`."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from model.data.queries import (
    MOST_WORDS,
    NO_QUERIES,
    folded_words,
    joined_queries,
    query_key,
    read_queries,
    word_keys,
)
from model.data.query_table import QueryTable
from model.data.query_text import words_of
from tests.unit.builders.searches import key_of_before, words_of_before

ASCII = st.lists(st.text(st.characters(codec="ascii"), max_size=60), max_size=12)
TEXTS = st.lists(st.one_of(st.text(max_size=40), st.text("ab ?", max_size=40)), max_size=12)


@given(ASCII)
def test_a_small_network_reads_the_words_that_it_read_before(texts: list[str]) -> None:
    keys, queries = read_queries(texts)
    words = folded_words(QueryTable(queries).words_of(keys, np.ones(len(keys), np.bool_)), 4095)[:, :5]
    padded = np.pad(words, ((0, 0), (0, 5 - words.shape[1])))
    assert padded.tolist() == [words_of_before(key_of_before(text)) for text in texts]


@given(ASCII)
def test_ascii_has_the_keys_that_states_have(texts: list[str]) -> None:
    for text in texts:
        assert query_key(text) == xxh3_64_intdigest(" ".join(re.findall(r"\w+", text.casefold())).encode())


@given(TEXTS)
def test_a_search_has_the_hash_of_its_text_and_its_first_words(texts: list[str]) -> None:
    keys, queries = read_queries(texts)
    assert len(queries) == len(set(texts))
    assert keys.tolist() == [query_key(text) for text in texts]
    assert 0 not in keys
    found = dict(zip(queries.keys.tolist(), queries.words.tolist(), strict=True))
    for text in texts:
        words = words_of(text)
        assert query_key(text) == xxh3_64_intdigest(" ".join(words).encode())
        if len(words) <= MOST_WORDS:
            buckets = [1 + xxh3_64_intdigest(word.encode()) % 65_520 for word in words]
            assert found[query_key(text)] == buckets + [0] * (MOST_WORDS - len(buckets))
            assert word_keys(text) == [xxh3_64_intdigest(word.encode()) for word in words]


def test_a_query_is_its_words_without_case_and_signs() -> None:
    assert query_key("Red  SHOES, size 42!") == query_key("red shoes size 42")
    assert (
        len({query_key(text) for text in ("red shoes", "shoes red", "redshoes", "?!", "a b c d e f", "a b c d e g")})
        == 6
    )
    assert query_key("?!") == query_key("") != 0
    assert query_key("Ｒｅｄ\u3000ＳＨＯＥＳ") == query_key("red shoes")
    assert query_key("红色 跑鞋") == query_key("红色跑鞋") != xxh3_64_intdigest("红色跑鞋".encode()), "other words"


def test_the_key_of_a_word_is_that_of_the_search_for_it_alone() -> None:
    assert word_keys("Rote SCHUHE") == [query_key("rote"), query_key("schuhe")]
    assert len(word_keys("a b c d e f g h i j k l m n")) == MOST_WORDS
    assert word_keys("?!") == []


def test_hashes_never_change() -> None:
    # Stored sequences depend on them.
    keys, queries = read_queries(["red shoes", "红色跑鞋"])
    assert keys.tolist() == [2609398837576999302, 14752371121860032992]
    assert queries.words[:, :4].tolist() == [[43302, 19162, 0, 0], [11666, 28921, 4045, 0]]


def test_joined_queries_are_all_of_them() -> None:
    several = [read_queries([text])[1] for text in ("a", "b", "a")]
    assert joined_queries([]) is joined_queries([NO_QUERIES]) is NO_QUERIES
    assert joined_queries(several).keys.tolist() == [query_key(text) for text in "aba"]
