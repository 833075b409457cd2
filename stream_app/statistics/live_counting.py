"""The model's statistics as topics and processes need them."""

from __future__ import annotations

from typing import Final

from model.data.events import Event, actions_of
from model.statistics.table_records import SharedCounter, SharedTable
from stream_app.contract.formats.options import DecodeOptions
from stream_app.settings import Settings
from stream_app.statistics.counting import Counting

_MIB: Final = 1 << 20


def live_table(settings: Settings) -> SharedTable:
    """Makes an empty table as the settings say."""
    return SharedTable(settings.statistics_memory * _MIB)


def live_counting(settings: Settings) -> Counting:
    """Makes an empty table and its counter."""
    table = live_table(settings)
    return Counting(table, SharedCounter(table), DecodeOptions.of(settings))


def warm_up() -> None:
    """Calls what is compiled once, so that no event waits for it."""
    counted, read = SharedTable(_MIB), SharedTable(_MIB)
    events = [
        Event(user_id="u", type="view", item_id="a", category="c"),
        Event(user_id="u", type="search", query="two words"),
        Event(user_id="u", type="cart", item_id="b"),
        Event(user_id="u", type="purchase", item_id="a"),
    ]
    counter = SharedCounter(counted)
    counter.learn(actions_of(events, [1, 2, 3, 4]), counted=False)
    counter.learn(actions_of(events, [5, 6, 7, 8]))
    changes = counter.take_changes(100)
    read.apply(changes.keys, changes.values)
    read.apply(changes.keys[:1], [None])
