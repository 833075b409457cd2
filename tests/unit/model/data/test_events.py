"""Columns of events: packing is reversible, buckets keep their ranges, hashes are stable."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.contexts import FIRST_GAP, GAP_BUCKETS, gap_buckets, pack_contexts, session_boundaries, unpack_contexts
from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    EVENT_TYPES,
    PRICE_BUCKETS,
    QUERY_WORDS,
    WORD_BUCKETS,
    Actions,
    Event,
    actions_of,
    item_key,
    price_buckets,
    query_key,
    query_words,
    text_buckets,
)

FIELDS = st.tuples(
    st.integers(0, len(EVENT_TYPES) - 1),
    st.booleans(),
    st.integers(0, PRICE_BUCKETS - 1),
    st.integers(0, GAP_BUCKETS - 1),
    st.integers(0, CATEGORY_BUCKETS - 1),
    st.integers(0, BRAND_BUCKETS - 1),
)


@given(st.lists(FIELDS, max_size=30))
def test_contexts_come_back_from_32_bits(rows: list[tuple[int, bool, int, int, int, int]]) -> None:
    types, boundaries, prices, gaps, categories, brands = np.array(rows, np.int64).reshape(-1, 6).T
    none = np.zeros(len(rows), np.uint64)
    actions = Actions(
        users=["u"] * len(rows),
        items=["i"] * len(rows),
        types=types.astype(np.uint8),
        item_keys=none,
        times=none.astype(np.int64),
        event_ids=none,
        sessions=none,
        prices=prices.astype(np.uint8),
        categories=categories.astype(np.uint16),
        brands=brands.astype(np.uint16),
    )
    packed = pack_contexts(actions, gaps.astype(np.uint8), boundaries.astype(np.bool_))
    assert packed.dtype == np.uint32
    found = unpack_contexts(packed)
    for name, values in zip(
        ("types", "boundaries", "prices", "gaps", "categories", "brands"),
        (types, boundaries, prices, gaps, categories, brands),
        strict=True,
    ):
        assert getattr(found, name).tolist() == values.tolist()


@given(st.text(max_size=60))
def test_words_of_a_query_survive_packing(query: str) -> None:
    packed = query_key(query)
    assert 0 <= packed < 2**60
    words = query_words(np.array([packed], np.uint64))[0]
    assert words.shape == (QUERY_WORDS,)
    filled = [bool(word) for word in words]
    assert filled == sorted(filled, reverse=True)  # words first, then nothing
    assert words.max() < WORD_BUCKETS


def test_a_query_is_its_first_words_without_case() -> None:
    assert query_key("Red  SHOES, size 42!") == query_key("red shoes size 42")
    assert query_key("red shoes") != query_key("shoes red")
    assert query_key("a b c d e f") == query_key("a b c d e g")
    assert query_key("?!") == 0


def test_prices_fall_into_powers_of_two() -> None:
    found = price_buckets([None, 0.0, 0.99, 1.0, 3.0, 7.0, 1e12])
    assert found.tolist() == [0, 1, 1, 2, 3, 4, 15]


def test_gaps_grow_with_the_logarithm() -> None:
    found = gap_buckets(np.array([-5, 0, 1000, 60_000, 86_400_000, 2**62], np.int64))
    assert found.tolist() == [0, 0, 1, 7, 20, FIRST_GAP - 1]


@given(st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=20), st.integers(2, 2000))
def test_text_buckets_are_zero_only_without_text(texts: list[str | None], buckets: int) -> None:
    found = text_buckets(texts, buckets)
    assert [bucket == 0 for bucket in found] == [not text for text in texts]
    assert all(bucket < buckets for bucket in found)
    assert found.tolist() == [int(text_buckets([text], buckets)[0]) for text in texts]


def test_a_session_opens_with_another_id_or_after_half_an_hour() -> None:
    gaps = np.array([0, 10**7, 0, 1_800_000, 1_800_001], np.int64)
    sessions = np.array([1, 1, 2, 0, 3], np.uint64)
    previous = np.array([1, 1, 1, 1, 0], np.uint64)
    assert session_boundaries(gaps, sessions, previous).tolist() == [False, False, True, False, True]


def test_columns_of_events() -> None:
    events = [
        Event(user_id="u1", type="click", item_id="i1", price=3.5, session_id="s", event_id="e"),
        Event(user_id="u2", type="search", query="red shoes", item_id="ignored"),
    ]
    actions = actions_of(events, [5, 6])
    assert (actions.users, actions.items, actions.times.tolist()) == (["u1", "u2"], ["i1", ""], [5, 6])
    assert actions.item_keys.tolist() == [item_key("i1"), query_key("red shoes")]
    assert [bool(x) for x in actions.event_ids] == [True, False]
    assert [bool(x) for x in actions.sessions] == [True, False]
    assert len(actions_of([], [])) == 0


def test_hashes_never_change() -> None:
    # Stored sequences and every deployed vocabulary depend on them.
    assert item_key("item-1") == 12172481486005482930
    assert query_key("red shoes") == 11397424
