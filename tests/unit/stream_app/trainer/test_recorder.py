"""Events are written when there are many, or a minute after the first of them."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_app.contract.events import decode_batch
from stream_app.errors import HistoryUnusable
from stream_app.history.files import Span
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.recorder import EventRecorder, UnwrittenEvents
from tests.unit.builders.basics import make_record, unreadable_batch
from tests.unit.builders.histories import open_history
from tests.unit.builders.imports import Source, import_source

EVENT = make_record(b'{"user_id": "u", "type": "view", "item_id": "i"}')
BAD = make_record(b"no json")


SHOWN = make_record(b'{"user_id": "u", "type": "shown", "items": ["i", "j"]}')


def test_events_stay_unwritten_for_a_minute_at_most() -> None:
    unwritten = UnwrittenEvents()
    for value, now in [(BAD, 10.0), (EVENT, 20.0), (EVENT, 50.0)]:
        unwritten.add(0, [0], decode_batch([value]), now)
    assert not unwritten.is_due(79.9)
    assert unwritten.is_due(80.0)
    assert [batch.num_rows for batch in unwritten.batches] == [1, 1]
    assert unwritten.shown == []


def test_what_was_shown_stays_unwritten_for_a_minute_at_most() -> None:
    unwritten = UnwrittenEvents()
    unwritten.add(3, [8, 9], decode_batch([BAD, SHOWN]), 20.0)
    assert unwritten.is_due(80.0)
    assert not unwritten.batches
    (rows,) = unwritten.shown
    (row,) = rows.to_pylist()
    assert (row["partition"], row["offset"], row["items"]) == (3, 9, ["i", "j"])


def test_records_that_are_not_events_make_no_file_until_there_are_many() -> None:
    unwritten = UnwrittenEvents()
    unwritten.add(0, range(49_999), decode_batch([BAD]), 0.0)
    assert not unwritten.is_due(1e9)
    unwritten.add(0, [0], decode_batch([BAD]), 0.0)
    assert unwritten.is_due(0.0)


def test_records_in_a_batch_that_nobody_can_read_are_counted_one_by_one() -> None:
    async def run() -> None:
        metrics = TrainerMetrics(CollectorRegistry())
        recorder = EventRecorder(Settings(), metrics, lambda: 0.0)
        await recorder._topic.stop()
        decoded = recorder._decode([EVENT, BAD, unreadable_batch(5, 9)])
        assert (len(decoded.events), recorder.events) == (1, 1)
        assert metrics.rejected._value.get() == 6

    asyncio.run(run())


def test_a_log_that_was_cut_ends_the_trainer_with_what_to_do() -> None:
    """Kafka would refuse the offset again and again, in a loop without a word."""

    async def run() -> None:
        topic: Any = CutLog()
        recorder = EventRecorder(Settings(), TrainerMetrics(CollectorRegistry()), lambda: 0.0)
        await recorder._topic.stop()
        vars(recorder).update(_topic=topic, _read={0: 9}, _next_look=math.inf)
        with pytest.raises(HistoryUnusable, match=r"partition 0 ends at offset 5, 9 was read.*NEXTACT_STREAM_EPOCH"):
            await recorder.read(0.1)
        topic.end, vars(recorder)["_read"] = 9, {0: 9}
        await recorder.read(0.1)
        assert topic.sought == {0: 9}

    asyncio.run(run())


class CutLog:
    """A topic that refuses each read."""

    def __init__(self) -> None:
        self.end = 5
        self.sought: dict[int, int] = {}

    async def read(self, timeout: float) -> None: ...

    async def stop(self) -> None: ...

    async def bounds(self) -> dict[int, Span]:
        return {0: Span(0, self.end)}

    def seek(self, positions: dict[int, int]) -> None:
        self.sought = positions


def test_what_is_imported_meanwhile_counts_as_new_events(tmp_path: Path) -> None:
    async def run() -> None:
        recorder = EventRecorder(Settings(), TrainerMetrics(CollectorRegistry()), lambda: 0.0)
        await recorder._topic.stop()
        topic: Any = CutLog()
        vars(recorder).update(_topic=topic, _read={0: 5}, _history=open_history(tmp_path))
        await recorder.read(0.1)
        import_source(tmp_path, Source.of(range(12)))
        await recorder.read(0.1)
        assert recorder.events == 0, "it looks once a minute"
        vars(recorder).update(_next_look=0.0)
        await recorder.read(0.1)
        assert recorder.events == 12
        assert recorder._metrics.history_rows._value.get() == 12
        await recorder.stop()

    asyncio.run(run())
