"""Who leads does the work; who no longer does ends it. The group itself is tried on a real broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream_app.settings import load_settings
from stream_app.statistics import leadership as module
from stream_app.statistics.leadership import Leadership

LEADING, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def test_the_owner_of_partition_0_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            said.append("ends")

    async def run() -> None:
        paused: list[Any] = []
        consumer = SimpleNamespace(pause=lambda *several: paused.extend(several))
        monkeypatch.setattr(module, "new_consumer", lambda *_, **__: consumer)
        leadership = Leadership(load_settings(), work)
        for assigned, leads in (([OTHER], False), ([LEADING, OTHER], True), ([LEADING], True), ([], False)):
            await leadership.on_partitions_revoked([])
            await leadership.on_partitions_assigned(assigned)
            await asyncio.sleep(0)
            assert leadership.leads is leads
        assert paused == [OTHER, LEADING, OTHER, LEADING], "what is assigned is never read"

    asyncio.run(run())
    assert said == ["begins", "ends"]
