"""`nextact users show`: a user of a running worker, as a person reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running, nextact
from tests.integration.test_end_to_end import shop_events, wait_answered
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker


def test_a_user_is_shown_with_their_newest_state_and_prediction(
    settings: Settings, start: Callable[..., Running]
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(600))
    worker = start("worker")
    worker.wait_ready()
    newest = wait_answered(worker, settings).predictions[-1][1]
    user = newest.user_id
    answers = [one for _, one in wait_answered(worker, settings).predictions if one.user_id == user]

    views: list[Any] = []

    def shown() -> bool:  # the state is written a moment after the prediction
        found = nextact("users", "show", user, "--json", settings=settings)
        views[:] = [json.loads(found.stdout)] if found.returncode == 0 else []
        return bool(views) and views[0]["actions"] == answers[-1].history_length

    worker.wait_until(shown, every=1)
    (view,) = views
    assert decode_prediction(json.dumps(view["prediction"]).encode()) == answers[-1]
    assert view["history"][0]["type"] == answers[-1].event_type
    plain = nextact("users", "show", user, settings=settings)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.startswith(f"{user}: {answers[-1].history_length} actions, the last one ")
    assert "looked at " in plain.stderr
    nobody = nextact("users", "show", "nobody", settings=settings)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "user 'nobody' is not known on partition " in nobody.stderr
