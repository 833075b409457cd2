"""The follower without a topic; with one it is tried on a real broker, in tests/integration."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from model.errors import NextactError
from stream_app.errors import AuthorizationFailed, TopicMismatch
from stream_app.following import follower as module
from stream_app.items.follower import ItemsFollower
from stream_app.items.metrics import ItemMetrics
from stream_app.settings import load_settings


@pytest.mark.parametrize(
    "error", [TopicMismatch("missing topics: shop.items"), AuthorizationFailed("no right to Read")]
)
def test_without_a_topic_there_is_no_catalogue_and_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: NextactError
) -> None:
    async def refuse(*_: Any) -> None:
        raise error

    async def run() -> None:
        follower = ItemsFollower(load_settings({"data_dir": tmp_path}), "worker", metrics, time.time)
        await follower.start()
        following = asyncio.create_task(follower.follow())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not following.done(), "else a trainer would take it for its end"
        following.cancel()
        await follower.stop()
        assert len(follower.catalogue) == 0

    monkeypatch.setattr(module, "ensure_topics", refuse)
    metrics = ItemMetrics(CollectorRegistry())
    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert [each.getMessage() for each in caplog.records] == [f"no catalogue: {error}"]
    assert list(tmp_path.iterdir()) == []
