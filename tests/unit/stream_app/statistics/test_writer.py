"""Parts of the writer that need no broker: where it goes on, and that a transaction ends."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stream_app.kafka.log_range import LogRange
from stream_app.statistics.writer import _start, _whole


def test_it_goes_on_where_it_ended_or_where_the_log_does(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [_start(0, LogRange(5, 9), counted) for counted in (None, 5, 7, 9)] == [5, 5, 7, 9]
        assert not caplog.records
        assert [_start(0, LogRange(5, 9), counted) for counted in (2, 12)] == [5, 9]
    said = [record.getMessage() for record in caplog.records]
    assert ["3 records were deleted" in said[0], "3 records are gone: the log was cut" in said[1]] == [True, True]


def test_a_transaction_ends_although_the_writer_is_to() -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0.02)
            done.set()

        task = asyncio.create_task(_whole(work()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(run())
