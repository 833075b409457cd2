"""Columns of events: packing is reversible, buckets keep their ranges, hashes are stable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import events as events_module
from model.data.contexts import FIRST_GAP, GAP_BUCKETS, begins_session, gap_bucket_of, pack_context, unpack_contexts
from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    EVENT_TYPES,
    PRICE_BUCKETS,
    Event,
    NameTable,
    actions_of,
    buckets_of_keys,
    item_key,
    price_buckets,
    stable_hash,
    text_buckets,
)
from model.data.queries import query_key, read_queries
from tests.unit.builders.basics import words_of_searches

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
    packed = np.array([pack_context(*row) for row in rows], np.uint32)
    found = unpack_contexts(packed)
    for name, values in zip(
        ("types", "boundaries", "prices", "gaps", "categories", "brands"),
        (types, boundaries, prices, gaps, categories, brands),
        strict=True,
    ):
        assert getattr(found, name).tolist() == values.tolist()


def test_prices_fall_into_powers_of_two() -> None:
    found = price_buckets([None, 0.0, 0.99, 1.0, 3.0, 7.0, 1e12])
    assert found.tolist() == [0, 1, 1, 2, 3, 4, 15]
    assert price_buckets([math.nan, math.inf]).tolist() == [0, 15]


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_a_price_falls_into_the_bucket_of_its_logarithm(prices: list[float]) -> None:
    close = [abs(1 + price - 2 ** round(math.log2(1 + price))) < 1e-9 for price in prices]  # rounding may go either way
    prices = [price for price, is_close in zip(prices, close, strict=True) if not is_close]
    wanted = [min(1 + math.floor(math.log2(1 + price)), PRICE_BUCKETS - 1) for price in prices]
    assert price_buckets(prices).tolist() == wanted


def test_gaps_grow_with_the_logarithm() -> None:
    found = [gap_bucket_of(gap) for gap in (-5, 0, 1000, 60_000, 86_400_000, 2**62)]
    assert found == [0, 0, 1, 7, 20, FIRST_GAP - 1]


def test_a_gap_falls_into_the_bucket_of_its_logarithm() -> None:
    starts = 1000 * (2 ** (0.8 * np.arange(32)) - 1)
    near = (np.rint(starts)[:, None] + np.arange(-3, 4)).reshape(-1)
    gaps = np.concatenate((near, np.random.default_rng(1).integers(0, 10**11, 10_000))).astype(np.int64)
    wanted = [min(math.floor(1.25 * math.log2(1 + max(gap, 0) / 1000)), FIRST_GAP - 1) for gap in gaps.tolist()]
    assert [gap_bucket_of(gap) for gap in gaps.tolist()] == wanted


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
    opens = [begins_session(*each) for each in zip(gaps, sessions, previous, strict=True)]
    assert opens == [False, False, True, False, True]


def test_columns_of_events() -> None:
    events = [
        Event(user_id="u1", type="click", item_id="i1", price=3.5, session_id="s", event_id="e"),
        Event(user_id="u2", type="search", query="red shoes", item_id="ignored"),
    ]
    actions = actions_of(events, [5, 6])
    assert (actions.users, actions.items, actions.times.tolist()) == (["u1", "u2"], ["i1", ""], [5, 6])
    assert actions.item_keys.tolist() == [item_key("i1"), query_key("red shoes")]
    assert words_of_searches(actions) == {query_key("red shoes"): read_queries(["red shoes"])[1].words[0].tolist()}
    assert [bool(x) for x in actions.event_ids] == [True, False]
    assert [bool(x) for x in actions.sessions] == [True, False]
    assert len(actions_of([], [])) == 0


def test_a_purchase_of_less_than_nothing_counts_as_remove() -> None:
    quantities = [None, 0, 1, -0.5, -2, float("nan")]
    kinds = {
        kind: [EVENT_TYPES[code] for code in actions_of(each, [0] * len(each)).types]
        for kind in EVENT_TYPES
        for each in [[Event("u", kind, "i", query="q", quantity=quantity) for quantity in quantities]]
    }
    assert kinds.pop("purchase") == ["purchase"] * 3 + ["remove"] * 2 + ["purchase"]
    assert kinds == {kind: [kind] * len(quantities) for kind in kinds}


def test_hashes_never_change() -> None:
    # Stored sequences and every deployed vocabulary depend on them.
    assert item_key("item-1") == 12172481486005482930


def test_names_are_kept_by_their_keys_as_many_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_NAMES", 3)
    table = NameTable()
    names = ["a", None, "b", "", "a", "x" * 257, "c", "d", "d"]
    keys = table.keys_of(names)
    assert keys.tolist() == [stable_hash(name) if name else 0 for name in names]
    assert buckets_of_keys(keys, 4).tolist() == [1 + stable_hash(name) % 3 if name else 0 for name in names]
    assert table.since(0) == [(stable_hash(name), name) for name in "abc"]
    assert table.since(2) == [(stable_hash("c"), "c")]
    assert len(table) == 3
    assert table.missing(keys) == []


def test_the_names_that_a_table_lacks_are_told_once() -> None:
    table = NameTable()
    known = table.keys_of(["a", "b"])
    assert table.missing(np.array([0, *known, 77, 5, 77], np.uint64)) == [5, 77]
