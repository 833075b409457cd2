"""The model's statistics by way of records: what was counted in one process is known in another."""

from __future__ import annotations

from model.data.events import Event, actions_of
from model.statistics.table_records import CLOCKS_KEY
from stream_app.settings import load_settings
from stream_app.statistics.live_counting import live_counting, live_table, warm_up

SETTINGS = load_settings({"statistics_memory": 8})


def test_what_is_counted_is_known_to_whoever_reads_the_records() -> None:
    counting = live_counting(SETTINGS)
    events = [Event(user_id=f"u{n // 10}", type="view", item_id=f"i{n % 10}") for n in range(100)]
    counting.counter.learn(actions_of(events, list(range(1000, 101_000, 1000))))
    changes = counting.counter.take_changes(1000)
    assert {f"i{n}".encode() for n in range(10)} < set(changes.keys)
    assert not counting.counter.take_changes(1000).keys
    read = live_table(SETTINGS)
    read.apply(changes.keys, changes.values)
    assert len(read) == len(counting.table) == 10
    whole = dict(read.records(0, 4)) | dict(read.records(4, read.record_count))
    assert whole == dict(zip(changes.keys, changes.values, strict=True)), "a snapshot has the records as they came"
    assert CLOCKS_KEY in whole
    read.apply(changes.keys[:1], [b"damaged"])
    assert read.damaged == 1


def test_a_warm_up_touches_nothing() -> None:
    warm_up()
