"""Items get rows when somebody touches them, and nothing is counted by that."""

from __future__ import annotations

import numpy as np

from model.data.events import Event, actions_of, item_key
from model.statistics.met_items import meet_items
from model.statistics.statistics_table import StatisticsTable


def test_new_items_get_rows_with_what_their_events_say_and_known_ones_keep_theirs() -> None:
    table = StatisticsTable()
    known = table.add(np.array([item_key("a")], np.uint64), ["a"])
    table.arrays.items.counts[known] = 5
    events = [
        Event(user_id="u", type="view", item_id="a", category="shoes"),
        Event(user_id="u", type="search", query="boots"),
        Event(user_id="u", type="view", item_id="b", category="shoes", brand="x"),
        Event(user_id="v", type="view", item_id="b"),
    ]
    meet_items(table, actions := actions_of(events, [1, 2, 3, 4]))
    meet_items(table, actions)
    assert table.names[: len(table)] == ["a", "b"]
    rows = table.rows_of(actions.item_keys)
    assert rows.tolist() == [known[0], -1, rows[2], rows[2]]
    items = table.arrays.items
    assert items.counts[rows[2]].tolist() == [0, 0]
    assert items.counts[known[0]].tolist() == [5, 5]
    assert items.categories[known[0]] == 0
