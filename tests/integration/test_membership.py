"""What a worker's neighbours notice of its restart, and of its device."""

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

Start = Callable[..., Running]


def rebalances(worker: Running) -> list[str]:
    """The lines of a worker's log about rebalances that it took part in: after each it answers anew."""
    return [line for line in worker.log.read_text().splitlines() if "answering on" in line]


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_restart_under_its_own_name_moves_no_partitions(settings: Settings, start: Start, how: str) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(3000)
    send_all(settings, events[:1000])
    first, second = [start("worker", instance_id=name, session_timeout=30.0) for name in ("one", "two")]
    for worker in (first, second):
        worker.wait_until(lambda: worker.metric("nextact_partitions") == 2 and worker.metric("nextact_ready") == 1)  # noqa: B023
    early = wait_answered(second, settings).answered()
    second.wait_until(lambda: lag_of(first) == lag_of(second) == 0, needs=(first,))
    sent = sent_by(second)
    kept, before = second.labels("nextact_lag_events", "partition"), rebalances(second)
    assert len(kept) == 2
    assert before

    send_all(settings, events[1000:2000])
    getattr(first, how)()  # in the middle of it
    again = start("worker", instance_id="one", session_timeout=30.0)
    again.wait_ready()
    send_all(settings, events[2000:])
    seen = wait_answered(again, settings)

    assert rebalances(second) == before
    assert second.labels("nextact_lag_events", "partition") == kept
    assert again.metric("nextact_partitions") == 2
    answered = seen.answered()
    assert set(answered) == {(record.partition, record.offset) for record in seen.events}
    of_second = {place: count for place, count in answered.items() if str(place[0]) in kept}
    assert set(of_second.values()) == {1}
    second.wait_until(lambda: lag_of(second) == 0)
    assert sent_by(second) - sent == len(of_second.keys() - early.keys())  # so it answered none of the other's
    lengths = expected_lengths(seen.events)
    for _, prediction in seen.predictions:
        assert prediction.history_length == lengths[prediction.source.partition, prediction.source.offset]


def lag_of(worker: Running) -> float:
    """Events that a worker has not answered."""
    return sum(
        worker.metric("nextact_lag_events", number) for number in worker.labels("nextact_lag_events", "partition")
    )


def sent_by(worker: Running) -> int:
    """Predictions and dead letters that a worker has published."""
    reasons = worker.labels("nextact_dead_letters_total", "reason")
    dead = sum(worker.metric("nextact_dead_letters_total", reason) for reason in reasons)
    return int(worker.metric("nextact_predictions_total", "rules") + dead)


def test_the_cpu_stands_in_for_a_dead_device_when_asked_to(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(100))
    monkeypatch.setenv("NEXTACT_TEST_DEFECT", "dead-device")
    refused = start("worker", module="tests.integration.broken")
    assert refused.wait(60) == 2
    assert "NEXTACT_DEVICE_FALLBACK=true" in refused.tail()
    worker = start("worker", module="tests.integration.broken", device_fallback=True)
    worker.wait_ready()
    wait_answered(worker, settings)
    assert "The CPU stands in" in worker.log.read_text()
    assert worker.terminate() == 0
