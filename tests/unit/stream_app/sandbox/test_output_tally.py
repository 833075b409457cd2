"""The counts and latencies of records that have been fetched from the output topics."""

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from stream_app.contract.predictions import Prediction, Source
from stream_app.sandbox.output_tally import OutputTally
from stream_app.sandbox.story.story import Story
from stream_app.settings import Settings
from stream_app.versions.promotions import CHAMPION
from tests.unit.builders.basics import make_record

SETTINGS = Settings()
NOW = 1_700_000_000.0  # seconds since the epoch


def prediction(seconds_ago: float) -> bytes:
    """A prediction for an event of so many seconds ago."""
    return msgspec.json.encode(
        Prediction(
            prediction_id="p",
            user_id="ada",
            event_id=None,
            event_type="view",
            event_timestamp=round((NOW - seconds_ago) * 1000),
            source=Source(0, 0),
            model_version="v1",
            history_length=1,
            next_type={},
            next_actions=[],
            recommendations=[],
            purchase_probability=0.5,
        )
    )


def tally_of(fetched: dict[str, list[Any]], live_since: float = 0.0, story: Story | None = None) -> OutputTally:
    """A tally that has read these records, by topic."""

    async def run() -> OutputTally:
        async def getmany(*, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
            return {TopicPartition(topic, 0): records for topic, records in fetched.items()}

        tally = OutputTally(SETTINGS, clock=lambda: NOW, story=story)
        tally.live_since = live_since
        tally._consumer.getmany = getmany
        await tally.read(timeout=0)
        await tally.stop()
        return tally

    return asyncio.run(run())


def record(value: bytes | None, key: bytes = b"ada") -> Any:
    return SimpleNamespace(key=key, value=value)


def test_records_are_counted_by_topic() -> None:
    tally = tally_of(
        {
            SETTINGS.predictions_topic: [record(prediction(1)), record(b"of another contract")],
            SETTINGS.dead_letters_topic: [record(b"?")] * 3,
            SETTINGS.models_topic: [record(b"{}", CHAMPION), record(b"{}", b"another key")],
        }
    )
    assert (tally.predictions, tally.dead_letters, tally.promotions) == (2, 3, 1)


def test_latencies_are_those_of_live_events() -> None:
    answers = [record(prediction(seconds)) for seconds in (1, 2, 3, 4, 100)]
    tally = tally_of({SETTINGS.predictions_topic: answers}, live_since=NOW - 50)
    assert tally.latency_ms(0.5) == pytest.approx(3000)
    assert tally.latency_ms(0.99) == pytest.approx(4000)
    assert tally.predictions == 5


def test_without_live_events_there_is_no_latency() -> None:
    assert tally_of({SETTINGS.predictions_topic: [record(prediction(1))]}, live_since=NOW).latency_ms(0.5) is None


def test_the_story_gets_events_and_predictions_and_a_replay_is_timed_by_its_records() -> None:
    story, now = Story(random.Random(0)), round(NOW * 1000)
    story.begin_live()
    events = [
        make_record(
            json.dumps({"user_id": "ada", "type": "view", "item_id": item, "timestamp": 1_000_000_000_000}).encode(),
            key=b"ada",
            offset=offset,
            timestamp=now - 3000,
        )
        for offset, item in enumerate("ab")
    ]
    fetched = {SETTINGS.events_topic: events, SETTINGS.predictions_topic: [record(prediction(1e6))]}
    tally = tally_of(fetched, live_since=NOW - 50, story=story)
    assert len(story.outcomes) == 1
    assert tally.latency_ms(0.5) == pytest.approx(3000)
