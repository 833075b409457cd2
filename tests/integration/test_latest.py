"""Each user's newest prediction: real workers, in both deliveries, killed in between."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import nextact
from tests.integration.test_end_to_end import Start, shop_events, wait_answered
from tests.integration.topics import Record, read_topics, send_all

pytestmark = pytest.mark.broker


def newest(records: list[Record]) -> dict[bytes, bytes]:
    """Each user's last record, as a compacted topic keeps it."""
    return {record.key: record.value for record in records}


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_the_newest_predictions_are_a_table_of_users_also_after_a_kill(
    settings: Settings, start: Start, delivery: str
) -> None:
    latest = settings.events_topic.replace("events", "latest")
    settings = settings.model_copy(update={"predictions_latest_topic": latest, "delivery": delivery})
    changes = {"predictions_latest_topic": latest, "delivery": delivery}
    asyncio.run(ensure_topics(settings))
    assert f"{latest}  4 partitions" in nextact("topics", settings=settings).stdout
    events = shop_events(1200)
    send_all(settings, events[:800])
    worker = start("worker", **changes)
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") > 100)
    worker.kill()
    send_all(settings, events[800:])
    second = start("worker", **changes)
    second.wait_ready()
    wait_answered(second, settings)

    def both() -> list[list[Record]]:
        return read_topics(settings, settings.predictions_topic, latest)

    second.wait_until(lambda: newest(both()[0]) == newest(both()[1]), 20)
    predictions, kept = both()
    assert {record.key for record in kept} == {record.key for record in predictions}
    assert all(decode_prediction(record.value).user_id.encode() == record.key for record in kept)
    assert len(kept) < len(predictions)
    places = {record.key: record.partition for record in predictions}
    assert all(record.partition == places[record.key] for record in kept)
    assert second.terminate() == 0
