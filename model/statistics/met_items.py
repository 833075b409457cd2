"""Gives items rows as soon as somebody touches them, before anything is counted."""

from __future__ import annotations

import numpy as np

from model.data.events import SEARCH, Actions
from model.statistics.statistics_table import StatisticsTable


def meet_items(table: StatisticsTable, actions: Actions) -> None:
    """Gives the items of actions rows where the table has none, so that the answers to these actions can name them.

    A user often comes back at once to what they have just found. Nothing is counted: whoever counts the actions does
    that later.
    """
    on_item = np.flatnonzero(actions.types != SEARCH)
    new = on_item[table.rows_of(actions.item_keys[on_item]) < 0]
    if not len(new):
        return
    rows = table.add(actions.item_keys[new], [actions.items[index] for index in new.tolist()])
    items, known = table.arrays.items, rows >= 0  # where memory ends, rows may be missing
    items.times[rows[known]] = actions.times[new[known]]
    items.categories[rows[known]] = actions.categories[new[known]]
    items.brands[rows[known]] = actions.brands[new[known]]
