"""Samples of all formats through a running worker: each record answered once, noise counted, nothing rejected."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from aiokafka import TopicPartition

from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.topics import Record, read_all, read_topics, send_all
from tests.unit.builders.format_samples import FormatSample, samples

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
SAMPLES = samples()
NOISE = [(b"ada", sample.value) for sample in SAMPLES if set(sample.says) == {"ignored"} and sample.key == b"ada"]


def committed(settings: Settings) -> dict[int, int]:
    """The group's committed offsets, by partition."""

    async def ask() -> dict[int, int]:
        async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
            partitions = [TopicPartition(settings.events_topic, number) for number in range(settings.partitions)]
            consumer.assign(partitions)
            return {one.partition: await consumer.committed(one) or 0 for one in partitions}

    return asyncio.run(ask())


def ends(records: list[Record]) -> dict[int, int]:
    return dict(Counter(record.partition for record in records))


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_every_sample_is_answered_once_or_counted(settings: Settings, start: Start, delivery: str) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, [(sample.key, sample.value) for sample in SAMPLES])
    worker = start("worker", delivery=delivery)
    worker.wait_ready()
    wanted = sum("actions" in sample.says for sample in SAMPLES)
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") >= wanted)
    assert worker.terminate() == 0
    events, predictions, letters = read_topics(
        settings, settings.events_topic, settings.predictions_topic, settings.dead_letters_topic
    )
    assert letters == []
    check_answers(events, [decode_prediction(record.value) for record in predictions])
    assert positive(committed(settings)) == ends(events)


def check_answers(events: list[Record], predictions: list[Prediction]) -> None:
    """The samples are the oracle: which records have an answer, whose it is, and how many actions are behind it."""
    by_value: dict[bytes, FormatSample] = {sample.value: sample for sample in SAMPLES}
    lengths: defaultdict[bytes, int] = defaultdict(int)
    wanted = {}
    for record in sorted(events, key=lambda record: (record.partition, record.offset)):
        actions = by_value[record.value].says.get("actions", [])
        lengths[record.key] += len(actions)
        if actions:
            wanted[record.partition, record.offset] = (record.key.decode(), actions[-1][0], lengths[record.key])
    found = {
        (one.source.partition, one.source.offset): (one.user_id, one.event_type, one.history_length)
        for one in predictions
    }
    assert found == wanted
    assert len(predictions) == len(wanted)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_stream_of_noise_alone_is_passed_over_for_good(settings: Settings, start: Start, delivery: str) -> None:
    asyncio.run(ensure_topics(settings))
    worker = start("worker", delivery=delivery)
    worker.wait_ready()
    send_all(settings, NOISE * 3)
    named = sorted({name for sample in SAMPLES if set(sample.says) == {"ignored"} for name in sample.says["ignored"]})
    worker.wait_until(lambda: ends(read_all(settings, settings.events_topic)) == positive(committed(settings)))
    assert worker.labels("nextact_ignored_events_total", "type") <= set(named)
    assert sum(worker.metric("nextact_ignored_events_total", name) for name in named) >= len(NOISE) * 3
    assert worker.metric("nextact_events_total") == 0
    assert worker.terminate() == 0
    rest = read_topics(settings, settings.predictions_topic, settings.dead_letters_topic, settings.state_topic)
    assert rest == [[], [], []]


def positive(offsets: dict[int, int]) -> dict[int, int]:
    return {partition: offset for partition, offset in offsets.items() if offset}
