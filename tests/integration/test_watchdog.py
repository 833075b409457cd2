"""A real worker that hangs ends by itself, and the next one loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.test_end_to_end import expected_lengths, shop_events, wait_answered
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(("defect", "words"), [("hang-device", "events left)"), ("hang-loop", "the event loop")])
def test_a_worker_that_hangs_ends_and_a_fresh_one_finishes_its_work(
    settings: Settings, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, defect: str, words: str
) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(1500)
    monkeypatch.setenv("NEXTACT_TEST_DEFECT", defect)
    hanging = start("worker", module="tests.integration.broken", stall_timeout=8.0, batch_size=50)
    hanging.wait_ready()
    send_all(settings, events)
    assert hanging.wait(60) == 70, hanging.tail()
    log = hanging.log.read_text()
    assert "no progress for 8 s" in log
    assert words in log
    assert 'broken.py", line' in log  # the stacks say where
    fresh = start("worker", stall_timeout=8.0)
    fresh.wait_ready()
    seen = wait_answered(fresh, settings)
    assert set(seen.answered()) == {(record.partition, record.offset) for record in seen.events}
    lengths = expected_lengths(seen.events)
    for _, prediction in seen.predictions:
        assert prediction.history_length == lengths[prediction.source.partition, prediction.source.offset]
    assert fresh.metric("nextact_lag_events", "0") == 0
    assert fresh.terminate() == 0
