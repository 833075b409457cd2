"""Catalogue indices of actions: one at a time as of a whole column."""

from __future__ import annotations

import numpy as np

from model.data.events import SEARCH, item_key
from model.data.recent import NO_ITEM, catalogue_item, catalogue_items
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
