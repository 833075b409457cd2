"""Events are written when there are many, or a minute after the first of them."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from stream_app.contract.events import decode_batch
from stream_app.history.rows import rows_of
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.recorder import EventRecorder, UnwrittenEvents
from tests.unit.builders.basics import make_record, unreadable_batch

EVENT = make_record(b'{"user_id": "u", "type": "view", "item_id": "i"}')
BAD = make_record(b"no json")


def test_events_stay_unwritten_for_a_minute_at_most() -> None:
    unwritten = UnwrittenEvents()
    for value, now in [(BAD, 10.0), (EVENT, 20.0), (EVENT, 50.0)]:
        unwritten.add(rows_of(0, [0], decode_batch([value])), 1, now)
    assert not unwritten.is_due(79.9)
    assert unwritten.is_due(80.0)
    assert [batch.num_rows for batch in unwritten.batches] == [1, 1]


def test_records_that_are_not_events_make_no_file_until_there_are_many() -> None:
    unwritten = UnwrittenEvents()
    unwritten.add(rows_of(0, [0], decode_batch([BAD])), 49_999, 0.0)
    assert not unwritten.is_due(1e9)
    unwritten.add(rows_of(0, [0], decode_batch([BAD])), 1, 0.0)
    assert unwritten.is_due(0.0)


def test_records_in_a_batch_that_nobody_can_read_are_counted_one_by_one() -> None:
    async def run() -> None:
        metrics = TrainerMetrics(CollectorRegistry())
        recorder = EventRecorder(Settings(), metrics, lambda: 0.0)
        await recorder._topic.stop()
        rows = recorder._rows(0, [EVENT, BAD, unreadable_batch(5, 9)])
        assert (rows.num_rows, recorder.events) == (1, 1)
        assert metrics.rejected._value.get() == 6

    asyncio.run(run())
