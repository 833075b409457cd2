"""What is on its way stays as it is, whatever comes behind it."""

from __future__ import annotations

import json

from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.serving.state_engine import StateEngine
from model.state.user_record import pack
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import make_record, make_states


def event(item: str, offset: int) -> ConsumerRecord[bytes, bytes]:
    value = json.dumps({"user_id": "u", "type": "view", "item_id": item}).encode()
    return make_record(value, key=b"u", offset=offset, timestamp=1000 + offset)


def test_a_stepped_batch_does_not_change_with_the_next_one() -> None:
    engine = StateEngine(make_states(), rules_share=1)
    pipeline = Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    first = pipeline.step(pipeline.decode([event("a", 0), event("b", 1)], 1))
    before = pack(first.shares[0].states)
    second = pipeline.step(pipeline.decode([event("c", 2)], 1))
    assert pack(first.shares[0].states) == before != pack(second.shares[0].states)
    assert (first.number, second.number) == (1, 2)
    received = first.received
    columns = (received.sources, received.record_times, received.actions, received.partitions, received.offsets)
    assert {len(column) for column in columns} == {2}
