"""The batch that a worker makes before its first one, to know that its device works."""

from __future__ import annotations

import json
import time

import pytest
from prometheus_client import CollectorRegistry

from model.serving.serving import Serving, serve
from model.serving.state_engine import StateEngine
from stream_app.settings import load_settings
from stream_app.worker.metrics import WorkerMetrics
from stream_app.worker.pipeline import Pipeline
from stream_app.worker.worker import process_one
from tests.unit.builders.basics import CPU, make_states, make_version, unpacked


@pytest.mark.parametrize("serving", [None, serve(make_version(), CPU)], ids=["rules", "model"])
def test_a_worker_can_make_a_batch_before_the_first(serving: Serving | None) -> None:
    engine = StateEngine(make_states(), rules_share=1.0)
    if serving is not None:
        engine.serve(serving)
    result = process_one(Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), time.perf_counter))
    assert engine.user_counts().in_memory == 1
    (prediction,) = unpacked(result.predictions)
    assert json.loads(prediction.value or b"")["history_length"] == 1
    assert len(result.changelog) == 1
    assert not result.dead_letters
