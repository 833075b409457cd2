"""The end of a process whose parent is gone; what it does before is tried on a real broker."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from stream_app.statistics import process as module
from stream_app.statistics.process import end_with_parent


def test_it_is_to_stop_when_its_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    async def run() -> None:
        read, write = os.pipe()
        with os.fdopen(read) as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            patch.setattr(module, "_GRACE_S", 0.0)
            patch.setattr(os, "_exit", ended.append)
            stop = asyncio.Event()
            thread = end_with_parent(stop)
            os.write(write, b"x")
            await asyncio.sleep(0.01)
            assert not stop.is_set()
            os.close(write)
            await asyncio.wait_for(stop.wait(), 5)
            await asyncio.to_thread(thread.join)
            assert ended == [1], "also where it does not stop in time"

    asyncio.run(run())
