"""Rows of items: a plain dictionary is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.contexts import CONTEXT_SLICES
from model.data.events import Event, actions_of, item_key, query_key, query_words
from model.data.sequences import sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary

IDS = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=30)


@given(IDS, IDS)
def test_rows_are_own_rows_or_hash_buckets(items: list[str], asked: list[str]) -> None:
    vocabulary = Vocabulary(items)
    own = {item: ITEM_BUCKETS + index for index, item in enumerate(items)}
    wanted = [*items, *asked]
    found = vocabulary.rows_of(np.array([item_key(item) for item in wanted], np.uint64))
    assert found.tolist() == [own.get(item, item_key(item) % ITEM_BUCKETS) for item in wanted]
    assert vocabulary.rows == ITEM_BUCKETS + len(items)


@given(IDS, IDS)
def test_growing_only_appends(items: list[str], more: list[str]) -> None:
    old = Vocabulary(items)
    new = old.grown([*more, *more])
    assert new.items[: len(items)] == tuple(items)
    assert new.items[len(items) :] == tuple(item for item in more if item not in items)


def test_rows_have_the_shape_of_the_item_keys() -> None:
    item_keys = np.array([[item_key("a"), 5], [item_key("b"), 6]], np.uint64)
    assert Vocabulary(["b"]).rows_of(item_keys).tolist() == [
        [item_key("a") % ITEM_BUCKETS, 5],
        [ITEM_BUCKETS, 6],
    ]


def test_tokens_of_items_and_searches() -> None:
    events = [
        Event(user_id="u", type="view", item_id="a", brand="b"),
        Event(user_id="u", type="search", query="x y"),
    ]
    actions = actions_of(events, [0, 9000])
    sequences = sequences_of(actions)
    tokens = Vocabulary(["a"]).tokens(sequences.item_keys[None], sequences.contexts[None])
    assert tokens.items.tolist() == [[ITEM_BUCKETS, 0]]
    assert tokens.searches.tolist() == [[False, True]]
    assert tokens.contexts[0, :, -1].tolist() == [CONTEXT_SLICES["brands"].start + int(actions.brands[0]), 0]
    assert tokens.words[0, 0].sum() == 0
    assert tokens.words[0, 1].tolist() == query_words(np.array(query_key("x y"), np.uint64)).tolist()
    assert tokens[:, 1].words.shape == (1, tokens.words.shape[2])
