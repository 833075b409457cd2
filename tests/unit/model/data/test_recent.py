"""Catalogue indices of actions, one at a time as of a whole column, and the words of the newest search."""

from __future__ import annotations

import numpy as np

from model.data.events import SEARCH, item_key
from model.data.queries import read_queries
from model.data.query_table import QueryTable
from model.data.recent import NO_ITEM, RecentActions, catalogue_item, catalogue_items
from model.data.vocabulary import Vocabulary

ITEMS = [f"item {n}" for n in range(20)]


def test_one_action_reads_as_a_column_of_them() -> None:
    vocabulary, rng = Vocabulary(ITEMS), np.random.default_rng(1)
    item_keys = rng.choice(np.array([*map(item_key, [*ITEMS, "unknown"]), 0, 77], np.uint64), 200)
    contexts = rng.integers(0, 2**32, 200, dtype=np.uint32)
    found = catalogue_items(vocabulary, item_keys, contexts)
    known = {key: index for index, key in enumerate(vocabulary.item_keys.tolist())}
    wanted = [
        NO_ITEM if context % 8 == SEARCH else known.get(key, NO_ITEM)
        for key, context in zip(item_keys.tolist(), contexts.tolist(), strict=True)
    ]
    assert found.tolist() == wanted
    cells = vocabulary.table.cells
    assert [catalogue_item(cells, *action) for action in zip(item_keys, contexts, strict=True)] == wanted


def test_the_newest_search_has_its_words_while_it_was_a_moment_ago() -> None:
    (red, blue, lost), queries = read_queries(["red shoes", "blue hats", "nobody knows"])
    searches = QueryTable(queries)
    pasts = [[red, 1, 2], [red, 1, 2, 3], [red, blue, 1], [1, lost], [], [blue]]
    stops = np.cumsum([len(past) for past in pasts])
    keys = np.array([key for past in pasts for key in past], np.uint64)
    contexts = np.where(np.isin(keys, queries.keys), SEARCH, 0).astype(np.uint32)
    starts = stops - [len(past) for past in pasts]
    recent = RecentActions(np.full(len(keys), NO_ITEM, np.int32), contexts, starts, stops, keys)
    assert recent.with_words(QueryTable()) is recent
    table = dict(zip(queries.keys.tolist(), queries.words.tolist(), strict=True))
    nothing = [0] * queries.words.shape[1]
    wanted = [table[red], nothing, table[blue], table[lost], nothing, table[blue]]
    found = recent.with_words(searches)
    assert found.words.tolist() == wanted
    assert found.select(np.array([2, 0])).words.tolist() == [wanted[2], wanted[0]]
    assert recent.select(np.array([2, 0])).words.shape == (0, len(nothing))
