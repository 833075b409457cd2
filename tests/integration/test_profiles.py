"""What is said of users on a topic of its own: a real worker, also after a kill, and `nextact users show` beside it."""

from __future__ import annotations

import asyncio
import json

import pytest

from stream_app.contract.predictions import decode_prediction
from stream_app.contract.profiles.user_profile import decode_profile
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import nextact
from tests.integration.test_end_to_end import Start, shop_events, wait_answered
from tests.integration.topics import read_topics, send_all

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_profiles_leave_the_predictions_for_their_topic(settings: Settings, start: Start, delivery: str) -> None:
    profiles = settings.events_topic.replace("events", "profiles")
    changes = {"profile_topic": profiles, "delivery": delivery}
    settings = settings.model_copy(update=changes)
    asyncio.run(ensure_topics(settings))
    events = shop_events(1000)
    send_all(settings, events[:700])
    worker = start("worker", **changes)
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") > 100)
    worker.kill()
    send_all(settings, events[700:])
    second = start("worker", **changes)
    second.wait_ready()
    wait_answered(second, settings)

    predictions, written = read_topics(settings, settings.predictions_topic, profiles)
    assert all(decode_prediction(record.value).preferences is None for record in predictions)
    newest = {record.key.decode(): decode_profile(record.value) for record in written}
    assert all(user == profile.user_id for user, profile in newest.items())
    assert newest.keys() == {record.key.decode() for record in predictions}
    assert len(written) < len(predictions)
    user = next(user for user, profile in newest.items() if profile.preferences is not None)
    shown = nextact("users", "show", user, "--json", settings=settings)
    liked = newest[user].preferences
    assert liked is not None
    said = json.loads(shown.stdout)["prediction"]["preferences"]
    assert [one["name"] for one in said["categories"]] == [one.name for one in liked.categories]
    assert second.terminate() == 0
