"""Rows of items: a plain dictionary is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.contexts import CONTEXT_SLICES, context_rows
from model.data.events import SEARCH, Event, actions_of, item_key
from model.data.queries import QueryWords
from model.data.query_table import QueryTable
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
    tokens = Vocabulary(["a"]).tokens(sequences.item_keys[None], sequences.contexts[None], sequences.queries)
    assert tokens.items.tolist() == [[ITEM_BUCKETS, 0]]
    assert tokens.searches.tolist() == [[False, True]]
    assert tokens.contexts[0, :, -1].tolist() == [CONTEXT_SLICES["brands"].start + int(actions.brands[0]), 0]
    assert tokens.words[0, 0].sum() == 0
    assert tokens.words[0, 1].tolist() == [1 + item_key("x") % 65_520, 1 + item_key("y") % 65_520]
    assert tokens[:, 1].words.shape == (1, tokens.words.shape[2])


@given(IDS, st.integers(0, 2**32), st.booleans())
def test_tokens_are_rows_of_items_words_and_contexts(items: list[str], seed: int, searches: bool) -> None:
    rng, vocabulary = np.random.default_rng(seed), Vocabulary(items)
    known = np.array([*map(item_key, [*items, "another"]), 0], np.uint64)  # a search may be called as an item is
    item_keys = rng.choice(known, (4, 6))
    words = -np.sort(-rng.integers(0, 2, (len(known), 12)) * rng.integers(1, 65_521, (len(known), 12)))
    queries = QueryTable(QueryWords(known, words.astype(np.uint16)))
    contexts = rng.integers(0, 2**32, (4, 6), dtype=np.uint32)
    if not searches:
        contexts -= (contexts % 8 == SEARCH).astype(np.uint32)
    tokens, searched = vocabulary.tokens(item_keys, contexts, queries), contexts % 8 == SEARCH
    assert (tokens.searches.numpy() == searched).all()
    assert (tokens.items.numpy() == np.where(searched, 0, vocabulary.rows_of(item_keys))).all()
    assert (tokens.contexts.numpy() == context_rows(contexts)).all()
    if searched.any():
        rows = dict(zip(known.tolist(), words, strict=True))
        wanted = np.array([rows[key] for key in item_keys.reshape(-1).tolist()]).reshape(4, 6, 12)
        most = max(1, np.count_nonzero(wanted[searched], axis=-1).max())
        wanted = wanted[..., :most]
        assert (tokens.words.numpy() == np.where(searched[..., None], wanted, 0)).all()
        with pytest.raises(LookupError, match="not in the table"):
            vocabulary.tokens(item_keys, contexts)
    else:
        assert tokens.words.shape == (4, 6, 0)
