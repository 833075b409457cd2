"""A follower without a topic; with one it is tried on a real broker, in tests/integration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from stream_app.errors import TopicMismatch
from stream_app.following import follower as module
from stream_app.following.content import Offsets, Origin, Record
from stream_app.following.follower import TopicFollower
from stream_app.settings import load_settings


class Content:
    """Never asked for anything."""

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        raise AssertionError

    def apply(self, records: Sequence[Record]) -> None:
        raise AssertionError

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        raise AssertionError


def test_without_its_topic_it_says_so_once_and_never_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: Any) -> None:
        raise TopicMismatch("missing topics: t")

    async def run() -> None:
        follower = TopicFollower(load_settings(), "worker", "t", Content(), called="statistics")
        await follower.start(within=1.0)
        assert (follower.has_topic, follower.partitions, follower.is_read) == (False, 0, False)
        following = asyncio.create_task(follower.follow())
        await asyncio.sleep(0)
        assert not following.done()
        following.cancel()
        await follower.stop()

    monkeypatch.setattr(module, "ensure_topics", refuse)
    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert [each.getMessage() for each in caplog.records] == ["no statistics: missing topics: t"]
